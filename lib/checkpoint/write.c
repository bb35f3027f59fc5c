/* write.c - a model to a path: one file, or shards with their index. Nothing appears before everything is
 * written. */
#include "checkpoint/adapter.h"
#include "checkpoint/bytes.h"
#include "checkpoint/folder.h"
#include "checkpoint/json_text.h"
#include "checkpoint/shard_name.h"
#include "checkpoint/write.h"
#include "core/text.h"
#include "system/system.h"

#include <string.h>

typedef struct shard {
    uint32_t first, n; /* tensors */
    const emr_io *io;
    const char *name; /* of its file; the output's */
} shard;

typedef struct shards {
    const emr_allocator *allocator;
    emr_outputs *outputs;
    shard *all;
    size_t n, capacity;
    bool is_gguf;
    const char *stem; /* path without ".safetensors" or ".gguf" */
    const emr_io *index;
    const char *index_path; /* the output's */
    char *other_form;       /* the path of an index or of a single file, where it would be in the way */
} shards;

static const char dot_safetensors[] = ".safetensors", dot_index[] = ".safetensors.index.json";

/* What a tensor takes of a shard: in GGUF, with its padding. */
static uint64_t bytes_in_shard(const shards *s, const emr_tensor *t)
{
    if (s->is_gguf)
        return emr_gguf_is_written(t) ? emr_round_up(t->bytes, EMR_GGUF_ALIGNMENT) : 0;
    return emr_is_side_file(t) ? 0 : t->bytes;
}

/* Shares the tensors out: a new shard where the next tensor would make this one too large. */
static bool share_out(shards *s, const emr_model *m, uint64_t shard_bytes)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i <= m->n_tensors; i++) {
        uint64_t bytes = i < m->n_tensors ? bytes_in_shard(s, m->tensors[i]) : 0;
        bool next = s->n == 0 || (shard_bytes && used && bytes > shard_bytes - emr_min(used, shard_bytes));
        if (next) {
            if (!emr_grow(s->allocator, (void **)&s->all, &s->capacity, s->n + 1, sizeof *s->all))
                return false;
            s->all[s->n++] = (shard){.first = i};
            used = 0;
        }
        if (i < m->n_tensors) {
            s->all[s->n - 1].n++;
            used += bytes;
        }
    }
    return true;
}

/* A file for each shard, and for the index. */
static emr_status create_shards(shards *s, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->n; i++) {
        char *path = emr_shard_path(s->allocator, s->stem, strlen(s->stem), i + 1, s->n,
                                    s->is_gguf ? ".gguf" : dot_safetensors);
        status = emr_outputs_add(s->outputs, path, &s->all[i].io, error);
        if (!status)
            s->all[i].name = emr_system_file_name(s->outputs->all[s->outputs->n - 1].path);
    }
    if (status || s->n == 1 || s->is_gguf)
        return status;
    char *path = emr_join_strings(s->allocator, s->stem, strlen(s->stem), dot_index);
    s->index_path = path;
    return emr_outputs_add(s->outputs, path, &s->index, error);
}

/* The index's text, laid out for people as the writers of such files do. */
static void describe_shards(emr_json_text *t, const shards *s, const emr_model *m)
{
    bool comma = false;
    emr_json_put(t, "{\n  \"metadata\": {\n    \"total_size\": ");
    emr_json_put_natural(t, emr_model_bytes(m));
    emr_json_put(t, "\n  },\n  \"weight_map\": {");
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->all[i].n; k++) {
            const emr_tensor *tensor = m->tensors[s->all[i].first + k];
            if (emr_is_side_file(tensor))
                continue;
            emr_json_put(t, comma ? ",\n    " : "\n    ");
            emr_json_put_string(t, tensor->name);
            emr_json_put(t, ": ");
            emr_json_put_string(t, s->all[i].name);
            comma = true;
        }
    emr_json_put(t, "\n  }\n}\n");
}

static emr_status write_index(const shards *s, const emr_model *m, emr_error *error)
{
    emr_json_text text = {NULL, 0};
    for (size_t i = 0; i < s->n; i++) /* the tensors' names were checked when their shards were written */
        if (!emr_is_utf8(s->all[i].name, strlen(s->all[i].name)))
            return emr_fail(error, EMR_EINVAL,
                            "%F: the shard index cannot be written: the file's name is not valid UTF-8",
                            s->index_path);
    describe_shards(&text, s, m);
    text = (emr_json_text){emr_allocate(s->allocator, text.n), 0};
    if (!text.bytes)
        return emr_no_memory(error, s->index_path);
    describe_shards(&text, s, m);
    emr_status status = emr_bytes_write(s->index, s->index_path, text.bytes, text.n, error);
    emr_release(s->allocator, text.bytes);
    return status;
}

