/* test_order.c - calls out of order are EMR_ESTATE; progress is told truthfully, and a run stops when it is
 * asked to. */
#include "property.h"

static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {20, 30}}, {"h", EMR_DTYPE_BF16, 1, {9}}};

/* A merge at one point of its life. */
typedef struct life {
    test_set set;
    emr_merge *merge;
    emr_buffer *buffer;
    emr_error error;
} life;

static void begin_life(life *l, bool with_output)
{
    *l = (life){.set = test_set_create(tensors, 2, 2, 6, SOURCE_MEMORY), .buffer = test_buffer_new()};
    emr_merge_options o = small_options();
    l->merge = test_merge_create(&l->set, &o);
    if (with_output)
        assert_ok(emr_merge_set_output(l->merge, emr_buffer_io(l->buffer), &l->error), &l->error);
}

static void end_life(life *l)
{
    emr_merge_destroy(&l->merge);
    emr_buffer_destroy(&l->buffer);
    test_set_destroy(&l->set);
}

/* The life ends here: after a failure a handle may only be destroyed. */
static void assert_state(life *l, emr_status status, const char *says)
{
    assert_int_equal(status, EMR_ESTATE);
    assert_says(&l->error, says);
    end_life(l);
}

static void without_models_or_output(void **state)
{
    (void)state;
    life l;
    emr_merge *merge;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    emr_sink sink = EMR_INIT(emr_sink);
    for (int i = 0; i < 4; i++) {
        begin_life(&l, false);
        assert_ok(emr_merge_create(&merge, NULL, &l.error), &l.error);
        if (i % 2)
            assert_ok(emr_merge_set_base(merge, l.set.base.model, &l.error), &l.error);
        else
            assert_ok(emr_merge_add_task(merge, "t", l.set.tasks[0].model, &l.error), &l.error);
        assert_ok(emr_merge_set_sink(merge, &sink, &l.error), &l.error);
        emr_status status =
            i < 2 ? emr_merge_run(merge, &l.error) : emr_merge_get_plan(merge, &plan, &l.error);
        emr_merge_destroy(&merge);
        assert_state(&l, status, "base");
    }
    begin_life(&l, false);
    assert_state(&l, emr_merge_run(l.merge, &l.error), "output");
}

static void a_second_output(void **state)
{
    (void)state;
    life l;
    emr_sink sink = EMR_INIT(emr_sink);
    begin_life(&l, true);
    assert_state(&l, emr_merge_set_sink(l.merge, &sink, &l.error), "output");
    begin_life(&l, true);
    assert_state(&l, emr_merge_set_output(l.merge, emr_buffer_io(l.buffer), &l.error), "output");
    begin_life(&l, true);
    assert_ok(emr_merge_run(l.merge, &l.error), &l.error);
    assert_state(&l, emr_merge_set_sink(l.merge, &sink, &l.error), "output");
}

static void models_after_the_plan(void **state)
{
    (void)state;
    life l;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    begin_life(&l, true);
    assert_ok(emr_merge_get_plan(l.merge, &plan, &l.error), &l.error);
    assert_state(&l, emr_merge_set_base(l.merge, l.set.base.model, &l.error), "plan");
    begin_life(&l, true);
    assert_ok(emr_merge_get_plan(l.merge, &plan, &l.error), &l.error);
    assert_state(&l, emr_merge_add_task(l.merge, "late", l.set.base.model, &l.error), "plan");
}

static void anything_after_the_run(void **state)
{
    (void)state;
    size_t taken;
    uint64_t bytes;
    const emr_tensor *tensor;
    for (int i = 0; i < 6; i++) {
        life l;
        begin_life(&l, true);
        assert_ok(emr_merge_run(l.merge, &l.error), &l.error);
        emr_status status = i == 0   ? emr_merge_run(l.merge, &l.error)
                            : i == 1 ? emr_merge_finish(l.merge, &l.error)
                            : i == 2 ? emr_merge_push(l.merge, 0, "x", 1, &taken, &l.error)
                            : i == 3 ? emr_merge_get_expected(l.merge, 0, &tensor, &bytes, &l.error)
                            : i == 5 ? emr_merge_begin(l.merge, &l.error)
                                     : emr_merge_add_task(l.merge, "late", l.set.base.model, &l.error);
        assert_state(&l, status, i == 4 ? "before" : "merge");
    }
}

static void after_a_failed_run(void **state)
{
    (void)state;
    life l;
    emr_task_report report = EMR_INIT(emr_task_report);
    begin_life(&l, true);
    uint32_t nan = 0x7fc00000;
    memcpy(l.set.base.data[0], &nan, sizeof nan);
    assert_int_equal(emr_merge_run(l.merge, &l.error), EMR_ENONFINITE);
    assert_int_equal(emr_merge_get_task_report(l.merge, 0, &report), EMR_ESTATE);
    assert_state(&l, emr_merge_run(l.merge, &l.error), "merge");
}

