/* product.h - multiplying by a task's weights without materialising them: the operands of
 * emr_session_multiply and emr_modulator_multiply. */
#ifndef EMR_PRODUCT_H
#define EMR_PRODUCT_H

#include "emr/export.h"

/* Some rows of a merged tensor, a matrix W of [rows, columns], times a batch of vectors:
 *
 *     y[b][r] = sum over c of W_t(b)[first_row + r][c] * x[b][c]
 *     W_t     = W_base + lambda_t * (mask_t ? unified : 0)
 *
 * where every vector of the batch may have a task t(b) of its own. W_base and the unified values are read
 * once for the whole batch; each task's mask, one bit a parameter, once for all vectors of that task.
 *
 * A tensor's rows are its first dimension, its columns all others together; a tensor of rank below 2 is one
 * row, one without elements has none. W is in f32, as emr_modulator_apply gives it for F32 output: it is not
 * rounded to a narrower dtype.
 *
 * The order of sums is the same for every instruction set, thread count, batch and split into rows:
 * - 32 accumulators in f32 start at +0. Number j adds up W[c] * x[c] for all c with c mod 32 = j, in order
 *   of c; each product is rounded (no fused multiply-add).
 * - Then a[j] += a[j + 16] for j < 16, and the same with 8, 4, 2 and 1.
 *
 * So y[b] does not depend on what else is in the batch, and
 *
 *     |y - exact| <= (ceil(columns / 32) + 6) * 2^-24 * sum over c of |W[c] * x[c]|
 *
 * to first order (and 2^-149 for each product that underflows).
 * The bits of a y that is NaN are not defined. */
typedef struct emr_product {
    size_t size;
    const float *x;  /* `batch` vectors of as many values as there are columns */
    float *y;        /* out: `batch` vectors of n_rows values; must not overlap x */
    size_t x_stride; /* floats from one vector to the next; 0: the number of columns */
    size_t y_stride; /* floats from one to the next; 0: n_rows */
    size_t batch;
    uint64_t first_row;
    uint64_t n_rows;
    uint32_t tensor; /* number of a merged tensor, as in the bundle or the modulators */
    uint32_t reserved;
} emr_product;

#endif
