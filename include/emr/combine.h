/* combine.h - one model out of many: averages, task arithmetic, TIES, DARE, SLERP and what else there is. A
 * combined model is an emr_model whose tensors are computed as they are read: emr_checkpoint_write streams it
 * into a file, and every other call that takes a model takes it. Memory does not depend on its size.
 *
 *     emr_combination_options options = EMR_INIT(emr_combination_options);
 *     options.method = emr_method_find("ties");
 *     emr_combination_create(&c, &options, &error);
 *     emr_combination_set_base(c, base, &error);
 *     emr_combination_add_task(c, "math", math, &error);
 *     emr_combination_add_task(c, "code", code, &error);
 *     emr_combination_set_parameter(c, "density", EMR_EVERY_TASK, NULL, 0.2, &error);
 *     emr_combination_set_parameter(c, "weight", 1, "model.layers.*", 0.5, &error);
 *     emr_combination_open_model(c, &merged, &error);
 *     emr_checkpoint_write(merged, "merged/", NULL, &error);
 *
 * The same bits come out whatever the threads, the memory and the ranges in which tensors are read. What each
 * method computes, which parameters it has, and how often it reads its inputs is in docs/combining.md.
 *
 * A combination is one thread's at a time; models that were opened from it are read and destroyed by any.
 */
#ifndef EMR_COMBINE_H
#define EMR_COMBINE_H

#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/method.h"
#include "emr/model.h"
#include "emr/policy.h"
#include "emr/resources.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef struct emr_combination emr_combination;

/* In the place of a task's number: all of them, and the base where that is an input of the method. */
#define EMR_EVERY_TASK UINT32_C(0xfffffffe)

/* What a NaN or an infinity in an input does.
 * - ERROR: reading the tensor is EMR_ENONFINITE, naming tensor and task.
 * - ZERO: the task's value there counts as the base's; without a base as 0. */
typedef uint32_t emr_combination_nonfinite;
enum { EMR_COMBINATION_NONFINITE_ERROR = 0, EMR_COMBINATION_NONFINITE_ZERO = 1 };

/* Zero means the default. Copied; the method is borrowed. */
typedef struct emr_combination_options {
    size_t size;
    const emr_method *method; /* required */
    const emr_resources
        *resources;           /* those of reading: each of executor.concurrency readers may take its share of
                                       half of memory_bytes (0: 256 MiB). Progress is not used */
    const emr_policy *policy; /* see emr_combination_open_model */
    const char *const *head_globs; /* heads, which differ in their labels: see heads.h */
    uint64_t seed; /* of methods that draw: masks depend on it, and on the names of task and tensor */
    uint32_t n_head_globs;
    uint32_t
        combine_heads; /* non-zero: heads, padded to the same labels, go through the method like any other
                               tensor; else each row is its own task's, untouched */
    emr_dtype dtype;   /* of combined tensors: F32, F16, BF16 or F64; 0: as in the base, or without one in
                               the first task */
    emr_combination_nonfinite on_nonfinite;
} emr_combination_options;

/* What becomes of a tensor. */
typedef uint32_t emr_combined_action;
enum {
    EMR_COMBINED_ACTION_COMBINE = 1, /* computed by the method */
    EMR_COMBINED_ACTION_COPY = 2,    /* the base's (without one, the first task's) bytes */
    EMR_COMBINED_ACTION_HEAD = 3     /* heads side by side, see heads.h */
};

/* One tensor of a combined model. Strings and shape are the combination's, until it is destroyed or something is set
 * or added. */
typedef struct emr_combined_tensor {
    size_t size;
    const char *name;
    const char *reason; /* in a few words: "float in the base and every task", "matches lm_head.*" */
    const uint64_t *shape;
    uint64_t count;
    emr_dtype dtype;
    uint32_t rank;
    emr_combined_action action;
    uint32_t n_reads;  /* how often its inputs are read in all, the last time included */
    uint32_t n_inputs; /* tasks that have it, and the base where that is an input */
    uint32_t reserved;
} emr_combined_tensor;

