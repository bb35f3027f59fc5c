/* test_policy.c - "Which tensors are merged" of docs/algorithm.md, row by row: what the plan says, what the
 * run does, and what each task's model holds afterwards. The refusals are in test_refusal.c. */
#include "property.h"

/* Where a task's model has its tensor from. */
typedef enum origin { NOWHERE, OWN, BASE, MERGED } origin;

/* One tensor as the base and two tasks have it; `dtype` 0 means that it is absent. */
typedef struct policy_case {
    const char *what;
    test_tensor base, tasks[2];
    bool changed[2]; /* not floats: the bytes differ from the base's */
    const char *glob;
    emr_on_mismatch on_mismatch;
    emr_on_missing on_missing;
    emr_action action;
    uint32_t n_private; /* after the run */
    origin from[2];
} policy_case;

/* clang-format off */
#define X(dtype, ...) {"x", dtype, sizeof((uint64_t[]){__VA_ARGS__}) / 8, {__VA_ARGS__}}
#define F(...)  X(EMR_DTYPE_F32, __VA_ARGS__)
#define H(...)  X(EMR_DTYPE_BF16, __VA_ARGS__)
#define I(...)  X(EMR_DTYPE_I32, __VA_ARGS__)
#define U(...)  X(EMR_DTYPE_U32, __VA_ARGS__)
#define B(...)  X(EMR_DTYPE_BOOL, __VA_ARGS__)
#define F4(...) X(EMR_DTYPE_F4, __VA_ARGS__)
#define E8(...) X(EMR_DTYPE_F8_E8M0, __VA_ARGS__)
#define ABSENT  {0}
#define SCALAR  {"x", EMR_DTYPE_F32, 0, {0}}
#define BOTH(origin) {origin, origin}
#define DO_MERGE   EMR_ACTION_MERGE
#define DO_KEEP    EMR_ACTION_KEEP
#define DO_PRIVATE EMR_ACTION_PRIVATE
#define PRIVATE    EMR_ON_MISMATCH_PRIVATE
#define USE_BASE   EMR_ON_MISSING_BASE

