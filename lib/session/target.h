/* target.h - elements of one tensor on their way into the host's memory: apply.c and gather.c say which, the
 * functions here find them, check what is asked for, and write.
 *
 * Everything is checked before anything is written, also that no output lies over the host's arrays: what these say is
 * asked for again when it is written. */
#ifndef EMR_SESSION_TARGET_H
#define EMR_SESSION_TARGET_H

#include "session/session.h"

typedef struct emr_session_target {
    emr_session *session;
    emr_session_task *task;
    const char *name;
    /* Where they come from: */
    enum { EMR_FROM_MERGED, EMR_FROM_KEPT, EMR_FROM_PRIVATE } from;
    size_t i; /* number of the bundle's tensor, or of the private one */
    const emr_tensor *kept;
    uint64_t total;   /* elements of the tensor, */
    uint64_t row;     /* its last dimension; 1 where it has none */
    emr_dtype stored; /* as they are there, */
    emr_dtype dtype;  /* and as the task's checkpoint had them */
    /* What is wanted: elements [first, first + count) in that dtype. */
    emr_dtype out_dtype;
    emr_block_type out_blocks; /* rounded into such */
    uint64_t first, count;
    uint8_t *out;
    bool stream;           /* past the caches */
    uint32_t without_base; /* the change alone: as of a merged tensor whose base is +0 in F32 */
} emr_session_target;

/* Bytes of n elements in the form in which they are wanted. */
static inline uint64_t emr_target_bytes(const emr_session_target *t, uint64_t n)
{
    return emr_session_bytes(t->out_dtype, t->out_blocks, n);
}

/* target.c: the tensor of the bundle with that name; or with that number, where there is no name. */
emr_status emr_session_find_tensor(const emr_session *session, const char *name, uint32_t number,
                                   uint32_t *tensor, emr_error *error);

/* What the target's task has of tensor `i` of the bundle; EMR_ENOTFOUND: nothing. */
emr_status emr_target_find(emr_session_target *target, uint32_t i, emr_error *error);

/* What it has by the target's name, private tensors too. */
emr_status emr_target_find_name(emr_session_target *target, emr_error *error);

/* Sets the dtype in which elements are wanted: 0 stands for the checkpoint's. */
emr_status emr_target_set_dtype(emr_session_target *target, emr_dtype dtype, emr_error *error);

/* The same where they are wanted in blocks: the dtype may be 0 or F32. */
emr_status emr_target_set_blocks(emr_session_target *target, emr_block_type blocks, emr_dtype dtype,
                                 emr_error *error);

/* Whether so many elements, of whatever the words say, are whole blocks if they have to be. */
emr_status emr_target_check_whole(const emr_session_target *target, const char *words, uint64_t n,
                                  emr_error *error);

/* Whether `n` elements may be written to the target's output. */
emr_status emr_target_check_output(const emr_session_target *target, uint64_t n, emr_error *error);

/* Whether two pieces of memory have a byte in common. */
bool emr_memory_overlaps(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes);

/* Writes elements, in a round: of a merged tensor some of them, the others when the round is
 * finished; all of another one. */
emr_status emr_target_write(const emr_session_target *target, emr_error *error);

/* Writes what is left of the round. */
emr_status emr_session_finish_writing(emr_session *session, emr_error *error);

/* The end of every call that writes: the same, if all went well so far; and the round lets go of its codes. */
emr_status emr_session_end_writing(emr_session *session, emr_status status, emr_error *error);

/* elements.c: elements of a tensor that is not merged. */
emr_status emr_target_copy(const emr_session_target *target, emr_error *error);

#endif
