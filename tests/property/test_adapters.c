/* test_adapters.c - models without a pretrained counterpart: against zeros as against a checkpoint of zeros,
 * and by the formula; (IA)^3's vectors against the ones they begin with. */
#include "property.h"

/* A and B of two layers, as PEFT names them; ranks and widths are no multiples of anything. */
static const test_tensor lora_tensors[] = {
    {"base_model.model.layers.0.q_proj.lora_A.weight", EMR_DTYPE_F32, 2, {5, 67}},
    {"base_model.model.layers.0.q_proj.lora_B.weight", EMR_DTYPE_F32, 2, {67, 5}},
    {"base_model.model.layers.1.q_proj.lora_A.weight", EMR_DTYPE_BF16, 2, {8, 1003}},
    {"base_model.model.layers.1.q_proj.lora_B.weight", EMR_DTYPE_F16, 2, {1003, 8}},
};
enum { N_LORA = sizeof lora_tensors / sizeof lora_tensors[0] };

static const test_tensor ia3_tensors[] = {
    {"base_model.model.layers.0.k_proj.ia3_l", EMR_DTYPE_F32, 2, {67, 1}},
    {"base_model.model.layers.0.down_proj.ia3_l", EMR_DTYPE_F32, 2, {1, 301}},
    {"base_model.model.layers.1.k_proj.ia3_l", EMR_DTYPE_BF16, 1, {131}},
};
enum { N_IA3 = sizeof ia3_tensors / sizeof ia3_tensors[0] };

/* Instead of the set's base a checkpoint of zeros, in the dtypes of the first task. */
static void put_zeros(test_set *s)
{
    test_model zeros =
        test_model_create("zeros.safetensors", s->tasks[0].tensors, s->tasks[0].n, SOURCE_MEMORY);
    test_model_destroy(&s->base);
    s->base = zeros;
}

/* Both bases give the same bundle, whether it holds the base or not; it is what the formulas say; and its
 * tasks come out without a base, or with zeros. */
static void check_zeros(const test_set *s, emr_merge_options o)
{
    emr_error error;
    emr_model *zeros;
    test_set against = *s;
    assert_ok(emr_model_create_zeros(&zeros, s->tasks[0].model, NULL, &error), &error);
    against.base.model = zeros;
    for (o.embed_base = 0; o.embed_base <= 1; o.embed_base++) {
        emr_buffer *want = test_merge_bundle(s, &o), *got = test_merge_bundle(&against, &o);
        assert_same_buffer(got, want, "a bundle against zeros");
        emr_bundle *bundle = test_bundle_open(got);
        reference r = reference_make(s, &o);
        assert_ok(emr_bundle_check_base(bundle, zeros, NULL, &error), &error);
        assert_bundle_is_formula(bundle, zeros, &r);
        if (o.embed_base)
            assert_bundle_is_formula(bundle, NULL, &r);
        reference_destroy(&r);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&want);
        emr_buffer_destroy(&got);
    }
    emr_model_destroy(&zeros);
}

static void adapters_against_zeros(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        test_set s = test_set_create(lora_tensors, N_LORA, 1 + seed % 4, seed, SOURCE_MEMORY);
        emr_merge_options o = small_options();
        o.rescale = (emr_rescale)(1 + seed % 3);
        o.rescale_per =
            o.rescale == EMR_RESCALE_L1_MEANS ? EMR_RESCALE_PER_MODEL : (emr_rescale_per)(1 + seed / 3 % 3);
        o.tie = (emr_tie)(seed % 2);
        put_zeros(&s);
        check_zeros(&s, o);
        test_set_destroy(&s);
    }
}

static void any_model_against_zeros(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        test_set s = random_set(seed, 1 + seed % 5, seed % 2);
        put_zeros(&s);
        check_zeros(&s, small_options());
        test_set_destroy(&s);
    }
}

