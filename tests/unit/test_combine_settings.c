/* test_combine_settings.c - a method's parameters: whom they are set for, in which tensors, and what is refused. */
#include "support.h"

#include <math.h>

/* The method writes down what it sees. */
enum { N_PARAMETERS = 5, N_TASKS = 2, N_TENSORS = 2 };
typedef struct seen {
    double values[N_TENSORS][N_TASKS + 1][N_PARAMETERS];
    const char *inputs[N_TENSORS][N_TASKS + 1];
    uint32_t n_inputs[N_TENSORS];
    int refuse; /* the tensor that check() refuses */
} seen;

static int number_of(const emr_method_tensor *t)
{
    return t->name[0] == 'h';
}

static emr_status note_tensor(const emr_method_tensor *t, emr_error *error)
{
    seen *s = t->user;
    int k = number_of(t);
    s->n_inputs[k] = t->n_inputs;
    assert_int_equal(t->size, sizeof *t);
    assert_int_equal(t->n_parameters, N_PARAMETERS);
    for (uint32_t i = 0; i < t->n_inputs; i++) {
        s->inputs[k][i] = t->inputs[i];
        for (uint32_t p = 0; p < N_PARAMETERS; p++)
            s->values[k][i][p] = emr_method_value(t, i, p);
    }
    return s->refuse == k ? emr_error_set(error, EMR_EINVAL, 0, NULL, "its weights add up to 0") : EMR_OK;
}

static emr_status combine_nothing(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    memset(c->out, 0, c->n * sizeof *c->out);
    return EMR_OK;
}

static const emr_method_parameter parameters[N_PARAMETERS] = {
    {.name = "weight", .initial = NAN, .least = -10, .most = 10, .per_task = 1},
    {.name = "density", .initial = 1, .least = 0, .most = 1, .per_task = 1},
    {.name = "lambda", .initial = 0.5, .least = -INFINITY, .most = INFINITY},
    {.name = "normalize", .initial = 1, .least = 0, .most = 1, .is_whole = 1},
    {.name = "k", .initial = 2, .least = 0, .most = 100, .is_whole = 1},
};

static emr_method method_for(seen *s, emr_method_base base)
{
    return (emr_method){.size = sizeof(emr_method),
                        .name = "noting",
                        .user = s,
                        .parameters = parameters,
                        .n_parameters = N_PARAMETERS,
                        .base = base,
                        .check = note_tensor,
                        .combine = combine_nothing};
}

static const test_tensor tensors[N_TENSORS] = {{"layers.0.weight", EMR_DTYPE_F32, 1, {3}},
                                               {"head.weight", EMR_DTYPE_F32, 1, {3}}};
static test_set set;
static seen notes;
static emr_method method;

static int set_up(void **state)
{
    (void)state;
    set = test_set_create(tensors, N_TENSORS, N_TASKS, 5, SOURCE_MEMORY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_set_destroy(&set);
    return 0;
}

static emr_combination *create_noting(emr_method_base base)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    emr_error error;
    memset(&notes, 0, sizeof notes);
    notes.refuse = -1;
    method = method_for(&notes, base);
    options.method = &method;
    assert_ok(emr_combination_create(&c, &options, &error), &error);
    assert_ok(emr_combination_set_base(c, set.base.model, &error), &error);
    assert_ok(emr_combination_add_task(c, "math", set.tasks[0].model, &error), &error);
    assert_ok(emr_combination_add_task(c, "code", set.tasks[1].model, &error), &error);
    return c;
}

static void set_value(emr_combination *c, const char *name, uint32_t task, const char *glob, double value)
{
    emr_error error;
    assert_ok(emr_combination_set_parameter(c, name, task, glob, value, &error), &error);
}

static void plan_it(emr_combination *c)
{
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    emr_error error;
    assert_ok(emr_combination_get_plan(c, &plan, &error), &error);
}

