/* test_sentences.c - where a failure of a long call is about a file, a task or a tensor, its error says
 * which, in the text and in the spans. */
#include "fixture.h"

#include <math.h>

static fixture f; /* the base is embedded */

static int set_up(void **state)
{
    (void)state;
    fixture_create_rich(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

/* NULL: it names none. */
static void check_names(const emr_error *e, const char *file, const char *task, const char *tensor, int line)
{
    if (!test_span_is(e, e->file, file ? file : "") || !test_span_is(e, e->task, task ? task : "") ||
        !test_span_is(e, e->tensor, tensor ? tensor : ""))
        fail_msg("line %d: \"%s\" names file \"%.*s\", task \"%.*s\", tensor \"%.*s\"", line, e->text,
                 e->file.length, e->text + e->file.offset, e->task.length, e->text + e->task.offset,
                 e->tensor.length, e->text + e->tensor.offset);
}
#define assert_names(error, file, task, tensor) check_names((error), (file), (task), (tensor), __LINE__)

static const test_tensor two[] = {{"a", EMR_DTYPE_F32, 2, {3, 4}}, {"b", EMR_DTYPE_F32, 1, {5}}};
static const test_tensor other_shape[] = {{"a", EMR_DTYPE_F32, 2, {3, 4}}, {"b", EMR_DTYPE_F32, 1, {6}}};
static const test_tensor no_float[] = {{"a", EMR_DTYPE_F32, 2, {3, 4}}, {"b", EMR_DTYPE_I32, 1, {5}}};

/* Merges two models of `two` and one of other tensors into memory. */
static emr_status merge_with(const test_tensor *tensors, size_t n, emr_error *error)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    emr_buffer *out = test_buffer_new();
    test_model_destroy(&s.tasks[1]);
    s.tasks[1] = test_model_create("odd.bin", tensors, n, SOURCE_MEMORY);
    emr_merge *merge = test_merge_create(&s, NULL);
    emr_status status = emr_merge_set_output(merge, emr_buffer_io(out), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&out);
    test_set_destroy(&s);
    return status;
}

static void models_that_do_not_fit(void **state)
{
    emr_error e;
    (void)state;
    assert_int_equal(merge_with(two, 1, &e), EMR_EMISMATCH);
    assert_names(&e, "odd.bin", "t1", "b");
    assert_int_equal(merge_with(other_shape, 2, &e), EMR_EMISMATCH);
    assert_names(&e, "odd.bin", "t1", "b");
    assert_int_equal(merge_with(no_float, 2, &e), EMR_EMISMATCH);
    assert_names(&e, "odd.bin", "t1", "b");
}

static void values_that_are_not_finite(void **state)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    emr_error e;
    (void)state;
    for (int of_base = 0; of_base < 2; of_base++) {
        emr_buffer *out = test_buffer_new();
        emr_merge *merge = test_merge_create(&s, NULL);
        float *values = (float *)(void *)(of_base ? s.base.data[1] : s.tasks[1].data[1]), old = values[2];
        values[2] = NAN;
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &e), &e);
        assert_int_equal(emr_merge_run(merge, &e), EMR_ENONFINITE);
        assert_names(&e, of_base ? "base" : "task1", of_base ? NULL : "t1", "b");
        assert_non_null(strstr(e.text, "index 2"));
        values[2] = old;
        emr_merge_destroy(&merge);
        emr_buffer_destroy(&out);
    }
    test_set_destroy(&s);
}

/* A model whose second tensor cannot be read. */
static emr_model *broken_model(const char *name, test_io *broken, const emr_buffer *file, const void *bytes)
{
    emr_model *model = test_model_new(name);
    emr_error error;
    *broken = (test_io){.inner = *emr_buffer_io(file), .why = "the connection was lost", .system = 104};
    const emr_io io = test_io_make(broken);
    for (size_t i = 0; i < 2; i++) {
        emr_tensor_desc d = {
            .size = sizeof d, .name = two[i].name, .dtype = two[i].dtype, .rank = two[i].rank};
        d.shape = two[i].shape;
        d.data = i ? NULL : bytes;
        d.io = i ? &io : NULL;
        assert_ok(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

static void inputs_that_cannot_be_read(void **state)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    emr_buffer *file = test_buffer_of(s.base.data[1], 20);
    test_io broken;
    emr_error e;
    (void)state;
    for (int of_base = 0; of_base < 2; of_base++) {
        emr_model *model = broken_model("lost.bin", &broken, file, s.base.data[0]);
        emr_buffer *out = test_buffer_new();
        emr_merge *merge;
        assert_ok(emr_merge_create(&merge, NULL, &e), &e);
        assert_ok(emr_merge_set_base(merge, of_base ? model : s.base.model, &e), &e);
        assert_ok(emr_merge_add_task(merge, "french", of_base ? s.tasks[0].model : model, &e), &e);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &e), &e);
        assert_int_equal(emr_merge_run(merge, &e), EMR_EIO);
        assert_names(&e, "lost.bin", of_base ? NULL : "french", "b");
        assert_int_equal(e.system, 104);
        assert_non_null(strstr(e.text, ": the connection was lost"));
        emr_merge_destroy(&merge);
        emr_model_destroy(&model);
        emr_buffer_destroy(&out);
    }
    emr_buffer_destroy(&file);
    test_set_destroy(&s);
}

