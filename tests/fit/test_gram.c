/* test_gram.c - sums of activations: the formula, to the last bit, however rows come in; saving; and what is refused. */
#include "support.h"

#include <emr/fit/gram.h>

#include <math.h>
#include <stdio.h>

enum { ROWS = 301 };

/* What is fed: rows of one or two models in a dtype, some of which do not count. */
typedef struct activations {
    uint32_t n_models;
    uint64_t widths[2];
    emr_dtype dtype;
    unsigned char *stored[2];
    double *values[2]; /* as they are stored, widened */
    uint8_t keep[ROWS];
} activations;

static activations make_activations(uint32_t n_models, uint64_t first, uint64_t second, emr_dtype dtype,
                                    uint64_t seed)
{
    activations a = {.n_models = n_models, .widths = {first, second}, .dtype = dtype};
    rng r = {seed};
    for (uint32_t m = 0; m < n_models; m++) {
        size_t n = (size_t)a.widths[m] * ROWS;
        double *made = calloc(n, sizeof *made);
        a.values[m] = calloc(n, sizeof *a.values[m]);
        a.stored[m] = calloc(n, 8);
        for (size_t i = 0; i < n; i++)
            made[i] = (double)rng_normal(&r) * 1.000000001;
        assert_int_equal(emr_convert(dtype, a.stored[m], EMR_DTYPE_F64, made, n), EMR_OK);
        assert_int_equal(emr_convert(EMR_DTYPE_F64, a.values[m], dtype, a.stored[m], n), EMR_OK);
        free(made);
    }
    for (size_t i = 0; i < ROWS; i++)
        a.keep[i] = (uint8_t)(rng_below(&r, 5) * 50);
    return a;
}

static void free_activations(activations *a)
{
    for (uint32_t m = 0; m < a->n_models; m++) {
        free(a->values[m]);
        free(a->stored[m]);
    }
}

/* z[i] of a row. */
static double joint_value(const activations *a, size_t row, uint64_t i)
{
    for (uint32_t m = 0; m < a->n_models; m++) {
        if (i < a->widths[m])
            return a->values[m][row * a->widths[m] + i];
        i -= a->widths[m];
    }
    return 1;
}

static emr_gram *new_gram(const activations *a, const emr_resources *resources)
{
    emr_gram_options options = EMR_INIT(emr_gram_options);
    emr_gram *gram;
    emr_error error;
    uint32_t site;
    options.resources = resources;
    options.n_models = a->n_models;
    assert_ok(emr_gram_create(&gram, &options, &error), &error);
    assert_ok(emr_gram_add_site(gram, "site", a->widths, &site, &error), &error);
    assert_int_equal(site, 0);
    return gram;
}

/* Rows [first, first + n). */
static void feed_rows(emr_gram *gram, const activations *a, size_t first, size_t n)
{
    emr_activations given[2];
    emr_error error;
    for (uint32_t m = 0; m < a->n_models; m++) {
        given[m] = (emr_activations){.size = sizeof given[m], .dtype = a->dtype};
        given[m].data = a->stored[m] + first * a->widths[m] * (emr_dtype_bits(a->dtype) / 8);
    }
    assert_ok(emr_gram_feed(gram, 0, given, n, a->keep + first, &error), &error);
}

static uint64_t order_of(const activations *a)
{
    return a->widths[0] + (a->n_models > 1 ? a->widths[1] : 0) + 1;
}

static void sums_are_the_formula(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        activations a = make_activations(1 + i % 2, 1 + 29 * i, 50 - i, dtypes[i / 2], 7 + i);
        emr_gram *gram = new_gram(&a, NULL);
        uint64_t order = order_of(&a), rows = 0;
        feed_rows(gram, &a, 0, ROWS);
        for (uint64_t x = 0; x < order; x++)
            for (uint64_t y = 0; y < order; y++) {
                double sum = 0;
                for (size_t row = 0; row < ROWS; row++)
                    if (a.keep[row])
                        sum += joint_value(&a, row, x) * joint_value(&a, row, y);
                if (emr_gram_value(gram, 0, x, y) != sum)
                    fail_msg("S[%d][%d] is %.17g, not %.17g", (int)x, (int)y, emr_gram_value(gram, 0, x, y),
                             sum);
            }
        for (size_t row = 0; row < ROWS; row++)
            rows += a.keep[row] != 0;
        emr_gram_site info = EMR_INIT(emr_gram_site);
        assert_int_equal(emr_gram_get_site(gram, 0, &info), EMR_OK);
        assert_int_equal(info.n_rows, rows);
        assert_true(isnan(emr_gram_value(gram, 0, order, 0)) && isnan(emr_gram_value(gram, 1, 0, 0)));
        emr_gram_destroy(&gram);
        free_activations(&a);
    }
}

