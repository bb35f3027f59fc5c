/* test_sums.c - rescalers keep their bound, and weights their bits, on values chosen to break sums: beyond
 * f32 when added up, denormal, of very different scale, all alike. */
#include "property.h"

#include <float.h>
#include <math.h>

typedef float (*fill_fn)(rng *r, uint64_t i);

static float random_sign(rng *r)
{
    return rng_next(r) >> 63 ? 1.0f : -1.0f;
}

static float huge(rng *r, uint64_t i)
{
    (void)i;
    return random_sign(r) * (3e38f + 1e36f * (float)rng_below(r, 40));
}

static float denormal(rng *r, uint64_t i)
{
    (void)i;
    return random_sign(r) * (float)rng_below(r, 9) * 0x1p-149f;
}

static float any_scale(rng *r, uint64_t i)
{
    (void)i;
    return random_sign(r) * ldexpf(1 + (float)rng_below(r, 1 << 20) * 0x1p-20f, (int)rng_below(r, 270) - 145);
}

/* Each would vanish if it were added to the sum of those before it. */
static float one_large_many_small(rng *r, uint64_t i)
{
    return i == 0 ? random_sign(r) * 1e9f : random_sign(r) * (1 + (float)rng_below(r, 1000) * 1e-3f);
}

static float all_alike(rng *r, uint64_t i)
{
    (void)i;
    return random_sign(r) * 0.1f;
}

static float falling(rng *r, uint64_t i)
{
    return random_sign(r) / (float)(i + 1);
}

static float mostly_zero(rng *r, uint64_t i)
{
    return i % 977 ? 0 : rng_normal(r);
}

static test_set filled_set(fill_fn fill, uint64_t seed, size_t n_tasks)
{
    static const test_tensor tensors[] = {
        {"long", EMR_DTYPE_F32, 1, {17001}},  {"rows", EMR_DTYPE_F32, 2, {30, 300}},
        {"tall", EMR_DTYPE_F32, 2, {500, 1}}, {"none", EMR_DTYPE_F32, 2, {0, 3}},
        {"few", EMR_DTYPE_F32, 1, {3}},
    };
    rng r = {seed};
    test_set s = {test_model_create("base", tensors, 5, SOURCE_MEMORY), calloc(n_tasks, sizeof(test_model)),
                  n_tasks};
    for (size_t t = 0; t < n_tasks; t++) {
        s.tasks[t] = test_model_create("task", tensors, 5, SOURCE_MEMORY);
        for (size_t i = 0; i < 5; i++)
            for (uint64_t k = 0; k < test_tensor_count(&tensors[i]); k++)
                test_store(&s.tasks[t], i, k, fill(&r, k));
    }
    return s;
}

static void assert_all_rules(fill_fn fill)
{
    for (emr_rescale rule = EMR_RESCALE_L1; rule <= EMR_RESCALE_UNBIASED; rule++) {
        for (emr_rescale_per per = EMR_RESCALE_PER_MODEL;
             per <= (rule == EMR_RESCALE_L1_MEANS ? EMR_RESCALE_PER_MODEL : EMR_RESCALE_PER_ROW); per++) {
            test_set s = filled_set(fill, rule * 3 + per + 1, 3);
            emr_merge_options o = small_options();
            o.rescale = rule;
            o.rescale_per = per;
            o.tie = per == EMR_RESCALE_PER_TENSOR;
            assert_merge_is_formula(&s, &o);
            emr_modulation_spec both = EMR_INIT(emr_modulation_spec);
            both.kind = EMR_MODULATOR_KIND_TWO_SIDED;
            o.modulation = &both;
            if (rule != EMR_RESCALE_L1_MEANS)
                assert_merge_is_formula(&s, &o);
            test_set_destroy(&s);
        }
    }
}

#define TEST_OF(fill)                                                                                        \
    static void test_##fill(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        assert_all_rules(fill);                                                                              \
    }
TEST_OF(huge)
TEST_OF(denormal)
TEST_OF(any_scale)
TEST_OF(one_large_many_small)
TEST_OF(all_alike)
TEST_OF(falling)
TEST_OF(mostly_zero)

/* In f64 the ratio would be about 1e82, which no f32 holds: the rescaler is finite, and no NaN comes out. */
static void ratio_beyond_f32_stays_finite(void **state)
{
    (void)state;
    emr_error error;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 1, {2}}};
    test_set s = test_set_create(tensors, 1, 2, 1, SOURCE_MEMORY);
    const float values[3][2] = {{0, 0}, {0x1p-149f, -3e38f}, {0x1p-149f, 3.1e38f}};
    for (uint64_t k = 0; k < 2; k++) {
        test_store(&s.base, 0, k, values[0][k]);
        test_store(&s.tasks[0], 0, k, values[1][k]);
        test_store(&s.tasks[1], 0, k, values[2][k]);
    }
    emr_merge_options o = small_options();
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *bundle = test_bundle_open(buffer);
    emr_task_info info = EMR_INIT(emr_task_info);
    assert_ok(emr_bundle_get_task(bundle, 0, &info), NULL);
    assert_int_equal(info.mask_ones, 1);
    assert_true(info.rescaler == FLT_MAX);
    emr_model *view;
    assert_ok(emr_bundle_open_task(&view, bundle, 0, s.base.model, NULL, &error), &error);
    float *w = (float *)(void *)tensor_bytes_of(emr_model_tensor(view, 0));
    assert_true(isfinite(w[0]) && w[1] == 0);
    free(w);
    emr_model_destroy(&view);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge),        cmocka_unit_test(test_denormal),
        cmocka_unit_test(test_any_scale),   cmocka_unit_test(test_one_large_many_small),
        cmocka_unit_test(test_all_alike),   cmocka_unit_test(test_falling),
        cmocka_unit_test(test_mostly_zero), cmocka_unit_test(ratio_beyond_f32_stays_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
