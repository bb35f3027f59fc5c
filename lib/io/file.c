/* file.c - the stock file backend: positional reads and writes, an optional mapping, and outputs that appear
 * whole.
 *
 * An output lives under another name than its own until it is committed, best under none:
 * - created, it is unnamed where the system has such files, and else has a temporary name beside its own;
 * - resumed, it has its own name with ".partial" appended, for this process alone, and stays there until it
 * is committed or discarded. To commit is to make the bytes durable, then to rename, then to make the name
 * durable. */
#include "io/file.h"

#include "core/memory.h"
#include "core/structs.h"
#include "system/system.h"

#include <string.h>

enum { NAMES_TRIED = 1000, SEND_BYTES = 8 << 20 };

struct emr_file {
    emr_allocator allocator;
    emr_io io;
    emr_system_file handle;
    char *path;      /* the name to appear under, of an output; else the file's */
    char *temporary; /* the name until then; NULL if it has none */
    char *directory; /* of an output */
    const void *mapping;
    size_t mapped_bytes;
    bool replace;
    bool created;     /* and not yet committed */
    bool resumed;     /* stays when it is closed before it is committed; */
    uint64_t written; /* the end of what was written since it was opened */
    uint64_t sent;    /* the end of what the disk was told of */
};

/* Of a system call: "PATH: what: why". */
static emr_status fail_call(const char *path, const char *what, emr_status status, const emr_error *why,
                            emr_error *error)
{
    return emr_fail_because(error, status, why, "%F: %s", path, what);
}

/* Of a callback: "PATH: why", as the reason in somebody else's sentence. */
static emr_status name_file(const emr_file *f, emr_status status, emr_error *error)
{
    if (status)
        emr_error_prefix(error, "%F", f->path);
    return status;
}

static emr_status read_file(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const emr_file *f = user;
    return name_file(f, emr_system_read(f->handle, offset, destination, n, error), error);
}

/* What is to be durable in the end is sent to the disk as it comes, so that there is little left to wait for. */
static void begin_sync(emr_file *f)
{
    if (f->written < f->sent + SEND_BYTES)
        return;
    emr_system_will_sync(f->handle, f->sent, f->written - f->sent);
    f->sent = f->written;
}

static emr_status write_file(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    emr_file *f = user;
    emr_status status = emr_system_write(f->handle, offset, source, n, error);
    if (!status && offset + n > f->written)
        f->written = offset + n;
    if (!status)
        begin_sync(f);
    return name_file(f, status, error);
}

static emr_status file_length(void *user, uint64_t *bytes, emr_error *error)
{
    const emr_file *f = user;
    return name_file(f, emr_system_length(f->handle, bytes, error), error);
}

static emr_status sync_file(void *user, emr_error *error)
{
    const emr_file *f = user;
    return name_file(f, emr_system_sync(f->handle, error), error);
}

static emr_status map_file(void *user, uint64_t offset, size_t n, const void **window, emr_error *error)
{
    const emr_file *f = user;
    if (offset > f->mapped_bytes || n > f->mapped_bytes - offset)
        return emr_error_set(error, EMR_EIO, 0, f->path, "the mapping ends before that");
    *window = (const char *)f->mapping + offset;
    return EMR_OK;
}

static void file_will_need(void *user, uint64_t offset, uint64_t n)
{
    emr_system_will_need(((const emr_file *)user)->handle, offset, n);
}

const emr_io *emr_file_io(const emr_file *file)
{
    return &file->io;
}

static void fill_io(emr_file *f)
{
    f->io = (emr_io){.size = sizeof f->io,
                     .user = f,
                     .read = read_file,
                     .write = write_file,
                     .length = file_length,
                     .sync = sync_file,
                     .will_need = file_will_need};
    if (f->mapping)
        f->io.map = map_file;
}

