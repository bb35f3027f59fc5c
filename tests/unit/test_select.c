/* test_select.c - exact cuts of lists against sorting: any number of workers, any memory, ties, wrong guesses; failing
 * reads and failing memory. */
#include "statistics/select.h"

#include "support.h"

#include "emr/method.h"

#include <math.h>
#include <stdio.h>

enum { LISTS_MAX = 3, CHUNK_MAX = 4096, WORKERS_MAX = 8 };

/* Lists in memory, given as chunks. */
typedef struct world {
    float *lists[LISTS_MAX];
    emr_key_source source;
    struct {
        uint64_t first;
        size_t n;
    } loaded[WORKERS_MAX];
    atomic_size_t n_loads, n_keys;
    size_t fail_at; /* loads */
    bool changes;   /* other keys each time */
    bool is_wrong;  /* what was asked for was not what it may be */
} world;

static emr_status load_world(void *context, size_t worker, uint64_t first, size_t n, emr_error *error)
{
    world *w = context;
    const emr_key_source *s = &w->source;
    w->loaded[worker].first = first;
    w->loaded[worker].n = n;
    w->n_keys += n;
    if (n == 0 || n > s->chunk || first + n > s->count || first % s->granule ||
        (n % s->granule && first + n != s->count))
        w->is_wrong = true;
    if (w->n_loads++ == w->fail_at)
        return emr_error_set(error, EMR_EIO, 0, NULL, "the disk is gone");
    return EMR_OK;
}

static void world_keys(void *context, size_t worker, uint32_t list, float *keys)
{
    world *w = context;
    memcpy(keys, w->lists[list] + w->loaded[worker].first, w->loaded[worker].n * sizeof *keys);
    for (size_t i = 0; w->changes && i < w->loaded[worker].n; i++)
        keys[i] *= (float)w->n_loads;
}

static world world_create(uint64_t count, uint32_t n_lists, size_t chunk, uint64_t granule)
{
    world w = {.source = {.load = load_world,
                          .keys = world_keys,
                          .count = count,
                          .chunk = chunk,
                          .granule = granule,
                          .n_lists = n_lists},
               .fail_at = SIZE_MAX};
    for (uint32_t i = 0; i < n_lists; i++)
        assert_non_null(w.lists[i] = calloc(count + 1, sizeof(float)));
    return w;
}

static void world_destroy(world *w)
{
    for (uint32_t i = 0; i < w->source.n_lists; i++)
        free(w->lists[i]);
}

/* What magnitudes of task vectors look like. */
typedef enum fashion { NORMAL, COARSE, FEW, ZEROS, EQUAL, RISING, ROWS, TINY, N_FASHIONS } fashion;

static float draw_key(fashion f, rng *r, uint64_t i, uint64_t count)
{
    float x = fabsf(rng_normal(r));
    switch (f) {
    case COARSE:
        return (float)(int)(x * 16) / 16;
    case FEW:
        return (float)rng_below(r, 3);
    case ZEROS:
        return rng_below(r, 3) ? 0 : x;
    case EQUAL:
        return 0.25F;
    case RISING:
        return (float)i / (float)count;
    case ROWS:
        return x * (float)(1 + (i / 512) % 7 * (i / 512) % 5);
    case TINY:
        return x * 1e-40F;
    default:
        return x;
    }
}

static void fill_list(float *list, uint64_t count, fashion f, uint64_t seed)
{
    rng r = {seed + 1};
    for (uint64_t i = 0; i < count; i++)
        list[i] = draw_key(f, &r, i, count);
}

static int compare_descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The cut by its definition. */
static void expected_cut(const float *list, const float *sorted, uint64_t count, uint64_t k, double found[2])
{
    found[0] = k == 0 ? (double)INFINITY : 0;
    found[1] = k == 0 ? 0 : (double)count;
    if (k == 0 || k > count)
        return;
    uint64_t above = 0, equal = 0;
    float key = sorted[k - 1];
    for (uint64_t i = 0; i < count; i++) {
        above += list[i] > key;
        equal += list[i] == key;
    }
    found[0] = (double)key;
    for (uint64_t i = 0, left = k - above; left != equal && i < count; i++)
        if (list[i] == key && --left == 0) {
            found[1] = (double)(i + 1);
            break;
        }
}

typedef struct crew {
    emr_pool *pool;
    emr_workers workers;
} crew;

static crew crew_create(uint32_t threads, const emr_allocator *allocator)
{
    crew c = {0};
    emr_env env;
    emr_error error;
    const emr_pool_options options = {.size = sizeof options, .threads = threads};
    emr_resources resources = {.size = sizeof resources, .allocator = allocator};
    if (threads > 1) {
        assert_ok(emr_pool_create(&c.pool, &options, &error), &error);
        resources.executor = emr_pool_executor(c.pool);
    }
    assert_ok(emr_env_take(&env, &resources, NULL, &error), &error);
    assert_ok(emr_workers_create(&c.workers, &env, WORKERS_MAX, &error), &error);
    return c;
}

