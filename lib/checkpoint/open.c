/* open.c - a checkpoint by its path: which format it has. */
#include "checkpoint/adapter.h"
#include "checkpoint/directory.h"
#include "checkpoint/foreign.h"
#include "checkpoint/gguf.h"
#include "checkpoint/rank_parts.h"
#include "checkpoint/scaled.h"
#include "checkpoint/side_files.h"
#include "checkpoint/weights_name.h"
#include "io/files.h"
#include "io/source.h"

#include <string.h>

/* What an opened model owns. */
typedef struct opened_model {
    emr_allocator allocator;
    emr_files *files;
    const char *weights; /* the file that was opened last */
    char *index;         /* by which they were found, whose shards may lie in folders; or NULL */
    emr_side_file *side;
    emr_source source; /* options.source, where there is one */
    emr_checkpoint_read_options options;
} opened_model;

static void close_files(void *user)
{
    opened_model *o = user;
    emr_allocator allocator = o->allocator;
    emr_files_destroy(&o->files);
    emr_side_files_free(o->side, &allocator);
    emr_release(&allocator, o->index);
    emr_release(&allocator, o);
}

static emr_status open_for_model(emr_model *m, const char *path, emr_opened *file, emr_error *error)
{
    opened_model *o = m->options.user;
    emr_status status = emr_files_open(o->files, path, file, error);
    if (status)
        return status;
    m->stamp = m->stamp * 31 + file->stamp;
    o->weights = file->path;
    return EMR_OK;
}

/* One of several safetensors files; an adapter's has its configuration beside it. */
static emr_status add_shard(emr_model *m, const char *path, emr_error *error)
{
    const opened_model *o = m->options.user;
    emr_opened file;
    emr_status status = open_for_model(m, path, &file, error);
    if (!status)
        status = emr_safetensors_load(m, file.io, file.path, &o->options, error);
    return status ? status : emr_adapter_load(m, o->options.source, file.path, error);
}

static emr_status open_gguf_part(emr_model *m, const char *path, const emr_io **io, const char **name,
                                 emr_error *error)
{
    emr_opened file;
    emr_status status = open_for_model(m, path, &file, error);
    *io = status ? NULL : file.io;
    *name = status ? NULL : file.path;
    return status;
}

/* A GGUF file, which is called so or begins like one; or one of several of a model, which brings the others. */
static emr_status add_gguf(emr_model *m, const emr_opened *file, emr_error *error)
{
    const opened_model *o = m->options.user;
    emr_status status = emr_gguf_load_path(m, file->io, file->path, &o->options, open_gguf_part, error);
    return status ? emr_foreign_explain(file->io, file->path, status, error) : EMR_OK;
}

/* A file that is a model by itself. What it holds tells its format, and nothing but ".gguf" its name does. */
static emr_status add_file(emr_model *m, const char *path, emr_error *error)
{
    const opened_model *o = m->options.user;
    emr_opened file;
    emr_status status = open_for_model(m, path, &file, error);
    if (status)
        return status;
    if (emr_weights_name_read(emr_system_file_name(path)).gguf || emr_gguf_is_it(file.io))
        return add_gguf(m, &file, error);
    status = emr_safetensors_load(m, file.io, file.path, &o->options, error);
    return status ? status : emr_adapter_load(m, o->options.source, file.path, error);
}

static emr_status load_index(emr_model *m, const char *path, emr_error *error)
{
    opened_model *o = m->options.user;
    o->index = emr_copy_string(&o->allocator, path);
    return o->index ? emr_shard_index_load(m, o->options.source, path, add_shard, error)
                    : emr_no_memory(error, path);
}

/* A file by its path: half a model would be merged as if it were one. */
static emr_status load_file(emr_model *m, const char *path, emr_error *error)
{
    const char *name = emr_system_file_name(path), *ending = strrchr(name, '.');
    emr_weights_name parts = emr_weights_name_read(name);
    const emr_source *source = ((const opened_model *)m->options.user)->options.source;
    if (emr_is_pickle_index(name))
        return emr_pickles_refuse(path, error);
    if (ending && strcmp(ending, ".json") == 0)
        return load_index(m, path, error);
    emr_status status = emr_rank_parts_check_file(source, path, &m->allocator, error);
    if (status)
        return status;
    if (parts.form == EMR_WEIGHTS_SHARD && parts.total > 1 && !parts.gguf &&
        emr_source_kind_of(source, path) == EMR_PATH_FILE)
        return emr_fail(error, EMR_EFORMAT,
                        "%F: this is shard %u of %u and not a whole model: give the directory, or the index",
                        path, (uint64_t)parts.number, (uint64_t)parts.total);
    return add_file(m, path, error);
}

/* An empty model that owns its files, of which there are none yet. */
static emr_status create_model(emr_model **model, const char *path,
                               const emr_checkpoint_read_options *options, const emr_allocator *allocator,
                               emr_error *error)
{
    opened_model *o = emr_allocate_array(allocator, 1, sizeof *o);
    if (!o)
        return emr_no_memory(error, path);
    o->allocator = *allocator;
    o->options = *options;
    const emr_file_options files = {.size = sizeof files, .allocator = allocator, .map = options->map};
    const emr_model_options made = {
        .size = sizeof made, .allocator = allocator, .name = path, .user = o, .destroy = close_files};
    emr_status status = options->source ? emr_source_take(&o->source, options->source, error) : EMR_OK;
    if (options->source)
        o->options.source = &o->source;
    if (!status)
        status = emr_files_create(&o->files, o->options.source, &files, error);
    if (!status)
        status = emr_model_create(model, &made, error);
    if (status)
        close_files(o);
    return status;
}

/* After all weights: `found` in a directory that was named, or named themselves. */
static emr_status load_side_files(emr_model *m, const char *path, bool found, emr_error *error)
{
    opened_model *o = m->options.user;
    const char *weights = o->index ? o->index : o->weights;
    return emr_side_files_load(&o->side, m, found ? weights : path, found, &o->options, error);
}

emr_status emr_checkpoint_open(emr_model **model, const char *path, const emr_checkpoint_read_options *given,
                               emr_error *error)
{
    emr_checkpoint_read_options options;
    emr_allocator allocator;
    if (model)
        *model = NULL;
    if (!model || !path)
        return emr_fail(error, EMR_EINVAL, "emr_checkpoint_open: NULL");
    emr_status status = emr_checkpoint_take(&options, &allocator, given, error);
    if (!status)
        status = create_model(model, path, &options, &allocator, error);
    if (status)
        return status;
    const emr_source *source = ((const opened_model *)(*model)->options.user)->options.source;
    bool is_directory = emr_source_kind_of(source, path) == EMR_PATH_DIRECTORY;
    status = is_directory ? emr_directory_load(*model, source, path, load_file, add_shard, error)
                          : load_file(*model, path, error);
    if (!status && options.dequantise) /* before it is decided what config.json may still say */
        status = emr_scaled_dequantise(*model, error);
    if (!status)
        status = load_side_files(*model, path, is_directory, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
