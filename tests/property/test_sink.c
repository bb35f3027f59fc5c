/* test_sink.c - a sink receives what a bundle would hold, in the order that emr_sink promises; and a sink
 * that fails stops the run. */
#include "property.h"

/* What has come in. Everything is per tensor, or per tensor * n_tasks + task. */
typedef struct collector {
    size_t n_tensors, n_tasks, value_size;
    uint64_t *counts, *unified_next, *mask_next, *rescalers_next;
    unsigned char **unified, **masks;
    float **rescalers;
    size_t tensor; /* the one that is passing */
    uint64_t first;
    size_t n;
    size_t calls, fail_at;
} collector;

static int collect_unified(void *user, size_t tensor, uint64_t first, size_t n, const void *values)
{
    collector *c = user;
    if (c->calls++ == c->fail_at)
        return 1;
    assert_in_range(tensor, c->tensor, c->n_tensors - 1);
    assert_int_equal(first, c->unified_next[tensor]);
    assert_int_equal(first % 64, 0);
    assert_int_not_equal(n, 0);
    assert_in_range(first + n, 1, c->counts[tensor]);
    memcpy(c->unified[tensor] + first * c->value_size, values, n * c->value_size);
    c->unified_next[tensor] = first + n;
    c->tensor = tensor;
    c->first = first;
    c->n = n;
    return 0;
}

static int collect_mask(void *user, size_t tensor, size_t task, uint64_t first, size_t n, const uint8_t *bits)
{
    collector *c = user;
    if (c->calls++ == c->fail_at)
        return 1;
    assert_in_range(task, 0, c->n_tasks - 1);
    assert_int_equal(tensor, c->tensor);
    assert_int_equal(first, c->first);
    assert_int_equal(n, c->n);
    assert_int_equal(first, c->mask_next[tensor * c->n_tasks + task]);
    memcpy(c->masks[tensor * c->n_tasks + task] + first / 8, bits, (n + 7) / 8);
    if (n % 8)
        assert_int_equal(bits[n / 8] >> n % 8, 0);
    c->mask_next[tensor * c->n_tasks + task] = first + n;
    return 0;
}

static int collect_rescalers(void *user, size_t tensor, size_t task, uint64_t first, size_t n,
                             const float *values)
{
    collector *c = user;
    size_t at = tensor * c->n_tasks + task;
    if (c->calls++ == c->fail_at)
        return 1;
    assert_int_equal(first, c->rescalers_next[at]);
    assert_int_not_equal(n, 0);
    c->rescalers[at] = realloc(c->rescalers[at], (size_t)(first + n) * sizeof(float));
    memcpy(c->rescalers[at] + first, values, n * sizeof(float));
    c->rescalers_next[at] = first + n;
    return 0;
}

static const emr_sink all_of_sink = {.size = sizeof(emr_sink),
                                     .unified = collect_unified,
                                     .mask = collect_mask,
                                     .rescalers = collect_rescalers};

static collector collector_make(emr_merge *merge, size_t n_tasks, size_t value_size)
{
    emr_error error;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
    size_t n = plan.n_merged, all = n * n_tasks + 1;
    collector c = {.n_tensors = n, .n_tasks = n_tasks, .value_size = value_size, .fail_at = SIZE_MAX};
    c.counts = calloc(n + 1, sizeof *c.counts);
    c.unified_next = calloc(n + 1, sizeof *c.unified_next);
    c.mask_next = calloc(all, sizeof *c.mask_next);
    c.rescalers_next = calloc(all, sizeof *c.rescalers_next);
    c.unified = calloc(n + 1, sizeof *c.unified);
    c.masks = calloc(all, sizeof *c.masks);
    c.rescalers = calloc(all, sizeof *c.rescalers);
    for (size_t i = 0; i < n; i++) {
        emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
        assert_ok(emr_merge_get_plan_tensor(merge, i, &row), NULL);
        assert_int_equal(row.action, EMR_ACTION_MERGE);
        c.counts[i] = row.count;
        c.unified[i] = malloc((size_t)row.count * value_size + 1);
        for (size_t t = 0; t < n_tasks; t++)
            c.masks[i * n_tasks + t] = calloc((size_t)row.count / 8 + 1, 1);
    }
    return c;
}

static void collector_free(collector *c)
{
    for (size_t i = 0; i < c->n_tensors; i++)
        free(c->unified[i]);
    for (size_t i = 0; i < c->n_tensors * c->n_tasks; i++) {
        free(c->masks[i]);
        free(c->rescalers[i]);
    }
    free(c->counts);
    free(c->unified_next);
    free(c->mask_next);
    free(c->rescalers_next);
    free(c->unified);
    free(c->masks);
    free(c->rescalers);
}

static void check_unified(const collector *c, const emr_bundle *bundle, emr_dtype dtype)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_unified(&view, bundle, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(view), c->n_tensors);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const emr_tensor *t = emr_model_tensor(view, i);
        unsigned char *want = tensor_bytes_of(t);
        float *wide = malloc((size_t)c->counts[i] * sizeof *wide + 1);
        assert_int_equal(c->counts[i], emr_tensor_count(t));
        assert_int_equal(c->unified_next[i], c->counts[i]);
        emr_convert(EMR_DTYPE_F32, wide, dtype, c->unified[i], (size_t)c->counts[i]);
        assert_memory_equal(wide, want, (size_t)c->counts[i] * sizeof *wide);
        free(wide);
        free(want);
    }
    emr_model_destroy(&view);
}

