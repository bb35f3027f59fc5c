/* test_apply.c - the apply kernel: W = base + lambda * (mask ? unified : 0), rounding by rounding. */
#include "chunk.h"

#include <math.h>

static const emr_dtype floats[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                   EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
static const emr_dtype unifieds[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};

/* A float dtype's bits, of its exponent and of its mantissa; and the NaN that is computed. */
typedef struct layout {
    emr_dtype dtype;
    unsigned exponent, mantissa;
    uint64_t computed_nan;
} layout;

static const layout layouts[] = {
    {EMR_DTYPE_F32, 8, 23, 0x7fc00000}, {EMR_DTYPE_F16, 5, 10, 0x7e00},
    {EMR_DTYPE_BF16, 8, 7, 0x7fc0},     {EMR_DTYPE_F64, 11, 52, 0x7ff8000000000000},
    {EMR_DTYPE_F8_E4M3, 4, 3, 0x7f},    {EMR_DTYPE_F8_E5M2, 5, 2, 0x7e},
};

static size_t size_of(emr_dtype dtype)
{
    return emr_dtype_bits(dtype) / 8;
}

static void apply(const emr_run *run)
{
    chunk_kernels->mask.apply(run);
}

/* Over F32 unified values, into the base's dtype, with a rescaler of 1. */
static emr_run run_of(size_t n, const void *base, const void *unified, const uint8_t *mask, emr_dtype dtype,
                      void *out)
{
    return (emr_run){.n = n,
                     .base = base,
                     .unified = unified,
                     .codes = mask,
                     .out = out,
                     .scales = {1},
                     .base_dtype = dtype,
                     .unified_dtype = EMR_DTYPE_F32,
                     .out_dtype = dtype};
}

static bool masked(const emr_run *run, size_t i)
{
    return run->codes[(run->first_code + i) / 8] >> (run->first_code + i) % 8 & 1;
}

static void put_code(uint8_t *p, uint64_t code, size_t size)
{
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(code >> 8 * i);
}

static void put_computed_nan(emr_dtype dtype, uint8_t *out)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].dtype == dtype)
            put_code(out, layouts[i].computed_nan, size_of(dtype));
}

/* One element of the output by algorithm.md's words: multiply, round, add, round, then round into the dtype.
 */
static void expect_element(const emr_run *run, const uint8_t *base, size_t i, uint8_t *out)
{
    emr_dtype base_dtype = run->base_dtype, unified_dtype = run->unified_dtype, out_dtype = run->out_dtype;
    volatile float product, sum;
    float u, w;
    double wide;
    if (!masked(run, i)) {
        emr_convert(out_dtype, out, base_dtype, base + i * size_of(base_dtype), 1);
        return;
    }
    emr_convert(EMR_DTYPE_F32, &u, unified_dtype, (const uint8_t *)run->unified + i * size_of(unified_dtype),
                1);
    product = run->scales[0] * u;
    if (base_dtype == EMR_DTYPE_F64) {
        emr_convert(EMR_DTYPE_F64, &wide, base_dtype, base + i * 8, 1);
        wide += (double)product;
        emr_convert(out_dtype, out, EMR_DTYPE_F64, &wide, 1);
    } else {
        emr_convert(EMR_DTYPE_F32, &w, base_dtype, base + i * size_of(base_dtype), 1);
        sum = w + product;
        w = sum;
        wide = (double)sum;
        emr_convert(out_dtype, out, EMR_DTYPE_F32, &w, 1);
    }
    if (isnan(wide))
        put_computed_nan(out_dtype, out);
}

static void check_run(const emr_run *run, const uint8_t *base)
{
    size_t size = size_of(run->out_dtype);
    const uint8_t *out = run->out;
    for (size_t i = 0; i < run->n; i++) {
        uint8_t expected[8];
        expect_element(run, base, i, expected);
        assert_memory_equal(out + i * size, expected, size);
    }
}

typedef struct memory {
    uint8_t base[8 * MOST + 8], unified[4 * MOST + 8], mask[MOST / 8 + 2], out[8 * MOST + 16];
} memory;

static void fill(uint8_t *p, emr_dtype dtype, size_t n, rng *r)
{
    for (size_t i = 0; i < n; i++) {
        float value = rng_normal(r);
        emr_convert(dtype, p + i * size_of(dtype), EMR_DTYPE_F32, &value, 1);
    }
}

