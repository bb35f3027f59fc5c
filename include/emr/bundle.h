/* bundle.h - the container that a merge writes: unified task vector, each task's mask and rescalers, private
 * tensors, and the base where it was embedded. docs/bundle-format.md specifies the bytes.
 *
 * Applying a task, file to file:
 *
 *     emr_bundle_open_file(&bundle, "all.emr", NULL, &error);
 *     emr_checkpoint_open(&base, "base.safetensors", NULL, &error);
 *     emr_bundle_find_task(bundle, "french", &task, &error);
 *     emr_bundle_open_task(&model, bundle, task, base, NULL, &error);
 *     emr_checkpoint_write(model, "french.safetensors", NULL, &error);
 *
 * After opening, a bundle does not change. Tasks, tensors and entries are numbered from 0. */
#ifndef EMR_BUNDLE_H
#define EMR_BUNDLE_H

#include "emr/allocator.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/model.h"
#include "emr/modulator.h"
#include "emr/resources.h"
#include "emr/status.h"

typedef struct emr_bundle emr_bundle;

/* Zero means the default. */
typedef struct emr_bundle_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    uint32_t map;                   /* emr_bundle_open_file: read through a mapping, see emr_file_options */
    uint32_t reserved;
} emr_bundle_options;

typedef struct emr_bundle_info {
    size_t size;
    uint64_t bytes;         /* of the whole file */
    uint64_t merged_params; /* parameters of all merged tensors */
    uint32_t n_tasks;
    uint32_t n_tensors; /* of the base: the merged ones come first, then those kept from the base */
    uint32_t n_merged;
    uint32_t version_major; /* of the format */
    uint32_t version_minor;
    uint32_t rescale;     /* an emr_rescale: of tasks that use the unified vector */
    uint32_t rescale_per; /* an emr_rescale_per: likewise */
    uint32_t tie;         /* an emr_tie */
    emr_dtype unified_dtype;
    uint32_t has_base;   /* 1: the base is embedded */
    uint32_t extendable; /* 1: emr_merge_extend can add tasks */
    uint32_t n_elected;  /* tasks whose modulators use the unified vector; there is none if this is 0 */
} emr_bundle_info;

/* Strings and shapes in the infos below belong to the bundle. */
typedef struct emr_task_info {
    size_t size;
    const char *name;
    uint64_t mask_ones;  /* density = mask_ones / merged_params */
    uint64_t mask_bytes; /* as stored */
    uint32_t n_private;
    float rescaler;       /* per model; 0 otherwise */
    uint64_t coded_bytes; /* as stored: all of the modulator, but for the unified vector that it may share */
} emr_task_info;

typedef struct emr_tensor_info {
    size_t size;
    const char *name;
    const uint64_t *shape;
    uint64_t count;
    uint64_t unified_bytes; /* as stored: the tensor's share of its blocks; 0 if it is not merged */
    uint64_t base_hash[2];  /* XXH3-128 of the base's bytes of this tensor: low, high */
    emr_dtype dtype;        /* the base's */
    uint32_t rank;
    uint32_t merged; /* 1: merged; 0: kept from the base */
    uint32_t reserved;
} emr_tensor_info;

typedef struct emr_private_info {
    size_t size;
    const char *name;
    const uint64_t *shape;
    uint64_t bytes;
    emr_dtype dtype;
    uint32_t rank;
} emr_private_info;

/* When the base is compared with the one that the bundle was made with. */
typedef uint32_t emr_base_check;
enum {
    EMR_BASE_CHECK_FIRST = 0, /* before the call returns: reads all of the base */
    EMR_BASE_CHECK_WRITE = 1, /* while the model is written, so that the base is read once. A write of another
                               base's weights ends in EMR_EMISMATCH, and no file appears; through emr_io, the
                               bytes are worthless then. emr_tensor_read refuses such a model (EMR_ESTATE).
                               Only tensors that the task takes from the base are compared. */
    EMR_BASE_CHECK_NONE = 2   /* never: the caller knows */
};

