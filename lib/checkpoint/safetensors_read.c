/* safetensors_read.c - the safetensors reader: strict, because what it lets through is trusted from here on.
 */
#include "checkpoint/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 100000000 };

typedef struct entry {
    const char *name;
    uint64_t begin, end; /* relative to the data */
    const json_t *shape;
    emr_dtype dtype;
} entry;

static emr_status bad(const char *path, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%s: not a valid safetensors file: %s", path, what);
}

static emr_status bad_tensor(const char *path, const char *name, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%s: not a valid safetensors file: tensor '%s': %s", path, name,
                    what);
}

/* A file that is no safetensors file may well be a pickle, bare or in a zip archive. Asked only once it is
 * known to be malformed: a header's length can look like either. */
static emr_status maybe_pickle(const uint8_t first[8], const char *path, emr_status status, emr_error *error)
{
    if (memcmp(first, "PK\3\4", 4) != 0 && !(first[0] == 0x80 && first[1] >= 2 && first[1] <= 5))
        return status;
    return emr_fail(
        error, EMR_EUNSUPPORTED,
        "%s: a pickle file, which runs code when loaded, is not read: convert it to safetensors first", path);
}

/* The header's bytes, in memory of the model's allocator. */
static emr_status read_header(const emr_model *m, const emr_io *io, const char *path, char **header,
                              size_t *size, uint64_t *file_bytes, emr_error *error)
{
    uint8_t p[8];
    if (io->length(io->user, file_bytes))
        return emr_fail(error, EMR_EIO, "%s: its length cannot be had", path);
    if (*file_bytes < 8)
        return bad(path, "it is shorter than 8 bytes", error);
    if (io->read(io->user, 0, p, sizeof p))
        return emr_fail(error, EMR_EIO, "%s: reading its first 8 bytes failed", path);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    if (n > HEADER_MAX)
        return maybe_pickle(p, path,
                            emr_fail(error, EMR_EFORMAT,
                                     "%s: not a valid safetensors file: a header of %u bytes is too long",
                                     path, n),
                            error);
    if (n > *file_bytes - 8)
        return maybe_pickle(p, path, bad(path, "the header is longer than the file (truncated?)", error),
                            error);
    if (n < 2)
        return bad(path, "the header is empty", error);
    *size = (size_t)n;
    *header = emr_allocate(&m->allocator, *size);
    if (!*header)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory for its header", path);
    if (io->read(io->user, 8, *header, *size))
        return emr_fail(error, EMR_EIO, "%s: reading its header failed", path);
    if (**header != '{')
        return maybe_pickle(p, path, bad(path, "the header does not begin with '{'", error), error);
    return EMR_OK;
}

static bool read_size(const json_t *number, uint64_t *value)
{
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        return false;
    *value = (uint64_t)json_integer_value(number);
    return true;
}

static emr_status read_shape(const entry *e, uint64_t shape[EMR_RANK_MAX], uint32_t *rank, const char *path,
                             emr_error *error)
{
    if (!json_is_array(e->shape))
        return bad_tensor(path, e->name, "it has no shape", error);
    if (json_array_size(e->shape) > EMR_RANK_MAX)
        return bad_tensor(path, e->name, "it has too many dimensions", error);
    *rank = (uint32_t)json_array_size(e->shape);
    for (uint32_t i = 0; i < *rank; i++)
        if (!read_size(json_array_get(e->shape, i), &shape[i]))
            return bad_tensor(path, e->name, "a dimension is no natural number", error);
    return EMR_OK;
}

static emr_status read_entry(entry *e, const char *name, const json_t *value, const char *path,
                             emr_error *error)
{
    uint64_t shape[EMR_RANK_MAX];
    uint32_t rank;
    *e = (entry){.name = name, .shape = json_object_get(value, "shape")};
    if (!json_is_object(value))
        return bad_tensor(path, name, "its entry is no object", error);
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (!dtype)
        return bad_tensor(path, name, "it has no dtype", error);
    e->dtype = emr_dtype_from_name(dtype);
    if (!e->dtype)
        return emr_fail(error, EMR_EFORMAT, "%s: tensor '%s' has the unknown dtype '%s'", path, name, dtype);
    emr_status status = read_shape(e, shape, &rank, path, error);
    if (status)
        return status;
    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !read_size(json_array_get(offsets, 0), &e->begin) ||
        !read_size(json_array_get(offsets, 1), &e->end) || e->begin > e->end)
        return bad_tensor(path, name, "its data_offsets are not two ascending natural numbers", error);
    uint64_t count, bytes;
    if (!emr_shape_bytes(e->dtype, rank, shape, &count, &bytes))
        return bad_tensor(path, name, "its shape is too large or no whole number of bytes", error);
    if (bytes != e->end - e->begin)
        return bad_tensor(path, name, "its data_offsets do not fit its shape and dtype", error);
    return EMR_OK;
}

