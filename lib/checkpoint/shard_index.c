/* shard_index.c - *.safetensors.index.json: which shard holds which tensor. */
#include "checkpoint/bytes.h"
#include "checkpoint/json.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/sort.h"
#include "io/source.h"

#include <string.h>

enum { INDEX_MAX = 100000000 };

/* A line of the weight_map. */
typedef struct place {
    const char *tensor;
    size_t shard;
} place;

typedef struct shard_index {
    emr_model *model;
    const emr_source *source;
    const char *path;
    emr_json json;
    bool has_map;
    place *places;
    size_t n, capacity;
    emr_names tensors;   /* of the places */
    const char **shards; /* distinct */
    size_t n_shards, shards_capacity;
    emr_names shard_names;
} shard_index;

static const char *tensor_at(const void *owner, size_t i)
{
    return ((const shard_index *)owner)->places[i].tensor;
}

static const char *shard_at(const void *owner, size_t i)
{
    return ((const shard_index *)owner)->shards[i];
}

static emr_status fail_index_json(const shard_index *x, emr_error *error)
{
    return emr_json_fail(&x->json, x->path, "not a valid shard index: it is", error);
}

static emr_status fail_index(const char *path, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%F: not a valid shard index: %s", path, what);
}

/* Loaders join the directory and what stands in the index, so a shard may lie in a folder of it, but may not lead
 * anywhere else. NULL: it does not; otherwise what is wrong. */
static const char *refused_because(const char *name)
{
    if (*name == '/')
        return "is an absolute path";
    if (strchr(name, '\\'))
        return "holds a '\\' (folders are separated by '/')";
    if (strchr(name, ':'))
        return "holds a ':'";
    for (const char *part = name;; part++) {
        size_t n = strcspn(part, "/");
        if (n == 2 && memcmp(part, "..", 2) == 0)
            return "leads out of the directory";
        part += n;
        if (!*part)
            return n == 0 || (n == 1 && part[-1] == '.') ? "is not that of a file" : NULL;
    }
}

