/* surgery.h - Representation Surgery (Yang and others, arXiv 2402.02705) and SurgeryV2 (arXiv 2410.14389): a merged model's features are
 * not where the task's own model has them. A small adapter for each task subtracts the difference:
 *
 *     y = x - U relu(D x)      D [rank, width], U [width, rank]
 *
 * fitted on features of unlabelled samples, x of the merged and z of the task's own model: the mean of |y - z| is brought down.
 *
 *     emr_surgery_options options = EMR_INIT(emr_surgery_options);
 *     options.width = 512;
 *     emr_surgery_create(&adapter, &options, &error);
 *     emr_surgery_fit(adapter, x, z, n_samples, NULL, &report, &error);
 *     ...
 *     emr_surgery_apply(adapter, features, features, n);
 *
 * SurgeryV2 has an adapter behind each block, on every token, and one on the final features; what one gives goes into the next
 * block. Two ways:
 * - jointly, where the host has a backward pass: it calls emr_surgery_apply on the way forward; on the way back, from the last place to
 *   the first, emr_l1 (losses.h) adds the place's own term to the gradient that comes from later ones, and emr_surgery_backward
 *   turns it into that of the adapter's input; then emr_surgery_step for each adapter;
 * - place by place: emr_surgery_fit at the first, then the model is run again with it, and so on. Weaker, but forward passes do.
 *
 * Fitting is in f64, from f32 features, with sums in order of rows; each adapter has an Adam of its own. Applying is in f32. The
 * bits depend neither on threads, processor nor on how many rows a call has.
 *
 * Order of sums where adapters are applied, that of product.h: of a sum of n products, 32 accumulators start at +0; number j adds up,
 * in order, the rounded products whose number mod 32 is j; then a[j] += a[j + 16] for j < 16, and the same with 8, 4, 2 and 1. D x is
 * such sums over features, U h with h = relu(D x) such sums over the rank, and y = x - U h is rounded once more. A NaN stays one in relu. */
#ifndef EMR_FIT_SURGERY_H
#define EMR_FIT_SURGERY_H

#include "emr/export.h"
#include "emr/fit/adam.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* An adapter and the state of its fitting. One thread at a time, but emr_surgery_apply: concurrent with itself. */
typedef struct emr_surgery emr_surgery;

/* What is brought down: the mean over samples and features of |y - z|, or of (y - z)^2. */
typedef uint32_t emr_surgery_loss;
enum { EMR_SURGERY_LOSS_L1 = 0, EMR_SURGERY_LOSS_SQUARED = 1 };

/* Zero means the default. Copied. */
typedef struct emr_surgery_options {
    size_t size;
    const emr_resources *resources; /* executor: of all fitting; progress: of emr_surgery_fit, in steps */
    const emr_adam *adam;           /* NULL: all defaults */
    uint64_t width;                 /* features, at least 1, at most 2^20 */
    uint64_t seed; /* of D: uniform in +-1/sqrt(width), drawn as docs/fitting.md has it; U is 0 at first */
    uint32_t rank; /* 0: 16; at most 65,536 */
    emr_surgery_loss loss;
} emr_surgery_options;

/* How emr_surgery_fit goes through samples. Zero means the default. */
typedef struct emr_surgery_fit_options {
    size_t size;
    uint64_t n_steps; /* of Adam, one a batch; 0: 1000 */
    size_t n_batch;   /* samples in one; 0: 16; as many as there are, or more: all of them, in order */
    uint64_t seed;    /* of their order, a new one each time that all were taken; docs/fitting.md */
} emr_surgery_fit_options;

typedef struct emr_surgery_report {
    size_t size;
    double loss_before; /* over all samples */
    double loss_after;
    uint64_t n_steps;
} emr_surgery_report;