static void outputs_that_cannot_be_written(void **state)
{
    size_t k = 0;
    emr_error e;
    (void)state;
    for (bool failed = true; failed; k++) {
        emr_buffer *out = test_buffer_new();
        test_io full = {.inner = *emr_buffer_io(out), .fail_read = SIZE_MAX, .fail_write = k};
        full.why = "the disk is full";
        full.system = 28;
        const emr_io io = test_io_make(&full);
        emr_merge *merge = test_merge_create(&f.set, NULL);
        assert_ok(emr_merge_set_output(merge, &io, &e), &e);
        emr_status status = emr_merge_run(merge, &e);
        failed = status != EMR_OK;
        assert_true(!failed || (status == EMR_EIO && e.system == 28 && strstr(e.text, ": the disk is full")));
        emr_merge_destroy(&merge);
        emr_buffer_destroy(&out);
    }
    assert_true(k > 3);
}

static emr_status refuse_part(void *user, const emr_sink_part *part, emr_error *error)
{
    (void)user;
    return part->tensor == 1 ? emr_error_set(error, EMR_ENOMEM, 0, NULL, "no room") : EMR_OK;
}

static void sinks_that_fail(void **state)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    emr_merge *merge = test_merge_create(&s, NULL);
    const emr_sink sink = {.size = sizeof sink, .mask = refuse_part};
    emr_error e;
    (void)state;
    assert_ok(emr_merge_set_sink(merge, &sink, &e), &e);
    assert_int_equal(emr_merge_run(merge, &e), EMR_ENOMEM);
    assert_names(&e, NULL, "t0", "b");
    assert_non_null(strstr(e.text, ": no room"));
    emr_merge_destroy(&merge);
    const emr_merge_options per_tensor = {.size = sizeof per_tensor, .rescale_per = EMR_RESCALE_PER_TENSOR};
    const emr_sink of_rescalers = {.size = sizeof of_rescalers, .rescalers = refuse_part};
    merge = test_merge_create(&s, &per_tensor);
    assert_ok(emr_merge_set_sink(merge, &of_rescalers, &e), &e);
    assert_int_equal(emr_merge_run(merge, &e), EMR_ENOMEM);
    assert_names(&e, NULL, "t0", "b");
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

static void tasks_that_are_there_twice(void **state)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    emr_merge *merge = test_merge_create(&s, NULL);
    emr_error e;
    (void)state;
    assert_int_equal(emr_merge_add_task(merge, "t1", s.tasks[0].model, &e), EMR_EEXIST);
    assert_names(&e, NULL, "t1", NULL);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

static void pushes_that_are_missing(void **state)
{
    test_set s = test_set_create(two, 2, 2, 5, SOURCE_MEMORY);
    test_model_destroy(&s.tasks[1]);
    s.tasks[1] = test_model_create("pushed.bin", two, 2, SOURCE_PUSHED);
    emr_buffer *out = test_buffer_new();
    emr_merge *merge = test_merge_create(&s, NULL);
    size_t taken;
    emr_error e;
    (void)state;
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &e), &e);
    assert_ok(emr_merge_begin(merge, &e), &e);
    assert_ok(emr_merge_push(merge, 1, s.tasks[0].data[0], 48, &taken, &e), &e);
    assert_int_equal(emr_merge_finish(merge, &e), EMR_ESTATE);
    assert_true(test_span_is(&e, e.task, "t1"));
    assert_true(test_span_is(&e, e.tensor, "b"));
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&out);
    test_set_destroy(&s);
}

