/* test_refusal.c - models that do not fit together and values that are not finite: each refusal is one line
 * that names tensor, task and file, the plan refuses what the run refuses, and what is counted as zero is
 * reported. */
#include "property.h"

#include <math.h>
#include <stdio.h>

typedef struct refusal {
    test_tensor base, task;
    const char *says; /* beside tensor, task and file */
    const char *says_too;
} refusal;

static const refusal refusals[] = {
    {{"x", EMR_DTYPE_F32, 2, {2, 3}}, {"x", EMR_DTYPE_F32, 2, {3, 2}}, "[2, 3]", "[3, 2]"},
    {{"x", EMR_DTYPE_F32, 1, {6}}, {"x", EMR_DTYPE_F32, 2, {2, 3}}, "[6]", "[2, 3]"},
    {{"x", EMR_DTYPE_F32, 0, {0}}, {"x", EMR_DTYPE_F32, 1, {1}}, "[]", "[1]"},
    {{"x", EMR_DTYPE_F32, 2, {0, 3}}, {"x", EMR_DTYPE_F32, 2, {3, 0}}, "[0, 3]", "[3, 0]"},
    {{"x", EMR_DTYPE_I32, 1, {6}}, {"x", EMR_DTYPE_I32, 1, {7}}, "[6]", "[7]"},
    {{"x", EMR_DTYPE_F32, 1, {6}}, {"x", EMR_DTYPE_I32, 1, {6}}, "F32", "I32"},
    {{"x", EMR_DTYPE_U8, 1, {6}}, {"x", EMR_DTYPE_BF16, 1, {6}}, "U8", "BF16"},
    {{"x", EMR_DTYPE_F32, 1, {6}}, {0}, "absent", "base"},
    {{"x", EMR_DTYPE_BOOL, 1, {6}}, {0}, "absent", "base"},
};

/* t0 fits the base; t1 has the tensor otherwise. */
static test_set make_set(const refusal *f)
{
    static const test_tensor plain = {"w", EMR_DTYPE_F32, 1, {5}};
    test_tensor tensors[2] = {plain, f->base};
    test_set s = {test_model_create("base.file", tensors, 2, SOURCE_MEMORY), calloc(2, sizeof(test_model)),
                  2};
    s.tasks[0] = test_model_create("first.file", tensors, 2, SOURCE_MEMORY);
    tensors[1] = f->task;
    s.tasks[1] = test_model_create("second.file", tensors, f->task.dtype ? 2 : 1, SOURCE_MEMORY);
    return s;
}

static void assert_refused(const refusal *f, emr_status status, const emr_error *error)
{
    assert_int_equal(status, EMR_EMISMATCH);
    assert_says(error, "'x'");
    assert_says(error, "'t1'");
    assert_names_tensor(error, "x");
    assert_names_task(error, "t1");
    assert_names_file(error, "second.file");
    assert_says(error, f->says);
    assert_says(error, f->says_too);
}

static void models_that_do_not_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        emr_error planned, run;
        emr_buffer *buffer = test_buffer_new();
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        test_set s = make_set(&refusals[i]);
        emr_merge *merge = test_merge_create(&s, NULL);
        assert_refused(&refusals[i], emr_merge_get_plan(merge, &plan, &planned), &planned);
        emr_merge_destroy(&merge);
        merge = test_merge_create(&s, NULL);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &run), &run);
        assert_refused(&refusals[i], emr_merge_run(merge, &run), &run);
        assert_string_equal(planned.text, run.text);
        assert_int_equal(emr_buffer_bytes(buffer), 0);
        emr_merge_destroy(&merge);
        emr_buffer_destroy(&buffer);
        test_set_destroy(&s);
    }
}

static const test_tensor values[] = {{"first", EMR_DTYPE_F32, 1, {100}},
                                     {"second", EMR_DTYPE_F16, 2, {100, 300}},
                                     {"third", EMR_DTYPE_F64, 1, {20001}}};

/* What a run without output says about a set. */
static emr_status run_quietly(const test_set *s, const emr_merge_options *o, emr_error *error)
{
    emr_sink sink = EMR_INIT(emr_sink);
    emr_merge *merge = test_merge_create(s, o);
    assert_ok(emr_merge_set_sink(merge, &sink, error), error);
    emr_status status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    return status;
}

