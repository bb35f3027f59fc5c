/* test_identical.c - a bundle's bytes do not depend on the memory limit, the executor, or the way in which
 * the models give their bytes. */
#include "property.h"

#include <stdio.h>

typedef struct way {
    uint64_t memory_bytes;
    test_source source;
    enum { NO_EXECUTOR, POOL, REVERSED, SHUFFLED } kind;
    uint32_t concurrency;
} way;

static const way ways[] = {
    {4 << 20, SOURCE_MEMORY, NO_EXECUTOR, 1},
    {5 << 20, SOURCE_IO, NO_EXECUTOR, 1},
    {5000000, SOURCE_READ, POOL, 2},
    {6 << 20, SOURCE_READ, SHUFFLED, 3},
    {9999999, SOURCE_IO, POOL, 7},
    {16 << 20, SOURCE_MEMORY, REVERSED, 4},
    {16 << 20, SOURCE_IO, SHUFFLED, 16},
    {40 << 20, SOURCE_READ, POOL, 7},
    {64 << 20, SOURCE_MEMORY, POOL, 2},
    {0, SOURCE_IO, REVERSED, 7},
    {0, SOURCE_MEMORY, POOL, 1},
};

/* Merges in one of the ways; *calls grows with the work given to an odd executor. */
static emr_buffer *merge_in(const way *w, const test_set *s, emr_merge_options o, size_t *calls)
{
    emr_pool *pool = w->kind == POOL ? create_pool(w->concurrency) : NULL;
    odd_executor odd = {.order = {w->memory_bytes + 1}, .reverse = w->kind == REVERSED};
    emr_executor executor = odd_executor_make(&odd, w->concurrency);
    emr_resources resources = resources_within(w->memory_bytes);
    if (w->kind != NO_EXECUTOR)
        resources.executor = pool ? emr_pool_executor(pool) : &executor;
    o.resources = &resources;
    test_set given = test_set_copy(s, w->source);
    emr_buffer *buffer = test_merge_bundle(&given, &o);
    test_set_destroy(&given);
    emr_pool_destroy(&pool);
    *calls += odd.calls;
    return buffer;
}

/* From way `first` on, each `step`th. */
static void assert_ways_are_the_same(const test_set *s, const emr_merge_options *o, size_t first, size_t step)
{
    size_t calls = 0;
    emr_buffer *want = test_merge_bundle(s, o);
    for (size_t i = first; i < sizeof ways / sizeof ways[0]; i += step) {
        char what[64];
        snprintf(what, sizeof what, "way %zu", i);
        emr_buffer *got = merge_in(&ways[i], s, *o, &calls);
        assert_same_buffer(got, want, what);
        emr_buffer_destroy(&got);
    }
    assert_int_not_equal(calls, 0);
    emr_buffer_destroy(&want);
}

static void rescalers_per_model(void **state)
{
    (void)state;
    test_set s = rich_set(1, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_MODEL);
    assert_ways_are_the_same(&s, &o, 0, 1);
    test_set_destroy(&s);
}

