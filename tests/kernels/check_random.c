/* check_random.c - see check_random.h. Any first position, also where the counter's lower half overflows; any length;
 * guards around what is written. Thresholds leave the lower bits of a word to decide in many ways: how often they did is
 * counted, so that no run passes without. */
#include "check_random.h"

#include "core/bytes.h"
#include "numeric/philox.h"

#include <stdio.h>
#include <string.h>

enum { LONGEST = 1500, AROUND = 16, RANDOM_CASES = 600, FEWEST_TIES = 200 };

static float values[LONGEST];
static uint32_t words[2][LONGEST + 2 * AROUND];
static uint16_t bits[2][LONGEST / 16 + 2 * AROUND];

static uint64_t some_position(void)
{
    const uint64_t wraps = (uint64_t)1 << (chance(2) ? 34 : 36);
    uint64_t position = chance(3) ? wraps - below(LONGEST) : chance(3) ? next_bits() >> 2 : below(1000);
    return chance(2) ? position : position / 16 * 16;
}

/* Of some, all or none of the lower bits are 0, or 1: what is open after the byte then goes, or mostly stays. */
static uint64_t some_threshold(void)
{
    uint64_t any = next_bits() >> 32;
    switch (below(6)) {
    case 0:
        return any & 0xff000000;
    case 1:
        return any | 0xffffff;
    case 2:
        return chance(2) ? 0 : (uint64_t)1 << 32;
    case 3:
        return chance(2) ? any & 0xffffff : any | 0xff000000;
    default:
        return any;
    }
}

static emr_random_draw some_draw(void)
{
    return (emr_random_draw){.key = next_bits(),
                             .threshold = some_threshold(),
                             .first = some_position(),
                             .n = below(chance(2) ? 70 : LONGEST)};
}

static void reset_outputs(void)
{
    memset(words, 0x5a, sizeof words);
    memset(bits, 0x5a, sizeof bits);
}

static bool same_words(const emr_random_kernels *own, const emr_random_draw *d)
{
    emr_random_c.words(d->key, d->first, d->n, words[0] + AROUND);
    own->words(d->key, d->first, d->n, words[1] + AROUND);
    return memcmp(words[0], words[1], sizeof words[0]) == 0;
}

/* Of the reference, too, against the words. */
static bool same_choice(const emr_random_kernels *own, const emr_random_draw *d, size_t *ties)
{
    emr_random_c.choose(d, bits[0] + AROUND);
    own->choose(d, bits[1] + AROUND);
    bool same = memcmp(bits[0], bits[1], sizeof bits[0]) == 0;
    for (size_t i = 0; i < d->n; i++) {
        uint32_t word = words[0][AROUND + i];
        same = same && (bits[0][AROUND + i / 16] >> i % 16 & 1) == (word < d->threshold);
        *ties += word >> 24 == d->threshold >> 24 && d->first % 16 == 0;
    }
    return same;
}

static bool same_norms(const emr_random_kernels *own, size_t n)
{
    double a[2] = {1, 2}, b[2] = {1, 2};
    emr_random_c.sums(values, bits[0] + AROUND, n, a);
    own->sums(values, bits[0] + AROUND, n, b);
    return emr_f64_bits(a[0]) == emr_f64_bits(b[0]) && emr_f64_bits(a[1]) == emr_f64_bits(b[1]);
}

void check_random(const emr_kernels *kernels, counts *n)
{
    const emr_random_kernels own = emr_random_kernels_of(kernels);
    size_t ties = 0;
    for (int i = 0; i < RANDOM_CASES; i++) {
        emr_random_draw d = some_draw();
        flavour f = (flavour)below(ANY_BITS);
        for (size_t k = 0; k < LONGEST; k++)
            values[k] = value_of(f);
        reset_outputs();
        bool drawn = same_words(&own, &d), chosen = same_choice(&own, &d, &ties);
        bool norms = same_norms(&own, d.n);
        count(n, drawn && chosen && norms);
        if (!drawn || !chosen || !norms)
            printf("%s: random numbers differ: words %d, choice %d, norms %d; %zu from %llu below %llx, "
                   "flavour %d\n",
                   kernels->name, !drawn, !chosen, !norms, d.n, (unsigned long long)d.first,
                   (unsigned long long)d.threshold, (int)f);
    }
    count(n, ties >= FEWEST_TIES);
    if (ties < FEWEST_TIES)
        printf("%s: random numbers: only %zu words were left open by their bytes\n", kernels->name, ties);
}