static void assert_same_sums(const emr_gram *a, const emr_gram *b, uint64_t order)
{
    for (uint64_t x = 0; x < order; x++)
        for (uint64_t y = 0; y < order; y++) {
            double one = emr_gram_value(a, 0, x, y), other = emr_gram_value(b, 0, x, y);
            assert_memory_equal(&one, &other, sizeof one);
        }
}

/* However rows are cut into batches, by any threads, in little memory. */
static void bits_do_not_depend_on_batches(void **state)
{
    static const size_t batches[] = {1, 2, 63, 128, 129, ROWS};
    activations a = make_activations(2, 70, 33, EMR_DTYPE_F32, 3);
    emr_gram *whole = new_gram(&a, NULL);
    emr_pool *pool = test_pool_new(3);
    (void)state;
    feed_rows(whole, &a, 0, ROWS);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        emr_resources resources = test_resources(NULL, i % 2 ? emr_pool_executor(pool) : NULL);
        resources.memory_bytes = i > 2 ? emr_gram_bytes(a.widths, 2) + 10 * 5 * 192 : 0;
        emr_gram *cut = new_gram(&a, &resources);
        for (size_t row = 0; row < ROWS; row += batches[i])
            feed_rows(cut, &a, row, ROWS - row < batches[i] ? ROWS - row : batches[i]);
        assert_same_sums(whole, cut, order_of(&a));
        emr_gram_destroy(&cut);
    }
    emr_gram_destroy(&whole);
    emr_pool_destroy(&pool);
    free_activations(&a);
}

static void grams_are_saved_and_added(void **state)
{
    activations a = make_activations(2, 40, 9, EMR_DTYPE_BF16, 11);
    emr_gram *whole = new_gram(&a, NULL), *first = new_gram(&a, NULL), *second = new_gram(&a, NULL), *opened;
    emr_model *model, *file;
    emr_buffer *bytes = test_buffer_new();
    emr_error error;
    (void)state;
    feed_rows(whole, &a, 0, ROWS);
    feed_rows(first, &a, 0, 100);
    feed_rows(second, &a, 100, ROWS - 100);
    assert_ok(emr_gram_open_model(whole, &model, &error), &error);
    assert_ok(emr_safetensors_write(model, emr_buffer_io(bytes), NULL, &error), &error);
    assert_ok(emr_safetensors_open(&file, emr_buffer_io(bytes), "g", NULL, &error), &error);
    assert_ok(emr_gram_open(&opened, file, NULL, &error), &error);
    assert_same_sums(whole, opened, order_of(&a));
    feed_rows(opened, &a, 0, 50); /* goes on where the saved one stopped */
    feed_rows(whole, &a, 0, 50);
    assert_same_sums(whole, opened, order_of(&a));
    emr_gram_destroy(&opened);
    assert_ok(emr_gram_open(&opened, file, NULL, &error), &error);
    assert_ok(emr_gram_add(first, second, &error), &error);
    for (uint64_t x = 0; x < order_of(&a); x++)
        assert_true(fabs(emr_gram_value(first, 0, x, x) - emr_gram_value(opened, 0, x, x)) <=
                    1e-13 * emr_gram_value(opened, 0, x, x));
    emr_gram_destroy(&opened);
    emr_gram_destroy(&whole);
    emr_gram_destroy(&first);
    emr_gram_destroy(&second);
    emr_model_destroy(&model);
    emr_model_destroy(&file);
    emr_buffer_destroy(&bytes);
    free_activations(&a);
}

