/* test_session_change.c - products, weights and rows without the base are those with a base of zeros, to the bit:
 * in a session with a base and in one that has none, which takes no memory for it and says so where one is
 * needed. */
#include "kinds_bundle.h"
#include "session_world.h"

enum { BATCH = 13, MOST = 40000 };

/* The same bundle over its base, over zeros, and over nothing. */
typedef struct three_sessions {
    emr_model *base, *zeros;
    emr_session *full, *zero, *none;
} three_sessions;

static three_sessions open_three(const emr_bundle *bundle, const emr_model *base, emr_pool *pool)
{
    three_sessions s = {0};
    const emr_resources resources = test_resources(NULL, pool ? emr_pool_executor(pool) : NULL);
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_error error;
    o.resources = &resources;
    o.check = EMR_BASE_CHECK_NONE;
    if (!base)
        assert_ok(emr_bundle_open_base(&s.base, bundle, NULL, &error), &error);
    assert_ok(emr_model_create_zeros(&s.zeros, base ? base : s.base, NULL, &error), &error);
    assert_ok(emr_session_create(&s.full, bundle, base, &o, &error), &error);
    assert_ok(emr_session_create(&s.zero, bundle, s.zeros, &o, &error), &error);
    o.without_base = 1;
    o.check = EMR_BASE_CHECK_FIRST; /* of which there is nothing to do */
    assert_ok(emr_session_create(&s.none, bundle, NULL, &o, &error), &error);
    return s;
}

static void close_three(three_sessions *s)
{
    emr_session_destroy(&s->full);
    emr_session_destroy(&s->zero);
    emr_session_destroy(&s->none);
    emr_model_destroy(&s->zeros);
    emr_model_destroy(&s->base);
}

/* A batch whose vectors have any tasks, and the base. */
static void compare_products(const three_sessions *s, const emr_bundle *bundle, uint32_t tensor,
                             uint32_t n_tasks, rng *r)
{
    static float x[BATCH * 20000], y[BATCH * 1000], want[BATCH * 1000];
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    emr_product p = EMR_INIT(emr_product);
    emr_error error;
    uint32_t tasks[BATCH];
    assert_int_equal(emr_bundle_get_tensor(bundle, tensor, &info), EMR_OK);
    uint64_t rows = !info.count     ? 0
                    : info.rank < 2 ? 1
                                    : info.shape[0],
             columns = rows ? info.count / rows : 0;
    assert_true(rows <= 1000 && columns <= 20000);
    for (size_t i = 0; i < BATCH * columns; i++)
        x[i] = rng_normal(r);
    for (size_t b = 0; b < BATCH; b++) {
        uint32_t any = (uint32_t)rng_below(r, n_tasks + 1);
        tasks[b] = b && rng_below(r, 3) == 0 ? tasks[b - 1] : any < n_tasks ? any : EMR_BASE;
    }
    p.tensor = tensor;
    p.x = x;
    p.y = want;
    p.batch = 1 + (size_t)rng_below(r, BATCH);
    p.first_row = rows ? rng_below(r, rows) : 0;
    p.n_rows = rows - p.first_row;
    size_t bytes = p.batch * (size_t)p.n_rows * sizeof *y;
    assert_ok(emr_session_multiply(s->zero, tasks, &p, &error), &error);
    p.y = y;
    p.without_base = 1;
    for (int i = 0; i < 2; i++) {
        memset(y, 0xa5, sizeof y);
        assert_ok(emr_session_multiply(i ? s->none : s->full, tasks, &p, &error), &error);
        assert_memory_equal(y, want, bytes);
    }
    for (size_t i = 0; i < bytes / sizeof *y; i++) {
        y[i] = rng_normal(r);
        want[i] = y[i] + want[i];
    }
    p.add = 1;
    assert_ok(emr_session_multiply(s->none, tasks, &p, &error), &error);
    assert_memory_equal(y, want, bytes);
    p.add = 0;
    assert_ok(emr_session_multiply(s->none, tasks, &p, &error), &error);
    for (size_t b = 0; b < p.batch; b++)
        for (uint64_t row = 0; row < p.n_rows; row++)
            if (tasks[b] == EMR_BASE)
                assert_true(memcmp(&y[b * p.n_rows + row], &(float){0}, sizeof *y) == 0);
}

