/* test_session_dtypes.c - a base that nobody checks may be in another float dtype than the bundle's was: what it gives
 * is, to the bit, what the same values give. */
#include "session_world.h"

static bool is_merged_narrow(const emr_tensor_info *t)
{
    return t->merged && (t->dtype == EMR_DTYPE_BF16 || t->dtype == EMR_DTYPE_F16);
}

typedef struct wide_base {
    emr_model *model;
    unsigned char *data[32];
    uint32_t n;
} wide_base;

/* The world's base; what is merged of BF16 or F16 is in F32, and one that is kept in F64 if `kept`. */
static wide_base widen_base(session_world *w, bool kept)
{
    wide_base wide = {.model = test_model_new("wide"), .n = w->info.n_tensors};
    assert_true(wide.n <= 32);
    for (uint32_t i = 0; i < wide.n; i++) {
        emr_tensor_info t = world_tensor(w, i);
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        uint64_t n;
        d.name = t.name;
        d.rank = t.rank;
        d.shape = t.shape;
        d.dtype = is_merged_narrow(&t)                      ? EMR_DTYPE_F32
                  : kept && strcmp(t.name, WORLD_MEAN) == 0 ? EMR_DTYPE_F64
                                                            : t.dtype;
        d.data = wide.data[i] = world_weights(w, EMR_BASE, t.name, d.dtype, &n);
        assert_ok(emr_model_add(wide.model, &d, &w->error), &w->error);
    }
    return wide;
}

static void destroy_wide(wide_base *wide)
{
    emr_model_destroy(&wide->model);
    for (uint32_t i = 0; i < wide->n; i++)
        free(wide->data[i]);
}

static emr_session *open_unchecked(session_world *w, const wide_base *wide)
{
    const emr_session_options options = {.size = sizeof options, .check = EMR_BASE_CHECK_NONE};
    emr_session *session;
    assert_ok(emr_session_create(&session, w->bundle, wide->model, &options, &w->error), &w->error);
    return session;
}

/* Weights, and products with all rows. */
static void compare_sessions(session_world *w, emr_session *session, uint32_t i)
{
    static float a[40000], b[40000], x[2 * 1000], y[2 * 1000], z[2 * 1000];
    const uint32_t tasks[2] = {1, 0};
    emr_tensor_info t = world_tensor(w, i);
    emr_product p = {.size = sizeof p, .tensor = i, .x = x, .y = y, .batch = 2, .n_rows = t.shape[0]};
    assert_true(t.count <= 40000 && t.shape[0] <= 1000 && t.count / t.shape[0] <= 1000);
    for (uint32_t task = 0; task <= WORLD_TASKS; task++) {
        emr_weights to = {.size = sizeof to, .tensor = i, .data = a, .dtype = EMR_DTYPE_F32};
        uint32_t who = task < WORLD_TASKS ? task : EMR_BASE;
        assert_ok(emr_session_apply(w->session, who, &to, 1, &w->error), &w->error);
        to.data = b;
        assert_ok(emr_session_apply(session, who, &to, 1, &w->error), &w->error);
        assert_memory_equal(a, b, t.count * sizeof *a);
    }
    for (size_t k = 0; k < 2 * 1000; k++)
        x[k] = (float)(k % 37) - 17.5f;
    assert_ok(emr_session_multiply(w->session, tasks, &p, &w->error), &w->error);
    p.y = z;
    assert_ok(emr_session_multiply(session, tasks, &p, &w->error), &w->error);
    assert_memory_equal(y, z, 2 * t.shape[0] * sizeof *y);
}

static void an_unchecked_base_may_have_another_dtype(void **state)
{
    size_t n_narrow = 0, n_worlds = 0;
    (void)state;
    for (size_t k = 0; k < n_world_settings; k++) {
        session_world w;
        if (world_settings[k].mask_blocks)
            continue; /* room for the codes of two tasks */
        world_create(&w, &world_settings[k]);
        n_worlds++;
        wide_base wide = widen_base(&w, false);
        emr_session *session = open_unchecked(&w, &wide);
        for (uint32_t i = 0; i < w.info.n_merged; i++) {
            emr_tensor_info t = world_tensor(&w, i);
            if (is_merged_narrow(&t))
                n_narrow++, compare_sessions(&w, session, i);
        }
        emr_session_destroy(&session);
        assert_told(&w, emr_session_create(&session, w.bundle, wide.model, NULL, &w.error), EMR_EMISMATCH,
                    "its dtype differs");
        destroy_wide(&wide);
        world_destroy(&w);
    }
    assert_int_equal(n_narrow, 2 * n_worlds);
}

/* They are copied as they are. */
static void what_is_kept_has_its_own_dtype(void **state)
{
    session_world w;
    float out[48];
    (void)state;
    world_create(&w, &world_settings[0]);
    wide_base wide = widen_base(&w, true);
    emr_session *session = open_unchecked(&w, &wide);
    const emr_weights to = {.size = sizeof to, .name = WORLD_MEAN, .data = out, .dtype = EMR_DTYPE_F32};
    assert_told(&w, emr_session_apply(session, 0, &to, 1, &w.error), EMR_EMISMATCH, "its dtype differs");
    emr_session_destroy(&session);
    destroy_wide(&wide);
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchecked_base_may_have_another_dtype),
        cmocka_unit_test(what_is_kept_has_its_own_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
