/* test_session_kinds.c - sessions over bundles whose tasks have modulators of different kinds: weights are
 * those that docs/bundle-format.md says, products those of emr/product.h, with rows of any length, and so are
 * those of emr_modulator_multiply, task by task. */
#include "kinds_bundle.h"

#include "core/memory.h"

#include <math.h>

enum { BATCH = 13, MOST_ROWS = 700 };

typedef struct kinds_session {
    kinds_bundle k;
    emr_bundle *bundle;
    emr_pool *pool;
    test_meter meter;
    emr_session *session;
    emr_session_info info;
    emr_modulator *of[KINDS_MOST];
} kinds_session;

static void open_session(kinds_session *f, uint64_t mask_bytes, uint32_t threads)
{
    emr_session_options options = EMR_INIT(emr_session_options);
    emr_error error;
    f->pool = test_pool_new(threads);
    emr_allocator allocator = test_meter_make(&f->meter);
    emr_resources resources = test_resources(&allocator, emr_pool_executor(f->pool));
    options.resources = &resources;
    options.mask_bytes = mask_bytes;
    assert_ok(emr_session_create(&f->session, f->bundle, NULL, &options, &error), &error);
    f->info = EMR_INIT(emr_session_info);
    assert_int_equal(emr_session_get_info(f->session, &f->info), EMR_OK);
    assert_true(f->meter.peak <= f->info.memory_bytes);
}

static void close_session(kinds_session *f)
{
    emr_session_destroy(&f->session);
    assert_int_equal(f->meter.now, 0);
    emr_pool_destroy(&f->pool);
    f->meter = (test_meter){0};
}

/* Any range of any tensor. */
static void check_kinds_weights(kinds_session *f, rng *r)
{
    static float want[40000], got[40000];
    for (uint32_t t = 0; t < f->k.n_tasks; t++)
        for (uint32_t i = 0; i < KINDS_MERGED; i++) {
            uint64_t count = kinds_count(i);
            emr_weights to = EMR_INIT(emr_weights);
            emr_error error;
            to.name = kinds_tensor_name(i);
            to.data = got;
            to.first = count && rng_below(r, 2) ? rng_below(r, count) : 0;
            to.count =
                rng_below(r, 2) && count > to.first ? 1 + rng_below(r, count - to.first) : count - to.first;
            kinds_weights(&f->k, t, i, want);
            assert_ok(emr_session_apply(f->session, t, &to, 1, &error), &error);
            assert_memory_equal(got, want + to.first, to.count * sizeof *got);
        }
}

static void check_kinds_vector(kinds_session *f, uint32_t task, const emr_product *p, uint64_t n_columns,
                               size_t b)
{
    static float weights[40000], y[MOST_ROWS];
    const float *base = (const float *)(const void *)(f->k.base.bytes + f->k.tensors[p->tensor].base_offset);
    emr_product one = *p;
    emr_error error;
    one.x += b * n_columns;
    one.y = y;
    one.batch = 1;
    one.n_columns = n_columns;
    if (task != EMR_BASE) {
        assert_ok(emr_modulator_multiply(&f->of[task], &one, EMR_DTYPE_F32, base + one.first_row * n_columns,
                                         &error),
                  &error);
        assert_memory_equal(y, p->y + b * p->n_rows, p->n_rows * sizeof *y);
        kinds_weights(&f->k, task, p->tensor, weights);
    } else {
        memcpy(weights, base, kinds_count(p->tensor) * sizeof *weights);
    }
    for (uint64_t row = 0; row < p->n_rows; row++) {
        double sum = 0, magnitude = 0;
        for (uint64_t c = 0; c < n_columns; c++) {
            double term = (double)weights[(p->first_row + row) * n_columns + c] * (double)one.x[c];
            sum += term;
            magnitude += fabs(term);
        }
        float got = p->y[b * p->n_rows + row];
        float want = kinds_product(&f->k, task, p->tensor, p->first_row + row, n_columns, one.x);
        assert_true(fabs(sum - (double)got) <= 1e-3 * magnitude + 1e-6);
        assert_memory_equal(&got, &want, sizeof got);
    }
}

