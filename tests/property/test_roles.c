/* test_roles.c - what is no weight is never merged: every task gets back the codes, side-cars, statistics and
 * constants that it had, to the last bit, over any base. And any names and shapes have roles that make sense.
 */
#include "property.h"

#include <stdio.h>

static const test_tensor family_tensors[] = {
    {"w", EMR_DTYPE_F32, 2, {5, 13}},
    {"a.weight", EMR_DTYPE_F8_E4M3, 2, {8, 6}},
    {"a.weight_scale", EMR_DTYPE_F32, 2, {8, 1}},
    {"a.input_scale", EMR_DTYPE_F32, 0, {0}},
    {"b.weight", EMR_DTYPE_I8, 2, {8, 6}},
    {"b.SCB", EMR_DTYPE_F32, 1, {8}},
    {"c.weight", EMR_DTYPE_F8_E5M2, 2, {8, 64}},
    {"c.weight_scale_inv", EMR_DTYPE_U8, 2, {8, 2}},
    {"d.qweight", EMR_DTYPE_I32, 2, {8, 6}},
    {"d.qzeros", EMR_DTYPE_I32, 2, {1, 1}},
    {"d.scales", EMR_DTYPE_F16, 2, {1, 6}},
    {"n.running_mean", EMR_DTYPE_F32, 1, {7}},
    {"n.running_var", EMR_DTYPE_F32, 1, {7}},
    {"n.weight", EMR_DTYPE_F32, 1, {7}},
    {"l.alpha", EMR_DTYPE_F16, 0, {0}},
    {"l.lora_down.weight", EMR_DTYPE_F16, 2, {2, 9}},
    {"l.dora_scale", EMR_DTYPE_F16, 2, {9, 1}},
};
enum { N_FAMILY = sizeof family_tensors / sizeof family_tensors[0] };

static emr_tensor_role role_of(const emr_tensor *t)
{
    emr_tensor_role role = EMR_INIT(emr_tensor_role);
    assert_int_equal(emr_tensor_get_role(t, &role), EMR_OK);
    return role;
}

