/* pairs.h - sums over several vectors of floats, and over every two of them: the kernels of statistics. Vectors come
 * in blocks. Sums are in f64; each has LANES accumulators, of which number j takes elements j, j + LANES, ... of a
 * block, so that their order depends on nothing else; blocks but the last are whole multiples of 64. */
#ifndef EMR_NUMERIC_PAIRS_H
#define EMR_NUMERIC_PAIRS_H

#include "emr/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EMR_PAIR_LANES = 8,
    EMR_PAIR_BLOCK = 256, /* elements of a block at most */
};

/* One vector's. */
typedef struct emr_vector_sums {
    double sums[EMR_PAIR_LANES], magnitudes[EMR_PAIR_LANES], squares[EMR_PAIR_LANES], fourths[EMR_PAIR_LANES];
    float largest; /* magnitude */
} emr_vector_sums;

/* What two have in common: sums of x y and of (x - y)^2. */
typedef struct emr_pair_sums {
    double products[EMR_PAIR_LANES], distances[EMR_PAIR_LANES];
} emr_pair_sums;

/* A vector's signs, 64 elements: a bit where it is above 0, and where below. */
typedef struct emr_signs {
    uint64_t above, below;
} emr_signs;

/* Where the numbers of a block come from: values of float dtypes, of which the base's are subtracted as task vectors
 * are (docs/algorithm.md); without a base the values themselves, in f32. */
typedef struct emr_pair_source {
    const void *values, *base;
    emr_dtype dtype, base_dtype;
} emr_pair_source;

typedef struct emr_pair_kernels {
    /* Reads n numbers into `block`, as f64, with zeros up to a multiple of 64, and their signs; and adds them up.
     * False, and nothing added, where one is not finite. */
    bool (*read)(emr_vector_sums *sums, double *block, emr_signs *signs, const emr_pair_source *source,
                 size_t n);
    /* Adds to the sums of x and each of n_others blocks, which lie `stride` apart; n is a multiple of 64. */
    void (*add)(emr_pair_sums *sums, const double *x, const double *others, size_t stride, uint32_t n_others,
                size_t n);
    /* Elements that have the same sign, and those that have one, in both of x and each of n_others, whose signs, of
     * n_words each, follow one another: added to same[] and both[]. */
    void (*agree)(uint64_t *same, uint64_t *both, const emr_signs *x, const emr_signs *others,
                  uint32_t n_others, size_t n_words);
} emr_pair_kernels;

extern const emr_pair_kernels emr_pairs_c; /* the specification; hosted */

/* The total of accumulators. */
static inline double emr_pair_total(const double l[EMR_PAIR_LANES])
{
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

#endif
