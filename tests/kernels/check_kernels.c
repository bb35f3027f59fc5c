/* check_kernels.c - every kernel variant against the C reference, bit for bit, on random and on nasty data:
 * all outputs, guard bytes around them, unaligned starts, odd lengths, every task count to 33 and some
 * beyond.
 *
 *     check_kernels [SEED]
 *     check_kernels --time
 *
 * A variant that this processor lacks is said to be skipped. Exits 77 if nothing was compared. With
 * EMR_EMULATED_AVX512 it checks that variant alone, its instructions emulated: see emulated/immintrin.h. */
#include "check_blocks.h"
#include "check_codes.h"
#include "check_dots.h"
#include "check_encode.h"
#include "check_pairs.h"
#include "check_random.h"
#include "check_votes.h"
#include "time_kernels.h"
#include "values.h"

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS_MAX = 130, GUARD = 64, N_MAX = EMR_CHUNK, SKIPPED = 77 };

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
    fill_values(sources[0] + offset, base_dtype, c.n, f);
    for (size_t t = 0; t < n_tasks; t++) {
        emr_dtype dtype = mixed ? (wide ? all_dtypes[below(6)] : narrow_dtypes[below(3)]) : base_dtype;
        size_t at = below(8);
        fill_values(sources[t + 1] + at, dtype, c.n, f);
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
    printf("%s: merge differs: %zu parameters, %zu tasks, base %s, unified %s, flavour %d, summation %d, "
           "nearest %d\n",
           k->name, c.n, n_tasks, emr_dtype_name(base_dtype), emr_dtype_name(c.unified_dtype), (int)f,
           (int)c.summation, c.nearest);
    return false;
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
/* Differences that are finite or not, in place or not. */
static bool check_subtract(const emr_kernels *k)
{
    static float values[203], base[203], a[203], b[203];
    bool right = true;
    for (size_t n = 0; n <= 200; n++)
        for (int odd = 0; odd < 4; odd++) {
            for (size_t i = 0; i < 203; i++) {
                values[i] = (float)((i * 37 + n) % 101) / 7;
                base[i] = (float)((i * 53 + n) % 97) / 3;
            }
            if (odd && n)
                values[1 + (n * 7 + 3) % n] = odd == 1 ? INFINITY : odd == 2 ? NAN : 3e38f;
            if (odd == 3 && n)
                base[1 + (n * 7 + 3) % n] = -3e38f;
            memcpy(b, values, sizeof b);
            bool finite = emr_kernels_c.subtract(a + 1, values + 1, base + 1, n);
            right = right && finite == !(odd && n) && k->subtract(b + 1, b + 1, base + 1, n) == finite;
            for (size_t i = 1; i <= n; i++)
                right = right && (a[i] != a[i] ? b[i] != b[i] : memcmp(&a[i], &b[i], sizeof a[i]) == 0);
        }
    if (!right)
        printf("%s: subtract differs\n", k->name);
    return right;
}

static bool check_convert(const emr_kernels *k)
{
    emr_dtype from = chance(4) ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    emr_dtype to = chance(4) ? all_dtypes[below(6)] : narrow_dtypes[below(3)];
    size_t n = below(chance(2) ? 100 : 3000), offset = below(8);
    fill_values(from_bytes + offset, from, n, (flavour)below(N_FLAVOURS));
    for (size_t i = 0; chance(2) && i < sizeof from_bytes; i++)
        from_bytes[i] = (uint8_t)(next_bits() >> 32);
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

static counts check_variant(const emr_kernels *k)
{
    static const size_t many[] = {63, 64, 65, 127, 128, 130};
    counts n = {0, 0};
    for (size_t n_tasks = 1; n_tasks <= 33; n_tasks++)
        for (int i = 0; i < 16; i++)
            count(&n, check_merge(k, n_tasks));
    for (size_t i = 0; i < 2 * sizeof many / sizeof many[0]; i++)
        count(&n, check_merge(k, many[i / 2]));
    check_codes(k, &n);
    check_dots(k, &n);
    check_encode(k, &n);
    check_pairs(k, &n);
    check_random(k, &n);
    check_votes(k, &n);
    check_blocks(k, &n);
    for (int i = 0; i < 400; i++)
        count(&n, check_convert(k));
    count(&n, check_subtract(k));
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
    begin_values(argc > 1 && !timing ? strtoull(argv[1], NULL, 10) * 2 + 1 : 0x9e3779b97f4a7c15u);
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
