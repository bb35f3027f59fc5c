/* host.c - see host.h. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

static bool is_zero(const unsigned char *bytes, size_t n)
{
    while (n && !*bytes)
        bytes++, n--;
    return n == 0;
}

emr_status fit_take(void *taken, size_t bytes, size_t least, const void *given, const char *type,
                    emr_error *error)
{
    memset(taken, 0, bytes);
    if (given) {
        size_t size = *(const size_t *)given;
        if (size < least)
            return emr_error_format(error, EMR_EINVAL, "%s: size is not set: begin with EMR_INIT", type);
        if (size > bytes && !is_zero((const unsigned char *)given + bytes, size - bytes))
            return emr_error_format(error, EMR_EVERSION,
                                    "%s: a member is set that this version does not know", type);
        memcpy(taken, given, size < bytes ? size : bytes);
    }
    *(size_t *)taken = bytes;
    return EMR_OK;
}

emr_status fit_take_element(void *taken, size_t bytes, size_t least, const void *array, size_t i,
                            const char *type, emr_error *error)
{
    const size_t size = *(const size_t *)array;
    const void *given = (const char *)array + i * size;
    if (size >= least && *(const size_t *)given != size)
        return emr_error_format(error, EMR_EINVAL, "%s: size is not the same for all", type);
    return fit_take(taken, bytes, least, given, type, error);
}

emr_status fit_give(void *given, size_t bytes, size_t least, const void *value)
{
    size_t size = given ? *(const size_t *)given : 0;
    if (size < least)
        return EMR_EINVAL;
    memset(given, 0, size);
    memcpy(given, value, size < bytes ? size : bytes);
    *(size_t *)given = size;
    return EMR_OK;
}

static void *default_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    return bytes <= SIZE_MAX - alignment
               ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
               : NULL;
}

static void default_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static emr_status take_allocator(emr_allocator *taken, const emr_allocator *given, emr_error *error)
{
    emr_status status = FIT_TAKE(taken, given, emr_allocator, free, error);
    if (!status && !given)
        *taken = (emr_allocator){sizeof *taken, NULL, default_alloc, default_free};
    if (!status && (!taken->alloc || !taken->free))
        status = emr_error_format(error, EMR_EINVAL, "emr_allocator: alloc and free are required");
    return status;
}

static emr_status take_executor(emr_executor *taken, const emr_executor *given, emr_error *error)
{
    emr_status status = FIT_TAKE(taken, given, emr_executor, reserved, error);
    if (!status && given && (!taken->parallel_for || !taken->concurrency))
        status =
            emr_error_format(error, EMR_EINVAL, "emr_executor: parallel_for and concurrency are required");
    return status;
}

emr_status fit_host_take(fit_host *host, const emr_resources *given, emr_error *error)
{
    emr_resources r;
    memset(host, 0, sizeof *host);
    emr_status status = FIT_TAKE(&r, given, emr_resources, memory_bytes, error);
    if (!status)
        status = take_allocator(&host->allocator, r.allocator, error);
    if (!status)
        status = take_executor(&host->executor, r.executor, error);
    host->progress = r.progress;
    host->progress_user = r.progress_user;
    host->memory_bytes = r.memory_bytes;
    return status;
}

void *fit_allocate(const fit_host *host, size_t n, size_t size)
{
    size_t bytes = n * size;
    if (size && bytes / size != n)
        return NULL;
    bytes = bytes ? bytes : 1;
    void *p = host->allocator.alloc(host->allocator.user, bytes, LINE);
    return p ? memset(p, 0, bytes) : NULL;
}

void fit_release(const fit_host *host, void *pointer)
{
    if (pointer)
        host->allocator.free(host->allocator.user, pointer);
}

char *fit_copy_string(const fit_host *host, const char *string)
{
    size_t n = strlen(string) + 1;
    char *copy = fit_allocate(host, n, 1);
    return copy ? memcpy(copy, string, n) : NULL;
}

char *fit_join_strings(const fit_host *host, const char *head, const char *tail)
{
    size_t n = strlen(head), m = strlen(tail);
    char *joined = fit_allocate(host, n + m + 1, 1);
    if (joined) {
        memcpy(joined, head, n);
        memcpy(joined + n, tail, m);
    }
    return joined;
}

emr_status fit_no_memory(emr_error *error)
{
    return emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
}

void fit_note_failure(fit_failure *failure, emr_status status, const emr_error *error)
{
    if (atomic_flag_test_and_set(&failure->is_noted))
        return;
    failure->error = *error;
    failure->status = status;
}

emr_status fit_progress(const fit_host *host, uint64_t done, uint64_t total, const char *what,
                        emr_error *error)
{
    const emr_progress progress = {sizeof progress, done, total};
    emr_error why;
    memset(&why, 0, sizeof why);
    if (!host->progress || host->progress(host->progress_user, &progress, &why) == EMR_OK)
        return EMR_OK;
    why.text[sizeof why.text - 1] = '\0';
    if (!why.text[0])
        return emr_error_format(error, EMR_ECANCELED, "%s was canceled", what);
    return emr_error_format(error, EMR_ECANCELED, "%s was canceled: %s", what, why.text);
}

typedef struct share {
    atomic_size_t next;
    size_t n;
    void (*fn)(void *arg, size_t i);
    void *arg;
} share;

static void take_share(void *arg, size_t worker)
{
    share *s = arg;
    (void)worker;
    for (size_t i; (i = atomic_fetch_add(&s->next, 1)) < s->n;)
        s->fn(s->arg, i);
}

size_t fit_concurrency(const fit_host *host)
{
    return host->executor.concurrency ? host->executor.concurrency : 1;
}

void fit_for(const fit_host *host, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    share s = {.n = n, .fn = fn, .arg = arg};
    size_t workers = fit_concurrency(host) < n ? fit_concurrency(host) : n;
    if (workers > 1)
        host->executor.parallel_for(host->executor.user, workers, take_share, &s);
    else
        take_share(&s, 0);
}