static const policy_case policies[] = {
    {"float everywhere", F(4, 3), {F(4, 3), F(4, 3)}, {0}, NULL, 0, 0, DO_MERGE, 0, BOTH(MERGED)},
    {"float of other dtypes", F(4, 3), {H(4, 3), F(4, 3)}, {0}, NULL, 0, 0, DO_MERGE, 0, BOTH(MERGED)},
    {"rank 0", SCALAR, {SCALAR, SCALAR}, {0}, NULL, 0, 0, DO_MERGE, 0, BOTH(MERGED)},
    {"no elements", F(0, 3), {F(0, 3), F(0, 3)}, {0}, NULL, 0, 0, DO_MERGE, 0, BOTH(MERGED)},
    {"rank 1, no elements", F(0), {F(0), F(0)}, {0}, NULL, 0, 0, DO_MERGE, 0, BOTH(MERGED)},

    {"float, not in the base", ABSENT, {F(4), F(4)}, {0}, NULL, 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"float of one task", ABSENT, {ABSENT, F(4)}, {0}, NULL, 0, 0, DO_PRIVATE, 1, {NOWHERE, OWN}},
    {"heads of two sizes", ABSENT, {F(4, 3), F(7, 3)}, {0}, NULL, 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"integer, not in the base", ABSENT, {I(4), U(4)}, {0}, NULL, 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"empty, not in the base", ABSENT, {F(0), ABSENT}, {0}, NULL, 0, 0, DO_PRIVATE, 1, {OWN, NOWHERE}},

    {"glob on a float", F(4), {F(4), F(4)}, {0}, "[xyz]", 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"glob on an integer", I(4), {I(4), I(4)}, {0, 1}, "[!w]", 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"glob on two shapes", F(4), {F(4), F(5)}, {0}, "x*", 0, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"glob, absent", F(4), {ABSENT, F(4)}, {0}, "x", 0, USE_BASE, DO_PRIVATE, 1, {BASE, OWN}},

    {"shapes differ", F(4, 3), {F(4, 3), F(3, 4)}, {0}, NULL, PRIVATE, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"ranks differ", F(12), {F(4, 3), F(12)}, {0}, NULL, PRIVATE, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"float and integer", F(4), {F(4), I(4)}, {0}, NULL, PRIVATE, 0, DO_PRIVATE, 2, BOTH(OWN)},
    {"shapes differ, absent", F(4), {F(5), ABSENT}, {0}, NULL, PRIVATE, USE_BASE, DO_PRIVATE, 1, {OWN, BASE}},
    {"integers of two shapes", I(4), {I(5), I(4)}, {0}, NULL, PRIVATE, 0, DO_PRIVATE, 2, BOTH(OWN)},

    {"integer, equal", I(9), {I(9), I(9)}, {0}, NULL, 0, 0, DO_KEEP, 0, BOTH(BASE)},
    {"integer, one differs", I(9), {I(9), I(9)}, {0, 1}, NULL, 0, 0, DO_KEEP, 1, {BASE, OWN}},
    {"integer, all differ", I(9), {I(9), I(9)}, {1, 1}, NULL, 0, 0, DO_KEEP, 2, BOTH(OWN)},
    {"integer of another dtype", I(9), {U(9), I(9)}, {0}, NULL, 0, 0, DO_KEEP, 1, {OWN, BASE}},
    {"bool, one differs", B(9), {B(9), B(9)}, {1, 0}, NULL, 0, 0, DO_KEEP, 1, {OWN, BASE}},
    {"opaque, equal", F4(8), {F4(8), F4(8)}, {0}, NULL, 0, 0, DO_KEEP, 0, BOTH(BASE)},
    {"opaque, one differs", E8(8), {E8(8), E8(8)}, {0, 1}, NULL, 0, 0, DO_KEEP, 1, {BASE, OWN}},
    {"integers without elements", I(0), {I(0), I(0)}, {0}, NULL, 0, 0, DO_KEEP, 0, BOTH(BASE)},

    {"float, absent", F(4), {ABSENT, F(4)}, {0}, NULL, 0, USE_BASE, DO_MERGE, 0, {BASE, MERGED}},
    {"float, absent everywhere", F(4), {ABSENT, ABSENT}, {0}, NULL, 0, USE_BASE, DO_MERGE, 0, BOTH(BASE)},
    {"integer, absent", I(4), {I(4), ABSENT}, {1, 0}, NULL, 0, USE_BASE, DO_KEEP, 1, {OWN, BASE}},
};
/* clang-format on */

static const test_tensor plain = {"w", EMR_DTYPE_F32, 2, {5, 13}};

/* A model of the plain tensor and, unless it is absent, the tensor of the policy. */
static test_model make_model(const char *name, const test_tensor *x)
{
    test_tensor tensors[2] = {plain, *x};
    return test_model_create(name, tensors, x->dtype ? 2 : 1, SOURCE_MEMORY);
}

static size_t bytes_of(const test_tensor *t)
{
    return (size_t)(test_tensor_count(t) * emr_dtype_bits(t->dtype) / 8); /* 0 where it is absent */
}

static test_set make_set(const policy_case *p)
{
    rng r = {4711};
    test_set s = {make_model("base.file", &p->base), calloc(2, sizeof(test_model)), 2};
    test_model_randomise(&s.base, &r);
    for (size_t t = 0; t < 2; t++) {
        bool floats = emr_dtype_is_float(p->tasks[t].dtype);
        s.tasks[t] = make_model(t ? "t1.file" : "t0.file", &p->tasks[t]);
        test_model_randomise(&s.tasks[t], &r);
        size_t a = bytes_of(&p->base), b = bytes_of(&p->tasks[t]);
        if (!floats && p->tasks[t].dtype)
            memcpy(s.tasks[t].data[1], s.base.data[p->base.dtype ? 1 : 0], a < b ? a : b);
        if (p->changed[t])
            s.tasks[t].data[1][0] ^= 1;
    }
    return s;
}

static emr_plan_tensor row_of(const emr_merge *merge, const char *name)
{
    emr_plan_tensor row = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &row) == EMR_OK; i++)
        if (strcmp(row.name, name) == 0)
            return row;
    fail_msg("the plan has no row '%s'", name);
    return row;
}

static bool has_private(const emr_bundle *bundle, uint32_t task, const char *name)
{
    emr_private_info info = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; emr_bundle_get_private(bundle, task, i, &info) == EMR_OK; i++)
        if (strcmp(info.name, name) == 0)
            return true;
    return false;
}

