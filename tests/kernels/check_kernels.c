/* check_kernels.c - every kernel variant against the C reference, bit for bit, on random and on nasty data:
 * all outputs, guard bytes around them, unaligned starts, odd lengths, every task count to 33 and some
 * beyond.
 *
 *     check_kernels [SEED]
 *     check_kernels --time
 *
 * A variant that this processor lacks is said to be skipped. Exits 77 if nothing was compared. With
 * EMR_EMULATED_AVX512 it checks that variant alone, its instructions emulated: see emulated/immintrin.h. */
#include "time_kernels.h"

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS_MAX = 130, GUARD = 64, N_MAX = EMR_CHUNK, SKIPPED = 77 };

static uint64_t state;

static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static size_t below(size_t n)
{
    return (size_t)(next() % n);
}

static bool chance(unsigned one_in)
{
    return below(one_in) == 0;
}

/* What kind of values a case has. */
typedef enum flavour { ORDINARY, SPREAD, TIES, TINY, HUGE_VALUES, ANY_BITS, N_FLAVOURS } flavour;

static const emr_dtype narrow_dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
static const emr_dtype all_dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};

static float ordinary(void)
{
    return (float)((double)(int64_t)next() * 0x1p-63);
}

static float value_of(flavour f)
{
    static const float nasty[] = {0.0f,   -0.0f,    1e-45f,   -1e-45f, 1e-39f, 3e38f,
                                  -3e38f, 65504.0f, 65520.0f, 1.0f,    -1.0f};
    switch (f) {
    case SPREAD: /* sums of narrow values round, so that their order shows */
        return ordinary() / (float)((uint64_t)1 << below(40));
    case TIES:
        return (float)((int)below(5) - 2) * 0.5f;
    case TINY:
        return ordinary() * 1e-38f;
    case HUGE_VALUES:
        return ordinary() * (chance(4) ? 3e38f : 1e30f);
    default:
        return chance(40) ? nasty[below(sizeof nasty / sizeof nasty[0])] : ordinary();
    }
}

static void fill(uint8_t *to, emr_dtype dtype, size_t n, flavour f)
{
    size_t size = emr_float_size(dtype);
    for (size_t i = 0; i < n; i++) {
        if (f == ANY_BITS && chance(50)) {
            uint64_t bits = next(); /* NaNs and infinities among them */
            memcpy(to + i * size, &bits, size);
        } else {
            float value = value_of(f == ANY_BITS ? ORDINARY : f);
            emr_store_f32(dtype, to + i * size, &value, 1);
        }
    }
}

/* Buffers of one case; each variant gets its own outputs. */
typedef struct outputs {
    uint8_t unified[N_MAX * 4 + 2 * GUARD];
    uint8_t masks[TASKS_MAX][N_MAX / 8 + 2 * GUARD];
    emr_chunk_task results[TASKS_MAX];
    size_t bad, bad_task;
} outputs;

static uint8_t sources[TASKS_MAX + 1][N_MAX * 8 + 16];
static outputs reference, other;

static void run_merge(const emr_kernels *k, emr_chunk c, outputs *o, size_t mask_offset)
{
    uint8_t *masks[TASKS_MAX];
    memset(o, 0xa5, sizeof *o);
    for (size_t t = 0; t < c.n_tasks; t++)
        masks[t] = o->masks[t] + GUARD + mask_offset;
    c.unified = o->unified + GUARD;
    c.masks = masks;
    c.results = o->results;
    k->merge(&c);
    o->bad = c.bad;
    o->bad_task = c.bad_task;
}

static bool same_double(double a, double b)
{
    return emr_f64_bits(a) == emr_f64_bits(b);
}

static bool same_sums(emr_sums a, emr_sums b)
{
    return same_double(a.t1, b.t1) && same_double(a.q1, b.q1) && same_double(a.tt, b.tt) &&
           same_double(a.tq, b.tq) && same_double(a.qq, b.qq) && same_double(a.rest, b.rest);
}

