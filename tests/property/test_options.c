/* test_options.c - options, names, NULLs and calls out of order are refused with the right status and a
 * sentence; structs of other versions follow the size rule; the memory that ELIMIT asks for is enough. */
#include "property.h"

static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {20, 30}}, {"h", EMR_DTYPE_BF16, 1, {9}}};

static test_set small_set(test_source source)
{
    return test_set_create(tensors, 2, 2, 6, source);
}

static void assert_refused(const emr_merge_options *o, emr_status want, const char *says)
{
    emr_error error = {.text = "not written"};
    emr_merge *merge = (emr_merge *)(void *)&error;
    assert_int_equal(emr_merge_create(&merge, o, &error), want);
    assert_null(merge);
    assert_says(&error, says);
    assert_int_equal(emr_merge_create(&merge, o, NULL), want);
}

static void unknown_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t member;
        int too_low, too_high;
    } members[] = {
        {offsetof(emr_merge_options, rescale), -1, EMR_RESCALE_UNBIASED + 1},
        {offsetof(emr_merge_options, rescale_per), -1, EMR_RESCALE_PER_ROW + 1},
        {offsetof(emr_merge_options, tie), -1, EMR_TIE_NEGATIVE + 1},
        {offsetof(emr_merge_options, on_nonfinite), -1, EMR_ON_NONFINITE_ZERO + 1},
        {offsetof(emr_merge_options, unified_dtype), -1, EMR_DTYPE_F64},
        {offsetof(emr_merge_options, unified_dtype), EMR_DTYPE_F8_E4M3, EMR_DTYPE_BOOL},
        {offsetof(emr_merge_options, compression), -2, 20},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        for (int high = 0; high < 2; high++) {
            emr_merge_options o = EMR_INIT(emr_merge_options);
            memcpy((char *)&o + members[i].member, high ? &members[i].too_high : &members[i].too_low,
                   sizeof(int));
            assert_refused(&o, EMR_EINVAL, "emr_merge_options");
        }
    }
}

/* Of an option struct that is pointed to. */
static void unknown_values_of_the_policy_are_refused(void **state)
{
    (void)state;
    static const uint32_t unknown[] = {EMR_ON_MISMATCH_PAD + 1, UINT32_MAX, EMR_ON_MISSING_ABSENT + 1,
                                       UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        emr_policy policy = EMR_INIT(emr_policy);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        *(i < 2 ? &policy.on_mismatch : &policy.on_missing) = unknown[i];
        o.policy = &policy;
        assert_refused(&o, EMR_EINVAL, "emr_policy");
    }
}

/* Any non-zero value of a flag means yes. */
static void flags_are_any_number(void **state)
{
    (void)state;
    test_set s = small_set(SOURCE_MEMORY);
    emr_buffer *of[2];
    for (uint32_t i = 0; i < 2; i++) {
        emr_merge_options o = small_options();
        o.embed_base = o.extendable = i ? 0x80000000 : 1;
        of[i] = test_merge_bundle(&s, &o);
    }
    assert_same_buffer(of[1], of[0], "with another yes");
    emr_buffer_destroy(&of[0]);
    emr_buffer_destroy(&of[1]);
    test_set_destroy(&s);
}

static void means_are_per_model_only(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_TENSOR; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.rescale = EMR_RESCALE_L1_MEANS;
        o.rescale_per = per;
        assert_refused(&o, EMR_EINVAL, "l1-means");
    }
}

static void blocks_are_powers_of_two_within_bounds(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2048, 4095, 4097, 12288, (16 << 20) + 1, 32 << 20, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.block_params = sizes[i];
        assert_refused(&o, EMR_EINVAL, "block_params");
    }
}

