/* file.c - the stock file backend: positional reads and writes, an optional mapping, and outputs that appear
 * whole. POSIX. */
#define _GNU_SOURCE       /* O_TMPFILE, where there is one */
#define _FILE_OFFSET_BITS 64

#include "emr/io.h"

#include "core/hash.h"
#include "core/memory.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct emr_file {
    emr_allocator allocator;
    int descriptor;
    char *path;      /* the name to appear under, for a created file; else the file's */
    char *temporary; /* the name until then; NULL if it has none */
    char *directory; /* that holds it, for a created file */
    void *mapping;
    size_t mapped_bytes;
    bool replace;
    bool created;
    bool resumed;       /* stays when it is closed before it is committed; */
    uint64_t written;   /* the end of what was written since it was opened so */
    atomic_int failure; /* errno of the last read or write that failed */
};

static void describe(int number, char *reason, size_t n)
{
#if defined(__GLIBC__)
    char buffer[128];
    snprintf(reason, n, "%s", strerror_r(number, buffer, sizeof buffer));
#else
    if (strerror_r(number, reason, n))
        snprintf(reason, n, "error %d", number);
#endif
}

static emr_status fail(const char *path, const char *what, emr_error *error)
{
    char reason[128];
    int number = errno;
    describe(number, reason, sizeof reason);
    return emr_fail(error, number == ENOMEM ? EMR_ENOMEM : EMR_EIO, "%s: %s: %s", path, what, reason);
}

void emr_file_failure(const emr_file *file, char *reason, size_t n)
{
    int number = atomic_load(&file->failure);
    if (n)
        *reason = '\0';
    if (n && number)
        describe(number, reason, n);
}

