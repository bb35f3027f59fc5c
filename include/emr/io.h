/* io.h - how bytes come in and go out: the table that a host fills, and the stock backends.
 *
 *     static emr_status read_blob(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
 *     {
 *         if (blob_read(user, offset, destination, n))
 *             return EMR_OK;
 *         return emr_error_set(error, EMR_EIO, 0, blob_name(user), "the connection was lost");
 *     }
 *     ...
 *     emr_io io = EMR_INIT(emr_io);
 *     io.user = blob;
 *     io.read = read_blob;
 *     io.length = blob_length;
 */
#ifndef EMR_IO_H
#define EMR_IO_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"

/* Positional I/O on one object.
 * - Members that are NULL are absent. Reading needs `read` and `length`, writing `write`.
 * - The struct is copied; `user` is borrowed until the handle that uses it is destroyed.
 * - A callback returns EMR_OK or a status. The call that needed it fails with the same one if that is
 *   EMR_ENOMEM or EMR_ECANCELED, and with EMR_EIO otherwise.
 * - `error` is never NULL. What the callback writes there (emr_error_set) ends the caller's sentence.
 * - With an executor, callbacks are called from its threads.
 * - A host that copies the table of a stock backend, to wrap it, sets `size` to that of its own copy. */
typedef struct emr_io {
    size_t size;
    void *user;
    /* Exactly `n` bytes from `offset` into `destination`; several reads may run at a time where the caller
     * has an executor. Tensors that lie near each other may be read together with the bytes between them;
     * where that fails, one by one. */
    emr_status (*read)(void *user, uint64_t offset, void *destination, size_t n, emr_error *error);
    /* Exactly `n` bytes at `offset`. One write runs at a time, while others may read. The library writes
     * front to back without gaps or rewriting, so a pipe or a socket will do; only what
     * emr_merge_set_journal is given is rewritten in part. */
    emr_status (*write)(void *user, uint64_t offset, const void *source, size_t n, emr_error *error);
    emr_status (*length)(void *user, uint64_t *bytes, emr_error *error);
    /* A window of the object in memory, valid until unmap or close. Its bytes must not change. */
    emr_status (*map)(void *user, uint64_t offset, size_t n, const void **window, emr_error *error);
    void (*unmap)(void *user, const void *window, size_t n);
    /* Everything written so far is durable when it returns. */
    emr_status (*sync)(void *user, emr_error *error);
    /* A hint, which returns at once: these bytes will be read soon. They may lie past the end. */
    void (*will_need)(void *user, uint64_t offset, uint64_t n);
} emr_io;

/* What a name is to an emr_source. */
typedef uint32_t emr_source_kind;
enum {
    EMR_SOURCE_KIND_UNKNOWN = 0, /* to open it will say why */
    EMR_SOURCE_KIND_ABSENT = 1,
    EMR_SOURCE_KIND_FILE = 2,
    EMR_SOURCE_KIND_FOLDER = 3
};

typedef void (*emr_found_fn)(void *user, const char *name);

/* Files by name that are not those of the file system: a host's own storage, or another machine's
 * (emr/remote/remote.h). All four members are needed.
 * - Names are made of the one that a call was given: what comes before its last '/', and the name of a file
 *   beside it. A folder's own name ends in '/'.
 * - The struct is copied; `user` is borrowed until what was opened from it is destroyed.
 * - Callbacks may come from several threads, and fail as those of emr_io do. */
typedef struct emr_source {
    size_t size;
    void *user;
    /* A file to read: sets members of *io, which has the library's size and is zero else, and *stamp, a
     * number that differs where the file has changed. It may be opened and closed often, and several times
     * at a time. */
    emr_status (*open)(void *user, const char *name, emr_io *io, uint64_t *stamp, emr_error *error);
    void (*close)(void *user, emr_io *io);
    emr_source_kind (*kind)(void *user, const char *name);
    /* Calls `found` with the name of each file in a folder, without the folder's. */
    emr_status (*list)(void *user, const char *folder, emr_found_fn found, void *found_user,
                       emr_error *error);
} emr_source;

/* A file. */
typedef struct emr_file emr_file;

typedef struct emr_file_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    uint32_t map;     /* opening: non-zero also offers the bytes as windows of one mapping. Faster, but a file
                         that shrinks while it is mapped raises SIGBUS on POSIX systems. */
    uint32_t replace; /* creating and resuming: non-zero replaces a file that exists */
} emr_file_options;

/* Bytes in memory: a buffer that grows as it is written, or the caller's memory to read from. */
typedef struct emr_buffer emr_buffer;

EMR_BEGIN_DECLS

/* A file for reading. NULL options: all defaults, here and below. */
EMR_API emr_status emr_file_open(emr_file **file, const char *path, const emr_file_options *options,
                                 emr_error *error);

/* A new file for writing. It appears under `path` only when it is committed: until then it has no name, or a
 * temporary one beside `path`.
 * - EMR_EEXIST if `path` exists and `replace` is 0.
 * - A symbolic link is itself replaced; devices, directories and links to them are refused. */
EMR_API emr_status emr_file_create(emr_file **file, const char *path, const emr_file_options *options,
                                   emr_error *error);

/* A file for work that may be interrupted and continued: until it is committed it is `path` with ".partial"
 * appended, which stays when the file is closed or the process is killed. Opened this way again, it can be
 * read and written on. EMR_EIO while another process has it open. */
EMR_API emr_status emr_file_resume(emr_file **file, const char *path, const emr_file_options *options,
                                   emr_error *error);

/* Makes what was written durable and puts it in place of `path` in one step. */
EMR_API emr_status emr_file_commit(emr_file *file, emr_error *error);

/* Closes. A created file that was not committed vanishes, a resumed one stays; what `path` named before is
 * untouched. */
EMR_API void emr_file_close(emr_file **file);

/* Closes; a resumed file vanishes too. */
EMR_API void emr_file_discard(emr_file **file);

/* The file as an emr_io, which the file owns. */
EMR_API const emr_io *emr_file_io(const emr_file *file);

/* An empty buffer that grows as it is written. NULL allocator: malloc and free. */
EMR_API emr_status emr_buffer_create(emr_buffer **buffer, const emr_allocator *allocator, emr_error *error);

/* The caller's memory, borrowed until the buffer is destroyed. It can be read and mapped, not written. */
EMR_API emr_status emr_buffer_open(emr_buffer **buffer, const void *data, size_t bytes,
                                   const emr_allocator *allocator, emr_error *error);
EMR_API void emr_buffer_destroy(emr_buffer **buffer);

/* What it holds; valid until the next write. */
EMR_API const void *emr_buffer_data(const emr_buffer *buffer);
EMR_API size_t emr_buffer_bytes(const emr_buffer *buffer);

/* The buffer as an emr_io, which the buffer owns. Concurrent reads are fine; writes are not. */
EMR_API const emr_io *emr_buffer_io(const emr_buffer *buffer);

EMR_END_DECLS

#endif
