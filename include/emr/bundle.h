/* bundle.h - the container that a merge writes: unified task vector, each task's mask and rescalers, private
 * tensors, and the base where it was embedded. docs/bundle-format.md specifies the bytes.
 *
 * Applying a task, file to file:
 *
 *     emr_bundle_open_file(&bundle, "all.emr", NULL, error);
 *     emr_checkpoint_open(&base, "base.safetensors", NULL, error);
 *     emr_bundle_open_task(&model, bundle, 0, base, NULL, error);
 *     emr_checkpoint_write(model, "task.safetensors", NULL, error);
 *
 * After opening, a bundle does not change: every call on it but destroy is concurrent. */
#ifndef EMR_BUNDLE_H
#define EMR_BUNDLE_H

#include "emr/allocator.h"
#include "emr/dtype.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/modulator.h"
#include "emr/progress.h"
#include "emr/status.h"

typedef struct emr_bundle emr_bundle;

typedef struct emr_bundle_options {
    size_t size; /* sizeof(emr_bundle_options) */
    const emr_allocator *allocator;
    int map; /* emr_bundle_open_file: read through a mapping, see emr_file_open */
} emr_bundle_options;

typedef struct emr_bundle_info {
    size_t size;            /* sizeof(emr_bundle_info) */
    uint64_t bytes;         /* of the whole file */
    uint64_t merged_params; /* parameters of all merged tensors */
    size_t n_tasks;
    size_t n_tensors; /* of the base: the merged ones come first, then those kept from the base */
    size_t n_merged;
    uint32_t version_major;
    uint32_t version_minor;
    uint32_t rescale;       /* an emr_rescale */
    uint32_t rescale_per;   /* an emr_rescale_per */
    uint32_t tie;           /* an emr_tie */
    uint32_t unified_dtype; /* an emr_dtype */
    uint32_t has_base;      /* 1: the base is embedded */
    uint32_t extendable;    /* 1: emr_merge_extend can add tasks */
} emr_bundle_info;

/* Strings and shapes in the infos below belong to the bundle. */
typedef struct emr_task_info {
    size_t size; /* sizeof(emr_task_info) */
    const char *name;
    uint64_t mask_ones;  /* density = mask_ones / merged_params */
    uint64_t mask_bytes; /* as stored */
    size_t n_private;
    float rescaler; /* per model; 0 otherwise */
    uint32_t reserved;
} emr_task_info;

typedef struct emr_tensor_info {
    size_t size; /* sizeof(emr_tensor_info) */
    const char *name;
    const uint64_t *shape;
    uint64_t count;
    uint64_t unified_bytes; /* as stored: the tensor's share of its blocks; 0 if not merged */
    uint64_t base_hash[2];  /* XXH3-128 of the base's bytes of this tensor: low, high */
    uint32_t rank;
    uint32_t dtype;  /* the base's */
    uint32_t merged; /* 1: merged; 0: kept from the base */
    uint32_t reserved;
} emr_tensor_info;

typedef struct emr_private_info {
    size_t size; /* sizeof(emr_private_info) */
    const char *name;
    const uint64_t *shape;
    uint64_t bytes;
    uint32_t rank;
    uint32_t dtype;
} emr_private_info;

typedef struct emr_view_options {
    size_t size; /* sizeof(emr_view_options) */
    const emr_allocator *allocator;
    int dtype;      /* float tensors come out in this dtype; 0: the task checkpoint's own */
    int trust_base; /* non-zero: do not check that the base is the one the bundle was made with */
    const emr_executor *executor; /* for that check */
    emr_progress_fn progress;     /* of that check */
    void *progress_user;
} emr_view_options;

typedef struct emr_drop_options {
    size_t size; /* sizeof(emr_drop_options) */
    const emr_allocator *allocator;
    emr_progress_fn progress;
    void *progress_user;
} emr_drop_options;

/* What a merge without the dropped tasks would do otherwise: it would elect anew at most `alone` and `shared`
 * of the unified values (and where a tie elected nothing), and compute every rescaler from that. */
typedef struct emr_drop_report {
    size_t size;      /* sizeof(emr_drop_report) */
    uint64_t unified; /* values of the unified task vector that are not 0 */
    uint64_t alone;   /* of them, in the mask of a dropped task and of none that stays: of no use any more */
    uint64_t shared; /* of them, in the masks of a dropped task and of one that stays: too large, perhaps, for
                        that */
    uint32_t lost_growth; /* 1: tasks could be added to the bundle; to the new one they cannot */
    uint32_t reserved;
} emr_drop_report;

EMR_BEGIN_DECLS

/* Opens a bundle: reads and checks its header and index, nothing else. `io` needs `read` and `length`; with
 * `map`, raw blocks are used in place. `name` is what messages call it; NULL means "bundle". Freestanding. */
EMR_API emr_status emr_bundle_open(emr_bundle **bundle, const emr_io *io, const char *name,
                                   const emr_bundle_options *options, emr_error *error);