/* Of several that fit the last one holds, whatever it is about. */
static void the_last_setting_that_fits_holds(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_REQUIRED);
    (void)state;
    set_value(c, "weight", EMR_EVERY_TASK, NULL, 1);
    set_value(c, "weight", 1, "head.*", 3);
    set_value(c, "density", 0, "*.weight", 0.25);
    set_value(c, "density", EMR_EVERY_TASK, "layers.[0-9].*", 0.75);
    set_value(c, "lambda", EMR_EVERY_TASK, "head.weight", -7);
    set_value(c, "normalize", EMR_EVERY_TASK, NULL, 0);
    plan_it(c);
    static const double expected[N_TENSORS][N_TASKS][N_PARAMETERS] = {
        {{1, 0.75, 0.5, 0, 2}, {1, 0.75, 0.5, 0, 2}}, {{1, 0.25, -7, 0, 2}, {3, 1, -7, 0, 2}}};
    for (int k = 0; k < N_TENSORS; k++) {
        assert_int_equal(notes.n_inputs[k], N_TASKS);
        assert_string_equal(notes.inputs[k][0], "math");
        assert_string_equal(notes.inputs[k][1], "code");
        for (int i = 0; i < N_TASKS; i++)
            for (int p = 0; p < N_PARAMETERS; p++)
                assert_true(notes.values[k][i][p] == expected[k][i][p]);
    }
    set_value(c, "weight", EMR_EVERY_TASK, NULL, 2);
    plan_it(c);
    assert_true(notes.values[1][1][0] == 2);
    emr_combination_destroy(&c);
}

static void a_base_that_is_an_input_has_parameters(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_INPUT);
    (void)state;
    set_value(c, "weight", EMR_EVERY_TASK, NULL, 1);
    set_value(c, "weight", EMR_BASE, NULL, 4);
    set_value(c, "density", 1, NULL, 0);
    plan_it(c);
    assert_int_equal(notes.n_inputs[0], 3);
    assert_string_equal(notes.inputs[0][0], "");
    assert_true(notes.values[0][0][0] == 4 && notes.values[0][1][0] == 1 && notes.values[0][2][0] == 1);
    assert_true(notes.values[0][0][1] == 1 && notes.values[0][1][1] == 1 && notes.values[0][2][1] == 0);
    emr_combination_destroy(&c);
}

static void expect_refused(emr_combination *c, const char *name, uint32_t task, double value,
                           emr_status status, const char *words)
{
    emr_error error = {.text = ""};
    assert_int_equal(emr_combination_set_parameter(c, name, task, NULL, value, &error), status);
    if (!strstr(error.text, words))
        fail_msg("'%s' is not in: %s", words, error.text);
}

static void impossible_settings_are_refused(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_REQUIRED);
    (void)state;
    expect_refused(c, "densty", 0, 1, EMR_ENOTFOUND, "it has weight, density, lambda, normalize, k");
    expect_refused(c, "density", 0, 1.5, EMR_EINVAL, "'density' is a number from 0 to 1");
    expect_refused(c, "density", 0, NAN, EMR_EINVAL, "'density' is a number from 0 to 1");
    expect_refused(c, "weight", 0, -10.5, EMR_EINVAL, "a number from -10 to 10");
    expect_refused(c, "normalize", EMR_EVERY_TASK, 0.5, EMR_EINVAL, "'normalize' is 0 or 1");
    expect_refused(c, "k", EMR_EVERY_TASK, 0.5, EMR_EINVAL, "'k' is a whole number from 0 to 100");
    expect_refused(c, "lambda", EMR_EVERY_TASK, NAN, EMR_EINVAL, "a number that F32 can hold");
    expect_refused(c, "lambda", 0, 1, EMR_EINVAL, "is the same for all tasks");
    expect_refused(c, "weight", 2, 1, EMR_EINVAL, "there is no task 2");
    expect_refused(c, "weight", EMR_BASE, 1, EMR_EINVAL, "the base has no 'weight'");
    emr_combination_destroy(&c);
}

static emr_status try_plan(emr_combination *c, emr_error *error)
{
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    return emr_combination_get_plan(c, &plan, error);
}

static void what_must_be_set_is_asked_for(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_REQUIRED);
    emr_error error;
    (void)state;
    set_value(c, "weight", EMR_EVERY_TASK, "layers.*", 1);
    set_value(c, "weight", 0, "head.*", 1);
    assert_int_equal(try_plan(c, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "'weight'"));
    assert_true(test_span_is(&error, error.task, "code"));
    assert_true(test_span_is(&error, error.tensor, "head.weight"));
    set_value(c, "weight", 1, "head.*", 1);
    assert_int_equal(try_plan(c, &error), EMR_OK);
    emr_combination_destroy(&c);
}

