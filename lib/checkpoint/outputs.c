/* outputs.c - see outputs.h. */
#include "checkpoint/outputs.h"

#include "core/io.h"
#include "system/system.h"

#include <string.h>

emr_status emr_outputs_add(emr_outputs *o, char *path, const emr_io **io, emr_error *error)
{
    if (!path || !emr_grow(o->allocator, (void **)&o->all, &o->capacity, o->n + 1, sizeof *o->all)) {
        emr_release(o->allocator, path);
        return emr_no_memory(error, NULL);
    }
    emr_output_file *f = &o->all[o->n++];
    *f = (emr_output_file){.path = path};
    emr_status status = emr_file_create(&f->file, path, &o->options, error);
    if (!status)
        *io = emr_file_io(f->file);
    return status;
}

emr_status emr_outputs_make_directory(emr_outputs *o, const char *path, emr_error *error)
{
    emr_error why;
    emr_path_kind kind = emr_system_kind(path, NULL);
    if (kind == EMR_PATH_DIRECTORY)
        return EMR_OK;
    if (kind != EMR_PATH_ABSENT)
        return emr_fail(
            error, EMR_EIO,
            "%F: already exists, and is no folder: a file's name must end in .safetensors or .gguf", path);
    if (!emr_grow(o->allocator, (void **)&o->directories, &o->directories_capacity, o->n_directories + 1,
                  sizeof *o->directories))
        return emr_no_memory(error, path);
    char *copy = emr_copy_string(o->allocator, path);
    if (!copy)
        return emr_no_memory(error, path);
    emr_status status = emr_system_make_directory(path, &why);
    if (status) {
        emr_release(o->allocator, copy);
        return emr_fail_because(error, emr_callback_status(status, EMR_EIO), &why,
                                "%F: the directory cannot be made", path);
    }
    o->directories[o->n_directories++] = copy;
    return EMR_OK;
}

bool emr_outputs_have(const emr_outputs *o, const char *path)
{
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->all[i].path, path) == 0)
            return true;
    return false;
}

static emr_status commit_file(emr_output_file *f, emr_error *error)
{
    bool was_there = emr_system_kind(f->path, NULL) != EMR_PATH_ABSENT;
    emr_status status = emr_file_commit(f->file, error);
    f->is_new = !status && !was_there;
    return status;
}

/* All bytes are durable before the first name is given: so the names, of which some may be of an older model, change
 * within a moment, and not as long as a disk takes to write them. */
static emr_status settle_files(const emr_outputs *o, emr_error *error)
{
    emr_error why;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < o->n; i++) {
        status = emr_io_sync(emr_file_io(o->all[i].file), &why);
        if (status)
            status = emr_fail_because(error, status, &why, "%F: cannot be made durable", o->all[i].path);
    }
    return status;
}

emr_status emr_outputs_commit(emr_outputs *o, emr_error *error)
{
    emr_status status = o->n > 1 ? settle_files(o, error) : EMR_OK;
    for (size_t i = 0; !status && i < o->n; i++)
        status = commit_file(&o->all[i], error);
    for (size_t i = 0; status && i < o->n; i++)
        if (o->all[i].is_new)
            (void)emr_system_remove(o->all[i].path, NULL);
    return status;
}

void emr_outputs_free(emr_outputs *o, bool failed)
{
    for (size_t i = 0; i < o->n; i++) {
        emr_file_close(&o->all[i].file);
        emr_release(o->allocator, o->all[i].path);
    }
    for (size_t i = o->n_directories; i-- > 0;) {
        if (failed)
            (void)emr_system_remove(o->directories[i], NULL);
        emr_release(o->allocator, o->directories[i]);
    }
    emr_release(o->allocator, o->directories);
    emr_release(o->allocator, o->all);
}