static void crew_destroy(crew *c)
{
    emr_workers_destroy(&c->workers);
    emr_pool_destroy(&c->pool);
}

enum { N_CUTS = 12 };

/* Cuts at both edges, in between, and twice the same, of one list. */
static size_t list_cuts(emr_cut *cuts, uint32_t list, uint64_t count)
{
    const uint64_t k[N_CUTS] = {0,         1,         2,
                                count / 5, count / 5, count / 2,
                                count / 3, count - 1, count * 7 / 8,
                                count,     count + 9, (uint64_t)(0.997 * (double)count)};
    for (size_t i = 0; i < N_CUTS; i++)
        cuts[i] = (emr_cut){.list = list, .k = k[i]};
    return N_CUTS;
}

static void check_cuts(world *w, uint32_t threads, uint64_t memory)
{
    emr_error error;
    emr_cut cuts[N_CUTS * LISTS_MAX];
    size_t n = 0;
    crew c = crew_create(threads, NULL);
    for (uint32_t list = 0; list < w->source.n_lists; list++)
        n += list_cuts(cuts + n, list, w->source.count);
    w->source.context = w;
    assert_ok(emr_select_cuts(&w->source, &c.workers, memory, cuts, n, &error), &error);
    assert_false(w->is_wrong);
    for (uint32_t list = 0, i = 0; list < w->source.n_lists; list++) {
        size_t bytes = w->source.count * sizeof(float);
        float *sorted = malloc(bytes + 1);
        assert_non_null(sorted);
        memcpy(sorted, w->lists[list], bytes);
        qsort(sorted, w->source.count, sizeof *sorted, compare_descending);
        for (size_t k = 0; k < N_CUTS; k++, i++) {
            double want[2];
            expected_cut(w->lists[list], sorted, w->source.count, cuts[i].k, want);
            if (memcmp(want, cuts[i].found, sizeof want) != 0)
                fail_msg("list %u of %llu, k %llu: %.9g at %.0f, not %.9g at %.0f", list,
                         (unsigned long long)w->source.count, (unsigned long long)cuts[i].k, cuts[i].found[0],
                         cuts[i].found[1], want[0], want[1]);
        }
        free(sorted);
    }
    crew_destroy(&c);
}

static void equals_sorting(void **state)
{
    const uint64_t counts[] = {1, 2, 3, 100, 4096, 4097, 70000, 140007};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (fashion f = 0; f < N_FASHIONS; f++) {
            world w = world_create(counts[i], 3, 1000, i % 2 ? 7 : 1);
            for (uint32_t list = 0; list < 3; list++)
                fill_list(w.lists[list], counts[i], (f + list) % N_FASHIONS, i * 31 + list);
            check_cuts(&w, 1, UINT64_MAX);
            check_cuts(&w, 3, 1 << 20);
            check_cuts(&w, 2, 0);
            world_destroy(&w);
        }
}

/* Where the cut is cannot be guessed from 64 places: all that is large is elsewhere. */
static void a_wrong_guess_is_mended(void **state)
{
    world w = world_create(200000, 2, 2048, 1);
    (void)state;
    fill_list(w.lists[0], 200000, NORMAL, 3);
    fill_list(w.lists[1], 200000, NORMAL, 4);
    for (size_t i = 0; i < 2; i++) {
        w.n_keys = 0;
        check_cuts(&w, 1, UINT64_MAX);
        assert_true(w.n_keys < (i ? 900000 : 260000)); /* readings */
        for (size_t k = 0; k < 30000; k++)
            w.lists[0][k + 50 * (i + 1)] = w.lists[1][199999 - k] = 1000 + (float)k;
    }
    check_cuts(&w, 4, 100000);
    world_destroy(&w);
}

static void large_granules_are_whole(void **state)
{
    world w = world_create(90000, 1, 4096, 3000);
    (void)state;
    fill_list(w.lists[0], 90000, ROWS, 5);
    check_cuts(&w, 2, 1 << 16);
    world_destroy(&w);
}

static void zero_keys_with_a_sign_are_zero(void **state)
{
    emr_error error;
    emr_cut cut = {.k = 3};
    world w = world_create(5, 1, 16, 1);
    crew c = crew_create(1, NULL);
    (void)state;
    memcpy(w.lists[0], (float[]){-0.0F, 2, 0, -0.0F, 0}, 5 * sizeof(float));
    w.source.context = &w;
    assert_ok(emr_select_cuts(&w.source, &c.workers, 0, &cut, 1, &error), &error);
    assert_true(cut.found[0] == 0 && cut.found[1] == 3);
    crew_destroy(&c);
    world_destroy(&w);
}

