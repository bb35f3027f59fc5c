/* write.c - a model to a path: one file, or shards with their index. Nothing appears before everything is
 * written. */
#include "checkpoint/adapter.h"
#include "checkpoint/bytes.h"
#include "checkpoint/json_text.h"
#include "checkpoint/write.h"
#include "core/text.h"
#include "system/system.h"

#include <string.h>

typedef struct shard {
    uint32_t first, n; /* tensors */
    emr_file *file;
    char *path;
    bool is_new; /* in place, where nothing was */
} shard;

typedef struct shards {
    const emr_allocator *allocator;
    emr_file_options options; /* of every file */
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
    return emr_system_kind(path, NULL) == EMR_PATH_DIRECTORY;
}

static bool is_gguf_path(const char *path)
{
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".gguf") == 0 && !is_directory(path);
}

/* Shares the tensors out: a new shard where the next tensor would make this one too large. */
static bool share_out(shards *s, const emr_model *m, uint64_t shard_bytes)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i <= m->n_tensors; i++) {
        bool next = s->n == 0 || (i < m->n_tensors && shard_bytes && s->all[s->n - 1].n &&
                                  m->tensors[i]->bytes > shard_bytes - emr_min(used, shard_bytes));
        if (next) {
            if (!emr_grow(s->allocator, (void **)&s->all, &s->capacity, s->n + 1, sizeof *s->all))
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
    s->stem = emr_copy_string(s->allocator, path);
    if (!s->stem)
        return emr_no_memory(error, path);
    if (!there && (cut_ending(s->stem, dot_index) || cut_ending(s->stem, dot_safetensors)))
        return EMR_OK;
    if (!there && !sharding && !adapter)
        return emr_fail(error, EMR_EINVAL, "%F: the output's name must end in .safetensors or .gguf", path);
    emr_error why;
    emr_status status = there ? EMR_OK : emr_system_make_directory(path, &why);
    if (status)
        return emr_fail_because(error, emr_callback_status(status, EMR_EIO), &why,
                                "%F: the directory cannot be made", path);
    s->made_directory = !there;
    emr_release(s->allocator, s->stem);
    s->stem = emr_join_strings(s->allocator, path, strlen(path), adapter ? "/" EMR_ADAPTER_STEM : "/model");
    return s->stem ? EMR_OK : emr_no_memory(error, path);
}

/* Appends a number of at least five digits. */
static void append_number(char *text, size_t number)
{
    char digits[20];
    size_t n = 0, end = strlen(text);
    while (n < 5 || number) {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    }
    while (n)
        text[end++] = digits[--n];
    text[end] = '\0';
}

static char *shard_path(const shards *s, size_t i)
{
    char ending[80] = "";
    if (s->n > 1) {
        strcat(ending, "-");
        append_number(ending, i + 1);
        strcat(ending, "-of-");
        append_number(ending, s->n);
    }
    strcat(ending, dot_safetensors);
    return emr_join_strings(s->allocator, s->stem, strlen(s->stem), ending);
}

static emr_status write_shard(shards *s, size_t i, const emr_model *m, emr_output *output, emr_error *error)
{
    shard *part = &s->all[i];
    part->path = shard_path(s, i);
    if (!part->path)
        return emr_no_memory(error, NULL);
    emr_status status = emr_file_create(&part->file, part->path, &s->options, error);
    return status
               ? status
               : emr_safetensors_write_range(m, part->first, part->n, emr_file_io(part->file), output, error);
}

/* The file name of a shard's path. */
static const char *shard_name(const shard *s)
{
    return emr_system_file_name(s->path);
}

/* The index's text, laid out for people as the writers of such files do. */
static void describe_shards(emr_json_text *t, const shards *s, const emr_model *m)
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

static emr_status write_index_text(const emr_io *io, const shards *s, const emr_model *m, const char *path,
                                   emr_error *error)
{
    emr_json_text text = {NULL, 0};
    for (size_t i = 0; i < s->n; i++) /* the tensors' names were checked when their shards were written */
        if (!emr_is_utf8(shard_name(&s->all[i]), strlen(shard_name(&s->all[i]))))
            return emr_fail(error, EMR_EINVAL,
                            "%F: the shard index cannot be written: the file's name is not valid UTF-8",
                            path);
    describe_shards(&text, s, m);
    text = (emr_json_text){emr_allocate(s->allocator, text.n), 0};
    if (!text.bytes)
        return emr_no_memory(error, path);
    describe_shards(&text, s, m);
    emr_status status = emr_bytes_write(io, path, text.bytes, text.n, error);
    emr_release(s->allocator, text.bytes);
    return status;
}

static emr_status write_index(shards *s, const emr_model *m, emr_error *error)
{
    char *path = emr_join_strings(s->allocator, s->stem, strlen(s->stem), dot_index);
    emr_status status =
        path ? emr_file_create(&s->index, path, &s->options, error) : emr_no_memory(error, NULL);
    if (!status)
        status = write_index_text(emr_file_io(s->index), s, m, path, error);
    emr_release(s->allocator, path);
    return status;
}

static void free_shards(shards *s, const char *path, bool failed)
{
    for (size_t i = 0; i < s->n; i++) {
        emr_file_close(&s->all[i].file);
        emr_release(s->allocator, s->all[i].path);
    }
    emr_file_close(&s->index);
    emr_file_close(&s->config);
    emr_release(s->allocator, s->all);
    emr_release(s->allocator, s->stem);
    emr_release(s->allocator, s->old_index);
    if (failed && s->made_directory)
        (void)emr_system_remove(path, NULL);
}

/* An index beside a single file would hide it from readers: one that is there counts as the output too. It
 * goes when all is in place, when nothing that could fail for want of memory is left. */
static emr_status settle_old_index(shards *s, bool written, emr_error *error)
{
    emr_error why;
    if (!s->old_index)
        s->old_index = emr_join_strings(s->allocator, s->stem, strlen(s->stem), dot_index);
    if (!s->old_index)
        return emr_no_memory(error, NULL);
    if (emr_system_kind(s->old_index, NULL) == EMR_PATH_ABSENT)
        return EMR_OK;
    if (!s->options.replace)
        return emr_fail(error, EMR_EEXIST, "%F: already exists", s->old_index);
    emr_status status = written ? emr_system_remove(s->old_index, &why) : EMR_OK;
    return status ? emr_fail_because(error, status, &why, "%F: the index of earlier shards cannot be removed",
                                     s->old_index)
                  : EMR_OK;
}

/* One file, which appears under its name when it is whole. */
static emr_status write_gguf(const emr_model *m, const char *path, emr_output *output,
                             const emr_file_options *options, emr_error *error)
{
    emr_file *file;
    if (output->options.shard_bytes)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: GGUF files are not written in shards", path);
    emr_status status = emr_file_create(&file, path, options, error);
    if (status)
        return status;
    status = emr_gguf_write_file(m, emr_file_io(file), output, error);
    if (!status)
        status = emr_file_commit(file, error);
    emr_file_close(&file);
    return status;
}

static emr_status write_shards(shards *s, const emr_model *m, const char *path, emr_output *output,
                               emr_error *error)
{
    bool adapter = emr_model_find_metadata(m, EMR_ADAPTER_CONFIG) != NULL;
    emr_status status = EMR_OK;
    if (!share_out(s, m, output->options.shard_bytes))
        status = emr_no_memory(error, path);
    if (!status)
        status = find_stem(s, path, output->options.shard_bytes > 0, adapter, error);
    if (!status)
        status = emr_adapter_create(&s->config, m, s->stem, s->n, &s->options, error);
    if (!status && s->n == 1)
        status = settle_old_index(s, false, error);
    for (size_t i = 0; !status && i < s->n; i++)
        status = write_shard(s, i, m, output, error);
    if (!status && s->n > 1)
        status = write_index(s, m, error);
    return status;
}

static emr_status commit_shard(shard *part, emr_error *error)
{
    bool was_there = emr_system_kind(part->path, NULL) != EMR_PATH_ABSENT;
    emr_status status = emr_file_commit(part->file, error);
    part->is_new = !status && !was_there;
    return status;
}

/* Everything is written; the index, or an adapter's configuration, appears after what it belongs to. Where one
 * file cannot be put in place, those before it go, but for what they have replaced: some shards, or weights
 * without their configuration, would be no model. */
static emr_status commit_shards(shards *s, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->n; i++)
        status = commit_shard(&s->all[i], error);
    if (!status && s->index)
        status = emr_file_commit(s->index, error);
    if (!status && s->config)
        status = emr_file_commit(s->config, error);
    for (size_t i = 0; status && i < s->n; i++)
        if (s->all[i].is_new)
            (void)emr_system_remove(s->all[i].path, NULL);
    return !status && s->n == 1 ? settle_old_index(s, true, error) : status;
}

emr_status emr_checkpoint_write(const emr_model *m, const char *path,
                                const emr_checkpoint_write_options *given, emr_error *error)
{
    emr_output output;
    if (!path)
        return emr_fail(error, EMR_EINVAL, "emr_checkpoint_write: NULL");
    emr_status status = emr_output_take(&output, m, given, "emr_checkpoint_write", error);
    if (status)
        return status;
    shards s = {.allocator = &output.env.allocator,
                .options = {.size = sizeof s.options,
                            .allocator = &output.env.allocator,
                            .replace = output.options.replace}};
    if (is_gguf_path(path))
        return write_gguf(m, path, &output, &s.options, error);
    output.total = emr_model_bytes(m);
    status = write_shards(&s, m, path, &output, error);
    if (!status)
        status = commit_shards(&s, error);
    free_shards(&s, path, status != EMR_OK);
    return status;
}
