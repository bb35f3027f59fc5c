/* test_combine_progress.c - preparing a combined model can be followed and stopped in every stage; progress only grows,
 * whatever a host's own hook reports. */
#include "combined_world.h"

#include <stdio.h>

static const test_tensor tensors[] = {{"b.matrix", EMR_DTYPE_F32, 2, {900, 700}},
                                      {"a.vector", EMR_DTYPE_F32, 1, {70001}}};
enum { N_TASKS = 2 };

/* Of methods with sums, with cuts, with both, and over the whole model. */
static const char *const staged[] = {"sce", "ties", "ties_model", "arcee_fusion", "model_stock", "nuslerp"};
enum { N_STAGED = sizeof staged / sizeof *staged };

static emr_combination *staged_combination(const test_set *s, const char *name)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    options.method = emr_method_find(name);
    assert_non_null(options.method);
    test_set some = *s;
    some.n = options.method->max_tasks == 1 ? 1 : N_TASKS;
    emr_combination *c = world_combination(&some, &options, false);
    const emr_method *m = options.method;
    for (uint32_t p = 0; p < m->n_parameters; p++) {
        const emr_method_parameter *known = &m->parameters[p];
        if (known->initial != known->initial)
            world_set(c, known->name, EMR_EVERY_TASK, NULL, 0.5);
        if (strcmp(known->name, "density") == 0 || strcmp(known->name, "select_topk") == 0)
            world_set(c, known->name, EMR_EVERY_TASK, NULL, 0.4);
    }
    return c;
}

static emr_status prepare_noting(const test_set *s, const char *name, test_progress *noted, emr_pool *pool)
{
    emr_model *m = world_open(staged_combination(s, name));
    emr_resources resources = test_resources(NULL, pool ? emr_pool_executor(pool) : NULL);
    resources.progress = test_progress_note;
    resources.progress_user = noted;
    emr_status status = emr_model_prepare(m, &resources, NULL);
    emr_model_destroy(&m);
    return status;
}

/* Every stage is a reading of its own, but progress is that of all. */
static void preparing_never_goes_back(void **state)
{
    test_set s = test_set_create(tensors, 2, N_TASKS, 17, SOURCE_READ);
    emr_pool *pool = test_pool_new(2);
    (void)state;
    for (size_t i = 0; i < 2 * N_STAGED; i++) {
        test_progress noted = {.stop_at = SIZE_MAX};
        assert_int_equal(prepare_noting(&s, staged[i / 2], &noted, i % 2 ? pool : NULL), EMR_OK);
        if (noted.backwards)
            fail_msg("%s: progress goes back", staged[i / 2]);
        assert_int_equal(noted.done, noted.total);
    }
    emr_pool_destroy(&pool);
    test_set_destroy(&s);
}

/* The larger tensor alone takes 10 MB of reading: the host is asked more than once a tensor. */
static void preparing_can_be_stopped_in_every_stage(void **state)
{
    test_set s = test_set_create(tensors, 2, N_TASKS, 17, SOURCE_READ);
    (void)state;
    for (size_t i = 0; i < N_STAGED; i++) {
        test_progress noted = {.stop_at = SIZE_MAX};
        assert_int_equal(prepare_noting(&s, staged[i], &noted, NULL), EMR_OK);
        if (noted.calls < 6)
            fail_msg("%s: asked %zu times alone", staged[i], noted.calls);
        for (size_t k = 0; k < noted.calls; k++) {
            test_progress stopped = {.stop_at = k};
            assert_int_equal(prepare_noting(&s, staged[i], &stopped, NULL), EMR_ECANCELED);
            assert_int_equal(stopped.calls, k + 1);
        }
    }
    test_set_destroy(&s);
}

/* A host's hook that reports nonsense. */
static emr_status report_nonsense(void *user, const emr_tensor *tensor, const emr_resources *resources,
                                  emr_error *error)
{
    static const uint64_t reports[][2] = {{5, 10}, {UINT64_MAX, 1},          {0, 0},
                                          {3, 10}, {UINT64_MAX, UINT64_MAX}, {7, 0}};
    (void)user, (void)tensor;
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        const emr_progress progress = {sizeof progress, reports[i][0], reports[i][1]};
        emr_status status = resources->progress(resources->progress_user, &progress, error);
        if (status)
            return status;
    }
    return EMR_OK;
}

static emr_status give_zeros(const emr_computation *c, emr_error *error)
{
    (void)error;
    memset(c->out, 0, c->count * sizeof(float));
    return EMR_OK;
}

static void nonsense_of_a_hook_stays_within_bounds(void **state)
{
    emr_model_options options = EMR_INIT(emr_model_options);
    static const uint64_t shape = 1000;
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    test_progress noted = {.stop_at = SIZE_MAX};
    emr_resources resources = test_resources(NULL, NULL);
    emr_model *m;
    emr_error error;
    (void)state;
    options.prepare = report_nonsense;
    assert_ok(emr_model_create(&m, &options, &error), &error);
    desc.dtype = EMR_DTYPE_F32;
    desc.rank = 1;
    desc.shape = &shape;
    desc.compute = give_zeros;
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%d", i);
        desc.name = name;
        assert_ok(emr_model_add(m, &desc, &error), &error);
    }
    resources.progress = test_progress_note;
    resources.progress_user = &noted;
    assert_ok(emr_model_prepare(m, &resources, &error), &error);
    assert_false(noted.backwards);
    assert_int_equal(noted.done, 12000);
    assert_int_equal(noted.total, 12000);
    emr_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preparing_never_goes_back),
        cmocka_unit_test(preparing_can_be_stopped_in_every_stage),
        cmocka_unit_test(nonsense_of_a_hook_stays_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
