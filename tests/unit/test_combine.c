/* test_combine.c - combined models: the method's formula, element by element, whatever the range, the threads, the
 * memory and the way in which inputs are given. */
#include "combined_world.h"

/* A task vector as it is defined: in f32, or where base or task is F64 in f64, rounded. */
static float task_vector(const test_set *s, size_t task, size_t tensor, uint64_t i)
{
    double own = world_value(&s->tasks[task], tensor, i), base = world_value(&s->base, tensor, i);
    bool wide = s->base.tensors[tensor].dtype == EMR_DTYPE_F64 ||
                s->tasks[task].tensors[tensor].dtype == EMR_DTYPE_F64;
    return wide ? (float)(own - base) : (float)own - (float)base;
}

/* base + sum of weights[t] * task vector, as a combined tensor stores it. */
static void check_arithmetic(const test_set *s, const emr_model *m, const double *weights)
{
    for (size_t i = 0; i < s->base.n; i++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)i);
        unsigned char *got = world_read(t);
        for (uint64_t k = 0; k < emr_tensor_count(t); k++) {
            float sum = 0;
            double wanted;
            unsigned char stored[8];
            for (size_t task = 0; task < s->n; task++)
                sum += task_vector(s, task, i, k) * (float)weights[task];
            double base = world_value(&s->base, i, k);
            bool wide = s->base.tensors[i].dtype == EMR_DTYPE_F64 || emr_tensor_dtype(t) == EMR_DTYPE_F64;
            for (size_t task = 0; task < s->n; task++)
                wide = wide || s->tasks[task].tensors[i].dtype == EMR_DTYPE_F64;
            wanted = wide ? base + (double)sum : (double)((float)base + sum);
            assert_int_equal(emr_convert(emr_tensor_dtype(t), stored, EMR_DTYPE_F64, &wanted, 1), EMR_OK);
            size_t size = emr_dtype_bits(emr_tensor_dtype(t)) / 8;
            if (memcmp(stored, got + k * size, size) != 0)
                fail_msg("%s[%zu] is %g, not %g", emr_tensor_name(t), (size_t)k, world_element(t, got, k),
                         wanted);
        }
        free(got);
    }
}

static const double some_weights[] = {0.5, -0.25, 1.5, 0.125};

static void task_arithmetic_is_its_formula(void **state)
{
    static const test_source sources[] = {SOURCE_MEMORY, SOURCE_IO, SOURCE_READ};
    rng r = {77};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 1 + k, 31, sources[k]);
        emr_model *m = world_combine(&s, emr_method_find("task_arithmetic"), some_weights);
        check_arithmetic(&s, m, some_weights);
        for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
            world_check_ranges(emr_model_tensor(m, i), &r);
        emr_model_destroy(&m);
        test_set_destroy(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_arithmetic_is_its_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
