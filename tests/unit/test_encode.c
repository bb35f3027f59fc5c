/* test_encode.c - codes and scales of kinds that share nothing, of whole tensors in items, against the
 * definition an element at a time: codes to the bit, scales and sums to what f32 and BF16 round away. */
#include "core/bytes.h"
#include "modulator/kind.h"
#include "numeric/convert.h"
#include "numeric/encode.h"

#include "support.h"

#include <math.h>
#include <stdlib.h>

enum { PARAMETERS_MAX = 1 << 17, MARK = 0xa5 };

static const uint64_t row_lengths[] = {8, 9, 31, 64, 100, 300, 1024, 3000, 16384, 20000};
enum { N_ROW_LENGTHS = sizeof row_lengths / sizeof *row_lengths };

/* Published levels of the quantiser of least error for a standard normal distribution (Max 1960, Lloyd
 * 1982). */
static const double upper_levels[5][8] = {
    {0, 1.2240064},
    {0.4527800, 1.5104176},
    {0.2450942, 0.7560053, 1.3439093, 2.1519457},
    {0.1283950, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896}};

/* A tensor, where it lies, and what it is encoded as. */
typedef struct example {
    uint64_t rows, row_length, flat;
    emr_modulator_kind kind;
    emr_rescale rescale;
    uint32_t thinning, n_levels, seed;
    bool columns;
    double magnitude; /* of its values */
} example;

/* What came out, a parameter each. */
typedef struct result {
    float tau[PARAMETERS_MAX];
    uint32_t code[PARAMETERS_MAX];
    bool kept[PARAMETERS_MAX];
    double scale[PARAMETERS_MAX], column[1 << 16];
    size_t stretch[PARAMETERS_MAX]; /* its first parameter */
    double sums[1 << 16], tt, tq, qq, rr;
} result;

static result r;
static float base[PARAMETERS_MAX], task[PARAMETERS_MAX], work[EMR_CHUNK + 128];
static uint64_t random_state = 88172645463325252u;

