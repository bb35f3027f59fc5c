/* test_method_bits.c - every method that there is gives the same bits, whoever reads its tensors: in any
 * ranges, prepared by any threads or not at all, with little memory, and from inputs that are given in any
 * way. */
#include "combined_world.h"

#include <math.h>
#include <stdio.h>

enum { MOST_TASKS = 3 };

typedef struct way {
    test_source source;
    uint32_t threads;
    uint64_t memory;
    bool prepares;
} way;

static const way ways[] = {
    {SOURCE_MEMORY, 0, 0, false},      {SOURCE_MEMORY, 1, 0, true},        {SOURCE_IO, 4, 0, true},
    {SOURCE_READ, 3, 64 << 20, false}, {SOURCE_MEMORY, 3, 48 << 20, true},
};
enum { N_WAYS = sizeof ways / sizeof *ways };

/* One that a method might be given; those that have no default, and some that turn things on. */
static void set_something(emr_combination *c, const emr_method *method, uint32_t n_tasks, bool without_base)
{
    for (uint32_t p = 0; p < method->n_parameters; p++) {
        const emr_method_parameter *parameter = &method->parameters[p];
        bool counts_base = method->base == EMR_METHOD_BASE_INPUT && !without_base;
        for (uint32_t t = 0; t < n_tasks && parameter->per_task && isnan(parameter->initial); t++)
            world_set(c, parameter->name, t, NULL, 0.3 + 0.25 * t);
        if (parameter->per_task && isnan(parameter->initial) && counts_base)
            world_set(c, parameter->name, EMR_BASE, NULL, 0.4);
        if (!parameter->per_task && isnan(parameter->initial))
            world_set(c, parameter->name, EMR_EVERY_TASK, NULL, 0.3);
        if (strcmp(parameter->name, "density") == 0)
            world_set(c, "density", EMR_EVERY_TASK, NULL, 0.4);
    }
}

static uint32_t n_tasks_of(const emr_method *method)
{
    return method->max_tasks && method->max_tasks < MOST_TASKS ? method->max_tasks : MOST_TASKS;
}

/* `flag` is set, unless it is NULL. */
static emr_model *open_in_way(const test_set *s, const emr_method *method, const char *flag, const way *w,
                              emr_pool *pool)
{
    emr_resources resources = test_resources(NULL, pool ? emr_pool_executor(pool) : NULL);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    bool without_base = method->base == EMR_METHOD_BASE_INPUT && method->max_tasks > 0;
    emr_error error;
    resources.memory_bytes = method->row_length ? 8 * w->memory : w->memory; /* whole rows need more */
    options.method = method;
    options.resources = &resources;
    options.seed = 5;
    emr_combination *c = world_combination(s, &options, without_base);
    set_something(c, method, (uint32_t)s->n, without_base);
    if (flag)
        world_set(c, flag, EMR_EVERY_TASK, NULL, strcmp(flag, "nuslerp_flatten") != 0);
    emr_model *m = world_open(c);
    if (w->prepares)
        assert_ok(emr_model_prepare(m, &resources, &error), &error);
    return m;
}

static void check_method(const emr_method *method, const char *flag)
{
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, n_tasks_of(method), 17, SOURCE_MEMORY);
    emr_model *first = open_in_way(&s, method, flag, &ways[0], NULL);
    rng r = {23};
    for (size_t i = 1; i < N_WAYS; i++) {
        test_set given = test_set_copy(&s, ways[i].source);
        emr_pool *pool = ways[i].threads ? test_pool_new(ways[i].threads) : NULL;
        emr_model *m = open_in_way(&given, method, flag, &ways[i], pool);
        for (uint32_t k = 0; i == 1 && k < emr_model_n_tensors(m); k++)
            world_check_ranges(emr_model_tensor(m, k), &r);
        world_check_same(first, m);
        emr_model_destroy(&m);
        emr_pool_destroy(&pool);
        test_set_destroy(&given);
    }
    emr_model_destroy(&first);
    test_set_destroy(&s);
}

static void test_each_method_gives_the_same_bits_in_all_ways(void **state)
{
    (void)state;
    for (uint32_t i = 0; emr_method_at(i); i++)
        check_method(emr_method_at(i), NULL);
}

static void test_flags_as_well(void **state)
{
    (void)state;
    check_method(emr_method_find("nuslerp"), "nuslerp_flatten");
    check_method(emr_method_find("model_stock"), "filter_wise");
}

static void test_methods_are_found_by_their_names(void **state)
{
    uint32_t n = 0;
    (void)state;
    for (; emr_method_at(n); n++) {
        assert_ptr_equal(emr_method_find(emr_method_at(n)->name), emr_method_at(n));
        if (n > 0)
            assert_true(strcmp(emr_method_at(n - 1)->name, emr_method_at(n)->name) < 0);
    }
    assert_true(n >= 12);
    assert_null(emr_method_at(n + 1));
    assert_null(emr_method_find("Linear"));
    assert_null(emr_method_find(""));
    assert_null(emr_method_find(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_method_gives_the_same_bits_in_all_ways),
        cmocka_unit_test(test_flags_as_well),
        cmocka_unit_test(test_methods_are_found_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
