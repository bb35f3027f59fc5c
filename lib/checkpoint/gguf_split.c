/* gguf_split.c - a GGUF model in several files, as llama-gguf-split makes them: the metadata are in the
 * first one, each has tensors of its own and says which of how many it is. The model has one header, put
 * together from all of them: that of a file in which they were never split. */
#include "checkpoint/gguf_bytes.h"
#include "checkpoint/shard_name.h"
#include "core/bytes.h"
#include "io/source.h"

#include <string.h>

static const char dot_gguf[] = ".gguf";

typedef struct split_model {
    emr_model *model;
    const emr_checkpoint_read_options *options;
    emr_open_part open;
    const char *path; /* of the file that was named */
    const emr_io *io;
    size_t stem;          /* bytes of the path before "-00001-of-00003.gguf" */
    emr_gguf_split named; /* what that file says of itself */
    uint8_t *header;      /* put together as far as we are */
    size_t n, capacity;
    uint64_t n_tensors, next; /* where the next one's data would begin */
    uint32_t alignment;
} split_model;

static emr_status fail_part(const char *path, const char *what, uint64_t is, uint64_t should,
                            emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: not a valid file of a split GGUF model: %s is %u, not %u", path,
                    what, is, should);
}

/* What each says of itself and of the others must be true. */
static emr_status check_part(const split_model *s, const emr_gguf_header *h, uint64_t number,
                             emr_error *error)
{
    if (h->split.count != s->named.count)
        return fail_part(h->path, "split.count", h->split.count, s->named.count, error);
    if (h->split.no != number)
        return fail_part(h->path, "split.no", h->split.no, number, error);
    if (h->split.n_tensors != s->named.n_tensors)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: not a valid file of a split GGUF model: its split.tensors.count is not "
                        "that of '%s'",
                        h->path, s->path);
    return EMR_OK;
}

static emr_status make_header_room(split_model *s, uint64_t more, const char *path, emr_error *error)
{
    if (s->n + more > EMR_GGUF_HEADER_MAX)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: the headers of the files of this split GGUF model have more than "
                        "100,000,000 bytes together",
                        path);
    return emr_grow(&s->model->allocator, (void **)&s->header, &s->capacity, s->n + (size_t)more, 1)
               ? EMR_OK
               : emr_no_memory(error, path);
}

/* The metadata of the first file; the descriptions of every one's tensors, with new places. */
static emr_status join_header(split_model *s, emr_gguf_header *h, emr_error *error)
{
    emr_status status = make_header_room(s, h->at, h->path, error);
    if (!status && h->split.no == 0) {
        s->n = emr_gguf_put_metadata(h, s->header);
        s->alignment = h->alignment;
    }
    for (uint64_t i = 0; !status && i < h->n_tensors; i++) {
        emr_gguf_info info = emr_gguf_info_read(h->in_order[i]);
        if (s->next > EMR_GGUF_DATA_MAX)
            return emr_gguf_bad_at(h, "tensor", (size_t)(h->in_order[i] - h->bytes), "the model is too large",
                                   error);
        info.offset = s->next;
        s->n += emr_gguf_info_put(s->header + s->n, &info);
        s->next = emr_round_up(s->next + info.bytes, s->alignment);
    }
    s->n_tensors += h->n_tensors;
    return status;
}

static emr_status load_split_part(split_model *s, const emr_io *io, const char *name, uint64_t number,
                                  emr_error *error)
{
    emr_gguf_header h;
    emr_status status = emr_gguf_header_read(&h, &s->model->allocator, io, name, error);
    if (!status)
        status = check_part(s, &h, number, error);
    if (!status)
        status = join_header(s, &h, error);
    if (!status)
        status = emr_gguf_add_tensors(s->model, &h, io, s->options->dequantise != 0, error);
    emr_gguf_header_free(&h);
    return status;
}

/* The number-th of the files, beside the one that was named. */
static emr_status open_part(split_model *s, uint64_t number, emr_error *error)
{
    const emr_allocator *a = &s->model->allocator;
    const emr_io *io;
    const char *name;
    char *path = emr_shard_path(a, s->path, s->stem, (size_t)number + 1, s->named.count, dot_gguf);
    if (!path)
        return emr_no_memory(error, s->path);
    emr_status status = s->open(s->model, path, &io, &name, error);
    if (status && emr_source_kind_of(s->options->source, path) == EMR_PATH_ABSENT)
        emr_fail(error, status,
                 "%F: this file is absent: it is number %u of the %u files of the GGUF model that '%s' is "
                 "one of",
                 path, number + 1, (uint64_t)s->named.count, emr_system_file_name(s->path));
    emr_release(a, path);
    return status ? status : load_split_part(s, io, name, number, error);
}

/* The other files are found by the name of this one. */
static emr_status find_other_files(split_model *s, emr_error *error)
{
    size_t number = 0, n = 0;
    const emr_gguf_split *named = &s->named;
    if (named->no >= named->count)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: not a valid file of a split GGUF model: split.no is %u, split.count %u", s->path,
                        (uint64_t)named->no, (uint64_t)named->count);
    s->stem = emr_shard_stem(s->path, dot_gguf, &number, &n);
    if (s->stem && number == (size_t)named->no + 1 && n == named->count)
        return EMR_OK;
    char *ending =
        emr_shard_path(&s->model->allocator, "NAME", 4, (size_t)named->no + 1, named->count, dot_gguf);
    emr_status status =
        ending ? emr_fail(error, EMR_EFORMAT,
                          "%F: it is number %u of the %u files of a GGUF model: without the name %s, "
                          "the others cannot be found",
                          s->path, (uint64_t)named->no + 1, (uint64_t)named->count, ending)
               : emr_no_memory(error, s->path);
    emr_release(&s->model->allocator, ending);
    return status;
}

static emr_status add_joined_header(split_model *s, emr_error *error)
{
    if (s->named.n_tensors >= 0 && s->n_tensors != (uint64_t)s->named.n_tensors)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: not a valid file of a split GGUF model: split.tensors.count is %i, and its "
                        "files have %u tensors",
                        s->path, s->named.n_tensors, s->n_tensors);
    emr_store64(s->header + 8, s->n_tensors);
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    const uint64_t bytes = s->n;
    d.name = EMR_GGUF_HEADER;
    d.dtype = EMR_DTYPE_U8;
    d.shape = &bytes;
    d.rank = 1;
    d.data = s->header;
    return emr_model_add(s->model, &d, error);
}

static emr_status load_split(split_model *s, emr_error *error)
{
    emr_status status = find_other_files(s, error);
    for (uint64_t i = 0; !status && i < s->named.count; i++)
        status = i == s->named.no ? load_split_part(s, s->io, s->path, i, error) : open_part(s, i, error);
    return status ? status : add_joined_header(s, error);
}

emr_status emr_gguf_load_path(emr_model *m, const emr_io *io, const char *path,
                              const emr_checkpoint_read_options *options, emr_open_part open,
                              emr_error *error)
{
    emr_gguf_header h;
    split_model s = {.model = m, .options = options, .open = open, .path = path, .io = io};
    emr_status status = emr_gguf_header_read(&h, &m->allocator, io, path, error);
    bool is_split = !status && h.split.count > 1;
    if (!status && !is_split)
        status = emr_gguf_add_file(m, &h, io, options->dequantise != 0, error);
    s.named = h.split;
    emr_gguf_header_free(&h);
    if (!is_split)
        return status;
    status = load_split(&s, error);
    m->memory = s.header; /* the model's, also when it failed */
    return status;
}
