/* test_work.c - the allocator's rules, growing arrays, the table of names, what a long call was given, and
 * jobs on executors. */
#include "support.h"

#include "core/memory.h"
#include "core/names.h"
#include "core/resources.h"
#include "core/work.h"

#include <stdatomic.h>
#include <stdio.h>

static void allocators_are_checked(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator taken, given = test_allocator_make(&counts);
    (void)state;
    assert_int_equal(emr_allocator_take(&taken, &given, NULL), EMR_OK);
    given.alloc = NULL;
    assert_int_equal(emr_allocator_take(&taken, &given, NULL), EMR_EINVAL);
    given = test_allocator_make(&counts);
    given.free = NULL;
    assert_int_equal(emr_allocator_take(&taken, &given, NULL), EMR_EINVAL);
    given = test_allocator_make(&counts);
    given.size--;
    assert_int_equal(emr_allocator_take(&taken, &given, NULL), EMR_EINVAL);
}

static void memory_is_aligned_and_arrays_are_zero(void **state)
{
    emr_allocator a;
    (void)state;
    assert_int_equal(emr_allocator_take(&a, NULL, NULL), EMR_OK);
    for (size_t n = 0; n < 2 * EMR_SMALL_BYTES; n += 7) {
        unsigned char *p = emr_allocate(&a, n), *q = emr_allocate_array(&a, n, 3);
        assert_non_null(p);
        assert_non_null(q);
        assert_int_equal((uintptr_t)p % (n < EMR_SMALL_BYTES ? EMR_SMALL_ALIGNMENT : EMR_ALIGNMENT), 0);
        for (size_t i = 0; i < 3 * n; i++)
            assert_int_equal(q[i], 0);
        memset(p, 1, n);
        emr_release(&a, p);
        emr_release(&a, q);
    }
    assert_null(emr_allocate_array(&a, SIZE_MAX / 2, 3));
    assert_null(emr_allocate_array(&a, SIZE_MAX, SIZE_MAX));
    emr_release(&a, NULL);
}

static void growing_keeps_what_was_there(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator a = test_allocator_make(&counts);
    uint32_t *array = NULL;
    size_t capacity = 0;
    (void)state;
    for (size_t n = 1; n <= 1000; n++) {
        assert_true(emr_grow(&a, (void **)&array, &capacity, n, sizeof *array));
        assert_true(capacity >= n);
        for (size_t i = n - 1; i < capacity; i++)
            assert_int_equal(array[i], 0);
        array[n - 1] = (uint32_t)n;
    }
    assert_true(counts.requests < 20); /* it doubles */
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(array[i], i + 1);
    emr_release(&a, array);
    assert_int_equal(counts.alive, 0);
}

static void failing_to_grow_changes_nothing(void **state)
{
    test_allocator counts = {0, 0, 1};
    emr_allocator a = test_allocator_make(&counts);
    uint32_t *array = NULL;
    size_t capacity = 0;
    (void)state;
    assert_true(emr_grow(&a, (void **)&array, &capacity, 4, sizeof *array));
    array[3] = 42;
    uint32_t *before = array;
    size_t capacity_before = capacity;
    assert_false(emr_grow(&a, (void **)&array, &capacity, capacity + 1, sizeof *array));
    assert_false(emr_grow(&a, (void **)&array, &capacity, SIZE_MAX / 2, sizeof *array));
    assert_ptr_equal(array, before);
    assert_int_equal(capacity, capacity_before);
    assert_int_equal(array[3], 42);
    emr_release(&a, array);
    assert_int_equal(counts.alive, 0);
}

enum { N_NAMES = 2000 };

static const char *name_at(const void *owner, size_t i)
{
    return ((const char(*)[16])owner)[i];
}

static void names_are_found(void **state)
{
    static char list[N_NAMES][16];
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator a = test_allocator_make(&counts);
    emr_names names = {0};
    (void)state;
    assert_int_equal(emr_names_find(&names, name_at, list, "n0"), EMR_NAMES_NONE);
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(list[i], sizeof list[i], "n%zu", i);
        assert_int_equal(emr_names_add(&names, &a, name_at, list, i), EMR_OK);
    }
    for (size_t i = 0; i < N_NAMES; i++)
        assert_int_equal(emr_names_find(&names, name_at, list, list[i]), i);
    assert_int_equal(emr_names_find(&names, name_at, list, "n2000"), EMR_NAMES_NONE);
    assert_int_equal(emr_names_find(&names, name_at, list, ""), EMR_NAMES_NONE);
    emr_names_free(&names, &a);
    assert_int_equal(counts.alive, 0);
}

