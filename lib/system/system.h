/* system.h - all that the library asks of the operating system: files, directories, threads. posix.c answers;
 * for another system, one more file like it is written, and nothing else changes.
 *
 * - Paths are UTF-8 and end in a zero byte; `/` separates, and what else emr_system_file_name() splits at.
 * - What can fail gives EMR_OK, or EMR_ENOMEM, EMR_EEXIST or EMR_EIO with the system's number and words in
 * *why (which may be NULL). The caller says what it was doing, and to which file: emr_fail_because().
 * - Nothing takes memory of a host's allocator, or keeps state of its own. */
#ifndef EMR_SYSTEM_SYSTEM_H
#define EMR_SYSTEM_SYSTEM_H

#include "core/error.h"

#include <stdbool.h>

/* An open file: a descriptor, or a HANDLE. */
typedef intptr_t emr_system_file;
#define EMR_NO_FILE ((emr_system_file)-1)

/* A regular file to read. It may be replaced or removed meanwhile: what was opened stays readable. */
emr_status emr_system_open(emr_system_file *file, const char *path, emr_error *why);

/* A new file to read and write; EMR_EEXIST where the name is taken. */
emr_status emr_system_create(emr_system_file *file, const char *path, emr_error *why);

/* The same without a name, on the file system of `directory`: it vanishes when it is closed, or its process
 * dies, before emr_system_give_name(). Systems without such files always fail. */
emr_status emr_system_create_unnamed(emr_system_file *file, const char *directory, emr_error *why);
emr_status emr_system_give_name(emr_system_file file, const char *path, emr_error *why);

/* A file to read and write, made where it is absent, that no other process has opened so until it is closed.
 */
emr_status emr_system_open_alone(emr_system_file *file, const char *path, emr_error *why);

/* EMR_NO_FILE is closed already. */
void emr_system_close(emr_system_file file);

/* Exactly `n` bytes. Several calls may use one file at a time. */
emr_status emr_system_read(emr_system_file file, uint64_t offset, void *destination, size_t n,
                           emr_error *why);
emr_status emr_system_write(emr_system_file file, uint64_t offset, const void *source, size_t n,
                            emr_error *why);
emr_status emr_system_length(emr_system_file file, uint64_t *bytes, emr_error *why);
emr_status emr_system_cut(emr_system_file file, uint64_t bytes, emr_error *why);
emr_status emr_system_sync(emr_system_file file, emr_error *why);

/* Hints: these bytes will be read soon; the disk can begin to take them, for a sync is to come. */
void emr_system_will_need(emr_system_file file, uint64_t offset, uint64_t n);
void emr_system_will_sync(emr_system_file file, uint64_t offset, uint64_t n);

/* The file's first `n` bytes, which are more than none, to read in memory. */
emr_status emr_system_map(emr_system_file file, size_t n, const void **bytes, emr_error *why);
void emr_system_unmap(const void *bytes, size_t n);

/* Changes with the file's size, time of writing and time of change: whether it is likely to hold what it did.
 */
uint64_t emr_system_stamp(emr_system_file file);

/* What a path names. A link is what it leads to; one that leads nowhere is a file. */
typedef enum emr_path_kind {
    EMR_PATH_UNKNOWN, /* see *why */
    EMR_PATH_ABSENT,
    EMR_PATH_FILE,
    EMR_PATH_DIRECTORY,
    EMR_PATH_OTHER
} emr_path_kind;
emr_path_kind emr_system_kind(const char *path, emr_error *why);

/* Gives a file another name on its file system, in one step: in place of what has it, or, without `replace`,
 * where nothing does (else EMR_EEXIST). The file may be open. */
emr_status emr_system_rename(const char *from, const char *to, bool replace, emr_error *why);

/* A file, which may be open, or an empty directory. */
emr_status emr_system_remove(const char *path, emr_error *why);

emr_status emr_system_make_directory(const char *path, emr_error *why);

/* Calls `found` with each name in a directory, in any order. */
emr_status emr_system_list(const char *directory, void (*found)(void *user, const char *name), void *user,
                           emr_error *why);

/* Makes the names in a directory durable, where that is possible. */
void emr_system_sync_directory(const char *directory);

/* The last part of a path, all that is behind the last separator. */
const char *emr_system_file_name(const char *path);

/* The attempt-th name to try for a file that is to be renamed: no other running process makes the same. It is
 * short, so that it fits wherever the final name does. */
enum { EMR_TEMPORARY_NAME = 48 };
void emr_system_temporary_name(char name[EMR_TEMPORARY_NAME], unsigned attempt);

/* Threads. All of these stay where they are from init or start to destroy or join. */
typedef struct emr_thread {
    void (*run)(void *user);
    void *user;
    uintptr_t native;
} emr_thread;

typedef struct emr_mutex {
    uint64_t native[8];
} emr_mutex;

typedef struct emr_condition {
    uint64_t native[8];
} emr_condition;

emr_status emr_thread_start(emr_thread *thread, void (*run)(void *user), void *user, emr_error *why);
void emr_thread_join(emr_thread *thread);
/* What emr_thread.native is of the thread that asks. */
uintptr_t emr_thread_current(void);

void emr_mutex_init(emr_mutex *mutex);
void emr_mutex_destroy(emr_mutex *mutex);
void emr_mutex_lock(emr_mutex *mutex);
void emr_mutex_unlock(emr_mutex *mutex);

void emr_condition_init(emr_condition *condition);
void emr_condition_destroy(emr_condition *condition);
void emr_condition_wait(emr_condition *condition, emr_mutex *mutex);
void emr_condition_signal(emr_condition *condition);
void emr_condition_broadcast(emr_condition *condition);

/* Processors that threads can run on; at least 1. */
uint32_t emr_system_processors(void);

#endif
