/* session.h - a bundle inside a running engine: in memory, ready to act as any task, whatever kind of
 * modulator it has. One call writes a task's weights over the engine's; another multiplies by them without
 * writing them anywhere, for a batch whose vectors belong to different tasks.
 *
 *     emr_session_create(&session, bundle, base, NULL, &error);
 *     emr_weights weights[] = {{.size = sizeof *weights, .name = "layer.0.weight", .data = layer0}, ...};
 *     emr_session_apply(session, french, weights, n, &error);           // act as `french`
 *     emr_session_apply(session, german, weights, n, &error);           // and now as `german`
 *
 * Weights are always computed from the base, never from those of the task before, so nothing drifts.
 *
 * Memory holds the base's merged tensors, the unified vector (none, where no task's kind has one), each
 * task's scales, and codes: masks, and what tasks of other kinds have in their place. Wherever it says `mask`
 * below, it is codes of every kind.
 * - What lies in host memory, or in a mapped file and is stored raw, is used where it is; scales are read.
 * - All else is read when the session is created or, of codes, when it is first needed. Of codes that had to
 *   be decoded, as many are kept as mask_bytes allows; the least recently used go first.
 * - Nothing is allocated after a handle's creation.
 * - Every block of the bundle is checked when it is read, and the base at the beginning.
 *
 * A session is used by one thread at a time, and shares its work out over the executor; or it has a handle
 * for each thread of the host's (emr_session_open_thread). It stays usable after a failed call, whose output
 * is undefined. Freestanding. */
#ifndef EMR_SESSION_H
#define EMR_SESSION_H

#include "emr/blocks.h"
#include "emr/bundle.h"
#include "emr/export.h"
#include "emr/model.h"
#include "emr/product.h"
#include "emr/resources.h"
#include "emr/status.h"

typedef struct emr_session emr_session;

/* Zero means the default. */
typedef struct emr_session_options {
    size_t size;
    /* allocator NULL: the bundle's. memory_bytes caps all memory of the session and its threads, 0: no cap;
     * EMR_ELIMIT says how much is needed, before more than tables is allocated. progress: of checking the base.
     */
    const emr_resources *resources;
    /* Called again and again while a thread waits for another one of the session's (emr_session_open_thread),
     * by several at a time; NULL: it spins. An operating system's "yield", where more threads work than there
     * are processors, or a short sleep, where threads have priorities. */
    void (*wait)(void *user);
    void *wait_user;
    /* Cap on decoded codes; 0: room for those of all tasks. At least one block: of masks 32 KiB, or what
     * block_params of the merge says; of codes of four bits four times as much. To multiply, as many blocks
     * as one row lies in (two where rows are shorter than blocks) for each task that a product names; 64
     * vectors of it are looked at at a time. */
    uint64_t mask_bytes;
    /* EMR_BASE_CHECK_FIRST or _NONE. With _NONE what is merged may also be in another float dtype than the bundle's
     * base was in; so in blocks, though that was not in F32. */
    emr_base_check check;
    /* Non-zero: the session has no base, `base` is NULL, and only what is `without_base` can be asked for. For
     * engines whose base is quantised, repacked or elsewhere. */
    uint32_t without_base;
} emr_session_options;

/* Weights that are ready, on their way to where the host wants them. */
typedef struct emr_weights_part {
    size_t size;
    void *user;       /* of emr_weights */
    const void *data; /* `count` elements, from number `first` of the tensor on; may be written over */
    uint64_t first;
    uint64_t count;
    emr_dtype dtype;       /* and, as in emr_weights, */
    emr_block_type blocks; /* what they are in */
} emr_weights_part;

/* Takes them. A status other than EMR_OK ends the call, which returns it (EMR_EIO for a positive one) and names
 * the tensor; `error` is never NULL. It must not use the handle that calls it. */
typedef emr_status (*emr_weights_fn)(const emr_weights_part *part, emr_error *error);

/* Where an engine keeps the weights of one tensor, or of a part of it. */
typedef struct emr_weights {
    size_t size; /* the same for all in an array */
    /* Of any tensor that the task's checkpoint had: merged, kept from the base, or private; in the bundle's
     * names and shapes, where the checkpoint had others. Borrowed for the call. */
    const char *name; /* NULL: it goes by its number in the bundle, `tensor` */
    /* Out: `count` elements in `dtype`, at any alignment. It must not be the base's memory, nor overlap
     * this array, or another's of the same call. */
    void *data;
    uint64_t first; /* the element of the tensor with which they begin */
    uint64_t count; /* 0: all from `first` on */
    /* Where not NULL, weights go through `data`, which has room for `staging` elements, to this function: part
     * by part in order, each as large as there is room for, from the thread that made the call. So they reach a
     * device, or are converted further, without memory for all of them. Room for a million elements keeps all
     * workers busy, room for a thousand one. */
    emr_weights_fn write;
    void *user;
    uint64_t staging; /* 0 where `write` is NULL */
    /* A float, where the tensor is one; 0: that of the task's checkpoint (of the base for EMR_BASE; F32 without the
     * base). */
    emr_dtype dtype;
    /* `data` is in blocks of that type, into which F32 weights are rounded (EMR_EUNSUPPORTED on big-endian
     * processors): `dtype` is 0 or F32, and first, count,
     * staging and the last dimension are whole blocks. */
    emr_block_type blocks;
    uint32_t tensor;
    /* Non-zero: the change alone, W_task - W_base as the modulator has it: weights as if the base's were +0. Of merged
     * tensors. */
    uint32_t without_base;
} emr_weights;