static double uniform(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

static void make_values(const example *x)
{
    for (size_t i = 0; i < x->rows * x->row_length; i++) {
        base[i] = uniform() < 0.3 ? 0 : (float)(normal() * x->magnitude);
        task[i] =
            uniform() < 0.1
                ? base[i]
                : (float)((double)base[i] + normal() * x->magnitude * (1 + (double)(i % x->row_length % 5)));
        r.tau[i] = task[i] - base[i];
    }
}

static uint32_t rate_of(const example *x)
{
    return x->kind == EMR_MODULATOR_KIND_THIN                          ? 64 / x->thinning
           : x->kind == EMR_MODULATOR_KIND_LEVELS && x->n_levels == 16 ? 256
           : x->kind == EMR_MODULATOR_KIND_LEVELS && x->n_levels == 8  ? 192
           : x->kind == EMR_MODULATOR_KIND_LEVELS                      ? 128
                                                                       : 64;
}

static double level_of(uint32_t n, uint32_t code)
{
    const double *upper = upper_levels[n == 3 ? 0 : n == 4 ? 1 : n == 8 ? 2 : 3];
    if (n == 3)
        return code == 1 ? 0 : code == 0 ? -upper[1] : upper[1];
    return code < n / 2 ? -upper[n / 2 - 1 - code] : upper[code - n / 2];
}

static uint32_t hash_of(uint32_t seed, uint64_t group)
{
    uint32_t x = seed ^ (uint32_t)(group & 0xffffffff) * 2654435761u ^ (uint32_t)(group >> 32) * 2246822519u;
    x ^= x >> 16;
    x *= 2146121005u;
    x ^= x >> 15;
    x *= 2221713035u;
    x ^= x >> 16;
    return x;
}

/* Which of its run, which is `thinning` long, a parameter has to be to be kept. */
static uint32_t drawn_place(const example *x, uint64_t place)
{
    uint32_t log2 = 0;
    while (1u << log2 < x->thinning)
        log2++;
    return hash_of(x->seed, place / 64) >> (uint32_t)(place % 64 / x->thinning) * log2 & (x->thinning - 1);
}

/* Reads an item's codes, and looks at what lies beside them. */
static void read_codes(const example *x, uint64_t first, size_t n, const uint8_t *codes, size_t bytes)
{
    uint32_t bits = x->kind == EMR_MODULATOR_KIND_LEVELS ? rate_of(x) / 64 : 1;
    size_t used = 0;
    assert_int_equal(codes[bytes], MARK);
    for (size_t place = 0; place < (n + 63) / 64 * 64; place++) {
        uint32_t code = 0;
        bool kept = x->kind != EMR_MODULATOR_KIND_THIN ||
                    place % x->thinning == drawn_place(x, x->flat + first + place);
        for (uint32_t b = 0; b < bits && kept; b++, used++)
            code |= (uint32_t)(codes[used / 8] >> used % 8 & 1) << b;
        if (place < n) {
            r.code[first + place] = code;
            r.kept[first + place] = kept;
        } else {
            assert_int_equal(code, 0);
        }
    }
    for (; used < 8 * bytes; used++)
        assert_int_equal(codes[used / 8] >> used % 8 & 1, 0);
}

static void encode_example(const example *x)
{
    static uint8_t codes[EMR_CHUNK / 2 + 1], scales[2 * EMR_CHUNK], columns[1 << 17];
    static float column_sums[EMR_CHUNK];
    emr_column_fit fit = {
        .n_columns = x->row_length, .sums = r.sums, .rescale = x->rescale, .columns = columns};
    uint64_t total = x->rows * x->row_length;
    r.tt = r.tq = r.qq = r.rr = 0;
    memset(r.sums, 0, sizeof r.sums);
    for (uint64_t first = 0, n; first < total; first += n) {
        uint64_t room = EMR_CHUNK - (x->flat + first) % EMR_CHUNK;
        n = total - first < room ? total - first : room;
        emr_encoding e = {.n = n,
                          .base = base + first,
                          .task = task + first,
                          .base_dtype = EMR_DTYPE_F32,
                          .task_dtype = EMR_DTYPE_F32,
                          .flat = x->flat + first,
                          .first = first,
                          .row_length = x->row_length,
                          .kind = x->kind,
                          .rescale = x->rescale,
                          .n_levels = x->n_levels,
                          .has_columns = x->columns,
                          .tau = work,
                          .codes = codes,
                          .scales = scales,
                          .column_sums = column_sums};
        e.coding = (emr_coding){rate_of(x), x->seed, emr_kind_levels(x->n_levels)};
        size_t bytes = emr_encode_bytes(&e.coding, n), stretch = 0;
        memset(codes, MARK, sizeof codes);
        emr_encode_item(&emr_kernels_c, &e);
        assert_int_equal(e.bad, n);
        assert_int_equal(e.zeroed, 0);
        assert_int_equal(e.n_stretches, emr_encode_stretches(first, n, x->row_length));
        read_codes(x, first, n, codes, bytes);
        for (uint64_t i = first; i < first + n; i++) {
            bool begins = i == first || i % x->row_length == 0;
            stretch += begins && i > first;
            r.scale[i] = (double)emr_bf16_to_f32(emr_load16(scales + 2 * stretch));
            r.stretch[i] = begins ? i : r.stretch[i - 1];
        }
        if (x->columns)
            emr_encode_fold(r.sums, &e);
        r.tt += e.tt;
        r.tq += e.tq;
        r.qq += e.qq;
        r.rr += e.rr;
    }
    for (uint64_t j = 0; j < x->row_length; j++)
        r.column[j] = 1;
    if (!x->columns)
        return;
    fit.tt = r.tt;
    fit.tq = r.tq;
    fit.qq = r.qq;
    fit.rr = r.rr;
    emr_encode_columns(&fit);
    r.tq = fit.tq;
    r.qq = fit.qq;
    for (uint64_t j = 0; j < x->row_length; j++)
        r.column[j] = (double)emr_bf16_to_f32(emr_load16(columns + 2 * j));
}

/* What a code stands for, unscaled. */
static double value_of(const example *x, uint64_t i)
{
    if (x->kind == EMR_MODULATOR_KIND_LEVELS)
        return level_of(x->n_levels, r.code[i]);
    return !r.kept[i] ? 0 : r.code[i] ? 1 : -1;
}

static void assert_near(double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * fabs(b)))
        fail_msg("%.9g is not near %.9g", a, b);
}

