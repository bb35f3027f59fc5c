/* safetensors_write.c - any model as one safetensors file, front to back. Tensors are read (which for a
 * bundle's views means computed) in parallel, a window of the file at a time; while one window is read, the
 * one before it is written. */
#include "checkpoint/safetensors.h"

#include "checkpoint/safetensors_write.h"
#include "core/bytes.h"

#include <jansson.h>
#include <string.h>

enum {
    WINDOW_BYTES = 8 << 20,
    PIECE_BYTES = 256 << 10, /* what one job reads */
    MEMORY_DEFAULT = 64 << 20,
};

/* A part of a tensor and its place in the window. */
typedef struct piece {
    const emr_tensor *tensor;
    uint64_t offset;
    size_t n, at;
} piece;

typedef struct output {
    const emr_model *model;
    emr_allocator allocator;
    emr_workers workers;
    const emr_io *io;
    uint64_t position;
    uint8_t *window, *last_window;
    size_t window_bytes;
    piece *pieces;
    size_t n_pieces, max_pieces, used;
    size_t last_used; /* bytes of the last window, which are not yet written */
    emr_progress_fn progress;
    void *progress_user;
    uint64_t *done, total;
} output;

static emr_status write_bytes(output *o, const void *bytes, size_t n, emr_error *error)
{
    if (n && o->io->write(o->io->user, o->position, bytes, n))
        return emr_fail(error, EMR_EIO, "writing %u bytes at byte %u failed", (uint64_t)n, o->position);
    o->position += n;
    return EMR_OK;
}

static json_t *describe_tensor(const emr_tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", emr_dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + t->bytes));
}

static emr_status describe(const emr_model *m, size_t first, size_t n, json_t *root, emr_error *error)
{
    uint64_t at = 0;
    if (m->n_metadata) {
        json_t *metadata = json_object();
        for (size_t i = 0; i < m->n_metadata; i++)
            if (json_object_set_new(metadata, m->metadata[i].key, json_string(m->metadata[i].value)))
                return json_decref(metadata),
                       emr_fail(error, EMR_EINVAL, "%s: metadata '%s' is not valid UTF-8", m->name,
                                m->metadata[i].key);
        json_object_set_new(root, "__metadata__", metadata);
    }
    for (size_t i = first; i < first + n; i++) {
        const emr_tensor *t = m->tensors[i];
        if (strcmp(t->name, "__metadata__") == 0 ||
            json_object_set_new(root, t->name, describe_tensor(t, at)))
            return emr_fail(error, EMR_EINVAL, "%s: the tensor name '%s' cannot be written", m->name,
                            t->name);
        at += t->bytes;
    }
    return EMR_OK;
}

/* Header length and header, padded with spaces to a multiple of 8. */
static emr_status write_header(output *o, size_t first, size_t n, emr_error *error)
{
    json_t *root = json_object();
    emr_status status =
        root ? describe(o->model, first, n, root, error) : emr_fail(error, EMR_ENOMEM, "out of memory");
    char *text = status ? NULL : json_dumps(root, JSON_COMPACT);
    if (!status && !text)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory for a header", o->model->name);
    if (!status) {
        size_t length = strlen(text);
        uint8_t size[8];
        if (length > 100000000 - 8)
            status = emr_fail(error, EMR_ELIMIT, "%s: a header of %u bytes is longer than safetensors allows",
                              o->model->name, (uint64_t)length);
        emr_store64(size, emr_round_up(length, 8));
        if (!status)
            status = write_bytes(o, size, sizeof size, error);
        if (!status)
            status = write_bytes(o, text, length, error);
        if (!status)
            status = write_bytes(o, "       ", (size_t)(emr_round_up(length, 8) - length), error);
    }
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    if (text)
        release(text);
    json_decref(root);
    return status;
}

