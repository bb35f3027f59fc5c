/* test_session_gather.c - gathered rows are rows of the tasks' weights, whatever kind each task is, whatever
 * lies where; and what cannot be right leaves the output as it was. */
#include "kinds_bundle.h"
#include "session_world.h"

enum { MOST_ROWS = 300, MOST_BYTES = MOST_ROWS * 60000, PAD = 0xa5 };

/* A gather that draws everything it may. */
typedef struct drawn_gather {
    emr_gather g;
    uint32_t tasks[MOST_ROWS];
    uint64_t rows[MOST_ROWS];
    uint64_t columns, stride;
    unsigned char *out;
    size_t bytes;
} drawn_gather;

static uint64_t divisor_below(uint64_t n, rng *r)
{
    uint64_t d = 1 + rng_below(r, n);
    while (n % d)
        d--;
    return d;
}

static void draw_gather(drawn_gather *d, uint64_t count, uint64_t columns, uint32_t n_tasks, rng *r)
{
    bool cut = rng_below(r, 3) == 0;
    d->columns = cut ? divisor_below(columns, r) : columns;
    d->g = EMR_INIT(emr_gather);
    d->g.n_columns = cut ? d->columns : 0;
    d->g.n = (size_t)rng_below(r, MOST_ROWS);
    d->g.n = d->columns > 1000 ? d->g.n % 12 : d->g.n;
    for (size_t i = 0; i < d->g.n; i++) {
        uint32_t any = (uint32_t)rng_below(r, n_tasks + 1);
        d->tasks[i] = i && rng_below(r, 3) == 0 ? d->tasks[i - 1] : any < n_tasks ? any : EMR_BASE;
        d->rows[i] = rng_below(r, count / d->columns);
    }
    d->g.tasks = d->tasks;
    d->g.rows = d->columns == count && rng_below(r, 2) ? NULL : d->rows;
    d->stride = d->columns + rng_below(r, 4);
    d->g.out_stride = d->stride > d->columns ? (size_t)d->stride : 0;
    d->out = malloc(MOST_BYTES + 1);
    d->g.out = d->out + rng_below(r, 2);
    d->bytes = d->g.n * (size_t)d->stride * 8;
    assert_true(d->bytes < MOST_BYTES);
    memset(d->out, PAD, d->bytes + 1);
}

/* Row i, and what lies behind it. */
static void check_drawn_row(const drawn_gather *d, size_t i, const unsigned char *weights, size_t size)
{
    const unsigned char *row = (const unsigned char *)d->g.out + i * (size_t)d->stride * size;
    assert_memory_equal(row, weights + (d->g.rows ? d->rows[i] : 0) * d->columns * size, d->columns * size);
    for (size_t k = (size_t)d->columns * size; k < d->stride * size; k++)
        assert_int_equal(row[k], PAD);
}

/* ---- kinds ---- */

static void gather_kinds(const kinds_bundle *k, emr_session *session, uint32_t tensor, rng *r)
{
    static float weights[KINDS_MOST + 1][40000];
    drawn_gather d;
    emr_error error;
    draw_gather(&d, kinds_count(tensor), kinds_columns(tensor), k->n_tasks, r);
    d.g.name = rng_below(r, 2) ? kinds_tensor_name(tensor) : NULL;
    d.g.tensor = tensor;
    d.g.dtype = EMR_DTYPE_F32;
    assert_ok(emr_session_gather(session, &d.g, &error), &error);
    for (uint32_t t = 0; t < k->n_tasks; t++)
        kinds_weights(k, t, tensor, weights[t]);
    memcpy(weights[k->n_tasks], k->base.bytes + k->tensors[tensor].base_offset, kinds_count(tensor) * 4);
    for (size_t i = 0; i < d.g.n; i++)
        check_drawn_row(&d, i, (void *)weights[d.tasks[i] == EMR_BASE ? k->n_tasks : d.tasks[i]], 4);
    free(d.out);
}

