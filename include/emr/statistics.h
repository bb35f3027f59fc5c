/* statistics.h - what the task vectors of several tasks have in common: products, distances and agreeing signs
 * of every two, norms, zeros, kurtosis, quantiles; per tensor, per layer, per kind of tensor and for the whole
 * model, from one reading of the models. From them follows how kin the tasks are (Model Kinship, Hu and
 * others, arXiv 2410.12613).
 *
 *     emr_statistics_create(&s, NULL, &error);
 *     emr_statistics_set_base(s, base, &error);
 *     emr_statistics_add_task(s, "math", math, &error);
 *     emr_statistics_add_task(s, "code", code, &error);
 *     emr_statistics_run(s, &error);
 *     emr_statistics_group model = EMR_INIT(emr_statistics_group);
 *     emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &model);
 *     double kinship[4];
 *     emr_kinship(&model, NULL, kinship, &error); // Pearson's correlations
 *
 * A task vector is the difference of a task's weight and the base's in f32 (of an F64 weight in f64, rounded to
 * f32). Sums are taken in f64, in a fixed order: the same models give the same bits, whatever the threads, the
 * memory and the processor. A bundle's tasks are models too: emr_bundle_open_task.
 */
#ifndef EMR_STATISTICS_H
#define EMR_STATISTICS_H

#include "emr/export.h"
#include "emr/merge.h"
#include "emr/model.h"
#include "emr/policy.h"
#include "emr/resources.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef struct emr_statistics emr_statistics;

/* Over what sums are taken. A layer is the number behind the first "layer.", "layers.", "h.", "block.", "blocks.",
 * "resblocks." or "blk." of a name; names without one are a group of their own, the last. A kind is what a tensor is to its
 * model, read from its name: "q", "k", "v" (or "qkv", where they are one tensor), "o", "up", "gate", "down",
 * "norm", "embed", "head", and "other" (docs/kinship.md has the names that say so); kinds without tensors are no
 * groups. */
typedef uint32_t emr_statistics_scope;
enum {
    EMR_STATISTICS_SCOPE_MODEL = 0,  /* one group */
    EMR_STATISTICS_SCOPE_TENSOR = 1, /* in the base's order */
    EMR_STATISTICS_SCOPE_LAYER = 2,  /* by number */
    EMR_STATISTICS_SCOPE_KIND = 3    /* in the order above */
};

/* What the published program's --low-precision does to task vectors before it compares them: times 127 / their
 * largest magnitude, and rounded to whole numbers; the largest being that of the whole task vector, or, as with
 * its --split-calculation, of each tensor. All statistics are of these numbers then, for which the models are read
 * twice. */
typedef uint32_t emr_statistics_rounding;
enum {
    EMR_STATISTICS_ROUNDING_NONE = 0,
    EMR_STATISTICS_ROUNDING_PER_MODEL = 1,
    EMR_STATISTICS_ROUNDING_PER_TENSOR = 2
};

/* Zero means the default. Copied. */
typedef struct emr_statistics_options {
    size_t size;
    const emr_resources *resources; /* memory_bytes 0: 256 MiB, and what the results take beside */
    /* Which tensors count: those that a merge with this policy would merge (on_mismatch ROWS: their common
     * rows). A task that lacks one has the task vector 0 there, where the policy allows that at all. */
    const emr_policy *policy;
    /* Fractions from 0 to 1: which quantiles of magnitudes to find, per tensor and for the model. They take
     * further readings: mostly one of each tensor that does not fit in memory_bytes, and one of the model. */
    const double *quantiles;
    /* Not 0: of every tensor its first max_rows rows (elements, of a vector) alone count. The published program
     * takes as many as the base's lm_head.weight has. */
    uint64_t max_rows;
    uint32_t n_quantiles;
    /* Non-zero: a tensor that some task lacks does not count at all, as in the published program; on_missing
     * and its globs are not asked then. */
    uint32_t skip_missing;
    /* Non-zero: no groups are kept for tensors, which saves memory where tasks are many. */
    uint32_t without_tensors;
    emr_statistics_rounding rounding; /* not together with quantiles */
    emr_on_nonfinite on_nonfinite;    /* ERROR: EMR_ENONFINITE. ZERO: the task vector is 0 there; counted */
    uint32_t reserved;
} emr_statistics_options;

typedef struct emr_statistics_plan {
    size_t size;
    uint64_t params;       /* elements that count */
    uint64_t bytes_in;     /* what one reading reads */
    uint64_t peak_memory;  /* with the results, at most what resources allow */
    uint64_t result_bytes; /* of it: results, which are kept until the handle is destroyed */
    uint32_t n_tensors;
    uint32_t n_left_out; /* tensors of the base that do not count */
    uint32_t n_layers;   /* groups, with that of tensors in no layer */
    uint32_t n_kinds;
} emr_statistics_plan;

/* The statistics of a group, for n tasks in the order in which they were added. Arrays are the handle's; a matrix
 * is n x n, row by row, symmetric: that of i and j is matrix[i * n + j]. */
