/* posix.c - system.h on POSIX systems. */
#define _GNU_SOURCE       /* O_TMPFILE, where there is one */
#define _FILE_OFFSET_BITS 64

#include "system/system.h"

#include "core/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CALL_BYTES = 1 << 30, /* that one call reads or writes at most: some systems take no more */
    ALONE_ATTEMPTS = 1000
};

static emr_status fail_with(int number, emr_error *why)
{
    char reason[128];
    emr_status status = number == ENOMEM ? EMR_ENOMEM : number == EEXIST ? EMR_EEXIST : EMR_EIO;
    if (number == EMFILE)
        return emr_error_set(why, status, number, NULL, "too many open files (ulimit -n)");
#if defined(__GLIBC__)
    return emr_error_set(why, status, number, NULL, strerror_r(number, reason, sizeof reason));
#else
    if (strerror_r(number, reason, sizeof reason))
        snprintf(reason, sizeof reason, "error %d", number);
    return emr_error_set(why, status, number, NULL, reason);
#endif
}

/* What a call that returned `result` has done: failed, if that is negative. */
static emr_status check_result(int result, emr_error *why)
{
    return result < 0 ? fail_with(errno, why) : EMR_OK;
}

static emr_status take_descriptor(emr_system_file *file, int descriptor, emr_error *why)
{
    *file = descriptor;
    return check_result(descriptor, why);
}

emr_status emr_system_open(emr_system_file *file, const char *path, emr_error *why)
{
    struct stat s;
    /* without O_NONBLOCK, a FIFO without a writer would keep us here */
    emr_status status = take_descriptor(file, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), why);
    if (status && errno == ENOENT && lstat(path, &s) == 0)
        return emr_error_set(why, EMR_EIO, ENOENT, NULL, "it is a link that leads nowhere");
    if (status)
        return status;
    status = check_result(fstat((int)*file, &s), why);
    if (!status && !S_ISREG(s.st_mode))
        status = emr_error_set(why, EMR_EIO, 0, NULL, "not a regular file");
    if (status) {
        emr_system_close(*file);
        *file = EMR_NO_FILE;
    }
    return status;
}

emr_status emr_system_create(emr_system_file *file, const char *path, emr_error *why)
{
    return take_descriptor(file, open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666), why);
}

emr_status emr_system_create_unnamed(emr_system_file *file, const char *directory, emr_error *why)
{
#ifdef O_TMPFILE
    if (access("/proc/self/fd", X_OK) == 0) /* through which it will get its name */
        return take_descriptor(file, open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666), why);
#else
    (void)directory;
#endif
    *file = EMR_NO_FILE;
    return fail_with(ENOTSUP, why);
}

emr_status emr_system_give_name(emr_system_file file, const char *path, emr_error *why)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", (int)file);
    return check_result(linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW), why);
}

/* Locks the file that is open, unless its name is another's by now: its last owner may have renamed or
 * removed it between our opening and our locking it. */
