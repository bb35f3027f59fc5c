/* magnitude.h - what methods share that keep the largest values of task vectors, or drop them. */
#ifndef EMR_METHOD_MAGNITUDE_H
#define EMR_METHOD_MAGNITUDE_H

#include "core/bytes.h"
#include "method/methods.h"

/* |x|; of -0 it is +0. */
static inline float emr_magnitude(float x)
{
    return emr_f32_from_bits(emr_f32_bits(x) & 0x7fffffff);
}

/* As a place_cut gives it: everything is among the largest. */
#define EMR_MAGNITUDE_ALL UINT64_MAX

/* mergekit's number of n elements for a share of them: the product in f64, rounded down. */
static inline uint64_t emr_magnitude_share(double share, uint64_t n)
{
    return (uint64_t)(share * (double)n);
}

/* A stage's keys: list t holds the magnitudes of input t. */
void emr_magnitude_keys(const emr_method_chunk *chunk, uint32_t list, float *keys);

/* Between which magnitudes an input's values stay: those that `keep` has among the largest, but not those that `drop` has;
 * NULL: all, none. */
typedef struct emr_magnitude_cuts {
    const double *keep, *drop;
} emr_magnitude_cuts;

typedef emr_magnitude_cuts (*emr_magnitude_cuts_fn)(const emr_method_tensor *tensor, uint32_t input);

/* The magnitudes of the chunk's elements from `at` on that stay are larger than `above` and smaller than `below`; returns for
 * how many of n elements, at least one, that is so. */
size_t emr_magnitude_bounds(const emr_method_chunk *chunk, emr_magnitude_cuts cuts, size_t at, size_t n,
                            float *above, float *below);

/* Elements [at, at + n) of an input of the chunk, with 0 where they do not stay: in `room`, or where they are already. */
const float *emr_magnitude_sparsify(const emr_method_chunk *chunk, emr_magnitude_cuts cuts, uint32_t input,
                                    size_t at, size_t n, float *room);

/* Of n values, in f64: eight sums side by side, then added up. */
double emr_magnitude_sum(const float *values, size_t n);

/* Adds to a stage's sums the norms that rescale.h is about. It takes a float of scratch for each element. */
void emr_magnitude_norms(const emr_method_chunk *chunk, emr_magnitude_cuts_fn cuts, double *sums);

#endif
