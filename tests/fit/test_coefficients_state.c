/* test_coefficients_state.c - saved coefficients: learning goes on to the bit, in a handle that was made for it or of the state alone;
 * states of others are refused. */
#include "models.h"

/* Steps from `first` on. */
static void go_on(emr_coefficients *c, const world *w, uint64_t first, uint64_t end)
{
    emr_error error;
    for (uint64_t step = first; step < end; step++) {
        if (step % 3)
            hand_in_all(c, w, step, false);
        else
            push(c, w, 1);
        if (step % 3)
            assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    }
}

static void states_go_on_to_the_bit(void **state)
{
    world w = world_create(14);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    char *directory = test_directory_make(), *path = test_path(directory, "lambda.safetensors");
    emr_model *saved, *opened;
    (void)state;
    options.map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(&options), *again = open_coefficients(&options);
    go_on(c, &w, 0, 5);
    assert_ok(emr_coefficients_open_state(c, &saved, &error), &error);
    go_on(c, &w, 5, 6);
    assert_ok(emr_checkpoint_write(saved, path, NULL, &error), &error);
    emr_model_destroy(&saved);
    go_on(c, &w, 6, 10);
    assert_ok(emr_checkpoint_open(&opened, path, NULL, &error), &error);
    assert_string_equal(emr_model_find_metadata(opened, "emr.kind"), "coefficients");
    assert_string_equal(emr_model_find_metadata(opened, "emr.map"), "free");
    assert_string_equal(emr_model_find_metadata(opened, "emr.steps"), "5");
    hand_in_all(again, &w, 99, false); /* is forgotten */
    assert_ok(emr_coefficients_set_state(again, opened, &error), &error);
    go_on(again, &w, 5, 10);
    assert_true(same_coefficients(c, again));
    emr_coefficients_destroy(&again);

    const emr_model *turned[N_TASKS];
    const char *names[N_TASKS];
    for (uint32_t t = 0; t < N_TASKS; t++) {
        turned[t] = w.tasks[(t + 1) % N_TASKS];
        names[t] = w.names[(t + 1) % N_TASKS];
    }
    options.tasks = turned;
    options.names = names;
    again = open_coefficients(&options);
    assert_ok(emr_coefficients_set_state(again, opened, &error), &error);
    go_on(again, &w, 5, 10);
    for (uint32_t t = 0; t < N_TASKS; t++)
        for (uint32_t g = 0; g < N_FLOATS; g++) {
            emr_coefficient x = get_coefficient(again, t, g), y = get_coefficient(c, (t + 1) % N_TASKS, g);
            assert_memory_equal(&x, &y, sizeof x);
        }
    emr_model_destroy(&opened);
    emr_coefficients_destroy(&again);
    emr_coefficients_destroy(&c);
    test_directory_remove(directory);
    free(path);
    world_destroy(&w);
}

/* The state of a handle with one thing changed. */
static emr_status set_broken(const emr_coefficients *from, emr_coefficients *to, const char *key,
                             const char *value, emr_error *error)
{
    emr_model *model;
    assert_ok(emr_coefficients_open_state(from, &model, error), error);
    if (value)
        assert_ok(emr_model_set_metadata(model, key, value, error), error);
    else if (key)
        assert_int_equal(emr_model_remove_metadata(model, key), EMR_OK);
    emr_status status = emr_coefficients_set_state(to, model, error);
    emr_model_destroy(&model);
    return status;
}

static void states_of_others_are_refused(void **state)
{
    world w = world_create(15);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options), *before = open_coefficients(&options);
    emr_error error;
    (void)state;
    go_on(c, &w, 0, 2);
    assert_int_equal(set_broken(c, before, "emr.kind", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.kind", "adapters", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", "none", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.map", "free", &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(c, before, "emr.steps", "", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "-1", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "99999999999999999999999999", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.steps", "1", &error), EMR_EFORMAT); /* fewer than of one */
    assert_int_equal(set_broken(c, before, "emr.keep", "x", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.keep", "0.2", &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(c, before, "emr.tasks", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "{}", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[1, 2, 3]", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[\"cars\", \"cars\", \"digits\"]", &error),
                     EMR_EFORMAT);
    assert_int_equal(set_broken(c, before, "emr.tasks", "[\"cars\", \"digits\"]", &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "no task 'signs "));
    options.names = (const char *const[]){"cars", "digits", "trees"};
    emr_coefficients *other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "a task 'signs "));
    emr_coefficients_destroy(&other);
    options = world_options(&w);
    options.keep = 0.2;
    other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_ok(set_broken(other, other, NULL, NULL, &error), &error);
    emr_coefficients_destroy(&other);
    options = world_options(&w);
    options.scope = EMR_COEFFICIENT_SCOPE_MODEL;
    other = open_coefficients(&options);
    assert_int_equal(set_broken(c, other, NULL, NULL, &error), EMR_EMISMATCH);
    assert_int_equal(set_broken(other, c, NULL, NULL, &error), EMR_EMISMATCH);
    emr_coefficients_destroy(&other);
    assert_int_equal(emr_coefficients_set_state(before, w.set.base.model, &error), EMR_EFORMAT);
    assert_true(get_coefficient(before, 0, 0).n_steps == 0 && get_coefficient(before, 0, 0).raw == 0.3);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&before);
    world_destroy(&w);
}