static void check_task(const collector *c, const emr_bundle *bundle, size_t task, int per)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_mask(&view, bundle, task, NULL, &error), &error);
    for (size_t i = 0; i < c->n_tensors; i++) {
        size_t at = i * c->n_tasks + task, n = (size_t)emr_bundle_n_rescalers(bundle, i);
        unsigned char *want = tensor_bytes_of(emr_model_tensor(view, i));
        for (uint64_t k = 0; k < c->counts[i]; k++)
            assert_int_equal(c->masks[at][k / 8] >> k % 8 & 1, want[k]);
        free(want);
        if (per == EMR_RESCALE_PER_MODEL || !c->counts[i]) {
            assert_int_equal(c->rescalers_next[at], 0);
            continue;
        }
        float *rescalers = calloc(n + 1, sizeof *rescalers);
        assert_int_equal(c->rescalers_next[at], n);
        assert_ok(emr_bundle_rescalers(bundle, task, i, 0, n, rescalers, &error), &error);
        assert_memory_equal(c->rescalers[at], rescalers, n * sizeof *rescalers);
        free(rescalers);
    }
    emr_model_destroy(&view);
}

static void check_report(const emr_merge *merge, const emr_bundle *bundle, size_t task)
{
    emr_task_report report = EMR_INIT(emr_task_report);
    emr_task_info info = EMR_INIT(emr_task_info);
    assert_ok(emr_merge_get_task_report(merge, task, &report), NULL);
    assert_ok(emr_bundle_get_task(bundle, task, &info), NULL);
    assert_string_equal(report.name, info.name);
    assert_int_equal(report.mask_ones, info.mask_ones);
    assert_true(report.rescaler == info.rescaler);
}

static void assert_sink_is_bundle(const test_set *s, const emr_merge_options *o, bool push)
{
    emr_error error;
    emr_memory memory;
    emr_buffer buffer = test_merge_bundle(s, o);
    emr_bundle *bundle = test_bundle_open(&buffer, &memory);
    test_set given = test_set_copy(s, push ? SOURCE_PUSHED : SOURCE_IO);
    emr_merge *merge = test_merge_create(&given, o);
    emr_dtype dtype = o->unified_dtype ? (emr_dtype)o->unified_dtype : EMR_DTYPE_F32;
    collector c = collector_make(merge, s->n, emr_dtype_bits(dtype) / 8);
    emr_sink sink = all_of_sink;
    sink.user = &c;
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    if (push) {
        assert_ok(push_set(merge, &given, 1000, &error), &error);
        assert_ok(emr_merge_finish(merge, &error), &error);
    } else {
        assert_ok(emr_merge_run(merge, &error), &error);
    }
    check_unified(&c, bundle, dtype);
    for (size_t t = 0; t < s->n; t++) {
        check_task(&c, bundle, t, o->rescale_per);
        check_report(merge, bundle, t);
    }
    collector_free(&c);
    emr_merge_destroy(&merge);
    test_set_destroy(&given);
    emr_bundle_destroy(&bundle);
    emr_buffer_free(&buffer);
}

static void sink_gets_what_a_bundle_holds(void **state)
{
    (void)state;
    test_set rich = rich_set(9, 3, SOURCE_MEMORY);
    for (int per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = rich_options(per);
        o.unified_dtype = per == EMR_RESCALE_PER_TENSOR ? EMR_DTYPE_F16 : 0;
        assert_sink_is_bundle(&rich, &o, false);
    }
    test_set_destroy(&rich);
    for (uint64_t seed = 300; seed < 315; seed++) {
        test_set s = random_set(seed, 2, true);
        emr_merge_options o = small_options();
        o.rescale_per = (int)(seed % 3);
        assert_sink_is_bundle(&s, &o, seed % 2);
        test_set_destroy(&s);
    }
}

static void failing_sink_stops_the_run(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"one", EMR_DTYPE_F32, 1, {100}}, {"two", EMR_DTYPE_F32, 2, {3, 7000}}};
    test_set s = test_set_create(tensors, 2, 2, 8, SOURCE_MEMORY);
    emr_status status = EMR_EIO;
    size_t n_failed = 0;
    for (size_t k = 0; status; k++) {
        emr_error error;
        emr_merge_options o = small_options();
        o.rescale_per = EMR_RESCALE_PER_ROW;
        emr_merge *merge = test_merge_create(&s, &o);
        collector c = collector_make(merge, s.n, 4);
        emr_sink sink = all_of_sink;
        sink.user = &c;
        c.fail_at = k;
        assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
        status = emr_merge_run(merge, &error);
        if (status) {
            n_failed++;
            assert_int_equal(status, EMR_EIO);
            assert_int_equal(c.calls, k + 1);
            assert_says(&error, strstr(error.text, "'one'") ? "'one'" : "'two'");
        }
        emr_merge_destroy(&merge);
        collector_free(&c);
    }
    assert_in_range(n_failed, 3 * (1 + s.n), 100);
    test_set_destroy(&s);
}

/* Members that are NULL are not called. */
static void absent_members_are_not_called(void **state)
{
    (void)state;
    emr_error error;
    test_set s = random_set(5, 2, false);
    emr_merge_options o = small_options();
    o.rescale_per = EMR_RESCALE_PER_ROW;
    emr_merge *merge = test_merge_create(&s, &o);
    emr_sink sink = EMR_INIT(emr_sink);
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sink_gets_what_a_bundle_holds),
        cmocka_unit_test(failing_sink_stops_the_run),
        cmocka_unit_test(absent_members_are_not_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
