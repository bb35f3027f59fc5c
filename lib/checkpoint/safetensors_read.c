/* safetensors_read.c - the safetensors reader: strict, because what it lets through is trusted from here on.
 */
#include "checkpoint/bytes.h"
#include "checkpoint/foreign.h"
#include "checkpoint/json.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/side_files.h"
#include "checkpoint/scaled.h"
#include "checkpoint/sort.h"
#include "core/bytes.h"

#include <string.h>

enum { HEADER_MAX = 100000000 };

typedef struct entry {
    const char *name;
    uint64_t begin, end; /* relative to the data */
    char *shape;         /* where it stands in the header, after its '[' */
    emr_dtype dtype;
} entry;

/* The header while it is read. */
typedef struct reader {
    emr_model *model;
    const char *path;
    emr_json json;
    entry *entries;
    size_t n, capacity;
} reader;

static emr_status fail_file(const char *path, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: not a valid safetensors file: %s", path, what);
}

static emr_status fail_tensor(const char *path, const char *name, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: not a valid safetensors file: tensor '%T': %s", path, name,
                    what);
}

/* The header's bytes, in memory of the model's allocator. */
static emr_status read_header(const emr_model *m, const emr_io *io, const char *path, char **header,
                              size_t *size, uint64_t *file_bytes, emr_error *error)
{
    uint8_t p[8];
    emr_status status = emr_bytes_length(io, path, file_bytes, error);
    if (status)
        return status;
    if (*file_bytes < 8)
        return fail_file(path, "it is shorter than 8 bytes", error);
    status = emr_bytes_read(io, path, 0, p, sizeof p, error);
    if (status)
        return status;
    uint64_t n = emr_load64(p);
    if (n > HEADER_MAX)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: not a valid safetensors file: a header of %u bytes is too long", path, n);
    if (n > *file_bytes - 8)
        return fail_file(path, "the header is longer than the file (truncated?)", error);
    if (n < 2)
        return fail_file(path, "the header is empty", error);
    *size = (size_t)n;
    *header = emr_allocate(&m->allocator, *size);
    if (!*header)
        return emr_no_memory(error, path);
    status = emr_bytes_read(io, path, 8, *header, *size, error);
    if (status)
        return status;
    return **header == '{' ? EMR_OK : fail_file(path, "the header does not begin with '{'", error);
}

static emr_status fail_header_json(const reader *r, emr_error *error)
{
    return emr_json_fail(&r->json, r->path, "not a valid safetensors file: its header is", error);
}

/* A value is not what it should be; but if it is no JSON at all, that is said. */
static emr_status refuse_value(reader *r, emr_json_token first, const char *what, emr_error *error)
{
    return emr_json_skip(&r->json, first) ? fail_file(r->path, what, error) : fail_header_json(r, error);
}

/* What is wrong where `token` stands instead of a natural number. */
static const char *not_natural(emr_json_token token, const char *what)
{
    return token == EMR_JSON_LARGE ? "a JSON number of its entry is 2^63 or more" : what;
}

/* The dimensions after a '['. NULL, or what is wrong, unless that is the JSON itself. */
static const char *read_shape(emr_json *j, uint64_t shape[EMR_RANK_MAX], uint32_t *rank)
{
    emr_json_token token;
    for (*rank = 0; (token = emr_json_next(j)) == EMR_JSON_NATURAL; ++*rank) {
        if (*rank == EMR_RANK_MAX)
            return "it has too many dimensions";
        shape[*rank] = j->natural;
    }
    return token == EMR_JSON_ARRAY_END ? NULL : not_natural(token, "a dimension is no natural number");
}

static const char bad_offsets[] = "its data_offsets are not two ascending natural numbers";

/* The same for the two numbers of data_offsets. */
static const char *read_offsets(emr_json *j, uint64_t offsets[2])
{
    for (size_t i = 0; i < 2; i++) {
        emr_json_token token = emr_json_next(j);
        if (token != EMR_JSON_NATURAL)
            return not_natural(token, bad_offsets);
        offsets[i] = j->natural;
    }
    return emr_json_next(j) == EMR_JSON_ARRAY_END && offsets[0] <= offsets[1] ? NULL : bad_offsets;
}

/* An entry's members, in whatever order they come. */
typedef struct members {
    const char *dtype; /* NULL: none, or no string */
    char *shape;       /* its '['; NULL: none, or no array */
    uint64_t dims[EMR_RANK_MAX];
    uint64_t offsets[2];
    uint32_t rank;
    bool has_offsets;
} members;