static void questions_too_early_or_past_the_end(void **state)
{
    (void)state;
    life l;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
    emr_task_report report = EMR_INIT(emr_task_report);
    begin_life(&l, true);
    assert_int_equal(emr_merge_get_plan_tensor(l.merge, 0, &row), EMR_ESTATE);
    assert_int_equal(emr_merge_get_task_report(l.merge, 0, &report), EMR_ESTATE);
    assert_ok(emr_merge_get_plan(l.merge, &plan, &l.error), &l.error);
    assert_ok(emr_merge_get_plan(l.merge, &plan, &l.error), &l.error); /* as often as one likes */
    assert_ok(emr_merge_get_plan_tensor(l.merge, 1, &row), NULL);
    assert_int_equal(emr_merge_get_plan_tensor(l.merge, 2, &row), EMR_ENOTFOUND);
    assert_int_equal(emr_merge_get_task_report(l.merge, 0, &report), EMR_ESTATE);
    assert_ok(emr_merge_run(l.merge, &l.error), &l.error);
    assert_ok(emr_merge_get_task_report(l.merge, 1, &report), NULL);
    assert_int_equal(emr_merge_get_task_report(l.merge, 2, &report), EMR_ENOTFOUND);
    assert_ok(emr_merge_get_plan(l.merge, &plan, &l.error), &l.error);
    end_life(&l);
}

/* Pushing has a beginning, which happens once. */
static void pushing_before_it_begins(void **state)
{
    (void)state;
    size_t taken = 7;
    uint64_t bytes;
    const emr_tensor *tensor;
    for (int i = 0; i < 4; i++) {
        life l;
        begin_life(&l, true);
        if (i > 2)
            assert_ok(emr_merge_begin(l.merge, &l.error), &l.error);
        emr_status status = i == 0   ? emr_merge_push(l.merge, EMR_BASE, "x", 1, &taken, &l.error)
                            : i == 1 ? emr_merge_get_expected(l.merge, EMR_BASE, &tensor, &bytes, &l.error)
                            : i == 2 ? emr_merge_finish(l.merge, &l.error)
                                     : emr_merge_begin(l.merge, &l.error);
        assert_state(&l, status, i < 3 ? "emr_merge_begin" : "merge");
    }
    assert_int_equal(taken, 0);
    life l;
    begin_life(&l, false);
    assert_state(&l, emr_merge_begin(l.merge, &l.error), "output");
}

/* What is fixed by the beginning. */
static void anything_once_it_has_begun(void **state)
{
    (void)state;
    emr_sink sink = EMR_INIT(emr_sink);
    for (int i = 0; i < 4; i++) {
        life l;
        begin_life(&l, true);
        assert_ok(emr_merge_begin(l.merge, &l.error), &l.error);
        emr_status status = i == 0   ? emr_merge_run(l.merge, &l.error)
                            : i == 1 ? emr_merge_set_sink(l.merge, &sink, &l.error)
                            : i == 2 ? emr_merge_set_base(l.merge, l.set.base.model, &l.error)
                                     : emr_merge_add_task(l.merge, "late", l.set.base.model, &l.error);
        assert_state(&l, status, "");
    }
}

/* What a progress callback was told. */
typedef struct recorder {
    uint64_t done, total;
    size_t calls, stop_at;
} recorder;

static emr_status record_progress(void *user, const emr_progress *progress, emr_error *error)
{
    recorder *r = user;
    assert_int_equal(progress->size, sizeof *progress);
    assert_in_range(progress->done, r->done, progress->total);
    if (r->calls)
        assert_int_equal(progress->total, r->total);
    r->done = progress->done;
    r->total = progress->total;
    assert_int_equal(error->text[0], '\0');
    return r->calls++ == r->stop_at ? EMR_EIO /* anything else than EMR_OK */ : EMR_OK;
}

static emr_status run_recorded(const test_set *s, emr_merge_options o, recorder *r, bool push,
                               emr_error *error)
{
    emr_buffer *buffer = test_buffer_new();
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    emr_resources resources = *o.resources;
    resources.progress = record_progress;
    resources.progress_user = r;
    o.resources = &resources;
    emr_merge *merge = test_merge_create(s, &o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), error), error);
    assert_ok(emr_merge_get_plan(merge, &plan, error), error);
    emr_status status = push ? push_set(merge, s, 5000, error) : emr_merge_run(merge, error);
    if (!status) {
        assert_int_not_equal(r->calls, 0);
        assert_int_equal(r->total, plan.bytes_in);
        assert_int_equal(r->done, r->total);
    }
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    return status;
}

