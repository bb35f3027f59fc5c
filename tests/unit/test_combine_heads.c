/* test_combine_heads.c - combined models of tasks with labels of their own: heads side by side, or padded and through
 * the method. */
#include "combined_world.h"

enum { N_HEAD_TASKS = 3, N_COLUMNS = 7, N_LABELS = 6 };
static const uint64_t first_row[N_HEAD_TASKS] = {0, 3, 4}, n_rows[N_HEAD_TASKS] = {3, 1, 2};

/* A base without head, or with one of its own, and tasks with heads of 3, 1 and 2 rows; the last has no bias. */
typedef struct heads_world {
    test_model base, tasks[N_HEAD_TASKS];
} heads_world;

static const char *const task_names[N_HEAD_TASKS] = {"three", "one", "two"};

static void make_world(heads_world *w, bool base_has_head)
{
    const test_tensor own[] = {{"body", EMR_DTYPE_F32, 2, {5, N_COLUMNS}},
                               {"head.weight", EMR_DTYPE_F32, 2, {9, N_COLUMNS}}};
    rng r = {5};
    w->base = test_model_create("base", own, base_has_head ? 2 : 1, SOURCE_MEMORY);
    test_model_randomise(&w->base, &r);
    for (size_t t = 0; t < N_HEAD_TASKS; t++) {
        const test_tensor tensors[] = {{"head.weight", EMR_DTYPE_F32, 2, {n_rows[t], N_COLUMNS}},
                                       {"body", EMR_DTYPE_F32, 2, {5, N_COLUMNS}},
                                       {"head.bias", EMR_DTYPE_F32, 1, {n_rows[t]}}};
        w->tasks[t] = test_model_create(task_names[t], tensors, t == 2 ? 2 : 3, SOURCE_MEMORY);
        test_model_randomise(&w->tasks[t], &r);
    }
}

static void free_world(heads_world *w)
{
    test_model_destroy(&w->base);
    for (size_t t = 0; t < N_HEAD_TASKS; t++)
        test_model_destroy(&w->tasks[t]);
}

static emr_status combine_world(const heads_world *w, const emr_combination_options *options,
                                bool without_base, emr_combination **c, emr_error *error)
{
    emr_status status = emr_combination_create(c, options, error);
    if (!status && !without_base)
        status = emr_combination_set_base(*c, w->base.model, error);
    for (size_t t = 0; !status && t < N_HEAD_TASKS; t++)
        status = emr_combination_add_task(*c, task_names[t], w->tasks[t].model, error);
    if (!status)
        status = emr_combination_set_parameter(*c, "weight", EMR_EVERY_TASK, NULL, 0.5, error);
    return status;
}

static emr_model *open_world(const heads_world *w, const emr_combination_options *options, bool without_base)
{
    emr_combination *c = NULL;
    emr_model *model = NULL;
    emr_error error;
    assert_ok(combine_world(w, options, without_base, &c, &error), &error);
    assert_ok(emr_combination_open_model(c, &model, &error), &error);
    emr_combination_destroy(&c);
    return model;
}

static const char *const head_globs[] = {"head.*"};

static emr_combination_options heads_options(const char *method, uint32_t combine_heads)
{
    return (emr_combination_options){.size = sizeof(emr_combination_options),
                                     .method = emr_method_find(method),
                                     .head_globs = head_globs,
                                     .n_head_globs = 1,
                                     .combine_heads = combine_heads};
}

/* Element `column` of a row of the joined head, as it is in its task; 0 where that has none. */
static float own_value(const heads_world *w, bool is_bias, uint64_t row, uint64_t column)
{
    size_t t = N_HEAD_TASKS - 1;
    while (row < first_row[t])
        t--;
    if (is_bias && t == 2)
        return 0;
    return (float)world_value(&w->tasks[t], is_bias ? 2 : 0,
                              (row - first_row[t]) * (is_bias ? 1 : N_COLUMNS) + column);
}

