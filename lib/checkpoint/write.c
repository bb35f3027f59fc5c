/* write.c - a model to a path: one file, or shards with their index. Nothing appears before everything is
 * written. */
#define _POSIX_C_SOURCE 200809L

#include "checkpoint/adapter.h"
#include "checkpoint/json_text.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_write.h"
#include "checkpoint/stream.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct shard {
    size_t first, n; /* tensors */
    emr_file *file;
    char *path;
} shard;

typedef struct shards {
    emr_allocator allocator;
    shard *all;
    size_t n, capacity;
    char *stem; /* path without ".safetensors" */
    emr_file *index;
    emr_file *config; /* an adapter's */
    char *old_index;  /* where one would be in the way */
    bool made_directory;
} shards;

static const char dot_safetensors[] = ".safetensors", dot_index[] = ".safetensors.index.json";

static bool cut_ending(char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    if (n < k || strcmp(text + n - k, end) != 0)
        return false;
    text[n - k] = '\0';
    return true;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_gguf(const char *path)
{
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".gguf") == 0 && !is_directory(path);
}

/* Shares the tensors out: a new shard where the next tensor would make this one too large. */
static bool share_out(shards *s, const emr_model *m, uint64_t shard_bytes)
{
    uint64_t used = 0;
    for (size_t i = 0; i <= m->n_tensors; i++) {
        bool next = s->n == 0 || (i < m->n_tensors && shard_bytes && s->all[s->n - 1].n &&
                                  m->tensors[i]->bytes > shard_bytes - emr_min(used, shard_bytes));
        if (next) {
            if (!emr_grow(&s->allocator, (void **)&s->all, &s->capacity, s->n + 1, sizeof *s->all))
                return false;
            s->all[s->n++] = (shard){.first = i};
            used = 0;
        }
        if (i < m->n_tensors) {
            s->all[s->n - 1].n++;
            used += m->tensors[i]->bytes;
        }
    }
    return true;
}

/* Finds the stem, and makes the directory where the path is to be one. */
static emr_status find_stem(shards *s, const char *path, bool sharding, bool adapter, emr_error *error)
{
    bool there = is_directory(path);
    s->stem = emr_copy_string(&s->allocator, path);
    if (!s->stem)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    if (!there && (cut_ending(s->stem, dot_index) || cut_ending(s->stem, dot_safetensors)))
        return EMR_OK;
    if (!there && !sharding && !adapter)
        return emr_fail(error, EMR_EINVAL, "%s: the output's name must end in .safetensors or .gguf", path);
    if (!there && mkdir(path, 0777))
        return emr_fail(error, EMR_EIO, "%s: the directory cannot be made", path);
    s->made_directory = !there;
    emr_release(&s->allocator, s->stem);
    s->stem = emr_join_strings(&s->allocator, path, strlen(path), adapter ? "/" EMR_ADAPTER_STEM : "/model");
    return s->stem ? EMR_OK : emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
}

/* Says which file it was whose writing failed, which the writer does not know. */
static emr_status name_file(const emr_file *file, const char *path, emr_status status, emr_error *error)
{
    char reason[128];
    emr_file_failure(file, reason, sizeof reason);
    if (status == EMR_EIO && *reason) {
        emr_error what = error ? *error : (emr_error){{0}};
        emr_fail(error, status, "%s: %s: %s", path, what.text, reason);
    }
    return status;
}

static emr_status write_shard(shards *s, size_t i, const emr_model *m, const emr_checkpoint_options *options,
                              uint64_t *done, emr_error *error)
{
    char ending[64];
    shard *part = &s->all[i];
    if (s->n == 1)
        snprintf(ending, sizeof ending, "%s", dot_safetensors);
    else
        snprintf(ending, sizeof ending, "-%05zu-of-%05zu%s", i + 1, s->n, dot_safetensors);
    part->path = emr_join_strings(&s->allocator, s->stem, strlen(s->stem), ending);
    if (!part->path)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    emr_status status = emr_file_create(&part->file, part->path, options->replace, &s->allocator, error);
    if (status)
        return status;
    emr_io io = emr_file_io(part->file);
    status = emr_safetensors_write_range(m, part->first, part->n, &io, options, &s->allocator, done,
                                         emr_model_bytes(m), error);
    return name_file(part->file, part->path, status, error);
}

/* The file name of a shard's path. */
static const char *shard_name(const shard *s)
{
    const char *slash = strrchr(s->path, '/');
    return slash ? slash + 1 : s->path;
}

/* The index's text, laid out for people as the writers of such files do. */
static void describe(emr_json_text *t, const shards *s, const emr_model *m)
{
    emr_json_put(t, "{\n  \"metadata\": {\n    \"total_size\": ");
    emr_json_put_natural(t, emr_model_bytes(m));
    emr_json_put(t, "\n  },\n  \"weight_map\": {");
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->all[i].n; k++) {
            emr_json_put(t, i + k ? ",\n    " : "\n    ");
            emr_json_put_string(t, m->tensors[s->all[i].first + k]->name);
            emr_json_put(t, ": ");
            emr_json_put_string(t, shard_name(&s->all[i]));
        }
    emr_json_put(t, "\n  }\n}\n");
}

