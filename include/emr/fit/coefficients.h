/* coefficients.h - AdaMerging (Yang and others, "AdaMerging: Adaptive Model Merging for Multi-Task Learning", arXiv 2310.02575): how
 * much of each task vector goes into a merged model, learned from the gradient of any loss. Of tasks t, tensors l and task vectors
 * tau_t = W_t - W_0,
 *
 *     W^l = W_0^l + sum over t of lambda_t^l tau_t^l        dL/dlambda_t^l = <dL/dW^l, tau_t^l>
 *
 * with a coefficient lambda for each task and tensor ("layer-wise"), for each task ("task-wise"), or for groups of tensors; with the
 * paper's loss the entropy of predictions on unlabelled samples (losses.h).
 *
 *     emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
 *     options.base = base;
 *     options.tasks = tasks;
 *     options.names = names;
 *     options.n_tasks = 8;
 *     emr_coefficients_create(&c, &options, &error);
 *     for (int step = 0; step < 500; step++) {
 *         emr_coefficients_apply(c, weights, n_weights, &error);        // W into the engine's memory
 *         ... forward and backward passes on a batch of every task; gradients dL/dW add up ...
 *         for (i = 0; i < n_weights; i++)
 *             emr_coefficients_gradient(c, weights[i].name, 0, counts[i], EMR_DTYPE_F32, gradients[i], &error);
 *         emr_coefficients_step(c, &report, &error);
 *     }
 *     emr_coefficients_open_model(c, &merged, &error);                  // to be written, or merged further
 *
 * Task vectors are read as they are needed, never kept: from checkpoints, or from a bundle's tasks (emr_bundle_open_task), whose
 * modulators' strength is learned then. Working memory does not depend on the models' size.
 *
 * W is made from the base each time, so nothing drifts. In f32: tau is the difference of both weights in f32 (where one is F64, in
 * f64, rounded once), lambda is rounded to f32, each product is rounded, tasks are added in order, those whose lambda is 0 left
 * out, and the sum is rounded once to the tensor's dtype; where the base is F64, all of it in f64. Gradients: g and tau widened from
 * f32, products exact in f64, added up in blocks of 256 and chunks of 16,384 from the tensor's first element on, as rule `l2` of
 * docs/algorithm.md has it; then tensors of a group in the base's order. All else is in f64. So the bits depend neither on
 * threads, pieces, memory and processor, nor on the order in which tensors are handed in.
 *
 * NaN and infinity in weights: what is merged follows IEEE; with `keep` creating the handle is EMR_ENONFINITE, and so is a gradient
 * whose product with the task vector is not finite. */
#ifndef EMR_FIT_COEFFICIENTS_H
#define EMR_FIT_COEFFICIENTS_H

#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/fit/adam.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/session.h"
#include "emr/status.h"

typedef struct emr_coefficients emr_coefficients;

/* What tensors share a coefficient, where no pattern says otherwise.
 * - TENSOR: each has its own. What the paper's program calls layer-wise.
 * - LAYER: those of one layer's number (emr_statistics_layer_of); names without one are a group together.
 * - MODEL: all. Task-wise. */
typedef uint32_t emr_coefficient_scope;
enum { EMR_COEFFICIENT_SCOPE_TENSOR = 0, EMR_COEFFICIENT_SCOPE_LAYER = 1, EMR_COEFFICIENT_SCOPE_MODEL = 2 };

/* How lambda follows from `raw`, the number that Adam moves; g is dL/dlambda.
 * - CLAMP: raw clamped to [0, 1]. Outside there is no gradient, so a coefficient that momentum has carried out stays out: it is stuck, see
 *   emr_coefficients_report. What the paper's program does.
 * - FREE: raw itself.
 * - PROJECT: raw, which is clipped to [0, 1] after each step. It can come back.
 * - SOFTMAX: softmax over tasks of raw: dL/draw_t = lambda_t (g_t - sum over s of lambda_s g_s).
 *   Sums run in order of tasks. */
typedef uint32_t emr_coefficient_map;
enum {
    EMR_COEFFICIENT_MAP_CLAMP = 0,
    EMR_COEFFICIENT_MAP_FREE = 1,
    EMR_COEFFICIENT_MAP_PROJECT = 2,
    EMR_COEFFICIENT_MAP_SOFTMAX = 3
};

/* Zero means the default. Strings and adam are copied; models are borrowed until the handle, and what was opened from it, are
 * destroyed. Patterns are globs (policy.h). */
