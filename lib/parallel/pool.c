/* pool.c - the stock thread pool: one parallel_for at a time, indexes handed out by a counter.
 *
 * Work is a generation number with a function: a thread that wakes takes part once in each generation whose
 * function is still there. The caller takes part too, then waits until nobody is busy, and only then removes
 * the function: who wakes later finds none, and never one of an earlier generation.
 *
 * Work that calls the pool again, such as a computed tensor that merges, does it all on its own thread: its turn
 * has come, and nobody else would ever give it another. */
#include "emr/executor.h"

#include "core/memory.h"
#include "core/structs.h"
#include "system/system.h"

#include <stdatomic.h>

enum { THREADS_MAX = 4096 };

struct emr_pool {
    emr_allocator allocator;
    emr_executor executor;
    emr_thread *threads;
    uint32_t n_threads, n_started; /* not counting the caller */
    emr_mutex turn;                /* held by the caller of the parallel_for that runs */
    emr_mutex lock;                /* guards everything below but `next` */
    emr_condition work, idle;
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t n;
    uintptr_t caller;         /* of the work */
    unsigned long generation; /* of the work; a thread works on each once */
    unsigned n_busy;
    bool stop;
    atomic_size_t next;
};

static void take_indexes(emr_pool *p, void (*fn)(void *arg, size_t i), void *arg, size_t n)
{
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < n;)
        fn(arg, i);
}

static void run_pool_thread(void *user)
{
    emr_pool *p = user;
    unsigned long seen = 0;
    emr_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->generation == seen)
            emr_condition_wait(&p->work, &p->lock);
        if (p->stop)
            break;
        seen = p->generation;
        if (!p->fn) /* woke after that work was over */
            continue;
        void (*fn)(void *, size_t) = p->fn;
        void *arg = p->arg;
        size_t n = p->n;
        p->n_busy++;
        emr_mutex_unlock(&p->lock);
        take_indexes(p, fn, arg, n);
        emr_mutex_lock(&p->lock);
        if (--p->n_busy == 0)
            emr_condition_signal(&p->idle);
    }
    emr_mutex_unlock(&p->lock);
}

/* Whether this thread does the pool's work now. */
static bool is_at_work(emr_pool *p)
{
    const uintptr_t self = emr_thread_current();
    emr_mutex_lock(&p->lock);
    bool is_one = p->fn && p->caller == self;
    emr_mutex_unlock(&p->lock);
    for (uint32_t i = 0; !is_one && i < p->n_started; i++)
        is_one = p->threads[i].native == self;
    return is_one;
}

static void run_parallel(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    emr_pool *p = user;
    if (is_at_work(p)) {
        for (size_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    emr_mutex_lock(&p->turn);
    emr_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->caller = emr_thread_current();
    atomic_store(&p->next, 0);
    p->generation++;
    emr_condition_broadcast(&p->work);
    emr_mutex_unlock(&p->lock);
    take_indexes(p, fn, arg, n);
    emr_mutex_lock(&p->lock);
    while (p->n_busy)
        emr_condition_wait(&p->idle, &p->lock);
    p->fn = NULL; /* late risers find nothing */
    emr_mutex_unlock(&p->lock);
    emr_mutex_unlock(&p->turn);
}

static emr_status start_threads(emr_pool *p, emr_error *error)
{
    emr_error why;
    for (; p->n_started < p->n_threads; p->n_started++)
        if (emr_thread_start(&p->threads[p->n_started], run_pool_thread, p, &why))
            return emr_fail_because(error, EMR_ENOMEM, &why, "thread %u of %u could not be started",
                                    (uint64_t)p->n_started + 2, (uint64_t)p->n_threads + 1);
    return EMR_OK;
}

emr_status emr_pool_create(emr_pool **pool, const emr_pool_options *given, emr_error *error)
{
    emr_pool_options options;
    emr_allocator allocator;
    if (!pool)
        return emr_fail(error, EMR_EINVAL, "emr_pool_create: NULL");
    *pool = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_pool_options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (status)
        return status;
    uint32_t threads =
        options.threads ? options.threads : (uint32_t)emr_min(emr_system_processors(), THREADS_MAX);
    if (threads > THREADS_MAX)
        return emr_fail(error, EMR_EINVAL, "a pool has at most %u threads", (uint64_t)THREADS_MAX);
    emr_pool *p = emr_allocate_array(&allocator, 1, sizeof *p);
    if (!p)
        return emr_no_memory(error, NULL);
    p->allocator = allocator;
    p->executor = (emr_executor){
        .size = sizeof p->executor, .user = p, .parallel_for = run_parallel, .concurrency = threads};
    p->n_threads = threads - 1;
    emr_mutex_init(&p->turn);
    emr_mutex_init(&p->lock);
    emr_condition_init(&p->work);
    emr_condition_init(&p->idle);
    p->threads = emr_allocate_array(&allocator, p->n_threads, sizeof *p->threads);
    status = p->threads ? start_threads(p, error) : emr_no_memory(error, NULL);
    if (status)
        emr_pool_destroy(&p);
    *pool = p;
    return status;
}

void emr_pool_destroy(emr_pool **pool)
{
    if (!pool || !*pool)
        return;
    emr_pool *p = *pool;
    emr_allocator allocator = p->allocator;
    emr_mutex_lock(&p->lock);
    p->stop = true;
    emr_condition_broadcast(&p->work);
    emr_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_started; i++)
        emr_thread_join(&p->threads[i]);
    emr_condition_destroy(&p->idle);
    emr_condition_destroy(&p->work);
    emr_mutex_destroy(&p->lock);
    emr_mutex_destroy(&p->turn);
    emr_release(&allocator, p->threads);
    emr_release(&allocator, p);
    *pool = NULL;
}

const emr_executor *emr_pool_executor(const emr_pool *pool)
{
    return &pool->executor;
}