/* In one batch, tasks of every kind. */
static void rows_are_gathered_of_every_kind(void **state)
{
    rng r = {71};
    (void)state;
    for (uint8_t per = EMR_PER_MODEL_BYTE; per <= EMR_PER_ROW_BYTE; per++) {
        kinds_bundle k;
        emr_error error;
        kinds_draw(&k, per, kinds_of_all, n_kinds_of_all);
        kinds_write(&k);
        emr_bundle *bundle = test_bundle_open(k.buffer);
        for (uint32_t threads = 1; threads < 5; threads += 3) {
            emr_pool *pool = test_pool_new(threads);
            const emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
            emr_session_options options = EMR_INIT(emr_session_options);
            emr_session *session;
            options.resources = &resources;
            options.mask_bytes = threads > 1 ? 4096 : 0;
            assert_ok(emr_session_create(&session, bundle, NULL, &options, &error), &error);
            for (uint32_t i = 0; i < KINDS_TENSORS; i++)
                for (int again = 0; kinds_count(i) && again < 4; again++)
                    gather_kinds(&k, session, i, &r);
            emr_session_destroy(&session);
            emr_pool_destroy(&pool);
        }
        emr_bundle_destroy(&bundle);
        kinds_destroy(&k);
    }
}

/* ---- dtypes, kept tensors, bases that lie anywhere ---- */

static void gather_world(session_world *w, uint32_t tensor, emr_dtype dtype, rng *r)
{
    emr_tensor_info info = world_tensor(w, tensor);
    bool lacked = strcmp(info.name, WORLD_LACKED) == 0;
    uint64_t rows = info.rank < 2 ? 1 : info.shape[0], n;
    unsigned char *weights[WORLD_TASKS + 1];
    drawn_gather d;
    dtype = emr_dtype_is_float(info.dtype) ? dtype : EMR_DTYPE_NONE;
    emr_dtype out = dtype ? dtype : info.dtype;
    draw_gather(&d, info.count, info.count / rows, lacked ? WORLD_LACKING : WORLD_TASKS, r);
    d.g.name = rng_below(r, 2) ? info.name : NULL;
    d.g.tensor = tensor;
    d.g.dtype = dtype;
    assert_ok(emr_session_gather(w->session, &d.g, &w->error), &w->error);
    for (uint32_t t = 0; t <= WORLD_TASKS; t++)
        weights[t] = lacked && t == WORLD_LACKING
                         ? NULL
                         : world_weights(w, t < WORLD_TASKS ? t : EMR_BASE, info.name, out, &n);
    for (size_t i = 0; i < d.g.n; i++)
        check_drawn_row(&d, i, weights[d.tasks[i] == EMR_BASE ? WORLD_TASKS : d.tasks[i]],
                        emr_dtype_bits(out) / 8);
    for (uint32_t t = 0; t <= WORLD_TASKS; t++)
        free(weights[t]);
    free(d.out);
}

static void rows_are_those_of_applied_tensors(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    rng r = {73};
    (void)state;
    for (size_t s = 0; s < n_world_settings; s++) {
        session_world w;
        world_create(&w, &world_settings[s]);
        size_t requests = w.counts.requests;
        for (uint32_t i = 0; i < w.info.n_tensors; i++)
            for (size_t k = 0; world_tensor(&w, i).count && k < 8; k++)
                gather_world(&w, i, dtypes[k % 4], &r);
        assert_false(world_tensor(&w, world_number(&w, WORLD_MEAN)).merged);
        assert_false(world_tensor(&w, world_number(&w, WORLD_IDS)).merged);
        assert_int_equal(w.counts.requests, requests);
        world_destroy(&w);
    }
}