/* An index beside a single file would hide it from some readers, a single file hides shards from others: one that
 * is there counts as the output too. It goes when all is in place, when nothing that could fail for want of memory
 * is left. */
static emr_status settle_other_form(shards *s, bool written, emr_error *error)
{
    emr_error why;
    if (!s->other_form)
        s->other_form =
            emr_join_strings(s->allocator, s->stem, strlen(s->stem), s->n == 1 ? dot_index : dot_safetensors);
    if (!s->other_form)
        return emr_no_memory(error, NULL);
    if (emr_system_kind(s->other_form, NULL) == EMR_PATH_ABSENT)
        return EMR_OK;
    if (!s->outputs->options.replace)
        return emr_fail(error, EMR_EEXIST, "%F: already exists", s->other_form);
    emr_status status = written ? emr_system_remove(s->other_form, &why) : EMR_OK;
    return status ? emr_fail_because(error, status, &why, "%F: an earlier model's, it cannot be removed",
                                     s->other_form)
                  : EMR_OK;
}

static emr_status write_shards(shards *s, const emr_model *m, emr_folder *folder, emr_output *output,
                               emr_error *error)
{
    emr_status status = EMR_OK;
    if (!share_out(s, m, output->options.shard_bytes))
        status = emr_no_memory(error, m->name);
    if (!status)
        status = create_shards(s, error);
    if (!status)
        status = emr_adapter_write(s->outputs, m, s->stem, s->n, error);
    if (!status)
        status = settle_other_form(s, false, error);
    if (!status)
        status = emr_folder_check(folder, error);
    for (size_t i = 0; !status && i < s->n; i++)
        status = emr_safetensors_write_range(m, s->all[i].first, s->all[i].n, s->all[i].io, output, error);
    if (!status && s->index)
        status = write_index(s, m, error);
    return status;
}

/* As llama-gguf-split does it: each file says which of how many it is. */
static emr_status write_gguf(shards *s, const emr_model *m, emr_folder *folder, emr_output *output,
                             emr_error *error)
{
    emr_status status = EMR_OK;
    if (!share_out(s, m, output->options.shard_bytes))
        status = emr_no_memory(error, m->name);
    else if (s->n > UINT16_MAX)
        status = emr_fail(error, EMR_ELIMIT, "%F: a GGUF model can have 65,535 files, and this would be %u",
                          m->name, (uint64_t)s->n);
    if (!status)
        status = create_shards(s, error);
    if (!status)
        status = emr_folder_check(folder, error);
    for (size_t i = 0; !status && i < s->n; i++) {
        const emr_gguf_split split = {.no = (uint16_t)i, .count = (uint16_t)s->n};
        status = emr_gguf_write_range(m, s->all[i].first, s->all[i].n, s->n > 1 ? &split : NULL, s->all[i].io,
                                      output, error);
    }
    return status;
}

/* The files beside weights appear before them: where there are weights, there is a model. */
static emr_status write_folder(shards *s, emr_folder *folder, const char *path, emr_output *output,
                               emr_error *error)
{
    const emr_model *m = folder->model;
    emr_status status = emr_folder_choose(folder, path, output, error);
    s->stem = folder->stem;
    s->is_gguf = folder->is_gguf;
    output->total = emr_model_bytes(m) + emr_folder_file_bytes(folder);
    if (!status)
        status = emr_folder_write_files(folder, output, error);
    if (!status)
        status = (s->is_gguf ? write_gguf : write_shards)(s, m, folder, output, error);
    return status ? status : emr_outputs_commit(folder->outputs, error);
}

static void tell_written(const emr_outputs *outputs, const emr_checkpoint_write_options *options)
{
    for (size_t i = 0; options->written && i < outputs->n; i++)
        options->written(options->user, outputs->all[i].path);
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
    const emr_allocator *allocator = &output.env.allocator;
    emr_outputs outputs = {.allocator = allocator,
                           .options = {.size = sizeof outputs.options,
                                       .allocator = allocator,
                                       .replace = output.options.replace}};
    emr_folder folder = {.allocator = allocator, .outputs = &outputs, .model = m};
    shards s = {.allocator = allocator, .outputs = &outputs};
    status = write_folder(&s, &folder, path, &output, error);
    bool failed = status != EMR_OK;
    if (!status && s.other_form)
        status = settle_other_form(&s, true, error);
    if (!status)
        status = emr_folder_clean(&folder, error);
    if (!status)
        tell_written(&outputs, &output.options);
    emr_release(allocator, s.all);
    emr_release(allocator, s.other_form);
    emr_folder_free(&folder);
    emr_outputs_free(&outputs, failed);
    return status;
}
