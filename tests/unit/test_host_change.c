/* test_host_change.c - modulators that the host makes give without a base what they give over one of zeros, to the bit:
 * weights in every dtype and products, of every kind, for every variant of the kernels. The host's values are any:
 * zeros of either sign, subnormals, the largest ones, infinities and NaN; scales may be for all rows at once. */
#include "support.h"

#include "modulator/modulator.h"
#include "numeric/convert.h"

#include <float.h>
#include <math.h>

enum { ROWS = 5, COLUMNS = 3 * 37, COUNT = ROWS * COLUMNS, BATCH = 3, CODE_BYTES = (COUNT / 512 + 2) * 256 };

/* What a host may hand in, and a modulator of it. */
typedef struct host_change {
    float unified[COUNT];
    uint8_t narrow[COUNT * sizeof(float)]; /* the same in the dtype */
    uint8_t codes[CODE_BYTES];
    uint8_t columns[COUNT * 2];
    float scales[2 * ROWS];
    emr_modulator *modulator;
} host_change;

static float any_value(rng *r)
{
    static const float special[] = {0.0f,     -0.0f,     FLT_MIN / 8, -FLT_MIN / 1024, FLT_MAX, -FLT_MAX,
                                    INFINITY, -INFINITY, NAN};
    enum { N = sizeof special / sizeof special[0] };
    return rng_below(r, 4) ? rng_normal(r) : special[rng_below(r, N)];
}

/* Any but NaN and infinities, of which a product without a base says nothing. */
static float any_finite(rng *r)
{
    float value = any_value(r);
    return isfinite(value) ? value : FLT_MIN / 64;
}

static void fill_change(host_change *h, emr_modulator_kind kind, emr_dtype unified_dtype,
                        const emr_kernels *variant, rng *r)
{
    emr_modulation m = EMR_INIT(emr_modulation);
    for (size_t i = 0; i < COUNT; i++) {
        h->unified[i] = any_value(r);
        emr_store16(h->columns + 2 * i, emr_f32_to_bf16(any_value(r)));
    }
    assert_int_equal(emr_convert(unified_dtype, h->narrow, EMR_DTYPE_F32, h->unified, COUNT), EMR_OK);
    for (size_t i = 0; i < CODE_BYTES; i++)
        h->codes[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; i < 2 * ROWS; i++)
        h->scales[i] = rng_below(r, 3) ? rng_normal(r) : any_value(r);
    m.name = "w";
    m.unified = h->narrow;
    m.unified_dtype = unified_dtype;
    m.mask = h->codes;
    m.rescalers = h->scales;
    m.columns = kind == EMR_MODULATOR_KIND_SIGN && rng_below(r, 2) ? h->columns : NULL;
    m.count = COUNT;
    m.n_rescalers = rng_below(r, 2) ? ROWS : 1;
    m.kind = kind;
    m.thinning = 2u << rng_below(r, 5);
    m.n_levels = 4u << rng_below(r, 3);
    m.seed = (uint32_t)rng_next(r);
    assert_int_equal(emr_modulator_create(&h->modulator, NULL, NULL), EMR_OK);
    assert_int_equal(emr_modulator_add(h->modulator, &m, NULL), EMR_OK);
    h->modulator->kernels = variant;
}

static void expect_same_weights(const host_change *h, emr_dtype dtype, rng *r)
{
    static const float zeros[COUNT];
    uint8_t want[COUNT * 8], got[COUNT * 8];
    emr_application a = EMR_INIT(emr_application);
    a.first = rng_below(r, COUNT);
    a.count = 1 + rng_below(r, COUNT - a.first);
    a.base = zeros;
    a.base_dtype = EMR_DTYPE_F32;
    a.out = want;
    a.out_dtype = dtype;
    assert_int_equal(emr_modulator_apply(h->modulator, &a, NULL), EMR_OK);
    a.base = NULL;
    a.base_dtype = 99;
    a.out = got;
    a.without_base = 1;
    memset(got, 0xa5, sizeof got);
    assert_int_equal(emr_modulator_apply(h->modulator, &a, NULL), EMR_OK);
    assert_memory_equal(got, want, a.count * emr_float_size(dtype));
}

static void expect_same_product(const host_change *h, size_t n_columns, rng *r)
{
    static const float zeros[COUNT];
    float x[BATCH * COUNT], want[BATCH * COUNT], got[BATCH * COUNT];
    emr_modulator *const modulators[BATCH] = {h->modulator, h->modulator, h->modulator};
    emr_product p = EMR_INIT(emr_product);
    for (size_t i = 0; i < BATCH * n_columns; i++)
        x[i] = any_finite(r);
    p.n_columns = n_columns;
    p.n_rows = COUNT / n_columns;
    p.batch = BATCH;
    p.x = x;
    p.y = want;
    assert_int_equal(emr_modulator_multiply(modulators, &p, EMR_DTYPE_F32, zeros, NULL), EMR_OK);
    p.y = got;
    p.without_base = 1;
    assert_int_equal(emr_modulator_multiply(modulators, &p, 99, NULL, NULL), EMR_OK);
    for (size_t i = 0; i < BATCH * p.n_rows; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : emr_f32_bits(want[i]) != emr_f32_bits(got[i]))
            fail_msg("rows of %zu, number %zu: %a, not %a", n_columns, i, (double)got[i], (double)want[i]);
}

static void change_is_that_over_zeros(void **state)
{
    static const emr_dtype unified[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
    static host_change h;
    rng r = {2024};
    (void)state;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++)
        for (size_t round = 0; round < 60; round++)
            for (emr_modulator_kind kind = EMR_MODULATOR_KIND_MASK; kind <= EMR_MODULATOR_KIND_LEVELS;
                 kind++) {
                fill_change(&h, kind, unified[round % 3], *k, &r);
                for (emr_dtype d = EMR_DTYPE_F32; d <= EMR_DTYPE_F8_E5M2; d++)
                    if (emr_dtype_is_float(d))
                        expect_same_weights(&h, d, &r);
                expect_same_product(&h, COLUMNS, &r);
                expect_same_product(&h, COLUMNS / 3, &r);
                emr_modulator_destroy(&h.modulator);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(change_is_that_over_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