static void a_method_may_refuse_a_tensor(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_REQUIRED);
    emr_error error;
    (void)state;
    set_value(c, "weight", EMR_EVERY_TASK, NULL, 1);
    notes.refuse = 1;
    assert_int_equal(try_plan(c, &error), EMR_EINVAL);
    assert_string_equal(error.text,
                        "the method 'noting' cannot combine tensor 'head.weight': its weights add up to 0");
    emr_combination_destroy(&c);
}

/* What says that it is a method and is none. */
static void methods_are_looked_at(void **state)
{
    static const emr_method_stage empty = {.size = sizeof empty};
    static const emr_method_parameter nameless[] = {{.initial = 1}};
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    (void)state;
    for (int k = 0; k < 7; k++) {
        emr_method m = method_for(&notes, EMR_METHOD_BASE_INPUT);
        options.method = &m;
        m.name = k == 0 ? NULL : m.name;
        m.combine = k == 1 ? NULL : m.combine;
        m.base = k == 2 ? 4 : m.base;
        m.parameters = k == 3 ? NULL : k == 4 ? nameless : parameters;
        m.stages[2] = k == 5 ? &empty : NULL;
        m.size = k == 6 ? 8 : m.size;
        if (k == 4)
            m.n_parameters = 1;
        assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
        assert_null(c);
    }
    options.method = emr_method_find("task_arithmetic");
    options.dtype = EMR_DTYPE_F8_E4M3;
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
    options.dtype = 0;
    options.on_nonfinite = 2;
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
    options.on_nonfinite = 0;
    options.n_head_globs = 1;
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
    static const char *const hole[] = {NULL};
    options.head_globs = hole;
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
}

static void names_of_tasks_are_unique(void **state)
{
    emr_combination *c = create_noting(EMR_METHOD_BASE_REQUIRED);
    char name[258];
    (void)state;
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_int_equal(emr_combination_add_task(c, "math", set.base.model, NULL), EMR_EEXIST);
    assert_int_equal(emr_combination_add_task(c, "", set.base.model, NULL), EMR_EINVAL);
    assert_int_equal(emr_combination_add_task(c, name, set.base.model, NULL), EMR_EINVAL);
    assert_int_equal(emr_combination_add_task(c, "\xff", set.base.model, NULL), EMR_EINVAL);
    name[255] = '\0';
    assert_int_equal(emr_combination_add_task(c, name, set.base.model, NULL), EMR_OK);
    emr_combination_destroy(&c);
}

/* The library's methods: each under its own name, with parameters that can be what they are at first. */
static void the_librarys_methods_are_methods(void **state)
{
    uint32_t n = 0;
    (void)state;
    for (const emr_method *m; (m = emr_method_at(n)) != NULL; n++) {
        emr_combination_options options = EMR_INIT(emr_combination_options);
        emr_combination *c;
        emr_error error;
        options.method = m;
        assert_ptr_equal(emr_method_find(m->name), m);
        assert_true(n == 0 || strcmp(emr_method_at(n - 1)->name, m->name) < 0);
        assert_ok(emr_combination_create(&c, &options, &error), &error);
        for (uint32_t p = 0; p < m->n_parameters; p++)
            if (m->parameters[p].initial == m->parameters[p].initial)
                set_value(c, m->parameters[p].name, EMR_EVERY_TASK, NULL, m->parameters[p].initial);
        emr_combination_destroy(&c);
    }
    assert_true(n > 0);
    assert_null(emr_method_find("no such method"));
    assert_null(emr_method_at(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_setting_that_fits_holds),
        cmocka_unit_test(a_base_that_is_an_input_has_parameters),
        cmocka_unit_test(impossible_settings_are_refused),
        cmocka_unit_test(what_must_be_set_is_asked_for),
        cmocka_unit_test(a_method_may_refuse_a_tensor),
        cmocka_unit_test(methods_are_looked_at),
        cmocka_unit_test(names_of_tasks_are_unique),
        cmocka_unit_test(the_librarys_methods_are_methods),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
