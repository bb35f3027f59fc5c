/* test_codes.c - weights of the kinds beyond masks, and products by them, against their definitions
 * written out one parameter at a time. */
#include "support.h"

#include "chunk.h"

#include "modulator/kind.h"
#include "numeric/convert.h"
#include "numeric/thin.h"

#include <math.h>

enum { LONGEST = 900, FIRST_MAX = 600, CODES_BYTES = (LONGEST + FIRST_MAX + 512) * 4 };

/* A kind with a coding; the numbers are what the kind's name promises. */
typedef struct test_coding {
    const char *name;
    uint32_t rate, q, n_levels;
} test_coding;

static const test_coding test_codings[] = {
    {"two-sided", 64, 0, 0},    {"sign", 64, 0, 0},    {"thin", 32, 2, 0},     {"thin", 16, 4, 0},
    {"thin", 8, 8, 0},          {"thin", 4, 16, 0},    {"thin", 2, 32, 0},     {"levels", 128, 0, 3},
    {"levels", 128, 0, 4},      {"levels", 192, 0, 8}, {"levels", 256, 0, 16}, {"differences", 1024, 0, 0},
    {"differences", 2048, 0, 0}};
enum { N_CODINGS = sizeof test_codings / sizeof test_codings[0] };

static emr_code_kernels kernels_of(const test_coding *t)
{
    const emr_kind *kind = &emr_kind_differences;
    for (uint32_t number = 1; number <= EMR_MODULATOR_KIND_LEVELS && t->rate < 1024; number++)
        if (strcmp(emr_kind_find(number)->name, t->name) == 0)
            kind = emr_kind_find(number);
    assert_string_equal(kind->name, t->name);
    return emr_kind_kernels(kind, chunk_kernels);
}

static bool is_kind(const test_coding *t, const char *name)
{
    return strcmp(t->name, name) == 0;
}