static emr_status lock_named(int descriptor, const char *path, bool *is_it, emr_error *why)
{
    struct stat opened, named;
    emr_status status = check_result(fstat(descriptor, &opened), why);
    if (!status && !S_ISREG(opened.st_mode))
        status = emr_error_set(why, EMR_EIO, 0, NULL, "not a regular file");
    if (!status && flock(descriptor, LOCK_EX | LOCK_NB))
        status = errno == EWOULDBLOCK
                     ? emr_error_set(why, EMR_EIO, errno, NULL, "another process is writing it")
                     : fail_with(errno, why);
    *is_it =
        !status && lstat(path, &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
    return status;
}

emr_status emr_system_open_alone(emr_system_file *file, const char *path, emr_error *why)
{
    for (unsigned attempt = 0; attempt < ALONE_ATTEMPTS; attempt++) {
        int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
        bool is_it = false;
        emr_status status = take_descriptor(file, open(path, flags, 0666), why);
        if (status)
            return status;
        status = lock_named((int)*file, path, &is_it, why);
        if (is_it)
            return EMR_OK;
        emr_system_close(*file);
        *file = EMR_NO_FILE;
        if (status)
            return status;
    }
    return emr_error_set(why, EMR_EIO, 0, NULL, "it is renamed all the time");
}

void emr_system_close(emr_system_file file)
{
    if (file != EMR_NO_FILE)
        close((int)file);
}

/* Whether a read or write went on; if not, why. */
static emr_status check_progress(ssize_t moved, const char *nothing, emr_error *why)
{
    if (moved < 0)
        return fail_with(errno, why);
    return moved ? EMR_OK : emr_error_set(why, EMR_EIO, 0, NULL, nothing);
}

emr_status emr_system_read(emr_system_file file, uint64_t offset, void *destination, size_t n, emr_error *why)
{
    char *to = destination;
    emr_status status = EMR_OK;
    while (n && !status) {
        ssize_t got = pread((int)file, to, n < CALL_BYTES ? n : CALL_BYTES, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        status = check_progress(got, "the file ends before that", why);
        if (!status) {
            to += got;
            offset += (uint64_t)got;
            n -= (size_t)got;
        }
    }
    return status;
}

emr_status emr_system_write(emr_system_file file, uint64_t offset, const void *source, size_t n,
                            emr_error *why)
{
    const char *from = source;
    emr_status status = EMR_OK;
    while (n && !status) {
        ssize_t put = pwrite((int)file, from, n < CALL_BYTES ? n : CALL_BYTES, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        status = check_progress(put, "nothing was written", why);
        if (!status) {
            from += put;
            offset += (uint64_t)put;
            n -= (size_t)put;
        }
    }
    return status;
}

emr_status emr_system_length(emr_system_file file, uint64_t *bytes, emr_error *why)
{
    struct stat s;
    emr_status status = check_result(fstat((int)file, &s), why);
    *bytes = status || s.st_size < 0 ? 0 : (uint64_t)s.st_size;
    return status;
}

emr_status emr_system_cut(emr_system_file file, uint64_t bytes, emr_error *why)
{
    return check_result(ftruncate((int)file, (off_t)bytes), why);
}

emr_status emr_system_sync(emr_system_file file, emr_error *why)
{
    return check_result(fsync((int)file), why);
}

void emr_system_will_need(emr_system_file file, uint64_t offset, uint64_t n)
{
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise((int)file, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
#else
    (void)file, (void)offset, (void)n;
#endif
}

void emr_system_will_sync(emr_system_file file, uint64_t offset, uint64_t n)
{
#ifdef SYNC_FILE_RANGE_WRITE
    (void)sync_file_range((int)file, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
#else
    (void)file, (void)offset, (void)n;
#endif
}

emr_status emr_system_map(emr_system_file file, size_t n, const void **bytes, emr_error *why)
{
    void *mapping = mmap(NULL, n, PROT_READ, MAP_SHARED, (int)file, 0);
    *bytes = mapping == MAP_FAILED ? NULL : mapping;
    return *bytes ? EMR_OK : fail_with(errno, why);
}

void emr_system_unmap(const void *bytes, size_t n)
{
    munmap((void *)(uintptr_t)bytes, n);
}

uint64_t emr_system_stamp(emr_system_file file)
{
    struct stat s;
    if (fstat((int)file, &s))
        return 0;
    /* The time of the last change cannot be set, and replacing a file sets it. Neither device nor inode: they
     * may be others after a restart, when going on is wanted most. */
    int64_t parts[5] = {(int64_t)s.st_size, (int64_t)s.st_mtim.tv_sec, (int64_t)s.st_mtim.tv_nsec,
                        (int64_t)s.st_ctim.tv_sec, (int64_t)s.st_ctim.tv_nsec};
    return emr_hash64(parts, sizeof parts);
}

emr_path_kind emr_system_kind(const char *path, emr_error *why)
{
    struct stat s;
    if (stat(path, &s) && lstat(path, &s)) {
        if (errno == ENOENT)
            return EMR_PATH_ABSENT;
        fail_with(errno, why);
        return EMR_PATH_UNKNOWN;
    }
    return S_ISREG(s.st_mode) || S_ISLNK(s.st_mode) ? EMR_PATH_FILE
           : S_ISDIR(s.st_mode)                     ? EMR_PATH_DIRECTORY
                                                    : EMR_PATH_OTHER;
}

emr_status emr_system_rename(const char *from, const char *to, bool replace, emr_error *why)
{
    struct stat s;
    if (replace)
        return check_result(rename(from, to), why);
    if (link(from, to) == 0)
        return check_result(unlink(from), why);
    if (errno == EEXIST)
        return fail_with(EEXIST, why);
    if (lstat(to, &s) == 0) /* a file system without hard links: look, then rename */
        return fail_with(EEXIST, why);
    return check_result(rename(from, to), why);
}

emr_status emr_system_remove(const char *path, emr_error *why)
{
    return check_result(remove(path), why);
}

emr_status emr_system_make_directory(const char *path, emr_error *why)
{
    return check_result(mkdir(path, 0777), why);
}

emr_status emr_system_list(const char *directory, void (*found)(void *user, const char *name), void *user,
                           emr_error *why)
{
    DIR *open = opendir(directory);
    if (!open)
        return fail_with(errno, why);
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(open)) != NULL; errno = 0)
        found(user, entry->d_name);
    int number = errno;
    closedir(open);
    return number ? fail_with(number, why) : EMR_OK;
}

void emr_system_sync_directory(const char *directory)
{
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    (void)fsync(descriptor);
    close(descriptor);
}

const char *emr_system_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void emr_system_temporary_name(char name[EMR_TEMPORARY_NAME], unsigned attempt)
{
    snprintf(name, EMR_TEMPORARY_NAME, ".emr-%ld-%u.partial", (long)getpid(), attempt);
}

_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "a thread fits");
_Static_assert(sizeof(pthread_mutex_t) <= sizeof(emr_mutex), "a mutex fits");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(emr_condition), "a condition fits");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(emr_mutex), "a mutex is aligned");
_Static_assert(_Alignof(pthread_cond_t) <= _Alignof(emr_condition), "a condition is aligned");