/* What was opened reads the sums where they are, however many sites come after. */
static void an_opened_model_outlasts_more_sites(void **state)
{
    activations a = make_activations(1, 40, 0, EMR_DTYPE_F32, 4);
    emr_gram *gram = new_gram(&a, NULL), *opened;
    emr_model *model;
    emr_error error;
    (void)state;
    feed_rows(gram, &a, 0, ROWS);
    assert_ok(emr_gram_open_model(gram, &model, &error), &error);
    for (int i = 0; i < 40; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "more.%d", i);
        assert_ok(emr_gram_add_site(gram, name, a.widths, NULL, &error), &error);
    }
    assert_ok(emr_gram_open(&opened, model, NULL, &error), &error);
    assert_int_equal(emr_gram_n_sites(opened), 1);
    assert_same_sums(gram, opened, order_of(&a));
    emr_gram_destroy(&opened);
    emr_model_destroy(&model);
    emr_gram_destroy(&gram);
    free_activations(&a);
}

static void put_nan(activations *a, size_t row, bool counts)
{
    const float nan = NAN;
    memcpy(a->stored[0] + (row * a->widths[0] + 3) * sizeof nan, &nan, sizeof nan);
    a->keep[row] = counts;
}

/* Several of them, in different blocks, by one thread and by several; what does not count may be anything. */
static void check_nonfinite_rows(const emr_executor *executor)
{
    static const size_t bad[] = {298, 130, 200, 131};
    activations a = make_activations(1, 30, 0, EMR_DTYPE_F32, 21),
                without = make_activations(1, 30, 0, EMR_DTYPE_F32, 21);
    emr_resources resources = test_resources(NULL, executor);
    emr_gram *gram = new_gram(&a, &resources), *clean = new_gram(&a, NULL), *zero;
    emr_gram_options options = EMR_INIT(emr_gram_options);
    emr_activations given = {.size = sizeof given, .data = a.stored[0], .dtype = EMR_DTYPE_F32};
    emr_gram_site info = EMR_INIT(emr_gram_site);
    emr_error error;
    uint32_t site;
    put_nan(&a, 7, false);
    without.keep[7] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_nan(&a, bad[i], true);
        without.keep[bad[i]] = 0;
    }
    assert_int_equal(emr_gram_feed(gram, 0, &given, ROWS, a.keep, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "site 'site': value 3 of row 130 of model 0 is NaN or infinite");
    assert_true(emr_gram_value(gram, 0, 30, 30) == 0 && emr_gram_value(gram, 0, 0, 0) == 0);
    options.resources = &resources;
    options.on_nonfinite = EMR_ON_NONFINITE_ZERO;
    assert_ok(emr_gram_create(&zero, &options, &error), &error);
    assert_ok(emr_gram_add_site(zero, "site", a.widths, &site, &error), &error);
    assert_ok(emr_gram_feed(zero, site, &given, ROWS, a.keep, &error), &error);
    feed_rows(clean, &without, 0, ROWS);
    assert_same_sums(clean, zero, order_of(&a));
    assert_int_equal(emr_gram_get_site(zero, 0, &info), EMR_OK);
    assert_int_equal(info.n_dropped, 4);
    emr_gram_destroy(&gram);
    emr_gram_destroy(&clean);
    emr_gram_destroy(&zero);
    free_activations(&a);
    free_activations(&without);
}

static void nonfinite_rows_are_refused_or_left_out(void **state)
{
    emr_pool *pool = test_pool_new(3);
    (void)state;
    check_nonfinite_rows(NULL);
    check_nonfinite_rows(emr_pool_executor(pool));
    emr_pool_destroy(&pool);
}

