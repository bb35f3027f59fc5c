/* executor.h - parallel work, on the host's threads or on the stock pool's. Results never depend on it.
 *
 *     emr_pool_create(&pool, NULL, &error);            // one thread a processor
 *     resources.executor = emr_pool_executor(pool);
 *     ...
 *     emr_pool_destroy(&pool);
 */
#ifndef EMR_EXECUTOR_H
#define EMR_EXECUTOR_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"

/* The host's threads. The struct is copied; `user` is borrowed. */
typedef struct emr_executor {
    size_t size;
    void *user;
    /* Calls fn(arg, i) once for every i in [0, n), in any order, on any threads, and returns when all are
     * done. The library never calls it from within fn. A thread needs 48 KiB of stack for fn in an optimised
     * build, and what the host's own callbacks take: allocator, I/O, computed tensors. */
    void (*parallel_for)(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg);
    uint32_t concurrency; /* how many fn run at the same time at most, >= 1; working memory grows with it */
    uint32_t reserved;
} emr_executor;

/* The stock thread pool. */
typedef struct emr_pool emr_pool;

typedef struct emr_pool_options {
    size_t size;
    const emr_allocator *allocator; /* NULL: malloc and free */
    uint32_t threads; /* the caller's own among them; 0: one per online processor; at most 4096 */
    uint32_t reserved;
} emr_pool_options;

EMR_BEGIN_DECLS

/* Starts the threads. NULL options: all defaults. */
EMR_API emr_status emr_pool_create(emr_pool **pool, const emr_pool_options *options, emr_error *error);

/* Stops and joins the threads. No handle may still be using the executor. */
EMR_API void emr_pool_destroy(emr_pool **pool);

/* The pool as an executor; the pool owns it. Several threads may use one pool: their work takes turns. What its
 * work asks of it in turn, such as a computed tensor that merges, is done on the thread that asks. */
EMR_API const emr_executor *emr_pool_executor(const emr_pool *pool);

EMR_END_DECLS

#endif
