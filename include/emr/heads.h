/* heads.h - tasks that have labels of their own in one model (HM3, arXiv 2409.19173): the heads' rows side by side,
 * and a softmax for each task's group of them.
 *
 * Task t's head has C_t rows, one a label. In a view of the task's model it has the rows of all tasks, its own from
 * o_t = C_0 + ... + C_(t-1) on, and zeros for the others. All models then have the same shapes, and go through every
 * way of merging. emr_combination_create does all this by itself where it is told of heads; for other ways:
 *
 *     emr_heads_options options = EMR_INIT(emr_heads_options);
 *     options.globs = (const char *const[]){"classifier.*"};
 *     options.n_globs = 1;
 *     options.names = names;
 *     options.tasks = models;
 *     options.n_tasks = 3;
 *     emr_heads_create(&heads, &options, &error);
 *     for (uint32_t t = 0; t < 3; t++)
 *         emr_heads_open_task(heads, t, &views[t], &error);
 *     ... run the merged network: one logit a label of all tasks ...
 *     emr_heads_get_group(heads, t, &groups[t]);
 *     emr_group_softmax(logits, n_samples, 0, groups, 3, probabilities);
 *
 * Which way does what to heads, and why rows are by default each task's own: docs/heads.md.
 */
#ifndef EMR_HEADS_H
#define EMR_HEADS_H

#include "emr/allocator.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/model.h"
#include "emr/status.h"

typedef struct emr_heads emr_heads;

/* What becomes of a task's logits. */
typedef uint32_t emr_head_kind;
enum {
    EMR_HEAD_KIND_SOFTMAX =
        0, /* softmax over the group; of a group of one logit, for which that is always 1, the sigmoid */
    EMR_HEAD_KIND_SIGMOID = 1, /* each logit for itself: several labels can be true */
    EMR_HEAD_KIND_IDENTITY = 2 /* as they are: regression */
};

/* The rows of a task: `count` from `first` on. */
typedef struct emr_head_group {
    size_t size;
    const char *task; /* its name; emr_group_softmax does not look at it */
    uint64_t first;
    uint64_t count;
    emr_head_kind kind;
    uint32_t reserved;
} emr_head_group;

/* The metadata of a combined model that tell its groups: a JSON array with an object for each task, in order of rows:
 * [{"task": "parity", "first": 0, "count": 2, "kind": "softmax"}, ...]; "sigmoid" and "identity" are the other kinds.
 * `emr combine` adds "labels", an array of the labels' names, where the tasks' config.json has them. */
#define EMR_HEAD_GROUPS "emr.head_groups"

typedef struct emr_heads_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    const char *const *globs;       /* heads match one of these whole (policy.h), see emr_heads_create */
    const char *const *names;       /* of the tasks, all different */
    const emr_model *const *tasks;  /* borrowed by the views and by what is opened joined */
    const emr_head_kind *kinds;     /* of each task; NULL: all 0 */
    uint32_t n_globs;
    uint32_t n_tasks;
} emr_heads_options;

EMR_BEGIN_DECLS

/* Finds the heads among the float tensors that match: those that differ in their rows, the first dimension, with all of
 * their layer (what has the same name up to the last '.') that not every task has. Others of equal shape are no heads,
 * and are merged like the rest: an inner layer, say. Where none differ, for all tasks have as many labels, the layer whose tensor
 * comes last in the first task is the head.
 * A head's weight [C_t, d] is in every task; its bias [C_t] may be missing, which is zeros.
 * - EMR_EINVAL: a glob matches no tensor of any task; no tasks or globs; an unknown kind.
 * - EMR_EEXIST: two tasks of one name.
 * - EMR_EMISMATCH: a head is missing in a task or has no rows there, differs in more than its rows, or a task's heads
 *   differ from each other in their rows; the sentence names tensor and task.
 * - EMR_EUNSUPPORTED: a head's bytes are to be pushed. */
EMR_API emr_status emr_heads_create(emr_heads **heads, const emr_heads_options *options, emr_error *error);

/* What was opened from it stays valid. */
EMR_API void emr_heads_destroy(emr_heads **heads);

/* The rows of all tasks. */
EMR_API uint64_t emr_heads_n_rows(const emr_heads *heads);

/* A task's. EMR_ENOTFOUND past the last one. The name is the handle's. */
EMR_API emr_status emr_heads_get_group(const emr_heads *heads, uint32_t task, emr_head_group *group);

/* The name of the i-th head, or NULL past the end. */
EMR_API const char *emr_heads_tensor(const emr_heads *heads, uint32_t i);

/* A task's model with the rows of all tasks in its heads, and everything else as it is: the same dtypes, order and
 * metadata. Heads that it lacks come last. */
EMR_API emr_status emr_heads_open_task(const emr_heads *heads, uint32_t task, emr_model **view,
                                       emr_error *error);

/* The same of the tasks' base, whose heads are all zeros whatever it has: a head's task vector is then the head. */
EMR_API emr_status emr_heads_open_base(const emr_heads *heads, const emr_model *base, emr_model **view,
                                       emr_error *error);

/* The heads alone, each row its own task's. In `dtype`, a float's, rounded once; 0: the first task's that has the head. */
EMR_API emr_status emr_heads_open_joined(const emr_heads *heads, emr_dtype dtype, emr_model **joined,
                                         emr_error *error);

/* Sets EMR_HEAD_GROUPS. */
EMR_API emr_status emr_heads_set_metadata(const emr_heads *heads, emr_model *model, emr_error *error);

/* Of `rows` samples, `stride` floats apart, turns each group's logits into probabilities:
 *     softmax:  p_i = exp(z_i - max) / sum_k exp(z_k - max), the maximum and the sum taken within the group
 *     sigmoid:  p_i = 1 / (1 + exp(-z_i))
 * in f64, with an exponential of the library's own: the same bits everywhere. A NaN makes its group NaN, or with sigmoid
 * itself; so does, with softmax, +infinity, and a group of -infinity alone. `out` may be `logits`; else it has the same stride, and columns of no group are not written. `stride` 0: as many as
 * the groups reach to. Concurrent.
 * - EMR_EINVAL: a group ends behind the stride, is of no kind, or is empty; NULL. */
EMR_API emr_status emr_group_softmax(const float *logits, size_t rows, size_t stride,
                                     const emr_head_group *groups, size_t n_groups, float *out);

EMR_END_DECLS

#endif