/* Bits [bit, bit + n), the lowest first. */
static uint32_t bits_at(const uint8_t *bytes, size_t bit, size_t n)
{
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint32_t)(bytes[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
    return value;
}

static uint32_t drawn_bits(uint32_t seed, uint64_t group)
{
    uint32_t x =
        seed ^ (uint32_t)((group & 0xffffffff) * 2654435761u) ^ (uint32_t)((group >> 32) * 2246822519u);
    x = (x ^ x >> 16) * 2146121005u;
    x = (x ^ x >> 15) * 2221713035u;
    return x ^ x >> 16;
}

/* Whether the parameter is kept, which of its group's codes is its run's. */
static bool is_kept(uint32_t q, uint32_t seed, uint64_t flat, uint32_t *run)
{
    uint32_t k = 0, in_group = (uint32_t)(flat % 64);
    while (1u << k < q)
        k++;
    *run = in_group / q;
    return (drawn_bits(seed, flat / 64) >> *run * k) % q == in_group % q;
}

/* A code's value where parameters are numbered from where the codes begin; false: nothing is added. */
static bool value_at(const test_coding *t, const emr_coding *coding, const uint8_t *codes, uint64_t group,
                     size_t p, float *value)
{
    static const float levels[4][16] = {{-1.22400636f, 0, 1.22400636f, 0},
                                        {-1.51041761f, -0.452780035f, 0.452780035f, 1.51041761f},
                                        {-2.1519457f, -1.34390928f, -0.756005281f, -0.245094179f,
                                         0.245094179f, 0.756005281f, 1.34390928f, 2.1519457f},
                                        {-2.73258957f, -2.06901723f, -1.61804639f, -1.2562312f, -0.942340456f,
                                         -0.656759119f, -0.388048299f, -0.12839503f, 0.12839503f,
                                         0.388048299f, 0.656759119f, 0.942340456f, 1.2562312f, 1.61804639f,
                                         2.06901723f, 2.73258957f}};
    uint32_t run, width = coding->rate / 64;
    if (t->q) {
        if (!is_kept(t->q, coding->seed, group * 64 + p, &run))
            return false;
        *value = bits_at(codes, p / 64 * (64 / t->q) + run, 1) ? 1 : -1;
    } else if (is_kind(t, "sign")) {
        *value = bits_at(codes, p, 1) ? 1 : -1;
    } else if (is_kind(t, "levels")) {
        *value = levels[t->n_levels == 3   ? 0
                        : t->n_levels == 4 ? 1
                        : t->n_levels == 8 ? 2
                                           : 3][bits_at(codes, p * width, width)];
    } else {
        *value = f32_from(bits_at(codes, p * width, width) << (32 - width));
    }
    return true;
}

static void random_codes(const test_coding *t, rng *r, uint8_t codes[CODES_BYTES])
{
    for (size_t i = 0; i < CODES_BYTES; i++)
        codes[i] = (uint8_t)rng_below(r, 256);
    for (size_t i = 0; is_kind(t, "differences") && i < CODES_BYTES; i += t->rate / 512) {
        float d = rng_below(r, 4) ? rng_normal(r) : rng_below(r, 2) ? 0 : -0.0f;
        emr_store_f32(t->rate == 1024 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32, codes + i, &d, 1);
    }
}

static emr_coding coding_of(const test_coding *t, rng *r)
{
    return (emr_coding){
        .rate = t->rate, .seed = (uint32_t)rng_next(r), .levels = emr_kind_levels(t->n_levels)};
}

/* One parameter of F32: what is added to the base, or nothing. */
static float weight_of(const test_coding *t, const emr_run *run, size_t i)
{
    const float *scales = run->scales, base = ((const float *)run->base)[i];
    size_t p = run->first_code + i;
    float step, value, column;
    if (is_kind(t, "two-sided")) {
        float unified = ((const float *)run->unified)[i],
              scale = bits_at(run->codes, p, 1) ? scales[0] : -scales[1];
        if (unified == 0 || scale == 0)
            return base;
        step = scale * unified;
    } else {
        if (scales[0] == 0 || !value_at(t, &run->coding, run->codes, run->group, p, &value))
            return base;
        step = scales[0] * value;
        if (is_kind(t, "differences") && value == 0)
            return base;
        if (run->columns) {
            emr_load_f32(&column, EMR_DTYPE_BF16, run->columns + 2 * i, 1);
            step = scales[0] * column * value;
        }
    }
    float sum = base + step;
    return isnan(sum) ? f32_from(0x7fc00000) : sum;
}

static void weights_follow_the_definitions(void **state)
{
    static uint8_t codes[CODES_BYTES], columns[2 * LONGEST];
    static float base[LONGEST], unified[LONGEST], out[LONGEST + 1];
    static const float special[] = {NAN, INFINITY, -INFINITY, -0.0f, 0};
    rng r = {71};
    (void)state;
    for (size_t round = 0; round < 40 * N_CODINGS; round++) {
        const test_coding *t = &test_codings[round % N_CODINGS];
        emr_run run = {
            .n = 1 + rng_below(&r, LONGEST), .base = base, .out = out, .unified = unified, .codes = codes};
        run.base_dtype = run.out_dtype = run.unified_dtype = EMR_DTYPE_F32;
        run.first_code = rng_below(&r, FIRST_MAX);
        run.group = rng_next(&r) >> (10 + rng_below(&r, 50)) << 3;
        run.coding = coding_of(t, &r);
        run.scales[0] = is_kind(t, "differences") ? 1 : rng_below(&r, 8) ? fabsf(rng_normal(&r)) : 0;
        run.scales[1] = rng_below(&r, 8) ? fabsf(rng_normal(&r)) : 0;
        run.columns = is_kind(t, "sign") && rng_below(&r, 2) ? columns : NULL;
        random_codes(t, &r, codes);
        for (size_t i = 0; i < LONGEST; i++) {
            float column = fabsf(rng_normal(&r));
            base[i] = rng_below(&r, 8) ? rng_normal(&r) : special[rng_below(&r, 5)];
            unified[i] = rng_below(&r, 8) ? rng_normal(&r) : special[rng_below(&r, 5)];
            emr_store_f32(EMR_DTYPE_BF16, columns + 2 * i, &column, 1);
            out[i] = 77;
        }
        out[run.n] = 77;
        kernels_of(t).apply(&run);
        for (size_t i = 0; i < run.n; i++)
            if (f32_bits(out[i]) != f32_bits(weight_of(t, &run, i)))
                fail_msg("%s of %u bits a group: parameter %zu of %zu is %a, not %a", t->name, t->rate, i,
                         run.n, (double)out[i], (double)weight_of(t, &run, i));
        assert_true(out[run.n] == 77);
    }
}

/* Added in f64 to a base of that, and rounded once. */
static void bases_of_f64_are_added_to_in_f64(void **state)
{
    rng r = {72};
    (void)state;
    for (size_t round = 0; round < N_CODINGS; round++) {
        const test_coding *t = &test_codings[round];
        uint8_t codes[CODES_BYTES];
        double base[200], out[200];
        float unified[200], zeros[200] = {0}, step[200];
        emr_run run = {.n = 200, .base = zeros, .out = step, .unified = unified, .codes = codes, .group = 24};
        run.base_dtype = run.out_dtype = run.unified_dtype = EMR_DTYPE_F32;
        run.coding = coding_of(t, &r);
        run.scales[0] = run.scales[1] = is_kind(t, "differences") ? 1 : 0.3f;
        random_codes(t, &r, codes);
        for (size_t i = 0; i < 200; i++) {
            base[i] = (double)rng_normal(&r) + 1e-9 * (double)rng_normal(&r);
            unified[i] = rng_normal(&r);
        }
        kernels_of(t).apply(&run);
        run.base = base;
        run.out = out;
        run.base_dtype = run.out_dtype = EMR_DTYPE_F64;
        kernels_of(t).apply(&run);
        for (size_t i = 0; i < 200; i++)
            assert_true(out[i] == base[i] + (double)step[i]);
    }
}

/* Without a scale there need not be codes, and the base comes through, whatever it is. */
static void without_a_scale_the_base_comes_out(void **state)
{
    (void)state;
    for (size_t c = 1; c < N_CODINGS; c++) {
        uint32_t base[100], out[100];
        emr_run run = {.n = 100, .base = base, .out = out, .coding = {.rate = test_codings[c].rate}};
        run.base_dtype = run.out_dtype = EMR_DTYPE_F32;
        for (uint32_t i = 0; i < 100; i++)
            base[i] = i % 2 ? 0x80000000 : 0x7f800001 + i; /* -0, and NaNs that are not quiet */
        kernels_of(&test_codings[c]).apply(&run);
        assert_memory_equal(out, base, sizeof base);
    }
}

/* Words as a product wants them: codes of 32 columns begin at a word. */
static void words_of_codes(const test_coding *t, const emr_coding *coding, const uint8_t *codes,
                           uint32_t *words, uint32_t *kept)
{
    memset(words, 0, EMR_DOT_COLUMNS * 4);
    memset(kept, 0, EMR_DOT_COLUMNS / 8);
    for (size_t c = 0; c < EMR_DOT_COLUMNS; c++) {
        uint32_t width = t->q ? 1 : coding->rate / 64, run = 0;
        bool keeps = !t->q || is_kept(t->q, coding->seed, c, &run);
        size_t from = t->q ? c / 64 * (64 / t->q) + run : c * width;
        kept[c / 32] |= (uint32_t)keeps << c % 32;
        for (uint32_t i = 0; i < width && keeps; i++)
            words[(c * width + i) / 32] |= bits_at(codes, from + i, 1) << (c * width + i) % 32;
    }
}

static void products_of_steps_follow_the_definitions(void **state)
{
    static uint8_t codes[CODES_BYTES], columns[2 * EMR_DOT_COLUMNS];
    static float x[EMR_DOT_VECTORS * EMR_DOT_COLUMNS], lanes[EMR_DOT_VECTORS][EMR_LANES],
        expected[EMR_DOT_VECTORS][EMR_LANES];
    static uint32_t words[EMR_DOT_COLUMNS], kept[EMR_DOT_WORDS];
    rng r = {73};
    (void)state;
    for (size_t round = 0; round < 20 * N_CODINGS; round++) {
        const test_coding *t = &test_codings[round % N_CODINGS];
        emr_step_dot d = {.n = 32 + rng_below(&r, 16) * 32,
                          .n_rows = 1,
                          .n_vectors = 1 + rng_below(&r, EMR_DOT_VECTORS),
                          .lane_stride = 1};
        d.coding = coding_of(t, &r);
        d.codes = words;
        d.kept = t->q ? kept : NULL;
        d.columns = is_kind(t, "sign") && rng_below(&r, 2) ? columns : NULL;
        d.x = x;
        d.stride = EMR_DOT_COLUMNS;
        d.lanes = lanes;
        random_codes(t, &r, codes);
        words_of_codes(t, &d.coding, codes, words, kept);
        for (size_t i = 0; i < EMR_DOT_VECTORS * EMR_DOT_COLUMNS; i++)
            x[i] = rng_normal(&r);
        for (size_t i = 0; i < EMR_DOT_COLUMNS; i++)
            emr_store16(columns + 2 * i, (uint16_t)(0x3f80 + rng_below(&r, 200)));
        for (size_t i = 0; i < EMR_DOT_VECTORS * EMR_LANES; i++)
            lanes[i / EMR_LANES][i % EMR_LANES] = expected[i / EMR_LANES][i % EMR_LANES] = rng_normal(&r);
        for (size_t i = 0; i < d.n * d.n_vectors; i++) {
            size_t b = i / d.n, c = i % d.n;
            float value, column = 1, *lane = &expected[b][c % 32];
            if (d.columns)
                emr_load_f32(&column, EMR_DTYPE_BF16, columns + 2 * c, 1);
            if (!is_kind(t, "two-sided") && value_at(t, &d.coding, codes, 0, c, &value))
                *lane += value * (column * x[b * d.stride + c]);
        }
        if (!is_kind(t, "two-sided"))
            kernels_of(t).dot_steps(&d);
        assert_memory_equal(lanes, expected, sizeof lanes);
    }
}

/* The base alone, and with two sides, which share nothing of a batch or all of it. */
static void products_of_weights_follow_the_definitions(void **state)
{
    static float base[EMR_DOT_COLUMNS], unified[EMR_DOT_COLUMNS], x[EMR_DOT_VECTORS * EMR_DOT_COLUMNS],
        lanes[EMR_DOT_VECTORS][EMR_LANES], expected[EMR_DOT_VECTORS][EMR_LANES], scales[2 * EMR_DOT_VECTORS];
    static uint32_t words[EMR_DOT_VECTORS * EMR_DOT_WORDS];
    rng r = {74};
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        bool base_alone = round % 3 == 0;
        emr_dot d = {.n = 32 + rng_below(&r, 16) * 32, .n_vectors = 1 + rng_below(&r, EMR_DOT_VECTORS)};
        d.base = base;
        d.unified = base_alone ? NULL : unified;
        d.codes = base_alone ? NULL : words;
        d.scales = base_alone ? NULL : scales;
        d.x = x;
        d.stride = EMR_DOT_COLUMNS;
        d.lanes = lanes;
        d.base_dtype = d.unified_dtype = EMR_DTYPE_F32;
        d.shared = round % 2;
        for (size_t i = 0; i < EMR_DOT_COLUMNS; i++) {
            base[i] = rng_normal(&r);
            unified[i] = rng_below(&r, 4) ? rng_normal(&r) : 0;
        }
        for (size_t i = 0; i < EMR_DOT_VECTORS * EMR_DOT_COLUMNS; i++)
            x[i] = rng_normal(&r);
        for (size_t i = 0; i < EMR_DOT_VECTORS * EMR_DOT_WORDS; i++)
            words[i] = (uint32_t)rng_next(&r);
        for (size_t i = 0; i < 2 * EMR_DOT_VECTORS; i++)
            scales[i] = rng_below(&r, 4) ? fabsf(rng_normal(&r)) : 0;
        memset(lanes, 0, sizeof lanes);
        memset(expected, 0, sizeof expected);
        for (size_t i = 0; i < d.n * d.n_vectors; i++) {
            size_t b = i / d.n, c = i % d.n, task = d.shared ? 0 : b;
            bool bit = words[task * EMR_DOT_WORDS + c / 32] >> c % 32 & 1;
            float w = base[c] + (bit ? scales[2 * task] : -scales[2 * task + 1]) * unified[c];
            expected[b][c % 32] += (base_alone ? base[c] : w) * x[b * d.stride + c];
        }
        if (base_alone && chunk_kernels->dot_base)
            chunk_kernels->dot_base(&d);
        else
            (base_alone ? emr_kernels_c.dot_base : kernels_of(&test_codings[0]).dot)(&d);
        assert_memory_equal(lanes, expected, sizeof lanes);
    }
}

