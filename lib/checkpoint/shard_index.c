/* shard_index.c - *.safetensors.index.json: which shard holds which tensor. */
#include "checkpoint/safetensors.h"

#include "core/names.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static emr_status bad(const char *path, const char *what, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "%s: not a valid shard index: %s", path, what);
}

/* A plain file name: it may not lead anywhere but beside the index. */
static bool is_plain_name(const char *name)
{
    return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strpbrk(name, "/\\:");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names, sorted: shards are opened in this order. */
static emr_status list_shards(const emr_model *m, json_t *map, const char *path, const char ***shards,
                              size_t *n, emr_error *error)
{
    const char *tensor;
    json_t *file;
    size_t all = 0;
    const char **list = emr_allocate_array(&m->allocator, json_object_size(map), sizeof *list);
    *shards = list;
    if (!list)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    json_object_foreach (map, tensor, file) {
        const char *name = json_string_value(file);
        if (!name)
            return emr_fail(error, EMR_EFORMAT, "%s: tensor '%s': its shard is no string", path, tensor);
        if (!is_plain_name(name))
            return emr_fail(error, EMR_EFORMAT,
                            "%s: tensor '%s': the shard name '%s' leads out of the directory and is refused",
                            path, tensor, name);
        list[all++] = name;
    }
    qsort(list, all, sizeof *list, by_name);
    *n = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || strcmp(list[i], list[*n - 1]) != 0)
            list[(*n)++] = list[i];
    return EMR_OK;
}

/* Opens one shard; each of its tensors must be listed, and listed as its. */
static emr_status load_shard(emr_model *m, json_t *map, const char *index_path, const char *shard,
                             emr_add_file add_file, emr_error *error)
{
    const char *slash = strrchr(index_path, '/');
    size_t directory = slash ? (size_t)(slash - index_path) + 1 : 0;
    char *path = emr_join_strings(&m->allocator, index_path, directory, shard);
    if (!path)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", index_path);
    size_t first = m->n_tensors;
    emr_status status = add_file(m, path, error);
    for (size_t i = first; !status && i < m->n_tensors; i++) {
        const char *listed = json_string_value(json_object_get(map, m->tensors[i]->name));
        if (!listed || strcmp(listed, shard) != 0)
            status = emr_fail(error, EMR_EFORMAT,
                              "%s: tensor '%s' is in the shard '%s', but the index says %s%s%s", index_path,
                              m->tensors[i]->name, shard, listed ? "'" : "nothing of it",
                              listed ? listed : "", listed ? "'" : "");
    }
    emr_release(&m->allocator, path);
    return status;
}

static emr_status load_shards(emr_model *m, json_t *map, const char *path, emr_add_file add_file,
                              emr_error *error)
{
    const char **shards = NULL, *tensor;
    json_t *file;
    size_t n = 0;
    emr_status status = list_shards(m, map, path, &shards, &n, error);
    for (size_t i = 0; !status && i < n; i++)
        status = load_shard(m, map, path, shards[i], add_file, error);
    emr_release(&m->allocator, shards);
    json_object_foreach (map, tensor, file) {
        if (!status && !emr_model_find(m, tensor))
            status = emr_fail(error, EMR_EFORMAT, "%s: tensor '%s' is not in its shard '%s'", path, tensor,
                              json_string_value(file));
    }
    return status;
}

emr_status emr_shard_index_load(emr_model *m, const char *path, emr_add_file add_file, emr_error *error)
{
    json_error_t why;
    emr_file *file;
    uint64_t bytes;
    emr_status status = emr_file_open(&file, path, 0, &m->allocator, error);
    if (status)
        return status;
    emr_io io = emr_file_io(file);
    char *text = NULL;
    if (io.length(io.user, &bytes) || bytes > 100000000)
        status = bad(path, "it is longer than 100,000,000 bytes", error);
    if (!status && !(text = emr_allocate(&m->allocator, (size_t)bytes)))
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    if (!status && io.read(io.user, 0, text, (size_t)bytes))
        status = emr_fail(error, EMR_EIO, "%s: reading it failed", path);
    emr_file_close(&file);
    json_t *root = status ? NULL : json_loadb(text, (size_t)bytes, JSON_REJECT_DUPLICATES, &why);
    if (!status && !root)
        status =
            emr_fail(error, EMR_EFORMAT, "%s: not a valid shard index: not valid JSON: %s", path, why.text);
    emr_release(&m->allocator, text);
    json_t *map = json_object_get(root, "weight_map");
    if (!status && !json_is_object(map))
        status = bad(path, "it has no weight_map", error);
    if (!status)
        status = load_shards(m, map, path, add_file, error);
    json_decref(root);
    return status;
}
