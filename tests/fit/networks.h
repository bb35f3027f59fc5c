/* networks.h - small networks for tests: multi-layer perceptrons that can be run, and shapes of transformers. */
#ifndef EMR_TESTS_FIT_NETWORKS_H
#define EMR_TESTS_FIT_NETWORKS_H

#include "support.h"

#include <emr/fit/permutation.h>

/* A perceptron 9 - 20 - 33 - 5: fc0, fc1, fc2, F64. */
enum { N_INPUTS = 9, N_FIRST = 20, N_SECOND = 33, N_OUTPUTS = 5, N_PERCEPTRON = 6 };
extern const test_tensor perceptron[N_PERCEPTRON];

/* With random weights. */
test_model perceptron_create(const char *name, uint64_t seed);

/* What any model with these tensors computes of an input, whatever its hidden widths; and the inputs of each layer, where wanted:
 * of[i] has room for 100. */
void perceptron_run(const emr_model *model, const double *input, double *outputs, double (*of)[100]);

/* A Llama of one layer: 4 query heads, 2 kv heads of 6, width 24; and its configuration. */
enum { N_LLAMA = 12 };
extern const test_tensor llama[N_LLAMA];
extern const char llama_config[];

emr_permutation_spec *derived_spec(const emr_model *model, const char *config);
/* A permutation of every group at random. */
emr_permutation *random_permutation(const emr_permutation_spec *spec, uint64_t seed);

/* Grams of perceptrons on random inputs: each site has the layer's inputs of all n models on the same rows. */
emr_gram *perceptron_gram(const emr_model *const *models, uint32_t n, size_t rows, uint64_t seed);

/* Whether two perceptrons' outputs differ by less than that, on a few inputs. */
bool same_outputs(const emr_model *a, const emr_model *b, double most);

/* All elements of a tensor, widened; free them. */
double *all_elements(const emr_model *model, const char *name);

#endif