/* In a state of tensors `from`, one goes to another group, is left out or comes in. */
static void states_of_other_members_are_refused(void **state)
{
    static const char *const heads[] = {"head.*"};
    world w = world_create(15);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    (void)state;
    options.scope = EMR_COEFFICIENT_SCOPE_LAYER;
    emr_coefficients *c = open_coefficients(&options);
    options.exclude = heads;
    options.n_exclude = 1;
    emr_coefficients *fewer = open_coefficients(&options);
    assert_int_equal(emr_coefficients_n_groups(c), emr_coefficients_n_groups(fewer)); /* of the same names */
    assert_int_equal(set_broken(c, fewer, NULL, NULL, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "head.weight"));
    assert_int_equal(set_broken(fewer, c, NULL, NULL, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "head.weight"));
    static const struct {
        const char *tensors;
        emr_status status;
        const char *tensor;
    } all[] = {
        {"{'embed.weight':0,'layers.0.weight':1,'layers.0.bias':1,'layers.1.weight':2,'layers.1.bias':1,"
         "'empty':0}",
         EMR_EMISMATCH, "layers.1.bias"},
        {"{'embed.weight':0,'layers.0.weight':1,'layers.0.bias':3,'layers.1.weight':2,'layers.1.bias':2,"
         "'empty':0}",
         EMR_EFORMAT, "layers.0.bias"},
        {"{'embed.weight':-1}", EMR_EFORMAT, "embed.weight"},
        {"{'embed.weight':'no layer'}", EMR_EFORMAT, "embed.weight"},
        {"[]", EMR_EFORMAT, NULL},
        {NULL, EMR_EFORMAT, NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[300] = "";
        for (size_t k = 0; all[i].tensors && all[i].tensors[k]; k++)
            text[k] = all[i].tensors[k] == '\'' ? '"' : all[i].tensors[k];
        assert_int_equal(set_broken(fewer, fewer, "emr.tensors", all[i].tensors ? text : NULL, &error),
                         all[i].status);
        assert_true(!all[i].tensor || test_span_is(&error, error.tensor, all[i].tensor));
    }
    assert_int_equal(set_broken(c, c, "emr.fixed", NULL, &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, c, "emr.fixed", "[3]", &error), EMR_EFORMAT);
    assert_int_equal(set_broken(c, c, "emr.groups", "[\"a\", \"a\", \"b\"]", &error), EMR_EFORMAT);
    assert_ok(set_broken(c, c, NULL, NULL, &error), &error);
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&fewer);
    world_destroy(&w);
}

/* What a state says is enough: groups, what is fixed or left out, map, keep, and the numbers. */
static void a_state_opens_by_itself(void **state)
{
    static const char *const groups[] = {"*.bias", "embed.*"}, *const fixed[] = {"layers.1.weight"},
                             *const exclude[] = {"head.*"};
    world w = world_create(19);
    emr_error error;
    uint32_t group;
    (void)state;
    for (emr_coefficient_map map = 0; map <= EMR_COEFFICIENT_MAP_SOFTMAX; map++) {
        emr_coefficients_options options = world_options(&w);
        emr_model *saved;
        options.groups = groups;
        options.n_groups = 2;
        options.fixed = fixed;
        options.n_fixed = 1;
        options.exclude = exclude;
        options.n_exclude = 1;
        options.scope = map % 2 ? EMR_COEFFICIENT_SCOPE_LAYER : EMR_COEFFICIENT_SCOPE_TENSOR;
        options.map = map;
        options.keep = map % 2 ? 0.3 : 0;
        emr_coefficients *c = open_coefficients(&options);
        hand_in_all(c, &w, 1, false);
        assert_ok(emr_coefficients_step(c, NULL, &error), &error);
        assert_ok(emr_coefficients_open_state(c, &saved, &error), &error);
        options = world_options(&w);
        options.state = saved;
        emr_coefficients *again = open_coefficients(&options);
        emr_model_destroy(&saved);
        assert_int_equal(emr_coefficients_n_groups(again), emr_coefficients_n_groups(c));
        for (uint32_t g = 0; g < emr_coefficients_n_groups(c); g++)
            assert_string_equal(emr_coefficients_group(again, g), emr_coefficients_group(c, g));
        for (size_t i = 0; i < N_FLOATS - 1; i++)
            assert_int_equal(group_of(again, float_tensors[i]), group_of(c, float_tensors[i]));
        assert_int_equal(emr_coefficients_find_group(again, "head.weight", &group, &error), EMR_ENOTFOUND);
        for (uint64_t step = 2; step < 4; step++) {
            assert_true(same_coefficients(c, again));
            hand_in_all(c, &w, step, false);
            hand_in_all(again, &w, step, true);
            assert_ok(emr_coefficients_step(c, NULL, &error), &error);
            assert_ok(emr_coefficients_step(again, NULL, &error), &error);
        }
        emr_coefficients_destroy(&c);
        emr_coefficients_destroy(&again);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_go_on_to_the_bit),
        cmocka_unit_test(states_of_others_are_refused),
        cmocka_unit_test(states_of_other_members_are_refused),
        cmocka_unit_test(a_state_opens_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
