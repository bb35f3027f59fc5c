/* host.h - what libemr-fit needs of its host, through libemr's public headers alone: memory, threads, and options that grow. */
#ifndef EMR_FIT_HOST_H
#define EMR_FIT_HOST_H

#include "emr/resources.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct fit_host {
    emr_allocator allocator;
    emr_executor executor; /* concurrency 0: the calling thread alone */
    emr_progress_fn progress;
    void *progress_user;
    uint64_t memory_bytes; /* 0: not said */
} fit_host;

/* Copies what the caller's version of a struct has, the rest is zero. EMR_EINVAL: its size is less than `least`, that of
 * version 1, or it is larger than this library knows and not zero there. NULL: all zero. */
emr_status fit_take(void *taken, size_t bytes, size_t least, const void *given, const char *type,
                    emr_error *error);
#define FIT_ENDS_WITH(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))
#define FIT_TAKE(taken, given, type, last, error)                                                            \
    fit_take(taken, sizeof *(taken), FIT_ENDS_WITH(type, last), given, #type, error)

/* Element i of an array of structs, each of the size that the first one says. */
emr_status fit_take_element(void *taken, size_t bytes, size_t least, const void *array, size_t i,
                            const char *type, emr_error *error);
#define FIT_TAKE_ELEMENT(taken, array, i, type, last, error)                                                 \
    fit_take_element(taken, sizeof *(taken), FIT_ENDS_WITH(type, last), array, i, #type, error)

/* The other way: as much of `value` as the caller's struct, whose size is set, has room for. */
emr_status fit_give(void *given, size_t bytes, size_t least, const void *value);
#define FIT_GIVE(given, value, type, last) fit_give(given, sizeof *(value), FIT_ENDS_WITH(type, last), value)

/* NULL: malloc, free, and one thread. */
emr_status fit_host_take(fit_host *host, const emr_resources *given, emr_error *error);

/* Zeroed; NULL also where the product overflows. At a cache line. n 0 gives a valid pointer too. */
void *fit_allocate(const fit_host *host, size_t n, size_t size);
/* NULL does nothing. */
void fit_release(const fit_host *host, void *pointer);
char *fit_copy_string(const fit_host *host, const char *string);
/* `head`, then `tail`. */
char *fit_join_strings(const fit_host *host, const char *head, const char *tail);
emr_status fit_no_memory(emr_error *error);

/* What went wrong first in work that is shared out; begins as {.is_noted = ATOMIC_FLAG_INIT}. */
typedef struct fit_failure {
    atomic_flag is_noted;
    emr_status status; /* for after the work */
    emr_error error;
} fit_failure;
void fit_note_failure(fit_failure *failure, emr_status status, const emr_error *error);

/* Tells how far the work is; EMR_ECANCELED, "WHAT was canceled", if it is to stop. */
emr_status fit_progress(const fit_host *host, uint64_t done, uint64_t total, const char *what,
                        emr_error *error);

/* fn(arg, i) for every i below n, shared out over the executor. */
void fit_for(const fit_host *host, size_t n, void (*fn)(void *arg, size_t i), void *arg);
size_t fit_concurrency(const fit_host *host);

#endif
