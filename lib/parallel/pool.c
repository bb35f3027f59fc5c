/* pool.c - the stock thread pool: one parallel_for at a time, indexes handed out by a counter. POSIX threads.
 */
#define _POSIX_C_SOURCE 200809L

#include "emr/executor.h"

#include "core/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS_MAX = 4096 };

struct emr_pool {
    emr_allocator allocator;
    pthread_t *threads;
    unsigned n_threads, n_started; /* not counting the caller */
    pthread_mutex_t turn;          /* held by the caller of the parallel_for that runs */
    pthread_mutex_t lock;          /* guards everything below but `next` */
    pthread_cond_t work, idle;
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t n;
    unsigned long generation; /* of the work; a thread works on each once */
    unsigned n_busy;
    int stop;
    atomic_size_t next;
};

static void take_indexes(emr_pool *p, void (*fn)(void *arg, size_t i), void *arg, size_t n)
{
    for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < n;)
        fn(arg, i);
}

static void *run_thread(void *user)
{
    emr_pool *p = user;
    unsigned long seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->generation == seen)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->stop)
            break;
        seen = p->generation;
        if (!p->fn) /* woke after that work was over */
            continue;
        void (*fn)(void *, size_t) = p->fn;
        void *arg = p->arg;
        size_t n = p->n;
        p->n_busy++;
        pthread_mutex_unlock(&p->lock);
        take_indexes(p, fn, arg, n);
        pthread_mutex_lock(&p->lock);
        if (--p->n_busy == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void parallel_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    emr_pool *p = user;
    pthread_mutex_lock(&p->turn);
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    atomic_store(&p->next, 0);
    p->generation++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    take_indexes(p, fn, arg, n);
    pthread_mutex_lock(&p->lock);
    while (p->n_busy)
        pthread_cond_wait(&p->idle, &p->lock);
    p->fn = NULL; /* late risers find nothing */
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}

static unsigned online_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (unsigned)n;
}

emr_status emr_pool_create(emr_pool **pool, unsigned threads, const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (!pool)
        return emr_fail(error, EMR_EINVAL, "emr_pool_create: NULL");
    *pool = NULL;
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (status)
        return status;
    threads = threads ? threads : online_processors();
    if (threads > THREADS_MAX)
        return emr_fail(error, EMR_EINVAL, "a pool has at most %u threads", (uint64_t)THREADS_MAX);
    emr_pool *p = emr_allocate_array(&allocator, 1, sizeof *p);
    if (!p)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    p->allocator = allocator;
    p->n_threads = threads - 1;
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->threads = emr_allocate_array(&allocator, p->n_threads, sizeof *p->threads);
    if (!p->threads)
        status = emr_fail(error, EMR_ENOMEM, "out of memory");
    while (!status && p->n_started < p->n_threads) {
        if (pthread_create(&p->threads[p->n_started], NULL, run_thread, p))
            status = emr_fail(error, EMR_ENOMEM, "thread %u of %u could not be started",
                              (uint64_t)p->n_started + 2, (uint64_t)threads);
        else
            p->n_started++;
    }
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
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->turn);
    emr_release(&allocator, p->threads);
    emr_release(&allocator, p);
    *pool = NULL;
}

emr_executor emr_pool_executor(emr_pool *pool)
{
    emr_executor executor = {.size = sizeof executor,
                             .user = pool,
                             .parallel_for = parallel_for,
                             .concurrency = pool->n_threads + 1};
    return executor;
}