/* A prompt's tokens, of tasks that take turns: where one block of codes fits, each task's is read once. */
static void rows_of_a_task_share_its_codes(void **state)
{
    enum { N = 3000 };
    static uint32_t tasks[N];
    static uint64_t rows[N];
    static float out[N * 24];
    const world_setting setting = {.mask_blocks = 1, .threads = 4};
    session_world w;
    emr_gather g = EMR_INIT(emr_gather);
    emr_session_info before = EMR_INIT(emr_session_info), after = before;
    uint64_t n;
    (void)state;
    world_create(&w, &setting);
    for (size_t i = 0; i < N; i++) {
        tasks[i] = (uint32_t)(i % WORLD_TASKS);
        rows[i] = i * 7 % 97;
    }
    g.name = "embed"; /* 2328 parameters, of blocks of 4096 */
    g.tasks = tasks;
    g.rows = rows;
    g.n = N;
    g.out = out;
    assert_int_equal(emr_session_get_info(w.session, &before), EMR_OK);
    assert_ok(emr_session_gather(w.session, &g, &w.error), &w.error);
    assert_int_equal(emr_session_get_info(w.session, &after), EMR_OK);
    assert_true(after.masks_read - before.masks_read <= 2 * WORLD_TASKS);
    for (uint32_t t = 0; t < WORLD_TASKS; t++) {
        unsigned char *weights = world_weights(&w, t, "embed", EMR_DTYPE_F32, &n);
        for (size_t i = t; i < N; i += WORLD_TASKS)
            assert_memory_equal(out + i * 24, weights + rows[i] * 24 * 4, 24 * 4);
        free(weights);
    }
    world_destroy(&w);
}

/* ---- what is refused ---- */

static void refuse_gather(session_world *w, const emr_gather *g, emr_status want, const char *says)
{
    unsigned char *out = g->out;
    assert_told(w, emr_session_gather(w->session, g, &w->error), want, says);
    for (size_t k = 0; out && k < 64; k++)
        assert_int_equal(out[k], PAD);
}

