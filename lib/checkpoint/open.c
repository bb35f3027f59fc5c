/* open.c - a checkpoint by its path: which format, which files; and the files that a model keeps open. */
#include "checkpoint/adapter.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/side_files.h"
#include "io/file.h"
#include "system/system.h"

#include <string.h>

/* The files of an opened model, closed with it. */
typedef struct open_file {
    struct open_file *next;
    emr_file *file;
    char *path; /* what its tensors' messages name */
} open_file;

typedef struct open_files {
    emr_allocator allocator;
    open_file *first;
    emr_side_file *side;
    emr_checkpoint_read_options options;
} open_files;

static void close_files(void *user)
{
    open_files *files = user;
    emr_allocator allocator = files->allocator;
    while (files->first) {
        open_file *f = files->first;
        files->first = f->next;
        emr_file_close(&f->file);
        emr_release(&allocator, f->path);
        emr_release(&allocator, f);
    }
    emr_side_files_free(files->side, &allocator);
    emr_release(&allocator, files);
}

/* Opens a file for a model, the first of its files now. */
static emr_status open_for_model(emr_model *m, const char *path, const emr_io **io, emr_error *error)
{
    open_files *files = m->options.user;
    open_file *f = emr_allocate_array(&m->allocator, 1, sizeof *f);
    char *copy = emr_copy_string(&m->allocator, path);
    if (!f || !copy) {
        emr_release(&m->allocator, f);
        emr_release(&m->allocator, copy);
        return emr_no_memory(error, path);
    }
    f->path = copy;
    f->next = files->first;
    files->first = f;
    const emr_file_options options = {
        .size = sizeof options, .allocator = &m->allocator, .map = files->options.map};
    emr_status status = emr_file_open(&f->file, path, &options, error);
    if (status)
        return status;
    m->stamp = m->stamp * 31 + emr_file_stamp(f->file);
    *io = emr_file_io(f->file);
    return EMR_OK;
}

static emr_status add_shard(emr_model *m, const char *path, emr_error *error)
{
    const open_files *files = m->options.user;
    const emr_io *io = NULL;
    emr_status status = open_for_model(m, path, &io, error);
    return status ? status : emr_safetensors_load(m, io, files->first->path, &files->options, error);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

static emr_status open_gguf_part(emr_model *m, const char *path, const emr_io **io, const char **name,
                                 emr_error *error)
{
    const open_files *files = m->options.user;
    emr_status status = open_for_model(m, path, io, error);
    *name = status ? NULL : files->first->path;
    return status;
}

/* A file that is a model by itself, or one of several of a GGUF model: its name, or else how it begins, tells
 * its format. */
static emr_status add_file(emr_model *m, const char *path, emr_error *error)
{
    const open_files *files = m->options.user;
    const emr_io *io = NULL;
    emr_status status = open_for_model(m, path, &io, error);
    if (status)
        return status;
    bool is_gguf = ends_with(path, ".gguf") || emr_gguf_is_it(io);
    return is_gguf ? emr_gguf_load_path(m, io, files->first->path, &files->options, open_gguf_part, error)
                   : emr_safetensors_load(m, io, files->first->path, &files->options, error);
}

static bool is_pickle(const char *path)
{
    static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (ends_with(path, endings[i]))
            return true;
    return false;
}

static emr_status refuse_pickle(const char *path, emr_error *error)
{
    return emr_fail(error, EMR_EUNSUPPORTED,
                    "%F: pickle files run code when loaded and are not read: convert it first, in Python: "
                    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'model.safetensors')",
                    path);
}

/* What a directory holds that could be the checkpoint. */
typedef struct listing {
    const emr_allocator *allocator;
    char *index, *single, *gguf; /* names; the preferred one if it is there */
    size_t n_indexes, n_singles, n_ggufs;
    bool has_index, has_single, has_gguf; /* the preferred names themselves; no GGUF is preferred */
    bool has_adapter;                     /* the second choice among single files */
    bool has_pickle;
} listing;

static void note_name(const emr_allocator *a, char **kept, size_t *n, bool *preferred, const char *name,
                      bool is_preferred)
{
    ++*n;
    if (*preferred || (*kept && !is_preferred))
        return;
    emr_release(a, *kept);
    *kept = emr_copy_string(a, name);
    *preferred = is_preferred;
}

