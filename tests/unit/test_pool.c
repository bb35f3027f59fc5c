/* test_pool.c - the stock thread pool: every index once, whoever shares it, however often it is made. */
#define _XOPEN_SOURCE 700

#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST = 5000 };

typedef struct marks {
    atomic_uint runs[MOST];
    atomic_uint running, most_running;
} marks;

static void mark(void *arg, size_t i)
{
    marks *m = arg;
    unsigned now = atomic_fetch_add(&m->running, 1) + 1, most = atomic_load(&m->most_running);
    while (now > most && !atomic_compare_exchange_weak(&m->most_running, &most, now))
        ;
    atomic_fetch_add(&m->runs[i], 1);
    atomic_fetch_sub(&m->running, 1);
}

/* When parallel_for returns, everything was done, once. */
static bool run_marks(const emr_executor *e, marks *m, size_t n)
{
    for (size_t i = 0; i < MOST; i++)
        atomic_store(&m->runs[i], 0);
    e->parallel_for(e->user, n, mark, m);
    for (size_t i = 0; i < MOST; i++)
        if (atomic_load(&m->runs[i]) != (i < n))
            return false;
    return atomic_load(&m->running) == 0;
}

static void every_index_runs_once(void **state)
{
    static marks m;
    static const size_t numbers[] = {0, 1, 2, 3, 7, 8, 9, 100, MOST};
    (void)state;
    for (uint32_t threads = 1; threads <= 8; threads++) {
        emr_pool *pool = test_pool_new(threads);
        const emr_executor *e = emr_pool_executor(pool);
        assert_int_equal(e->size, sizeof *e);
        assert_int_equal(e->concurrency, threads);
        assert_ptr_equal(emr_pool_executor(pool), e); /* which the pool owns */
        for (int round = 0; round < 30; round++)
            for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
                assert_true(run_marks(e, &m, numbers[k]));
        assert_in_range(atomic_exchange(&m.most_running, 0), 1, threads);
        emr_pool_destroy(&pool);
        assert_null(pool);
    }
}

typedef struct nested {
    const emr_executor *executor;
    marks marks[4];
} nested;

static void run_nested(void *arg, size_t i)
{
    nested *n = arg;
    n->executor->parallel_for(n->executor->user, MOST, mark, &n->marks[i]);
}

static void work_may_call_its_own_pool(void **state)
{
    static nested n;
    emr_pool *pool = test_pool_new(3);
    (void)state;
    n.executor = emr_pool_executor(pool);
    n.executor->parallel_for(n.executor->user, 4, run_nested, &n);
    for (int k = 0; k < 4; k++)
        for (size_t i = 0; i < MOST; i++)
            assert_int_equal(atomic_load(&n.marks[k].runs[i]), 1);
    emr_pool_destroy(&pool);
}

/* Two indexes that wait for each other: both must be running at the same time. */
static void meet(void *arg, size_t i)
{
    atomic_uint *arrived = arg;
    (void)i;
    atomic_fetch_add(arrived, 1);
    while (atomic_load(arrived) < 2)
        sched_yield();
}

static void two_threads_work_at_the_same_time(void **state)
{
    emr_pool *pool = test_pool_new(2);
    const emr_executor *e = emr_pool_executor(pool);
    (void)state;
    for (int round = 0; round < 20; round++) {
        atomic_uint arrived = 0;
        e->parallel_for(e->user, 2, meet, &arrived);
        assert_int_equal(arrived, 2);
    }
    emr_pool_destroy(&pool);
}

static void *use_pool(void *arg)
{
    static _Thread_local marks m;
    const emr_executor *e = arg;
    for (size_t round = 0; round < 200; round++)
        if (!run_marks(e, &m, round * 13 % 400))
            return NULL;
    return arg;
}

static void threads_share_one_pool(void **state)
{
    emr_pool *pool = test_pool_new(3);
    emr_executor e = *emr_pool_executor(pool);
    pthread_t threads[4];
    void *result;
    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_pool, &e), 0);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, &e);
    }
    emr_pool_destroy(&pool);
}

static void pools_come_and_go(void **state)
{
    static marks m;
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_pool_options options = {.size = sizeof options, .allocator = &allocator};
    emr_pool *pool;
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        options.threads = 1 + round % 5;
        assert_int_equal(emr_pool_create(&pool, &options, NULL), EMR_OK);
        if (round % 3) /* some are never used */
            assert_true(run_marks(emr_pool_executor(pool), &m, round % 20));
        emr_pool_destroy(&pool);
        assert_int_equal(counts.alive, 0);
    }
    emr_pool *none = NULL;
    emr_pool_destroy(&none);
    emr_pool_destroy(NULL);
    assert_int_equal(emr_pool_create(NULL, NULL, NULL), EMR_EINVAL);
}

static void too_many_threads_are_refused(void **state)
{
    emr_pool_options options = {.size = sizeof options, .threads = 4097};
    emr_pool *pool = (emr_pool *)&options;
    emr_error error;
    (void)state;
    assert_int_equal(emr_pool_create(&pool, &options, &error), EMR_EINVAL);
    assert_null(pool);
    assert_true(error.text[0]);
}

static void zero_threads_are_one_a_processor(void **state)
{
    emr_pool *pools[2] = {test_pool_new(0), NULL};
    (void)state;
    assert_int_equal(emr_pool_create(&pools[1], NULL, NULL), EMR_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(emr_pool_executor(pools[i])->concurrency, sysconf(_SC_NPROCESSORS_ONLN));
        emr_pool_destroy(&pools[i]);
    }
}

static void running_out_of_memory_is_said(void **state)
{
    size_t n_failures = 0;
    bool failed = true;
    (void)state;
    for (size_t k = 0; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_pool_options options = {.size = sizeof options, .allocator = &allocator, .threads = 3};
        emr_pool *pool;
        emr_status status = emr_pool_create(&pool, &options, NULL);
        failed = status != EMR_OK;
        n_failures += failed;
        assert_true(failed ? status == EMR_ENOMEM && !pool : pool != NULL);
        emr_pool_destroy(&pool);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(n_failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once),         cmocka_unit_test(two_threads_work_at_the_same_time),
        cmocka_unit_test(threads_share_one_pool),        cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(too_many_threads_are_refused),  cmocka_unit_test(zero_threads_are_one_a_processor),
        cmocka_unit_test(running_out_of_memory_is_said), cmocka_unit_test(work_may_call_its_own_pool),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