static emr_status write_text(const emr_io *io, const shards *s, const emr_model *m, const char *path,
                             emr_error *error)
{
    emr_json_text text = {NULL, 0};
    for (size_t i = 0; i < s->n; i++) /* the tensors' names were checked when their shards were written */
        if (!emr_is_utf8(shard_name(&s->all[i]), strlen(shard_name(&s->all[i]))))
            return emr_fail(error, EMR_EINVAL,
                            "%s: the shard index cannot be written: the file's name is not valid UTF-8",
                            path);
    describe(&text, s, m);
    text = (emr_json_text){emr_allocate(&s->allocator, text.n), 0};
    if (!text.bytes)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    describe(&text, s, m);
    emr_status status = io->write(io->user, 0, text.bytes, text.n)
                            ? emr_fail(error, EMR_EIO, "%s: writing it failed", path)
                            : EMR_OK;
    emr_release(&s->allocator, text.bytes);
    return status;
}

static emr_status write_index(shards *s, const emr_model *m, int replace, emr_error *error)
{
    char *path = emr_join_strings(&s->allocator, s->stem, strlen(s->stem), dot_index);
    emr_status status = path ? emr_file_create(&s->index, path, replace, &s->allocator, error)
                             : emr_fail(error, EMR_ENOMEM, "out of memory");
    if (!status) {
        emr_io io = emr_file_io(s->index);
        status = write_text(&io, s, m, path, error);
    }
    emr_release(&s->allocator, path);
    return status;
}

static void free_shards(shards *s, const char *path, bool failed)
{
    for (size_t i = 0; i < s->n; i++) {
        emr_file_close(&s->all[i].file);
        emr_release(&s->allocator, s->all[i].path);
    }
    emr_file_close(&s->index);
    emr_file_close(&s->config);
    emr_release(&s->allocator, s->all);
    emr_release(&s->allocator, s->stem);
    emr_release(&s->allocator, s->old_index);
    if (failed && s->made_directory)
        (void)remove(path);
}

/* An index beside a single file would hide it from readers: one that is there counts as the output too. It
 * goes when all is in place, when nothing that could fail for want of memory is left. */
static emr_status settle_old_index(shards *s, int replace, bool written, emr_error *error)
{
    struct stat st;
    if (!s->old_index)
        s->old_index = emr_join_strings(&s->allocator, s->stem, strlen(s->stem), dot_index);
    if (!s->old_index)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    if (lstat(s->old_index, &st) != 0)
        return EMR_OK;
    if (!replace)
        return emr_fail(error, EMR_EEXIST, "%s: already exists", s->old_index);
    if (written && remove(s->old_index))
        return emr_fail(error, EMR_EIO, "%s: the index of earlier shards cannot be removed", s->old_index);
    return EMR_OK;
}

/* The last of an adapter's two files. Weights without it would be no adapter: they go, if nothing was in
 * their place before. */
static emr_status commit_config(shards *s, int replace, emr_error *error)
{
    emr_status status = emr_file_commit(s->config, error);
    if (status && !replace)
        (void)remove(s->all[0].path);
    return status;
}

/* One file, which appears under its name when it is whole. */
static emr_status write_gguf(const emr_model *m, const char *path, const emr_checkpoint_options *options,
                             const emr_allocator *allocator, emr_error *error)
{
    emr_file *file;
    if (options->shard_bytes)
        return emr_fail(error, EMR_EUNSUPPORTED, "%s: GGUF files are not written in shards", path);
    emr_status status = emr_file_create(&file, path, options->replace, allocator, error);
    if (status)
        return status;
    emr_io io = emr_file_io(file);
    status = name_file(file, path, emr_gguf_write(m, &io, options, error), error);
    if (!status)
        status = emr_file_commit(file, error);
    emr_file_close(&file);
    return status;
}

emr_status emr_checkpoint_write(const emr_model *m, const char *path, const emr_checkpoint_options *given,
                                emr_error *error)
{
    emr_checkpoint_options options;
    shards s = {0};
    uint64_t done = 0;
    if (!m || !path)
        return emr_fail(error, EMR_EINVAL, "emr_checkpoint_write: NULL");
    emr_status status = emr_checkpoint_take(&options, &s.allocator, given, error);
    if (status)
        return status;
    if (is_gguf(path))
        return write_gguf(m, path, &options, &s.allocator, error);
    if (!share_out(&s, m, options.shard_bytes))
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    if (!status)
        status = find_stem(&s, path, options.shard_bytes > 0, emr_adapter_config(m) != NULL, error);
    if (!status)
        status = emr_adapter_create(&s.config, m, s.stem, s.n, options.replace, &s.allocator, error);
    if (!status && s.n == 1)
        status = settle_old_index(&s, options.replace, false, error);
    for (size_t i = 0; !status && i < s.n; i++)
        status = write_shard(&s, i, m, &options, &done, error);
    if (!status && s.n > 1)
        status = write_index(&s, m, options.replace, error);
    for (size_t i = 0; !status && i < s.n; i++)
        status = emr_file_commit(s.all[i].file, error);
    if (!status && s.index)
        status = emr_file_commit(s.index, error);
    if (!status && s.config)
        status = commit_config(&s, options.replace, error);
    if (!status && s.n == 1)
        status = settle_old_index(&s, options.replace, true, error);
    free_shards(&s, path, status != EMR_OK);
    return status;
}