/* Whether a name is taken, or there is no memory: the table is as before, and goes on working. */
static void failing_to_add_a_name_changes_nothing(void **state)
{
    static char list[N_NAMES + 1][16];
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator a = test_allocator_make(&counts);
    emr_names names = {0};
    size_t n_failures = 0;
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        snprintf(list[i], sizeof list[i], "n%zu", i);
        counts.fail_at = counts.requests; /* the next request, if there is one */
        emr_status status = emr_names_add(&names, &a, name_at, list, i);
        n_failures += status == EMR_ENOMEM;
        counts.fail_at = SIZE_MAX;
        if (status)
            assert_int_equal(emr_names_add(&names, &a, name_at, list, i), EMR_OK);
        if (i % 3) /* adding makes room for one more even where it is refused: leave some to the next round */
            continue;
        memcpy(list[i + 1], list[i / 2], sizeof list[0]);
        assert_int_equal(emr_names_add(&names, &a, name_at, list, i + 1), EMR_EEXIST);
    }
    assert_true(n_failures > 1);
    for (size_t i = 0; i < N_NAMES; i++)
        assert_int_equal(emr_names_find(&names, name_at, list, list[i]), i);
    emr_names_free(&names, &a);
    assert_int_equal(counts.alive, 0);
}

/* An executor that runs its indexes one after another, the last first. */
static void backwards(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    (void)user;
    while (n)
        fn(arg, --n);
}

enum { N_JOBS = 500, N_WORKERS = 8 };

typedef struct jobs {
    atomic_uint runs[N_JOBS];
    atomic_uint busy[N_WORKERS]; /* a worker's memory is used by one job at a time */
    unsigned char fails[N_JOBS];
    size_t n_workers;
    atomic_uint misuse;
} jobs;

static emr_status run_job(void *context, size_t job, size_t worker, emr_error *error)
{
    jobs *j = context;
    if (worker >= j->n_workers || atomic_fetch_add(&j->busy[worker], 1))
        atomic_fetch_add(&j->misuse, 1);
    atomic_fetch_add(&j->runs[job], 1);
    emr_status status = EMR_OK;
    if (j->fails[job])
        status = emr_fail(error, job % 2 ? EMR_EIO : EMR_EFORMAT, "job %u", (uint64_t)job);
    if (worker < j->n_workers)
        atomic_fetch_sub(&j->busy[worker], 1);
    return status;
}

/* Runs the jobs, of which some fail, with one executor; checks what emr_work promises. */
static void check_work(const emr_executor *executor, size_t n_jobs, const size_t *failing, size_t n_failing)
{
    static jobs j;
    const emr_resources resources = test_resources(NULL, executor);
    emr_env env;
    emr_workers workers;
    emr_error error = {.text = "untouched"};
    size_t first = n_jobs;
    memset(&j, 0, sizeof j);
    for (size_t i = 0; i < n_failing; i++) {
        j.fails[failing[i]] = 1;
        first = failing[i] < first ? failing[i] : first;
    }
    assert_int_equal(emr_env_take(&env, &resources, NULL, NULL), EMR_OK);
    assert_int_equal(emr_workers_create(&workers, &env, N_WORKERS, NULL), EMR_OK);
    assert_in_range(workers.n, 1, N_WORKERS);
    j.n_workers = workers.n;
    emr_status status = emr_work(&workers, n_jobs, run_job, &j, &error);
    emr_workers_destroy(&workers);
    assert_int_equal(j.misuse, 0);
    for (size_t i = 0; i < n_jobs; i++)
        assert_true(j.runs[i] == 1 || (j.runs[i] == 0 && i > first));
    char sentence[32] = "untouched";
    if (first < n_jobs)
        snprintf(sentence, sizeof sentence, "job %zu", first);
    assert_string_equal(error.text, sentence);
    assert_int_equal(status, first == n_jobs ? EMR_OK : first % 2 ? EMR_EIO : EMR_EFORMAT);
}

static void check_all_work(const emr_executor *executor)
{
    const size_t failing[] = {400, 77, 78, 499, 300};
    const size_t numbers[] = {0, 1, 2, 7, N_JOBS};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        check_work(executor, numbers[i], NULL, 0);
    for (size_t n = 1; n <= 5; n++)
        check_work(executor, N_JOBS, failing, n);
}

