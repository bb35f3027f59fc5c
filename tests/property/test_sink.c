/* test_sink.c - a sink receives what a bundle would hold, in the order that emr_sink promises; and a sink
 * that fails stops the run. */
#include "property.h"

/* What has come in. Everything is per tensor, or per tensor * n_tasks + task. */
typedef struct collector {
    uint32_t n_tensors;
    size_t n_tasks, value_size;
    uint64_t *counts, *unified_next, *mask_next, *rescalers_next;
    unsigned char **unified, **masks;
    float **rescalers;
    uint32_t tensor; /* the one that is passing */
    uint64_t first;
    size_t n;
    size_t calls, fail_at;
    emr_status status; /* that it fails with, */
    const char *why;   /* and in these words; NULL: none */
} collector;

/* Says so, unless it is told to fail without a word. */
static emr_status fail_collecting(const collector *c, emr_error *error)
{
    return c->why ? emr_error_set(error, c->status, 28, NULL, c->why) : c->status;
}

static emr_status collect_unified(void *user, const emr_sink_part *p, emr_error *error)
{
    collector *c = user;
    assert_int_equal(p->size, sizeof *p);
    if (c->calls++ == c->fail_at)
        return fail_collecting(c, error);
    assert_true(p->task == EMR_BASE);
    assert_in_range(p->tensor, c->tensor, c->n_tensors - 1);
    assert_int_equal(p->first, c->unified_next[p->tensor]);
    assert_int_equal(p->first % 64, 0);
    assert_int_not_equal(p->n, 0);
    assert_in_range(p->first + p->n, 1, c->counts[p->tensor]);
    memcpy(c->unified[p->tensor] + p->first * c->value_size, p->values, p->n * c->value_size);
    c->unified_next[p->tensor] = p->first + p->n;
    c->tensor = p->tensor;
    c->first = p->first;
    c->n = p->n;
    return EMR_OK;
}

static emr_status collect_mask(void *user, const emr_sink_part *p, emr_error *error)
{
    collector *c = user;
    const uint8_t *bits = p->values;
    if (c->calls++ == c->fail_at)
        return fail_collecting(c, error);
    assert_in_range(p->task, 0, c->n_tasks - 1);
    size_t at = p->tensor * c->n_tasks + p->task;
    assert_int_equal(p->tensor, c->tensor);
    assert_int_equal(p->first, c->first);
    assert_int_equal(p->n, c->n);
    assert_int_equal(p->first, c->mask_next[at]);
    memcpy(c->masks[at] + p->first / 8, bits, (p->n + 7) / 8);
    if (p->n % 8)
        assert_int_equal(bits[p->n / 8] >> p->n % 8, 0);
    c->mask_next[at] = p->first + p->n;
    return EMR_OK;
}

static emr_status collect_rescalers(void *user, const emr_sink_part *p, emr_error *error)
{
    collector *c = user;
    size_t at = p->tensor * c->n_tasks + p->task;
    if (c->calls++ == c->fail_at)
        return fail_collecting(c, error);
    assert_in_range(p->task, 0, c->n_tasks - 1);
    assert_int_equal(p->first, c->rescalers_next[at]);
    assert_int_not_equal(p->n, 0);
    c->rescalers[at] = realloc(c->rescalers[at], (size_t)(p->first + p->n) * sizeof(float));
    memcpy(c->rescalers[at] + p->first, p->values, p->n * sizeof(float));
    c->rescalers_next[at] = p->first + p->n;
    return EMR_OK;
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
    uint32_t n = plan.n_merged;
    size_t all = n * n_tasks + 1;
    collector c = {.n_tensors = n, .n_tasks = n_tasks, .value_size = value_size, .fail_at = SIZE_MAX};
    c.counts = calloc((size_t)n + 1, sizeof *c.counts);
    c.unified_next = calloc((size_t)n + 1, sizeof *c.unified_next);
    c.mask_next = calloc(all, sizeof *c.mask_next);
    c.rescalers_next = calloc(all, sizeof *c.rescalers_next);
    c.unified = calloc((size_t)n + 1, sizeof *c.unified);
    c.masks = calloc(all, sizeof *c.masks);
    c.rescalers = calloc(all, sizeof *c.rescalers);
    for (uint32_t i = 0; i < n; i++) {
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
    for (uint32_t i = 0; i < c->n_tensors; i++) {
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

static void check_task(const collector *c, const emr_bundle *bundle, uint32_t task, emr_rescale_per per)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_mask(&view, bundle, task, NULL, &error), &error);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        size_t at = i * c->n_tasks + task, n;
        unsigned char *want = tensor_bytes_of(emr_model_tensor(view, i));
        for (uint64_t k = 0; k < c->counts[i]; k++)
            assert_int_equal(c->masks[at][k / 8] >> k % 8 & 1, want[k]);
        free(want);
        if (per == EMR_RESCALE_PER_MODEL || !c->counts[i]) {
            assert_int_equal(c->rescalers_next[at], 0);
            continue;
        }
        float *rescalers = rescalers_of(bundle, task, i, &n);
        assert_int_equal(c->rescalers_next[at], n);
        assert_memory_equal(c->rescalers[at], rescalers, n * sizeof *rescalers);
        free(rescalers);
    }
    emr_model_destroy(&view);
}

