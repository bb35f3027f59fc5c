/* merge.h - the streaming merge: base and tasks in, unified task vector, masks and rescalers out, in one pass
 * and in memory that does not depend on the size of the models.
 *
 *     emr_merge_create(&merge, &options, error);
 *     emr_merge_set_base(merge, base, error);
 *     emr_merge_add_task(merge, "french", french, error);      // in this order, which is the order of sums
 *     emr_merge_add_task(merge, "german", german, error);
 *     emr_merge_set_output(merge, &io, error);                  // or emr_merge_set_sink
 *     emr_merge_run(merge, error);                             // or emr_merge_push ... emr_merge_finish
 *     emr_merge_destroy(&merge);
 *
 * The result is the same to the last bit whatever the executor, the memory limit, the chunks in which data
 * arrives, and the CPU. docs/algorithm.md says what is computed. */
#ifndef EMR_MERGE_H
#define EMR_MERGE_H

#include "emr/allocator.h"
#include "emr/bundle.h"
#include "emr/dtype.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/progress.h"
#include "emr/status.h"

typedef struct emr_merge emr_merge;

/* How a task's rescaler lambda is computed from its task vector tau and its masked unified vector M*u. Where
 * M*u is empty it is 0; beyond the largest f32 it is that. */
typedef enum emr_rescale {
    EMR_RESCALE_L1 = 0, /* sum |tau| / sum |M*u|                               (the paper, equation 5) */
    EMR_RESCALE_L1_MEANS = 1, /* sum over tensors of mean |tau| / the same of |M*u|  (the authors' program) */
    EMR_RESCALE_L2 = 2        /* <tau, M*u> / <M*u, M*u>                             (least squares) */
} emr_rescale;

typedef enum emr_rescale_per {
    EMR_RESCALE_PER_MODEL = 0, /* the paper */
    EMR_RESCALE_PER_TENSOR = 1,
    EMR_RESCALE_PER_ROW = 2 /* per index of the first dimension; tensors of rank < 2 are one row,
                         tensors without elements have none */
} emr_rescale_per;

/* What a sum of exactly 0 elects. */
typedef enum emr_tie {
    EMR_TIE_ZERO = 0,    /* nothing (the paper) */
    EMR_TIE_NEGATIVE = 1 /* the negative side (the authors' program) */
} emr_tie;

typedef enum emr_on_mismatch { EMR_ON_MISMATCH_ERROR = 0, EMR_ON_MISMATCH_PRIVATE = 1 } emr_on_mismatch;
typedef enum emr_on_missing { EMR_ON_MISSING_ERROR = 0, EMR_ON_MISSING_BASE = 1 } emr_on_missing;
typedef enum emr_on_nonfinite { EMR_ON_NONFINITE_ERROR = 0, EMR_ON_NONFINITE_ZERO = 1 } emr_on_nonfinite;

#define EMR_COMPRESSION_NONE (-1) /* every block raw: for devices without zstd */

typedef struct emr_merge_options {
    size_t size;                      /* sizeof(emr_merge_options) */
    const emr_allocator *allocator;   /* NULL: malloc and free */
    const emr_executor *executor;     /* NULL: the calling thread alone */
    const char *const *private_globs; /* tensors whose name matches one stay private; '*', '?', '[a-z]' */
    size_t n_private_globs;
    uint64_t memory_bytes; /* cap on working memory; 0: 256 MiB. EMR_ELIMIT where it is too little. */
    emr_progress_fn progress;
    void *progress_user;
    int rescale;       /* an emr_rescale */
    int rescale_per;   /* an emr_rescale_per; L1_MEANS is per model only */
    int tie;           /* an emr_tie */
    int on_mismatch;   /* a tensor's shapes (or float and not float) differ: an emr_on_mismatch */
    int on_missing;    /* a tensor of the base is absent from a task: an emr_on_missing */
    int on_nonfinite;  /* a NaN or infinity in a merged tensor: an emr_on_nonfinite */
    int unified_dtype; /* EMR_DTYPE_F32 (also 0), EMR_DTYPE_F16 or EMR_DTYPE_BF16 */
    int embed_base;    /* non-zero: the bundle holds the base too */
    int extendable; /* non-zero: the bundle holds what emr_merge_extend needs, about 8 bytes a parameter more.
                       Not with EMR_RESCALE_L2, which needs every task vector itself. */
    int compression; /* zstd level 1 to 19; 0: the default, 1; or EMR_COMPRESSION_NONE. Up to 4 differ for
                        private tensors and an embedded base alone. */
    uint32_t block_params; /* parameters of a mask block, a power of two from 4096 to 16 Mi; 0: 256 Ki, more
                              for very large models. Applying needs about 2.5 bytes of memory for each. */
} emr_merge_options;