static bool same_outputs(const emr_chunk *c)
{
    if (reference.bad != other.bad || (reference.bad < c->n && reference.bad_task != other.bad_task))
        return false;
    if (reference.bad < c->n) /* refused: what was written means nothing, but for the guards */
        return memcmp(reference.unified + GUARD + c->n * 4, other.unified + GUARD + c->n * 4, GUARD) == 0;
    if (memcmp(reference.unified, other.unified, sizeof other.unified) != 0 ||
        memcmp(reference.masks, other.masks, sizeof other.masks) != 0)
        return false;
    for (size_t t = 0; t < c->n_tasks; t++) {
        const emr_chunk_task *a = &reference.results[t], *b = &other.results[t];
        if (!same_sums(a->sums, b->sums) || a->ones != b->ones || a->zeroed != b->zeroed ||
            a->nonzero != b->nonzero)
            return false;
    }
    return true;
}

/* Sums over ranges of a chunk that was merged: rows of a few parameters, long ones, and everything; of either side,
 * and whatever sums the merge itself took. */
static bool same_ranges(const emr_kernels *k, emr_chunk c)
{
    static const char *const names[] = {"l1", "l2", "all"};
    for (int i = 0; i < 12; i++) {
        emr_range r = {.task = below(c.n_tasks), .from = i ? below(c.n) : 0, .side = (emr_side)below(3)};
        size_t longest = c.n - r.from;
        r.to = r.from + (i ? 1 + below(i < 6 && longest > 100 ? 100 : longest) : c.n);
        c.summation = i % 2 ? (emr_summation)below(3) : c.summation;
        emr_sums a = emr_kernels_c.sum_range(&c, r), b = k->sum_range(&c, r);
        if (!same_sums(a, b)) {
            printf("%s: sums differ over [%zu, %zu) of %zu, %s, side %d, nearest %d\n", k->name, r.from, r.to,
                   c.n, names[c.summation], (int)r.side, c.nearest);
            return false;
        }
    }
    return true;
}

static bool check_merge(const emr_kernels *k, size_t n_tasks)
{
    const void *tasks[TASKS_MAX];
    emr_dtype dtypes[TASKS_MAX];
    flavour f = (flavour)below(N_FLAVOURS);
    bool mixed = chance(4), wide = chance(8);
    emr_dtype base_dtype = wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    emr_chunk c = {.n = chance(3)      ? 1 + below(300)
                        : n_tasks > 40 ? 1 + below(2000)
                                       : 1 + below(N_MAX),
                   .n_tasks = n_tasks};
    size_t offset = below(8);
    fill(sources[0] + offset, base_dtype, c.n, f);
    for (size_t t = 0; t < n_tasks; t++) {
        emr_dtype dtype = mixed ? (wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)]) : base_dtype;
        size_t at = below(8);
        fill(sources[t + 1] + at, dtype, c.n, f);
        if (dtype == base_dtype && chance(6))
            memcpy(sources[t + 1] + at, sources[0] + offset, c.n * emr_float_size(dtype));
        tasks[t] = chance(10) ? NULL : sources[t + 1] + at;
        dtypes[t] = dtype;
    }
    c.base = sources[0] + offset;
    c.base_dtype = base_dtype;
    c.tasks = tasks;
    c.task_dtypes = dtypes;
    c.unified_dtype = narrow_dtypes[below(3)];
    c.tie_negative = chance(2);
    c.zero_nonfinite = chance(2);
    c.nearest = chance(3);
    c.summation = chance(3) ? (emr_summation)below(3) : EMR_SUM_L1;
    c.skip_sums = chance(5);
    size_t mask_offset = below(8);
    run_merge(&emr_kernels_c, c, &reference, mask_offset);
    run_merge(k, c, &other, mask_offset);
    c.unified = reference.unified + GUARD;
    c.results = reference.results;
    if (same_outputs(&c))
        return reference.bad < c.n || same_ranges(k, c);
    printf("%s: merge differs: %zu parameters, %zu tasks, base %s, unified %s, flavour %d\n", k->name, c.n,
           n_tasks, emr_dtype_name(base_dtype), emr_dtype_name(c.unified_dtype), (int)f);
    return false;
}

