/* test_formula.c - what a merge computes is what the formulas say, for every option and dtype; and what
 * follows from the formulas for tasks that are equal to the base, alone, outvoted, or in another order. */
#include "property.h"

#include <math.h>

static void random_models_of_every_dtype(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        test_set s = random_set(seed, 1 + seed % 5, seed % 3 != 0);
        rng r = {seed};
        emr_merge_options o = small_options();
        rng_next(&r);
        o.rescale_per = (emr_rescale_per)(1 + rng_below(&r, 3));
        o.rescale = (emr_rescale)(1 + rng_below(&r, 3));
        if (o.rescale == EMR_RESCALE_L1_MEANS)
            o.rescale_per = EMR_RESCALE_PER_MODEL;
        o.tie = (emr_tie)rng_below(&r, 2);
        o.unified_dtype = (emr_dtype)rng_below(&r, 4); /* F32 twice, F16, BF16 */
        o.block_params = seed % 3 ? 0 : 4096u << rng_below(&r, 4);
        if (seed % 2)
            test_set_on_grid(&s, seed);
        assert_merge_is_formula(&s, &o);
        test_set_destroy(&s);
    }
}

/* Tensors that span chunks, windows and blocks. */
static void large_tensors(void **state)
{
    (void)state;
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 3, 1, SOURCE_MEMORY);
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = small_options();
        o.rescale_per = per;
        o.rescale = per == EMR_RESCALE_PER_TENSOR ? EMR_RESCALE_L2 : EMR_RESCALE_L1;
        o.tie = per == EMR_RESCALE_PER_ROW;
        o.block_params = per == EMR_RESCALE_PER_ROW ? 4096 : 0;
        assert_merge_is_formula(&s, &o);
    }
    test_set_destroy(&s);
}

static void more_tasks_than_a_byte_counts(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_BF16, 2, {3, 50}}};
    test_set s = test_set_create(tensors, 1, 300, 7, SOURCE_MEMORY);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_resources resources = resources_within(128 << 20);
    o.resources = &resources;
    o.rescale_per = EMR_RESCALE_PER_ROW;
    assert_merge_is_formula(&s, &o);
    test_set_destroy(&s);
}

static void copy_task(test_set *s, size_t to, const test_model *from)
{
    for (size_t i = 0; i < from->n; i++)
        memcpy(s->tasks[to].data[i], from->data[i],
               (size_t)(test_tensor_count(&from->tensors[i]) * emr_dtype_bits(from->tensors[i].dtype) / 8));
}

static emr_model *view_task(const emr_bundle *bundle, uint32_t task, const emr_model *base)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_task(&view, bundle, task, base, NULL, &error), &error);
    return view;
}

static void task_equal_to_the_base_comes_back_as_the_base(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_merge_options o = small_options();
        o.rescale_per = per;
        test_set s = test_set_create(mixed_tensors, 9, 3, 3, SOURCE_MEMORY);
        test_store(&s.base, 0, 5, -0.0f);
        copy_task(&s, 1, &s.base);
        emr_buffer *buffer = test_merge_bundle(&s, &o);
        emr_bundle *bundle = test_bundle_open(buffer);
        emr_task_info info = EMR_INIT(emr_task_info);
        assert_ok(emr_bundle_get_task(bundle, 1, &info), NULL);
        assert_int_equal(info.mask_ones, 0);
        assert_true(info.rescaler == 0);
        emr_model *view = view_task(bundle, 1, s.base.model);
        for (size_t i = 0; i < s.base.n; i++) {
            unsigned char *got = tensor_bytes_of(emr_model_find_tensor(view, s.base.tensors[i].name));
            assert_memory_equal(got, s.base.data[i], (size_t)test_tensor_count(&s.base.tensors[i]) * 4);
            free(got);
        }
        emr_model_destroy(&view);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        test_set_destroy(&s);
    }
}