/* One bit of the bundle's stored blocks is wrong: whatever needs it names the bundle. */
static void bundles_that_are_damaged(void **state)
{
    size_t n = emr_buffer_bytes(f.buffer), found = 0;
    unsigned char *bytes = malloc(n);
    emr_error e;
    (void)state;
    memcpy(bytes, emr_buffer_data(f.buffer), n);
    for (size_t at = 64; at < n; at += 97) {
        emr_bundle *bundle;
        emr_model *model;
        bytes[at] ^= 4;
        emr_buffer *file = test_buffer_of(bytes, n);
        emr_status status = emr_bundle_open(&bundle, emr_buffer_io(file), "damaged.emr", NULL, &e);
        if (status)
            assert_names(&e, "damaged.emr", NULL, NULL);
        for (uint32_t t = 0; !status && t < FIXTURE_TASKS; t++) {
            assert_ok(emr_bundle_open_task(&model, bundle, t, NULL, NULL, &e), &e);
            for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
                const emr_tensor *tensor = emr_model_tensor(model, i);
                unsigned char got[2000];
                if (emr_tensor_read(tensor, 0, got, (size_t)emr_tensor_bytes(tensor), &e) == EMR_OK)
                    continue;
                assert_true(test_span_is(&e, e.tensor, emr_tensor_name(tensor)));
                assert_non_null(strstr(e.text, "damaged.emr"));
                found++;
            }
            emr_model_destroy(&model);
        }
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&file);
        bytes[at] ^= 4;
    }
    assert_true(found > 0);
    free(bytes);
}

static void tasks_and_bases_that_are_not_there(void **state)
{
    static const test_tensor others[] = {{"w", EMR_DTYPE_F32, 2, {6, 41}}};
    const uint32_t twice[] = {1, 1}, far = 9;
    const emr_task_selection two_times = {.size = sizeof two_times, .tasks = twice, .n_tasks = 2};
    const emr_task_selection no_task = {.size = sizeof no_task, .tasks = &far, .n_tasks = 1};
    test_model other = test_model_create("other.bin", others, 1, SOURCE_MEMORY);
    emr_buffer *out = test_buffer_new();
    emr_modulator *modulator;
    emr_session *session;
    emr_model *model;
    emr_error e;
    (void)state;
    assert_int_equal(emr_bundle_open_task(&model, f.bundle, far, NULL, NULL, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", NULL, NULL);
    assert_int_equal(emr_bundle_open_modulator(&modulator, f.bundle, far, NULL, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", NULL, NULL);
    assert_int_equal(emr_bundle_open_mask(&model, f.bundle, far, NULL, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", NULL, NULL);
    assert_int_equal(emr_bundle_open_task(&model, f.bundle, 0, other.model, NULL, &e), EMR_EMISMATCH);
    assert_names(&e, "other.bin", NULL, "w");
    assert_int_equal(emr_session_create(&session, f.bundle, other.model, NULL, &e), EMR_EMISMATCH);
    assert_names(&e, "other.bin", NULL, "w");
    assert_int_equal(emr_bundle_drop(f.bundle, &two_times, emr_buffer_io(out), NULL, &e), EMR_EINVAL);
    assert_names(&e, "test.emr", "t1", NULL);
    assert_int_equal(emr_bundle_drop(f.bundle, &no_task, emr_buffer_io(out), NULL, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", NULL, NULL);
    assert_int_equal(emr_bundle_extract(f.bundle, &no_task, emr_buffer_io(out), NULL, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", NULL, NULL);
    emr_buffer_destroy(&out);
    test_model_destroy(&other);
}

static void weights_that_a_session_cannot_give(void **state)
{
    float memory[240];
    emr_weights weights = {.size = sizeof weights, .name = "no such", .data = memory};
    emr_session *session;
    emr_error e;
    (void)state;
    assert_ok(emr_session_create(&session, f.bundle, NULL, NULL, &e), &e);
    assert_int_equal(emr_session_apply(session, 1, &weights, 1, &e), EMR_ENOTFOUND);
    assert_names(&e, "test.emr", "t1", "no such");
    weights.name = "w";
    weights.first = 241;
    assert_int_equal(emr_session_apply(session, 1, &weights, 1, &e), EMR_EINVAL);
    assert_names(&e, "test.emr", NULL, "w");
    emr_session_destroy(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_do_not_fit),
        cmocka_unit_test(values_that_are_not_finite),
        cmocka_unit_test(inputs_that_cannot_be_read),
        cmocka_unit_test(outputs_that_cannot_be_written),
        cmocka_unit_test(sinks_that_fail),
        cmocka_unit_test(tasks_that_are_there_twice),
        cmocka_unit_test(pushes_that_are_missing),
        cmocka_unit_test(bundles_that_are_damaged),
        cmocka_unit_test(tasks_and_bases_that_are_not_there),
        cmocka_unit_test(weights_that_a_session_cannot_give),
    };
    return cmocka_run_group_tests_name("sentences", tests, set_up, tear_down);
}
