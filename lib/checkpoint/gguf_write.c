/* gguf_write.c - a model that came from GGUF as one GGUF file, front to back: the metadata of its header as
 * they are, the tensors described anew. */
#include "checkpoint/gguf.h"
#include "checkpoint/write.h"
#include "core/bytes.h"

#include <string.h>

/* Whether a tensor is one of the file: neither its header, nor a file beside it. */
static bool is_written(const emr_tensor *t)
{
    return strcmp(t->name, EMR_GGUF_HEADER) != 0 && !emr_is_side_file(t);
}

/* The tensor of blocks that the header says it is, if the shape is that of its bytes. */
static bool find_block_tensor(const emr_gguf_header *h, const emr_tensor *t, emr_gguf_info *info)
{
    uint64_t shape[EMR_GGUF_DIMS];
    const uint8_t *description = emr_gguf_info_find(h, t->name);
    if (!description)
        return false;
    *info = emr_gguf_info_read(description);
    if (info->type->block == 1 || info->n_dims != t->rank)
        return false;
    emr_gguf_shape(info, true, shape);
    return memcmp(shape, t->shape, t->rank * sizeof *shape) == 0;
}

/* Its description, but for the offset. */
static emr_status describe_gguf_tensor(const emr_gguf_header *h, const emr_tensor *t, emr_gguf_info *info,
                                       emr_error *error)
{
    size_t n = strlen(t->name);
    if (n == 0 || n > EMR_GGUF_NAME_BYTES || t->rank > EMR_GGUF_DIMS)
        return emr_fail(
            error, EMR_EUNSUPPORTED,
            "%F: tensor '%T' cannot be written as GGUF: names have 1 to 127 bytes there, and tensors "
            "at most 4 dimensions",
            h->path, t->name);
    if (t->dtype == EMR_DTYPE_U8)
        return find_block_tensor(h, t, info)
                   ? EMR_OK
                   : emr_fail(
                         error, EMR_EUNSUPPORTED,
                         "%F: tensor '%T' has dtype U8, which GGUF has not, and is no quantised tensor of "
                         "the file that its '" EMR_GGUF_HEADER "' is of",
                         h->path, t->name);
    *info = (emr_gguf_info){.n_dims = t->rank, .type = emr_gguf_type_of(t->dtype)};
    if (!info->type)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: tensor '%T' has dtype %s, which GGUF has not", h->path,
                        t->name, emr_dtype_name(t->dtype));
    memcpy(info->name, t->name, n + 1);
    for (uint32_t i = 0; i < t->rank; i++)
        info->dims[i] = t->shape[t->rank - 1 - i];
    return EMR_OK;
}

static size_t info_bytes(const emr_gguf_info *info)
{
    return 8 + strlen(info->name) + 4 + 8 * info->n_dims + 4 + 8;
}

static uint8_t *put_info(uint8_t *p, const emr_gguf_info *info)
{
    size_t n = strlen(info->name);
    emr_store64(p, n);
    memcpy(p + 8, info->name, n);
    p += 8 + n;
    emr_store32(p, info->n_dims);
    for (uint32_t i = 0; i < info->n_dims; i++)
        emr_store64(p + 4 + 8 * i, info->dims[i]);
    p += 4 + 8 * info->n_dims;
    emr_store32(p, info->type->number);
    emr_store64(p + 4, info->offset);
    return p + 12;
}

/* How long the new header will be, and the data with their padding. Refuses what cannot be written. */
static emr_status measure_gguf(const emr_gguf_header *h, const emr_model *m, uint64_t *header, uint64_t *data,
                               emr_error *error)
{
    emr_status status = EMR_OK;
    emr_gguf_info info;
    *header = h->infos;
    *data = 0;
    for (uint32_t i = 0; !status && i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        if (!is_written(t))
            continue;
        status = describe_gguf_tensor(h, t, &info, error);
        if (status)
            break;
        *header += info_bytes(&info);
        if (t->bytes > INT64_MAX / 4 || *data > INT64_MAX / 4 || *header > EMR_GGUF_HEADER_MAX)
            status = emr_fail(error, EMR_ELIMIT, "%F: the model is too large for a GGUF file", h->path);
        else
            *data = emr_round_up(*data + t->bytes, h->alignment);
    }
    return status;
}

/* The header, with the padding that follows it. */
static emr_status write_gguf_header(emr_stream *s, const emr_gguf_header *h, const emr_model *m,
                                    uint64_t header, emr_error *error)
{
    size_t n = (size_t)emr_round_up(header, h->alignment);
    uint64_t at = 0, n_written = 0;
    uint8_t *bytes = emr_allocate(&s->output->env.allocator, n), *end = bytes;
    if (!bytes)
        return emr_no_memory(error, h->path);
    memcpy(bytes, h->bytes, h->infos);
    for (uint32_t i = 0; i < m->n_tensors; i++)
        n_written += is_written(m->tensors[i]);
    emr_store64(bytes + 8, n_written);
    end += h->infos;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < m->n_tensors; i++) {
        emr_gguf_info info;
        if (!is_written(m->tensors[i]))
            continue;
        status = describe_gguf_tensor(h, m->tensors[i], &info, error);
        if (status)
            break;
        info.offset = at;
        end = put_info(end, &info);
        at = emr_round_up(at + m->tensors[i]->bytes, h->alignment);
    }
    memset(end, 0, n - (size_t)(end - bytes));
    if (!status)
        status = emr_stream_put(s, bytes, n, error);
    emr_release(&s->output->env.allocator, bytes);
    return status;
}

static emr_status write_all(const emr_gguf_header *h, const emr_model *m, const emr_io *io,
                            emr_output *output, emr_error *error)
{
    emr_stream s;
    uint64_t header, data;
    emr_status status = measure_gguf(h, m, &header, &data, error);
    if (status)
        return status;
    output->total = output->done + data;
    status = emr_stream_begin(&s, m, io, output, error);
    if (!status)
        status = write_gguf_header(&s, h, m, header, error);
    for (uint32_t i = 0; !status && i < m->n_tensors; i++) {
        const emr_tensor *t = m->tensors[i];
        if (!is_written(t))
            continue;
        status = emr_stream_tensor(&s, t, error);
        if (!status)
            status = emr_stream_zeros(&s, emr_round_up(t->bytes, h->alignment) - t->bytes, error);
    }
    return emr_stream_end(&s, status, error);
}

emr_status emr_gguf_write_file(const emr_model *m, const emr_io *io, emr_output *output, emr_error *error)
{
    emr_gguf_header h;
    const emr_tensor *header = emr_model_find_tensor(m, EMR_GGUF_HEADER);
    if (!header)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "%F: it cannot be written as GGUF: only a model that came from a GGUF file has the "
                        "metadata, in a tensor '" EMR_GGUF_HEADER "'",
                        m->name);
    emr_status status = emr_gguf_header_take(&h, &output->env.allocator, header, m->name, error);
    if (!status)
        status = write_all(&h, m, io, output, error);
    emr_gguf_header_free(&h);
    return status;
}

emr_status emr_gguf_write(const emr_model *m, const emr_io *given,
                          const emr_checkpoint_write_options *options, emr_error *error)
{
    emr_output output;
    emr_io io;
    emr_status status = emr_output_take(&output, m, options, "emr_gguf_write", error);
    if (!status)
        status = emr_output_take_io(&io, given, error);
    return status ? status : emr_gguf_write_file(m, &io, &output, error);
}