/* A task's model has the tensor from where the policy says: names, dtypes and, but for the merge's, bytes. */
static void check_origin(const policy_case *p, const test_set *s, const emr_bundle *bundle, uint32_t task,
                         const emr_model *base)
{
    emr_error error;
    emr_model *view;
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    uint32_t number;
    assert_ok(emr_bundle_open_task(&view, bundle, task, base, NULL, &error), &error);
    const emr_tensor *t = emr_model_find_tensor(view, "x");
    assert_int_equal(emr_model_n_tensors(view), t ? 2 : 1);
    assert_int_equal(has_private(bundle, task, "x"), p->from[task] == OWN);
    assert_int_equal(t != NULL, p->from[task] != NOWHERE);
    if (p->from[task] == BASE || p->from[task] == MERGED) {
        assert_ok(emr_bundle_find_tensor(bundle, "x", &number, NULL), NULL);
        assert_ok(emr_bundle_get_tensor(bundle, number, &info), NULL);
        assert_int_equal(info.merged, p->action == EMR_ACTION_MERGE);
    }
    if (t) {
        const test_tensor *like = p->from[task] == BASE ? &p->base : &p->tasks[task];
        const test_model *from = p->from[task] == BASE ? &s->base : &s->tasks[task];
        unsigned char *bytes = tensor_bytes_of(t);
        assert_int_equal(emr_tensor_dtype(t), like->dtype);
        assert_int_equal(emr_tensor_rank(t), like->rank);
        assert_memory_equal(emr_tensor_shape(t), like->shape, like->rank * sizeof *like->shape);
        if (p->from[task] != MERGED)
            assert_memory_equal(bytes, from->data[1], (size_t)emr_tensor_bytes(t));
        free(bytes);
    }
    emr_model_destroy(&view);
}

static void check_policy(const policy_case *p, emr_rescale_per per, bool embed_base)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    test_set s = make_set(p);
    emr_policy policy = private_policy(&p->glob);
    emr_merge_options o = small_options();
    policy.on_mismatch = p->on_mismatch;
    policy.on_missing = p->on_missing;
    o.policy = &policy;
    o.rescale_per = per;
    o.embed_base = embed_base;
    emr_merge *merge = test_merge_create(&s, &o);
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
    emr_plan_tensor before = row_of(merge, "x");
    assert_int_equal(plan.n_tensors, 2);
    assert_int_equal(plan.n_merged, p->action == EMR_ACTION_MERGE ? 2 : 1);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_plan_tensor after = row_of(merge, "x");
    assert_int_equal(before.action, p->action);
    assert_int_equal(after.action, p->action);
    assert_string_equal(before.reason, after.reason);
    assert_int_not_equal(strlen(before.reason), 0);
    assert_int_equal(before.n_private, p->action == EMR_ACTION_PRIVATE ? p->n_private : 0);
    assert_int_equal(after.n_private, p->n_private);
    emr_bundle *bundle = test_bundle_open(buffer);
    for (uint32_t t = 0; t < 2; t++)
        check_origin(p, &s, bundle, t, embed_base ? NULL : s.base.model);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

static void every_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        print_message("    %s\n", policies[i].what);
        for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++)
            check_policy(&policies[i], per, per != EMR_RESCALE_PER_TENSOR);
    }
}

/* Where nothing differs from the base, masks take no bytes. */
static void unchanged_tensors_cost_no_mask_bytes(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {500, 601}}};
    test_set s = test_set_create(tensors, 1, 2, 3, SOURCE_MEMORY);
    for (size_t t = 0; t < s.n; t++)
        memcpy(s.tasks[t].data[0], s.base.data[0], 500 * 601 * 4);
    emr_merge_options o = small_options();
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *bundle = test_bundle_open(buffer);
    for (uint32_t t = 0; t < s.n; t++) {
        emr_task_info info = EMR_INIT(emr_task_info);
        assert_ok(emr_bundle_get_task(bundle, t, &info), NULL);
        assert_int_equal(info.mask_bytes, 0);
        assert_int_equal(info.mask_ones, 0);
    }
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy),
        cmocka_unit_test(unchanged_tensors_cost_no_mask_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