/* Runs a merge of the set over that base, which may be the set's own, and opens the bundle. */
static emr_bundle *merge_over(const test_set *s, const emr_model *base, const emr_policy *policy,
                              emr_buffer **bytes)
{
    emr_error error;
    emr_merge *merge;
    emr_merge_options o = small_options();
    o.policy = policy;
    o.embed_base = base != s->base.model;
    *bytes = test_buffer_new();
    assert_ok(emr_merge_create(&merge, &o, &error), &error);
    assert_ok(emr_merge_set_base(merge, base, &error), &error);
    for (size_t t = 0; t < s->n; t++)
        assert_ok(emr_merge_add_task(merge, t ? "t1" : "t0", s->tasks[t].model, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(*bytes), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return test_bundle_open(*bytes);
}

static void assert_exact(const emr_model *view, const test_model *m, size_t tensor)
{
    const emr_tensor *t = emr_model_find_tensor(view, m->tensors[tensor].name);
    assert_non_null(t);
    unsigned char *bytes = tensor_bytes_of(t);
    assert_int_equal(emr_tensor_dtype(t), m->tensors[tensor].dtype);
    assert_memory_equal(bytes, m->data[tensor], (size_t)emr_tensor_bytes(t));
    free(bytes);
}

static void check_families(const test_set *s, const emr_model *base, bool one_changed)
{
    emr_buffer *bytes;
    emr_bundle *bundle = merge_over(s, base, NULL, &bytes);
    for (uint32_t t = 0; t < s->n; t++) {
        emr_error error;
        emr_model *view;
        emr_tensor_info info = EMR_INIT(emr_tensor_info);
        uint32_t number;
        assert_ok(emr_bundle_open_task(&view, bundle, t, base == s->base.model ? base : NULL, NULL, &error),
                  &error);
        assert_int_equal(emr_model_n_tensors(view), N_FAMILY);
        for (size_t i = 0; i < N_FAMILY; i++) {
            bool is_weight =
                role_of(emr_model_tensor(s->tasks[t].model, (uint32_t)i)).role == EMR_ROLE_WEIGHT;
            bool is_there = emr_bundle_find_tensor(bundle, family_tensors[i].name, &number, NULL) == EMR_OK;
            if (is_there)
                assert_ok(emr_bundle_get_tensor(bundle, number, &info), NULL);
            assert_int_equal(is_there && info.merged, is_weight);
            if (!is_weight)
                assert_exact(view, &s->tasks[t], i);
            if (one_changed && !is_weight && base == s->base.model) /* the other task has it from the base */
                assert_true(is_there);
        }
        emr_model_destroy(&view);
    }
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&bytes);
}

static void families_come_back_exactly(void **state)
{
    (void)state;
    for (int read = 0; read < 2; read++) {
        test_set s = test_set_create(family_tensors, N_FAMILY, 2, 77, read ? SOURCE_IO : SOURCE_MEMORY);
        rng r = {5};
        emr_error error;
        emr_model *zeros;
        for (size_t t = 0; t < 2; t++) /* codes and side-cars of their own */
            test_model_randomise(&s.tasks[t], &r);
        assert_ok(emr_model_create_zeros(&zeros, s.tasks[0].model, NULL, &error), &error);
        check_families(&s, s.base.model, false);
        check_families(&s, zeros, false);
        for (size_t i = 0; i < N_FAMILY; i++) /* one task is as the base is */
            memcpy(s.tasks[1].data[i], s.base.data[i],
                   (size_t)emr_tensor_bytes(emr_model_tensor(s.base.model, (uint32_t)i)));
        check_families(&s, s.base.model, true);
        emr_model_destroy(&zeros);
        test_set_destroy(&s);
    }
}

/* A plan of base and one task. */
static emr_merge *plan_pair(const emr_model *base, const emr_model *task, const emr_policy *policy,
                            emr_status *status, emr_error *error)
{
    emr_merge *merge;
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    emr_merge_options o = small_options();
    o.policy = policy;
    assert_ok(emr_merge_create(&merge, &o, error), error);
    assert_ok(emr_merge_set_base(merge, base, error), error);
    assert_ok(emr_merge_add_task(merge, "french", task, error), error);
    *status = emr_merge_get_plan(merge, &plan, error);
    return merge;
}

static emr_plan_tensor row_named(const emr_merge *merge, const char *name)
{
    emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &row) == EMR_OK; i++)
        if (strcmp(row.name, name) == 0)
            return row;
    fail_msg("the plan has no row '%s'", name);
    return row;
}

/* Two ways to code one tensor. */
static const struct {
    test_tensor tensors[2][2];
    size_t n[2];
    const char *words[2];
    bool can_dequantise;
} codings[] = {
    {{{{"l.weight", EMR_DTYPE_F8_E4M3, 2, {8, 8}}, {"l.weight_scale", EMR_DTYPE_F32, 0, {0}}},
      {{"l.weight", EMR_DTYPE_BF16, 2, {8, 8}}, {"x", EMR_DTYPE_F32, 1, {1}}}},
     {2, 1},
     {"FP8 with a scale a tensor", "BF16"},
     true},
    {{{{"l.weight", EMR_DTYPE_F8_E4M3, 2, {8, 8}}, {"l.weight_scale", EMR_DTYPE_F32, 0, {0}}},
      {{"l.weight", EMR_DTYPE_I8, 2, {8, 8}}, {"l.weight_scale", EMR_DTYPE_F32, 1, {8}}}},
     {2, 2},
     {"FP8 with a scale a tensor", "int8 with a scale a row"},
     true},
    {{{{"l.weight", EMR_DTYPE_U8, 2, {32, 1}},
       {"l.weight.quant_state.bitsandbytes__nf4", EMR_DTYPE_U8, 1, {9}}},
      {{"l.weight", EMR_DTYPE_F16, 2, {8, 8}}, {"x", EMR_DTYPE_F32, 1, {1}}}},
     {2, 1},
     {"NF4 of bitsandbytes", "F16"},
     false},
};

