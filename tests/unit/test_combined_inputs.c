/* test_combined_inputs.c - a combined model is a model like any other: as a task of a merge, as its base, under a session,
 * and as an input of another combination it gives what a copy of its bytes gives. */
#include "combined_world.h"

static const test_tensor few[] = {{"layers.0.w", EMR_DTYPE_F32, 2, {40, 300}},
                                  {"layers.0.b", EMR_DTYPE_BF16, 1, {77}},
                                  {"norm", EMR_DTYPE_F16, 0, {0}}};
enum { N_FEW = sizeof few / sizeof *few };

/* A model and a copy of its bytes, which is opened from the buffer. */
typedef struct twins {
    emr_model *computed, *copy;
    emr_buffer *bytes;
} twins;

static twins twins_of(const test_set *s, const char *method)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    twins t = {.bytes = test_buffer_new()};
    emr_error error;
    options.method = emr_method_find(method);
    emr_combination *c = world_combination(s, &options, false);
    world_set(c, "weight", EMR_EVERY_TASK, NULL, 0.75);
    if (strcmp(method, "ties") == 0)
        world_set(c, "density", EMR_EVERY_TASK, NULL, 0.4);
    t.computed = world_open(c);
    assert_ok(emr_safetensors_write(t.computed, emr_buffer_io(t.bytes), NULL, &error), &error);
    assert_ok(emr_safetensors_open(&t.copy, emr_buffer_io(t.bytes), "copy", NULL, &error), &error);
    world_check_same(t.computed, t.copy);
    return t;
}

static void destroy_twins(twins *t)
{
    emr_model_destroy(&t->computed);
    emr_model_destroy(&t->copy);
    emr_buffer_destroy(&t->bytes);
}

static emr_buffer *merge_of(const emr_model *base, const emr_model *first, const emr_model *second)
{
    emr_buffer *out = test_buffer_new();
    emr_merge *merge;
    emr_error error;
    assert_ok(emr_merge_create(&merge, NULL, &error), &error);
    assert_ok(emr_merge_set_base(merge, base, &error), &error);
    assert_ok(emr_merge_add_task(merge, "first", first, &error), &error);
    assert_ok(emr_merge_add_task(merge, "second", second, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return out;
}

static void merges_take_them(void **state)
{
    static const char *const methods[] = {"task_arithmetic", "ties"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        test_set s = test_set_create(few, N_FEW, 3, 91 + i, SOURCE_MEMORY);
        twins t = twins_of(&s, methods[i]);
        emr_buffer *computed = merge_of(s.base.model, t.computed, s.tasks[0].model);
        emr_buffer *copied = merge_of(s.base.model, t.copy, s.tasks[0].model);
        assert_true(test_same_buffers(computed, copied));
        emr_buffer *on_computed = merge_of(t.computed, s.tasks[0].model, s.tasks[1].model);
        emr_buffer *on_copy = merge_of(t.copy, s.tasks[0].model, s.tasks[1].model);
        assert_true(test_same_buffers(on_computed, on_copy));
        assert_false(test_same_buffers(on_copy, copied));
        emr_buffer_destroy(&computed);
        emr_buffer_destroy(&copied);
        emr_buffer_destroy(&on_computed);
        emr_buffer_destroy(&on_copy);
        destroy_twins(&t);
        test_set_destroy(&s);
    }
}

/* Task 0's weights of the first tensor. */
static void session_weights(const emr_bundle *bundle, const emr_model *base, float *weights)
{
    emr_weights w = EMR_INIT(emr_weights);
    emr_session *session;
    emr_error error;
    w.name = few[0].name;
    w.data = weights;
    w.dtype = EMR_DTYPE_F32;
    assert_ok(emr_session_create(&session, bundle, base, NULL, &error), &error);
    assert_ok(emr_session_apply(session, 0, &w, 1, &error), &error);
    emr_session_destroy(&session);
}

static void sessions_stand_on_them(void **state)
{
    enum { COUNT = 40 * 300 };
    test_set s = test_set_create(few, N_FEW, 3, 17, SOURCE_MEMORY);
    twins t = twins_of(&s, "task_arithmetic");
    emr_buffer *bytes = merge_of(t.copy, s.tasks[0].model, s.tasks[1].model);
    emr_bundle *bundle = test_bundle_open(bytes);
    float *computed = calloc(COUNT, sizeof *computed), *copied = calloc(COUNT, sizeof *copied);
    (void)state;
    session_weights(bundle, t.computed, computed);
    session_weights(bundle, t.copy, copied);
    assert_memory_equal(computed, copied, COUNT * sizeof *computed);
    assert_false(computed[0] == 0 && computed[1] == 0 && computed[2] == 0);
    free(computed);
    free(copied);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&bytes);
    destroy_twins(&t);
    test_set_destroy(&s);
}

/* The mean of a model and the set's first task. */
static emr_model *mean_with(const emr_model *m, const test_set *s)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    emr_model *mean;
    emr_error error;
    options.method = emr_method_find("linear");
    assert_ok(emr_combination_create(&c, &options, &error), &error);
    assert_ok(emr_combination_add_task(c, "m", m, &error), &error);
    assert_ok(emr_combination_add_task(c, "t0", s->tasks[0].model, &error), &error);
    world_set(c, "weight", EMR_EVERY_TASK, NULL, 1);
    assert_ok(emr_combination_open_model(c, &mean, &error), &error);
    emr_combination_destroy(&c);
    return mean;
}

static void combinations_take_them(void **state)
{
    test_set s = test_set_create(few, N_FEW, 3, 5, SOURCE_MEMORY);
    twins t = twins_of(&s, "ties");
    emr_model *computed = mean_with(t.computed, &s), *copied = mean_with(t.copy, &s);
    (void)state;
    world_check_same(computed, copied);
    emr_model_destroy(&computed);
    emr_model_destroy(&copied);
    destroy_twins(&t);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_take_them),
        cmocka_unit_test(sessions_stand_on_them),
        cmocka_unit_test(combinations_take_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