static void check_codes(const example *x)
{
    for (uint64_t i = 0; i < x->rows * x->row_length; i++) {
        uint64_t run = x->kind == EMR_MODULATOR_KIND_THIN ? (x->flat + i) % 64 / x->thinning : i;
        uint32_t n = x->n_levels;
        if (x->kind != EMR_MODULATOR_KIND_LEVELS && r.kept[i])
            assert_int_equal(r.code[i], r.tau[i] > 0 || (r.tau[i] == 0 && run % 2 == 1));
        if (x->kind == EMR_MODULATOR_KIND_LEVELS && r.tau[i] == 0)
            assert_int_equal(r.code[i], n == 3 ? 1 : n / 2 - 1 + i % 2);
    }
}

/* The nearest level, where it is not a matter of rounding which one that is. */
static void check_nearest(const example *x, uint64_t first, uint64_t end, double rms)
{
    for (uint64_t i = first; i < end; i++) {
        double tau = (double)r.tau[i] / rms, level = level_of(x->n_levels, r.code[i]);
        for (uint32_t other = 0; other < x->n_levels; other++)
            assert_true(fabs(tau - level) <= fabs(tau - level_of(x->n_levels, other)) + 1e-5);
    }
}

/* The rules as modulator.h has them; mean and cap as docs/algorithm.md. */
static double scale_by_rule(const example *x, double n, double t1, double tt, double q1, double tq, double qq)
{
    double mean = t1 / n, unbiased = fmin(tt / t1, 4 * mean), q = x->thinning;
    if (x->kind == EMR_MODULATOR_KIND_LEVELS)
        return x->rescale == EMR_RESCALE_L1     ? t1 / q1
               : x->rescale == EMR_RESCALE_L2   ? tq / qq
               : x->rescale == EMR_RESCALE_NORM ? sqrt(tt / qq)
                                                : fmin(tt / tq, 4 * tq / qq);
    if (x->kind == EMR_MODULATOR_KIND_SIGN)
        q = 1;
    double part = fmin(fmax((n / q - 16) / 64, 0), 1);
    return x->rescale == EMR_RESCALE_L1      ? mean * q
           : x->rescale == EMR_RESCALE_L2    ? mean
           : x->rescale == EMR_RESCALE_NORM  ? sqrt(tt * q / n)
           : x->rescale == EMR_RESCALE_MIXED ? ((1 - part) * mean + part * unbiased) * q
                                             : unbiased * q;
}

static void check_scales(const example *x)
{
    uint64_t total = x->rows * x->row_length;
    for (uint64_t first = 0, end; first < total; first = end) {
        double t1 = 0, tt = 0, q1 = 0, tq = 0, qq = 0;
        for (end = first; end < total && r.stretch[end] == first; end++) {
            double tau = (double)r.tau[end], q = value_of(x, end);
            t1 += fabs(tau);
            tt += tau * tau;
            q1 += fabs(q);
            tq += q * tau;
            qq += q * q;
        }
        double n = (double)(end - first), wanted = t1 > 0 ? scale_by_rule(x, n, t1, tt, q1, tq, qq) : 0;
        assert_near(r.scale[first], fmin(wanted, 0x1.fep127), 0x1p-8 * 1.001);
        if (x->kind == EMR_MODULATOR_KIND_LEVELS && t1 > 0)
            check_nearest(x, first, end, sqrt(tt / n));
    }
}

/* The least error that columns can bring for these scales, times the rule's factor. */
static void check_columns(const example *x)
{
    double rr = 0, tt = 0, least = 0;
    for (uint64_t i = 0; i < x->rows * x->row_length; i++) {
        rr += r.scale[i] * r.scale[i] / (double)x->row_length;
        tt += (double)r.tau[i] * (double)r.tau[i];
    }
    for (int last = 0; last < 2; last++)
        for (uint64_t j = 0; j < x->row_length; j++) {
            double p = 0;
            for (uint64_t i = j; i < x->rows * x->row_length; i += x->row_length)
                p += r.scale[i] * fabs((double)r.tau[i]);
            double factor = x->rescale == EMR_RESCALE_NORM       ? sqrt(tt / least)
                            : x->rescale == EMR_RESCALE_UNBIASED ? fmin(tt / least, 4)
                                                                 : 1;
            if (last)
                assert_near(r.column[j], factor * p / rr, 0x1p-8 * 1.001);
            least += last ? 0 : p * p / rr;
        }
}

