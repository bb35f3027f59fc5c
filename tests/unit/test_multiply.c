/* test_multiply.c - products with the weights of modulators that the host makes over its own memory: what
 * emr/product.h says, to the last bit, for every dtype and alignment; and what is refused. */
#include "support.h"

#include <math.h>

enum { ROWS = 9, COLUMNS = 75, COUNT = ROWS * COLUMNS, TASKS = 3, MOST = 70 };

/* A tensor with tasks that share its unified values, all at odd addresses. */
typedef struct matrix {
    emr_dtype base_dtype, unified_dtype;
    uint8_t base[8 * COUNT + 1], unified[4 * COUNT + 1];
    uint8_t masks[TASKS][COUNT / 8 + 1];
    float rescalers[TASKS][COUNT];
    emr_modulator *of[TASKS];
    test_allocator counts;
    emr_allocator allocator;
    float weights[TASKS][COUNT]; /* as emr_modulator_apply gives them */
} matrix;

static emr_status add(emr_modulator **made, matrix *m, size_t task, uint64_t n_rescalers,
                      emr_dtype unified_dtype)
{
    emr_modulation t = EMR_INIT(emr_modulation);
    t.name = "w";
    t.count = COUNT;
    t.unified = m->unified + 1;
    t.mask = m->masks[task];
    t.rescalers = m->rescalers[task];
    t.n_rescalers = n_rescalers;
    t.unified_dtype = (uint32_t)unified_dtype;
    assert_int_equal(emr_modulator_create(made, &m->allocator, NULL), EMR_OK);
    return emr_modulator_add(*made, &t, NULL);
}

/* Task 0 has one rescaler, task 1 one a row, task 2 three for three rows each. */
static matrix *make_matrix(emr_dtype base_dtype, emr_dtype unified_dtype, rng *r)
{
    static const uint64_t n_rescalers[TASKS] = {1, ROWS, 3};
    matrix *m = calloc(1, sizeof *m);
    m->base_dtype = base_dtype;
    m->unified_dtype = unified_dtype;
    m->counts = (test_allocator){.fail_at = SIZE_MAX};
    m->allocator = test_allocator_make(&m->counts);
    for (size_t i = 0; i < COUNT; i++) {
        float b = rng_normal(r), u = rng_normal(r);
        emr_convert(base_dtype, m->base + 1 + i * (emr_dtype_bits(base_dtype) / 8), EMR_DTYPE_F32, &b, 1);
        emr_convert(unified_dtype, m->unified + 1 + i * (emr_dtype_bits(unified_dtype) / 8), EMR_DTYPE_F32,
                    &u, 1);
    }
    for (size_t t = 0; t < TASKS; t++) {
        for (size_t i = 0; i < sizeof m->masks[t]; i++)
            m->masks[t][i] = (uint8_t)rng_next(r);
        for (size_t i = 0; i < ROWS; i++)
            m->rescalers[t][i] = fabsf(rng_normal(r));
        assert_int_equal(add(&m->of[t], m, t, n_rescalers[t], unified_dtype), EMR_OK);
        assert_int_equal(
            test_apply(m->of[t], 0, 0, COUNT, base_dtype, m->base + 1, EMR_DTYPE_F32, m->weights[t], NULL),
            EMR_OK);
    }
    return m;
}

static void free_matrix(matrix *m)
{
    for (size_t t = 0; t < TASKS; t++)
        emr_modulator_destroy(&m->of[t]);
    assert_int_equal(m->counts.alive, 0);
    free(m);
}