static void random_runs_follow_the_formula(void **state)
{
    static memory m;
    rng r = {81};
    (void)state;
    for (size_t round = 0; round < 6 * 3 * 6 * 8; round++) {
        emr_run run = {
            .n = 1 + rng_below(&r, MOST - 600), .first_code = round / (6 * 3 * 6), .codes = m.mask};
        run.base_dtype = floats[round % 6];
        run.out_dtype = floats[round / 6 % 6];
        run.unified_dtype = unifieds[round / 36 % 3];
        run.scales[0] = fabsf(rng_normal(&r));
        uint8_t *base = m.base + rng_below(&r, 8), *unified = m.unified + rng_below(&r, 8);
        uint8_t *out = m.out + rng_below(&r, 8), *end = out + run.n * size_of(run.out_dtype);
        fill(base, run.base_dtype, run.n, &r);
        fill(unified, run.unified_dtype, run.n, &r);
        for (size_t i = 0; i < sizeof m.mask; i++)
            m.mask[i] = (uint8_t)rng_next(&r);
        memset(m.out, 0xee, sizeof m.out);
        run.base = base;
        run.unified = unified;
        run.out = out;
        apply(&run);
        check_run(&run, base);
        assert_true((out == m.out || out[-1] == 0xee) && *end == 0xee);
    }
}

static void in_place_is_as_beside(void **state)
{
    static memory m;
    rng r = {91};
    (void)state;
    for (size_t k = 0; k < 6; k++) {
        size_t size = size_of(floats[k]);
        fill(m.base, floats[k], MOST, &r);
        fill(m.unified, EMR_DTYPE_F32, MOST, &r);
        for (size_t i = 0; i < sizeof m.mask; i++)
            m.mask[i] = (uint8_t)rng_next(&r);
        emr_run run = {.n = MOST, .base = m.base, .unified = m.unified, .codes = m.mask, .scales = {0.75f}};
        run.base_dtype = run.out_dtype = floats[k];
        run.unified_dtype = EMR_DTYPE_F32;
        run.out = m.out;
        apply(&run);
        run.out = m.base;
        apply(&run);
        assert_memory_equal(m.base, m.out, MOST * size);
    }
}

/* Multiply and add are rounded one by one: a fused operation would give another result here. */
static void products_are_rounded_before_they_are_added(void **state)
{
    const uint8_t mask = 1;
    float unified = 1 + 0x1p-12f, rescaler = 1 + 0x1p-12f, base = -1, out;
    emr_run run = run_of(1, &base, &unified, &mask, EMR_DTYPE_F32, &out);
    (void)state;
    run.scales[0] = rescaler;
    apply(&run);
    assert_true(out == 0x1p-11f);
    assert_true(fmaf(rescaler, unified, base) != out);
}

/* With an f64 base the step is an f32, the sum is not. */
static void f64_bases_are_added_to_in_f64(void **state)
{
    const uint8_t mask = 3;
    const float unified[] = {1, 0x1p-20f};
    const double base[] = {1 + 0x1p-45, -3};
    double out[2];
    float narrow[2];
    emr_run run = run_of(2, base, unified, &mask, EMR_DTYPE_F64, out);
    (void)state;
    run.scales[0] = 0.1f;
    apply(&run);
    assert_true(out[0] == (1 + 0x1p-45) + (double)0.1f);
    assert_true(out[1] == -3 + (double)(0.1f * 0x1p-20f));
    run.out = narrow;
    run.out_dtype = EMR_DTYPE_F32;
    apply(&run);
    assert_true(narrow[0] == (float)out[0] && narrow[1] == (float)out[1]);
}