static void check_report(const emr_merge *merge, const emr_bundle *bundle, uint32_t task)
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
    emr_buffer *buffer = test_merge_bundle(s, o);
    emr_bundle *bundle = test_bundle_open(buffer);
    test_set given = test_set_copy(s, push ? SOURCE_PUSHED : SOURCE_IO);
    emr_merge *merge = test_merge_create(&given, o);
    emr_dtype dtype = o->unified_dtype ? o->unified_dtype : EMR_DTYPE_F32;
    collector c = collector_make(merge, s->n, emr_dtype_bits(dtype) / 8);
    emr_sink sink = all_of_sink;
    sink.user = &c;
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_ok(push ? push_set(merge, &given, 1000, &error) : emr_merge_run(merge, &error), &error);
    check_unified(&c, bundle, dtype);
    for (uint32_t t = 0; t < s->n; t++) {
        check_task(&c, bundle, t, o->rescale_per);
        check_report(merge, bundle, t);
    }
    collector_free(&c);
    emr_merge_destroy(&merge);
    test_set_destroy(&given);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
}

static void sink_gets_what_a_bundle_holds(void **state)
{
    (void)state;
    test_set rich = rich_set(9, 3, SOURCE_MEMORY);
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = rich_options(per);
        o.unified_dtype = per == EMR_RESCALE_PER_TENSOR ? EMR_DTYPE_F16 : 0;
        assert_sink_is_bundle(&rich, &o, false);
    }
    test_set_destroy(&rich);
    for (uint64_t seed = 300; seed < 315; seed++) {
        test_set s = random_set(seed, 2, true);
        emr_merge_options o = small_options();
        o.rescale_per = (emr_rescale_per)(1 + seed % 3);
        assert_sink_is_bundle(&s, &o, seed % 2);
        test_set_destroy(&s);
    }
}

/* With these words or none, wherever it happens: what is passed on, and what the sentence says. */
static void assert_failing_sink(emr_status returned, const char *why, emr_status want)
{
    static const test_tensor tensors[] = {{"one", EMR_DTYPE_F32, 1, {100}},
                                          {"two", EMR_DTYPE_F32, 2, {3, 7000}}};
    test_set s = test_set_create(tensors, 2, 2, 8, SOURCE_MEMORY);
    emr_status status = want;
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
        c.status = returned;
        c.why = why;
        assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
        status = emr_merge_run(merge, &error);
        if (status) {
            n_failed++;
            assert_int_equal(status, want);
            assert_int_equal(error.status, want);
            assert_int_equal(error.system, why ? 28 : 0);
            assert_int_equal(c.calls, k + 1);
            assert_says(&error, strstr(error.text, "'one'") ? "'one'" : "'two'");
            assert_names_tensor(&error, strstr(error.text, "'one'") ? "one" : "two");
            if (why)
                assert_string_equal(error.text + strlen(error.text) - strlen(why), why);
        }
        emr_merge_destroy(&merge);
        collector_free(&c);
    }
    assert_in_range(n_failed, 3 * (1 + s.n), 100);
    test_set_destroy(&s);
}

static void failing_sink_stops_the_run(void **state)
{
    (void)state;
    assert_failing_sink(EMR_EIO, "No space left on device", EMR_EIO);
    assert_failing_sink(EMR_EIO, NULL, EMR_EIO);
    assert_failing_sink(1, NULL, EMR_EIO);
    assert_failing_sink(EMR_EFORMAT, "the receiver wants F16", EMR_EIO);
    assert_failing_sink(EMR_ENOMEM, NULL, EMR_ENOMEM);
    assert_failing_sink(EMR_ECANCELED, "enough of it", EMR_ECANCELED);
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
