/* session.h - what the session's files share. They call each other downwards only:
 *
 *     session.c              creating and destroying
 *     handle.c               one thread's, or one executor's, part of it
 *     load.c                 what is in memory from then on
 *     needs.c                how much that is
 *     apply.c  gather.c  product.c     the calls that work
 *     merged.c               weights in rounds; beside them those of
 *     elements.c             tensors that are not merged
 *     target.c               whose and which they are
 *     round.c                work in rounds
 *     tasks.c  codes.c       of a task: its tables, its codes
 *     code_cache.c           which codes are in memory */
#ifndef EMR_SESSION_SESSION_H
#define EMR_SESSION_SESSION_H

#include "emr/session.h"
#include "bundle/bundle.h"
#include "core/work.h"
#include "modulator/modulator.h"
#include "session/code_cache.h"

/* A merged tensor, as every call needs it. */
typedef struct emr_session_tensor {
    uint64_t first_param; /* in flat space */
    uint64_t count, n_rows, n_columns;
    uint64_t first_group; /* in the scales of a task with unified values */
    /* in what other tasks have: */
    uint64_t first_row;   /* of scales, with the chunk of flat space, */
    uint64_t first_place; /* of scales of columns, or of differences */
    bool is_vector;       /* it is differences there */
    bool has_columns;     /* where tasks have any */
    const uint8_t *base;  /* values; or blocks, where `blocks` says so */
    void *copy;           /* of it, where the session has read it; */
    const void *window;   /* or where it has mapped it, to be unmapped */
    emr_dtype dtype;
    emr_block_type blocks;
} emr_session_tensor;

/* Bytes of n elements of a dtype; or of blocks, if they are in such. */
static inline uint64_t emr_session_bytes(emr_dtype dtype, emr_block_type blocks, uint64_t n)
{
    return blocks ? n / EMR_BLOCK_VALUES * emr_block_bytes(blocks) : n * (emr_dtype_bits(dtype) / 8);
}

/* Bytes of a tensor's base. */
static inline uint64_t emr_session_base_bytes(const emr_session_tensor *t)
{
    return emr_session_bytes(t->dtype, t->blocks, t->count);
}

/* What a task without unified values has in memory beside its codes, each in a stream. */
enum {
    EMR_SESSION_SCALES,  /* BF16, of stretches */
    EMR_SESSION_COLUMNS, /* BF16 */
    EMR_SESSION_VECTORS, /* differences */
    EMR_SESSION_PARTS
};

/* A task, or the base as one; windows are asked of it. */
typedef struct emr_session_task {
    const struct emr_session_shared *shared;
    uint32_t task;                     /* or EMR_BASE */
    emr_tensor_code matrices, vectors; /* how they are coded; of the base the kind is NULL */
    unsigned block_shift;              /* log2 of the parameters in one of */
    const emr_code_block *blocks;      /* its blocks, in the cache */
    float *scales; /* with unified values: of all groups, which are the model, its tensors or its rows */
    uint8_t *parts[EMR_SESSION_PARTS]; /* without: what else it has */
    emr_names private; /* of names in the bundle's private section, from the task's first on */
} emr_session_task;

/* Memory that one worker decodes with; and then computes weights in that go to blocks, or come from them: `packed`
 * has room for EMR_SESSION_VALUES. */
typedef struct emr_session_worker {
    emr_decoder *decoder;
    uint8_t *packed;
} emr_session_worker;

/* A part of the work that one worker does at a time: of a merged tensor, some parameters, rows, or bytes. */
typedef struct emr_session_piece {
    uint64_t first, n;
    void *out;              /* where the first one goes; if these are weights to be computed, */
    emr_session_task *task; /* whose, */
    uint32_t tensor;
    emr_dtype out_dtype; /* in what form, */
    emr_block_type out_blocks;
    bool stream;           /* whether past the caches, */
    uint32_t without_base; /* and whether without reading any base */
} emr_session_piece;

enum {
    EMR_SESSION_PIECES = 1024,   /* of a round */
    EMR_PIECE_PARAMS = 64 << 10, /* about as many each */
    EMR_SESSION_VALUES = 4096,   /* floats */
};

/* What all handles of a session share: it does not change once it is loaded, but for the codes. */
typedef struct emr_session_shared {
    emr_allocator allocator;
    const emr_bundle *bundle;
    const emr_model *base; /* the host's, or one of these; NULL: there is none, and none in `tensors` */
    emr_model *own_base, *arranged_base;
    bool any_float; /* whether merged tensors of the base may have another dtype than the bundle's */
    emr_session_tensor *tensors; /* the merged ones */
    emr_session_task *tasks;     /* and one more, the base */
    emr_stream_record unified;
    const uint8_t **unified_blocks; /* where each lies, */
    unsigned unified_shift;         /* log2 of its parameters */
    uint8_t *unified_memory;
    uint8_t *zeros, *ones; /* bytes 0 and 0xff, which blocks that are nothing else share */
    emr_code_cache codes;
    size_t packed_bytes, stored_bytes, scratch_bytes; /* of a handle's scratch, */
    size_t n_code_blocks;                             /* and what its rounds may name */
    uint64_t memory_bytes;                            /* cap, 0: none */
    atomic_size_t n_handles;
    emr_session_info info;
} emr_session_shared;

/* A handle: who works, and with what. */
struct emr_session {
    emr_session_shared *shared;
    emr_workers workers;
    emr_session_worker *work; /* one a worker */
    uint8_t *stored_block;    /* the calling thread's, of private tensors or of an embedded base; */
    uint64_t stored_number;   /* which one it is, counted from 1; 0: none */
    void *base_scratch;       /* likewise: with which an arranged base is read; else NULL */
    emr_session_piece pieces[EMR_SESSION_PIECES];
    size_t n_pieces;
    emr_code_round codes;   /* what the pieces need, */
    emr_code_range *ranges; /* and one of them: of each task */
    uint32_t *distinct;     /* tasks that one product names */
    uint64_t n_calls;       /* that looked at which tasks they name, */
    uint64_t *last_call;    /* and of each task, and of the base, the number of the last one that named it */
};