static void *run_native_thread(void *user)
{
    const emr_thread *t = user;
    t->run(t->user);
    return NULL;
}

emr_status emr_thread_start(emr_thread *t, void (*run)(void *user), void *user, emr_error *why)
{
    pthread_t thread;
    *t = (emr_thread){run, user, 0};
    int number = pthread_create(&thread, NULL, run_native_thread, t);
    if (number)
        return fail_with(number, why);
    memcpy(&t->native, &thread, sizeof thread);
    return EMR_OK;
}

void emr_thread_join(emr_thread *t)
{
    pthread_t thread;
    memcpy(&thread, &t->native, sizeof thread);
    pthread_join(thread, NULL);
}

uintptr_t emr_thread_current(void)
{
    const pthread_t thread = pthread_self();
    uintptr_t native = 0;
    memcpy(&native, &thread, sizeof thread);
    return native;
}

static pthread_mutex_t *native_mutex(emr_mutex *mutex)
{
    return (pthread_mutex_t *)mutex->native;
}

static pthread_cond_t *native_condition(emr_condition *condition)
{
    return (pthread_cond_t *)condition->native;
}

void emr_mutex_init(emr_mutex *mutex)
{
    pthread_mutex_init(native_mutex(mutex), NULL);
}

void emr_mutex_destroy(emr_mutex *mutex)
{
    pthread_mutex_destroy(native_mutex(mutex));
}

void emr_mutex_lock(emr_mutex *mutex)
{
    pthread_mutex_lock(native_mutex(mutex));
}

void emr_mutex_unlock(emr_mutex *mutex)
{
    pthread_mutex_unlock(native_mutex(mutex));
}

void emr_condition_init(emr_condition *condition)
{
    pthread_cond_init(native_condition(condition), NULL);
}

void emr_condition_destroy(emr_condition *condition)
{
    pthread_cond_destroy(native_condition(condition));
}

void emr_condition_wait(emr_condition *condition, emr_mutex *mutex)
{
    pthread_cond_wait(native_condition(condition), native_mutex(mutex));
}

void emr_condition_signal(emr_condition *condition)
{
    pthread_cond_signal(native_condition(condition));
}

void emr_condition_broadcast(emr_condition *condition)
{
    pthread_cond_broadcast(native_condition(condition));
}

uint32_t emr_system_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (uint32_t)n;
}