/* Where the mask is 0 the base comes out bit for bit, even where it is no number. */
static void unmasked_base_bits_are_kept(void **state)
{
    static const uint32_t bits[] = {0x7fc12345, 0x7f800001, 0xffbfffff, 0x7f800000,
                                    0xff800000, 0x80000000, 1};
    static const uint64_t wide[] = {0x7ff0000000000001, 0x8000000000000000, 0xfff8000000000123};
    const uint8_t mask = 0;
    const float unified[8] = {1, INFINITY, NAN, 4, 5, 6, 7, 8};
    uint32_t out[7];
    uint64_t wide_out[3];
    emr_run run = run_of(7, bits, unified, &mask, EMR_DTYPE_F32, out);
    (void)state;
    run.scales[0] = INFINITY;
    apply(&run);
    assert_memory_equal(out, bits, sizeof bits);
    run = run_of(3, wide, unified, &mask, EMR_DTYPE_F64, wide_out);
    run.scales[0] = NAN;
    apply(&run);
    assert_memory_equal(wide_out, wide, sizeof wide);
    for (size_t k = 1; k < 6; k++) { /* every code of the smaller types */
        size_t size = size_of(floats[k]), n = size == 1 ? 256 : 65536;
        uint8_t *base = malloc(n * size), *none = calloc(n / 8, 1), *result = malloc(n * size);
        float *zeros = calloc(n, sizeof *zeros);
        for (size_t i = 0; i < n * size; i++)
            base[i] = (uint8_t)(i % size ? i / size >> 8 : i / size);
        if (floats[k] != EMR_DTYPE_F64) {
            run = run_of(n, base, zeros, none, floats[k], result);
            apply(&run);
            assert_memory_equal(result, base, n * size);
        }
        free(base);
        free(none);
        free(result);
        free(zeros);
    }
}

/* What bundle-format.md says becomes of a NaN in another dtype. */
static uint64_t expect_nan(const layout *from, const layout *to, uint64_t code)
{
    uint64_t sign = code >> (from->exponent + from->mantissa), quiet = (uint64_t)1 << (to->mantissa - 1);
    uint64_t mantissa = code & (((uint64_t)1 << from->mantissa) - 1);
    uint64_t exponent = (((uint64_t)1 << to->exponent) - 1) << to->mantissa;
    uint64_t upper = from->mantissa > to->mantissa ? mantissa >> (from->mantissa - to->mantissa)
                                                   : mantissa << (to->mantissa - from->mantissa);
    sign <<= to->exponent + to->mantissa;
    if (to->dtype == EMR_DTYPE_F8_E4M3)
        return sign | 0x7f;
    if (from->dtype == EMR_DTYPE_F8_E4M3 || to->dtype == EMR_DTYPE_F8_E5M2 ||
        (from->dtype == EMR_DTYPE_F64 && to->dtype != EMR_DTYPE_F32))
        return sign | exponent | quiet;
    return sign | exponent | upper |
           (from->dtype == EMR_DTYPE_BF16 && to->dtype == EMR_DTYPE_F32 ? 0 : quiet);
}

/* The i-th of some NaNs: every one of a small dtype, then again from the first. */
static uint64_t nan_code(const layout *l, size_t i, rng *r)
{
    uint64_t most = ((uint64_t)1 << l->mantissa) - 1, sign = (uint64_t)(i % 2) << (l->exponent + l->mantissa);
    uint64_t exponent = (((uint64_t)1 << l->exponent) - 1) << l->mantissa;
    if (l->dtype == EMR_DTYPE_F8_E4M3)
        return sign | 0x7f;
    uint64_t mantissa = i / 2 < most ? i / 2 + 1 : rng_next(r) & most;
    return sign | exponent | (mantissa ? mantissa : 1);
}

/* NaNs where the mask is 0, in an output of another dtype: the same bits on every processor. */
static void nans_keep_what_the_text_says(void **state)
{
    static memory m;
    static const uint8_t none[MOST / 8 + 2];
    static uint8_t want[8 * MOST];
    rng r = {7};
    (void)state;
    for (size_t f = 0; f < 6; f++)
        for (size_t t = 0; t < 6; t++) {
            const layout *from = &layouts[f], *to = &layouts[t];
            uint64_t codes[MOST];
            for (size_t i = 0; i < MOST; i++) {
                codes[i] = nan_code(from, i, &r);
                put_code(m.base + i * size_of(from->dtype), codes[i], size_of(from->dtype));
            }
            memset(m.unified, 0, sizeof m.unified);
            for (size_t i = 0; i < MOST; i++)
                put_code(want + i * size_of(to->dtype), f == t ? codes[i] : expect_nan(from, to, codes[i]),
                         size_of(to->dtype));
            emr_run run = run_of(MOST, m.base, m.unified, none, from->dtype, m.out);
            run.out_dtype = to->dtype;
            apply(&run);
            assert_memory_equal(m.out, want, MOST * size_of(to->dtype));
            memset(m.out, 0xee, sizeof m.out);
            chunk_kernels->convert(to->dtype, m.out, from->dtype, m.base, MOST);
            assert_memory_equal(m.out, want, MOST * size_of(to->dtype));
        }
}