/* "./a" is "a". */
static const char *without_dots(const char *name)
{
    while (name[0] == '.' && name[1] == '/')
        for (name++; *name == '/'; name++)
            ;
    return name;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The number of a shard, which becomes known if it is not. */
static emr_status note_shard(shard_index *x, const char *name, size_t *number)
{
    const emr_allocator *a = &x->model->allocator;
    *number = emr_names_find(&x->shard_names, shard_at, x, name);
    if (*number != EMR_NAMES_NONE)
        return EMR_OK;
    *number = x->n_shards;
    if (!emr_grow(a, (void **)&x->shards, &x->shards_capacity, x->n_shards + 1, sizeof *x->shards))
        return EMR_ENOMEM;
    x->shards[x->n_shards] = name;
    emr_status status = emr_names_add(&x->shard_names, a, shard_at, x, x->n_shards);
    x->n_shards += !status;
    return status;
}

/* One line of the weight_map, its tensor being the last token. */
static emr_status read_place(shard_index *x, emr_error *error)
{
    place p = {x->json.string, 0};
    emr_json_token token = emr_json_next(&x->json);
    if (!emr_json_skip(&x->json, token))
        return fail_index_json(x, error);
    if (token != EMR_JSON_STRING)
        return emr_fail(error, EMR_EFORMAT, "%F: tensor '%T': its shard is no string", x->path, p.tensor);
    const char *wrong = refused_because(x->json.string);
    if (wrong)
        return emr_fail(error, EMR_EFORMAT, "%F: tensor '%T': the shard name '%s' %s, and is refused",
                        x->path, p.tensor, x->json.string, wrong);
    if (note_shard(x, without_dots(x->json.string), &p.shard) ||
        !emr_grow(&x->model->allocator, (void **)&x->places, &x->capacity, x->n + 1, sizeof p))
        return emr_no_memory(error, x->path);
    x->places[x->n++] = p;
    return EMR_OK;
}

/* The value of "weight_map". */
static emr_status read_map(shard_index *x, emr_error *error)
{
    emr_status status = EMR_OK;
    emr_json_token token = emr_json_next(&x->json);
    if (token != EMR_JSON_OBJECT)
        return emr_json_skip(&x->json, token) ? EMR_OK : fail_index_json(x, error);
    x->has_map = true;
    while (!status && (token = emr_json_next(&x->json)) == EMR_JSON_KEY)
        status = read_place(x, error);
    return status || token == EMR_JSON_OBJECT_END ? status : fail_index_json(x, error);
}

/* The whole index. Other members than the weight_map are allowed, and not believed. */
static emr_status read_index_object(shard_index *x, emr_error *error)
{
    emr_json *j = &x->json;
    emr_status status = EMR_OK;
    emr_json_token token = emr_json_next(j);
    if (token != EMR_JSON_OBJECT)
        return emr_json_skip(j, token)
                   ? fail_index(x->path,
                                "it has no weight_map (give a folder, or NAME.safetensors.index.json)", error)
                   : fail_index_json(x, error);
    while (!status && (token = emr_json_next(j)) == EMR_JSON_KEY) {
        if (strcmp(j->string, "weight_map") == 0)
            status = read_map(x, error);
        else if (!emr_json_skip(j, emr_json_next(j)))
            status = fail_index_json(x, error);
    }
    if (!status && (token != EMR_JSON_OBJECT_END || emr_json_next(j) != EMR_JSON_END))
        status = fail_index_json(x, error);
    if (!status && !x->has_map)
        status = fail_index(x->path, "it has no weight_map (give a folder, or NAME.safetensors.index.json)",
                            error);
    return status;
}

/* The model's tensors from `first` on are of that shard: each must be listed, and listed as its. */
static emr_status check_listed(const shard_index *x, uint32_t first, const char *shard, emr_error *error)
{
    for (uint32_t i = first; i < x->model->n_tensors; i++) {
        const char *tensor = x->model->tensors[i]->name;
        size_t at = emr_names_find(&x->tensors, tensor_at, x, tensor);
        const char *listed = at == EMR_NAMES_NONE ? NULL : shard_at(x, x->places[at].shard);
        if (!listed || strcmp(listed, shard) != 0)
            return emr_fail(error, EMR_EFORMAT,
                            "%F: tensor '%T' is in the shard '%s', but the index says %s%s%s", x->path,
                            tensor, shard, listed ? "'" : "nothing of it", listed ? listed : "",
                            listed ? "'" : "");
    }
    return EMR_OK;
}

static emr_status load_shard(const shard_index *x, const char *shard, emr_add_file add_file, emr_error *error)
{
    size_t directory = (size_t)(emr_system_file_name(x->path) - x->path);
    uint32_t first = x->model->n_tensors;
    char *path = emr_join_strings(&x->model->allocator, x->path, directory, shard);
    if (!path)
        return emr_no_memory(error, x->path);
    emr_status status = EMR_OK;
    if (emr_source_kind_of(x->source, path) == EMR_PATH_ABSENT)
        status = emr_fail(error, EMR_EIO, "%F: the shard '%s' that it names is absent", x->path, shard);
    if (!status)
        status = add_file(x->model, path, error);
    if (!status)
        status = check_listed(x, first, shard, error);
    emr_release(&x->model->allocator, path);
    return status;
}

/* The shards are opened in the order of their names. */
static emr_status load_shards(shard_index *x, emr_add_file add_file, emr_error *error)
{
    const emr_allocator *a = &x->model->allocator;
    emr_status status = emr_names_reserve(&x->tensors, a, x->n);
    for (size_t i = 0; !status && i < x->n; i++)
        status = emr_names_add(&x->tensors, a, tensor_at, x, i);
    const char **sorted = status ? NULL : emr_allocate_array(a, x->n_shards, sizeof *sorted);
    if (!sorted)
        return emr_no_memory(error, x->path);
    if (x->n_shards)
        memcpy(sorted, x->shards, x->n_shards * sizeof *sorted);
    emr_sort(sorted, x->n_shards, sizeof *sorted, by_name);
    for (size_t i = 0; !status && i < x->n_shards; i++)
        status = load_shard(x, sorted[i], add_file, error);
    for (size_t i = 0; !status && i < x->n; i++)
        if (!emr_model_find_tensor(x->model, x->places[i].tensor))
            status = emr_fail(error, EMR_EFORMAT, "%F: tensor '%T' is not in its shard '%s'", x->path,
                              x->places[i].tensor, shard_at(x, x->places[i].shard));
    emr_release(a, sorted);
    return status;
}

/* Windows' editors and shells put a mark before UTF-8, or write UTF-16. */
static emr_status skip_mark(const char *path, char **begin, size_t *n, emr_error *error)
{
    static const char *const wide[] = {"\xff\xfe", "\xfe\xff"};
    for (size_t i = 0; i < 2; i++)
        if (*n >= 2 && memcmp(*begin, wide[i], 2) == 0)
            return fail_index(path, "it is text in UTF-16: save it as UTF-8", error);
    if (*n >= 3 && memcmp(*begin, "\xef\xbb\xbf", 3) == 0) {
        *begin += 3;
        *n -= 3;
    }
    return EMR_OK;
}

emr_status emr_shard_index_load(emr_model *m, const emr_source *source, const char *path,
                                emr_add_file add_file, emr_error *error)
{
    shard_index x = {.model = m, .source = source, .path = path};
    emr_text text;
    emr_status status = emr_read_text(&text, source, &m->allocator, path, INDEX_MAX, error);
    if (status == EMR_ELIMIT)
        return fail_index(path, "it is longer than 100,000,000 bytes", error);
    char *begin = text.bytes;
    size_t n = text.n;
    if (!status)
        status = skip_mark(path, &begin, &n, error);
    if (!status) {
        emr_json_begin(&x.json, &m->allocator, begin, n);
        status = read_index_object(&x, error);
        emr_json_free(&x.json);
    }
    if (!status)
        status = load_shards(&x, add_file, error);
    emr_names_free(&x.tensors, &m->allocator);
    emr_names_free(&x.shard_names, &m->allocator);
    emr_release(&m->allocator, x.places);
    emr_release(&m->allocator, x.shards);
    emr_release(&m->allocator, text.bytes);
    return status;
}