/* With zeros as the base a rebuilt weight is lambda * u where the mask is set, and +0 elsewhere. */
static void weights_are_multiples_of_the_unified_ones(void **state)
{
    emr_error error;
    emr_merge_options o = small_options();
    test_set s = test_set_create(lora_tensors, 2, 3, 5, SOURCE_MEMORY);
    (void)state;
    put_zeros(&s);
    o.embed_base = 1;
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *bundle = test_bundle_open(buffer);
    emr_model *unified, *task;
    assert_ok(emr_bundle_open_unified(&unified, bundle, NULL, &error), &error);
    for (uint32_t t = 0; t < s.n; t++) {
        size_t kept = 0, n;
        assert_ok(emr_bundle_open_task(&task, bundle, t, NULL, NULL, &error), &error);
        for (uint32_t i = 0; i < 2; i++) {
            float u[5 * 67], w[5 * 67], *lambda = rescalers_of(bundle, t, i, &n);
            assert_int_equal(n, 1);
            assert_ok(emr_tensor_read(emr_model_tensor(unified, i), 0, u, sizeof u, &error), &error);
            assert_ok(
                emr_tensor_read(emr_model_find_tensor(task, lora_tensors[i].name), 0, w, sizeof w, &error),
                &error);
            for (size_t k = 0; k < 5 * 67; k++) {
                float own, scaled = *lambda * u[k], none = 0;
                memcpy(&own, s.tasks[t].data[i] + 4 * k, 4);
                bool masked = (own > 0 && u[k] > 0) || (own < 0 && u[k] < 0);
                assert_memory_equal(&w[k], masked ? &scaled : &none, 4);
                kept += masked;
            }
            free(lambda);
        }
        assert_true(kept > 0 && kept < 2 * 5 * 67);
        emr_model_destroy(&task);
    }
    emr_model_destroy(&unified);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

static void vectors_against_the_ones_they_begin_with(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        test_set s = test_set_create(ia3_tensors, N_IA3, 1 + seed % 3, seed, SOURCE_MEMORY);
        emr_merge_options o = small_options();
        rng r = {seed};
        for (size_t i = 0; i < N_IA3; i++)
            for (uint64_t k = 0; k < test_tensor_count(&ia3_tensors[i]); k++)
                test_store(&s.base, i, k, 1);
        for (size_t t = 0; t < s.n; t++)
            test_model_perturb(&s.tasks[t], &s.base, 0.1f, &r);
        o.rescale_per = (emr_rescale_per)(1 + seed % 3);
        assert_merge_is_formula(&s, &o);
        test_set_destroy(&s);
    }
}

/* A bundle against zeros grows by zeros. */
static void adding_against_zeros(void **state)
{
    emr_error error;
    emr_merge *merge;
    emr_model *zeros;
    emr_merge_options o = small_options();
    test_set s = test_set_create(lora_tensors, N_LORA, 3, 9, SOURCE_MEMORY), first = s;
    (void)state;
    first.n = 2;
    o.extendable = o.embed_base = 1;
    put_zeros(&s);
    first.base = s.base;
    emr_buffer *want = test_merge_bundle(&s, &o), *before = test_merge_bundle(&first, &o),
               *got = test_buffer_new();
    emr_bundle *bundle = test_bundle_open(before);
    assert_ok(emr_model_create_zeros(&zeros, s.tasks[0].model, NULL, &error), &error);
    assert_ok(emr_merge_create(&merge, NULL, &error), &error);
    assert_ok(emr_merge_extend(merge, bundle, &error), &error);
    assert_ok(emr_merge_set_base(merge, zeros, &error), &error);
    assert_ok(emr_merge_add_task(merge, "t2", s.tasks[2].model, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    assert_same_buffer(got, want, "a bundle that grew");
    emr_merge_destroy(&merge);
    emr_model_destroy(&zeros);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&want);
    emr_buffer_destroy(&before);
    emr_buffer_destroy(&got);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_against_zeros),
        cmocka_unit_test(any_model_against_zeros),
        cmocka_unit_test(weights_are_multiples_of_the_unified_ones),
        cmocka_unit_test(vectors_against_the_ones_they_begin_with),
        cmocka_unit_test(adding_against_zeros),
    };
    return cmocka_run_group_tests_name("adapters and zeros", tests, NULL, NULL);
}