static float in_order(const float *w, const float *x)
{
    volatile float lanes[32] = {0};
    for (size_t c = 0; c < COLUMNS; c++) {
        volatile float term = w[c] * x[c];
        lanes[c % 32] = lanes[c % 32] + term;
    }
    for (size_t half = 16; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

static emr_product product_of(const float *x, float *y, size_t batch)
{
    emr_product p = EMR_INIT(emr_product);
    p.n_rows = ROWS;
    p.n_columns = COLUMNS;
    p.x = x;
    p.y = y;
    p.batch = batch;
    return p;
}

static void products_are_those_of_the_weights(void **state)
{
    static const emr_dtype bases[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16,    EMR_DTYPE_F16,
                                      EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    static const emr_dtype unified[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
    static float x[MOST * COLUMNS], y[MOST * ROWS];
    rng r = {11};
    (void)state;
    for (size_t i = 0; i < MOST * COLUMNS; i++)
        x[i] = rng_normal(&r);
    for (size_t k = 0; k < 18; k++) {
        matrix *m = make_matrix(bases[k % 6], unified[k / 6], &r);
        size_t size = emr_dtype_bits(m->base_dtype) / 8, tasks[MOST];
        for (size_t n = 1; n <= MOST; n = n < 10 ? n + 1 : n + 20) {
            emr_modulator *batch[MOST];
            emr_product p = product_of(x, y, n);
            p.first_row = rng_below(&r, ROWS);
            p.n_rows = 1 + rng_below(&r, ROWS - p.first_row);
            for (size_t b = 0; b < n; b++)
                batch[b] = m->of[tasks[b] = (size_t)rng_below(&r, TASKS)];
            memset(y, 0xff, sizeof y);
            m->counts.requests = 0;
            assert_int_equal(emr_modulator_multiply(batch, &p, m->base_dtype,
                                                    m->base + 1 + p.first_row * COLUMNS * size, NULL),
                             EMR_OK);
            assert_true(n > 64 || m->counts.requests == 0);
            for (size_t b = 0; b < n; b++)
                for (size_t row = 0; row < p.n_rows; row++) {
                    float want =
                        in_order(m->weights[tasks[b]] + (p.first_row + row) * COLUMNS, x + b * COLUMNS);
                    assert_memory_equal(&y[b * p.n_rows + row], &want, sizeof want);
                }
            for (size_t i = n * p.n_rows; i < MOST * ROWS; i++)
                assert_true(isnan(y[i])); /* untouched */
        }
        free_matrix(m);
    }
}

static void expect(matrix *m, emr_modulator *other, const emr_product *given, uint64_t n_columns,
                   emr_status status, const char *says)
{
    emr_product p = *given;
    emr_modulator *const batch[2] = {m->of[0], other};
    emr_error error = {.text = ""};
    p.n_columns = n_columns;
    assert_int_equal(emr_modulator_multiply(batch, &p, m->base_dtype, m->base + 1, &error), status);
    if (!strstr(error.text, says))
        fail_msg("\"%s\" without \"%s\"", error.text, says);
}

/* Modulators that have the tensor under one number are multiplied by together. */
static void check_names(matrix *m, const emr_product *given)
{
    emr_product p = *given;
    emr_modulator *other;
    emr_modulation one = EMR_INIT(emr_modulation);
    const float rescaler = 1;
    p.name = "w";
    p.tensor = 77; /* does not matter */
    expect(m, m->of[1], &p, COLUMNS, EMR_OK, "");
    p.name = "v";
    expect(m, m->of[1], &p, COLUMNS, EMR_ENOTFOUND, "'v'");
    assert_int_equal(emr_modulator_create(&other, NULL, NULL), EMR_OK);
    one.name = "v";
    one.rescalers = &rescaler;
    one.n_rescalers = 1;
    one.unified_dtype = EMR_DTYPE_F32;
    assert_int_equal(emr_modulator_add(other, &one, NULL), EMR_OK); /* without elements */
    p.name = "w";
    expect(m, other, &p, COLUMNS, EMR_ENOTFOUND, "'w'");
    one.name = "w";
    assert_int_equal(emr_modulator_add(other, &one, NULL), EMR_OK);
    expect(m, other, &p, COLUMNS, EMR_EMISMATCH, "number 0 in one modulator, 1 in another");
    p = *given;
    p.batch = p.n_rows = 0; /* nothing to be done */
    expect(m, NULL, &p, COLUMNS, EMR_OK, "");
    emr_modulator_destroy(&other);
}

/* Whichever of the batch it is that does not go with the product. */
static void what_does_not_fit_is_refused(void **state)
{
    static float x[2 * COUNT], y[2 * COUNT];
    rng r = {12};
    matrix *m = make_matrix(EMR_DTYPE_F32, EMR_DTYPE_F16, &r),
           *stranger = make_matrix(EMR_DTYPE_F32, EMR_DTYPE_F16, &r);
    emr_modulator *other;
    emr_product p = product_of(x, y, 2);
    (void)state;
    expect(m, m->of[1], &p, COLUMNS, EMR_OK, "");
    expect(m, stranger->of[1], &p, COLUMNS, EMR_EMISMATCH, "'w'");
    assert_int_equal(add(&other, m, 1, ROWS, EMR_DTYPE_BF16), EMR_OK); /* the same bytes, and other values */
    expect(m, other, &p, COLUMNS, EMR_EMISMATCH, "'w'");
    emr_modulator_destroy(&other);
    assert_int_equal(add(&other, m, 1, COUNT / 15, EMR_DTYPE_F16), EMR_OK); /* five rescalers in a row */
    expect(m, other, &p, COLUMNS, EMR_EINVAL, "rescaler");
    p.n_rows = COUNT / 15;
    expect(m, other, &p, 15, EMR_OK, "");
    emr_modulator_destroy(&other);
    p.n_rows = 1;
    expect(m, m->of[1], &p, 45, EMR_EINVAL, "rescaler"); /* 45 columns divide all, not a row of 75 */
    expect(m, m->of[1], &p, 74, EMR_EINVAL, "divide");
    expect(m, m->of[1], &p, 0, EMR_EINVAL, "needs n_columns");
    expect(m, m->of[1], &p, 2 * COLUMNS, EMR_EINVAL, "rescaler");
    expect(m, m->of[1], &p, UINT64_MAX, EMR_EINVAL, "rescaler");
    expect(m, m->of[1], &p, (uint64_t)1 << 63, EMR_EINVAL, "rescaler");
    check_names(m, &p);
    expect(m, NULL, &p, COLUMNS, EMR_EINVAL, "NULL");
    p.tensor = 1;
    expect(m, m->of[1], &p, COLUMNS, EMR_EINVAL, "tensor 1");
    p = product_of(x, y, 2);
    p.first_row = UINT64_MAX;
    p.n_rows = 2;
    expect(m, m->of[1], &p, COLUMNS, EMR_EINVAL, "rows");
    p = product_of(x, NULL, 2);
    expect(m, m->of[1], &p, COLUMNS, EMR_EINVAL, "x and y");
    p.n_rows = 0; /* nothing is written */
    expect(m, m->of[1], &p, COLUMNS, EMR_OK, "");
    p.size = 8;
    expect(m, m->of[1], &p, COLUMNS, EMR_EINVAL, "emr_product");
    assert_int_equal(emr_modulator_multiply(NULL, &p, EMR_DTYPE_F32, m->base, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_multiply(m->of, NULL, EMR_DTYPE_F32, m->base, NULL), EMR_EINVAL);
    p = product_of(x, y, 2);
    assert_int_equal(emr_modulator_multiply(m->of, &p, EMR_DTYPE_I32, m->base, NULL), EMR_EINVAL);
    assert_int_equal(emr_modulator_multiply(m->of, &p, EMR_DTYPE_F32, NULL, NULL), EMR_EINVAL);
    p.without_base = 1; /* then they are not looked at */
    assert_int_equal(emr_modulator_multiply(m->of, &p, EMR_DTYPE_I32, NULL, NULL), EMR_OK);
    free_matrix(m);
    free_matrix(stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_the_weights),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
