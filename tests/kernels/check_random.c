/* check_random.c - see check_random.h. Any first position, also where the counter's lower half overflows; any length;
 * guards around what is written. */
#include "check_random.h"

#include "core/bytes.h"
#include "numeric/philox.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST = 1500, AROUND = 16 };

static float values[LONGEST], reference[LONGEST + 2 * AROUND], other[LONGEST + 2 * AROUND];

static uint64_t some_position(void)
{
    const uint64_t wraps = (uint64_t)1 << 34;
    return chance(3) ? wraps - below(1000) : chance(3) ? next_bits() >> 2 : below(100);
}

static emr_random_draw some_draw(void)
{
    uint64_t threshold = chance(5) ? 0 : chance(5) ? (uint64_t)1 << 32 : next_bits() >> 32;
    return (emr_random_draw){.key = next_bits(),
                             .first = some_position(),
                             .n = below(chance(2) ? 70 : LONGEST),
                             .threshold = threshold,
                             .scale = ordinary() + 2,
                             .divides = chance(2),
                             .weight = ordinary()};
}

static void reset_outputs(void)
{
    memset(reference, 0x5a, sizeof reference);
    memset(other, 0x5a, sizeof other);
}

static bool same_words(const emr_random_kernels *own, const emr_random_draw *d)
{
    reset_outputs();
    emr_random_c.words(d->key, d->first, d->n, (uint32_t *)(void *)(reference + AROUND));
    own->words(d->key, d->first, d->n, (uint32_t *)(void *)(other + AROUND));
    return memcmp(reference, other, sizeof other) == 0;
}

static bool same_kept(const emr_random_kernels *own, const emr_random_draw *d)
{
    reset_outputs();
    emr_random_c.keep(d, values, reference + AROUND);
    own->keep(d, values, other + AROUND);
    bool same = memcmp(reference, other, sizeof other) == 0;
    memcpy(other + AROUND, values, d->n * sizeof *values);
    own->keep(d, other + AROUND, other + AROUND);
    return same && memcmp(reference, other, sizeof other) == 0;
}

static bool same_totals(const emr_random_kernels *own, const emr_random_draw *d)
{
    reset_outputs();
    for (size_t i = 0; i < d->n; i++)
        reference[AROUND + i] = other[AROUND + i] = ordinary();
    emr_random_c.add(d, values, reference + AROUND);
    own->add(d, values, other + AROUND);
    return memcmp(reference, other, sizeof other) == 0;
}

static bool same_magnitudes(const emr_random_kernels *own, const emr_random_draw *d)
{
    double a[2] = {1, 2}, b[2] = {1, 2};
    emr_random_c.sums(d, values, a);
    own->sums(d, values, b);
    return emr_f64_bits(a[0]) == emr_f64_bits(b[0]) && emr_f64_bits(a[1]) == emr_f64_bits(b[1]);
}

void check_random(const emr_kernels *kernels, counts *n)
{
    const emr_random_kernels own = emr_random_kernels_of(kernels);
    for (int i = 0; i < 600; i++) {
        emr_random_draw d = some_draw();
        flavour f = (flavour)below(ANY_BITS);
        for (size_t k = 0; k < LONGEST; k++)
            values[k] = value_of(f);
        bool words = same_words(&own, &d), kept = same_kept(&own, &d), sums = same_magnitudes(&own, &d);
        bool totals = same_totals(&own, &d);
        count(n, words && kept && totals && sums);
        if (!words || !kept || !totals || !sums)
            printf("%s: random numbers differ: words %d, kept %d, totals %d, sums %d; %zu from %llu, flavour "
                   "%d\n",
                   kernels->name, !words, !kept, !totals, !sums, d.n, (unsigned long long)d.first, (int)f);
    }
}