static void codings_must_agree(void **state)
{
    emr_policy keep_out = EMR_INIT(emr_policy), missing = EMR_INIT(emr_policy);
    (void)state;
    missing.on_missing = keep_out.on_missing = EMR_ON_MISSING_BASE;
    keep_out.on_mismatch = EMR_ON_MISMATCH_PRIVATE;
    for (size_t i = 0; i < 2 * sizeof codings / sizeof codings[0]; i++) {
        size_t k = i / 2, first = i % 2;
        emr_status status;
        emr_error error;
        test_model base =
            test_model_create("base.file", codings[k].tensors[first], codings[k].n[first], SOURCE_MEMORY);
        test_model task = test_model_create("task.file", codings[k].tensors[1 - first],
                                            codings[k].n[1 - first], SOURCE_MEMORY);
        emr_merge *merge = plan_pair(base.model, task.model, &missing, &status, &error);
        assert_int_equal(status, EMR_EMISMATCH);
        assert_names_task(&error, "french");
        assert_names_tensor(&error, "l.weight");
        assert_says(&error, codings[k].words[0]);
        assert_says(&error, codings[k].words[1]);
        assert_says(&error, codings[k].can_dequantise ? "--dequantise" : "--on-mismatch private");
        emr_merge_destroy(&merge);
        merge = plan_pair(base.model, task.model, &keep_out, &status, &error);
        assert_ok(status, &error);
        assert_int_equal(row_named(merge, "l.weight").action, EMR_ACTION_PRIVATE);
        emr_merge_destroy(&merge);
        test_model_destroy(&base);
        test_model_destroy(&task);
    }
}

/* Patterns merge what is no weight, if it is a float, and private ones come first. */
static void patterns_merge_whatever_the_role(void **state)
{
    static const char *const merged[] = {"*.running_*", "*.alpha"}, *const kept[] = {"*.running_var"};
    static const char *const scales[] = {"a.*"}, *const packed[] = {"b.weight"}, *const none[] = {NULL};
    test_set s = test_set_create(family_tensors, N_FAMILY, 1, 3, SOURCE_MEMORY);
    emr_policy policy = EMR_INIT(emr_policy);
    emr_status status;
    emr_error error;
    (void)state;
    policy.merge_globs = merged;
    policy.n_merge_globs = 2;
    policy.private_globs = kept;
    policy.n_private_globs = 1;
    emr_merge *merge = plan_pair(s.base.model, s.tasks[0].model, &policy, &status, &error);
    assert_ok(status, &error);
    assert_int_equal(row_named(merge, "n.running_mean").action, EMR_ACTION_MERGE);
    assert_int_equal(row_named(merge, "n.running_var").action, EMR_ACTION_PRIVATE);
    assert_int_equal(row_named(merge, "l.alpha").action, EMR_ACTION_MERGE);
    assert_int_equal(row_named(merge, "a.weight").action, EMR_ACTION_KEEP);
    assert_int_equal(row_named(merge, "l.dora_scale").action, EMR_ACTION_KEEP);
    emr_merge_destroy(&merge);
    policy.merge_globs = scales;
    policy.n_merge_globs = 1;
    merge = plan_pair(s.base.model, s.tasks[0].model, &policy, &status, &error);
    assert_ok(status, &error);
    assert_int_equal(row_named(merge, "a.weight").action, EMR_ACTION_MERGE);
    assert_int_equal(row_named(merge, "a.weight_scale").action, EMR_ACTION_MERGE);
    emr_merge_destroy(&merge);
    policy.merge_globs = packed;
    merge = plan_pair(s.base.model, s.tasks[0].model, &policy, &status, &error);
    assert_int_equal(status, EMR_EINVAL);
    assert_names_tensor(&error, "b.weight");
    assert_says(&error, "--merge");
    emr_merge_destroy(&merge);
    emr_merge_options o = small_options();
    o.policy = &policy;
    policy.merge_globs = none;
    assert_int_equal(emr_merge_create(&merge, &o, &error), EMR_EINVAL);
    assert_says(&error, "merge_globs");
    policy.merge_globs = NULL;
    assert_int_equal(emr_merge_create(&merge, &o, &error), EMR_EINVAL);
    test_set_destroy(&s);
}