/* Where the mask is 1, whatever it comes from. */
static void a_computed_nan_has_no_payload(void **state)
{
    enum { N = 40 }; /* whole vectors, and some left */
    const uint32_t ones = 0x3f800000, infinity = 0x7f800000, quiet = 0xffc12345, signalling = 0x7f800001;
    const struct {
        uint32_t base, unified;
        float rescaler;
    } cases[] = {{quiet, ones, 1},          {ones, quiet, 1},      {quiet, signalling, 1},
                 {signalling, quiet, 1},    {infinity, ones, NAN}, {ones, infinity, 0},
                 {infinity, 0xff800000, 1}, {0xffffffff, 0, 0},    {quiet, 0x7fd55555, 1}};
    const uint8_t mask[] = {0xff, 0xff, 0xff, 0xff, 0xff};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint32_t base[N], unified[N], out[N];
        uint64_t wide[N];
        for (size_t i = 0; i < N; i++) {
            base[i] = cases[c].base;
            unified[i] = cases[c].unified;
        }
        emr_run run = {
            .n = N, .base = base, .unified = unified, .codes = mask, .scales = {cases[c].rescaler}};
        run.base_dtype = run.unified_dtype = run.out_dtype = EMR_DTYPE_F32;
        run.out = out;
        apply(&run);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(out[i], 0x7fc00000);
        emr_convert(EMR_DTYPE_F64, wide, EMR_DTYPE_F32, base, N);
        run.base = run.out = wide;
        run.base_dtype = run.out_dtype = EMR_DTYPE_F64;
        apply(&run);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(wide[i], 0x7ff8000000000000);
    }
}

/* NaNs, infinities and numbers, in turns of three or so. */
static void fill_nonfinite(uint8_t *p, const layout *l, size_t turn, rng *r)
{
    size_t size = size_of(l->dtype);
    fill(p, l->dtype, MOST, r);
    for (size_t i = 0; i < MOST; i++) {
        float infinity = rng_below(r, 2) ? INFINITY : -INFINITY;
        if (i / turn % 3 == 0)
            put_code(p + i * size, nan_code(l, i, r), size);
        else if (i / turn % 3 == 1)
            emr_convert(l->dtype, p + i * size, EMR_DTYPE_F32, &infinity, 1);
    }
}

static void computed_nans_are_the_same_in_every_dtype(void **state)
{
    static memory m;
    rng r = {17};
    (void)state;
    for (size_t round = 0; round < 6 * 3 * 6; round++) {
        const layout *base = &layouts[round % 6], *unified = &layouts[round / 36];
        emr_run run = {.n = MOST - 8, .base = m.base, .unified = m.unified, .codes = m.mask, .out = m.out};
        run.first_code = rng_below(&r, 8);
        run.scales[0] = rng_below(&r, 4) ? 0.75f : 0;
        run.base_dtype = base->dtype;
        run.unified_dtype = unified->dtype;
        run.out_dtype = floats[round / 6 % 6];
        fill_nonfinite(m.base, base, 1, &r);
        fill_nonfinite(m.unified, unified, 3, &r);
        for (size_t i = 0; i < sizeof m.mask; i++)
            m.mask[i] = (uint8_t)rng_next(&r);
        apply(&run);
        check_run(&run, m.base);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_runs_follow_the_formula),
        cmocka_unit_test(in_place_is_as_beside),
        cmocka_unit_test(products_are_rounded_before_they_are_added),
        cmocka_unit_test(f64_bases_are_added_to_in_f64),
        cmocka_unit_test(unmasked_base_bits_are_kept),
        cmocka_unit_test(nans_keep_what_the_text_says),
        cmocka_unit_test(a_computed_nan_has_no_payload),
        cmocka_unit_test(computed_nans_are_the_same_in_every_dtype),
    };
    return run_for_every_variant(tests);
}