static void work_is_done_once_and_the_first_failure_wins(void **state)
{
    const emr_executor serial = {.size = sizeof serial, .parallel_for = backwards, .concurrency = 5};
    const emr_executor wide = {.size = sizeof wide, .parallel_for = backwards, .concurrency = 10000};
    (void)state;
    check_all_work(NULL);
    check_all_work(&serial);
    check_all_work(&wide);
    for (uint32_t threads = 1; threads <= 4; threads++) {
        emr_pool *pool = test_pool_new(threads);
        for (int i = 0; i < 20; i++)
            check_all_work(emr_pool_executor(pool));
        emr_pool_destroy(&pool);
    }
}

static void executors_are_checked(void **state)
{
    const emr_executor wrong[] = {{.size = sizeof wrong[0], .concurrency = 1},
                                  {.size = sizeof wrong[0], .parallel_for = backwards},
                                  {.size = 8, .parallel_for = backwards, .concurrency = 1}};
    emr_env env;
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const emr_resources resources = test_resources(NULL, &wrong[i]);
        assert_int_equal(emr_env_take(&env, &resources, NULL, &error), EMR_EINVAL);
        assert_non_null(strstr(error.text, "emr_executor"));
    }
}

/* What a call is given is checked and copied; the handle's allocator stands in where there is none. */
static void resources_have_defaults(void **state)
{
    test_allocator own_counts = {0, 0, SIZE_MAX}, given_counts = {0, 0, SIZE_MAX};
    const emr_allocator own = test_allocator_make(&own_counts), given = test_allocator_make(&given_counts);
    emr_resources resources = test_resources(&given, NULL);
    emr_env env;
    (void)state;
    assert_int_equal(emr_env_take(&env, NULL, &own, NULL), EMR_OK);
    assert_ptr_equal(env.allocator.user, &own_counts);
    assert_int_equal(env.executor.concurrency, 0);
    assert_null(env.progress);
    assert_int_equal(env.memory_bytes, 0);
    resources.memory_bytes = 77;
    assert_int_equal(emr_env_take(&env, &resources, &own, NULL), EMR_OK);
    assert_ptr_equal(env.allocator.user, &given_counts);
    assert_int_equal(env.memory_bytes, 77);
    resources.allocator = NULL;
    assert_int_equal(emr_env_take(&env, &resources, &own, NULL), EMR_OK);
    assert_ptr_equal(env.allocator.user, &own_counts);
    assert_int_equal(emr_env_take(&env, NULL, NULL, NULL), EMR_OK);
    assert_non_null(env.allocator.alloc);
    resources.size--;
    assert_int_equal(emr_env_take(&env, &resources, NULL, NULL), EMR_EINVAL);
}

static emr_status stop_with_any_status(void *user, const emr_progress *progress, emr_error *error)
{
    const emr_status *status = user;
    assert_int_equal(progress->size, sizeof *progress);
    assert_int_equal(progress->done, 3);
    assert_int_equal(progress->total, 5);
    assert_non_null(error);
    return *status == EMR_ENOMEM ? emr_error_set(error, EMR_ENOMEM, 12, NULL, "the window was closed")
                                 : *status;
}

/* Whatever a progress callback returns instead of EMR_OK, the call is canceled, and says what it said. */
static void progress_is_told_and_may_stop(void **state)
{
    static const emr_status statuses[] = {EMR_OK, EMR_ECANCELED, EMR_ENOMEM, 1};
    emr_env env = {0};
    emr_error error = {.text = "untouched"};
    (void)state;
    assert_int_equal(emr_env_progress(&env, 3, 5, "the merge", &error), EMR_OK); /* there is no callback */
    for (size_t i = 0; i < 4; i++) {
        emr_status status = statuses[i];
        env.progress = stop_with_any_status;
        env.progress_user = &status;
        assert_int_equal(emr_env_progress(&env, 3, 5, "the merge", &error), status ? EMR_ECANCELED : EMR_OK);
        assert_string_equal(error.text, i == 0   ? "untouched"
                                        : i == 2 ? "the merge was canceled: the window was closed"
                                                 : "the merge was canceled");
        assert_int_equal(error.status, i ? EMR_ECANCELED : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocators_are_checked),
        cmocka_unit_test(memory_is_aligned_and_arrays_are_zero),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(failing_to_grow_changes_nothing),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(failing_to_add_a_name_changes_nothing),
        cmocka_unit_test(work_is_done_once_and_the_first_failure_wins),
        cmocka_unit_test(executors_are_checked),
        cmocka_unit_test(resources_have_defaults),
        cmocka_unit_test(progress_is_told_and_may_stop),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
