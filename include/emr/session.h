/* session.h - a bundle inside a running engine: base and unified vector held in memory, ready to act as any
 * task. One call writes a task's weights over the engine's, another multiplies by them without writing them
 * anywhere, for a batch whose vectors belong to different tasks.
 *
 *     emr_session_create(&session, bundle, base, &options, error);
 *     emr_weights weights[] = {{.size = sizeof *weights, .name = "layer.0.weight", .data = layer0},
 *                              ...};
 *     emr_session_apply(session, french, weights, n, error);           // act as `french`
 *     emr_session_apply(session, german, weights, n, error);           // and now as `german`
 *
 * Weights are always computed from the base, never from those of the task before, so that nothing drifts.
 *
 * In memory: the base's merged tensors, the unified vector, and masks. What lies in host memory, or in a
 * mapped file and is stored as it is, is used where it is; all else is read into memory when the session is
 * created or, of masks, when it is needed first. Of masks that had to be decoded only so many are kept as the
 * host allows: what was used longest ago goes first. Nothing is allocated after creation. Every block of the
 * bundle is checked against its checksum when it is read, and the base against its hashes at the beginning.
 *
 * A session is used by one thread at a time, and shares its work out over the executor. After a failed call
 * it can go on being used; what the call should have written is undefined then. Freestanding. */
#ifndef EMR_SESSION_H
#define EMR_SESSION_H

#include "emr/bundle.h"
#include "emr/executor.h"
#include "emr/export.h"
#include "emr/model.h"
#include "emr/product.h"
#include "emr/progress.h"
#include "emr/status.h"

typedef struct emr_session emr_session;

typedef struct emr_session_options {
    size_t size;                    /* sizeof(emr_session_options) */
    const emr_allocator *allocator; /* NULL: the bundle's */
    const emr_executor *executor;   /* NULL: the calling thread alone. Copied; its `user` is borrowed. */
    /* Cap on decoded masks; 0: room for those of all tasks. At least one block (32 KiB, or what block_params
     * of the merge says); and to multiply, for each task that a product names (64 vectors of it are looked at
     * at a time), as many as one row lies in: two where rows are shorter than blocks. */
    uint64_t mask_bytes;
    /* Cap on all memory of the session; 0: none. EMR_ELIMIT, saying how much is needed, before more than its
     * tables are allocated. */
    uint64_t memory_bytes;
    int trust_base;           /* non-zero: do not check that the base is the one the bundle was made with */
    emr_progress_fn progress; /* of creating: bytes of that check */
    void *progress_user;
} emr_session_options;


/* Where an engine keeps the weights of one tensor, or of a part of it. */
typedef struct emr_weights {
    size_t size; /* sizeof(emr_weights), the same for all in an array */
    /* Of any tensor that the task's checkpoint had: merged, kept from the base, or private. Borrowed for the
     * call. */
    const char *name;
    /* Out: `count` elements in `dtype`, at any alignment. May hold anything; may not be the base's memory,
     * nor overlap another's of the same call. */
    void *data;
    uint64_t first; /* element of the tensor with which they begin */
    uint64_t count; /* 0: all from `first` on */
    /* A float emr_dtype, where the tensor is a float; 0: that of the task's checkpoint (of the base for
     * EMR_BASE). */
    int dtype;
} emr_weights;

typedef struct emr_session_info {
    size_t size;            /* sizeof(emr_session_info) */
    uint64_t memory_bytes;  /* what memory_bytes of the options must be at least; no more is ever allocated */
    uint64_t base_bytes;    /* of it: base tensors that could not be used in place */
    uint64_t unified_bytes; /* unified values, likewise */
    uint64_t mask_bytes;    /* room for decoded masks */
    uint64_t masks_found;   /* how often a piece of work needed a block of a mask that was in memory, */
    uint64_t masks_read;    /* and blocks that had to be read first */
} emr_session_info;

EMR_BEGIN_DECLS

/* `base` NULL means the embedded one. Bundle and base must outlive the session, and the base's memory must
 * not change. EMR_EMISMATCH, naming the first tensor, if the base is not the bundle's. */
EMR_API emr_status emr_session_create(emr_session **session, const emr_bundle *bundle, const emr_model *base,
                                      const emr_session_options *options, emr_error *error);
EMR_API void emr_session_destroy(emr_session **session);

/* Writes a task's weights into the engine's memory, tensor by tensor, each shared out over the executor. With
 * a tensor that the task does not have: EMR_ENOTFOUND. Elements of less than a byte: EMR_EUNSUPPORTED. Where
 * `weights` cannot be right, nothing is written. Private tensors of a task are read from the bundle each
 * time. */
EMR_API emr_status emr_session_apply(emr_session *session, size_t task, const emr_weights *weights,
                                     size_t n_weights, emr_error *error);

/* Multiplies rows of a merged tensor by a batch of vectors; tasks[b] is the task of vector b, or
 * EMR_BASE. EMR_ELIMIT if mask_bytes has no room for the masks of so many tasks at a time. */
EMR_API emr_status emr_session_multiply(emr_session *session, const size_t *tasks, const emr_product *product,
                                        emr_error *error);

/* Set info->size first. */
EMR_API emr_status emr_session_get_info(const emr_session *session, emr_session_info *info);

EMR_END_DECLS

#endif