/* A handle without a file. */
static emr_status new_file(emr_file **file, const char *path, const emr_file_options *given,
                           emr_file_options *options, emr_error *error)
{
    emr_allocator allocator;
    if (file)
        *file = NULL;
    if (!file || !path)
        return emr_fail(error, EMR_EINVAL, "a file needs a path and a place for its handle");
    emr_status status = EMR_TAKE(options, given, emr_file_options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options->allocator, error);
    if (status)
        return status;
    emr_file *f = emr_allocate_array(&allocator, 1, sizeof *f);
    if (!f)
        return emr_no_memory(error, path);
    f->allocator = allocator;
    f->handle = EMR_NO_FILE;
    f->path = emr_copy_string(&allocator, path);
    if (!f->path) {
        emr_file_close(&f);
        return emr_no_memory(error, path);
    }
    *file = f;
    return EMR_OK;
}

static emr_status map_whole(emr_file *f, emr_error *error)
{
    emr_error why;
    uint64_t bytes;
    emr_status status = emr_system_length(f->handle, &bytes, &why);
    if (!status && (bytes == 0 || bytes > SIZE_MAX))
        return EMR_OK; /* read, then */
    if (!status)
        status = emr_system_map(f->handle, (size_t)bytes, &f->mapping, &why);
    if (status)
        return fail_call(f->path, "cannot be mapped", status, &why, error);
    f->mapped_bytes = (size_t)bytes;
    return EMR_OK;
}

emr_status emr_file_open(emr_file **file, const char *path, const emr_file_options *given, emr_error *error)
{
    emr_file_options options;
    emr_error why;
    emr_status status = new_file(file, path, given, &options, error);
    if (status)
        return status;
    status = emr_system_open(&(*file)->handle, path, &why);
    if (status)
        status = fail_call(path, "cannot be opened", status, &why, error);
    else if (options.map)
        status = map_whole(*file, error);
    if (status)
        emr_file_close(file);
    else
        fill_io(*file);
    return status;
}

/* What is there now must be replaceable, and what is not must be possible: better known before the work than
 * after. A symbolic link is itself replaced, but not if it leads to a device or a directory. */
static emr_status check_target(const emr_file *f, emr_error *error)
{
    emr_error why;
    switch (emr_system_kind(f->path, &why)) {
    case EMR_PATH_UNKNOWN:
        return fail_call(f->path, "cannot be created", EMR_EIO, &why, error);
    case EMR_PATH_ABSENT:
        return EMR_OK;
    case EMR_PATH_FILE:
        return f->replace ? EMR_OK : emr_fail(error, EMR_EEXIST, "%F: already exists", f->path);
    default:
        return emr_fail(error, EMR_EIO, "%F: is no regular file and cannot be replaced", f->path);
    }
}

/* A handle for an output, whose target was looked at. */
static emr_status new_output(emr_file **file, const char *path, const emr_file_options *given,
                             emr_error *error)
{
    emr_file_options options;
    emr_status status = new_file(file, path, given, &options, error);
    if (status)
        return status;
    emr_file *f = *file;
    size_t n = (size_t)(emr_system_file_name(path) - path);
    f->created = true;
    f->replace = options.replace != 0;
    f->directory = emr_join_strings(&f->allocator, path, n, n ? "" : ".");
    if (!path[n]) /* better known before the work than after */
        status = emr_fail(error, EMR_EINVAL, "'%F' names no file", path);
    else
        status = f->directory ? check_target(f, error) : emr_no_memory(error, path);
    if (status)
        emr_file_close(file);
    return status;
}

/* The attempt-th temporary name to try: in the same directory, so that renaming is possible. */
static char *temporary_path(const emr_file *f, unsigned attempt)
{
    char name[EMR_TEMPORARY_NAME];
    emr_system_temporary_name(name, attempt);
    return emr_join_strings(&f->allocator, f->path, (size_t)(emr_system_file_name(f->path) - f->path), name);
}

/* Gives the file a temporary name that nobody has: an unnamed one, if it is there, else a new one. */
static emr_status take_temporary_name(emr_file *f, emr_error *why)
{
    emr_status status = EMR_EEXIST;
    for (unsigned attempt = 0; status == EMR_EEXIST && attempt < NAMES_TRIED; attempt++) {
        f->temporary = temporary_path(f, attempt);
        if (!f->temporary)
            return emr_error_set(why, EMR_ENOMEM, 0, NULL, "out of memory");
        status = f->handle == EMR_NO_FILE ? emr_system_create(&f->handle, f->temporary, why)
                                          : emr_system_give_name(f->handle, f->temporary, why);
        if (status) { /* the name is not ours to remove */
            emr_release(&f->allocator, f->temporary);
            f->temporary = NULL;
        }
    }
    return status == EMR_EEXIST ? EMR_EIO : status;
}