/* A range in some dtype, and some rows. */
static void compare_changes(const three_sessions *s, const emr_bundle *bundle, uint32_t tensor, uint32_t task,
                            emr_dtype dtype, rng *r)
{
    static unsigned char want[MOST * 8], got[MOST * 8];
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    emr_error error;
    assert_int_equal(emr_bundle_get_tensor(bundle, tensor, &info), EMR_OK);
    emr_weights to = EMR_INIT(emr_weights);
    to.name = info.name;
    to.data = want;
    to.first = info.count ? rng_below(r, info.count) : 0;
    to.dtype = dtype ? dtype : EMR_DTYPE_F32;
    assert_true(info.count <= MOST);
    assert_ok(emr_session_apply(s->zero, task, &to, 1, &error), &error);
    size_t bytes = (size_t)(info.count - to.first) * (emr_dtype_bits(to.dtype) / 8);
    to.data = got;
    to.dtype = dtype; /* 0: F32, whatever the checkpoints have */
    to.without_base = 1;
    emr_gather g = EMR_INIT(emr_gather);
    g.name = info.name;
    g.tasks = &task;
    g.out = got;
    g.n = 1;
    g.dtype = dtype;
    g.without_base = 1;
    for (int i = 0; i < 2; i++) {
        memset(got, 0xa5, bytes);
        assert_ok(emr_session_apply(i ? s->none : s->full, task, &to, 1, &error), &error);
        assert_memory_equal(got, want, bytes);
        if (!info.count || to.first)
            continue;
        uint64_t columns = info.rank < 2 ? info.count : info.count / info.shape[0];
        memset(got, 0xa5, bytes);
        assert_ok(emr_session_gather(i ? s->none : s->full, &g, &error), &error);
        assert_memory_equal(got, want, columns * (bytes / info.count));
    }
}

static void check_three(const emr_bundle *bundle, const emr_model *base, uint32_t threads, rng *r)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32,     EMR_DTYPE_BF16,   EMR_DTYPE_F16,
                                       EMR_DTYPE_F64,  EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_pool *pool = threads ? test_pool_new(threads) : NULL;
    assert_int_equal(emr_bundle_get_info(bundle, &info), EMR_OK);
    three_sessions s = open_three(bundle, base, pool);
    for (uint32_t i = 0; i < info.n_merged; i++) {
        for (int k = 0; k < 4; k++)
            compare_products(&s, bundle, i, info.n_tasks, r);
        for (uint32_t t = 0; t <= info.n_tasks; t++) {
            emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
            uint32_t task = t < info.n_tasks ? t : EMR_BASE;
            assert_int_equal(emr_bundle_get_tensor(bundle, i, &tensor), EMR_OK);
            if (strcmp(tensor.name, WORLD_LACKED) == 0 && task == WORLD_LACKING)
                continue;
            compare_changes(&s, bundle, i, task, dtypes[rng_below(r, 7)], r);
        }
    }
    close_three(&s);
    emr_pool_destroy(&pool);
}

static void changes_are_those_to_a_base_of_zeros(void **state)
{
    rng r = {91};
    (void)state;
    for (uint8_t per = EMR_PER_MODEL_BYTE; per <= EMR_PER_ROW_BYTE; per++) {
        kinds_bundle k;
        kinds_draw(&k, per, kinds_of_all, n_kinds_of_all);
        kinds_write(&k);
        emr_bundle *bundle = test_bundle_open(k.buffer);
        check_three(bundle, NULL, per ? 3 : 0, &r);
        emr_bundle_destroy(&bundle);
        kinds_destroy(&k);
    }
}

static void bases_of_every_dtype_are_left_out(void **state)
{
    rng r = {92};
    (void)state;
    for (size_t i = 0; i < n_world_settings; i++) {
        session_world w;
        world_create(&w, &world_settings[i]);
        check_three(w.bundle, world_settings[i].embedded ? NULL : w.set.base.model, world_settings[i].threads,
                    &r);
        world_destroy(&w);
    }
}

/* Modulators of a bundle, without a base. */
static void modulators_give_the_same_changes(void **state)
{
    static float x[20000], y[1000], want[1000], weights[MOST], changes[MOST];
    kinds_bundle k;
    rng r = {93};
    (void)state;
    kinds_draw(&k, EMR_PER_ROW_BYTE, kinds_of_all, n_kinds_of_all);
    kinds_write(&k);
    emr_bundle *bundle = test_bundle_open(k.buffer);
    three_sessions s = open_three(bundle, NULL, NULL);
    for (uint32_t i = 0; i < 20000; i++)
        x[i] = rng_normal(&r);
    for (uint32_t t = 0; t < k.n_tasks; t++) {
        emr_modulator *m;
        emr_error error;
        assert_ok(emr_bundle_open_modulator(&m, bundle, t, NULL, &error), &error);
        for (uint32_t i = 0; i < KINDS_MERGED; i++) {
            emr_application a = EMR_INIT(emr_application);
            emr_weights to = EMR_INIT(emr_weights);
            emr_product p = EMR_INIT(emr_product);
            p.tensor = a.tensor = to.tensor = i;
            p.without_base = a.without_base = to.without_base = 1;
            p.n_rows = kinds_rows(i);
            p.n_columns = kinds_columns(i);
            p.batch = 1;
            p.x = x;
            p.y = want;
            a.count = kinds_count(i);
            a.out = changes;
            a.out_dtype = EMR_DTYPE_F32;
            to.data = weights;
            assert_ok(emr_session_apply(s.none, t, &to, 1, &error), &error);
            assert_ok(emr_modulator_apply(m, &a, &error), &error);
            assert_memory_equal(changes, weights, a.count * sizeof *weights);
            if (!a.count)
                continue;
            assert_ok(emr_session_multiply(s.none, &t, &p, &error), &error);
            p.y = y;
            assert_ok(emr_modulator_multiply(&m, &p, EMR_DTYPE_NONE, NULL, &error), &error);
            assert_memory_equal(y, want, p.n_rows * sizeof *y);
        }
        emr_modulator_destroy(&m);
    }
    close_three(&s);
    emr_bundle_destroy(&bundle);
    kinds_destroy(&k);
}