/* Whether a variant applies a run, in which all but `out` is set, as the reference does. */
static bool same_apply(const emr_kernels *k, emr_run r, bool in_place, const char *values)
{
    static _Alignas(64) uint8_t a[N_MAX * 8 + 2 * GUARD], b[N_MAX * 8 + 2 * GUARD];
    const void *base = r.base;
    memset(a, 0x5a, sizeof a);
    memset(b, 0x5a, sizeof b);
    if (in_place) {
        memcpy(a + GUARD, base, r.n * emr_float_size(r.base_dtype));
        memcpy(b + GUARD, base, r.n * emr_float_size(r.base_dtype));
    }
    r.out = a + GUARD;
    r.base = in_place ? r.out : base;
    emr_kernels_c.mask.apply(&r);
    r.out = b + GUARD;
    r.base = in_place ? r.out : base;
    k->mask.apply(&r);
    if (memcmp(a, b, sizeof a) == 0)
        return true;
    printf("%s: apply differs: %zu parameters, base %s, out %s, unified %s, %s\n", k->name, r.n,
           emr_dtype_name(r.base_dtype), emr_dtype_name(r.out_dtype), emr_dtype_name(r.unified_dtype),
           values);
    return false;
}

static uint8_t unified_values[N_MAX * 4 + 8], mask[N_MAX / 8 + 16];

/* A run over values that are still to be filled in. */
static emr_run random_run(emr_dtype base, emr_dtype unified, emr_dtype out, size_t n)
{
    emr_run r = {.n = n, .first_code = below(64), .scales = {ordinary() * 2}};
    r.base_dtype = base;
    r.unified_dtype = unified;
    r.out_dtype = out;
    r.stream = chance(2); /* takes effect where the bits begin at a byte */
    r.first_code = chance(2) ? r.first_code / 8 * 8 : r.first_code;
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = (uint8_t)(next() >> 32);
    r.base = sources[0] + below(8);
    r.unified = unified_values + 1;
    r.codes = mask;
    return r;
}

static bool check_apply(const emr_kernels *k)
{
    char values[32];
    bool wide = chance(6);
    emr_dtype base = wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    emr_dtype out = chance(2) ? base : wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    emr_run r = random_run(base, narrow_dtypes[below(3)], out, 1 + below(chance(2) ? 200 : N_MAX));
    flavour f = (flavour)below(N_FLAVOURS);
    fill(sources[0] + ((const uint8_t *)r.base - sources[0]), base, r.n, f);
    fill(unified_values + 1, r.unified_dtype, r.n, f);
    snprintf(values, sizeof values, "flavour %d", (int)f);
    return same_apply(k, r, base == out && chance(2), values);
}

/* Values that seldom have a sum: NaNs of either sign with any payload, quiet or not; infinities; numbers. */
static void fill_nonfinite(uint8_t *to, emr_dtype dtype, size_t n)
{
    static const uint64_t exponents[] = {
        [EMR_DTYPE_F32] = 0x7f800000, [EMR_DTYPE_F16] = 0x7c00,   [EMR_DTYPE_BF16] = 0x7f80,
        [EMR_DTYPE_F8_E4M3] = 0x7f,   [EMR_DTYPE_F8_E5M2] = 0x7c, [EMR_DTYPE_F64] = (uint64_t)0x7ff << 52};
    size_t size = emr_float_size(dtype);
    for (size_t i = 0; i < n; i++) {
        float infinity = emr_f32_from_bits(0x7f800000), value = chance(2) ? infinity : ordinary();
        uint64_t nan = next() | exponents[dtype];
        value = chance(2) ? value : -value;
        if (chance(2))
            memcpy(to + i * size, &nan, size);
        else
            emr_store_f32(dtype, to + i * size, &value, 1);
    }
}

/* Where the mask is 1 every NaN is the same, where it is 0 it is the base's own. */
static bool check_nans(const emr_kernels *k, emr_dtype base, emr_dtype unified, emr_dtype out)
{
    emr_run r = random_run(base, unified, out, 1 + below(300));
    fill_nonfinite(sources[0] + ((const uint8_t *)r.base - sources[0]), base, r.n);
    fill_nonfinite(unified_values + 1, unified, r.n);
    r.scales[0] = chance(8) ? 0 : r.scales[0];
    return same_apply(k, r, base == out && chance(2), "not finite");
}