typedef struct emr_statistics_group {
    size_t size;
    /* A tensor's, a layer's number, a kind; "" for the model, and for tensors in no layer. */
    const char *name;
    const emr_tensor *tensor; /* the base's; NULL in other scopes */
    const double *products;   /* matrix: sums of x_i x_j; on the diagonal, squares of norms */
    const double *distances;  /* matrix: sums of (x_i - x_j)^2, taken as such, without cancellation */
    const double *sums;       /* of each task, n: sums of x, */
    const double *magnitudes; /* of |x|, */
    const double *fourths;    /* of x^4, */
    const double *largest;    /* and the largest |x| */
    /* n_quantiles for each task. That of a fraction f is the smallest magnitude for which f * count elements or
     * more are as small. NULL: none, as for layers and kinds, and where count is 0. */
    const double *quantiles;
    const uint64_t *zeros;      /* of each task: elements with x = 0, */
    const uint64_t *nonfinite;  /* and those that on_nonfinite set to 0, which are among them */
    const uint64_t *same_signs; /* matrix: elements where both are above 0, or both below */
    const uint64_t *both;       /* matrix: elements where neither is 0 */
    uint64_t count;             /* elements */
    uint64_t conflicts;         /* elements where one task's is above 0 and another's below */
    uint64_t unchanged;         /* elements where all are 0 */
    int64_t layer;              /* its number; -1: none, or another scope */
    uint32_t n_tensors;
    uint32_t n_tasks;
    uint32_t n_quantiles;
    uint32_t is_rounded; /* options.rounding */
} emr_statistics_group;

/* What follows from a group's sums for one task. */
typedef struct emr_task_moments {
    size_t size;
    double norm;           /* square root of the sum of x^2 */
    double mean;           /* of x */
    double mean_magnitude; /* of |x| */
    double deviation;      /* standard, of the elements: sqrt(mean of x^2 - mean^2) */
    double kurtosis;       /* count * sum of x^4 / (sum of x^2)^2, 3 for normal ones; NaN where all x are 0 */
    double zero_share;     /* zeros / count */
} emr_task_moments;

/* How kin two tasks are.
 * - PEARSON: the correlation of their task vectors. - COSINE: the cosine of the angle between them.
 * - EUCLID: the length of their difference: kin is what is small. */
typedef uint32_t emr_kinship_metric;
enum { EMR_KINSHIP_METRIC_PEARSON = 0, EMR_KINSHIP_METRIC_COSINE = 1, EMR_KINSHIP_METRIC_EUCLID = 2 };

/* Zero means the default. What the published program does otherwise can be had; docs/kinship.md tells why one
 * would not want it. */
typedef struct emr_kinship_options {
    size_t size;
    emr_kinship_metric metric;
    uint32_t absolute; /* non-zero: cosines lose their sign, as in the published program */
} emr_kinship_options;

EMR_BEGIN_DECLS

EMR_API emr_status emr_statistics_create(emr_statistics **statistics, const emr_statistics_options *options,
                                         emr_error *error);
EMR_API void emr_statistics_destroy(emr_statistics **statistics);

/* The models are borrowed until the statistics are destroyed. A base and at least one task are needed. Names
 * are unique, 1 to 255 bytes. EMR_ESTATE once they have run. */
EMR_API emr_status emr_statistics_set_base(emr_statistics *statistics, const emr_model *base,
                                           emr_error *error);
EMR_API emr_status emr_statistics_add_task(emr_statistics *statistics, const char *name,
                                           const emr_model *model, emr_error *error);

/* Before the run: what it will take. Fails as emr_merge_get_plan does where models do not fit together. */
EMR_API emr_status emr_statistics_get_plan(emr_statistics *statistics, emr_statistics_plan *plan,
                                           emr_error *error);

/* Reads the models, once, and again where there are quantiles to find. After a failure, as after
 * EMR_ECANCELED, it may be called again.
 * - EMR_ENONFINITE names task and tensor. EMR_ELIMIT: too little memory, and how much would do. */
EMR_API emr_status emr_statistics_run(emr_statistics *statistics, emr_error *error);

/* After the run (0 before it). */
EMR_API uint32_t emr_statistics_n_groups(const emr_statistics *statistics, emr_statistics_scope scope);
/* Set group->size first. EMR_ESTATE before the run, EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_statistics_get_group(const emr_statistics *statistics, emr_statistics_scope scope,
                                            uint32_t i, emr_statistics_group *group);

/* Set moments->size first. EMR_ENOTFOUND: there is no such task. */
EMR_API emr_status emr_statistics_get_moments(const emr_statistics_group *group, uint32_t task,
                                              emr_task_moments *moments);

/* The kinship of every two tasks of a group, n x n, row by row; `options` NULL: Pearson's. NaN is "none": the
 * correlation or cosine with a task vector that is zero (of PEARSON: that is constant, to within 2^-46 of its
 * square), also its own; and the distance from one that is zero and was to be rounded. */
EMR_API emr_status emr_kinship(const emr_statistics_group *group, const emr_kinship_options *options,
                               double *matrix, emr_error *error);

/* The mean of the tensors' kinships, each weighted by its elements, those that are NaN left out: the published
 * program's --split-calculation. It is not the kinship of the model. EMR_ESTATE before the run, or without
 * groups of tensors. */
EMR_API emr_status emr_statistics_split_kinship(const emr_statistics *statistics,
                                                const emr_kinship_options *options, double *matrix,
                                                emr_error *error);

/* How kin n tasks are all together: the mean over the n (n - 1) / 2 pairs. NaN where one of them is, and for
 * fewer than two tasks. */
EMR_API double emr_kinship_mean(const double *matrix, uint32_t n_tasks);

/* Where a tensor of that name counts: the number of its layer (-1: none, or NULL), and its kind, a static string. */
EMR_API int64_t emr_statistics_layer_of(const char *name);
EMR_API const char *emr_statistics_kind_of(const char *name);

EMR_END_DECLS

#endif