/* Zero means the default. */
typedef struct emr_view_options {
    size_t size;
    const emr_resources *resources; /* of the check; the allocator is the model's too. NULL: the bundle's */
    emr_dtype dtype;                /* of float tensors; 0: as the task's checkpoint had each */
    emr_base_check check;
    uint32_t f32_vectors; /* non-zero: with a dtype of fewer than 32 bits, tensors of rank 0 and 1 are F32, as
                             GGUF files have norms and biases */
    uint32_t reserved;
} emr_view_options;

/* One tensor that is not as the bundle's base had it. */
typedef struct emr_base_difference {
    size_t size;
    const char *tensor;
    const char *why; /* a few words: "its shape differs" */
} emr_base_difference;

typedef struct emr_base_check_options {
    size_t size;
    const emr_resources *resources;
    void (*differs)(void *user, const emr_base_difference *difference); /* NULL: the first one will do */
    void *user;
} emr_base_check_options;

/* Some tasks of a bundle, for emr_bundle_drop and emr_bundle_extract. */
typedef struct emr_task_selection {
    size_t size;
    const emr_resources *resources;
    const uint32_t *tasks; /* numbers, each once, in any order */
    uint32_t n_tasks;
    uint32_t reserved;
} emr_task_selection;

/* What a merge without the dropped tasks would do otherwise: it would elect again at most `alone` and
 * `shared` of the unified values (and where a tie elected nothing), and compute every rescaler from that. Tasks whose
 * modulators do not use the unified vector are not counted: nothing changes without them. */
typedef struct emr_drop_report {
    size_t size;
    uint64_t unified; /* values of the unified task vector that are not 0 */
    uint64_t alone;   /* of them, in the mask of a dropped task and of none that stays: of no use any more */
    uint64_t shared; /* of them, in masks of a dropped task and of one that stays: perhaps too large for it */
    uint32_t lost_growth;  /* 1: tasks could be added to the bundle; to the new one they cannot */
    uint32_t lost_unified; /* 1: no task that stays uses the unified vector, so it is gone too */
} emr_drop_report;

EMR_BEGIN_DECLS

/* Opens a bundle: reads and checks its header and index, nothing else. `io` needs `read` and `length`; with
 * `map`, raw blocks are used in place. `name` is what messages call it; NULL means "bundle". Freestanding.
 */
EMR_API emr_status emr_bundle_open(emr_bundle **bundle, const emr_io *io, const char *name,
                                   const emr_bundle_options *options, emr_error *error);

/* The same for a file, which stays open until the bundle is destroyed. */
EMR_API emr_status emr_bundle_open_file(emr_bundle **bundle, const char *path,
                                        const emr_bundle_options *options, emr_error *error);

/* Models, modulators and sessions made from the bundle must be destroyed before it. */
EMR_API void emr_bundle_destroy(emr_bundle **bundle);

/* What messages call it. */
EMR_API const char *emr_bundle_name(const emr_bundle *bundle);

/* Set the struct's size first. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_bundle_get_info(const emr_bundle *bundle, emr_bundle_info *info);
EMR_API emr_status emr_bundle_get_task(const emr_bundle *bundle, uint32_t task, emr_task_info *info);
EMR_API emr_status emr_bundle_get_tensor(const emr_bundle *bundle, uint32_t tensor, emr_tensor_info *info);

/* What a task's modulator is, no member a default; and how near it comes, as far as the bundle knows (of masks by
 * the paper's rules only if options.measure was set). Either may be NULL. */
EMR_API emr_status emr_bundle_get_modulation(const emr_bundle *bundle, uint32_t task,
                                             emr_modulation_spec *spec, emr_fidelity *fidelity);
EMR_API emr_status emr_bundle_get_private(const emr_bundle *bundle, uint32_t task, uint32_t i,
                                          emr_private_info *info);

/* The number of the task or tensor of that name, or EMR_ENOTFOUND. */
EMR_API emr_status emr_bundle_find_task(const emr_bundle *bundle, const char *name, uint32_t *task,
                                        emr_error *error);