/* The jobs of a round: writing the last window, if there is one, and reading the pieces of this one. */
static emr_status run_job(void *context, size_t job, size_t worker, emr_error *error)
{
    output *o = context;
    size_t writing = o->last_used > 0;
    (void)worker;
    if (job < writing)
        return write_bytes(o, o->last_window, o->last_used, error);
    const piece *p = &o->pieces[job - writing];
    return emr_tensor_read(p->tensor, p->offset, o->window + p->at, p->n, error);
}

static emr_status run_round(output *o, emr_error *error)
{
    emr_status status = emr_work(&o->workers, o->n_pieces + (o->last_used > 0), run_job, o, error);
    uint8_t *written = o->last_window;
    *o->done += o->last_used;
    o->last_window = o->window;
    o->last_used = o->used;
    o->window = written;
    o->n_pieces = o->used = 0;
    if (!status && o->progress && o->progress(o->progress_user, *o->done, o->total))
        status = emr_fail(error, EMR_ECANCELED, "writing was canceled");
    return status;
}

static emr_status write_tensor(output *o, const emr_tensor *t, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < t->bytes;) {
        size_t n = (size_t)emr_min(emr_min(PIECE_BYTES, t->bytes - at), o->window_bytes - o->used);
        o->pieces[o->n_pieces++] = (piece){t, at, n, o->used};
        o->used += n;
        at += n;
        if (o->used == o->window_bytes || o->n_pieces == o->max_pieces)
            status = run_round(o, error);
    }
    return status;
}

emr_status emr_safetensors_write_range(const emr_model *m, size_t first, size_t n, const emr_io *io,
                                       const emr_checkpoint_options *options, const emr_allocator *allocator,
                                       uint64_t *done, uint64_t total, emr_error *error)
{
    uint64_t memory = options->memory_bytes ? options->memory_bytes : MEMORY_DEFAULT;
    output o = {.model = m,
                .allocator = *allocator,
                .io = io,
                .window_bytes = (size_t)emr_min(WINDOW_BYTES, memory / 4),
                .progress = options->progress,
                .progress_user = options->progress_user,
                .done = done,
                .total = total};
    o.max_pieces = (size_t)emr_min(1024, o.window_bytes / 256);
    if (o.window_bytes < 4096)
        return emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little to write a checkpoint", memory);
    emr_status status = emr_workers_create(&o.workers, allocator, options->executor, SIZE_MAX, error);
    if (status)
        return status;
    o.window = emr_allocate(allocator, o.window_bytes);
    o.last_window = emr_allocate(allocator, o.window_bytes);
    o.pieces = emr_allocate_array(allocator, o.max_pieces, sizeof *o.pieces);
    if (!o.window || !o.last_window || !o.pieces)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", m->name);
    if (!status)
        status = write_header(&o, first, n, error);
    for (size_t i = first; !status && i < first + n; i++)
        status = write_tensor(&o, m->tensors[i], error);
    for (int i = 0; i < 2 && !status; i++) /* the last window is read, then written */
        status = run_round(&o, error);
    emr_release(allocator, o.window);
    emr_release(allocator, o.last_window);
    emr_release(allocator, o.pieces);
    emr_workers_destroy(&o.workers);
    return status;
}

uint64_t emr_model_bytes(const emr_model *m)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        total += m->tensors[i]->bytes;
    return total;
}

emr_status emr_safetensors_write(const emr_model *m, const emr_io *given,
                                 const emr_checkpoint_options *options, emr_error *error)
{
    emr_checkpoint_options known;
    emr_allocator allocator;
    emr_io io;
    uint64_t done = 0;
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_safetensors_write: NULL");
    emr_status status = emr_checkpoint_take(&known, &allocator, options, error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && !io.write)
        status = emr_fail(error, EMR_EINVAL, "the output's emr_io has no write");
    return status ? status
                  : emr_safetensors_write_range(m, 0, m->n_tensors, &io, &known, &allocator, &done,
                                                emr_model_bytes(m), error);
}
