/* adapter.c - see adapter.h. The text is carried as it stands, byte for byte: what PEFT wrote is what it gets
 * back. That it is a JSON object is checked on the way in and on the way out. */
#include "checkpoint/adapter.h"

#include "checkpoint/bytes.h"
#include "checkpoint/json.h"
#include "io/source.h"

#include <string.h>

/* How many bytes of a path come before its file name. */
static size_t directory_length(const char *path)
{
    return (size_t)(emr_system_file_name(path) - path);
}

static emr_status fail_too_long(const char *path, emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT,
                    "%F: an adapter's configuration has at most %u bytes, and this has more", path,
                    (uint64_t)EMR_ADAPTER_CONFIG_MAX);
}

/* Whether the `n` bytes at `text`, which are changed, are a JSON object: so they hold no zero byte, and no
 * string that is not valid UTF-8. */
static emr_status check_config(char *text, size_t n, const char *path, const emr_allocator *allocator,
                               emr_error *error)
{
    emr_json json;
    emr_status status = EMR_OK;
    emr_json_begin(&json, allocator, text, n);
    emr_json_token first = emr_json_next(&json);
    if (!emr_json_skip(&json, first) || emr_json_next(&json) != EMR_JSON_END)
        status = emr_json_fail(&json, path, "an adapter's configuration, but", error);
    else if (first != EMR_JSON_OBJECT)
        status = emr_fail(error, EMR_EFORMAT, "%F: an adapter's configuration, but no JSON object", path);
    emr_json_free(&json);
    return status;
}

/* The bytes of a file, which the model gets as a string. */
static emr_status take_config(emr_model *m, char *text, size_t n, const char *path, emr_error *error)
{
    char *copy = emr_join_strings(&m->allocator, text, n, "");
    emr_status status = copy ? check_config(text, n, path, &m->allocator, error) : emr_no_memory(error, path);
    if (!status)
        status = emr_model_set_metadata(m, EMR_ADAPTER_CONFIG, copy, error);
    emr_release(&m->allocator, copy);
    return status;
}

emr_status emr_adapter_load(emr_model *m, const emr_source *source, const char *path, emr_error *error)
{
    size_t directory = directory_length(path);
    emr_text text;
    if (strcmp(path + directory, EMR_ADAPTER_STEM ".safetensors") != 0)
        return EMR_OK;
    char *beside = emr_join_strings(&m->allocator, path, directory, EMR_ADAPTER_CONFIG);
    if (!beside)
        return emr_no_memory(error, path);
    emr_status status = EMR_OK;
    if (emr_source_kind_of(source, beside) !=
        EMR_PATH_ABSENT) { /* a link that leads nowhere is not as good as none */
        status = emr_read_text(&text, source, &m->allocator, beside, EMR_ADAPTER_CONFIG_MAX, error);
        if (status == EMR_ELIMIT)
            status = fail_too_long(beside, error);
        if (!status)
            status = take_config(m, text.bytes, text.n, beside, error);
        if (!status)
            m->stamp = m->stamp * 31 + text.stamp;
        emr_release(&m->allocator, text.bytes);
    }
    emr_release(&m->allocator, beside);
    return status;
}

/* What a model carries may come from a bundle, or from a host, that nobody has checked. */
static emr_status check_carried(const char *config, size_t n, const emr_model *m,
                                const emr_allocator *allocator, emr_error *error)
{
    if (n > EMR_ADAPTER_CONFIG_MAX)
        return fail_too_long(m->name, error);
    char *copy = emr_copy_string(allocator, config);
    emr_status status =
        copy ? check_config(copy, n, m->name, allocator, error) : emr_no_memory(error, m->name);
    emr_release(allocator, copy);
    return status;
}

emr_status emr_adapter_write(emr_outputs *outputs, const emr_model *m, const char *stem, size_t n_files,
                             emr_error *error)
{
    const emr_allocator *allocator = outputs->allocator;
    const char *config = emr_model_find_metadata(m, EMR_ADAPTER_CONFIG);
    const emr_io *io = NULL;
    size_t directory = directory_length(stem);
    if (!config || strcmp(stem + directory, EMR_ADAPTER_STEM) != 0)
        return EMR_OK;
    size_t n = strlen(config);
    if (n_files > 1)
        return emr_fail(error, EMR_EINVAL, "%F.safetensors: an adapter is one file, and would be %u shards",
                        stem, (uint64_t)n_files);
    emr_status status = check_carried(config, n, m, allocator, error);
    if (status)
        return status;
    char *path = emr_join_strings(allocator, stem, directory, EMR_ADAPTER_CONFIG);
    status = emr_outputs_add(outputs, path, &io, error);
    return status ? status : emr_bytes_write(io, path, config, n, error);
}