/* One member, its key being the last token. Unknown ones are allowed. */
static emr_status read_entry_member(reader *r, members *found, const char *name, emr_error *error)
{
    emr_json *j = &r->json;
    const char *key = j->string, *wrong = NULL;
    emr_json_token token = emr_json_next(j);
    if (token == EMR_JSON_STRING && strcmp(key, "dtype") == 0) {
        found->dtype = j->string;
    } else if (token == EMR_JSON_ARRAY && strcmp(key, "shape") == 0) {
        found->shape = j->text + j->at - 1;
        wrong = read_shape(j, found->dims, &found->rank);
    } else if (token == EMR_JSON_ARRAY && strcmp(key, "data_offsets") == 0) {
        found->has_offsets = true;
        wrong = read_offsets(j, found->offsets);
    } else {
        (void)emr_json_skip(j, token);
    }
    if (j->failure)
        return fail_header_json(r, error);
    return wrong ? fail_tensor(r->path, name, wrong, error) : EMR_OK;
}

static emr_status check_members(const members *found, entry *e, const char *path, emr_error *error)
{
    uint64_t count, bytes;
    if (!found->dtype)
        return fail_tensor(path, e->name, "it has no dtype", error);
    e->dtype = emr_dtype_from_name(found->dtype);
    if (!e->dtype)
        return emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' has the unknown dtype '%s'", path, e->name,
                        found->dtype);
    if (!found->shape)
        return fail_tensor(path, e->name, "it has no shape", error);
    if (!found->has_offsets)
        return fail_tensor(path, e->name, bad_offsets, error);
    if (!emr_shape_bytes(e->dtype, found->rank, found->dims, &count, &bytes))
        return fail_tensor(path, e->name, "its shape is too large or no whole number of bytes", error);
    if (bytes != found->offsets[1] - found->offsets[0])
        return fail_tensor(path, e->name, "its data_offsets do not fit its shape and dtype", error);
    e->shape = found->shape;
    e->begin = found->offsets[0];
    e->end = found->offsets[1];
    return EMR_OK;
}

static emr_status read_entry(reader *r, const char *name, emr_error *error)
{
    members found;
    found.dtype = NULL;
    found.shape = NULL;
    found.has_offsets = false;
    if (!emr_grow(&r->model->allocator, (void **)&r->entries, &r->capacity, r->n + 1, sizeof *r->entries))
        return emr_no_memory(error, r->path);
    emr_json_token token = emr_json_next(&r->json);
    if (token != EMR_JSON_OBJECT)
        return emr_json_skip(&r->json, token) ? fail_tensor(r->path, name, "its entry is no object", error)
                                              : fail_header_json(r, error);
    while ((token = emr_json_next(&r->json)) == EMR_JSON_KEY) {
        emr_status status = read_entry_member(r, &found, name, error);
        if (status)
            return status;
    }
    if (token != EMR_JSON_OBJECT_END)
        return fail_header_json(r, error);
    emr_status status = emr_side_files_check_name(r->path, name, error);
    if (status)
        return status;
    r->entries[r->n].name = name;
    return check_members(&found, &r->entries[r->n++], r->path, error);
}

static emr_status read_metadata(reader *r, emr_error *error)
{
    bool first = r->model->n_metadata == 0; /* of the shards' metadata the first one's counts */
    emr_json_token token = emr_json_next(&r->json);
    if (token == EMR_JSON_LITERAL && r->json.text[r->json.begin] == 'n') /* null, as good as none */
        return EMR_OK;
    if (token != EMR_JSON_OBJECT)
        return refuse_value(r, token, "its __metadata__ is no object", error);
    while ((token = emr_json_next(&r->json)) == EMR_JSON_KEY) {
        const char *key = r->json.string;
        token = emr_json_next(&r->json);
        if (token != EMR_JSON_STRING)
            return refuse_value(r, token, "its __metadata__ holds something else than strings", error);
        emr_status status = first ? emr_model_append_metadata(r->model, key, r->json.string, error) : EMR_OK;
        if (status)
            return status;
    }
    return token == EMR_JSON_OBJECT_END ? EMR_OK : fail_header_json(r, error);
}

/* The whole header. */
static emr_status read_header_object(reader *r, emr_error *error)
{
    emr_json *j = &r->json;
    emr_status status = EMR_OK;
    emr_json_token token = emr_json_next(j);
    if (token != EMR_JSON_OBJECT)
        return refuse_value(r, token, "the header is no object", error);
    while (!status && (token = emr_json_next(j)) == EMR_JSON_KEY)
        status = strcmp(j->string, "__metadata__") == 0 ? read_metadata(r, error)
                                                        : read_entry(r, j->string, error);
    if (!status && (token != EMR_JSON_OBJECT_END || emr_json_next(j) != EMR_JSON_END))
        status = fail_header_json(r, error);
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
            return fail_tensor(path, entries[i].name,
                               entries[i].begin < at ? "its data overlaps another's"
                                                     : "there is a hole before its data",
                               error);
        if (entries[i].end > data_bytes)
            return fail_tensor(path, entries[i].name, "its data lies beyond the end of the file (truncated?)",
                               error);
        at = entries[i].end;
    }
    return at == data_bytes ? EMR_OK : fail_file(path, "there are bytes after the last tensor", error);
}

