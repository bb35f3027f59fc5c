/* files.c - see files.h. A program may have 256 files open on some systems, and eight models of forty shards
 * are more. So those that nobody reads are closed, the one whose last use is longest ago first. */
#include "io/files.h"

#include "core/memory.h"
#include "core/structs.h"
#include "io/source.h"
#include "system/system.h"

typedef struct kept_file {
    emr_files *owner;
    struct kept_file *next;          /* of all */
    struct kept_file *newer, *older; /* of the open ones */
    bool is_open;
    emr_source_file file;
    emr_io io;
    char *path;
    uint64_t stamp;
    size_t n_users; /* calls that are in the file */
} kept_file;

struct emr_files {
    emr_allocator allocator;
    const emr_source *source;
    emr_file_options options;
    kept_file *all;  /* the last one first */
    emr_mutex mutex; /* of what follows, and of what changes in each file */
    kept_file *newest, *oldest;
    size_t n_open;
};

static void unlink_open(kept_file *k)
{
    emr_files *f = k->owner;
    *(k->newer ? &k->newer->older : &f->newest) = k->older;
    *(k->older ? &k->older->newer : &f->oldest) = k->newer;
    f->n_open--;
}

static void link_newest(kept_file *k)
{
    emr_files *f = k->owner;
    k->newer = NULL;
    k->older = f->newest;
    *(f->newest ? &f->newest->newer : &f->oldest) = k;
    f->newest = k;
    f->n_open++;
}

static void close_kept(kept_file *k)
{
    unlink_open(k);
    emr_source_close(&k->file);
    k->is_open = false;
}

/* Until no more than so many are open, or all of them are in use. */
static void close_unused(emr_files *f, size_t most)
{
    for (kept_file *k = f->oldest; k && f->n_open > most && !f->options.map;) {
        kept_file *newer = k->newer;
        if (!k->n_users) {
            close_kept(k);
        }
        k = newer;
    }
}

static emr_status open_kept(kept_file *k, uint64_t *stamp, emr_error *error)
{
    emr_files *f = k->owner;
    close_unused(f, EMR_FILES_OPEN - 1);
    emr_status status = emr_source_open(&k->file, f->source, k->path, &f->options, stamp, error);
    k->is_open = !status;
    if (!status)
        link_newest(k);
    return status;
}

static emr_status open_again(kept_file *k, emr_error *error)
{
    uint64_t stamp;
    emr_status status = open_kept(k, &stamp, error);
    if (status || stamp == k->stamp)
        return status;
    close_kept(k);
    return emr_fail(error, EMR_EIO, "%F: has changed since it was opened first", k->path);
}

/* Before a call in the file; end_use() follows unless it fails. */
static emr_status begin_use(kept_file *k, emr_error *error)
{
    emr_status status = EMR_OK;
    emr_mutex_lock(&k->owner->mutex);
    if (!k->is_open) {
        status = open_again(k, error);
    } else {
        unlink_open(k);
        link_newest(k);
    }
    k->n_users += !status;
    emr_mutex_unlock(&k->owner->mutex);
    return status;
}

static void end_use(kept_file *k)
{
    emr_mutex_lock(&k->owner->mutex);
    k->n_users--;
    close_unused(k->owner, EMR_FILES_OPEN);
    emr_mutex_unlock(&k->owner->mutex);
}

static emr_status read_reopened(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    kept_file *k = user;
    emr_status status = begin_use(k, error);
    if (status)
        return status;
    const emr_io *io = emr_source_io(&k->file);
    status = io->read(io->user, offset, destination, n, error);
    end_use(k);
    return status;
}

static emr_status reopened_length(void *user, uint64_t *bytes, emr_error *error)
{
    kept_file *k = user;
    emr_status status = begin_use(k, error);
    if (status)
        return status;
    const emr_io *io = emr_source_io(&k->file);
    status = io->length(io->user, bytes, error);
    end_use(k);
    return status;
}

static void reopened_will_need(void *user, uint64_t offset, uint64_t n)
{
    emr_error ignored;
    kept_file *k = user;
    if (begin_use(k, &ignored))
        return;
    const emr_io *io = emr_source_io(&k->file);
    if (io->will_need)
        io->will_need(io->user, offset, n);
    end_use(k);
}

emr_status emr_files_create(emr_files **files, const emr_source *source, const emr_file_options *given,
                            emr_error *error)
{
    emr_file_options options;
    emr_allocator allocator;
    *files = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_file_options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (status)
        return status;
    emr_files *f = emr_allocate_array(&allocator, 1, sizeof *f);
    if (!f)
        return emr_no_memory(error, NULL);
    f->allocator = allocator;
    f->source = source;
    f->options = options;
    f->options.allocator = &f->allocator;
    emr_mutex_init(&f->mutex);
    *files = f;
    return EMR_OK;
}

emr_status emr_files_open(emr_files *f, const char *path, emr_opened *opened, emr_error *error)
{
    kept_file *k = emr_allocate_array(&f->allocator, 1, sizeof *k);
    if (!k)
        return emr_no_memory(error, path);
    k->owner = f;
    k->io = (emr_io){.size = sizeof k->io,
                     .user = k,
                     .read = read_reopened,
                     .length = reopened_length,
                     .will_need = reopened_will_need};
    k->path = emr_copy_string(&f->allocator, path);
    emr_mutex_lock(&f->mutex);
    emr_status status = k->path ? open_kept(k, &k->stamp, error) : emr_no_memory(error, path);
    if (!status) {
        *opened = (emr_opened){f->options.map ? emr_source_io(&k->file) : &k->io, k->path, k->stamp};
        k->next = f->all;
        f->all = k;
    }
    emr_mutex_unlock(&f->mutex);
    if (status) {
        emr_release(&f->allocator, k->path);
        emr_release(&f->allocator, k);
    }
    return status;
}

void emr_files_destroy(emr_files **files)
{
    emr_files *f = *files;
    if (!f)
        return;
    emr_allocator allocator = f->allocator;
    for (kept_file *k = f->all, *next; k; k = next) {
        next = k->next;
        if (k->is_open)
            emr_source_close(&k->file);
        emr_release(&allocator, k->path);
        emr_release(&allocator, k);
    }
    emr_mutex_destroy(&f->mutex);
    emr_release(&allocator, f);
    *files = NULL;
}
