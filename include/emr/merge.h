/* merge.h - the streaming merge: base and tasks in; unified task vector, masks and rescalers out, in one
 * pass and in memory that does not depend on the size of the models.
 *
 *     emr_merge_create(&merge, NULL, &error);
 *     emr_merge_set_base(merge, base, &error);
 *     emr_merge_add_task(merge, "french", french, &error);     // in this order, which is the order of sums
 *     emr_merge_add_task(merge, "german", german, &error);
 *     emr_merge_set_output(merge, emr_file_io(file), &error);  // or emr_merge_set_sink
 *     emr_merge_run(merge, &error);                            // or emr_merge_begin, _push ..., _finish
 *     emr_merge_destroy(&merge);
 *
 * The result is the same to the last bit whatever the executor, the memory limit, the chunks in which data
 * arrive, and the CPU. docs/algorithm.md says what is computed. */
#ifndef EMR_MERGE_H
#define EMR_MERGE_H

#include "emr/bundle.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/policy.h"
#include "emr/resources.h"
#include "emr/status.h"

typedef struct emr_merge emr_merge;

/* What a sum of exactly 0 elects. */
typedef uint32_t emr_tie;
enum {
    EMR_TIE_ZERO = 0,    /* nothing (the paper) */
    EMR_TIE_NEGATIVE = 1 /* the negative side (the authors' program) */
};

/* What to do with a NaN or an infinity in a merged tensor. */
typedef uint32_t emr_on_nonfinite;
enum {
    EMR_ON_NONFINITE_ERROR = 0, /* EMR_ENONFINITE, naming task, tensor and element */
    EMR_ON_NONFINITE_ZERO = 1   /* the task vector is 0 there; counted in the report */
};

#define EMR_COMPRESSION_NONE (-1) /* every block raw: for devices without zstd */

/* Zero means the default. */
typedef struct emr_merge_options {
    size_t size;
    const emr_resources *resources; /* memory_bytes 0: 256 MiB */
    const emr_policy *policy;
    const emr_modulation_spec *modulation; /* of all tasks that are given no other; NULL: masks */
    emr_rescale rescale;         /* of tasks with a unified vector, where their modulation leaves it open, */
    emr_rescale_per rescale_per; /* as this; EMR_RESCALE_L1_MEANS is per model only */
    emr_tie tie;
    emr_on_nonfinite on_nonfinite;
    emr_dtype unified_dtype; /* F32 (the default), F16 or BF16 */
    uint32_t embed_base;     /* non-zero: the bundle holds the base too */
    uint32_t extendable; /* non-zero: the bundle holds what emr_merge_extend needs, about 8 bytes a parameter
                            more. For masks that agree, with the rules L1 and L1_MEANS: others need every
                            task vector itself. */
    int32_t compression; /* zstd level 1 to 19; 0: the default, 1; or EMR_COMPRESSION_NONE. Up to 4 differ
                            for private tensors and an embedded base alone. */
    uint32_t block_params; /* parameters of a mask block, a power of two from 4096 to 16 Mi; 0: 256 Ki, more
                              for very large models. Applying takes about 2.5 bytes of memory for each. */
    uint32_t measure; /* non-zero: emr_fidelity with the rules L1 and L1_MEANS too, for which more sums are
                         taken; and the bundle tells it of all tasks */
} emr_merge_options;

/* What is done with a tensor. */
typedef uint32_t emr_action;
enum {
    EMR_ACTION_MERGE = 1,  /* elected, masked, rescaled */
    EMR_ACTION_KEEP = 2,   /* not a float, or no weight (emr/role.h): from the base where a task has the same
                              bytes, else private */
    EMR_ACTION_PRIVATE = 3 /* each task that has it keeps its own copy */
};

/* One tensor of the plan, and after the run of the report. Strings are the merge's. */
typedef struct emr_plan_tensor {
    size_t size;
    const char *name;
    const char *reason; /* why, in a few words: "float in the base and every task", "matches heads.*" */
    const uint64_t *shape;
    uint64_t count;
    uint64_t zeroed; /* after the run: task values that counted as 0 under EMR_ON_NONFINITE_ZERO */
    emr_dtype dtype; /* the base's, or that of the first task that has it */
    uint32_t rank;
    emr_action action;
    uint32_t n_private; /* tasks that keep their own copy; for KEEP known after the run */
} emr_plan_tensor;

typedef struct emr_plan_summary {
    size_t size;
    uint64_t merged_params;
    uint64_t bytes_in;    /* what a run reads */
    uint64_t bytes_out;   /* what it writes at most, before compression */
    uint64_t peak_memory; /* working memory of the run as set up so far, at most what resources allow */
    uint32_t n_tensors;   /* for emr_merge_get_plan_tensor; the merged ones come first */
    uint32_t n_merged;
} emr_plan_summary;