/* Every value of both heads is `scale` times its task's. */
static void check_heads(const heads_world *w, const emr_model *m, float scale)
{
    for (int is_bias = 0; is_bias < 2; is_bias++) {
        const emr_tensor *t = emr_model_find_tensor(m, is_bias ? "head.bias" : "head.weight");
        const uint64_t columns = is_bias ? 1 : N_COLUMNS;
        float *got = (float *)(void *)world_read(t);
        assert_int_equal(emr_tensor_shape(t)[0], N_LABELS);
        for (uint64_t i = 0; i < emr_tensor_count(t); i++)
            assert_true(got[i] == own_value(w, is_bias, i / columns, i % columns) * scale);
        free(got);
    }
}

/* By default each row is its own task's, whatever the method makes of the rest. */
static void rows_are_left_as_they_are(void **state)
{
    static const char *const methods[] = {"task_arithmetic", "linear", "ties"};
    rng r = {9};
    (void)state;
    for (size_t k = 0; k < sizeof methods / sizeof methods[0]; k++)
        for (int base_has_head = 0; base_has_head < 2; base_has_head++) {
            const emr_combination_options options = heads_options(methods[k], 0);
            heads_world w;
            make_world(&w, base_has_head);
            emr_model *m = open_world(&w, &options, false);
            check_heads(&w, m, 1);
            for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
                world_check_ranges(emr_model_tensor(m, i), &r);
            assert_non_null(strstr(emr_model_find_metadata(m, EMR_HEAD_GROUPS),
                                   "{\"task\": \"one\", \"first\": 3, \"count\": 1, \"kind\": \"sigmoid\"}"));
            emr_model_destroy(&m);
            free_world(&w);
        }
}

/* A base is not needed where the method does without. */
static void heads_without_a_base(void **state)
{
    const emr_combination_options options = heads_options("linear", 0);
    heads_world w;
    (void)state;
    make_world(&w, false);
    emr_model *m = open_world(&w, &options, true);
    check_heads(&w, m, 1);
    assert_string_equal(emr_tensor_name(emr_model_tensor(m, 0)), "head.weight");
    emr_model_destroy(&m);
    free_world(&w);
}

/* Padded: the sum of the task vectors is the heads side by side, so weights scale them. */
static void combined_heads_are_scaled_by_weights(void **state)
{
    const emr_combination_options options = heads_options("task_arithmetic", 1);
    (void)state;
    for (int base_has_head = 0; base_has_head < 2; base_has_head++) {
        heads_world w;
        make_world(&w, base_has_head);
        emr_model *m = open_world(&w, &options, false);
        check_heads(&w, m, 0.5f);
        emr_model_destroy(&m);
        free_world(&w);
    }
}

/* The average of N tasks divides by N; TIES at full density counts no zeros, and gives the heads back. */
static void combined_heads_are_averaged(void **state)
{
    const emr_combination_options average = heads_options("linear", 1), ties = heads_options("ties", 1);
    heads_world w;
    (void)state;
    make_world(&w, false);
    emr_model *m = open_world(&w, &average, true);
    const emr_tensor *t = emr_model_find_tensor(m, "head.weight");
    float *got = (float *)(void *)world_read(t);
    for (uint64_t i = 0; i < emr_tensor_count(t); i++) {
        double own = (double)own_value(&w, false, i / N_COLUMNS, i % N_COLUMNS),
               off = (double)got[i] - own / 3;
        assert_true(off < 1e-6 && off > -1e-6);
    }
    free(got);
    emr_model_destroy(&m);
    emr_combination_options whole = ties;
    emr_combination *c = NULL;
    emr_error error;
    assert_ok(combine_world(&w, &whole, false, &c, &error), &error);
    assert_ok(emr_combination_set_parameter(c, "weight", EMR_EVERY_TASK, NULL, 1, &error), &error);
    assert_ok(emr_combination_set_parameter(c, "normalize", EMR_EVERY_TASK, NULL, 1, &error), &error);
    assert_ok(emr_combination_open_model(c, &m, &error), &error);
    check_heads(&w, m, 1);
    emr_model_destroy(&m);
    emr_combination_destroy(&c);
    free_world(&w);
}

/* Zeros of the padding count among what a density is a share of: of 42 entries 12 are kept, or all where a task has
 * fewer. */