/* How many columns the rows of a product have: the tensor's, or parts of them. */
static uint64_t any_columns(uint32_t tensor, rng *r)
{
    static const uint64_t parts[] = {160, 20, 5, 1000, 14};
    uint64_t all = kinds_columns(tensor), part = parts[rng_below(r, 5)];
    return all % part ? all : part;
}

static void check_kinds_products(kinds_session *f, rng *r)
{
    static float x[BATCH * 20000], y[BATCH * MOST_ROWS];
    for (uint32_t round = 0; round < 2 * KINDS_MERGED; round++) {
        emr_product p = EMR_INIT(emr_product);
        uint32_t tasks[BATCH], i = round % KINDS_MERGED;
        uint64_t n_columns = any_columns(i, r), n_rows = n_columns ? kinds_count(i) / n_columns : 0;
        emr_error error;
        for (size_t c = 0; c < BATCH * n_columns; c++)
            x[c] = rng_normal(r);
        for (size_t b = 0; b < BATCH; b++) {
            uint32_t any = (uint32_t)rng_below(r, f->k.n_tasks + 1);
            tasks[b] = b && rng_below(r, 3) == 0 ? tasks[b - 1] : any < f->k.n_tasks ? any : EMR_BASE;
        }
        p.tensor = i;
        if (rng_below(r, 2))
            p.name = kinds_tensor_name(i), p.tensor = 1 + i; /* the name goes first */
        if (n_columns != kinds_columns(i) || rng_below(r, 2))
            p.n_columns = n_columns;
        p.first_row = n_rows ? rng_below(r, n_rows) : 0;
        p.n_rows = emr_min(n_rows - p.first_row, MOST_ROWS);
        p.x = x;
        p.y = y;
        p.batch = BATCH;
        assert_ok(emr_session_multiply(f->session, tasks, &p, &error), &error);
        p.tensor = i;
        for (size_t b = 0; b < BATCH && p.n_rows; b++)
            check_kinds_vector(f, tasks[b], &p, n_columns, b);
    }
}

static void check_kinds_session(const emr_modulator_record *kinds, uint32_t n, uint8_t rescale_per, rng *r)
{
    kinds_session *f = calloc(1, sizeof *f);
    emr_error error;
    kinds_draw(&f->k, rescale_per, kinds, n);
    kinds_write(&f->k);
    f->bundle = test_bundle_open(f->k.buffer);
    for (uint32_t t = 0; t < n; t++)
        assert_ok(emr_bundle_open_modulator(&f->of[t], f->bundle, t, NULL, &error), &error);
    for (uint32_t threads = 1; threads < 5; threads += 3)
        for (uint64_t mask_bytes = 0; mask_bytes <= 64 * 1024; mask_bytes += 64 * 1024) {
            open_session(f, mask_bytes, threads);
            check_kinds_weights(f, r);
            check_kinds_products(f, r);
            assert_true(f->meter.peak <= f->info.memory_bytes);
            close_session(f);
        }
    for (uint32_t t = 0; t < n; t++)
        emr_modulator_destroy(&f->of[t]);
    emr_bundle_destroy(&f->bundle);
    kinds_destroy(&f->k);
    free(f);
}

static void sessions_have_the_weights_of_every_kind(void **state)
{
    rng r = {61};
    (void)state;
    for (uint8_t per = EMR_PER_MODEL_BYTE; per <= EMR_PER_ROW_BYTE; per++)
        check_kinds_session(kinds_of_all, n_kinds_of_all, per, &r);
}

/* No task has a unified vector: there is none to be read. */
static void sessions_need_no_unified_vector(void **state)
{
    emr_modulator_record coded[KINDS_MOST];
    uint32_t n = 0;
    rng r = {67};
    (void)state;
    for (uint32_t i = 0; i < n_kinds_of_all; i++)
        if (kinds_of_all[i].kind > EMR_MODULATOR_KIND_TWO_SIDED)
            coded[n++] = kinds_of_all[i];
    check_kinds_session(coded, n, EMR_PER_MODEL_BYTE, &r);
    check_kinds_session(coded, 1, EMR_PER_MODEL_BYTE, &r);
}