static void rescalers_per_tensor(void **state)
{
    (void)state;
    test_set s = rich_set(2, 2, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    o.rescale = EMR_RESCALE_L2;
    o.unified_dtype = EMR_DTYPE_BF16;
    o.block_params = 4096;
    assert_ways_are_the_same(&s, &o, 0, 2);
    test_set_destroy(&s);
}

static void rescalers_per_row(void **state)
{
    (void)state;
    test_set s = rich_set(3, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    o.embed_base = 0;
    o.compression = EMR_COMPRESSION_NONE;
    assert_ways_are_the_same(&s, &o, 1, 2);
    test_set_destroy(&s);
}

/* So many tensors that a window ends where there is no room for another one, within a block. */
static void many_small_tensors(void **state)
{
    enum { N_TENSORS = 2500, NAME = 8 };
    (void)state;
    char(*names)[NAME] = malloc(N_TENSORS * sizeof *names);
    test_tensor *tensors = calloc(N_TENSORS, sizeof *tensors);
    for (size_t i = 0; i < N_TENSORS; i++) {
        snprintf(names[i], NAME, "w%zu", i);
        tensors[i] =
            (test_tensor){names[i], i % 5 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32, 2, {3 + i % 4, 50 + i % 100}};
    }
    test_set s = test_set_create(tensors, N_TENSORS, 2, 21, SOURCE_MEMORY);
    for (int i = 0; i < 2; i++) {
        emr_merge_options o = rich_options(i ? EMR_RESCALE_PER_ROW : EMR_RESCALE_PER_MODEL);
        o.block_params = i ? 32768 : 0;
        size_t calls = 0;
        emr_buffer *want = test_merge_bundle(&s, &o), *little = merge_in(&ways[1], &s, o, &calls);
        emr_buffer *much = merge_in(&ways[6], &s, o, &calls);
        assert_same_buffer(little, want, "5 MiB");
        assert_same_buffer(much, want, "16 MiB");
        emr_buffer_destroy(&want);
        emr_buffer_destroy(&little);
        emr_buffer_destroy(&much);
        o.embed_base = 0;
        if (i == 0)
            assert_merge_is_formula(&s, &o);
    }
    test_set_destroy(&s);
    free(tensors);
    free(names);
}

/* Small tensors of every dtype, where pieces and windows end anywhere. */
static void random_models(void **state)
{
    (void)state;
    size_t calls = 0;
    for (uint64_t seed = 100; seed < 112; seed++) {
        test_set s = random_set(seed, 2, true);
        emr_merge_options o = rich_options((emr_rescale_per)(1 + seed % 3));
        o.embed_base = seed % 2;
        emr_buffer *want = test_merge_bundle(&s, &o);
        emr_buffer *got = merge_in(&ways[seed % (sizeof ways / sizeof ways[0])], &s, o, &calls);
        assert_same_buffer(got, want, "random model");
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
        test_set_destroy(&s);
    }
}

/* The level, or the default in a build without compression. */
static int level_where_built(int level)
{
    emr_merge *merge;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.compression = level;
    emr_status status = emr_merge_create(&merge, &o, NULL);
    emr_merge_destroy(&merge);
    return status == EMR_EUNSUPPORTED ? 0 : level;
}

/* The plan and the bundle's index grow with the number of tensors, not with their size; they are small here.
 */
enum { INDEX_BYTES = 128 << 10 };

static void working_memory_stays_within_the_limit(void **state)
{
    (void)state;
    test_set s = rich_set(4, 3, SOURCE_IO);
    for (uint64_t mib = 4; mib <= 64; mib *= 4) {
        emr_error error;
        test_meter m = {0, 0};
        emr_allocator allocator = test_meter_make(&m);
        odd_executor odd = {.reverse = true};
        emr_executor executor = odd_executor_make(&odd, 4);
        emr_resources resources = test_resources(&allocator, mib == 16 ? &executor : NULL);
        emr_merge_options o = rich_options((emr_rescale_per)(1 + mib % 3));
        resources.memory_bytes = mib << 20;
        o.resources = &resources;
        o.block_params = mib == 16 ? 4096 : 0;
        o.compression = mib == 64 ? level_where_built(9) : 0;
        emr_buffer *buffer = test_buffer_new();
        emr_merge *merge = test_merge_create(&s, &o);
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        assert_in_range(plan.peak_memory, 1, resources.memory_bytes);
        if (m.peak > plan.peak_memory + INDEX_BYTES)
            fail_msg("%zu bytes were taken, planned were %zu", m.peak, (size_t)plan.peak_memory);
        emr_merge_destroy(&merge);
        assert_int_equal(m.now, 0);
        emr_buffer_destroy(&buffer);
    }
    test_set_destroy(&s);
}

/* The block table, which grows as blocks are written, within the least memory that is accepted. The sizes are
 * those at which growing by doubling holds most. */
static void working_memory_holds_the_block_table(void **state)
{
    (void)state;
    for (uint64_t n = 4000000; n <= 8500000; n += 4500000) {
        emr_error error;
        const test_tensor tensor = {"a", EMR_DTYPE_BF16, 1, {n}};
        test_set s = test_set_create(&tensor, 1, 3, 5, SOURCE_MEMORY);
        test_meter m = {0, 0};
        emr_allocator allocator = test_meter_make(&m);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        o.resources = &resources;
        o.compression = EMR_COMPRESSION_NONE;
        o.block_params = 4096;
        o.embed_base = 1;
        o.unified_dtype = EMR_DTYPE_F16;
        resources.memory_bytes = 200000; /* too little: the sentence says how much would do */
        emr_merge *merge = test_merge_create(&s, &o);
        assert_int_equal(emr_merge_get_plan(merge, &plan, &error), EMR_ELIMIT);
        emr_merge_destroy(&merge);
        const char *number = strstr(error.text, " tasks, ");
        assert_non_null(number);
        resources.memory_bytes = strtoull(number + strlen(" tasks, "), NULL, 10);
        emr_buffer *buffer = test_buffer_new();
        merge = test_merge_create(&s, &o);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
        size_t before = m.now;
        m.peak = m.now;
        assert_ok(emr_merge_run(merge, &error), &error);
        assert_in_range(m.peak - before, 1, resources.memory_bytes);
        emr_merge_destroy(&merge);
        emr_buffer_destroy(&buffer);
        test_set_destroy(&s);
    }
}

/* A merge within the least memory that is accepted; the most that it takes. */
static size_t peak_of(const test_set *s, emr_merge_options o, const emr_io *out, const emr_io *journal,
                      emr_status want)
{
    emr_error error;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    test_meter m = {0, 0};
    emr_allocator allocator = test_meter_make(&m);
    emr_resources resources = test_resources(&allocator, NULL);
    size_t before, peak;
    o.resources = &resources;
    for (resources.memory_bytes = 200000;;) { /* too little at first: the sentence says how much would do */
        emr_merge *merge = test_merge_create(s, &o);
        assert_ok(emr_merge_set_output(merge, out, &error), &error);
        if (journal)
            assert_ok(emr_merge_set_journal(merge, journal, 500000, &error), &error);
        emr_status status = emr_merge_get_plan(merge, &plan, &error);
        if (!status) {
            m.peak = before = m.now;
            assert_int_equal(emr_merge_run(merge, &error), want);
            peak = m.peak - before;
            assert_in_range(peak, 1, resources.memory_bytes);
            emr_merge_destroy(&merge);
            assert_int_equal(m.now, 0);
            return peak;
        }
        emr_merge_destroy(&merge);
        assert_int_equal(status, EMR_ELIMIT);
        resources.memory_bytes = strtoull(strstr(error.text, " tasks, ") + strlen(" tasks, "), NULL, 10);
    }
}

/* What a merge that can go on needs besides, too: when it begins, is cut off, and goes on. */
static void working_memory_holds_the_journal(void **state)
{
    static const test_tensor tensor = {"a", EMR_DTYPE_F32, 1, {400000}};
    (void)state;
    test_set s = test_set_create(&tensor, 1, 2, 5, SOURCE_READ);
    for (uint32_t turn = 0; turn < 4; turn++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        emr_buffer *whole = test_buffer_new(), *buffer = test_buffer_new(), *log = test_buffer_new();
        test_io cut = {.inner = *emr_buffer_io(buffer), .fail_read = SIZE_MAX, .fail_write = 350};
        emr_io out = test_io_make(&cut);
        o.compression = turn & 1 ? 0 : EMR_COMPRESSION_NONE;
        o.block_params = 4096;
        o.extendable = turn >> 1;
        size_t plain = peak_of(&s, o, emr_buffer_io(whole), NULL, EMR_OK);
        peak_of(&s, o, &out, emr_buffer_io(log), EMR_EIO);
        assert_true(emr_buffer_bytes(log) > 64);
        cut.fail_write = SIZE_MAX;
        assert_true(peak_of(&s, o, &out, emr_buffer_io(log), EMR_OK) >= plain);
        assert_memory_equal(emr_buffer_data(buffer), emr_buffer_data(whole), emr_buffer_bytes(whole));
        emr_buffer_destroy(&whole);
        emr_buffer_destroy(&buffer);
        emr_buffer_destroy(&log);
    }
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rescalers_per_model),
        cmocka_unit_test(rescalers_per_tensor),
        cmocka_unit_test(rescalers_per_row),
        cmocka_unit_test(many_small_tensors),
        cmocka_unit_test(random_models),
        cmocka_unit_test(working_memory_stays_within_the_limit),
        cmocka_unit_test(working_memory_holds_the_block_table),
        cmocka_unit_test(working_memory_holds_the_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
