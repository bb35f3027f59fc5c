/* io.h - how bytes come in and go out: the table a host fills, and the stock backends. */
#ifndef EMR_IO_H
#define EMR_IO_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"

/* Positional I/O on one object. Callbacks return 0, or anything else for failure (EMR_EIO).
 * Members that are NULL, or lie past `size`, are absent: reading needs `read` and `length`, writing needs
 * `write`. The struct is copied; `user` is borrowed until the handle that uses it is destroyed. */
typedef struct emr_io {
    size_t size; /* sizeof(emr_io) */
    void *user;
    /* Exactly `n` bytes from `offset` into `destination`. Called from several threads at a time if the
     * context that reads has an executor. Tensors that lie near each other may be read together with the
     * bytes between them; where that fails, one by one. */
    int (*read)(void *user, uint64_t offset, void *destination, size_t n);
    /* Exactly `n` bytes at `offset`. Every writer of this library writes front to back without gaps or
     * rewriting, one call at a time, so that a pipe or a socket will do; only what emr_merge_set_journal is given
     * is written anew in part. With an executor the calls come from its threads, while others read. */
    int (*write)(void *user, uint64_t offset, const void *source, size_t n);
    int (*length)(void *user, uint64_t *bytes);
    /* A window of the object in memory, valid until unmap or close. Bytes must not change meanwhile. */
    int (*map)(void *user, uint64_t offset, size_t n, const void **window);
    void (*unmap)(void *user, const void *window, size_t n);
    /* Everything written so far is durable when it returns. */
    int (*sync)(void *user);
    /* A hint, which returns at once: these bytes will be read soon. They may lie past the end. */
    void (*will_need)(void *user, uint64_t offset, uint64_t n);
} emr_io;

typedef struct emr_file emr_file;

EMR_BEGIN_DECLS

/* A file for reading. With `map` != 0 its bytes are also offered as windows of one mapping: faster, but a
 * file that shrinks while mapped raises SIGBUS on POSIX systems, so positional reads are the default. */
EMR_API emr_status emr_file_open(emr_file **file, const char *path, int map, const emr_allocator *allocator,
                                 emr_error *error);

/* A new file for writing, which appears under `path` only when it is committed: until then it has no name,
 * or a temporary one beside `path`. EMR_EEXIST if `path` exists and `replace` is 0.
 * A symbolic link is itself replaced; devices, directories and links to them are refused. */
EMR_API emr_status emr_file_create(emr_file **file, const char *path, int replace,
                                   const emr_allocator *allocator, emr_error *error);

/* The same for work that may be cut off and go on later: until it is committed the file is `path` with
 * ".partial" behind it, which is still there when it is closed, or the process killed, before; opening it so
 * again gives what was written, to be read and written. One process at a time: EMR_EIO while another has it
 * open so. */
EMR_API emr_status emr_file_resume(emr_file **file, const char *path, int replace,
                                   const emr_allocator *allocator, emr_error *error);

/* Closes a file that was being created, for good: what was written vanishes. */
EMR_API void emr_file_discard(emr_file **file);

/* Makes what was written durable and puts it in place of `path` in one step. */
EMR_API emr_status emr_file_commit(emr_file *file, emr_error *error);

/* Closes. A created file that was not committed vanishes; what `path` named before is untouched. */
EMR_API void emr_file_close(emr_file **file);

/* The file as an emr_io, valid until it is closed. */
EMR_API emr_io emr_file_io(emr_file *file);

/* Why the last read or write of the file failed, in the system's words ("No space left on device"); empty if
 * none did. At most `n` bytes, the zero byte among them. */
EMR_API void emr_file_failure(const emr_file *file, char *reason, size_t n);

/* Reads from the caller's memory, which is borrowed. Windows of it can be mapped. The returned table refers
 * to `memory`, a struct that the caller keeps. */
typedef struct emr_memory {
    const void *data;
    uint64_t bytes;
} emr_memory;

EMR_API emr_io emr_memory_io(emr_memory *memory);

/* A buffer that grows as it is written, and that can be read again. Free `data` with emr_buffer_free. Zero it
 * before use; `allocator` may be NULL. */
typedef struct emr_buffer {
    const emr_allocator *allocator; /* borrowed */
    void *data;
    size_t bytes;
    size_t capacity;
} emr_buffer;

EMR_API emr_io emr_buffer_io(emr_buffer *buffer);
EMR_API void emr_buffer_free(emr_buffer *buffer);

EMR_END_DECLS

#endif