typedef struct emr_task_report {
    size_t size;
    const char *name;
    uint64_t mask_ones;   /* merged parameters whose mask bit is set; density = ones / merged_params */
    uint64_t zeroed;      /* values that counted as 0 under EMR_ON_NONFINITE_ZERO */
    float rescaler;       /* per model; 0 otherwise */
    uint32_t empty_mask;  /* 1: the task differs from the base, yet nothing of it was elected */
    float other_rescaler; /* per model, two-sided: where the mask is 0 */
    uint32_t reserved;
} emr_task_report;

/* A part of a merge's results: parameters or rows [first, first + n) of a tensor. Valid during the call.
 */
typedef struct emr_sink_part {
    size_t size;
    const void *values;
    size_t n;
    uint64_t first;
    uint32_t tensor; /* as in the plan */
    uint32_t task;   /* EMR_BASE for unified values */
} emr_sink_part;

/* Receives a merge's results as they are computed, instead of a bundle. Tensors come in the order of the
 * plan, each from front to back. NULL members are not called. Tensors without elements and private tensors
 * do not come; tasks of kinds without a unified vector cannot (EMR_EUNSUPPORTED). Anything but EMR_OK stops
 * the run, with EMR_ENOMEM or EMR_ECANCELED if that is it, else with EMR_EIO; `error` is never NULL, and
 * what is written there ends the run's sentence. */
typedef struct emr_sink {
    size_t size;
    void *user;
    /* The unified task vector, in options.unified_dtype; `first` is a multiple of 64. */
    emr_status (*unified)(void *user, const emr_sink_part *part, emr_error *error);
    /* The mask bits of one task, packed: bit i % 8 of byte i / 8, padding bits 0; `first` is a multiple
     * of 64. */
    emr_status (*mask)(void *user, const emr_sink_part *part, emr_error *error);
    /* Floats: per tensor one, per row `n` from row `first`, in either case once the tensor or row is done; of
     * two-sided tasks two for each, that where the mask is 1 first. Per model they are in the report. */
    emr_status (*rescalers)(void *user, const emr_sink_part *part, emr_error *error);
} emr_sink;

EMR_BEGIN_DECLS

/* NULL options: all defaults. */
EMR_API emr_status emr_merge_create(emr_merge **merge, const emr_merge_options *options, emr_error *error);
EMR_API void emr_merge_destroy(emr_merge **merge);

/* The models are borrowed until the merge is destroyed. Task names are unique, 1 to 255 bytes. */
EMR_API emr_status emr_merge_set_base(emr_merge *merge, const emr_model *base, emr_error *error);
EMR_API emr_status emr_merge_add_task(emr_merge *merge, const char *name, const emr_model *model,
                                      emr_error *error);

/* What a task's modulator is to be, instead of options.modulation. After the task is added. EMR_EINVAL: what
 * cannot be, or tasks with a unified vector that do not agree in rule, what shares a scale, or mask rule. */
EMR_API emr_status emr_merge_set_modulation(emr_merge *merge, uint32_t task, const emr_modulation_spec *spec,
                                            emr_error *error);

/* Adds to a bundle, before any task is added. Its tasks come first, and those added afterwards join them;
 * the result gives the weights that merging all of them at once gives. The earlier checkpoints are not
 * needed.
 * - Tasks with a unified vector are added to a bundle that was made extendable, which the result is again;
 *   the result is, to the last byte, what merging at once gives. EMR_EUNSUPPORTED, when the plan is made, if
 *   it was not.
 * - Tasks of kinds without one are added to any bundle, and take the memory and time that they take alone:
 *   what the bundle has is copied as it is stored, behind what is new. The result is not extendable. What is
 *   merged in the bundle is merged; of other tensors each new task keeps its own copy, unless the bundle has
 *   the base's.
 * - Not both in one merge.
 * - What the bundle was made with replaces all options but the resources, and compression and blocks if it
 *   was not extendable; and the policy, if it was.
 * - The base must be the bundle's, and whole: an embedded one may lack tensors of which every task has its
 *   own copy.
 * - The bundle is borrowed until the merge is destroyed. */
EMR_API emr_status emr_merge_extend(emr_merge *merge, const emr_bundle *bundle, emr_error *error);

/* What a run would do, without reading any tensor. May be called once base and tasks are set, and fixes
 * both. Set the structs' sizes first. */
EMR_API emr_status emr_merge_get_plan(emr_merge *merge, emr_plan_summary *summary, emr_error *error);
EMR_API emr_status emr_merge_get_plan_tensor(const emr_merge *merge, uint32_t i, emr_plan_tensor *tensor);

/* Where the result goes. `io` needs `write` alone. The bundle is whole when the run returns EMR_OK, and
 * worthless otherwise. */
