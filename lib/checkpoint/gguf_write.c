/* gguf_write.c - a model that came from GGUF as a GGUF file, or as one of several, front to back: the
 * metadata of its header as they are, the tensors described anew. */
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/write.h"
#include "core/bytes.h"

#include <string.h>

enum { SPLIT_ENTRIES_BYTES = 200 /* more than general.alignment and the entries on splitting take */ };

bool emr_gguf_is_written(const emr_tensor *t)
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

/* A file: all tensors of a model, or some. */
typedef struct gguf_file {
    emr_gguf_header h; /* of the model */
    const emr_model *model;
    const emr_gguf_split *split; /* NULL: it is the only one */
    uint32_t first, end;         /* tensors */
} gguf_file;

/* How long the data of these tensors are with their padding, and the descriptions. Refuses what cannot be
 * written. */
static emr_status measure_tensors(const gguf_file *f, uint32_t first, uint32_t end, uint64_t *infos,
                                  uint64_t *data, emr_error *error)
{
    emr_status status = EMR_OK;
    emr_gguf_info info;
    *infos = *data = 0;
    for (uint32_t i = first; !status && i < end; i++) {
        const emr_tensor *t = f->model->tensors[i];
        if (!emr_gguf_is_written(t))
            continue;
        status = describe_gguf_tensor(&f->h, t, &info, error);
        if (status)
            break;
        *infos += emr_gguf_info_bytes(&info);
        if (t->bytes > EMR_GGUF_DATA_MAX || *data > EMR_GGUF_DATA_MAX ||
            f->h.infos + *infos + SPLIT_ENTRIES_BYTES > EMR_GGUF_HEADER_MAX)
            status = emr_fail(error, EMR_ELIMIT, "%F: the model is too large for GGUF", f->h.path);
        else
            *data = emr_round_up(*data + t->bytes, f->h.alignment);
    }
    return status;
}

static uint32_t count_written(const emr_model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_tensors; i++)
        n += emr_gguf_is_written(m->tensors[i]);
    return n;
}

static uint8_t *put_entry(uint8_t *to, const char *key, uint32_t type, uint32_t value, size_t width)
{
    size_t n = strlen(key);
    emr_store64(to, n);
    memcpy(to + 8, key, n);
    emr_store32(to + 8 + n, type);
    for (size_t i = 0; i < width; i++)
        to[12 + n + i] = (uint8_t)(value >> 8 * i);
    return to + 12 + n + width;
}

/* What the header says before the tensors: all metadata in the only file or the first; in each of several,
 * which one it is, and in those after the first, where their data lie. */
static uint8_t *put_beginning(gguf_file *f, uint8_t *bytes)
{
    bool is_first = !f->split || f->split->no == 0;
    uint8_t *end = bytes + EMR_GGUF_START;
    uint64_t n_kv = 0;
    if (is_first) {
        end = bytes + emr_gguf_put_metadata(&f->h, bytes);
        n_kv = emr_load64(bytes + 16);
    } else {
        memcpy(bytes, f->h.bytes, EMR_GGUF_START);
    }
    if (!is_first && f->h.alignment != EMR_GGUF_ALIGNMENT) {
        end = put_entry(end, "general.alignment", EMR_GGUF_UINT32, f->h.alignment, 4);
        n_kv++;
    }
    if (f->split) {
        end = put_entry(end, "split.no", EMR_GGUF_UINT16, f->split->no, 2);
        end = put_entry(end, "split.count", EMR_GGUF_UINT16, f->split->count, 2);
        end = put_entry(end, "split.tensors.count", EMR_GGUF_INT32, count_written(f->model), 4);
        n_kv += 3;
    }
    emr_store64(bytes + 16, n_kv);
    return end;
}

/* Zeros behind a header, which may be many where the alignment is large. */
static emr_status put_padding(emr_stream *s, uint64_t n, emr_error *error)
{
    static const uint8_t zeros[4096];
    emr_status status = EMR_OK;
    for (size_t now; !status && n; n -= now) {
        now = (size_t)emr_min(n, sizeof zeros);
        status = emr_stream_put(s, zeros, now, error);
    }
    return status;
}