/* What the encoder says of its result against the result. */
static void check_fidelity(const example *x)
{
    double tt = 0, tq = 0, qq = 0;
    for (uint64_t i = 0; i < x->rows * x->row_length; i++) {
        double tau = (double)r.tau[i], v = value_of(x, i) * r.scale[i] * r.column[i % x->row_length];
        tt += tau * tau;
        tq += tau * v;
        qq += v * v;
    }
    assert_near(r.tt, tt, 1e-5);
    assert_near(r.tq, tq, 1e-5);
    assert_near(r.qq, qq,
                x->columns ? 0.02 : 1e-5); /* where a row is cut, its parts' scales differ a little */
}

static void check_example(const example *x)
{
    make_values(x);
    encode_example(x);
    check_codes(x);
    check_scales(x);
    if (x->columns)
        check_columns(x);
    check_fidelity(x);
}

static example random_example(emr_modulator_kind kind)
{
    static const uint32_t level_counts[] = {3, 4, 8, 16};
    static const double magnitudes[] = {1, 1e-3, 1e-18, 1e-30, 1e20, 1e30};
    static const emr_rescale rules[] = {EMR_RESCALE_L1, EMR_RESCALE_L2, EMR_RESCALE_NORM,
                                        EMR_RESCALE_UNBIASED, EMR_RESCALE_MIXED};
    example x = {.kind = kind, .row_length = row_lengths[(size_t)(uniform() * N_ROW_LENGTHS)], .thinning = 1};
    uint64_t most = 70000 / x.row_length;
    x.rows = 1 + (uint64_t)(uniform() * (double)(most < 200 ? most : 200));
    x.flat = 64 * (uint64_t)(uniform() * 1000) + ((uint64_t)(uniform() * 3) << 37);
    x.magnitude = magnitudes[(size_t)(uniform() * (kind == EMR_MODULATOR_KIND_SIGN ? 2 : 6))];
    x.rescale = rules[(size_t)(uniform() * (kind == EMR_MODULATOR_KIND_THIN ? 5 : 4))];
    x.columns = kind == EMR_MODULATOR_KIND_SIGN && uniform() < 0.5;
    if (kind == EMR_MODULATOR_KIND_THIN)
        x.thinning = 2u << (uint32_t)(uniform() * 5);
    if (kind == EMR_MODULATOR_KIND_LEVELS)
        x.n_levels = level_counts[(size_t)(uniform() * 4)];
    x.seed = (uint32_t)(uniform() * 0x1p32);
    return x;
}

static void check_kind(emr_modulator_kind kind)
{
    for (int i = 0; i < 60; i++) {
        example x = random_example(kind);
        check_example(&x);
    }
}

static void signs_are_the_definition(void **unused)
{
    (void)unused;
    check_kind(EMR_MODULATOR_KIND_SIGN);
}

static void thin_signs_are_the_definition(void **unused)
{
    (void)unused;
    check_kind(EMR_MODULATOR_KIND_THIN);
}

static void levels_are_the_definition(void **unused)
{
    (void)unused;
    check_kind(EMR_MODULATOR_KIND_LEVELS);
}

/* An item of a few numbers. */
static emr_encoding small_encoding(emr_modulator_kind kind, size_t n)
{
    static uint8_t codes[8192], scales[128];
    emr_encoding e = {.n = n,
                      .base = base,
                      .task = task,
                      .base_dtype = EMR_DTYPE_F32,
                      .task_dtype = EMR_DTYPE_F32,
                      .row_length = n,
                      .kind = kind,
                      .rescale = EMR_RESCALE_UNBIASED,
                      .tau = work,
                      .codes = codes,
                      .scales = scales};
    e.coding = (emr_coding){.rate = 64};
    return e;
}