/* The shape again, which was read before. */
static void read_shape_again(const entry *e, const reader *r, uint64_t shape[EMR_RANK_MAX], uint32_t *rank)
{
    emr_json again; /* meets no key, so it takes no memory */
    emr_json_begin(&again, NULL, e->shape, (size_t)(r->json.text + r->json.n - e->shape));
    (void)emr_json_next(&again);
    (void)read_shape(&again, shape, rank);
}

static emr_status add_entries(const reader *r, const emr_io *io, uint64_t data, emr_error *error)
{
    emr_model *m = r->model;
    size_t all = m->n_tensors + r->n;
    if (!emr_grow(&m->allocator, (void **)&m->tensors, &m->tensors_capacity, all, sizeof *m->tensors) ||
        emr_names_reserve(&m->names, &m->allocator, all))
        return emr_no_memory(error, r->path);
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < r->n; i++) {
        const entry *e = &r->entries[i];
        uint64_t shape[EMR_RANK_MAX];
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = e->name;
        d.dtype = e->dtype;
        d.shape = shape;
        read_shape_again(e, r, shape, &d.rank);
        d.io = io;
        d.offset = data + e->begin;
        status = emr_model_add(m, &d, error);
        if (!status)
            m->tensors[m->n_tensors - 1]->model_name = r->path;
        else if (status == EMR_EEXIST)
            status = emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' is in two shards", r->path, e->name);
    }
    return status;
}

emr_status emr_safetensors_load(emr_model *m, const emr_io *io, const char *path,
                                const emr_checkpoint_read_options *options, emr_error *error)
{
    (void)options; /* what they say is done once all tensors are there: scaled.h */
    reader r;
    char *header = NULL;
    size_t size = 0;
    uint64_t file_bytes = 0;
    r.model = m;
    r.path = path;
    r.entries = NULL; /* grows with entries found valid, not with what a hostile header promises */
    r.n = r.capacity = 0;
    emr_status status = read_header(m, io, path, &header, &size, &file_bytes, error);
    if (status)
        status = emr_foreign_explain(io, path, status, error);
    if (!status) {
        emr_json_begin(&r.json, &m->allocator, header, size);
        status = read_header_object(&r, error);
        emr_json_free(&r.json); /* before the model grows */
    }
    if (!status) {
        emr_sort(r.entries, r.n, sizeof *r.entries, by_position);
        status = check_tiling(r.entries, r.n, file_bytes - 8 - size, path, error);
    }
    if (!status)
        status = add_entries(&r, io, 8 + (uint64_t)size, error);
    emr_release(&m->allocator, r.entries);
    emr_release(&m->allocator, header);
    return status;
}

emr_status emr_checkpoint_take(emr_checkpoint_read_options *taken, emr_allocator *allocator,
                               const emr_checkpoint_read_options *given, emr_error *error)
{
    emr_status status = EMR_TAKE(taken, given, emr_checkpoint_read_options, error);
    return status ? status : emr_allocator_take(allocator, taken->allocator, error);
}

emr_status emr_checkpoint_open_io(emr_model **model, const emr_io *given, const char *name,
                                  const emr_checkpoint_read_options *options, emr_load_file load,
                                  const char *what, emr_error *error)
{
    emr_checkpoint_read_options known;
    emr_allocator allocator;
    emr_io io;
    if (!model)
        return emr_fail(error, EMR_EINVAL, "%s: NULL", what);
    *model = NULL;
    emr_status status = emr_checkpoint_take(&known, &allocator, options, error);
    if (!status)
        status = emr_io_take(&io, given, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "%F: its emr_io needs read and length", name ? name : "model");
    const emr_model_options made = {.size = sizeof made, .allocator = &allocator, .name = name};
    if (!status)
        status = emr_model_create(model, &made, error);
    if (!status)
        status = load(*model, &io, (*model)->name, &known, error);
    if (!status && known.dequantise)
        status = emr_scaled_dequantise(*model, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

emr_status emr_safetensors_open(emr_model **model, const emr_io *io, const char *name,
                                const emr_checkpoint_read_options *options, emr_error *error)
{
    return emr_checkpoint_open_io(model, io, name, options, emr_safetensors_load, "emr_safetensors_open",
                                  error);
}