static void globs_that_are_null_are_refused(void **state)
{
    (void)state;
    const char *globs[] = {"a*", NULL};
    emr_policy policy = EMR_INIT(emr_policy);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    const struct {
        const char *const **globs;
        uint32_t *n;
        const char *name;
    } lists[] = {{&policy.private_globs, &policy.n_private_globs, "private_globs"},
                 {&policy.merge_globs, &policy.n_merge_globs, "merge_globs"},
                 {&policy.absent_globs, &policy.n_absent_globs, "absent_globs"},
                 {&policy.base_globs, &policy.n_base_globs, "base_globs"}};
    o.policy = &policy;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        *lists[i].n = 2;
        assert_refused(&o, EMR_EINVAL, lists[i].name);
        *lists[i].globs = globs;
        assert_refused(&o, EMR_EINVAL, lists[i].name);
        *lists[i].n = 0;
    }
}

/* A struct with room for members of a later version. */
typedef union later {
    size_t size;
    emr_merge_options options;
    emr_resources resources;
    emr_policy policy;
    emr_executor executor;
    emr_allocator allocator;
    emr_sink sink;
    emr_io io;
    emr_plan_summary plan;
    unsigned char bytes[sizeof(emr_merge_options) + 64];
} later;

static void make_later(later *l, const void *known, size_t size, size_t more)
{
    memset(l->bytes, 0, sizeof l->bytes);
    memcpy(l->bytes, known, size);
    l->size = size + more;
}