typedef struct emr_coefficients_options {
    size_t size;
    const emr_resources *resources; /* memory_bytes caps working memory, beside the coefficients (0: 64 MiB);
                                       progress: of create, where `keep` makes it read */
    const emr_model *base;
    const emr_model *const *tasks; /* at least one; with the base's tensors, and its shapes */
    const char *const *names;      /* of the tasks, all different */
    const emr_adam *adam;          /* NULL: all defaults */
    const emr_model *state; /* NULL, or a saved one to go on from: which tensors share a coefficient or are
                                      left out, map, keep and the numbers are all its own, and what is below, but
                                      are_vectors, is left unset. It is not needed any more then */
    /* Tensors that match groups[i], and none before it, share a coefficient; others: by `scope`. Those that match
     * one of `fixed` keep `initial`, each a group by itself; those that match one of `exclude` stay the base's, as
     * do those that are no floats: heads, say. */
    const char *const *groups;
    const char *const *fixed;
    const char *const *exclude;
    /* raw at first; 0 without use_initial: 0.3, or with SOFTMAX 0, all tasks alike. */
    double initial;
    /* AdaMerging++: the share of each task vector that is kept, by magnitude over the whole model (all that is not
     * excluded), and of that what has the sign that the tasks' sum elects; 0.2 is the paper's. 0: all of it. */
    double keep;
    uint32_t n_tasks;
    uint32_t n_groups;
    uint32_t n_fixed;
    uint32_t n_exclude;
    emr_coefficient_scope scope;
    emr_coefficient_map map;
    uint32_t use_initial; /* non-zero: an `initial` of 0 is meant */
    uint32_t are_vectors; /* non-zero: the tasks' models hold task vectors, not weights */
} emr_coefficients_options;

/* What a step did. */
typedef struct emr_coefficients_report {
    size_t size;
    uint64_t n_steps;    /* so far, this one included */
    double largest_move; /* of a lambda in this step */
    uint32_t n_moved;    /* coefficients that had a gradient */
    uint32_t n_low;      /* of all coefficients that are learned, those at 0 or below */
    uint32_t n_high;     /* and those at 1 or above */
    uint32_t n_stuck;    /* CLAMP: outside of [0, 1], where no gradient reaches them */
} emr_coefficients_report;

/* A coefficient. */
typedef struct emr_coefficient {
    size_t size;
    double lambda; /* what multiplies the task vector */
    double raw;
    double gradient;  /* dL/dlambda as it has been handed in since the last step */
    uint64_t n_steps; /* that moved it */
    uint32_t is_fixed;
    uint32_t is_stuck;
} emr_coefficient;

/* The state as a model, and so as a file: "lambda" F64 [tasks, groups] (raw), "adam.m" and "adam.v" F64 likewise, "adam.t" I64
 * [tasks, groups]. Metadata: "emr.kind": "coefficients", "emr.map": "clamp", "free", "project" or "softmax", "emr.keep": the share, where
 * there is one, "emr.steps"; and in JSON, "emr.tasks" and "emr.groups": arrays of names, "emr.tensors": an object, of each tensor that is
 * merged the number of its group, "emr.fixed": an array, of groups' numbers. So it says by itself what is merged of the base and tasks. */

EMR_BEGIN_DECLS

/* Groups are numbered in the order of the base's tensors. With `keep`, the tasks are read here, a few times. What is kept: with d
 * elements in all, the int(keep d) + 1 largest of each task, more where magnitudes are equal, as in the paper's program; of these
 * what has the sign of their sum over the tasks, in f64, in order of tasks. A sum of 0 elects the sign that most elements of
 * the model have; if these are as many, the negative one.
 * - EMR_EMISMATCH, naming task and tensor: a task lacks one of the base's float tensors, has it in another shape or not as floats.
 *   Naming the tensor: the base lacks one that the state merges. Naming the task: the state has it not, or another.
 * - EMR_EFORMAT: the state is none.
 * - EMR_EINVAL: no base, task or names; a pattern matches no tensor that is left for it; no tensor is left to be merged; two
 *   groups would have one name; a value out of its range; keep together with nothing to keep.
 * - EMR_EEXIST: two tasks of one name. EMR_ELIMIT: too little memory; the sentence says how much would do. */
