/* adapter_weights.h - the elements of one weight with an adapter's part in it; emr/adapter.h has the
 * formulas. */
#ifndef EMR_CHECKPOINT_ADAPTER_WEIGHTS_H
#define EMR_CHECKPOINT_ADAPTER_WEIGHTS_H

#include "model/model.h"

enum {
    EMR_ADAPTED_COUNT = 65536,   /* elements that are computed at a time */
    EMR_ADAPTED_RANK_MAX = 16384 /* so that a row of B and some columns of A fit into a reader's scratch */
};

/* W, seen as rows and columns as it is stored. With `b` the sum of rank products is added; with `factors`
 * element i is multiplied by number i / run % n_factors of them. */
typedef struct emr_adapted {
    const emr_tensor *weight;
    const emr_tensor *a; /* [rank][columns]; NULL: ones, for a rank of 1 and a column */
    const emr_tensor *b; /* [rows][rank]; or NULL */
    const float *factors;
    uint64_t rows, columns, rank;
    uint64_t run, n_factors;
    float scale;
    bool transposed; /* `a` is [rank][rows] and `b` [columns][rank] */
} emr_adapted;

/* Scratch for computing it; enough for any whose scratch is smaller. It begins as zeros. */
size_t emr_adapted_scratch(const emr_adapted *adapted);

/* emr_tensor_desc.compute, with the emr_adapted as the tensor's user, max_count EMR_ADAPTED_COUNT. */
emr_status emr_adapted_compute(const emr_computation *computation, emr_error *error);

/* Elements as they are before they are multiplied by factors, NaN and all: at most EMR_ADAPTED_COUNT; they
 * lie at *values, in the scratch. */
emr_status emr_adapted_values(const emr_adapted *adapted, void *scratch, uint64_t first, size_t count,
                              const float **values, emr_error *error);

#endif