/* A program built against a later version that uses nothing new works, all the way. */
static void larger_structs_work_if_their_tail_is_zero(void **state)
{
    (void)state;
    emr_error error;
    test_set s = small_set(SOURCE_IO);
    test_allocator counts = {.fail_at = SIZE_MAX};
    odd_executor odd = {.reverse = true};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_executor executor = odd_executor_make(&odd, 3);
    emr_buffer *buffer = test_buffer_new();
    emr_io io = *emr_buffer_io(buffer);
    later large_allocator, large_executor, large_resources, large_policy, large_options, large_io, large_plan;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_resources resources = EMR_INIT(emr_resources);
    emr_policy policy = EMR_INIT(emr_policy);
    make_later(&large_allocator, &allocator, sizeof allocator, 16);
    make_later(&large_executor, &executor, sizeof executor, 16);
    make_later(&large_io, &io, sizeof io, 16);
    resources.allocator = &large_allocator.allocator;
    resources.executor = &large_executor.executor;
    make_later(&large_resources, &resources, sizeof resources, 16);
    make_later(&large_policy, &policy, sizeof policy, 16);
    o.resources = &large_resources.resources;
    o.policy = &large_policy.policy;
    make_later(&large_options, &o, sizeof o, 24);
    make_later(&large_plan, &(emr_plan_summary){0}, sizeof(emr_plan_summary), 8);
    memset(large_plan.bytes + sizeof(emr_plan_summary), 0xaa, 8);
    emr_merge *merge = test_merge_create(&s, &large_options.options);
    assert_ok(emr_merge_set_output(merge, &large_io.io, &error), &error);
    assert_ok(emr_merge_get_plan(merge, &large_plan.plan, &error), &error);
    assert_int_equal(large_plan.plan.n_tensors, 2);
    assert_int_equal(large_plan.bytes[sizeof(emr_plan_summary)], 0); /* unknown members come back as 0 */
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    assert_int_equal(counts.alive, 0);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

static void sizes_of_options(void **state)
{
    (void)state;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    later l;
    o.size = 0;
    assert_refused(&o, EMR_EINVAL, "emr_merge_options");
    o.size = sizeof o - 1;
    assert_refused(&o, EMR_EINVAL, "emr_merge_options");
    make_later(&l, &o, sizeof o, 16);
    l.bytes[sizeof o + 15] = 1;
    assert_refused(&l.options, EMR_EVERSION, "emr_merge_options");
}

static void sizes_of_members(void **state)
{
    (void)state;
    emr_error error;
    later l;
    test_allocator counts = {.fail_at = SIZE_MAX};
    odd_executor odd = {.reverse = true};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_executor executor = odd_executor_make(&odd, 2);
    emr_resources resources = EMR_INIT(emr_resources);
    emr_policy policy = EMR_INIT(emr_policy);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &l.resources;
    make_later(&l, &resources, sizeof resources, 8);
    l.bytes[sizeof resources] = 1;
    assert_refused(&o, EMR_EVERSION, "emr_resources");
    l.size = sizeof resources - 1;
    assert_refused(&o, EMR_EINVAL, "emr_resources");
    o.resources = &resources;
    o.policy = &l.policy;
    make_later(&l, &policy, sizeof policy, 8);
    l.bytes[sizeof policy] = 1;
    assert_refused(&o, EMR_EVERSION, "emr_policy");
    l.size = sizeof policy - 1;
    assert_refused(&o, EMR_EINVAL, "emr_policy");
    o.policy = NULL;
    make_later(&l, &allocator, sizeof allocator, 8);
    l.bytes[sizeof allocator] = 1;
    resources.allocator = &l.allocator;
    assert_refused(&o, EMR_EVERSION, "emr_allocator");
    l.size = sizeof allocator - 8;
    assert_refused(&o, EMR_EINVAL, "emr_allocator");
    resources.allocator = NULL;
    make_later(&l, &executor, sizeof executor, 8);
    l.bytes[sizeof executor] = 1;
    resources.executor = &l.executor;
    assert_refused(&o, EMR_EVERSION, "emr_executor");
    l.size = 8;
    assert_refused(&o, EMR_EINVAL, "emr_executor");
    test_set s = small_set(SOURCE_MEMORY);
    emr_merge *merge = test_merge_create(&s, NULL);
    make_later(&l, &EMR_INIT(emr_sink), sizeof(emr_sink), 8);
    l.bytes[sizeof(emr_sink)] = 1;
    assert_int_equal(emr_merge_set_sink(merge, &l.sink, &error), EMR_EVERSION);
    assert_says(&error, "emr_sink");
    l.size = 0;
    assert_int_equal(emr_merge_set_sink(merge, &l.sink, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_output(merge, &l.io, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_plan(merge, &l.plan, &error), EMR_EINVAL);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

static void executors_without_what_they_need_are_refused(void **state)
{
    (void)state;
    test_set s = small_set(SOURCE_MEMORY);
    for (int i = 0; i < 2; i++) {
        emr_error error;
        emr_merge *merge;
        odd_executor odd = {.reverse = true};
        emr_executor executor = odd_executor_make(&odd, i == 0 ? 0 : 2);
        emr_resources resources = test_resources(NULL, &executor);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        emr_sink sink = EMR_INIT(emr_sink);
        o.resources = &resources;
        if (i == 1)
            executor.parallel_for = NULL;
        emr_status status = emr_merge_create(&merge, &o, &error);
        if (!status) {
            emr_merge_destroy(&merge);
            merge = test_merge_create(&s, &o);
            assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
            status = emr_merge_run(merge, &error);
        }
        assert_int_equal(status, EMR_EINVAL);
        assert_says(&error, "emr_executor");
        emr_merge_destroy(&merge);
    }
    test_set_destroy(&s);
}

/* The run's status under a memory limit, to a bundle. */
static emr_status run_within(const test_set *s, uint64_t memory_bytes, const emr_executor *executor,
                             emr_error *error)
{
    emr_buffer *buffer = test_buffer_new();
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_resources resources = test_resources(NULL, executor);
    resources.memory_bytes = memory_bytes;
    o.resources = &resources;
    emr_merge *merge = test_merge_create(s, &o);
    emr_status status = emr_merge_set_output(merge, emr_buffer_io(buffer), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    return status;
}

/* The number before " would do". */
static uint64_t what_would_do(const emr_error *error)
{
    const char *end = strstr(error->text, " would do"), *p = end;
    assert_non_null(end);
    while (p > error->text && p[-1] >= '0' && p[-1] <= '9')
        p--;
    return strtoull(p, NULL, 10);
}

static void too_little_memory_says_how_much_would_do(void **state)
{
    (void)state;
    odd_executor odd = {.order = {5}};
    emr_executor executor = odd_executor_make(&odd, 5);
    for (size_t n_tasks = 1; n_tasks <= 20; n_tasks += 19) {
        for (int source = SOURCE_MEMORY; source <= SOURCE_READ; source++) {
            emr_error error;
            test_set s = test_set_create(tensors, 2, n_tasks, 6, (test_source)source);
            const emr_executor *e = source == SOURCE_IO ? &executor : NULL;
            assert_int_equal(run_within(&s, 1, e, &error), EMR_ELIMIT);
            uint64_t enough = what_would_do(&error);
            assert_in_range(enough, 2, UINT32_MAX);
            assert_int_equal(run_within(&s, enough - 1, e, &error), EMR_ELIMIT);
            assert_int_equal(what_would_do(&error), enough);
            assert_ok(run_within(&s, enough, e, &error), &error);
            test_set_destroy(&s);
        }
    }
}

static void names_of_tasks(void **state)
{
    (void)state;
    emr_error error;
    char name[257];
    test_set s = small_set(SOURCE_MEMORY);
    emr_merge *merge = test_merge_create(&s, NULL);
    assert_int_equal(emr_merge_add_task(merge, "t1", s.tasks[0].model, &error), EMR_EEXIST);
    assert_says(&error, "'t1'");
    emr_merge_destroy(&merge);
    merge = test_merge_create(&s, NULL);
    assert_int_equal(emr_merge_add_task(merge, "", s.tasks[0].model, &error), EMR_EINVAL);
    assert_says(&error, "name");
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_int_equal(emr_merge_add_task(merge, name, s.tasks[0].model, &error), EMR_EINVAL);
    name[255] = '\0';
    assert_ok(emr_merge_add_task(merge, name, s.tasks[0].model, &error), &error);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

static void nulls_are_refused(void **state)
{
    (void)state;
    emr_error error;
    emr_merge *merge = NULL;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
    emr_task_report report = EMR_INIT(emr_task_report);
    emr_io no_write = EMR_INIT(emr_io);
    emr_sink sink = EMR_INIT(emr_sink);
    test_set s = small_set(SOURCE_MEMORY);
    const emr_tensor *tensor;
    uint64_t bytes;
    size_t taken;
    emr_merge_destroy(NULL);
    emr_merge_destroy(&merge);
    assert_int_equal(emr_merge_create(NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_base(NULL, s.base.model, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_add_task(NULL, "t", s.base.model, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_plan(NULL, &plan, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_plan_tensor(NULL, 0, &row), EMR_EINVAL);
    assert_int_equal(emr_merge_extend(NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_journal(NULL, &no_write, 0, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_begin(NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_push(NULL, 0, "x", 1, &taken, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_expected(NULL, 0, &tensor, &bytes, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_output(NULL, &no_write, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_sink(NULL, &sink, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_run(NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_finish(NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_task_report(NULL, 0, &report), EMR_EINVAL);
    merge = test_merge_create(&s, NULL);
    assert_int_equal(emr_merge_set_base(merge, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_add_task(merge, NULL, s.base.model, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_add_task(merge, "t", NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_get_plan(merge, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_set_output(merge, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_set_output(merge, &no_write, NULL), EMR_EINVAL);
    assert_int_equal(emr_merge_set_sink(merge, NULL, NULL), EMR_EINVAL);
    emr_merge_destroy(&merge);
    assert_null(merge);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_values_are_refused),
        cmocka_unit_test(unknown_values_of_the_policy_are_refused),
        cmocka_unit_test(flags_are_any_number),
        cmocka_unit_test(means_are_per_model_only),
        cmocka_unit_test(blocks_are_powers_of_two_within_bounds),
        cmocka_unit_test(globs_that_are_null_are_refused),
        cmocka_unit_test(larger_structs_work_if_their_tail_is_zero),
        cmocka_unit_test(sizes_of_options),
        cmocka_unit_test(sizes_of_members),
        cmocka_unit_test(executors_without_what_they_need_are_refused),
        cmocka_unit_test(too_little_memory_says_how_much_would_do),
        cmocka_unit_test(names_of_tasks),
        cmocka_unit_test(nulls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
