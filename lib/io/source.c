/* source.c - see source.h. */
#include "io/source.h"

#include "core/io.h"
#include "core/structs.h"
#include "io/file.h"

emr_status emr_source_take(emr_source *taken, const emr_source *given, emr_error *error)
{
    emr_status status = EMR_TAKE(taken, given, emr_source, error);
    if (!status && (!taken->open || !taken->close || !taken->kind || !taken->list))
        status = emr_fail(error, EMR_EINVAL, "an emr_source needs open, close, kind and list");
    return status;
}

/* What a host filled in is taken as any table of its. */
static emr_status open_named(emr_source_file *file, const emr_source *source, const char *path,
                             uint64_t *stamp, emr_error *error)
{
    emr_error why;
    why.text[0] = '\0';
    emr_io io = EMR_INIT(emr_io);
    emr_status status = source->open(source->user, path, &io, stamp, &why);
    if (status)
        return emr_fail_because(error, emr_callback_status(status, EMR_EIO), &why, "%F: cannot be opened",
                                path);
    status = emr_io_take(&file->io, &io, error);
    if (!status && (!io.read || !io.length))
        status = emr_fail(error, EMR_EINVAL, "%F: its emr_io needs read and length", path);
    if (status)
        source->close(source->user, &io);
    else
        file->source = source;
    return status;
}

emr_status emr_source_open(emr_source_file *file, const emr_source *source, const char *path,
                           const emr_file_options *options, uint64_t *stamp, emr_error *error)
{
    *file = (emr_source_file){.source = NULL};
    if (source)
        return open_named(file, source, path, stamp, error);
    emr_status status = emr_file_open(&file->file, path, options, error);
    if (!status)
        *stamp = emr_file_stamp(file->file);
    return status;
}

const emr_io *emr_source_io(const emr_source_file *file)
{
    return file->source ? &file->io : emr_file_io(file->file);
}

void emr_source_close(emr_source_file *file)
{
    if (file->source)
        file->source->close(file->source->user, &file->io);
    emr_file_close(&file->file);
    file->source = NULL;
}

emr_path_kind emr_source_kind_of(const emr_source *source, const char *path)
{
    static const emr_path_kind kinds[] = {EMR_PATH_UNKNOWN, EMR_PATH_ABSENT, EMR_PATH_FILE,
                                          EMR_PATH_DIRECTORY};
    if (!source)
        return emr_system_kind(path, NULL);
    emr_source_kind kind = source->kind(source->user, path);
    return kind < sizeof kinds / sizeof kinds[0] ? kinds[kind] : EMR_PATH_OTHER;
}

emr_status emr_source_list(const emr_source *source, const char *directory, emr_found_fn found, void *user,
                           emr_error *why)
{
    emr_error ignored;
    emr_error *into = why ? why : &ignored;
    if (!source)
        return emr_system_list(directory, found, user, why);
    into->text[0] = '\0';
    emr_status status = source->list(source->user, directory, found, user, into);
    return status ? emr_callback_status(status, EMR_EIO) : EMR_OK;
}