static void what_is_above_is_k(void **state)
{
    emr_error error;
    enum { COUNT = 5000 };
    world w = world_create(COUNT, 1, 512, 1);
    crew c = crew_create(1, NULL);
    (void)state;
    fill_list(w.lists[0], COUNT, COARSE, 8);
    w.source.context = &w;
    for (uint64_t k = 0; k <= COUNT + 1; k += 1 + k / 3) {
        emr_cut cut = {.k = k};
        uint64_t above = 0;
        assert_ok(emr_select_cuts(&w.source, &c.workers, 0, &cut, 1, &error), &error);
        for (uint64_t i = 0; i < COUNT; i++)
            above += (uint64_t)emr_method_is_above(cut.found, w.lists[0][i], i);
        assert_int_equal(above, emr_min(k, COUNT));
    }
    crew_destroy(&c);
    world_destroy(&w);
}

static void nothing_has_no_cut(void **state)
{
    emr_error error;
    emr_cut cuts[] = {{.k = 0}, {.k = 1}};
    world w = world_create(0, 1, 512, 1);
    crew c = crew_create(1, NULL);
    (void)state;
    w.source.context = &w;
    assert_ok(emr_select_cuts(&w.source, &c.workers, 0, cuts, 2, &error), &error);
    assert_true(cuts[0].found[0] == (double)INFINITY && cuts[1].found[1] == 0);
    assert_int_equal(w.n_loads, 0);
    crew_destroy(&c);
    world_destroy(&w);
}

static void a_failing_read_fails_it(void **state)
{
    emr_error error;
    world w = world_create(200000, 1, 4096, 1);
    crew c = crew_create(2, NULL);
    (void)state;
    fill_list(w.lists[0], 200000, FEW, 6);
    w.source.context = &w;
    for (w.fail_at = 0;; w.fail_at++) {
        emr_cut cut = {.k = 1000};
        w.n_loads = 0;
        emr_status status = emr_select_cuts(&w.source, &c.workers, 1 << 17, &cut, 1, &error);
        if (w.n_loads <= w.fail_at) {
            assert_ok(status, &error);
            break;
        }
        assert_int_equal(status, EMR_EIO);
        assert_string_equal(error.text, "the disk is gone");
    }
    assert_true(w.fail_at > 100);
    crew_destroy(&c);
    world_destroy(&w);
}

static void keys_that_change_end_it(void **state)
{
    emr_error error;
    world w = world_create(200000, 1, 4096, 1);
    crew c = crew_create(1, NULL);
    emr_cut cut = {.k = 1000};
    (void)state;
    fill_list(w.lists[0], 200000, NORMAL, 6);
    w.source.context = &w;
    w.changes = true;
    assert_int_equal(emr_select_cuts(&w.source, &c.workers, 0, &cut, 1, &error), EMR_EIO);
    assert_string_equal(error.text, "weights were not the same when they were read again");
    crew_destroy(&c);
    world_destroy(&w);
}

static void memory_that_fails_fails_it(void **state)
{
    emr_error error;
    world w = world_create(1000, 1, 512, 1);
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    crew c = crew_create(1, &allocator);
    size_t alive = counts.alive;
    emr_status status;
    (void)state;
    fill_list(w.lists[0], 1000, NORMAL, 6);
    w.source.context = &w;
    size_t k = 0;
    do {
        emr_cut cut = {.k = 10};
        counts.fail_at = counts.requests + k++;
        status = emr_select_cuts(&w.source, &c.workers, 0, &cut, 1, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, alive);
    } while (status);
    assert_true(k > 4);
    crew_destroy(&c);
    world_destroy(&w);
}

static void memory_is_bounded(void **state)
{
    emr_error error;
    const uint64_t memories[] = {0, 1 << 18, 1 << 20, 1 << 24, UINT64_MAX};
    world w = world_create(300000, 3, 4096, 1);
    (void)state;
    for (uint32_t list = 0; list < 3; list++)
        fill_list(w.lists[list], 300000, NORMAL, list);
    w.source.context = &w;
    for (size_t i = 0; i < 5; i++) {
        test_meter meter = {0, 0};
        const emr_allocator allocator = test_meter_make(&meter);
        crew c = crew_create(2, &allocator);
        emr_cut cuts[3] = {{.list = 0, .k = 60000}, {.list = 1, .k = 60000}, {.list = 2, .k = 60000}};
        size_t before = meter.now;
        meter.peak = before;
        assert_ok(emr_select_cuts(&w.source, &c.workers, memories[i], cuts, 3, &error), &error);
        uint64_t least = emr_select_memory(&w.source, 2, 3);
        uint64_t most = memories[i] > least ? memories[i] : least;
        if (meter.peak - before > most || meter.peak - before > 3 * 300000 * sizeof(float))
            fail_msg("%zu bytes of %llu", meter.peak - before, (unsigned long long)most);
        crew_destroy(&c);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_sorting),
        cmocka_unit_test(a_wrong_guess_is_mended),
        cmocka_unit_test(large_granules_are_whole),
        cmocka_unit_test(zero_keys_with_a_sign_are_zero),
        cmocka_unit_test(what_is_above_is_k),
        cmocka_unit_test(nothing_has_no_cut),
        cmocka_unit_test(a_failing_read_fails_it),
        cmocka_unit_test(keys_that_change_end_it),
        cmocka_unit_test(memory_that_fails_fails_it),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