static void progress_ends_at_the_total(void **state)
{
    (void)state;
    emr_error error;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        recorder r = {.stop_at = SIZE_MAX};
        emr_merge_options o = rich_options(per);
        o.embed_base = per == EMR_RESCALE_PER_ROW;
        test_set s = rich_set(5, 3, per == EMR_RESCALE_PER_TENSOR ? SOURCE_IO : SOURCE_MEMORY);
        assert_ok(run_recorded(&s, o, &r, false, &error), &error);
        assert_in_range(r.calls, 10, SIZE_MAX);
        test_set_destroy(&s);
    }
    for (uint64_t seed = 1; seed < 20; seed++) {
        recorder r = {.stop_at = SIZE_MAX};
        test_set s = random_set(seed, 2, true), pushed = test_set_copy(&s, SOURCE_PUSHED);
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        emr_merge *merge = test_merge_create(&s, NULL);
        assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
        if (plan.bytes_in)
            assert_ok(run_recorded(&pushed, small_options(), &r, true, &error), &error);
        emr_merge_destroy(&merge);
        test_set_destroy(&s);
        test_set_destroy(&pushed);
    }
}

/* A tensor that is kept by no task, since all have changed it, counts as well. */
static void progress_ends_at_the_total_with_changed_integers(void **state)
{
    (void)state;
    static const test_tensor mixed[] = {{"w", EMR_DTYPE_F32, 1, {100}}, {"steps", EMR_DTYPE_I64, 1, {1000}}};
    for (size_t n_changed = 0; n_changed <= 2; n_changed++) {
        emr_error error;
        recorder r = {.stop_at = SIZE_MAX};
        test_set s = test_set_create(mixed, 2, 2, 5, SOURCE_MEMORY);
        for (size_t t = 0; t < n_changed; t++)
            s.tasks[t].data[1][77] ^= 1;
        assert_ok(run_recorded(&s, small_options(), &r, false, &error), &error);
        test_set_destroy(&s);
    }
}

static void a_callback_can_stop_the_run_at_any_time(void **state)
{
    (void)state;
    test_set s = rich_set(5, 2, SOURCE_MEMORY);
    emr_status status = EMR_ECANCELED;
    size_t n_stopped = 0;
    for (size_t k = 0; status; k++) {
        emr_error error;
        recorder r = {.stop_at = k};
        status = run_recorded(&s, rich_options(EMR_RESCALE_PER_MODEL), &r, false, &error);
        if (status) {
            n_stopped++;
            assert_int_equal(status, EMR_ECANCELED);
            assert_int_equal(r.calls, k + 1);
            assert_says(&error, "cancel");
        }
    }
    assert_in_range(n_stopped, 5, SIZE_MAX);
    test_set_destroy(&s);
}

/* "At most this is written, before compression." */
static void assert_output_within_plan(const test_set *s, emr_merge_options o)
{
    emr_error error;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    o.compression = EMR_COMPRESSION_NONE;
    emr_merge *merge = test_merge_create(s, &o);
    assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
    emr_buffer *buffer = test_merge_bundle(s, &o);
    if (emr_buffer_bytes(buffer) > plan.bytes_out)
        fail_msg("%zu bytes were written, planned were at most %zu", emr_buffer_bytes(buffer),
                 (size_t)plan.bytes_out);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
}

static void planned_output_is_an_upper_bound(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        test_set s = rich_set(6, 2, SOURCE_MEMORY);
        emr_merge_options o = rich_options(per);
        o.block_params = per == EMR_RESCALE_PER_TENSOR ? 4096 : 0;
        assert_output_within_plan(&s, o);
        test_set_destroy(&s);
    }
    for (uint64_t seed = 1; seed < 40; seed++) {
        test_set s = random_set(seed, 1 + seed % 4, true);
        const char *glob = seed % 2 ? "p[0-4]" : NULL;
        emr_policy policy = private_policy(&glob);
        emr_merge_options o = rich_options((emr_rescale_per)(1 + seed % 3));
        o.policy = &policy;
        o.embed_base = seed % 4 < 2;
        o.block_params = 4096;
        assert_output_within_plan(&s, o);
        test_set_destroy(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_models_or_output),
        cmocka_unit_test(a_second_output),
        cmocka_unit_test(models_after_the_plan),
        cmocka_unit_test(anything_after_the_run),
        cmocka_unit_test(pushing_before_it_begins),
        cmocka_unit_test(anything_once_it_has_begun),
        cmocka_unit_test(after_a_failed_run),
        cmocka_unit_test(questions_too_early_or_past_the_end),
        cmocka_unit_test(progress_ends_at_the_total),
        cmocka_unit_test(progress_ends_at_the_total_with_changed_integers),
        cmocka_unit_test(a_callback_can_stop_the_run_at_any_time),
        cmocka_unit_test(planned_output_is_an_upper_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