/* Rows of one tensor, each of a task of its own: of an embedding, for a batch of tokens; or of a norm's weights
 * or a bias (a tensor of rank below 2 is one row), for a batch of vectors. */
typedef struct emr_gather {
    size_t size;
    const char *name;      /* as emr_weights' */
    const uint32_t *tasks; /* `n` of them, or EMR_BASE */
    const uint64_t *rows;  /* likewise; NULL: row 0 of each */
    void *out;             /* out: n rows in `dtype`, at any alignment */
    size_t n;
    size_t out_stride;  /* elements from one row to the next, at least those of a row; 0: those */
    uint64_t n_columns; /* of a row, as emr_product's */
    uint32_t tensor;
    emr_dtype dtype; /* a float; 0: that of the base, F32 without it */
    uint32_t without_base;
    uint32_t reserved;
} emr_gather;

typedef struct emr_session_info {
    size_t size;
    uint64_t memory_bytes;  /* what resources.memory_bytes must be at least, with the threads that there are
                               now; no more is ever allocated */
    uint64_t base_bytes;    /* of it: base tensors that could not be used in place */
    uint64_t unified_bytes; /* of it: unified values that could not */
    uint64_t mask_bytes;    /* of it: room for decoded codes */
    uint64_t masks_found;   /* how often a piece of work needed a block of codes that was in memory, */
    uint64_t masks_read;    /* and blocks that had to be read first */
    uint64_t thread_bytes;  /* what each emr_session_open_thread adds to memory_bytes */
} emr_session_info;

EMR_BEGIN_DECLS

/* `base` NULL means the embedded one. Bundle and base must outlive the session, and the base's memory must
 * not change. EMR_EMISMATCH, naming the first tensor, if the base is not the bundle's. */
EMR_API emr_status emr_session_create(emr_session **session, const emr_bundle *bundle, const emr_model *base,
                                      const emr_session_options *options, emr_error *error);
EMR_API void emr_session_destroy(emr_session **session);

/* One more handle of a session, for one more thread: it shares everything but scratch with it, decoded codes
 * too, and every call takes it, this one included. What it is asked to do it does on the calling thread,
 * without the executor. All handles of a session may be used at the same time, each by one thread at a time.
 * What they give does not depend on that, nor do failures: a block that one could not read, the others try
 * for themselves. EMR_ELIMIT if there is no room for it in memory_bytes.
 *
 * An engine whose threads share out every operation themselves opens one for each, and calls
 * emr_session_multiply from all of them with different rows.
 *
 * Handles wait for each other where one reads the block of codes that another needs too, and where mask_bytes
 * has too little room for what all of them need at a time; each gets its turn, whatever it needs. So no
 * executor, and nothing of the host's that reads the bundle or the base, may wait for a call of another
 * handle. They may be destroyed in any order: what they share goes with the last. */
EMR_API emr_status emr_session_open_thread(emr_session **thread, emr_session *session, emr_error *error);

/* Writes a task's weights (the base's own for EMR_BASE) into the engine's memory, tensor by tensor, each
 * shared out over the executor. Private tensors are read from the bundle each time, by the calling thread.
 * - EMR_ENOTFOUND: the task does not have a tensor. EMR_EUNSUPPORTED: elements of less than a byte.
 * - Where `weights` cannot be right, nothing is written. */
EMR_API emr_status emr_session_apply(emr_session *session, uint32_t task, const emr_weights *weights,
                                     size_t n_weights, emr_error *error);

/* Multiplies rows of a merged tensor by a batch of vectors; tasks[b] is the task of vector b, or EMR_BASE.
 * Tasks of different kinds may be in one batch; see product.h for which are best side by side. EMR_ELIMIT if
 * mask_bytes has no room for the codes of that many tasks at a time; EMR_EINVAL if the tensor is kept from the
 * base, EMR_ENOTFOUND if it is private to tasks. */
EMR_API emr_status emr_session_multiply(emr_session *session, const uint32_t *tasks,
                                        const emr_product *product, emr_error *error);

/* Gathers rows: out[i] is row rows[i] of what tasks[i] has of the tensor, which is merged, or kept from the
 * base. Tasks of different kinds may be in one call, in any order, and as many rows as a prompt has tokens.
 * - EMR_ENOTFOUND: a task does not have it, or has it as a private tensor, of which there are no gathers.
 * - Where anything of `gather` cannot be right, nothing is written. `out` must not be the base's memory, nor lie
 *   over `tasks` or `rows`. */
EMR_API emr_status emr_session_gather(emr_session *session, const emr_gather *gather, emr_error *error);

/* Set info->size first. */
EMR_API emr_status emr_session_get_info(const emr_session *session, emr_session_info *info);

EMR_END_DECLS

#endif