static bool same_lane(float a, float b)
{
    return a != a ? b != b : emr_f32_bits(a) == emr_f32_bits(b); /* of NaNs the payload may differ */
}

/* Lanes that go on from whatever they hold, with guards, vectors apart, and a kernel that may not read past
 * what it is given. */
static bool check_dot(const emr_kernels *k)
{
    enum { STRIDE_MAX = EMR_DOT_COLUMNS + 40 };
    static float x[EMR_DOT_VECTORS * STRIDE_MAX + 1], a[EMR_DOT_VECTORS + 1][EMR_LANES],
        b[EMR_DOT_VECTORS + 1][EMR_LANES];
    static uint8_t unified[EMR_DOT_COLUMNS * 4 + 8];
    uint32_t masks[EMR_DOT_VECTORS * EMR_DOT_WORDS];
    float rescalers[EMR_DOT_VECTORS];
    emr_dtype base = chance(6) ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    flavour f = (flavour)below(N_FLAVOURS);
    emr_dot d = {.n = (1 + below(EMR_DOT_COLUMNS / EMR_LANES)) * EMR_LANES,
                 .n_vectors = 1 + below(EMR_DOT_VECTORS),
                 .base = sources[0] + below(8),
                 .unified = unified + below(8),
                 .codes = masks,
                 .scales = rescalers,
                 .x = x + 1,
                 .base_dtype = base,
                 .unified_dtype = narrow_dtypes[below(3)],
                 .shared = chance(2)};
    d.stride = d.n + below(40);
    fill(sources[0] + ((const uint8_t *)d.base - sources[0]), base, d.n, f);
    fill(unified + ((const uint8_t *)d.unified - unified), d.unified_dtype, d.n,
         f == ANY_BITS ? ORDINARY : f);
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++)
        masks[i] = (uint32_t)(next() >> 32);
    for (size_t i = 0; i < EMR_DOT_VECTORS; i++)
        rescalers[i] = ordinary() * 2;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = value_of(f == ANY_BITS ? ORDINARY : f);
    for (size_t v = 0; v <= EMR_DOT_VECTORS; v++)
        for (size_t j = 0; j < EMR_LANES; j++)
            a[v][j] = b[v][j] = v < d.n_vectors ? ordinary() : (float)v;
    d.lanes = a;
    emr_kernels_c.mask.dot(&d);
    d.lanes = b;
    k->mask.dot(&d);
    for (size_t v = 0; v <= EMR_DOT_VECTORS; v++)
        for (size_t j = 0; j < EMR_LANES; j++)
            if (!same_lane(a[v][j], b[v][j])) {
                printf(
                    "%s: dot differs: %zu columns, %zu vectors, base %s, unified %s, shared %d, flavour %d\n",
                    k->name, d.n, d.n_vectors, emr_dtype_name(base), emr_dtype_name(d.unified_dtype),
                    d.shared, (int)f);
                return false;
            }
    return true;
}

/* Buffers of a conversion, with room for all codes of 16 bits. */
static uint8_t from_bytes[65536 * 8 + 8], to_a[65536 * 8 + 2 * GUARD], to_b[65536 * 8 + 2 * GUARD];

static bool same_conversion(const emr_kernels *k, emr_dtype to, emr_dtype from, const uint8_t *source,
                            size_t n)
{
    size_t offset = below(8);
    memset(to_a, 0x5a, sizeof to_a);
    memset(to_b, 0x5a, sizeof to_b);
    emr_kernels_c.convert(to, to_a + GUARD + offset, from, source, n);
    k->convert(to, to_b + GUARD + offset, from, source, n);
    if (memcmp(to_a, to_b, sizeof to_a) == 0)
        return true;
    printf("%s: conversion differs: %zu elements, %s to %s\n", k->name, n, emr_dtype_name(from),
           emr_dtype_name(to));
    return false;
}

