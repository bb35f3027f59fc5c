/* test_bundle_select.c - choosing tasks for another bundle: what may be chosen, and that caps on memory hold,
 * there and where a bundle or its base is checked. */
#include "fixture.h"

#include <stdio.h>

static fixture f; /* rescalers per row, the base embedded, extendable */

static int set_up(void **state)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    (void)state;
    options.rescale_per = EMR_RESCALE_PER_ROW;
    options.embed_base = 1;
    options.extendable = 1;
    fixture_create(&f, &options, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

/* emr_bundle_drop or emr_bundle_extract. */
typedef emr_status (*select_fn)(const emr_bundle *b, const emr_task_selection *selection, const emr_io *io,
                                emr_drop_report *report, emr_error *error);

static emr_buffer *extract(const emr_bundle *b, const uint32_t *tasks, uint32_t n)
{
    const emr_task_selection selection = {.size = sizeof selection, .tasks = tasks, .n_tasks = n};
    emr_buffer *out = test_buffer_new();
    emr_error error;
    assert_ok(emr_bundle_extract(b, &selection, emr_buffer_io(out), NULL, &error), &error);
    return out;
}

/* All tasks make a bundle of all tasks, to which none can be added; and a task that is extracted from it, or
 * from one of two, is what it is when it is extracted at once. */
static void extracts_of_extracts_are_extracts(void **state)
{
    static const uint32_t all[] = {2, 0, 1};
    (void)state;
    emr_buffer *whole = extract(f.bundle, all, 3), *two = extract(f.bundle, all + 1, 2);
    emr_bundle *of_all = test_bundle_open(whole), *of_two = test_bundle_open(two);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_int_equal(emr_bundle_get_info(of_all, &info), EMR_OK);
    assert_int_equal(info.n_tasks, FIXTURE_TASKS);
    assert_int_equal(info.extendable, 0);
    for (uint32_t task = 0; task < 2; task++) {
        emr_buffer *at_once = extract(f.bundle, &task, 1), *one = extract(of_all, &task, 1),
                   *other = extract(of_two, &task, 1);
        assert_true(test_same_buffers(at_once, one));
        assert_true(test_same_buffers(at_once, other));
        emr_buffer_destroy(&at_once);
        emr_buffer_destroy(&one);
        emr_buffer_destroy(&other);
    }
    emr_bundle_destroy(&of_all);
    emr_bundle_destroy(&of_two);
    emr_buffer_destroy(&whole);
    emr_buffer_destroy(&two);
}

static void refuse(select_fn select, const uint32_t *tasks, uint32_t n, emr_status status, const char *task)
{
    const emr_task_selection selection = {.size = sizeof selection, .tasks = tasks, .n_tasks = n};
    emr_error error;
    emr_buffer *out = test_buffer_new();
    memset(&error, 0, sizeof error);
    assert_int_equal(select(f.bundle, &selection, emr_buffer_io(out), NULL, &error), status);
    assert_int_equal(error.status, status);
    assert_true(strlen(error.text) > 20);
    assert_true(task ? test_span_is(&error, error.task, task) : error.task.length == 0);
    assert_int_equal(emr_buffer_bytes(out), 0);
    emr_buffer_destroy(&out);
}

static void wrong_selections_are_refused(void **state)
{
    static const uint32_t twice[] = {1, 0, 1}, all[] = {0, 1, 2}, absent[] = {0, 3}, base[] = {EMR_BASE};
    (void)state;
    for (int which = 0; which < 2; which++) {
        select_fn select = which ? emr_bundle_extract : emr_bundle_drop;
        refuse(select, twice, 3, EMR_EINVAL, "t1");
        refuse(select, absent, 2, EMR_ENOTFOUND, NULL);
        refuse(select, base, 1, EMR_ENOTFOUND, NULL);
        refuse(select, all, 0, EMR_EINVAL, NULL);
        refuse(select, NULL, 0, EMR_EINVAL, NULL);
    }
    refuse(emr_bundle_drop, all, 3, EMR_EINVAL, NULL);
}

static emr_status select_first(select_fn select, const emr_resources *resources, emr_error *error)
{
    static const uint32_t first = 0;
    const emr_task_selection selection = {
        .size = sizeof selection, .resources = resources, .tasks = &first, .n_tasks = 1};
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_buffer *out = test_buffer_new();
    emr_status status = select(f.bundle, &selection, emr_buffer_io(out), &report, error);
    emr_buffer_destroy(&out);
    return status;
}

static void stopping_tells_what_was_stopped_and_why(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        emr_error error;
        test_progress progress = {.stop_at = 3, .why = "the window was closed"};
        emr_resources resources = test_resources(NULL, NULL);
        resources.progress = test_progress_note;
        resources.progress_user = &progress;
        select_fn select = which ? emr_bundle_extract : emr_bundle_drop;
        assert_int_equal(select_first(select, &resources, &error), EMR_ECANCELED);
        assert_string_equal(error.text, which ? "extracting tasks was canceled: the window was closed"
                                              : "dropping tasks was canceled: the window was closed");
    }
}

/* The calls that take resources. */
enum { DROPPING, EXTRACTING, VERIFYING, CHECKING, N_CALLS };

static emr_status run_call(int call, const emr_resources *resources, emr_error *error)
{
    const emr_base_check_options check = {.size = sizeof check, .resources = resources};
    return call == DROPPING     ? select_first(emr_bundle_drop, resources, error)
           : call == EXTRACTING ? select_first(emr_bundle_extract, resources, error)
           : call == VERIFYING  ? emr_bundle_verify(f.bundle, resources, error)
                                : emr_bundle_check_base(f.bundle, f.set.base.model, &check, error);
}

/* With too little memory each says how much it needs; with that it keeps to it, and with more uses more
 * threads. */
static void caps_on_memory_hold(void **state)
{
    emr_pool *pool = test_pool_new(4);
    (void)state;
    for (int call = 0; call < N_CALLS; call++) {
        emr_error error;
        size_t needed = 0;
        test_meter meter = {0};
        const emr_allocator allocator = test_meter_make(&meter);
        emr_resources resources = test_resources(&allocator, emr_pool_executor(pool));
        resources.memory_bytes = 1;
        assert_int_equal(run_call(call, &resources, &error), EMR_ELIMIT);
        assert_int_equal(sscanf(error.text, "test.emr: 1 bytes of memory are too little, %zu", &needed), 1);
        resources.memory_bytes = needed - 1;
        assert_int_equal(run_call(call, &resources, &error), EMR_ELIMIT);
        for (size_t more = 0; more < 3 * needed; more += needed / 2 + 1) {
            meter.peak = 0;
            resources.memory_bytes = needed + more;
            assert_ok(run_call(call, &resources, &error), &error);
            assert_true(meter.peak <= resources.memory_bytes);
            assert_int_equal(meter.now, 0);
        }
    }
    emr_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extracts_of_extracts_are_extracts),
        cmocka_unit_test(wrong_selections_are_refused),
        cmocka_unit_test(stopping_tells_what_was_stopped_and_why),
        cmocka_unit_test(caps_on_memory_hold),
    };
    return cmocka_run_group_tests_name("selected tasks", tests, set_up, tear_down);
}
