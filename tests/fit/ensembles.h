/* ensembles.h - what the tests of ensembles share: networks whose parts are known, samples at random, gradients. */
#ifndef EMR_TESTS_FIT_ENSEMBLES_H
#define EMR_TESTS_FIT_ENSEMBLES_H

#include "support.h"

#include "ensemble.h"

#include <math.h>

/* A network written out, part by part. The keys' shift is one that the formula has and the library leaves out, as it has no effect. */
enum { X_DOWN, X_UP, L_DOWN, L_UP, X_SCALE, L_SCALE, X_SHIFT, PARTS, L_SHIFT = PARTS };

typedef struct network {
    size_t x_width, x_hidden, key_width, key_hidden, shared;
    bool has_norm, is_relu, mixes_probabilities;
    double temperature;
    double *parts[PARTS + 1];
} network;
extern const char *const part_names[PARTS];

/* Of weights at random. */
network make_network(network n, uint64_t seed);
network small_network(bool has_norm, bool is_relu, bool mixes_probabilities, uint64_t seed);
void free_network(network *n);
/* Rows are 0 of a vector. */
size_t part_rows(const network *n, int part);
size_t part_columns(const network *n, int part);
size_t part_size(const network *n, int part);

/* As a file would have it, which borrows the parts. Destroy it. */
emr_model *save_network(const network *n);
emr_ensemble *open_network(const network *n, const emr_ensemble_options *options);
/* Where the library has a part among its parameters. */
size_t part_begin(const emr_ensemble *e, int part);

/* Samples of random values. */
typedef struct samples {
    emr_ensemble_batch batch;
    float *x, *keys, *values;
    uint32_t *labels;
} samples;
/* key_width 0: values are the keys. */
samples make_samples(size_t n, size_t n_sources, size_t n_columns, size_t x_width, size_t key_width,
                     uint64_t seed);
void free_samples(samples *s);

/* A small one with a norm; resources and adam may be NULL. */
emr_ensemble *create_ensemble(uint32_t x_width, uint32_t key_width, const emr_resources *resources,
                              const emr_adam *adam);
/* And the same state of Adam. */
bool have_same_parameters(const emr_ensemble *a, const emr_ensemble *b);
/* The library's gradient by all parameters, and its loss. Free it. */
double *find_gradient(const emr_ensemble *e, const emr_ensemble_batch *b, double *loss);

static inline bool is_near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fmax(fabs(b), 1e-3);
}

#endif