/* What is pushed cannot be compared: floats that are no weights are private then. */
static void pushed_tensors_are_private(void **state)
{
    static const test_tensor tensors[] = {{"n.running_mean", EMR_DTYPE_F32, 1, {7}},
                                          {"n.running_var", EMR_DTYPE_F32, 1, {7}}};
    test_model base = test_model_create("base", tensors, 2, SOURCE_MEMORY), task;
    emr_status status;
    emr_error error;
    (void)state;
    task = test_model_create("task", tensors, 2, SOURCE_PUSHED);
    emr_merge *merge = plan_pair(base.model, task.model, NULL, &status, &error);
    assert_ok(status, &error);
    assert_int_equal(row_named(merge, "n.running_mean").action, EMR_ACTION_PRIVATE);
    emr_merge_destroy(&merge);
    test_model_destroy(&base);
    test_model_destroy(&task);
}

/* Shapes and dtypes of what is no weight may differ from the base's, floats against integers too: in a task
 * they come back as they were there. */
static void what_is_no_weight_may_differ_in_shape_and_dtype(void **state)
{
    static const test_tensor sides[2][8] = {{{"l.alpha", EMR_DTYPE_F16, 0, {0}},
                                             {"e.position_ids", EMR_DTYPE_I64, 2, {1, 77}},
                                             {"attn_mask", EMR_DTYPE_BOOL, 2, {9, 9}},
                                             {"optimizer.step", EMR_DTYPE_I64, 0, {0}},
                                             {"b.num_batches_tracked", EMR_DTYPE_I64, 0, {0}},
                                             {"b.running_mean", EMR_DTYPE_F32, 1, {7}},
                                             {"b.running_var", EMR_DTYPE_F32, 1, {7}},
                                             {"l.lora_down.weight", EMR_DTYPE_F16, 2, {4, 8}}},
                                            {{"l.alpha", EMR_DTYPE_F32, 1, {1}},
                                             {"e.position_ids", EMR_DTYPE_F32, 2, {1, 77}},
                                             {"attn_mask", EMR_DTYPE_F32, 2, {8, 8}},
                                             {"optimizer.step", EMR_DTYPE_F32, 0, {0}},
                                             {"b.num_batches_tracked", EMR_DTYPE_F32, 0, {0}},
                                             {"b.running_mean", EMR_DTYPE_F32, 1, {7}},
                                             {"b.running_var", EMR_DTYPE_F32, 1, {7}},
                                             {"l.lora_down.weight", EMR_DTYPE_F16, 2, {4, 8}}}};
    emr_buffer *bytes;
    emr_error error;
    emr_model *view;
    rng r = {9};
    (void)state;
    for (size_t first = 0; first < 2; first++) {
        test_model base = test_model_create("base", sides[first], 8, SOURCE_MEMORY);
        test_model task = test_model_create("task", sides[1 - first], 8, SOURCE_MEMORY);
        test_model_randomise(&task, &r);
        const test_set s = {base, &task, 1};
        emr_bundle *bundle = merge_over(&s, base.model, NULL, &bytes);
        assert_ok(emr_bundle_open_task(&view, bundle, 0, base.model, NULL, &error), &error);
        for (size_t i = 0; i < 7; i++)
            assert_exact(view, &task, i);
        emr_model_destroy(&view);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&bytes);
        test_model_destroy(&base);
        test_model_destroy(&task);
    }
}

