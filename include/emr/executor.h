/* executor.h - parallel work: the host's own pool, or the stock one. Results never depend on it. */
#ifndef EMR_EXECUTOR_H
#define EMR_EXECUTOR_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"

/* Runs fn(arg, i) once for every i in [0, n), in any order, on any threads, and returns when all are done.
 * Never called from within fn. A thread needs 48 KiB of stack for fn, in builds that optimise (without, and
 * with sanitizers, more), and what the host's own callbacks take: allocator, I/O, tensors' read. */
typedef struct emr_executor {
    size_t size; /* sizeof(emr_executor) */
    void *user;
    void (*parallel_for)(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg);
    unsigned concurrency; /* how many fn run at the same time at most; >= 1. Sizes the work memory. */
} emr_executor;

/* The stock thread pool. */
typedef struct emr_pool emr_pool;

EMR_BEGIN_DECLS

/* Starts `threads` - 1 threads (the caller's own is the last one); 0 means one per online processor;
 * more than 4096 is EMR_EINVAL. */
EMR_API emr_status emr_pool_create(emr_pool **pool, unsigned threads, const emr_allocator *allocator,
                                   emr_error *error);

/* Stops and joins the threads. No handle may still be using the executor. */
EMR_API void emr_pool_destroy(emr_pool **pool);

/* The pool as an executor, valid until the pool is destroyed. Several threads may share one pool: their
 * parallel_for calls take turns. */
EMR_API emr_executor emr_pool_executor(emr_pool *pool);

EMR_END_DECLS

#endif