EMR_API emr_status emr_merge_set_output(emr_merge *merge, const emr_io *io, emr_error *error);
EMR_API emr_status emr_merge_set_sink(emr_merge *merge, const emr_sink *sink, emr_error *error);

/* The run does part `part` (from 0) of `n_parts`, 1 to 65,536, and the output receives that part; emr_join_run
 * (join.h) makes the bundle of all of them, to the last byte what one run gives. Parts may run anywhere, at any
 * time and in any order; one that failed runs again.
 * - Before the run; the last call counts, so that one plan can tell of all parts: emr_merge_get_plan tells what
 *   this part reads and writes.
 * - Cuts follow from models, options and n_parts alone. A part may be empty.
 * - EMR_EUNSUPPORTED, when the plan is made or the run begins: with emr_merge_extend, a sink, a journal, tensors
 *   that are pushed, or a model that shows rows cut off a tensor as another one.
 * - emr_merge_run only. There is no report of a part. */
EMR_API emr_status emr_merge_set_part(emr_merge *merge, uint32_t part, uint32_t n_parts, emr_error *error);

/* Whether a file is the part that was set, of this very merge, so that an earlier run's can be kept instead of
 * being made again. Its first bytes are read: that it is whole is for the join to find. `io` needs read and
 * length, and is not kept; `name` is what messages call it; NULL: "part".
 * - After emr_merge_set_part. Fixes base and tasks.
 * - EMR_EFORMAT: no part of a merge. EMR_EMISMATCH: another part, or one of another merge: of other models,
 *   options, number of parts or release of libemr or zstd. Values are not compared. */
EMR_API emr_status emr_merge_check_part(emr_merge *merge, const emr_io *io, const char *name,
                                        emr_error *error);

/* Lets a run to a bundle continue after the process was killed or the run failed. After every `interval`
 * bytes of input (0: 1 GiB), or somewhat more, what was written is made durable, and then a record of where
 * the merge stands is appended to the journal. A run that is given the output and the journal of an earlier
 * one, of the same models and options, continues from the last record, and the bundle is the same to the
 * last byte; otherwise it starts over.
 * - After emr_merge_set_output, whose I/O then needs read, length and, to keep the promise, sync; so does
 *   the journal's. emr_file_resume makes such files.
 * - Files are recognised by their sizes and the times when they were last written and last changed in any
 *   way (renamed, say). That other models (in memory, say) still hold what they did is for the caller to
 *   know.
 * - Only merged tensors are made durable this way; kept and private ones come last, and again.
 * - emr_merge_run only. */
EMR_API emr_status emr_merge_set_journal(emr_merge *merge, const emr_io *journal, uint64_t interval,
                                         emr_error *error);

/* Pull: reads every tensor from its model and finishes. */
EMR_API emr_status emr_merge_run(emr_merge *merge, emr_error *error);

/* Push: begins, takes bytes, ends.
 *
 *     emr_merge_begin(merge, &error);
 *     while (more(&source, &chunk, &n)) {
 *         emr_merge_push(merge, source, chunk, n, &taken, &error);
 *         ...
 *     }
 *     emr_merge_finish(merge, &error);
 */
EMR_API emr_status emr_merge_begin(emr_merge *merge, emr_error *error);

/* Hands over the next `n` bytes of one source (EMR_BASE or a task's number), any number at a time. A
 * source's bytes are those of its tensors that have no bytes of their own, one tensor after another in the
 * order that emr_merge_get_expected tells. *taken of them were used; fewer than `n` means that this source
 * is as far ahead of the others as memory allows: push the others, then continue. */
EMR_API emr_status emr_merge_push(emr_merge *merge, uint32_t source, const void *data, size_t n,
                                  size_t *taken, emr_error *error);

/* What emr_merge_push wants next from a source: the tensor, or NULL when the source is done; and how many of
 * its bytes it would take now, 0 if the source has to wait. */
EMR_API emr_status emr_merge_get_expected(const emr_merge *merge, uint32_t source, const emr_tensor **tensor,
                                          uint64_t *bytes, emr_error *error);

/* EMR_ESTATE, naming the source and tensor, while bytes are missing. */
EMR_API emr_status emr_merge_finish(emr_merge *merge, emr_error *error);

/* After the run: how near a task's rebuilt vector is. Tasks with a unified vector and the rules L1 and
 * L1_MEANS are not measured unless options.measure is set. */
EMR_API emr_status emr_merge_get_fidelity(const emr_merge *merge, uint32_t task, emr_fidelity *fidelity);

/* After the run. Set report->size first. */
EMR_API emr_status emr_merge_get_task_report(const emr_merge *merge, uint32_t task, emr_task_report *report);

EMR_END_DECLS

#endif