typedef struct emr_combination_plan {
    size_t size;
    uint64_t combined_params;
    uint64_t bytes_in;    /* what is read to write the model once */
    uint64_t bytes_out;   /* of its tensors */
    uint64_t peak_memory; /* of as many readers as resources.executor has, at most what resources allow; what
                             writes the model takes its own beside */
    uint32_t n_tensors;   /* for emr_combination_get_tensor, in the model's order */
    uint32_t n_combined;
} emr_combination_plan;

EMR_BEGIN_DECLS

EMR_API emr_status emr_combination_create(emr_combination **combination,
                                          const emr_combination_options *options, emr_error *error);

/* Models opened from it stay valid: they share what they need. */
EMR_API void emr_combination_destroy(emr_combination **combination);

/* The models are borrowed until the combination and all models opened from it are destroyed. A method says whether
 * it needs a base, may have one, or takes it as one more input (emr_method.base). Task names are unique, 1 to
 * 255 bytes. */
EMR_API emr_status emr_combination_set_base(emr_combination *combination, const emr_model *base,
                                            emr_error *error);
EMR_API emr_status emr_combination_add_task(emr_combination *combination, const char *name,
                                            const emr_model *model, emr_error *error);

/* Sets a parameter of the method, by name: for one task, for EMR_EVERY_TASK, or for EMR_BASE where that is an
 * input; in tensors that a glob matches whole (policy.h), or, NULL, in all. Where several fit, the last that was set
 * holds. A flag is 0 or 1. Parameters that are not per task are set for EMR_EVERY_TASK.
 * - EMR_ENOTFOUND: the method has no such parameter; the sentence names those that it has.
 * - EMR_EINVAL: the value is out of its range, there is no such task, it is not per task. */
EMR_API emr_status emr_combination_set_parameter(emr_combination *combination, const char *parameter,
                                                 uint32_t task, const char *glob, double value,
                                                 emr_error *error);

/* What a model opened now would be, without reading any tensor. */
EMR_API emr_status emr_combination_get_plan(emr_combination *combination, emr_combination_plan *plan,
                                            emr_error *error);
/* Once the plan is made: EMR_ESTATE before. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_combination_get_tensor(const emr_combination *combination, uint32_t i,
                                              emr_combined_tensor *tensor);

/* The combined model: the tensors of the base (without one, of the first task), in its order. Metadata are its
 * too. What was set and added is fixed from then on: setting and adding are EMR_ESTATE.
 * - Combined are float tensors that are weights (role.h) or match policy.merge_globs.
 * - Copied from the base: what matches policy.private_globs; side files and other tensors that are no floats;
 *   and what is no weight, where every task has the base's bytes or lacks it, which is looked at here. Where one
 *   has others: EMR_EMISMATCH, and the sentence says how to decide (merge_globs or private_globs). Side files,
 *   GGUF headers and integers of 64 bits are the base's in any case.
 * - A tensor that a task lacks: policy.on_missing and its globs. ERROR: EMR_EMISMATCH. BASE: its task vector is 0
 *   there; without a base EMR_EINVAL. ABSENT: the task takes no part there.
 * - A tensor that the base lacks: EMR_EMISMATCH, but where it matches policy.private_globs, which leaves it out,
 *   or heads.
 * - Another shape than the base's: policy.on_mismatch. ERROR: EMR_EMISMATCH. PRIVATE: it is copied. ROWS: where the first
 *   dimension alone differs, the base's shape is what comes out, rows that a task lacks have the task vector 0, and
 *   rows that the base lacks are left out. PAD is EMR_EINVAL here.
 * - Parameters are checked for each tensor: EMR_EINVAL.
 * - What comes out is rounded to the tensor's dtype; a value too large for it becomes an infinity.
 * - EMR_ELIMIT: a row of a method that works on whole rows does not fit in a reader's memory.
 * - A model may be opened more than once. Its computed tensors can be read by several threads at a time. */
EMR_API emr_status emr_combination_open_model(emr_combination *combination, emr_model **model,
                                              emr_error *error);

EMR_END_DECLS

#endif