static void note_entry(void *user, const char *name)
{
    listing *l = user;
    if (ends_with(name, ".safetensors.index.json"))
        note_name(l->allocator, &l->index, &l->n_indexes, &l->has_index, name,
                  strcmp(name, "model.safetensors.index.json") == 0);
    else if (ends_with(name, ".safetensors"))
        note_name(l->allocator, &l->single, &l->n_singles, &l->has_single, name,
                  strcmp(name, "model.safetensors") == 0);
    else if (ends_with(name, ".gguf") && !(l->gguf && emr_gguf_same_split(l->gguf, name)))
        note_name(l->allocator, &l->gguf, &l->n_ggufs, &l->has_gguf, name, false);
    else if (is_pickle(name))
        l->has_pickle = true;
    l->has_adapter = l->has_adapter || strcmp(name, EMR_ADAPTER_STEM ".safetensors") == 0;
}

/* The one file in a directory to open. */
static emr_status choose_entry(const listing *l, const char *path, const char **name, emr_error *error)
{
    if (l->has_index || l->n_indexes == 1)
        *name = l->index;
    else if (l->n_indexes == 0 && (l->has_single || l->n_singles == 1))
        *name = l->single;
    else if (l->n_indexes == 0 && l->has_adapter)
        *name = EMR_ADAPTER_STEM ".safetensors";
    else if (l->n_indexes + l->n_singles == 0 && l->n_ggufs == 1)
        *name = l->gguf;
    else if (l->n_indexes || l->n_singles || l->n_ggufs)
        return emr_fail(error, EMR_EFORMAT, "%F: several checkpoints lie in this directory: name one of them",
                        path);
    else if (l->has_pickle)
        return refuse_pickle(path, error);
    else
        return emr_fail(error, EMR_EFORMAT,
                        "%F: no .safetensors file and no .gguf file lies in this directory", path);
    return *name ? EMR_OK : emr_no_memory(error, path);
}

/* `found`: in a directory that was named. */
static emr_status load_path(emr_model *m, const char *path, bool found, emr_error *error)
{
    open_files *files = m->options.user;
    emr_status status;
    if (ends_with(path, ".json"))
        status = emr_shard_index_load(m, path, add_shard, error);
    else if (is_pickle(path))
        return refuse_pickle(path, error);
    else
        status = add_file(m, path, error);
    for (const open_file *f = files->first; !status && f; f = f->next) /* one at most is an adapter's */
        status = emr_adapter_load(m, f->path, error);
    return status ? status : emr_side_files_load(&files->side, m, path, found, &files->options, error);
}

static emr_status load_directory(emr_model *m, const char *path, emr_error *error)
{
    listing l = {.allocator = &m->allocator};
    const char *name = NULL;
    char *directory = NULL, *joined = NULL;
    emr_error why;
    emr_status status = emr_system_list(path, note_entry, &l, &why);
    status = status ? emr_fail_because(error, status, &why, "%F: the directory cannot be read", path)
                    : choose_entry(&l, path, &name, error);
    if (!status) {
        directory = emr_join_strings(&m->allocator, path, strlen(path), "/");
        if (directory)
            joined = emr_join_strings(&m->allocator, directory, strlen(directory), name);
        status = joined ? load_path(m, joined, true, error) : emr_no_memory(error, path);
    }
    emr_release(&m->allocator, directory);
    emr_release(&m->allocator, joined);
    emr_release(&m->allocator, l.index);
    emr_release(&m->allocator, l.single);
    emr_release(&m->allocator, l.gguf);
    return status;
}

/* An empty model that owns its files, of which there are none yet. */
static emr_status create_model(emr_model **model, const char *path,
                               const emr_checkpoint_read_options *options, const emr_allocator *allocator,
                               emr_error *error)
{
    open_files *files = emr_allocate_array(allocator, 1, sizeof *files);
    if (!files)
        return emr_no_memory(error, path);
    files->allocator = *allocator;
    files->options = *options;
    const emr_model_options made = {
        .size = sizeof made, .allocator = allocator, .name = path, .user = files, .destroy = close_files};
    emr_status status = emr_model_create(model, &made, error);
    if (status)
        close_files(files);
    return status;
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
    status = emr_system_kind(path, NULL) == EMR_PATH_DIRECTORY ? load_directory(*model, path, error)
                                                               : load_path(*model, path, false, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
