/* models.h - a small model of many kinds of tensors, its tasks, and coefficients for them. */
#ifndef EMR_TESTS_FIT_MODELS_H
#define EMR_TESTS_FIT_MODELS_H

#include "support.h"

#include <emr/fit/coefficients.h>

enum { N_TASKS = 3, N_TENSORS = 8 };

typedef struct world {
    test_set set;
    const emr_model *tasks[N_TASKS];
    const char *names[N_TASKS];
} world;

world world_create(uint64_t seed);
/* With those tensors instead. */
world world_of(const test_tensor *tensors, size_t n, uint64_t seed);
void world_destroy(world *w);

emr_coefficients_options world_options(const world *w);
emr_coefficients *open_coefficients(const emr_coefficients_options *options);

/* All elements of a float tensor, as f32 or f64; free them. */
float *all_floats(const emr_model *model, const char *name, size_t *n);
double *all_doubles(const emr_model *model, const char *name, size_t *n);

/* Numbers that look like a gradient; free them. */
float *make_gradient(const world *w, const char *name, uint64_t seed, size_t *n);

/* Hands in a whole tensor's, in pieces of `piece` elements (0: at random). */
void hand_in(emr_coefficients *c, const char *name, const float *gradient, size_t n, size_t piece);
/* That of every tensor, of `make_gradient`, in the base's order or from the last to the first. */
void hand_in_all(emr_coefficients *c, const world *w, uint64_t seed, bool is_backwards);

emr_coefficient get_coefficient(const emr_coefficients *c, uint32_t task, uint32_t group);
uint32_t group_of(const emr_coefficients *c, const char *tensor);

/* Whether all coefficients of two handles are the same to the bit. */
bool same_coefficients(const emr_coefficients *a, const emr_coefficients *b);

#endif
