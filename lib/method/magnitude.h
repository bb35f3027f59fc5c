/* magnitude.h - what methods share that keep the largest values of task vectors, or drop them. */
#ifndef EMR_METHOD_MAGNITUDE_H
#define EMR_METHOD_MAGNITUDE_H

#include "method/methods.h"

/* As a place_cut gives it: everything is among the largest. */
#define EMR_MAGNITUDE_ALL UINT64_MAX

/* mergekit's number of n elements for a share of them: the product in f64, rounded down. */
static inline uint64_t emr_magnitude_share(double share, uint64_t n)
{
    return (uint64_t)(share * (double)n);
}

/* A stage's keys: list t holds the magnitudes of input t. */
void emr_magnitude_keys(const emr_method_chunk *chunk, uint32_t list, float *keys);

/* Of elements [at, at + n) of an input of the chunk: those that are among the largest, 0 for the others; or the other way
 * round. `values` may be `kept`, and are those of the input unless some are 0 already. */
void emr_magnitude_keep(const emr_method_chunk *chunk, const double *cut, size_t at, size_t n,
                        const float *values, float *kept);
void emr_magnitude_drop(const emr_method_chunk *chunk, const double *cut, size_t at, size_t n,
                        const float *values, float *kept);

#endif