static emr_status read_metadata(emr_model *m, json_t *metadata, const char *path, emr_error *error)
{
    const char *key;
    json_t *value;
    emr_status status = EMR_OK;
    bool first = m->n_metadata == 0; /* of the shards' metadata the first one's counts */
    if (!json_is_object(metadata))
        return bad(path, "its __metadata__ is no object", error);
    json_object_foreach (metadata, key, value) {
        if (!json_is_string(value))
            return bad(path, "its __metadata__ holds something else than strings", error);
        if (!status && first)
            status = emr_model_append_metadata(m, key, json_string_value(value), error);
    }
    return status;
}

static int by_position(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name); /* zero-size tensors may share a place */
}

/* Sorted, the entries must tile the data from its first to its last byte. */
static emr_status check_tiling(const entry *entries, size_t n, uint64_t data_bytes, const char *path,
                               emr_error *error)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return bad_tensor(path, entries[i].name,
                              entries[i].begin < at ? "its data overlaps another's"
                                                    : "there is a hole before its data",
                              error);
        if (entries[i].end > data_bytes)
            return bad_tensor(path, entries[i].name, "its data lies beyond the end of the file (truncated?)",
                              error);
        at = entries[i].end;
    }
    return at == data_bytes ? EMR_OK : bad(path, "there are bytes after the last tensor", error);
}

static emr_status add_entries(emr_model *m, const entry *entries, size_t n, const emr_io *io, uint64_t data,
                              const char *path, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < n; i++) {
        uint64_t shape[EMR_RANK_MAX];
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = entries[i].name;
        d.dtype = (uint32_t)entries[i].dtype;
        d.shape = shape;
        (void)read_shape(&entries[i], shape, &d.rank, path, NULL); /* was read before */
        d.io = io;
        d.offset = data + entries[i].begin;
        status = emr_model_add(m, &d, error);
        if (!status)
            m->tensors[m->n_tensors - 1]->model_name = path;
        else if (status == EMR_EEXIST)
            status = emr_fail(error, EMR_EFORMAT, "%s: tensor '%s' is in two shards", path, entries[i].name);
    }
    return status;
}

static emr_status read_entries(emr_model *m, json_t *root, const emr_io *io, uint64_t data,
                               uint64_t data_bytes, const char *path, emr_error *error)
{
    size_t n = 0, capacity = 0;
    const char *name;
    json_t *value;
    emr_status status = EMR_OK;
    entry *entries = NULL; /* grows with entries found valid, not with what a hostile header promises */
    json_object_foreach (root, name, value) {
        if (status)
            break;
        if (strcmp(name, "__metadata__") == 0)
            status = read_metadata(m, value, path, error);
        else if (!emr_grow(&m->allocator, (void **)&entries, &capacity, n + 1, sizeof *entries))
            status = emr_fail(error, EMR_ENOMEM, "%s: out of memory for its header", path);
        else
            status = read_entry(&entries[n++], name, value, path, error);
    }
    if (!status) {
        if (n)
            qsort(entries, n, sizeof *entries, by_position);
        status = check_tiling(entries, n, data_bytes, path, error);
    }
    if (!status)
        status = add_entries(m, entries, n, io, data, path, error);
    emr_release(&m->allocator, entries);
    return status;
}

emr_status emr_safetensors_load(emr_model *m, const emr_io *io, const char *path, emr_error *error)
{
    char *header = NULL;
    size_t size = 0;
    uint64_t file_bytes = 0;
    json_error_t why;
    emr_status status = read_header(m, io, path, &header, &size, &file_bytes, error);
    json_t *root = status ? NULL : json_loadb(header, size, JSON_REJECT_DUPLICATES, &why);
    if (!status && !root)
        status = json_error_code(&why) == json_error_out_of_memory
                     ? emr_fail(error, EMR_ENOMEM, "%s: out of memory for its header", path)
                     : emr_fail(error, EMR_EFORMAT,
                                "%s: not a valid safetensors file: its header is not valid JSON: %s", path,
                                why.text);
    emr_release(&m->allocator, header);
    if (!status)
        status = read_entries(m, root, io, 8 + (uint64_t)size, file_bytes - 8 - size, path, error);
    json_decref(root);
    return status;
}

emr_status emr_checkpoint_take(emr_checkpoint_options *taken, emr_allocator *allocator,
                               const emr_checkpoint_options *given, emr_error *error)
{
    emr_status status = emr_take_struct(taken, sizeof *taken, sizeof(emr_checkpoint_options), given,
                                        "emr_checkpoint_options", error);
    return status ? status : emr_allocator_take(allocator, taken->allocator, error);
}

emr_status emr_safetensors_open(emr_model **model, const emr_io *given, const char *name,
                                const emr_checkpoint_options *options, emr_error *error)
{
    emr_checkpoint_options known;
    emr_allocator allocator;
    emr_io io;
    if (!model)
        return emr_fail(error, EMR_EINVAL, "emr_safetensors_open: NULL");
    *model = NULL;
    emr_status status = emr_checkpoint_take(&known, &allocator, options, error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "%s: its emr_io needs read and length", name ? name : "model");
    if (!status)
        status = emr_model_create(model, name, &allocator, error);
    if (!status)
        status = emr_safetensors_load(*model, &io, (*model)->name, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