/* Values of any kind, and plain random bits: every payload of a NaN there is, sooner or later. */
static bool check_convert(const emr_kernels *k)
{
    emr_dtype from = chance(4) ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    emr_dtype to = chance(4) ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    size_t n = below(chance(2) ? 100 : 3000), offset = below(8);
    fill(from_bytes + offset, from, n, (flavour)below(N_FLAVOURS));
    for (size_t i = 0; chance(2) && i < sizeof from_bytes; i++)
        from_bytes[i] = (uint8_t)(next() >> 32);
    return same_conversion(k, to, from, from_bytes + offset, n);
}

/* Every code of both dtypes of 16 bits to every other. */
static bool check_all_codes(const emr_kernels *k)
{
    bool same = true;
    for (size_t i = 0; i < 65536; i++)
        emr_store16(from_bytes + 2 * i, (uint16_t)i);
    for (size_t from = 1; from < 3; from++)
        for (size_t to = 0; to < 3; to++)
            same = same && same_conversion(k, narrow_dtypes[to], narrow_dtypes[from], from_bytes, 65536);
    return same;
}

typedef struct counts {
    size_t passed, failed;
} counts;

static void count(counts *n, bool passed)
{
    if (passed)
        n->passed++;
    else
        n->failed++;
}

static counts check_variant(const emr_kernels *k)
{
    static const size_t many[] = {63, 64, 65, 127, 128, 130};
    counts n = {0, 0};
    for (size_t n_tasks = 1; n_tasks <= 33; n_tasks++)
        for (int i = 0; i < 16; i++)
            count(&n, check_merge(k, n_tasks));
    for (size_t i = 0; i < 2 * sizeof many / sizeof many[0]; i++)
        count(&n, check_merge(k, many[i / 2]));
    for (int i = 0; i < 600; i++)
        count(&n, check_apply(k));
    for (size_t i = 0; i < 8 * 6 * 6 * 3; i++)
        count(&n, check_nans(k, all_dtypes[i % 6], narrow_dtypes[i / 36 % 3], all_dtypes[i / 6 % 6]));
    for (int i = 0; i < 600; i++)
        count(&n, check_dot(k));
    for (int i = 0; i < 400; i++)
        count(&n, check_convert(k));
    count(&n, check_all_codes(k));
    return n;
}

#ifdef EMR_EMULATED_AVX512

static const emr_kernels *const emulated[] = {&emr_kernels_c, &emr_kernels_avx512, NULL};

static const emr_kernels *const *variants(void)
{
    return emulated;
}

static bool runs(const emr_kernels *k)
{
    return k != NULL;
}

static const char how[] = " (EMULATED by SIMDe in portable C, not run on a processor that has it)";

#else

static const emr_kernels *const *variants(void)
{
    return emr_kernels_built();
}

static bool runs(const emr_kernels *k)
{
    const emr_kernels *const *available = emr_kernels_available();
    while (*available && *available != k)
        available++;
    return *available;
}

static const char how[] = "";

#endif

int main(int argc, char **argv)
{
    counts all = {0, 0};
    size_t skipped = 0;
    bool timing = argc > 1 && strcmp(argv[1], "--time") == 0;
    state = argc > 1 && !timing ? strtoull(argv[1], NULL, 10) * 2 + 1 : 0x9e3779b97f4a7c15u;
    for (const emr_kernels *const *k = variants(); *k; k++) {
        if (!runs(*k)) {
            printf("%s: skipped, this processor does not have it\n", (*k)->name);
            skipped++;
        } else if (timing) {
            time_kernels(*k);
        } else if (*k != &emr_kernels_c) {
            counts n = check_variant(*k);
            printf("%s%s: %zu comparisons with the C reference, %zu failed\n", (*k)->name, how,
                   n.passed + n.failed, n.failed);
            all.passed += n.passed;
            all.failed += n.failed;
        }
    }
    if (timing)
        return 0;
    printf("%zu passed, %zu failed, %zu variants skipped\n", all.passed, all.failed, skipped);
    if (!all.passed && !all.failed) {
        puts("this machine runs the C reference alone: nothing to compare");
        return SKIPPED;
    }
    return all.failed != 0;
}
