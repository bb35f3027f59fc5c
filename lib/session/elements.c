/* elements.c - elements of tensors that are not merged into the host's memory: kept ones are the base's,
 * private ones are the task's own. They come as bytes, in parts that end anywhere. Freestanding. */
#include "session/target.h"

#include "core/io.h"
#include "model/model.h"
#include "numeric/convert.h"

#include <string.h>

/* Where elements go. */
typedef struct element_writer {
    const emr_kernels *kernels;
    emr_dtype from, to;
    emr_block_type blocks;
    uint8_t *next;
    uint8_t cut[8]; /* an element of which the end is still to come */
    size_t n_cut;
    float values[EMR_BLOCK_VALUES]; /* of a block, likewise */
    size_t n_values;
} element_writer;

static element_writer begin_elements(const emr_session_target *t)
{
    return (element_writer){.kernels = t->session->shared->bundle->kernels,
                            .from = t->stored,
                            .to = t->out_dtype,
                            .blocks = t->out_blocks,
                            .next = t->out};
}

/* Whether elements go as they come. */
static bool are_copied(const element_writer *w)
{
    return w->from == w->to && !w->blocks;
}

static void emit_to_blocks(element_writer *w, const uint8_t *data, size_t n)
{
    for (size_t some; n; data += some * emr_float_size(w->from), n -= some) {
        some = (size_t)emr_min(n, EMR_BLOCK_VALUES - w->n_values);
        w->kernels->convert(EMR_DTYPE_F32, w->values + w->n_values, w->from, data, some);
        w->n_values = (w->n_values + some) % EMR_BLOCK_VALUES;
        if (w->n_values)
            continue;
        w->kernels->quantise(w->blocks, w->next, w->values, EMR_BLOCK_VALUES);
        w->next += emr_block_bytes(w->blocks);
    }
}

static void emit_elements(element_writer *w, const uint8_t *data, size_t n)
{
    if (w->blocks) {
        emit_to_blocks(w, data, n);
        return;
    }
    w->kernels->convert(w->to, w->next, w->from, data, n);
    w->next += n * emr_float_size(w->to);
}

static void emit_bytes(element_writer *w, const uint8_t *data, size_t n)
{
    if (are_copied(w)) {
        memcpy(w->next, data, n);
        w->next += n;
        return;
    }
    size_t size = emr_float_size(w->from);
    if (w->n_cut) {
        size_t more = (size_t)emr_min(size - w->n_cut, n);
        memcpy(w->cut + w->n_cut, data, more);
        w->n_cut += more;
        if (w->n_cut < size)
            return;
        emit_elements(w, w->cut, 1);
        data += more;
        n -= more;
    }
    w->n_cut = n % size;
    emit_elements(w, data, n / size);
    memcpy(w->cut, data + (n - w->n_cut), w->n_cut);
}

/* Decodes a block of a stream, unless that is the one that was decoded last. */
static emr_status read_stored_block(emr_session *s, const emr_stream_record *stream, uint64_t block,
                                    const uint8_t **data, emr_error *error)
{
    uint64_t number = stream->first_block + block + 1;
    *data = s->stored_block;
    if (s->stored_number == number)
        return EMR_OK;
    s->stored_number = 0;
    emr_status status = emr_block_read(s->shared->bundle, stream, block, s->work[0].decoder,
                                       s->work[0].packed, s->stored_block, data, error);
    if (!status && *data == s->stored_block)
        s->stored_number = number;
    return status;
}

/* Block by block of a stream, bytes [at, end) of it. A tensor may begin at any byte, and elements lie across
 * blocks. */
static emr_status copy_stored(const emr_session_target *t, size_t stream_number, uint64_t at, uint64_t end,
                              emr_error *error)
{
    emr_session *s = t->session;
    const emr_bundle *b = s->shared->bundle;
    emr_stream_record stream = emr_bundle_stream_record(b, stream_number);
    element_writer w = begin_elements(t);
    while (at < end) {
        uint64_t block = at / stream.block_bytes;
        size_t within = (size_t)(at % stream.block_bytes), length = emr_stream_block_length(&stream, block);
        size_t n = (size_t)emr_min(length - within, end - at);
        const uint8_t *data;
        emr_status status = read_stored_block(s, &stream, block, &data, error);
        if (status)
            return status;
        emit_bytes(&w, data + within, n);
        if (data != s->stored_block)
            emr_io_unmap(&b->io, data, length);
        at += n;
    }
    return EMR_OK;
}

/* From the host's base. */
static emr_status copy_read(const emr_session_target *t, uint64_t at, uint64_t end, emr_error *error)
{
    void *scratch = t->session->base_scratch;
    uint8_t part[4096];
    element_writer w = begin_elements(t);
    emr_status status = EMR_OK;
    if (are_copied(&w))
        return emr_tensor_read_with(t->kept, scratch, at, t->out, (size_t)(end - at), error);
    for (size_t n; !status && at < end; at += n) {
        n = (size_t)emr_min(end - at, sizeof part);
        status = emr_tensor_read_with(t->kept, scratch, at, part, n, error);
        if (!status)
            emit_bytes(&w, part, n);
    }
    return status;
}

emr_status emr_target_copy(const emr_session_target *t, emr_error *error)
{
    const emr_bundle *b = t->session->shared->bundle;
    uint64_t size = emr_dtype_bits(t->stored) / 8, at = t->first * size, end = at + t->count * size;
    if (!t->count)
        return EMR_OK;
    if (t->from == EMR_FROM_KEPT && !t->session->shared->own_base)
        return copy_read(t, at, end, error);
    /* An embedded base is read as private tensors are, into the handle's own memory: what readers of its model
     * take, they allocate when they come. */
    bool private = t->from == EMR_FROM_PRIVATE;
    uint64_t begin = private ? emr_bundle_private_record(b, t->i).offset
                             : emr_bundle_tensor_record(b, (uint32_t)t->i).base_offset;
    return copy_stored(
        t, private ? b->task_streams[EMR_STREAM_PRIVATE][t->task->task] : b->base_streams[EMR_STREAM_BASE],
        begin + at, begin + end, error);
}