/* Whether a raw block is used where a window of the I/O has it. */
static inline bool emr_session_maps(const emr_bundle *b, const emr_block_record *r)
{
    return r->codec == EMR_CODEC_RAW && b->io.map;
}

/* Whether a block of codes is decoded into a slot of the cache. */
static inline bool emr_session_needs_slot(const emr_bundle *b, const emr_block_record *r)
{
    if (r->codec == EMR_CODEC_FILL)
        return r->parameter != 0 && r->parameter != 0xff;
    return !emr_session_maps(b, r);
}

/* Whether a block of the unified stream is read into memory of its own. */
static inline bool emr_session_needs_copy(const emr_bundle *b, const emr_block_record *r)
{
    return !(r->codec == EMR_CODEC_FILL && r->parameter == 0) && !emr_session_maps(b, r);
}

/* The parameters in a block are a power of two: of which one? */
static inline unsigned emr_session_shift(uint64_t block_params)
{
    unsigned shift = 0;
    while (block_params >> shift > 1)
        shift++;
    return shift;
}

/* A task's stream of codes, which may be absent; then EMR_NO_STREAM. */
static inline size_t emr_session_codes_of(const emr_bundle *b, uint32_t task)
{
    bool has_unified = emr_bundle_kind(b, task)->has_unified;
    return b->task_streams[has_unified ? EMR_STREAM_MASK : EMR_STREAM_CODES][task];
}

static inline emr_stream_record emr_session_code_stream(const emr_bundle *b, uint32_t task)
{
    return emr_bundle_stream_record(b, emr_session_codes_of(b, task));
}

/* The stream of a part, likewise. */
static inline size_t emr_session_part_of(const emr_bundle *b, uint32_t task, size_t part)
{
    static const uint8_t streams[EMR_SESSION_PARTS] = {EMR_STREAM_SCALES, EMR_STREAM_COLUMNS,
                                                       EMR_STREAM_VECTORS};
    return emr_bundle_kind(b, task)->has_unified ? EMR_NO_STREAM : b->task_streams[streams[part]][task];
}

/* How a task has a tensor. */
static inline const emr_tensor_code *emr_session_code(const emr_session_task *t, uint32_t tensor)
{
    return t->shared->tensors[tensor].is_vector ? &t->vectors : &t->matrices;
}

/* handle.c: a handle without scratch, which takes the allocator's and the executor's copy of `env`; scratch
 * for it, as large as shared->packed_bytes and its neighbours say; and the bytes of both for so many workers,
 * about. After a failure *handle, which may be NULL, may only be destroyed. */
emr_status emr_session_create_handle(emr_session **handle, emr_session_shared *shared, const emr_env *env,
                                     emr_error *error);
emr_status emr_session_allocate_scratch(emr_session *handle, emr_error *error);
void emr_session_destroy_handle(emr_session *handle);
uint64_t emr_session_handle_memory(const emr_session_shared *shared, size_t n_workers);

/* codes.c: sees to it that the codes that tasks, none of them twice, have for parameters [first, first + n)
 * of a tensor will be in memory when the round's work begins; all of them, or none. */
emr_room emr_session_request(emr_session *session, const uint32_t *tasks, size_t n_tasks, uint32_t tensor,
                             uint64_t first, uint64_t n);

/* Reads what was requested and is not in memory. */
emr_status emr_session_read_codes(emr_session *session, emr_error *error);

/* An emr_code_window_fn over an emr_session_task; its codes must have been requested and read. Concurrent. */
emr_status emr_session_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                              emr_window_parts parts, emr_code_window *window, emr_error *error);

/* tasks.c: reads what a task has beside its codes: scales, and the names of private tensors. */
emr_status emr_session_load_task(emr_session_shared *session, uint32_t task, emr_error *error);

/* Groups of parameters that share scales, in the whole bundle. */
uint64_t emr_session_n_groups(const emr_bundle *bundle);

/* The task's place in its table, or NULL: EMR_ENOTFOUND. */
emr_session_task *emr_session_find_task(emr_session_shared *session, uint32_t task, emr_error *error);

/* The private tensor of that name, in the bundle's private section, or EMR_NAMES_NONE. */
size_t emr_session_find_private(const emr_session_task *task, const char *name);

/* round.c: a round is pieces whose codes are in memory at the same time; code_cache.h says how that goes.
 * What one call's pieces have in common: */
typedef struct emr_session_rounds {
    emr_job_fn fn; /* does one: job number i is session->pieces[i] */
    void *context;
    uint64_t first,
        unit; /* `first` and `n` of a piece count `unit` parameters each, from this one of its tensor */
} emr_session_rounds;

/* Adds a piece, for which the codes of some tasks are needed, none of them twice. Where there is no room
 * beside the others, finishes the round first; where other handles have it, waits for them; where there never
 * is, shortens the piece, in place. */
emr_status emr_session_add_piece(emr_session *session, const emr_session_rounds *rounds,
                                 const uint32_t *tasks, size_t n_tasks, emr_session_piece *piece,
                                 emr_error *error);

/* Reads the codes and does the pieces. Afterwards, also where that failed, the round is empty. It must be
 * before anything of the host's is called. */
emr_status emr_session_finish_round(emr_session *session, const emr_session_rounds *rounds, emr_error *error);

/* Forgets what was added and not done. Every call ends with it, for other handles need the room. */
void emr_session_drop_round(emr_session *session);

#endif