static void nothing_changed_means_no_scale(void **unused)
{
    (void)unused;
    memset(base, 0, sizeof base);
    memset(task, 0, sizeof task);
    emr_encoding e = small_encoding(EMR_MODULATOR_KIND_SIGN, 100);
    emr_encode_item(&emr_kernels_c, &e);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(e.codes[i], i < 12 ? 0xaa : i == 12 ? 0x0a : 0);
    assert_int_equal(emr_load16(e.scales), 0);
    assert_true(e.tt == 0 && e.tq == 0 && e.qq == 0 && e.rr == 0);
    e = small_encoding(EMR_MODULATOR_KIND_LEVELS, 100);
    e.coding = (emr_coding){.rate = 128, .levels = emr_kind_levels(4)};
    e.n_levels = 4;
    emr_encode_item(&emr_kernels_c, &e);
    for (size_t i = 0; i < 25; i++)
        assert_int_equal(e.codes[i], 0x99); /* 1, 2, 1, 2 */
    assert_int_equal(emr_load16(e.scales), 0);
}

static void what_is_not_finite_is_bad_or_zero(void **unused)
{
    (void)unused;
    memset(base, 0, sizeof base);
    for (size_t i = 0; i < 100; i++)
        task[i] = (float)i - 50;
    task[70] = NAN;
    task[90] = INFINITY;
    emr_encoding e = small_encoding(EMR_MODULATOR_KIND_SIGN, 100);
    emr_encode_item(&emr_kernels_c, &e);
    assert_int_equal(e.bad, 70);
    e.zero_nonfinite = true;
    emr_encode_item(&emr_kernels_c, &e);
    assert_int_equal(e.bad, 100);
    assert_int_equal(e.zeroed, 2);
    assert_int_equal(e.codes[8], 0xbf); /* 70 is even */
    assert_int_equal(e.codes[11], 0xfb);
    assert_true(e.tt > 0 && e.tt < 1e6);
}

static void vectors_are_differences(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 300; i++) {
        base[i] = (float)normal();
        task[i] = (float)(normal() * (i % 3 == 0 ? 1e-3 : 1));
    }
    base[7] = 0;
    task[7] = 3.4e38f; /* BF16 does not reach so far */
    emr_encoding e = small_encoding(0, 300);
    e.coding.rate = 16 * 64;
    assert_int_equal(emr_encode_bytes(&e.coding, 300), 600);
    emr_encode_item(&emr_kernels_c, &e);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(emr_load16(e.codes + 2 * i), i == 7 ? 0x7f7f : emr_f32_to_bf16(task[i] - base[i]));
    assert_int_equal(e.n_stretches, 0);
    e.coding.rate = 32 * 64;
    emr_encode_item(&emr_kernels_c, &e);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(emr_load32(e.codes + 4 * i), emr_f32_bits(task[i] - base[i]));
    assert_true(e.tt == e.tq && e.tq == e.qq);
}

/* Products in f32 are lost: there are no scales of columns then, and what was known without them stays. */
static void columns_out_of_range_are_1(void **unused)
{
    (void)unused;
    static const double magnitudes[] = {1e-30, 1e30, 0};
    for (size_t i = 0; i < 3; i++) {
        example x = {.rows = 9,
                     .row_length = 100,
                     .kind = EMR_MODULATOR_KIND_SIGN,
                     .rescale = EMR_RESCALE_UNBIASED,
                     .thinning = 1,
                     .columns = true,
                     .magnitude = magnitudes[i]};
        make_values(&x);
        encode_example(&x);
        for (size_t j = 0; j < 100; j++)
            assert_true(r.column[j] == 1);
        check_scales(&x);
        check_fidelity(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_are_the_definition),          cmocka_unit_test(thin_signs_are_the_definition),
        cmocka_unit_test(levels_are_the_definition),         cmocka_unit_test(nothing_changed_means_no_scale),
        cmocka_unit_test(what_is_not_finite_is_bad_or_zero), cmocka_unit_test(vectors_are_differences),
        cmocka_unit_test(columns_out_of_range_are_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