static void padding_shares_in_the_density(void **state)
{
    enum { N_KEPT = 12 };
    const emr_combination_options options = heads_options("ties", 1);
    heads_world w;
    emr_combination *c = NULL;
    emr_model *m = NULL;
    emr_error error;
    (void)state;
    make_world(&w, false);
    assert_ok(combine_world(&w, &options, false, &c, &error), &error);
    assert_ok(emr_combination_set_parameter(c, "density", EMR_EVERY_TASK, NULL, 0.3, &error), &error);
    assert_ok(emr_combination_open_model(c, &m, &error), &error);
    float *got = (float *)(void *)world_read(emr_model_find_tensor(m, "head.weight"));
    for (size_t t = 0; t < N_HEAD_TASKS; t++) {
        size_t n = 0, most = (size_t)n_rows[t] * N_COLUMNS;
        for (size_t i = 0; i < most; i++)
            n += got[first_row[t] * N_COLUMNS + i] != 0;
        assert_int_equal(n, most < N_KEPT ? most : N_KEPT);
    }
    free(got);
    emr_model_destroy(&m);
    emr_combination_destroy(&c);
    free_world(&w);
}

static void plans_say_what_is_a_head(void **state)
{
    const emr_combination_options options = heads_options("task_arithmetic", 0);
    heads_world w;
    emr_combination *c = NULL;
    emr_error error;
    uint32_t n_heads = 0;
    (void)state;
    make_world(&w, true);
    assert_ok(combine_world(&w, &options, false, &c, &error), &error);
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    assert_ok(emr_combination_get_plan(c, &plan, &error), &error);
    assert_int_equal(plan.n_tensors, 3);
    assert_int_equal(plan.n_combined, 1);
    for (uint32_t i = 0; i < plan.n_tensors; i++) {
        emr_combined_tensor t = EMR_INIT(emr_combined_tensor);
        assert_int_equal(emr_combination_get_tensor(c, i, &t), EMR_OK);
        if (t.action == EMR_COMBINED_ACTION_HEAD) {
            assert_int_equal(t.shape[0], N_LABELS);
            n_heads++;
        }
    }
    assert_int_equal(n_heads, 2);
    emr_combination_destroy(&c);
    free_world(&w);
}

static void globs_that_match_nothing_are_refused(void **state)
{
    const char *const wrong[] = {"tail.*"};
    emr_combination_options options = heads_options("task_arithmetic", 0);
    heads_world w;
    emr_combination *c = NULL;
    emr_model *m = NULL;
    emr_error error;
    (void)state;
    options.head_globs = wrong;
    make_world(&w, false);
    assert_ok(combine_world(&w, &options, false, &c, &error), &error);
    assert_int_equal(emr_combination_open_model(c, &m, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "'tail.*' matches no float tensor"));
    emr_combination_destroy(&c);
    free_world(&w);
}

static void no_memory_leaves_nothing(void **state)
{
    heads_world w;
    emr_error error;
    emr_status status = EMR_ENOMEM;
    (void)state;
    make_world(&w, true);
    for (size_t k = 0; status == EMR_ENOMEM; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, NULL);
        emr_combination_options options = heads_options("task_arithmetic", 0);
        emr_combination *c = NULL;
        emr_model *m = NULL;
        options.resources = &resources;
        status = combine_world(&w, &options, false, &c, &error);
        if (!status)
            status = emr_combination_open_model(c, &m, &error);
        emr_combination_destroy(&c);
        emr_model_destroy(&m);
        assert_int_equal(counts.alive, 0);
    }
    assert_ok(status, &error);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_left_as_they_are),
        cmocka_unit_test(heads_without_a_base),
        cmocka_unit_test(combined_heads_are_scaled_by_weights),
        cmocka_unit_test(combined_heads_are_averaged),
        cmocka_unit_test(padding_shares_in_the_density),
        cmocka_unit_test(plans_say_what_is_a_head),
        cmocka_unit_test(globs_that_match_nothing_are_refused),
        cmocka_unit_test(no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests_name("combine_heads", tests, NULL, NULL);
}
