/* session.h - what the session's files share. */
#ifndef EMR_SESSION_SESSION_H
#define EMR_SESSION_SESSION_H

#include "emr/session.h"
#include "bundle/bundle.h"
#include "core/work.h"
#include "modulator/modulator.h"
#include "session/mask_cache.h"

/* A merged tensor, as every call needs it. */
typedef struct emr_session_tensor {
    uint64_t first_param; /* in flat space */
    uint64_t count, n_rows, n_columns;
    uint64_t first_row; /* in a task's rescalers per row */
    const uint8_t *base;
    void *held;         /* of it, what the session has read */
    const void *window; /* or has mapped, to be unmapped */
    emr_dtype dtype;
} emr_session_tensor;

/* A task, or the base as one; windows are asked of it. */
typedef struct emr_session_task {
    const struct emr_session *session;
    uint32_t task;     /* or EMR_BASE */
    float *rows;       /* rescalers per row */
    emr_names private; /* of names in the bundle's private section, from the task's first on */
    uint64_t wanted;   /* by the call of that number */
} emr_session_task;

/* Memory that one worker decodes with. */
typedef struct emr_session_worker {
    emr_decoder *decoder;
    uint8_t *packed;
} emr_session_worker;

/* A part of the work that one worker does at a time. */
typedef struct emr_piece {
    size_t target, tensor; /* which weights, of which merged tensor */
    uint64_t first, n;     /* parameters, rows, or bytes */
} emr_piece;

enum {
    EMR_PIECES = 1024,           /* between two meetings of the workers */
    EMR_PIECE_PARAMS = 64 << 10, /* about so many each */
};

struct emr_session {
    emr_allocator allocator;
    const emr_bundle *bundle;
    const emr_model *base; /* the host's, or own_base */
    emr_model *own_base;
    emr_workers workers;
    emr_session_worker *work;    /* one a worker */
    emr_session_tensor *tensors; /* the merged ones */
    emr_session_task *tasks;     /* and one more, the base */
    emr_stream_record unified;
    const uint8_t **unified_blocks; /* where each lies */
    uint8_t *unified_memory;
    uint8_t *zeros, *ones; /* what blocks that are nothing else share */
    size_t zeros_bytes;
    uint8_t *private_block; /* the calling thread's, for private tensors */
    emr_mask_cache masks;
    emr_piece pieces[EMR_PIECES];
    size_t n_pieces;
    size_t *distinct; /* tasks that one product names */
    uint64_t n_calls;
    emr_session_info info;
};

/* Reads into memory what cannot be used in place, within the caps of the options. hold.c */
emr_status emr_session_hold(emr_session *session, const emr_session_options *options, emr_error *error);
void emr_session_let_go(emr_session *session);

/* The private tensor of that name, in the bundle's private section, or EMR_NAMES_NONE. */
size_t emr_session_find_private(const emr_session_task *task, const char *name);

/* Whether a block of a mask is decoded, not used in place. */
static inline bool emr_mask_needs_slot(const emr_bundle *b, const emr_block_record *r)
{
    if (r->codec == EMR_CODEC_FILL)
        return r->parameter != 0 && r->parameter != 0xff;
    return r->codec != EMR_CODEC_RAW || !b->io.map;
}

/* Reads the masks that were wanted, runs the pieces there are, and begins anew. */
emr_status emr_session_run(emr_session *session, emr_job_fn fn, void *context, emr_error *error);

/* The task's place in session->tasks, or NULL: EMR_ENOTFOUND. */
emr_session_task *emr_session_find_task(emr_session *session, size_t task, emr_error *error);

/* An emr_window_fn over an emr_session_task; masks must be in memory. Concurrent. */
emr_status emr_session_window(void *user, size_t tensor, uint64_t first, uint64_t want,
                              emr_window_parts parts, emr_mask_window *window, emr_error *error);

/* masks.c: sees to it that a task's mask of parameters [first, first + n) of a tensor will be in memory once
 * emr_session_run gets to the pieces. False if there is no room for it beside what else was wanted since. */
bool emr_session_want(emr_session *session, const emr_session_task *task, size_t tensor, uint64_t first,
                      uint64_t n);

/* Reads what was wanted and is not there. */
emr_status emr_session_load(emr_session *session, emr_error *error);

#endif
