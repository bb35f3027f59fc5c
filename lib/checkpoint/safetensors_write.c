/* safetensors_write.c - any model as one safetensors file, front to back. Tensors are read (which for a
 * bundle's views means computed) in parallel, a window of the file at a time; while one window is read, the
 * one before it is written. */
#include "checkpoint/json_text.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_write.h"
#include "core/bytes.h"
#include "core/text.h"

#include <string.h>

enum {
    HEADER_MAX = 100000000,
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

static void describe_tensor(emr_json_text *t, const emr_tensor *tensor, uint64_t begin)
{
    emr_json_put_string(t, tensor->name);
    emr_json_put(t, ":{\"dtype\":");
    emr_json_put_string(t, emr_dtype_name(tensor->dtype));
    emr_json_put(t, ",\"shape\":[");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        emr_json_put(t, i ? "," : "");
        emr_json_put_natural(t, tensor->shape[i]);
    }
    emr_json_put(t, "],\"data_offsets\":[");
    emr_json_put_natural(t, begin);
    emr_json_put(t, ",");
    emr_json_put_natural(t, begin + tensor->bytes);
    emr_json_put(t, "]}");
}

static void describe_metadata(emr_json_text *t, const emr_model *m)
{
    emr_json_put(t, "\"__metadata__\":{");
    for (size_t i = 0; i < m->n_metadata; i++) {
        emr_json_put(t, i ? "," : "");
        emr_json_put_string(t, m->metadata[i].key);
        emr_json_put(t, ":");
        emr_json_put_string(t, m->metadata[i].value);
    }
    emr_json_put(t, "}");
}

/* The header, padded with spaces to a multiple of 8. */
static void describe(emr_json_text *t, const emr_model *m, size_t first, size_t n)
{
    uint64_t at = 0;
    emr_json_put(t, "{");
    if (m->n_metadata)
        describe_metadata(t, m);
    for (size_t i = first; i < first + n; i++) {
        emr_json_put(t, i > first || m->n_metadata ? "," : "");
        describe_tensor(t, m->tensors[i], at);
        at += m->tensors[i]->bytes;
    }
    emr_json_put(t, "}");
    while (t->n % 8)
        emr_json_put(t, " ");
}

static bool is_text(const char *string)
{
    return emr_is_utf8(string, emr_text_length(string));
}

static emr_status check_texts(const emr_model *m, size_t first, size_t n, emr_error *error)
{
    for (size_t i = 0; i < m->n_metadata; i++)
        if (!is_text(m->metadata[i].key) || !is_text(m->metadata[i].value))
            return emr_fail(error, EMR_EINVAL, "%s: metadata '%s' is not valid UTF-8", m->name,
                            m->metadata[i].key);
    for (size_t i = first; i < first + n; i++)
        if (strcmp(m->tensors[i]->name, "__metadata__") == 0 || !is_text(m->tensors[i]->name))
            return emr_fail(error, EMR_EINVAL, "%s: the tensor name '%s' cannot be written", m->name,
                            m->tensors[i]->name);
    return EMR_OK;
}

/* The header and its length before it. */
static emr_status write_header(output *o, size_t first, size_t n, emr_error *error)
{
    uint8_t size[8];
    emr_json_text text = {NULL, 0};
    emr_status status = check_texts(o->model, first, n, error);
    if (status)
        return status;
    describe(&text, o->model, first, n);
    if (text.n > HEADER_MAX)
        return emr_fail(error, EMR_ELIMIT, "%s: a header of %u bytes is longer than safetensors allows",
                        o->model->name, (uint64_t)text.n);
    emr_store64(size, text.n);
    text = (emr_json_text){emr_allocate(&o->allocator, text.n), 0};
    if (!text.bytes)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory for a header", o->model->name);
    describe(&text, o->model, first, n);
    status = write_bytes(o, size, sizeof size, error);
    if (!status)
        status = write_bytes(o, text.bytes, text.n, error);
    emr_release(&o->allocator, text.bytes);
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