/* The same for a file, which stays open until the bundle is destroyed. */
EMR_API emr_status emr_bundle_open_file(emr_bundle **bundle, const char *path,
                                        const emr_bundle_options *options, emr_error *error);

/* Models, modulators and sessions made from the bundle must be destroyed before it. */
EMR_API void emr_bundle_destroy(emr_bundle **bundle);

/* Set the struct's size first. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_bundle_get_info(const emr_bundle *bundle, emr_bundle_info *info);
EMR_API emr_status emr_bundle_get_task(const emr_bundle *bundle, size_t task, emr_task_info *info);
EMR_API emr_status emr_bundle_get_tensor(const emr_bundle *bundle, size_t tensor, emr_tensor_info *info);
EMR_API emr_status emr_bundle_get_private(const emr_bundle *bundle, size_t task, size_t i,
                                      emr_private_info *info);

/* The number of the task or tensor of that name, or EMR_ENOTFOUND. */
EMR_API emr_status emr_bundle_find_task(const emr_bundle *bundle, const char *name, size_t *task);
EMR_API emr_status emr_bundle_find_tensor(const emr_bundle *bundle, const char *name, size_t *tensor);

/* How many rescalers a task has for a merged tensor: 1, or its number of rows in a bundle with rescalers per
 * row. */
EMR_API uint64_t emr_bundle_n_rescalers(const emr_bundle *bundle, size_t tensor);

/* Rescalers [first, first + n) of a merged tensor. */
EMR_API emr_status emr_bundle_rescalers(const emr_bundle *bundle, size_t task, size_t tensor, uint64_t first,
                                        size_t n, float *rescalers, emr_error *error);

/* One task's modulator; its tensors are numbered as the bundle's merged ones. Use one per thread. */
EMR_API emr_status emr_bundle_open_modulator(emr_modulator **modulator, const emr_bundle *bundle, size_t task,
                                        const emr_allocator *allocator, emr_error *error);

/* Reads every byte of the file and checks every checksum, every padding byte and that nothing lies between.
 * `executor` and `progress` may be NULL. */
EMR_API emr_status emr_bundle_verify(const emr_bundle *bundle, const emr_executor *executor,
                                     emr_progress_fn progress, void *progress_user, emr_error *error);

/* Whether `base` is the model that the bundle was made with: EMR_EMISMATCH names the first tensor, in the
 * bundle's order, that is absent or differs in dtype, shape or bytes. If `differs` is not NULL it is called
 * for every such tensor, with `differs_user`. Executor and progress may be NULL. */
EMR_API emr_status emr_bundle_check_base(const emr_bundle *bundle, const emr_model *base,
                                         const emr_executor *executor, emr_progress_fn progress,
                                         void *progress_user,
                                         void (*differs)(void *user, const char *tensor, const char *why),
                                         void *differs_user, emr_error *error);

/* One task's model, computed as it is read: tensors in any range, from any number of threads at a time.
 * `base` NULL means the embedded one; otherwise it is checked first, unless trusted. Bundle and base must
 * outlive the model. */
EMR_API emr_status emr_bundle_open_task(emr_model **model, const emr_bundle *bundle, size_t task,
                                         const emr_model *base, const emr_view_options *options,
                                         emr_error *error);

/* The embedded base as a model (EMR_ENOTFOUND where there is none) with all tensors that tasks take from it;
 * the unified task vector (F32) and one task's mask (BOOL), with the merged tensors' names and shapes. Of the
 * options the allocator alone counts. */
EMR_API emr_status emr_bundle_open_base(emr_model **model, const emr_bundle *bundle,
                                         const emr_view_options *options, emr_error *error);
EMR_API emr_status emr_bundle_open_unified(emr_model **model, const emr_bundle *bundle,
                                            const emr_view_options *options, emr_error *error);
EMR_API emr_status emr_bundle_open_mask(emr_model **model, const emr_bundle *bundle, size_t task,
                                         const emr_view_options *options, emr_error *error);

/* Writes a bundle without some tasks: theirs are gone, masks, rescalers, private tensors, names and metadata.
 * All else is as it was, so the weights of the others are the same to the last bit; blocks are copied as they
 * are stored, and checked on the way. Tasks cannot be added to the new bundle: its sums would be those of all
 * tasks. `tasks` are numbers, each once (EMR_ENOTFOUND, EMR_EINVAL); one task at least stays (EMR_EINVAL).
 * `io` needs `write`, which is called front to back; `sync` is called at the end if it is there. Every mask
 * is read a second time for `report`, which may be NULL. Needs memory for the index six times, four blocks
 * and 256 KiB, whatever the number of tasks. Concurrent. */
EMR_API emr_status emr_bundle_drop(const emr_bundle *bundle, const size_t *tasks, size_t n_tasks,
                                   const emr_io *io, const emr_drop_options *options, emr_drop_report *report,
                                   emr_error *error);

EMR_END_DECLS

#endif