static void wrong_gathers_are_refused(void **state)
{
    static _Alignas(8) unsigned char out[4 * 31 * 8];
    static uint64_t rows[] = {0, 899, 3, 3};
    static uint32_t tasks[] = {0, EMR_BASE, 2, 0};
    const emr_gather good = {.size = sizeof good,
                             .name = "tall",
                             .tasks = tasks,
                             .rows = rows,
                             .out = out,
                             .n = 4,
                             .dtype = EMR_DTYPE_F32};
    session_world w;
    (void)state;
    world_create(&w, &world_settings[0]);
    memset(out, PAD, sizeof out);
    emr_gather g = good;
    assert_told(&w, emr_session_gather(NULL, &g, &w.error), EMR_EINVAL, "NULL");
    assert_told(&w, emr_session_gather(w.session, NULL, &w.error), EMR_EINVAL, "NULL");
    g.size = 8;
    refuse_gather(&w, &g, EMR_EINVAL, "emr_gather");
    g = good, g.tasks = NULL;
    refuse_gather(&w, &g, EMR_EINVAL, "NULL");
    g = good, g.out = NULL;
    refuse_gather(&w, &g, EMR_EINVAL, "'tall'");
    g = good, g.name = "absent";
    refuse_gather(&w, &g, EMR_ENOTFOUND, "'absent'");
    g = good, g.name = WORLD_PRIVATE;
    refuse_gather(&w, &g, EMR_ENOTFOUND,
                  "'" WORLD_PRIVATE "' is private to task 't0': only emr_session_apply");
    g = good, g.name = NULL, g.tensor = w.info.n_tensors;
    refuse_gather(&w, &g, EMR_ENOTFOUND, "no tensor");
    g = good, g.name = WORLD_LACKED, rows[1] = 10;
    refuse_gather(&w, &g, EMR_ENOTFOUND, "task 't2' has no tensor '" WORLD_LACKED "'");
    g = good, rows[1] = 900;
    refuse_gather(&w, &g, EMR_EINVAL, "'tall' has 900 rows");
    rows[1] = UINT64_MAX;
    refuse_gather(&w, &g, EMR_EINVAL, "'tall' has 900 rows");
    rows[1] = 3, tasks[2] = WORLD_TASKS;
    refuse_gather(&w, &g, EMR_ENOTFOUND, "task 3");
    tasks[2] = 2, g.dtype = EMR_DTYPE_I32;
    refuse_gather(&w, &g, EMR_EINVAL, "dtype");
    g.dtype = 12345;
    refuse_gather(&w, &g, EMR_EINVAL, "dtype");
    g = good, g.name = WORLD_IDS;
    refuse_gather(&w, &g, EMR_EINVAL, "'" WORLD_IDS "'");
    g = good, g.name = "none";
    refuse_gather(&w, &g, EMR_EINVAL, "'none' has 0 rows");
    g.name = "hollow", g.rows = NULL;
    refuse_gather(&w, &g, EMR_EINVAL, "'hollow' has 0 rows");
    g = good, g.n_columns = 30;
    refuse_gather(&w, &g, EMR_EINVAL, "rows of 31");
    g.n_columns = 62;
    refuse_gather(&w, &g, EMR_EINVAL, "rows of 31");
    g = good, g.out_stride = 30;
    refuse_gather(&w, &g, EMR_EINVAL, "overlap");
    g.out_stride = SIZE_MAX / 3 + 10; /* the product wraps */
    refuse_gather(&w, &g, EMR_EINVAL, "memory");
    g.out_stride = SIZE_MAX / 20; /* it does not, but as bytes */
    refuse_gather(&w, &g, EMR_EINVAL, "memory");
    g = good, g.out = w.set.base.data[1] + 900 * 31 * 2 - 1;
    assert_told(&w, emr_session_gather(w.session, &g, &w.error), EMR_EINVAL, "base");
    g = good, g.name = WORLD_MEAN, g.rows = NULL, g.out = w.set.base.data[12];
    assert_told(&w, emr_session_gather(w.session, &g, &w.error), EMR_EINVAL, "base");
    g = good, g.out = tasks;
    assert_told(&w, emr_session_gather(w.session, &g, &w.error), EMR_EINVAL, "overwrite");
    g.out = &rows[3];
    assert_told(&w, emr_session_gather(w.session, &g, &w.error), EMR_EINVAL, "overwrite");
    g = (emr_gather){.size = sizeof g, .name = "tall"};
    assert_ok(emr_session_gather(w.session, &g, &w.error), &w.error); /* of no rows, nothing */
    assert_ok(emr_session_gather(w.session, &good, &w.error), &w.error);
    world_destroy(&w);
}

/* One read fails; the same call succeeds when it is tried again. */
static void failing_gathers_can_be_tried_again(void **state)
{
    static const uint64_t rows[] = {0, 899, 3};
    static const uint32_t tasks[] = {1, 0, 2};
    static float out[3 * 31];
    const world_setting setting = {.mask_blocks = 1, .threads = 4};
    session_world w;
    emr_gather g = {.size = sizeof g, .name = "tall", .tasks = tasks, .rows = rows, .out = out, .n = 3};
    uint64_t n;
    (void)state;
    world_create(&w, &setting);
    w.input.fail_read = 0;
    g.dtype = EMR_DTYPE_F32;
    assert_told(&w, emr_session_gather(w.session, &g, &w.error), EMR_EIO, "'t1'");
    w.input.fail_read = SIZE_MAX;
    assert_ok(emr_session_gather(w.session, &g, &w.error), &w.error);
    for (size_t i = 0; i < 3; i++) {
        unsigned char *weights = world_weights(&w, tasks[i], "tall", EMR_DTYPE_F32, &n);
        assert_memory_equal(out + i * 31, weights + rows[i] * 31 * 4, 31 * 4);
        free(weights);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_gathered_of_every_kind),
        cmocka_unit_test(rows_are_those_of_applied_tensors),
        cmocka_unit_test(rows_of_a_task_share_its_codes),
        cmocka_unit_test(wrong_gathers_are_refused),
        cmocka_unit_test(failing_gathers_can_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
