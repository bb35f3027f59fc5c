/* needs.h - how much memory a session takes, added up before anything large is allocated, and loading what it
 * says. */
#ifndef EMR_SESSION_NEEDS_H
#define EMR_SESSION_NEEDS_H

#include "session/session.h"
#include "core/bytes.h"
#include "model/model.h"

enum { EMR_DECODER_BYTES = 192 << 10 }; /* about what zstd allocates for one */

typedef struct emr_session_needs {
    uint64_t tables, base, unified, scales, codes, scratch; /* bytes; together info.memory_bytes */
    uint64_t n_code_blocks;                                 /* of all tasks */
    uint64_t n_code_slots;                                  /* for those that are decoded */
    size_t slot_bytes, fill_bytes, packed_bytes, stored_bytes, scratch_bytes; /* of one each */
    size_t base_reader, reader; /* what reading an embedded or arranged base, and a task's scales, takes for a
                                   while */
} emr_session_needs;

/* The blocks in which a session has a tensor of the base. Values that kernels make of blocks are the processor's
 * own, and what computes with a base wants little-endian ones: elsewhere it is read as floats. */
static inline emr_block_type emr_session_blocks(const emr_tensor *t)
{
    return emr_is_little_endian() ? t->blocks : EMR_BLOCK_TYPE_NONE;
}

/* Whether a tensor of the base is used where it lies in memory, or where a window of its I/O has it. If neither,
 * what it lies in is read: values, or blocks. */

static inline bool emr_session_has_base(const emr_tensor *t)
{
    return t->kind == EMR_TENSOR_MEMORY || (emr_session_blocks(t) && t->data);
}

static inline bool emr_session_maps_base(const emr_tensor *t)
{
    return (t->kind == EMR_TENSOR_IO || (emr_session_blocks(t) && !t->data)) && t->io.map;
}

/* Finds base tensors and the unified stream, and adds everything up. first_block has room for the number of
 * each task's first block of codes, and one more. */
emr_status emr_session_measure(emr_session_shared *session, size_t *first_block, emr_session_needs *needs,
                               emr_error *error);

/* Decides how many decoded blocks of codes are kept, and sets the sizes in session->info. EMR_ELIMIT where a
 * cap, 0 for none, is too low for it and a handle of so many workers. */
emr_status emr_session_limit(emr_session_shared *session, emr_session_needs *needs, size_t n_workers,
                             uint64_t mask_bytes, uint64_t memory_bytes, emr_error *error);

/* load.c: allocates and reads what was measured, by the handle's workers; room for codes is not part of it,
 * nor is the handle's own. */
emr_status emr_session_load(emr_session *session, const emr_session_needs *needs, emr_error *error);

/* Whatever of it there is. */
void emr_session_unload(emr_session_shared *session);

#endif