static void what_cannot_be_is_refused(void **state)
{
    const uint64_t width = 64, none = 0;
    emr_gram_options options = EMR_INIT(emr_gram_options);
    emr_resources resources = test_resources(NULL, NULL);
    emr_activations bad = {.size = sizeof bad, .data = &width, .dtype = EMR_DTYPE_I8};
    emr_gram *gram;
    emr_error error;
    uint32_t site;
    (void)state;
    resources.memory_bytes = emr_gram_bytes(&width, 1) + 30000;
    options.resources = &resources;
    assert_ok(emr_gram_create(&gram, &options, &error), &error);
    assert_int_equal(emr_gram_add_site(gram, "", &width, &site, &error), EMR_EINVAL);
    assert_int_equal(emr_gram_add_site(gram, "x", &none, &site, &error), EMR_EINVAL);
    assert_ok(emr_gram_add_site(gram, "x", &width, &site, &error), &error);
    assert_int_equal(emr_gram_add_site(gram, "x", &width, &site, &error), EMR_EEXIST);
    assert_int_equal(emr_gram_add_site(gram, "y", &width, &site, &error), EMR_ELIMIT);
    assert_int_equal(emr_gram_n_sites(gram), 1);
    assert_int_equal(emr_gram_feed(gram, 0, &bad, 1, NULL, &error), EMR_EINVAL);
    bad.dtype = EMR_DTYPE_F32;
    bad.row_stride = 255;
    assert_int_equal(emr_gram_feed(gram, 0, &bad, 1, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_gram_feed(gram, 1, &bad, 1, NULL, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_gram_find_site(gram, "z", &site, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_gram_add(gram, gram, &error), EMR_EINVAL);
    assert_int_equal(emr_gram_create(NULL, NULL, &error), EMR_EINVAL);
    emr_gram_destroy(&gram);
    emr_gram_destroy(&gram);
    emr_gram_destroy(NULL);
}

/* A gram's model with something wrong in it. */
static emr_status open_broken(const char *widths, uint64_t count, double last, emr_error *error)
{
    double *values = calloc((size_t)count, sizeof *values);
    emr_model *model = test_model_new("broken");
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    emr_gram *gram;
    values[count - 1] = last;
    desc.name = "s" EMR_GRAM_SUFFIX;
    desc.shape = &count;
    desc.rank = 1;
    desc.dtype = EMR_DTYPE_F64;
    desc.data = values;
    assert_ok(emr_model_add(model, &desc, error), error);
    assert_ok(emr_model_set_metadata(model, "format", "emr-gram", error), error);
    assert_ok(emr_model_set_metadata(model, "version", "1", error), error);
    if (widths)
        assert_ok(emr_model_set_metadata(model, "widths.s", widths, error), error);
    emr_status status = emr_gram_open(&gram, model, NULL, error);
    emr_gram_destroy(&gram);
    emr_model_destroy(&model);
    free(values);
    return status;
}

static void broken_files_are_refused(void **state)
{
    static const char *const bad[] = {"",  ",", "2,",   "2,x", "-2", "2 ", "99999999999999999999",
                                      "0", "3", "1,1,1"};
    emr_error error;
    (void)state;
    assert_ok(open_broken("2", 6, 3, &error), &error);
    assert_ok(open_broken("1,1", 6, 3, &error), &error);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(open_broken(bad[i], 6, 3, &error) != EMR_OK);
    assert_int_equal(open_broken(NULL, 6, 3, &error), EMR_EFORMAT);
    assert_int_equal(open_broken("2", 5, 3, &error), EMR_EFORMAT);
    assert_int_equal(open_broken("2", 6, 1.5, &error), EMR_EFORMAT);
    assert_int_equal(open_broken("2", 6, -1, &error), EMR_EFORMAT);
    assert_int_equal(open_broken("2", 6, NAN, &error), EMR_EFORMAT);
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    activations a = make_activations(2, 30, 20, EMR_DTYPE_F32, 2);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_gram_options options = EMR_INIT(emr_gram_options);
        emr_gram *gram = NULL;
        emr_model *model = NULL;
        emr_error error;
        uint32_t site;
        options.resources = &resources;
        options.n_models = 2;
        status = emr_gram_create(&gram, &options, &error);
        if (!status)
            status = emr_gram_add_site(gram, "s", a.widths, &site, &error);
        if (!status)
            status = emr_gram_open_model(gram, &model, &error);
        emr_model_destroy(&model);
        emr_gram_destroy(&gram);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    free_activations(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_formula),
        cmocka_unit_test(bits_do_not_depend_on_batches),
        cmocka_unit_test(grams_are_saved_and_added),
        cmocka_unit_test(an_opened_model_outlasts_more_sites),
        cmocka_unit_test(nonfinite_rows_are_refused_or_left_out),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