/* The hash is part of the format: bundles hold its outcome nowhere. */
static void the_hash_stays_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(emr_thin_hash(0x0, 0x0), 0x00000000);
    assert_int_equal(emr_thin_hash(0x1, 0x0), 0x688990c0);
    assert_int_equal(emr_thin_hash(0x0, 0x1), 0x6d523710);
    assert_int_equal(emr_thin_hash(0xdeadbeef, 0x3039), 0x856d1b2f);
    assert_int_equal(emr_thin_hash(0x7, 0x123456789a), 0x31095f62);
}

/* Each run of q parameters keeps one, all of them equally often. */
static void one_of_each_run_is_kept(void **state)
{
    (void)state;
    for (uint32_t k = 1; k <= 5; k++) {
        uint32_t q = 1u << k, often[32] = {0}, run;
        const emr_coding coding = {.rate = 64 / q, .seed = k};
        for (uint64_t group = 0; group < 4096; group++) {
            uint64_t kept = emr_thin_kept(&coding, group),
                     all = emr_thin_signs(&coding, kept, ~(uint64_t)0 >> (64 - 64 / q));
            assert_true(all == kept);
            for (uint32_t i = 0; i < 64; i++) {
                bool keeps = kept >> i & 1;
                assert_int_equal(keeps, is_kept(q, k, group * 64 + i, &run));
                assert_int_equal(keeps && emr_thin_signs(&coding, kept, (uint64_t)1 << run) >> i & 1, keeps);
                often[i % q] += keeps;
            }
        }
        for (uint32_t i = 0; i < q; i++) {
            double mean = 4096.0 * 64 / q / q;
            assert_true(fabs(often[i] - mean) < 5 * sqrt(mean));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_follow_the_definitions),
        cmocka_unit_test(bases_of_f64_are_added_to_in_f64),
        cmocka_unit_test(without_a_scale_the_base_comes_out),
        cmocka_unit_test(products_of_steps_follow_the_definitions),
        cmocka_unit_test(products_of_weights_follow_the_definitions),
        cmocka_unit_test(the_hash_stays_what_it_is),
        cmocka_unit_test(one_of_each_run_is_kept),
    };
    return run_for_every_variant(tests);
}
