/* folder.c - see folder.h; what is in the way is in stale.c. */
#include "checkpoint/folder.h"

#include "checkpoint/adapter.h"
#include "checkpoint/side_files.h"
#include "checkpoint/side_names.h"
#include "checkpoint/write.h"
#include "system/system.h"

#include <string.h>

static bool cut_ending(char *text, const char *end)
{
    bool has = emr_ends_with(text, end);
    if (has)
        text[strlen(text) - strlen(end)] = '\0';
    return has;
}

static bool has_side_files(const emr_model *m)
{
    for (uint32_t i = 0; i < m->n_tensors; i++)
        if (emr_is_side_file(m->tensors[i]))
            return true;
    return false;
}

/* Whether a path at which nothing is means a folder to be made: it ends as one, or what is to be written makes one
 * where a file's name would end otherwise. */
static bool is_new_folder(const emr_folder *f, const char *path, const emr_output *output)
{
    const char *name = emr_system_file_name(path);
    return (*path && !*name) || output->options.shard_bytes ||
           emr_model_find_metadata(f->model, EMR_ADAPTER_CONFIG) ||
           (has_side_files(f->model) && !strchr(name, '.'));
}

/* A file's name: its ending tells the format. */
static bool is_file_path(emr_folder *f, const char *path)
{
    static const char dot_safetensors[] = ".safetensors", dot_index[] = ".safetensors.index.json";
    if (emr_system_kind(path, NULL) == EMR_PATH_DIRECTORY)
        return false;
    f->is_gguf = cut_ending(f->stem, ".gguf");
    return f->is_gguf || cut_ending(f->stem, dot_index) || cut_ending(f->stem, dot_safetensors);
}

/* What has to be known of the model's config.json, and what has to change in it. */
static emr_status look_at_config(emr_folder *f, const emr_output *output, emr_error *error)
{
    const emr_config_change change = {.dtype = output->options.dtype};
    const emr_tensor *t = emr_model_find_tensor(f->model, EMR_FILE_PREFIX EMR_CONFIG_NAME);
    if (!t || !emr_is_side_file(t) || (t->bytes > EMR_CONFIG_MAX && !change.dtype))
        return EMR_OK;
    if (t->bytes > EMR_CONFIG_MAX)
        return emr_fail(error, EMR_EFORMAT, "%F: tensor '%T': longer than is changed to say another dtype",
                        f->model->name, t->name);
    char *text = emr_allocate(f->allocator, (size_t)t->bytes);
    emr_status status = text ? emr_read_whole(t, text, error) : emr_no_memory(error, f->model->name);
    if (!status)
        status = emr_config_look(&f->config, f->allocator, text, (size_t)t->bytes, &change, t->name, error);
    emr_release(f->allocator, text);
    return status;
}

/* The stem of a LoRA by its tensors' names, PEFT's, or diffusers' and kohya's; NULL: it is none. */
static const char *find_lora_stem(const emr_model *m)
{
    const char *stem = NULL;
    for (uint32_t i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i]->name;
        if (emr_is_side_file(m->tensors[i]))
            continue;
        if (!strstr(name, "lora") || !strchr(name, '.'))
            return NULL;
        stem = emr_begins_with(name, "base_model.model.") ? EMR_ADAPTER_STEM : EMR_LORA_STEM;
    }
    return stem;
}

/* "DIRECTORY/" out of a path that may end in any number of '/', and the stem in it. */
static emr_status name_in_folder(emr_folder *f, const char *path, emr_error *error)
{
    const char *lora = find_lora_stem(f->model), *stem = emr_model_find_metadata(f->model, EMR_ADAPTER_CONFIG)
                                                             ? EMR_ADAPTER_STEM
                                                         : f->config.is_diffusers ? "diffusion_pytorch_model"
                                                         : lora                   ? lora
                                                                                  : "model";
    size_t n = strlen(f->stem);
    while (n > 1 && !*emr_system_file_name(f->stem)) /* it is a copy of the path */
        f->stem[--n] = '\0';
    f->directory = emr_join_strings(f->allocator, f->stem, n, *emr_system_file_name(f->stem) ? "/" : "");
    emr_release(f->allocator, f->stem);
    f->stem = f->directory ? emr_join_strings(f->allocator, f->directory, strlen(f->directory), stem) : NULL;
    return f->stem ? EMR_OK : emr_no_memory(error, path);
}

emr_status emr_folder_choose(emr_folder *f, const char *path, emr_output *output, emr_error *error)
{
    f->stem = emr_copy_string(f->allocator, path);
    if (!f->stem)
        return emr_no_memory(error, path);
    if (is_file_path(f, path))
        return EMR_OK;
    if (emr_system_kind(path, NULL) != EMR_PATH_DIRECTORY && !is_new_folder(f, path, output))
        return emr_fail(error, EMR_EINVAL,
                        "%F: the output's name must end in .safetensors or .gguf, or, for a folder, in '/'",
                        path);
    f->is_gguf = emr_model_find_tensor(f->model, EMR_GGUF_HEADER) != NULL;
    emr_status status = emr_side_files_check(f->model, error);
    if (!status)
        status = look_at_config(f, output, error);
    if (!status)
        status = name_in_folder(f, path, error);
    return status ? status : emr_outputs_make_directory(f->outputs, path, error);
}

uint64_t emr_folder_file_bytes(const emr_folder *f)
{
    uint64_t total = 0;
    for (uint32_t i = 0; f->directory && i < f->model->n_tensors; i++)
        if (emr_is_side_file(f->model->tensors[i]))
            total += f->model->tensors[i]->bytes;
    return total;
}

static emr_status copy_side_file(const emr_folder *f, const emr_tensor *t, const emr_io *io,
                                 emr_output *output, emr_error *error)
{
    emr_stream s;
    bool changed = f->config.text && strcmp(emr_side_file_name(t), EMR_CONFIG_NAME) == 0;
    emr_status status = emr_stream_begin(&s, f->model, io, output, error);
    if (!status)
        status = changed ? emr_stream_put(&s, f->config.text, f->config.n, error)
                         : emr_stream_tensor(&s, t, error);
    if (changed)
        output->done += t->bytes;
    return emr_stream_end(&s, status, error);
}

static emr_status write_side_file(const emr_folder *f, const emr_tensor *t, emr_output *output,
                                  emr_error *error)
{
    const emr_io *io = NULL;
    emr_status status = EMR_OK;
    char *path = emr_join_strings(f->allocator, f->directory, strlen(f->directory), emr_side_file_name(t));
    char *slash = path ? strchr(path + strlen(f->directory), '/') : NULL;
    if (slash) { /* a folder in the folder */
        *slash = '\0';
        status = emr_outputs_make_directory(f->outputs, path, error);
        *slash = '/';
    }
    if (status)
        emr_release(f->allocator, path);
    else
        status = emr_outputs_add(f->outputs, path, &io, error);
    return status ? status : copy_side_file(f, t, io, output, error);
}

emr_status emr_folder_write_files(emr_folder *f, emr_output *output, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; f->directory && !status && i < f->model->n_tensors; i++)
        if (emr_is_side_file(f->model->tensors[i]))
            status = write_side_file(f, f->model->tensors[i], output, error);
    return status;
}

void emr_folder_free(emr_folder *f)
{
    emr_release(f->allocator, f->stem);
    emr_release(f->allocator, f->directory);
    emr_release(f->allocator, f->config.text);
    for (size_t i = 0; i < f->n_stale; i++)
        emr_release(f->allocator, f->stale[i]);
    emr_release(f->allocator, f->stale);
}