/* Models of names that are put together from what the rules know, with any dtypes and shapes. */
static void any_names_have_roles(void **state)
{
    static const char *const parts[] = {"weight",
                                        "l.",
                                        "_scale",
                                        "_scale_inv",
                                        "scale",
                                        "scale_weight",
                                        "SCB",
                                        "alpha",
                                        ".",
                                        "_",
                                        "qweight",
                                        "scales",
                                        "qzeros",
                                        "g_idx",
                                        ".absmax",
                                        "_packed",
                                        "_blocks",
                                        "_scales",
                                        ".quant_state.bitsandbytes__nf4",
                                        "running_mean",
                                        "running_var",
                                        "bias",
                                        "position_ids",
                                        "lora_down.weight",
                                        "dora_scale",
                                        "_data",
                                        "_zero_point",
                                        "",
                                        "m",
                                        "lora_a",
                                        "weight_packed",
                                        "inv_freq",
                                        "_scale_2",
                                        "comfy_quant",
                                        "optimizer",
                                        "exp_avg_sq",
                                        "step",
                                        "input_scale",
                                        "alphas_cumprod",
                                        "attn_mask",
                                        "\xc3\xa9"};
    static const emr_dtype dtypes[] = {
        EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2FNUZ, EMR_DTYPE_U8,
        EMR_DTYPE_I8,  EMR_DTYPE_I32,  EMR_DTYPE_U32,     EMR_DTYPE_F8_E8M0,     EMR_DTYPE_F64};
    enum { N_PARTS = sizeof parts / sizeof parts[0], N_DTYPES = sizeof dtypes / sizeof dtypes[0] };
    rng r = {1};
    size_t n_roles[6] = {0};
    (void)state;
    for (int round = 0; round < 3000; round++) {
        emr_error error;
        emr_model *model = test_model_new("model");
        const uint64_t common[] = {1 + rng_below(&r, 3), 1 + rng_below(&r, 40), 8, rng_below(&r, 9)};
        for (int i = 0; i < 40; i++) {
            char name[200] = "";
            uint64_t shape[4];
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            strcpy(name, rng_below(&r, 2) ? "l." : "");
            for (uint64_t k = rng_below(&r, 5) ? 1 : 2; k-- > 0;)
                strcat(name, parts[rng_below(&r, N_PARTS)]);
            for (int k = 0; k < 4; k++)
                shape[k] = rng_below(&r, 10) ? common[k] : rng_next(&r) >> rng_below(&r, 64);
            d.name = name;
            d.dtype = dtypes[rng_below(&r, N_DTYPES)];
            d.rank = (uint32_t)rng_below(&r, 5) * (rng_below(&r, 2) != 0);
            d.shape = shape;
            (void)emr_model_add(model, &d, &error); /* some names are taken, some shapes too large */
        }
        for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
            emr_tensor_role role = role_of(emr_model_tensor(model, i));
            assert_true(role.role <= EMR_ROLE_MAGNITUDE);
            n_roles[role.role]++;
            assert_int_equal(role.family == NULL, role.role == EMR_ROLE_WEIGHT);
            if (role.role == EMR_ROLE_SIDECAR)
                assert_int_equal(role_of(role.code).role, EMR_ROLE_CODE);
        }
        emr_model_destroy(&model);
    }
    for (int i = 0; i < 6; i++)
        assert_true(n_roles[i] > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_come_back_exactly),
        cmocka_unit_test(codings_must_agree),
        cmocka_unit_test(patterns_merge_whatever_the_role),
        cmocka_unit_test(pushed_tensors_are_private),
        cmocka_unit_test(what_is_no_weight_may_differ_in_shape_and_dtype),
        cmocka_unit_test(any_names_have_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
