/* test_gram.c - the Gram matrix of task vectors against a direct computation, and the same bits for any
 * threads and memory: what a step of a pass promises that is not a merge. */
#include "statistics/gram.h"

#include "support.h"

#include <math.h>

static const test_tensor tensors[] = {
    {"wide", EMR_DTYPE_F32, 2, {3, 70000}}, {"half", EMR_DTYPE_BF16, 2, {40, 17}},
    {"scalar", EMR_DTYPE_F32, 0, {0}},      {"ids", EMR_DTYPE_I64, 1, {9}},
    {"empty", EMR_DTYPE_F32, 2, {0, 5}},    {"row", EMR_DTYPE_F16, 1, {333}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors, N_TASKS = 4 };

static void align_set(emr_alignment *a, const test_set *s, emr_task *tasks, const emr_env *env)
{
    static char names[N_TASKS][4];
    const emr_policy policy = {.size = sizeof policy};
    emr_error error;
    for (uint32_t t = 0; t < N_TASKS; t++) {
        names[t][0] = (char)('a' + t);
        tasks[t] = (emr_task){.name = names[t], .model = s->tasks[t].model};
    }
    assert_ok(emr_align(a, &env->allocator, &policy, s->base.model, tasks, N_TASKS, &error), &error);
}

static float value_of(const test_model *m, size_t tensor, uint64_t i)
{
    float value;
    emr_error error;
    assert_ok(
        emr_tensor_read_floats(emr_model_find_tensor(m->model, tensors[tensor].name), i, 1, &value, &error),
        &error);
    return value;
}

/* <tau_i, tau_j> of one tensor in long double, and the sum of magnitudes, which bounds the error. */
static long double direct(const test_set *s, size_t tensor, uint32_t i, uint32_t j, long double *scale)
{
    long double sum = 0;
    for (uint64_t k = 0; k < test_tensor_count(&tensors[tensor]); k++) {
        long double base = value_of(&s->base, tensor, k);
        long double product = ((long double)value_of(&s->tasks[i], tensor, k) - base) *
                              ((long double)value_of(&s->tasks[j], tensor, k) - base);
        sum += product;
        *scale += fabsl(product);
    }
    return sum;
}

static void test_equals_its_formula(void **state)
{
    (void)state;
    emr_error error;
    emr_env env;
    emr_alignment a = {0};
    emr_task tasks[N_TASKS];
    emr_gram g;
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, 7, SOURCE_IO);
    assert_ok(emr_env_take(&env, NULL, NULL, &error), &error);
    align_set(&a, &s, tasks, &env);
    assert_ok(emr_gram_compute(&g, &a, &env, &error), &error);
    assert_int_equal(g.n_tensors, N_TENSORS - 1); /* all but the integers */
    for (uint32_t i = 0; i < N_TASKS; i++) {
        for (uint32_t j = 0; j < N_TASKS; j++) {
            long double model = 0, all = 0;
            for (size_t t = 0; t < N_TENSORS; t++) {
                if (!emr_dtype_is_float(tensors[t].dtype))
                    continue;
                long double scale = 0, want = direct(&s, t, i, j, &scale);
                size_t entry = (size_t)(emr_alignment_find(&a, tensors[t].name) - a.entries);
                double got = g.tensors[(entry * N_TASKS + i) * N_TASKS + j];
                assert_true(fabsl(got - want) <= 1e-12L * scale);
                assert_true(got == g.tensors[(entry * N_TASKS + j) * N_TASKS + i]);
                model += want;
                all += scale;
            }
            assert_true(fabsl(g.model[i * N_TASKS + j] - model) <= 1e-12L * all);
        }
    }
    emr_gram_free(&g);
    emr_alignment_free(&a);
    test_set_destroy(&s);
}

static void test_same_bits_whatever_the_threads_and_memory(void **state)
{
    (void)state;
    emr_error error;
    emr_env env;
    emr_alignment a = {0};
    emr_task tasks[N_TASKS];
    emr_gram first, g;
    const uint32_t threads[] = {1, 2, 5};
    const uint64_t memories[] = {0, 3 << 20};
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, 8, SOURCE_IO);
    assert_ok(emr_env_take(&env, NULL, NULL, &error), &error);
    align_set(&a, &s, tasks, &env);
    assert_ok(emr_gram_compute(&first, &a, &env, &error), &error);
    for (size_t i = 0; i < 3; i++) {
        emr_pool *pool;
        const emr_pool_options options = {.size = sizeof options, .threads = threads[i]};
        assert_ok(emr_pool_create(&pool, &options, &error), &error);
        for (size_t k = 0; k < 2; k++) {
            const emr_resources resources = {
                .size = sizeof resources, .executor = emr_pool_executor(pool), .memory_bytes = memories[k]};
            assert_ok(emr_env_take(&env, &resources, NULL, &error), &error);
            assert_ok(emr_gram_compute(&g, &a, &env, &error), &error);
            assert_memory_equal(g.tensors, first.tensors, g.n_tensors * N_TASKS * N_TASKS * sizeof(double));
            assert_memory_equal(g.model, first.model, N_TASKS * N_TASKS * sizeof(double));
            emr_gram_free(&g);
        }
        emr_pool_destroy(&pool);
    }
    emr_gram_free(&first);
    emr_alignment_free(&a);
    test_set_destroy(&s);
}

static emr_status stop_at_once(void *user, const emr_progress *progress, emr_error *error)
{
    (void)user, (void)progress;
    return emr_error_set(error, EMR_ECANCELED, 0, NULL, "the user has left");
}

static void test_progress_can_stop_it_and_little_memory_is_said(void **state)
{
    (void)state;
    emr_error error;
    emr_env env;
    emr_alignment a = {0};
    emr_task tasks[N_TASKS];
    emr_gram g;
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, 9, SOURCE_IO);
    const emr_resources stopped = {.size = sizeof stopped, .progress = stop_at_once};
    const emr_resources poor = {.size = sizeof poor, .memory_bytes = 1000};
    assert_ok(emr_env_take(&env, &stopped, NULL, &error), &error);
    align_set(&a, &s, tasks, &env);
    assert_int_equal(emr_gram_compute(&g, &a, &env, &error), EMR_ECANCELED);
    assert_string_equal(error.text, "the Gram matrix was canceled: the user has left");
    assert_ok(emr_env_take(&env, &poor, NULL, &error), &error);
    assert_int_equal(emr_gram_compute(&g, &a, &env, &error), EMR_ELIMIT);
    emr_alignment_free(&a);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_its_formula),
        cmocka_unit_test(test_same_bits_whatever_the_threads_and_memory),
        cmocka_unit_test(test_progress_can_stop_it_and_little_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