/* What is done with a tensor. */
typedef enum emr_action {
    EMR_ACTION_MERGE = 1,  /* elected, masked, rescaled */
    EMR_ACTION_KEEP = 2,   /* not a float: from the base where a task has the same bytes, else private */
    EMR_ACTION_PRIVATE = 3 /* each task that has it keeps its own copy */
} emr_action;

/* One row of the plan, and after the run of the report. Strings are the merge's. */
typedef struct emr_plan_tensor {
    size_t size; /* sizeof(emr_plan_tensor) */
    const char *name;
    const char *reason; /* why, in a few words: "float in the base and every task", "matches heads.*" */
    const uint64_t *shape;
    uint64_t count;
    uint64_t zeroed; /* after the run: task values that counted as 0 under EMR_ON_NONFINITE_ZERO */
    uint32_t rank;
    uint32_t dtype;     /* the base's, or the first task's that has it */
    uint32_t action;    /* an emr_action */
    uint32_t n_private; /* tasks that keep their own copy; for KEEP known after the run */
} emr_plan_tensor;

typedef struct emr_plan_summary {
    size_t size;      /* sizeof(emr_plan_summary) */
    size_t n_tensors; /* rows for emr_merge_get_plan_tensor */
    size_t n_merged;
    uint64_t merged_params;
    uint64_t bytes_in;  /* what a run reads */
    uint64_t bytes_out; /* at most this is written, before compression */
    uint64_t
        peak_memory; /* working memory of the run as it is set up by then, at most options.memory_bytes */
} emr_plan_summary;

typedef struct emr_task_report {
    size_t size; /* sizeof(emr_task_report) */
    const char *name;
    uint64_t mask_ones; /* merged parameters whose mask bit is set; density = ones / merged_params */
    uint64_t zeroed;    /* values that counted as 0 under EMR_ON_NONFINITE_ZERO */
    float rescaler;     /* per model; 0 otherwise */
    int empty_mask;     /* 1: the task differs from the base, yet nothing of it was elected */
} emr_task_report;

/* Receives a merge's results as they are computed, instead of a bundle. Tensors are numbered as in the plan
 * and come in its order, each from front to back; `first` is a multiple of 64. A non-zero return stops the
 * run with EMR_EIO. NULL members are not called. Tensors without elements and private tensors do not come.
 * Pointers are valid during the call only. */
typedef struct emr_sink {
    size_t size; /* sizeof(emr_sink) */
    void *user;
    /* Parameters [first, first + n) of the unified task vector, in options.unified_dtype. */
    int (*unified)(void *user, size_t tensor, uint64_t first, size_t n, const void *values);
    /* The same parameters' mask bits of one task, packed: bit i % 8 of byte i / 8, padding bits 0. */
    int (*mask)(void *user, size_t tensor, size_t task, uint64_t first, size_t n, const uint8_t *bits);
    /* Rescalers: per tensor one, per row `n` from row `first`, in either case once the tensor or row is done.
     * Per model they are in the report. */
    int (*rescalers)(void *user, size_t tensor, size_t task, uint64_t first, size_t n, const float *values);
} emr_sink;


EMR_BEGIN_DECLS

EMR_API emr_status emr_merge_create(emr_merge **merge, const emr_merge_options *options, emr_error *error);
EMR_API void emr_merge_destroy(emr_merge **merge);

