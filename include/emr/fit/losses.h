/* losses.h - what a host that learns needs where its network ends: losses, and their gradients there.
 *
 *     emr_logits logits = EMR_INIT(emr_logits);
 *     logits.data = z;              // [16, 10]
 *     logits.n_rows = 16;
 *     logits.n_columns = 10;
 *     emr_entropy(&logits, &loss, dz, &error);   // then the network's own backward pass, from dz
 *
 * In f64, with exp and log of the library's own, and sums in order of rows: the same bits everywhere. Values are read as f32, gradients
 * rounded to it. All calls are concurrent.
 *
 * The entropy of predictions asks for no labels, and is least where all predictions are sure, right or wrong: its optimum is a
 * constant answer. docs/fitting.md. */
#ifndef EMR_FIT_LOSSES_H
#define EMR_FIT_LOSSES_H

#include "emr/export.h"
#include "emr/status.h"

/* Logits z, before any softmax. */
typedef struct emr_logits {
    size_t size;
    const float *data;
    size_t n_rows;       /* samples, or positions; at least 1 that counts */
    size_t n_columns;    /* classes, at least 1 */
    size_t row_stride;   /* floats from one row to the next; 0: n_columns */
    const uint8_t *keep; /* n_rows bytes: rows with 0 do not count, padding say; NULL: all count */
    uint32_t
        per_log_classes; /* non-zero: loss and gradient of emr_entropy are divided by log(n_columns) (of one column, log 2): so
                                 tasks of many classes weigh as much as those of few */
    uint32_t reserved;
} emr_logits;

EMR_BEGIN_DECLS

/* In all of them: `loss` may be NULL. `gradient` is laid out as the logits and may not overlap them; NULL: it is not wanted; rows that do
 * not count get 0. After a failure neither is written.
 * - EMR_EINVAL: no rows, or none that counts; no columns; a stride below them; NULL.
 * - EMR_ENONFINITE: a value of a row that counts is NaN or infinite; the sentence says which. */

/* The mean over rows of the Shannon entropy, in nats, of p = softmax(z):
 *
 *     H_i = - sum over c of p_ic log p_ic        dL/dz_ic = - p_ic (log p_ic + H_i) / n
 *
 * with log p_ic = z_ic - max - log(sum of exp(z - max)), so that p = 0 is harmless. A single column is the logit of a yes: H of
 * sigmoid(z) and 1 - sigmoid(z). */
EMR_API emr_status emr_entropy(const emr_logits *logits, double *loss, float *gradient, emr_error *error);

/* The mean over rows of - log p of the row's label: labels[i] < n_columns (of one column: 0 or 1), else EMR_EINVAL. Labels of
 * rows that do not count are not read. */
EMR_API emr_status emr_cross_entropy(const emr_logits *logits, const uint32_t *labels, double *loss,
                                     float *gradient, emr_error *error);

/* What features are from those that they should be: y, z of [n, n_tokens, width], their means over tokens compared:
 *
 *     L = (1 / (n width)) sum of |mean_tokens(y) - mean_tokens(z)|      dL/dy = sign(...) / (n width n_tokens),  sign(0) = 0
 *
 * n_tokens 1: the mean absolute difference. This is the loss of Surgery (n_tokens 1) and of each place of SurgeryV2 (surgery.h).
 * With `add`, the gradient is added to what `gradient` has: that which came from later places. */
EMR_API emr_status emr_l1(const float *y, const float *z, size_t n, size_t n_tokens, size_t width, int add,
                          double *loss, float *gradient, emr_error *error);

EMR_END_DECLS

#endif