EMR_API emr_status emr_bundle_find_tensor(const emr_bundle *bundle, const char *name, uint32_t *tensor,
                                          emr_error *error);

/* The metadata of a task's checkpoint, or of the base's (EMR_BASE): the number of entries, one of them, the
 * value of a key (NULL where there is none). Strings are the bundle's. */
EMR_API uint32_t emr_bundle_n_metadata(const emr_bundle *bundle, uint32_t task);
EMR_API emr_status emr_bundle_get_metadata(const emr_bundle *bundle, uint32_t task, uint32_t i,
                                           const char **key, const char **value);
EMR_API const char *emr_bundle_find_metadata(const emr_bundle *bundle, uint32_t task, const char *key);

/* One task's modulator; its tensors are numbered as the bundle's merged ones. Use one for each thread. */
EMR_API emr_status emr_bundle_open_modulator(emr_modulator **modulator, const emr_bundle *bundle,
                                             uint32_t task, const emr_allocator *allocator, emr_error *error);

/* One task's model, computed as it is read: tensors in any range, from any number of threads at a time.
 * `base` NULL means the embedded one. Bundle and base must outlive the model. */
EMR_API emr_status emr_bundle_open_task(emr_model **model, const emr_bundle *bundle, uint32_t task,
                                        const emr_model *base, const emr_view_options *options,
                                        emr_error *error);

/* As models too: the embedded base (EMR_ENOTFOUND where there is none) with all tensors that tasks take from
 * it; the unified task vector (F32) and one task's mask (BOOL), with the merged tensors' names and shapes.
 * NULL allocator: the bundle's. EMR_EUNSUPPORTED: modulators of a kind that has no unified vector, or no
 * masks. */
EMR_API emr_status emr_bundle_open_base(emr_model **model, const emr_bundle *bundle,
                                        const emr_allocator *allocator, emr_error *error);
EMR_API emr_status emr_bundle_open_unified(emr_model **model, const emr_bundle *bundle,
                                           const emr_allocator *allocator, emr_error *error);
EMR_API emr_status emr_bundle_open_mask(emr_model **model, const emr_bundle *bundle, uint32_t task,
                                        const emr_allocator *allocator, emr_error *error);

/* Reads every byte of the file and checks every checksum, every padding byte, and that nothing lies between.
 * `resources` may be NULL. */
EMR_API emr_status emr_bundle_verify(const emr_bundle *bundle, const emr_resources *resources,
                                     emr_error *error);

/* Whether `base` is the model that the bundle was made with: EMR_EMISMATCH names the first tensor, in the
 * bundle's order, that is absent or differs in dtype, shape or bytes. `options` may be NULL. */
EMR_API emr_status emr_bundle_check_base(const emr_bundle *bundle, const emr_model *base,
                                         const emr_base_check_options *options, emr_error *error);

/* Writes a bundle without the selected tasks: their masks, rescalers, private tensors, names and metadata
 * are gone. All else stays as it is, so the others' weights are the same to the last bit; blocks are copied
 * as they are stored, and checked on the way. Tasks with a unified vector cannot be added to the new bundle: its
 * sums are those of all tasks.
 * - EMR_ENOTFOUND: there is no such task. EMR_EINVAL: one is selected twice, or none would stay.
 * - `io` needs `write`, and is written front to back; `sync` is called at the end if it is there.
 * - `report` may be NULL; for it every mask is read a second time. Set its size first.
 * - Takes memory for six copies of the index, four blocks and 256 KiB, whatever the number of tasks. */
EMR_API emr_status emr_bundle_drop(const emr_bundle *bundle, const emr_task_selection *dropped,
                                   const emr_io *io, emr_drop_report *report, emr_error *error);

/* The inverse: writes a bundle with the selected tasks alone. */
EMR_API emr_status emr_bundle_extract(const emr_bundle *bundle, const emr_task_selection *kept,
                                      const emr_io *io, emr_drop_report *report, emr_error *error);

EMR_END_DECLS

#endif