/* The models are borrowed until the merge is destroyed. Task names are unique, 1 to 255 bytes. */
EMR_API emr_status emr_merge_set_base(emr_merge *merge, const emr_model *base, emr_error *error);
EMR_API emr_status emr_merge_add_task(emr_merge *merge, const char *name, const emr_model *model,
                                      emr_error *error);

/* Adds to a bundle that was made extendable: its tasks come first, those added afterwards join them, and the
 * result is to the last bit what merging all of them at once gives; the earlier checkpoints are not needed.
 * Before any task is added; what the bundle was made with replaces the options from `private_globs` to
 * `block_params`, and the result is extendable again. The base must be the bundle's, and whole: an
 * embedded one may lack tensors of which every task has its own copy. The bundle is borrowed
 * until the merge is destroyed. EMR_EUNSUPPORTED if it is not extendable. */
EMR_API emr_status emr_merge_extend(emr_merge *merge, const emr_bundle *bundle, emr_error *error);

/* What a run would do, without reading any tensor. May be called once base and tasks are set; fixes both. */
EMR_API emr_status emr_merge_get_plan(emr_merge *merge, emr_plan_summary *summary, emr_error *error);
EMR_API emr_status emr_merge_get_plan_tensor(const emr_merge *merge, size_t i, emr_plan_tensor *row);

/* Where the result goes. `io` needs `write` alone; the bundle is whole when the run returns EMR_OK, and what
 * was written is worthless otherwise. */
EMR_API emr_status emr_merge_set_output(emr_merge *merge, const emr_io *io, emr_error *error);
EMR_API emr_status emr_merge_set_sink(emr_merge *merge, const emr_sink *sink, emr_error *error);

/* Lets a run to a bundle go on after the process was killed, or the run failed: after each `interval` bytes
 * of input (0: 1 GiB) or somewhat more, what was written is made durable, and then a record of where the
 * merge stands is appended to the journal. A run that is given what an earlier one left, output and journal,
 * of the same models and options, goes on from the last record, and the bundle is the same to the last byte;
 * else it begins anew. After emr_merge_set_output, whose I/O then needs read, length and, for what it
 * promises, sync, as the journal does. Files are known again by their sizes and the times when they were last
 * written and last changed in any way (renamed, say); that other models (from memory, say) hold what they did
 * is for the caller to know. emr_file_resume makes such files. Only tensors that are merged are made durable
 * so: those kept and private come last, and again. Pull only. */
EMR_API emr_status emr_merge_set_journal(emr_merge *merge, const emr_io *journal, uint64_t interval,
                                    emr_error *error);

/* Pull: reads every tensor from its model and finishes. */
EMR_API emr_status emr_merge_run(emr_merge *merge, emr_error *error);

/* Push: hands over the next `n` bytes of one source (EMR_BASE or a task's number), any number at a
 * time. A source's bytes are those of its tensors that have no bytes of their own, one tensor after another
 * in the order of emr_merge_get_expected. *taken of them were used; fewer than `n` means that this source is as
 * far ahead of the others as memory allows: push the others, then go on. */
EMR_API emr_status emr_merge_push(emr_merge *merge, uint32_t source, const void *data, size_t n,
                                  size_t *taken, emr_error *error);

/* What emr_merge_push wants next from a source: the tensor (borrowed), and how many of its bytes it would
 * take now, 0 if the source has to wait. *tensor is NULL when the source is done. */
EMR_API emr_status emr_merge_get_expected(emr_merge *merge, uint32_t source, const char **tensor, uint64_t *bytes,
                                     emr_error *error);

/* Ends a pushed merge. EMR_ESTATE, naming the source and tensor, while bytes are missing. */
EMR_API emr_status emr_merge_finish(emr_merge *merge, emr_error *error);

/* After the run. */
EMR_API emr_status emr_merge_get_task_report(const emr_merge *merge, size_t task, emr_task_report *report);

EMR_END_DECLS

#endif