static int file_read(void *user, uint64_t offset, void *destination, size_t n)
{
    emr_file *f = user;
    char *to = destination;
    while (n) {
        ssize_t got = pread(f->descriptor, to, n < 1u << 30 ? n : 1u << 30, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) { /* an error, or the file ends before it should */
            atomic_store(&f->failure, got < 0 ? errno : ENODATA);
            return -1;
        }
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static int file_write(void *user, uint64_t offset, const void *source, size_t n)
{
    emr_file *f = user;
    const char *from = source;
    while (n) {
        ssize_t put = pwrite(f->descriptor, from, n < 1u << 30 ? n : 1u << 30, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            atomic_store(&f->failure, put < 0 ? errno : EIO);
            return -1;
        }
        from += put;
        offset += (uint64_t)put;
        n -= (size_t)put;
    }
    f->written = offset > f->written ? offset : f->written;
    return 0;
}

static int file_length(void *user, uint64_t *bytes)
{
    struct stat s;
    if (fstat(((const emr_file *)user)->descriptor, &s) || s.st_size < 0)
        return -1;
    *bytes = (uint64_t)s.st_size;
    return 0;
}

static int file_sync(void *user)
{
    return fsync(((const emr_file *)user)->descriptor);
}

static int file_map(void *user, uint64_t offset, size_t n, const void **window)
{
    const emr_file *f = user;
    if (offset > f->mapped_bytes || n > f->mapped_bytes - offset)
        return -1;
    *window = (const char *)f->mapping + offset;
    return 0;
}

static void file_will_need(void *user, uint64_t offset, uint64_t n)
{
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(((const emr_file *)user)->descriptor, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
#else
    (void)user, (void)offset, (void)n;
#endif
}

emr_io emr_file_io(emr_file *file)
{
    emr_io io = {
        .size = sizeof io, .user = file, .read = file_read, .write = file_write, .length = file_length};
    io.sync = file_sync;
    io.will_need = file_will_need;
    if (file->mapping)
        io.map = file_map;
    return io;
}

static emr_status new_file(emr_file **file, const char *path, const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (!file || !path)
        return emr_fail(error, EMR_EINVAL, "a file needs a path and a place for its handle");
    *file = NULL;
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (status)
        return status;
    emr_file *f = emr_allocate_array(&allocator, 1, sizeof *f);
    if (!f)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    f->allocator = allocator;
    f->descriptor = -1;
    f->path = emr_copy_string(&allocator, path);
    if (!f->path) {
        emr_file_close(&f);
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    }
    *file = f;
    return EMR_OK;
}

emr_status emr_file_open(emr_file **file, const char *path, int map, const emr_allocator *allocator,
                         emr_error *error)
{
    struct stat s;
    emr_status status = new_file(file, path, allocator, error);
    if (status)
        return status;
    emr_file *f = *file;
    f->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer would block */
    if (f->descriptor < 0 || fstat(f->descriptor, &s)) {
        status = fail(path, "cannot be opened", error);
    } else if (!S_ISREG(s.st_mode)) {
        status = emr_fail(error, EMR_EIO, "%s: not a regular file", path);
    } else if (map && s.st_size > 0 && (uint64_t)s.st_size <= SIZE_MAX) {
        void *mapping = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, f->descriptor, 0);
        if (mapping == MAP_FAILED) {
            status = fail(path, "cannot be mapped", error);
        } else {
            f->mapping = mapping;
            f->mapped_bytes = (size_t)s.st_size;
        }
    }
    if (status)
        emr_file_close(file);
    return status;
}

static char *directory_of(const emr_allocator *allocator, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? emr_copy_string(allocator, path) : emr_copy_string(allocator, ".");
    if (directory && slash)
        directory[slash == path ? 1 : slash - path] = '\0';
    return directory;
}

/* The n-th temporary name to try: short, so that it fits wherever the final one does, and in the same
 * directory, so that renaming is possible. */
static char *temporary_name(const emr_file *f, unsigned n)
{
    char name[64];
    snprintf(name, sizeof name, "/.emr-%ld-%u.partial", (long)getpid(), n);
    return emr_join_strings(&f->allocator, f->directory, strlen(f->directory), name);
}

enum { NAMES_TRIED = 1000 };

/* Creates a file with a name nobody has. */
static int create_named(emr_file *f)
{
    for (unsigned attempt = 0; attempt < NAMES_TRIED; attempt++) {
        f->temporary = temporary_name(f, attempt);
        if (!f->temporary) {
            errno = ENOMEM;
            return -1;
        }
        int descriptor = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0)
            return descriptor;
        emr_release(&f->allocator, f->temporary);
        f->temporary = NULL;
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

/* A file without a name vanishes even if the process is killed; not every file system has them. */
static int create_unnamed(const emr_file *f)
{
#ifdef O_TMPFILE
    if (access("/proc/self/fd", X_OK)) /* through which it will get its name */
        return -1;
    return open(f->directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
#else
    (void)f;
    return -1;
#endif
}

/* What is there now must be replaceable, and what is not must be possible: better known before the work than
 * after. A symbolic link is itself replaced, but not if it leads to a device. */
static emr_status check_target(const char *path, bool replace, emr_error *error)
{
    struct stat s, target;
    if (lstat(path, &s))
        return errno == ENOENT ? EMR_OK : fail(path, "cannot be created", error);
    bool regular =
        S_ISREG(s.st_mode) || (S_ISLNK(s.st_mode) && (stat(path, &target) || S_ISREG(target.st_mode)));
    if (!regular)
        return emr_fail(error, EMR_EIO, "%s: is no regular file and cannot be replaced", path);
    return replace ? EMR_OK : emr_fail(error, EMR_EEXIST, "%s: already exists", path);
}

emr_status emr_file_create(emr_file **file, const char *path, int replace, const emr_allocator *allocator,
                           emr_error *error)
{
    emr_status status = new_file(file, path, allocator, error);
    if (status)
        return status;
    emr_file *f = *file;
    f->created = true;
    f->replace = replace != 0;
    f->directory = directory_of(&f->allocator, path);
    if (!f->directory)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    else
        status = check_target(path, f->replace, error);
    if (!status) {
        f->descriptor = create_unnamed(f);
        if (f->descriptor < 0)
            f->descriptor = create_named(f);
        if (f->descriptor < 0)
            status = fail(path, "cannot be created", error);
    }
    if (status)
        emr_file_close(file);
    return status;
}

/* Opens the partial file for this process alone. In between, its last owner may have put it in place or
 * removed it. */
static emr_status open_partial(emr_file *f, emr_error *error)
{
    for (unsigned attempt = 0; attempt < NAMES_TRIED; attempt++) {
        struct stat opened, named;
        f->descriptor = open(f->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (f->descriptor < 0 || fstat(f->descriptor, &opened))
            return fail(f->temporary, "cannot be created", error);
        if (!S_ISREG(opened.st_mode))
            return emr_fail(error, EMR_EIO, "%s: is no regular file", f->temporary);
        if (flock(f->descriptor, LOCK_EX | LOCK_NB))
            return errno == EWOULDBLOCK
                       ? emr_fail(error, EMR_EIO, "%s: another process is writing it", f->temporary)
                       : fail(f->temporary, "cannot be locked", error);
        if (lstat(f->temporary, &named) == 0 && named.st_ino == opened.st_ino &&
            named.st_dev == opened.st_dev)
            return EMR_OK;
        close(f->descriptor);
        f->descriptor = -1;
    }
    return emr_fail(error, EMR_EIO, "%s: cannot be created", f->temporary);
}

emr_status emr_file_resume(emr_file **file, const char *path, int replace, const emr_allocator *allocator,
                           emr_error *error)
{
    emr_status status = new_file(file, path, allocator, error);
    if (status)
        return status;
    emr_file *f = *file;
    f->created = f->resumed = true;
    f->replace = replace != 0;
    f->directory = directory_of(&f->allocator, path);
    f->temporary = emr_join_strings(&f->allocator, path, strlen(path), ".partial");
    if (!f->directory || !f->temporary)
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", path);
    else
        status = check_target(path, f->replace, error);
    if (!status)
        status = open_partial(f, error);
    if (status)
        emr_file_close(file);
    return status;
}

/* Gives an unnamed file its temporary name. */
static int give_name(emr_file *f)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", f->descriptor);
    for (unsigned attempt = 0; attempt < NAMES_TRIED; attempt++) {
        char *name = temporary_name(f, attempt);
        if (!name) {
            errno = ENOMEM;
            return -1;
        }
        if (linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
            f->temporary = name;
            return 0;
        }
        emr_release(&f->allocator, name);
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

/* Puts the temporary name's file under the final name; without `replace`, only where nothing is. */
static int put_in_place(const emr_file *f)
{
    struct stat s;
    if (f->replace)
        return rename(f->temporary, f->path);
    if (link(f->temporary, f->path) == 0)
        return unlink(f->temporary);
    if (errno == EEXIST)
        return -1;
    if (lstat(f->path, &s) == 0) { /* a file system without hard links: look, then rename */
        errno = EEXIST;
        return -1;
    }
    return rename(f->temporary, f->path);
}

emr_status emr_file_commit(emr_file *f, emr_error *error)
{
    if (!f || !f->created || f->descriptor < 0)
        return emr_fail(error, EMR_ESTATE, "only a file that is being created can be committed");
    if (f->resumed && ftruncate(f->descriptor, (off_t)f->written)) /* more may be left from an earlier time */
        return fail(f->path, "cannot be cut to its length", error);
    if (fsync(f->descriptor))
        return fail(f->path, "cannot be made durable", error);
    if (!f->temporary && give_name(f))
        return fail(f->path, "cannot be named", error);
    if (put_in_place(f)) {
        if (errno == EEXIST)
            return emr_fail(error, EMR_EEXIST, "%s: already exists", f->path);
        return fail(f->path, "cannot be put in place", error);
    }
    emr_release(&f->allocator, f->temporary);
    f->temporary = NULL;
    f->created = false;
    int directory = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0) { /* the name is durable too; a directory that cannot be synced is no failure */
        (void)fsync(directory);
        close(directory);
    }
    return EMR_OK;
}

void emr_file_close(emr_file **file)
{
    if (!file || !*file)
        return;
    emr_file *f = *file;
    emr_allocator allocator = f->allocator;
    if (f->mapping)
        munmap(f->mapping, f->mapped_bytes);
    if (f->temporary && !f->resumed)
        unlink(f->temporary);
    if (f->descriptor >= 0)
        close(f->descriptor);
    emr_release(&allocator, f->temporary);
    emr_release(&allocator, f->directory);
    emr_release(&allocator, f->path);
    emr_release(&allocator, f);
    *file = NULL;
}

void emr_file_discard(emr_file **file)
{
    if (file && *file && (*file)->descriptor >= 0) /* else it is another process's */
        (*file)->resumed = false;
    emr_file_close(file);
}

uint64_t emr_file_stamp(const emr_file *file)
{
    struct stat s;
    if (fstat(file->descriptor, &s))
        return 0;
    /* The time of the last change cannot be set, and replacing a file sets it. Neither device nor inode: they
     * may be others after a restart, when going on is wanted most. */
    int64_t parts[5] = {(int64_t)s.st_size, (int64_t)s.st_mtim.tv_sec, (int64_t)s.st_mtim.tv_nsec,
                        (int64_t)s.st_ctim.tv_sec, (int64_t)s.st_ctim.tv_nsec};
    return emr_hash64(parts, sizeof parts);
}