/* Alone, a task elects itself: lambda is 1 and W0 + tau comes back, which is W up to two roundings. */
static void one_task_alone_comes_back(void **state)
{
    (void)state;
    test_set s = test_set_create(mixed_tensors, 9, 1, 4, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *bundle = test_bundle_open(buffer);
    emr_task_info info = EMR_INIT(emr_task_info);
    assert_ok(emr_bundle_get_task(bundle, 0, &info), NULL);
    assert_true(info.rescaler == 1);
    emr_model *view = view_task(bundle, 0, s.base.model);
    for (size_t i = 0; i < s.base.n; i++) {
        uint64_t n = test_tensor_count(&s.base.tensors[i]);
        float *got = (float *)(void *)tensor_bytes_of(emr_model_find_tensor(view, s.base.tensors[i].name));
        const float *w0 = (const float *)(void *)s.base.data[i],
                    *w = (const float *)(void *)s.tasks[0].data[i];
        for (uint64_t k = 0; k < n; k++) {
            assert_true(got[k] == w0[k] + (w[k] - w0[k]));
            assert_true(fabsf(got[k] - w[k]) <= 0x1p-22f * (fabsf(w[k]) + fabsf(w0[k])));
        }
        free(got);
    }
    emr_model_destroy(&view);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

/* Two tasks agree on everything, so that the third, which moves the other way, has nothing of it elected. The
 * fourth has not moved, which is another thing. */
static void outvoted_task_has_no_mask_and_is_reported(void **state)
{
    (void)state;
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    test_set s = random_set(20, 4, false);
    for (size_t i = 0; i < s.base.n; i++) {
        for (uint64_t k = 0; k < test_tensor_count(&s.base.tensors[i]); k++) {
            test_store(&s.base, i, k, 1);
            test_store(&s.tasks[0], i, k, 1.5f);
            test_store(&s.tasks[1], i, k, 0.75f);
            test_store(&s.tasks[2], i, k, 1.25f);
            test_store(&s.tasks[3], i, k, 1);
        }
    }
    emr_merge_options o = small_options();
    emr_merge *merge = test_merge_create(&s, &o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    for (uint32_t t = 0; t < 4; t++) {
        emr_task_report report = EMR_INIT(emr_task_report);
        assert_ok(emr_merge_get_task_report(merge, t, &report), NULL);
        assert_int_equal(report.empty_mask, t == 1);
        assert_int_equal(report.mask_ones == 0, t == 1 || t == 3);
        assert_true(report.rescaler == (t == 0 ? 1.0f : t == 2 ? 0.5f : 0));
    }
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

static void assert_same_tensor(const emr_model *a, const emr_model *b, const char *name)
{
    const emr_tensor *t = emr_model_find_tensor(a, name);
    unsigned char *x = tensor_bytes_of(t), *y = tensor_bytes_of(emr_model_find_tensor(b, name));
    assert_memory_equal(x, y, (size_t)emr_tensor_bytes(t));
    free(x);
    free(y);
}

/* Task `i` of one bundle is task `order[i]` of the other. */
static void assert_permuted(const emr_bundle *a, const emr_bundle *b, const uint32_t *order,
                            const test_set *s)
{
    emr_error error;
    emr_model *x, *y;
    assert_ok(emr_bundle_open_unified(&x, a, NULL, &error), &error);
    assert_ok(emr_bundle_open_unified(&y, b, NULL, &error), &error);
    for (size_t i = 0; i < s->base.n; i++)
        assert_same_tensor(x, y, s->base.tensors[i].name);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
    for (uint32_t t = 0; t < s->n; t++) {
        assert_ok(emr_bundle_open_mask(&x, a, t, NULL, &error), &error);
        assert_ok(emr_bundle_open_mask(&y, b, order[t], NULL, &error), &error);
        for (uint32_t i = 0; i < s->base.n; i++) {
            size_t n, n_other;
            float *l = rescalers_of(a, t, i, &n), *m = rescalers_of(b, order[t], i, &n_other);
            assert_same_tensor(x, y, s->base.tensors[i].name);
            assert_int_equal(n, n_other);
            assert_memory_equal(l, m, n * sizeof *l);
            free(l);
            free(m);
        }
        emr_model_destroy(&x);
        emr_model_destroy(&y);
    }
}

static void order_of_tasks_permutes_the_results(void **state)
{
    (void)state;
    static const uint32_t order[] = {2, 0, 3, 1};
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        test_set s = test_set_create(mixed_tensors, 9, 4, (uint64_t)per + 1, SOURCE_MEMORY);
        test_set_on_grid(&s, (uint64_t)per + 1);
        test_set p = test_set_copy(&s, SOURCE_MEMORY);
        emr_merge_options o = small_options();
        o.rescale_per = per;
        o.tie = per == EMR_RESCALE_PER_TENSOR ? EMR_TIE_NEGATIVE : EMR_TIE_ZERO;
        for (size_t t = 0; t < s.n; t++)
            copy_task(&p, order[t], &s.tasks[t]);
        emr_buffer *x = test_merge_bundle(&s, &o), *y = test_merge_bundle(&p, &o);
        emr_bundle *a = test_bundle_open(x), *b = test_bundle_open(y);
        assert_permuted(a, b, order, &s);
        emr_bundle_destroy(&a);
        emr_bundle_destroy(&b);
        emr_buffer_destroy(&x);
        emr_buffer_destroy(&y);
        test_set_destroy(&s);
        test_set_destroy(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_models_of_every_dtype),
        cmocka_unit_test(large_tensors),
        cmocka_unit_test(more_tasks_than_a_byte_counts),
        cmocka_unit_test(task_equal_to_the_base_comes_back_as_the_base),
        cmocka_unit_test(one_task_alone_comes_back),
        cmocka_unit_test(outvoted_task_has_no_mask_and_is_reported),
        cmocka_unit_test(order_of_tasks_permutes_the_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