emr_status emr_file_create(emr_file **file, const char *path, const emr_file_options *options,
                           emr_error *error)
{
    emr_error why;
    emr_status status = new_output(file, path, options, error);
    if (status)
        return status;
    emr_file *f = *file;
    if (emr_system_create_unnamed(&f->handle, f->directory, NULL))
        status = take_temporary_name(f, &why);
    if (status) {
        status = fail_call(path, "cannot be created", status, &why, error);
        emr_file_close(file);
        return status;
    }
    fill_io(f);
    return EMR_OK;
}

emr_status emr_file_resume(emr_file **file, const char *path, const emr_file_options *options,
                           emr_error *error)
{
    emr_error why;
    emr_status status = new_output(file, path, options, error);
    if (status)
        return status;
    emr_file *f = *file;
    f->resumed = true;
    f->temporary = emr_join_strings(&f->allocator, path, strlen(path), ".partial");
    if (!f->temporary) {
        status = emr_no_memory(error, path);
    } else {
        status = emr_system_open_alone(&f->handle, f->temporary, &why);
        if (status)
            status = fail_call(f->temporary, "cannot be opened", status, &why, error);
    }
    if (status)
        emr_file_close(file);
    else
        fill_io(f);
    return status;
}

/* The bytes, and no others. */
static emr_status settle_bytes(const emr_file *f, emr_error *error)
{
    emr_error why;
    emr_status status = EMR_OK;
    if (f->resumed) /* more may be left from an earlier time */
        status = emr_system_cut(f->handle, f->written, &why);
    if (status)
        return fail_call(f->path, "cannot be cut to its length", status, &why, error);
    status = emr_system_sync(f->handle, &why);
    return status ? fail_call(f->path, "cannot be made durable", status, &why, error) : EMR_OK;
}

static emr_status settle_name(emr_file *f, emr_error *error)
{
    emr_error why;
    emr_status status = EMR_OK;
    if (!f->temporary)
        status = take_temporary_name(f, &why);
    if (status)
        return fail_call(f->path, "cannot be named", status, &why, error);
    status = emr_system_rename(f->temporary, f->path, f->replace, &why);
    if (status == EMR_EEXIST)
        return emr_fail(error, EMR_EEXIST, "%F: already exists", f->path);
    return status ? fail_call(f->path, "cannot be put in place", status, &why, error) : EMR_OK;
}

emr_status emr_file_commit(emr_file *f, emr_error *error)
{
    if (!f)
        return emr_fail(error, EMR_EINVAL, "emr_file_commit: NULL");
    if (!f->created)
        return emr_fail(error, EMR_ESTATE, "%F: only a file that is being created can be committed", f->path);
    emr_status status = settle_bytes(f, error);
    if (!status)
        status = settle_name(f, error);
    if (status)
        return status;
    emr_release(&f->allocator, f->temporary);
    f->temporary = NULL;
    f->created = false;
    emr_system_sync_directory(f->directory);
    return EMR_OK;
}

void emr_file_close(emr_file **file)
{
    if (!file || !*file)
        return;
    emr_file *f = *file;
    emr_allocator allocator = f->allocator;
    if (f->mapping)
        emr_system_unmap(f->mapping, f->mapped_bytes);
    if (f->temporary && !f->resumed) /* while nobody else can have opened it */
        (void)emr_system_remove(f->temporary, NULL);
    emr_system_close(f->handle);
    emr_release(&allocator, f->temporary);
    emr_release(&allocator, f->directory);
    emr_release(&allocator, f->path);
    emr_release(&allocator, f);
    *file = NULL;
}

void emr_file_discard(emr_file **file)
{
    if (file && *file && (*file)->handle != EMR_NO_FILE) /* else it is another process's */
        (*file)->resumed = false;
    emr_file_close(file);
}

uint64_t emr_file_stamp(const emr_file *file)
{
    return emr_system_stamp(file->handle);
}