/* An adapter's weights alone, in memory of the host's: what a device keeps to apply it. Borrowed. */
typedef struct emr_surgery_weights {
    size_t size;
    const float *down; /* D [rank, width] */
    const float *up;   /* U [width, rank] */
    size_t width;
    size_t rank;
} emr_surgery_weights;

/* Adapters as a model, and so as a file: for each PLACE "PLACE.down.weight" F32 [rank, width] and "PLACE.up.weight" F32 [width, rank],
 * as two linear layers of PyTorch have them. Metadata: "emr.kind": "adapters", "emr.activation": "relu", "emr.sign": "-". A place is
 * "TASK.final", "TASK.block.0" by custom. */

EMR_BEGIN_DECLS

/* EMR_EINVAL: a value out of its range. */
EMR_API emr_status emr_surgery_create(emr_surgery **surgery, const emr_surgery_options *options,
                                      emr_error *error);

/* One that was saved, in any float dtype; width and rank are the file's, and must be options' where those are not 0. `options` may be
 * NULL. Adam begins anew. Metadata may be missing, but not say otherwise.
 * - EMR_ENOTFOUND: the model has no such place; EMR_EFORMAT: what it has there is no adapter; EMR_EMISMATCH: of other sizes.
 * - EMR_ENONFINITE: a weight is NaN or infinite. */
EMR_API emr_status emr_surgery_open(emr_surgery **surgery, const emr_model *model, const char *place,
                                    const emr_surgery_options *options, emr_error *error);
EMR_API void emr_surgery_destroy(emr_surgery **surgery);

/* n adapters as a model, with a copy of their weights of that moment. EMR_EEXIST: two of one place; EMR_EINVAL: none, or one without a
 * name. */
EMR_API emr_status emr_surgery_open_model(const emr_surgery *const *surgeries, const char *const *places,
                                          uint32_t n, emr_model **model, emr_error *error);

EMR_API uint64_t emr_surgery_width(const emr_surgery *surgery);
EMR_API uint32_t emr_surgery_rank(const emr_surgery *surgery);

/* n rows: y = x - U relu(D x); y may be x. */
EMR_API emr_status emr_surgery_apply(const emr_surgery *surgery, const float *x, float *y, size_t n,
                                     emr_error *error);

/* The same of weights in the host's memory, with `scratch`, room for `rank` floats. Nothing is checked but NULL and the
 * struct's size (EMR_EINVAL). Freestanding. */
EMR_API emr_status emr_surgery_apply_weights(const emr_surgery_weights *weights, const float *x, float *y,
                                             size_t n, float *scratch);

/* One batch and one step of Adam: features x of the merged and z of the task's own model, [n, width]. `loss` is that before the step; may be
 * NULL. EMR_ENONFINITE: features that are not finite; EMR_EINVAL: no rows. Nothing is changed then, nor are gradients that emr_surgery_backward
 * has added up, which do not count here. */
EMR_API emr_status emr_surgery_train(emr_surgery *surgery, const float *x, const float *z, size_t n,
                                     double *loss, emr_error *error);

/* Many of them, from features of all samples. `options` and `report` may be NULL. After EMR_ECANCELED the steps so far are kept. */
EMR_API emr_status emr_surgery_fit(emr_surgery *surgery, const float *x, const float *z, size_t n,
                                   const emr_surgery_fit_options *options, emr_surgery_report *report,
                                   emr_error *error);

/* From dL/dy, dL/dx (NULL: it is not wanted; may be dy): [n, width] each; and the adapter's own gradients, which add up until the step.
 * EMR_ENONFINITE: x or dy is not finite, and nothing is changed. */
EMR_API emr_status emr_surgery_backward(emr_surgery *surgery, const float *x, const float *dy, size_t n,
                                        float *dx, emr_error *error);

/* One step of Adam with the gradients that emr_surgery_backward has added up. EMR_ESTATE: there are none. */
EMR_API emr_status emr_surgery_step(emr_surgery *surgery, emr_error *error);

EMR_END_DECLS

#endif
