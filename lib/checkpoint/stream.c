/* stream.c - see stream.h. */
#include "checkpoint/stream.h"

#include "checkpoint/safetensors.h"

#include <string.h>

enum {
    WINDOW_BYTES = 8 << 20,
    PIECE_BYTES = 256 << 10, /* what one job reads */
    MEMORY_DEFAULT = 64 << 20,
};

/* A part of a tensor and its place in the window. */
typedef struct emr_stream_piece {
    const emr_tensor *tensor;
    uint64_t offset;
    size_t n, at;
} piece;

emr_status emr_stream_put(emr_stream *s, const void *bytes, size_t n, emr_error *error)
{
    if (n && s->io->write(s->io->user, s->position, bytes, n))
        return emr_fail(error, EMR_EIO, "writing %u bytes at byte %u failed", (uint64_t)n, s->position);
    s->position += n;
    return EMR_OK;
}

emr_status emr_stream_begin(emr_stream *s, const char *name, const emr_io *io,
                            const emr_checkpoint_options *options, const emr_allocator *allocator,
                            uint64_t *done, uint64_t total, emr_error *error)
{
    uint64_t memory = options->memory_bytes ? options->memory_bytes : MEMORY_DEFAULT;
    *s = (emr_stream){.name = name,
                      .allocator = *allocator,
                      .io = io,
                      .window_bytes = (size_t)emr_min(WINDOW_BYTES, memory / 4),
                      .progress = options->progress,
                      .progress_user = options->progress_user,
                      .done = done,
                      .total = total};
    s->max_pieces = (size_t)emr_min(1024, s->window_bytes / 256);
    if (s->window_bytes < 4096)
        return emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little to write a checkpoint", memory);
    emr_status status = emr_workers_create(&s->workers, allocator, options->executor, SIZE_MAX, error);
    if (status)
        return status;
    s->window = emr_allocate(allocator, s->window_bytes);
    s->last_window = emr_allocate(allocator, s->window_bytes);
    s->pieces = emr_allocate_array(allocator, s->max_pieces, sizeof *s->pieces);
    return s->window && s->last_window && s->pieces ? EMR_OK
                                                    : emr_fail(error, EMR_ENOMEM, "%s: out of memory", name);
}

/* The jobs of a round: writing the last window, if there is one, and reading the pieces of this one. */
static emr_status run_job(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_stream *s = context;
    size_t writing = s->last_used > 0;
    (void)worker;
    if (job < writing)
        return emr_stream_put(s, s->last_window, s->last_used, error);
    const piece *p = &s->pieces[job - writing];
    return emr_tensor_read(p->tensor, p->offset, s->window + p->at, p->n, error);
}

static emr_status run_round(emr_stream *s, emr_error *error)
{
    emr_status status = emr_work(&s->workers, s->n_pieces + (s->last_used > 0), run_job, s, error);
    uint8_t *written = s->last_window;
    *s->done += s->last_used;
    s->last_window = s->window;
    s->last_used = s->used;
    s->window = written;
    s->n_pieces = s->used = 0;
    if (!status && s->progress && s->progress(s->progress_user, *s->done, s->total))
        status = emr_fail(error, EMR_ECANCELED, "writing was canceled");
    return status;
}

emr_status emr_stream_tensor(emr_stream *s, const emr_tensor *t, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < t->bytes;) {
        size_t n = (size_t)emr_min(emr_min(PIECE_BYTES, t->bytes - at), s->window_bytes - s->used);
        s->pieces[s->n_pieces++] = (piece){t, at, n, s->used};
        s->used += n;
        at += n;
        if (s->used == s->window_bytes || s->n_pieces == s->max_pieces)
            status = run_round(s, error);
    }
    return status;
}

emr_status emr_stream_zeros(emr_stream *s, uint64_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t now = (size_t)emr_min(n, s->window_bytes - s->used);
        memset(s->window + s->used, 0, now);
        s->used += now;
        n -= now;
        if (s->used == s->window_bytes)
            status = run_round(s, error);
    }
    return status;
}

emr_status emr_stream_end(emr_stream *s, emr_status status, emr_error *error)
{
    for (int i = 0; i < 2 && !status; i++) /* the last window is read, then written */
        status = run_round(s, error);
    emr_release(&s->allocator, s->window);
    emr_release(&s->allocator, s->last_window);
    emr_release(&s->allocator, s->pieces);
    emr_workers_destroy(&s->workers);
    return status;
}

emr_status emr_stream_take(emr_checkpoint_options *taken, emr_allocator *allocator, emr_io *io,
                           const emr_model *model, const emr_checkpoint_options *options, const emr_io *given,
                           const char *what, emr_error *error)
{
    if (!model)
        return emr_fail(error, EMR_EINVAL, "%s: NULL", what);
    emr_status status = emr_checkpoint_take(taken, allocator, options, error);
    if (!status)
        status = emr_io_take(io, given, error);
    if (!status && !io->write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    return status;
}

uint64_t emr_model_bytes(const emr_model *m)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        total += m->tensors[i]->bytes;
    return total;
}