/* An impossible scale is told when it is used, by its task's name; other tasks work. */
static void impossible_scales_are_told(void **state)
{
    static float out[360];
    kinds_session *f = calloc(1, sizeof *f);
    emr_weights to = EMR_INIT(emr_weights);
    emr_error error;
    (void)state;
    kinds_draw(&f->k, EMR_PER_MODEL_BYTE, kinds_of_all, n_kinds_of_all);
    emr_store16(f->k.streams[EMR_STREAM_SCALES][1].bytes + 2 * kinds_slot(&f->k, 0, 100), 0x8000 | 0x3f80);
    kinds_write(&f->k);
    f->bundle = test_bundle_open(f->k.buffer);
    open_session(f, 0, 1);
    to.name = kinds_tensor_name(0);
    to.data = out;
    assert_int_equal(emr_session_apply(f->session, 1, &to, 1, &error), EMR_EFORMAT);
    assert_non_null(strstr(error.text, "t3b"));
    assert_non_null(strstr(error.text, to.name));
    assert_ok(emr_session_apply(f->session, 3, &to, 1, &error), &error);
    to.count = 40;
    assert_ok(emr_session_apply(f->session, 1, &to, 1, &error), &error);
    close_session(f);
    emr_bundle_destroy(&f->bundle);
    kinds_destroy(&f->k);
    free(f);
}

static void expect_product(kinds_session *f, const emr_product *p, emr_status status, const char *says)
{
    const uint32_t tasks[2] = {1, EMR_BASE};
    emr_error error = {.text = ""};
    assert_int_equal(emr_session_multiply(f->session, tasks, p, &error), status);
    if (!strstr(error.text, says))
        fail_msg("\"%s\" without \"%s\"", error.text, says);
}

/* Whichever length of rows is asked for, by whichever name. */
static void products_that_do_not_fit_are_refused(void **state)
{
    static const uint64_t wrong[] = {7, 161, 3840, (uint64_t)1 << 63, UINT64_MAX};
    static float x[2 * 1920], y[2 * 8];
    kinds_session *f = calloc(1, sizeof *f);
    emr_product p = {
        .size = sizeof p, .name = "experts", .x = x, .y = y, .n_rows = 2, .batch = 2, .n_columns = 160};
    (void)state;
    kinds_draw(&f->k, EMR_PER_MODEL_BYTE, kinds_of_all, n_kinds_of_all);
    kinds_write(&f->k);
    f->bundle = test_bundle_open(f->k.buffer);
    open_session(f, 0, 1);
    expect_product(f, &p, EMR_OK, "");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        p.n_columns = wrong[i];
        expect_product(f, &p, EMR_EINVAL, "does not divide its rows of 1920");
    }
    p.n_columns = 1;
    p.first_row = 8 * 1920 - 2;
    expect_product(f, &p, EMR_OK, "");
    p.first_row++;
    expect_product(f, &p, EMR_EINVAL, "'experts' has 15360 rows of 1 columns");
    p.first_row = UINT64_MAX;
    expect_product(f, &p, EMR_EINVAL, "15360 rows");
    p.first_row = 0;
    p.n_columns = 160;
    p.x_stride = 159;
    expect_product(f, &p, EMR_EINVAL, "overlap");
    p.x_stride = 160;
    expect_product(f, &p, EMR_OK, "");
    p.name = "absent";
    expect_product(f, &p, EMR_ENOTFOUND, "'absent'");
    p.name = "ids";
    expect_product(f, &p, EMR_EINVAL, "'ids' is not merged");
    p.name = NULL;
    p.tensor = KINDS_MERGED;
    expect_product(f, &p, EMR_EINVAL, "'ids' is not merged");
    p.tensor = KINDS_TENSORS;
    expect_product(f, &p, EMR_ENOTFOUND, "there is no tensor 11");
    p.tensor = UINT32_MAX;
    expect_product(f, &p, EMR_ENOTFOUND, "there is no tensor");
    p.name = "empty"; /* has no rows, however long */
    expect_product(f, &p, EMR_EINVAL, "has 0 rows");
    p.n_rows = 0;
    expect_product(f, &p, EMR_OK, "");
    close_session(f);
    emr_bundle_destroy(&f->bundle);
    kinds_destroy(&f->k);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_have_the_weights_of_every_kind),
        cmocka_unit_test(sessions_need_no_unified_vector),
        cmocka_unit_test(impossible_scales_are_told),
        cmocka_unit_test(products_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
