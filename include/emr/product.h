/* product.h - multiplying by a task's weights without materialising them: the operands of
 * emr_session_multiply and emr_modulator_multiply. */
#ifndef EMR_PRODUCT_H
#define EMR_PRODUCT_H

#include "emr/export.h"

/* Some rows of a merged tensor, seen as a matrix W of [rows, columns], times a batch of vectors:
 *
 *     y[b][r] = sum over c of W_t(b)[first_row + r][c] * x[b][c]
 *
 * where every vector of the batch may have a task t(b) of its own, of any kind. W_base and the unified values
 * are read once for the whole batch; each task's codes, a bit to four a parameter, once for all vectors of
 * that task that stand near each other. Vectors of tasks with a unified task vector, and vectors of those
 * without, are best kept together: then each is multiplied with up to seven others.
 *
 * A tensor's rows are its first dimension, its columns all others together; a tensor of rank below 2 is one
 * row, one without elements has none. A product may cut these rows into shorter ones, of n_columns each: of fused
 * experts [experts, rows, columns], with n_columns = columns, row e * rows + r is row r of expert e. Below, a row
 * is one of the product's.
 *
 * The order of sums is the same for every instruction set, thread count, batch and split into calls:
 * - 32 accumulators a in f32 start at +0. Number j adds up W[c] * x[c] for all c with c mod 32 = j, in order
 *   of c; each product is rounded (no fused multiply-add). Here W is
 *   - for a task with a unified task vector, its weights in f32, as emr_modulator_apply gives them for F32
 *     output: not rounded to a narrower dtype;
 *   - for all others the base's, rounded to f32.
 * - A task without a unified task vector changes the base by r * v[c]. A stretch is what of the row lies between
 *   two multiples of 16,384 of the bundle's parameters (of a modulator that the host made, of the tensor's); r is
 *   the scale that its parameters share, perhaps with others of the tensor's row. v[c] * x[c] is x[c] or -x[c]
 *   for a sign, the same of the rounded product of x[c] and the scale of the tensor's column where there is one,
 *   nothing where nothing is kept, and the rounded product of x[c] and the level. (Where a task has the
 *   tensor as differences, v[c] is that, r is 1, and the row is one stretch.) Of 64 more accumulators, 32, t,
 *   start at +0 with the row, and 32, s, with every stretch; number j of s adds v[c] * x[c] up as a does. When
 *   the stretch ends, t[j] += r * s[j], rounded twice; nothing where r is 0. At the end of the row a[j] += t[j].
 * - Then a[j] += a[j + 16] for j < 16, and the same with 8, 4, 2 and 1.
 *
 * So y[b] does not depend on what else is in the batch, and
 *
 *     |y - exact| <= (ceil(columns / 32) + 6) * 2^-24 * sum over c of |W[c] * x[c]|
 *     |y - exact| <= (ceil(columns / 32) + n + 8) * 2^-24 * sum over c of (|W_base[c]| + |r * v[c]|) * |x[c]|
 *
 * to first order (and 2^-149 for each product that underflows): the first with a unified task vector; the
 * second without, for a row of n stretches, where `exact` knows of no rounding of weights either. The bits of
 * a y that is NaN are not defined.
 *
 * Without the base (`without_base`), y is what the task adds to the product with the base, for an engine that
 * computes that one itself from weights which are quantised, repacked or elsewhere. W_base counts as +0, and is not
 * read: W[c] of a task with a unified task vector is its change, +0 where there is none; of the others, the a
 * stay +0 until t is added; EMR_BASE gives +0. These are the bits of a base of zeros, as long as all x are
 * finite, and the bounds are those above with W_base[c] = 0: a small change is not lost beside a large weight,
 * as it is where both are added up in one sum.
 *
 * With `add`, the product is computed as always, and then added to what y[b][r] has: one more rounding. After a
 * failure y is undefined. */
typedef struct emr_product {
    size_t size;
    const char *name; /* of the tensor; NULL: it goes by number, `tensor` */
    const float *x;   /* `batch` vectors of as many values as there are columns */
    float *y;         /* out: `batch` vectors of n_rows values; must not overlap x */
    size_t x_stride;  /* floats from one vector to the next; 0: the length of a row */
    size_t y_stride;  /* floats from one to the next; 0: n_rows */
    size_t batch;
    uint64_t first_row;
    uint64_t n_rows;
    uint64_t n_columns;    /* of a row, so of x: a divisor of the tensor's columns; 0: those */
    uint32_t tensor;       /* number of a merged tensor, as in the bundle or the modulators */
    uint32_t without_base; /* non-zero: the change alone, as if all of the base's weights were +0 */
    uint32_t add;          /* non-zero: the product is added to what y has */
    uint32_t reserved;
} emr_product;

#endif