static void assert_nonfinite(size_t model, size_t tensor, uint64_t at, float value)
{
    emr_error error;
    char index[32];
    test_set s = test_set_create(values, 3, 2, 3, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    test_store(model ? &s.tasks[model - 1] : &s.base, tensor, at, value);
    assert_int_equal(run_quietly(&s, &o, &error), EMR_ENONFINITE);
    snprintf(index, sizeof index, "index %u", (unsigned)at);
    assert_says(&error, index);
    assert_names_tensor(&error, values[tensor].name);
    assert_says(&error, model == 0 ? "base" : model == 1 ? "'t0' (task0)" : "'t1' (task1)");
    assert_names_task(&error, model == 0 ? NULL : model == 1 ? "t0" : "t1");
    assert_names_file(&error, model == 0 ? "base" : model == 1 ? "task0" : "task1");
    test_set_destroy(&s);
}

static void nonfinite_values_are_named(void **state)
{
    (void)state;
    for (size_t model = 0; model < 3; model++) {
        assert_nonfinite(model, 0, 0, NAN);
        assert_nonfinite(model, 0, 99, INFINITY);
        assert_nonfinite(model, 1, 70, -INFINITY);
        assert_nonfinite(model, 1, 29999, NAN);
        assert_nonfinite(model, 2, 20000, NAN);
    }
}

static void difference_beyond_f32_is_named(void **state)
{
    (void)state;
    emr_error error;
    test_set s = test_set_create(values, 3, 2, 3, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    test_store(&s.base, 0, 65, 3e38f);
    test_store(&s.tasks[0], 0, 65, 3e38f);
    test_store(&s.tasks[1], 0, 65, -3e38f);
    assert_int_equal(run_quietly(&s, &o, &error), EMR_ENONFINITE);
    assert_says(&error, "'t1'");
    assert_says(&error, "index 65");
    assert_says(&error, "'first'");
    assert_says(&error, "overflow");
    test_set_destroy(&s);
}

static void unified_beyond_its_dtype_is_named(void **state)
{
    (void)state;
    emr_error error;
    test_set s = test_set_create(values, 3, 2, 3, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    test_store(&s.tasks[1], 0, 66, 70000);
    test_store(&s.tasks[0], 0, 66, 70000);
    o.unified_dtype = EMR_DTYPE_F16;
    assert_int_equal(run_quietly(&s, &o, &error), EMR_ENONFINITE);
    assert_says(&error, "'first'");
    assert_says(&error, "index 66");
    assert_says(&error, "F16");
    o.unified_dtype = EMR_DTYPE_BF16;
    assert_ok(run_quietly(&s, &o, &error), &error);
    test_set_destroy(&s);
}

/* The first in the order of tensors and indexes, whoever comes across which one first. */
static void the_first_of_many_is_named(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        emr_error error;
        odd_executor odd = {.order = {seed}, .reverse = seed % 2};
        emr_executor executor = odd_executor_make(&odd, 4);
        emr_resources resources = test_resources(NULL, &executor);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        resources.memory_bytes = 64 << 20;
        o.resources = &resources;
        test_set s = test_set_create(values, 3, 2, seed, seed < 4 ? SOURCE_IO : SOURCE_MEMORY);
        test_store(&s.tasks[0], 2, 20000, NAN);
        test_store(&s.tasks[1], 1, 20001, NAN);
        test_store(&s.tasks[0], 1, 20002, NAN);
        assert_int_equal(run_quietly(&s, &o, &error), EMR_ENONFINITE);
        assert_says(&error, "'second'");
        assert_says(&error, "index 20001");
        test_set_destroy(&s);
    }
}

static void nonfinite_as_zero_is_computed_and_counted(void **state)
{
    (void)state;
    emr_error error;
    test_set s = test_set_create(values, 3, 2, 3, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    o.on_nonfinite = EMR_ON_NONFINITE_ZERO;
    test_store(&s.base, 0, 7, NAN);           /* both tasks */
    test_store(&s.tasks[0], 1, 20000, NAN);   /* t0 */
    test_store(&s.tasks[0], 1, 64, INFINITY); /* t0 */
    test_store(&s.tasks[1], 1, 64, -INFINITY);
    test_store(&s.tasks[1], 2, 3, INFINITY);
    assert_merge_is_formula(&s, &o);
    emr_sink sink = EMR_INIT(emr_sink);
    emr_merge *merge = test_merge_create(&s, &o);
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    static const uint64_t by_tensor[] = {2, 3, 1}, by_task[] = {3, 3};
    for (uint32_t i = 0; i < 3; i++) {
        emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
        assert_ok(emr_merge_get_plan_tensor(merge, i, &row), NULL);
        assert_int_equal(row.zeroed, by_tensor[i]);
    }
    for (uint32_t t = 0; t < 2; t++) {
        emr_task_report report = EMR_INIT(emr_task_report);
        assert_ok(emr_merge_get_task_report(merge, t, &report), NULL);
        assert_int_equal(report.zeroed, by_task[t]);
    }
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

/* Private tensors are not computed with: what they hold is their task's business. */
static void private_tensors_may_hold_anything(void **state)
{
    (void)state;
    emr_error error;
    const char *glob = "first";
    test_set s = test_set_create(values, 3, 2, 3, SOURCE_MEMORY);
    emr_policy policy = private_policy(&glob);
    emr_merge_options o = small_options();
    o.policy = &policy;
    test_store(&s.base, 0, 1, NAN);
    test_store(&s.tasks[0], 0, 2, INFINITY);
    assert_ok(run_quietly(&s, &o, &error), &error);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_do_not_fit),
        cmocka_unit_test(nonfinite_values_are_named),
        cmocka_unit_test(difference_beyond_f32_is_named),
        cmocka_unit_test(unified_beyond_its_dtype_is_named),
        cmocka_unit_test(the_first_of_many_is_named),
        cmocka_unit_test(nonfinite_as_zero_is_computed_and_counted),
        cmocka_unit_test(private_tensors_may_hold_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