/* The header, with the padding that follows it. `infos` are the bytes of the tensors' descriptions. */
static emr_status write_gguf_header(emr_stream *s, gguf_file *f, uint64_t infos, emr_error *error)
{
    size_t n = (size_t)(f->h.infos + SPLIT_ENTRIES_BYTES + infos);
    uint64_t at = 0, n_tensors = 0;
    uint8_t *bytes = emr_allocate(&s->output->env.allocator, n), *end;
    if (!bytes)
        return emr_no_memory(error, f->h.path);
    end = put_beginning(f, bytes);
    emr_status status = EMR_OK;
    for (uint32_t i = f->first; !status && i < f->end; i++) {
        const emr_tensor *t = f->model->tensors[i];
        emr_gguf_info info;
        if (!emr_gguf_is_written(t))
            continue;
        status = describe_gguf_tensor(&f->h, t, &info, error);
        if (status)
            break;
        info.offset = at;
        end += emr_gguf_info_put(end, &info);
        at = emr_round_up(at + t->bytes, f->h.alignment);
        n_tensors++;
    }
    emr_store64(bytes + 8, n_tensors);
    n = (size_t)(end - bytes);
    if (!status)
        status = emr_stream_put(s, bytes, n, error);
    emr_release(&s->output->env.allocator, bytes);
    return status ? status : put_padding(s, emr_round_up(n, f->h.alignment) - n, error);
}

/* llama.cpp's number for files of that type, general.file_type: all but vectors are of it. -1: none. */
static int file_type_of(const emr_gguf_type *type)
{
    switch (type->dtype) {
    case EMR_DTYPE_F32:
        return 0;
    case EMR_DTYPE_F16:
        return 1;
    case EMR_DTYPE_BF16:
        return 32;
    default:
        return -1;
    }
}

/* Where a tensor's type is not what it was, and all but vectors and integers are now of one type, the
 * metadata say so. */
static void settle_file_type(gguf_file *f)
{
    const emr_gguf_type *type = NULL;
    bool changed = false, mixed = false;
    for (uint32_t i = 0; i < f->model->n_tensors; i++) {
        const emr_tensor *t = f->model->tensors[i];
        const uint8_t *old = emr_gguf_info_find(&f->h, t->name);
        emr_gguf_info info;
        if (!emr_gguf_is_written(t) || describe_gguf_tensor(&f->h, t, &info, NULL))
            continue;
        changed = changed || !old || emr_gguf_info_read(old).type != info.type;
        if (t->rank < 2 || (info.type->block == 1 && !emr_dtype_is_float(t->dtype)))
            continue;
        mixed = mixed || (type && type != info.type);
        type = info.type;
    }
    if (changed && !mixed && type && file_type_of(type) >= 0 && f->h.file_type)
        emr_store32(f->h.bytes + f->h.file_type, (uint32_t)file_type_of(type));
}

static emr_status write_tensors(emr_stream *s, const gguf_file *f, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = f->first; !status && i < f->end; i++) {
        const emr_tensor *t = f->model->tensors[i];
        if (!emr_gguf_is_written(t))
            continue;
        status = emr_stream_tensor(s, t, error);
        if (!status)
            status = emr_stream_zeros(s, emr_round_up(t->bytes, f->h.alignment) - t->bytes, error);
    }
    return status;
}

/* The first file's writer looks at all tensors, also at those that are others'. */
static emr_status write_all(gguf_file *f, const emr_io *io, emr_output *output, emr_error *error)
{
    emr_stream s;
    uint64_t infos, data;
    emr_status status = EMR_OK;
    if (!f->split || f->split->no == 0) {
        status = measure_tensors(f, 0, f->model->n_tensors, &infos, &data, error);
        if (!status) {
            output->total = output->done + data;
            settle_file_type(f);
        }
    }
    if (!status)
        status = measure_tensors(f, f->first, f->end, &infos, &data, error);
    if (status)
        return status;
    status = emr_stream_begin(&s, f->model, io, output, error);
    if (!status)
        status = write_gguf_header(&s, f, infos, error);
    if (!status)
        status = write_tensors(&s, f, error);
    return emr_stream_end(&s, status, error);
}

emr_status emr_gguf_write_range(const emr_model *m, uint32_t first, uint32_t n, const emr_gguf_split *split,
                                const emr_io *io, emr_output *output, emr_error *error)
{
    gguf_file f = {.model = m, .split = split, .first = first, .end = first + n};
    const emr_tensor *header = emr_model_find_tensor(m, EMR_GGUF_HEADER);
    if (!header)
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "%F: it cannot be written as GGUF: only a model that came from a GGUF file has the "
                        "metadata, in a tensor '" EMR_GGUF_HEADER "'",
                        m->name);
    emr_status status = emr_gguf_header_take(&f.h, &output->env.allocator, header, m->name, error);
    if (!status)
        status = write_all(&f, io, output, error);
    emr_gguf_header_free(&f.h);
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
    return status ? status : emr_gguf_write_range(m, 0, m->n_tensors, NULL, &io, &output, error);
}