EMR_API emr_status emr_coefficients_create(emr_coefficients **coefficients,
                                           const emr_coefficients_options *options, emr_error *error);
EMR_API void emr_coefficients_destroy(emr_coefficients **coefficients);

EMR_API uint32_t emr_coefficients_n_tasks(const emr_coefficients *coefficients);
EMR_API uint32_t emr_coefficients_n_groups(const emr_coefficients *coefficients);

/* A group's name: the pattern, the tensor, "layer N" or "no layer", "*" for all; NULL past the end. */
EMR_API const char *emr_coefficients_group(const emr_coefficients *coefficients, uint32_t group);

/* The group of a tensor. EMR_ENOTFOUND: it has none, for the base lacks it or it is excluded. */
EMR_API emr_status emr_coefficients_find_group(const emr_coefficients *coefficients, const char *tensor,
                                               uint32_t *group, emr_error *error);

/* Set info->size first. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_coefficients_get(const emr_coefficients *coefficients, uint32_t task, uint32_t group,
                                        emr_coefficient *info);

/* Sets raw, and forgets what Adam knows of it. EMR_EINVAL: not finite; with PROJECT, out of [0, 1]. */
EMR_API emr_status emr_coefficients_set(emr_coefficients *coefficients, uint32_t task, uint32_t group,
                                        double raw, emr_error *error);

/* The merged model, with the coefficients of that moment: a later step does not change it. The base's tensors, order, dtypes and
 * metadata. It outlives the handle. Concurrent reading. */
EMR_API emr_status emr_coefficients_open_model(const emr_coefficients *coefficients, emr_model **merged,
                                               emr_error *error);

/* The merged weights of the moment, written into the engine's memory: `weights` as in emr_session_apply, names, numbers and default
 * dtypes those of the base; without_base is the sum of lambda tau alone; blocks are EMR_EUNSUPPORTED. Each tensor is shared out
 * over the executor. Memory that is written must not be the base's or the tasks'. Where `weights` cannot be right, nothing is written. */
EMR_API emr_status emr_coefficients_apply(emr_coefficients *coefficients, const emr_weights *weights,
                                          size_t n_weights, emr_error *error);

/* dL/dW of elements [first, first + count) of a tensor. A tensor's come front to back, from 0 to its last, in pieces of any size and
 * all in one dtype (F32, F16, BF16; F64 is rounded to f32), before those of another tensor; again for each backward pass, and
 * add up until the step. Tensors may be left out, and have no gradient then; those that are fixed or excluded are passed over. A
 * tensor under two names (tied) is handed in once.
 * - EMR_ENONFINITE: a gradient is NaN or infinite (loss scaling, say), or a task vector is. As after a task that could not be read,
 *   the next step refuses, and so does this call until then; emr_coefficients_clear begins again.
 * - EMR_EINVAL: not what comes next; the sentence says what would. EMR_ENOTFOUND: the base has no such tensor. Nothing is changed. */
EMR_API emr_status emr_coefficients_gradient(emr_coefficients *coefficients, const char *tensor,
                                             uint64_t first, uint64_t count, emr_dtype dtype,
                                             const void *gradient, emr_error *error);

/* Forgets gradients. */
EMR_API void emr_coefficients_clear(emr_coefficients *coefficients);

/* One step of Adam for all coefficients that have a gradient; forgets gradients. `report` may be NULL.
 * - EMR_ENONFINITE: one was not finite, or the sum of many is not. EMR_ESTATE: no gradient was handed in, or of a tensor only a
 *   part. Nothing but the gradients is changed, which are forgotten. */
EMR_API emr_status emr_coefficients_step(emr_coefficients *coefficients, emr_coefficients_report *report,
                                         emr_error *error);

/* The state as a model, as above, which keeps the numbers of that moment. */
EMR_API emr_status emr_coefficients_open_state(const emr_coefficients *coefficients, emr_model **state,
                                               emr_error *error);

/* Goes on from such a state, to the bit where `adam` is as it was (it is not saved): tasks and groups are found by name, in
 * whatever order. Gradients are forgotten; what is fixed is as this handle has it.
 * - EMR_EFORMAT: it is none. EMR_EMISMATCH: of other tasks, groups, tensors in a group, map or keep; the sentence names one. Nothing is
 *   changed. */
EMR_API emr_status emr_coefficients_set_state(emr_coefficients *coefficients, const emr_model *state,
                                              emr_error *error);

EMR_END_DECLS

#endif