/* No memory goes to it, private tensors are there, and what needs a base says so. */
/* The last of many vectors has no task: nothing was added for those before. */
static void check_nothing_added(session_world *w, emr_session *session, emr_product p)
{
    enum { MANY = 70 };
    uint32_t tasks[MANY] = {0};
    uint64_t n_columns = world_tensor(w, p.tensor).count / p.n_rows;
    float *x = calloc(MANY * n_columns, sizeof *x), *y = calloc(MANY * p.n_rows, sizeof *y);
    for (size_t i = 0; i < MANY * n_columns; i++)
        x[i] = 1;
    p.x = x;
    p.y = y;
    p.batch = MANY;
    p.add = 1;
    tasks[MANY - 1] = WORLD_TASKS;
    assert_told(w, emr_session_multiply(session, tasks, &p, &w->error), EMR_ENOTFOUND, "no task 3");
    for (size_t i = 0; i < MANY * p.n_rows; i++)
        assert_true(y[i] == 0);
    free(x);
    free(y);
}

static void a_session_without_a_base_says_what_it_lacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_world_settings; i++) {
        static float out[3 * 11000], x[24], y[97];
        const uint32_t task = 0;
        emr_session_options o = EMR_INIT(emr_session_options);
        emr_session_info full = EMR_INIT(emr_session_info), none = full;
        emr_session *session;
        session_world w;
        uint64_t n;
        world_create(&w, &world_settings[i]);
        emr_error *e = &w.error;
        o.without_base = 1;
        assert_told(&w, emr_session_create(&session, w.bundle, w.set.base.model, &o, e), EMR_EINVAL,
                    "without_base");
        assert_null(session);
        assert_ok(emr_session_create(&session, w.bundle, NULL, &o, e), e);
        assert_int_equal(emr_session_get_info(session, &none), EMR_OK);
        assert_int_equal(none.base_bytes, 0);
        assert_int_equal(emr_session_get_info(w.session, &full), EMR_OK);
        assert_true(full.base_bytes == 0 || none.memory_bytes < full.memory_bytes);

        emr_weights to = EMR_INIT(emr_weights);
        to.data = out;
        to.name = "embed";
        assert_told(&w, emr_session_apply(session, task, &to, 1, e), EMR_ESTATE,
                    "'embed': this session has no base");
        assert_told(&w, emr_session_apply(session, EMR_BASE, &to, 1, e), EMR_ESTATE, "has no base");
        to.name = WORLD_IDS;
        assert_told(&w, emr_session_apply(session, EMR_BASE, &to, 1, e), EMR_ESTATE, "kept from the base");
        to.without_base = 1;
        assert_told(&w, emr_session_apply(session, EMR_BASE, &to, 1, e), EMR_EINVAL, "not merged");
        to.name = WORLD_PRIVATE;
        assert_told(&w, emr_session_apply(w.session, task, &to, 1, e), EMR_EINVAL, "not merged");
        to.without_base = 0;
        unsigned char *head = world_weights(&w, task, WORLD_PRIVATE, EMR_DTYPE_F32, &n);
        assert_ok(emr_session_apply(session, task, &to, 1, e), e);
        assert_memory_equal(out, head, n * sizeof *out);
        free(head);

        emr_gather g = EMR_INIT(emr_gather);
        g.name = "embed";
        g.tasks = &task;
        g.out = out;
        g.n = 1;
        assert_told(&w, emr_session_gather(session, &g, e), EMR_ESTATE, "has no base");
        g.without_base = 1;
        assert_ok(emr_session_gather(session, &g, e), e);
        g.name = WORLD_MEAN;
        assert_told(&w, emr_session_gather(session, &g, e), EMR_EINVAL, "not merged");

        emr_product p = EMR_INIT(emr_product);
        p.tensor = world_number(&w, "embed");
        p.n_rows = 97;
        p.x = x;
        p.y = y;
        p.batch = 1;
        assert_told(&w, emr_session_multiply(session, &task, &p, e), EMR_ESTATE,
                    "'embed': this session has no base");
        p.without_base = 1;
        assert_ok(emr_session_multiply(session, &task, &p, e), e);
        check_nothing_added(&w, session, p);
        emr_session_destroy(&session);
        world_destroy(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_are_those_to_a_base_of_zeros),
        cmocka_unit_test(bases_of_every_dtype_are_left_out),
        cmocka_unit_test(modulators_give_the_same_changes),
        cmocka_unit_test(a_session_without_a_base_says_what_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
