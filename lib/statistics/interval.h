/* interval.h - where the k-th largest of keys lies, narrowed by histograms. Keys are the bits of floats >= 0, which, as
 * integers, order like the floats. */
#ifndef EMR_STATISTICS_INTERVAL_H
#define EMR_STATISTICS_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The k-th is one of `inside` keys in [low, high]; `above` keys are larger than high. */
typedef struct emr_interval {
    uint64_t above, inside;
    uint32_t low, high;
} emr_interval;

/* Of a histogram with 2^bits buckets over it: how far keys, less low, are shifted to give the bucket. */
static inline unsigned emr_interval_shift(const emr_interval *v, unsigned bits)
{
    unsigned shift = 0;
    while ((uint64_t)(v->high - v->low) >> shift >> bits)
        shift++;
    return shift;
}

/* Adds those of n keys that are inside to the buckets. */
void emr_interval_count(const emr_interval *interval, unsigned bits, const uint32_t *keys, size_t n,
                        uint64_t *buckets);

/* Narrows it to the bucket that holds the k-th. False: none does. */
bool emr_interval_narrow(emr_interval *interval, unsigned bits, const uint64_t *buckets, uint64_t k);

/* Keys of a sample: n_each that are side by side, and so perhaps alike, from each of n_groups places. */
typedef struct emr_sample {
    const uint32_t *keys;
    size_t n_groups, n_each;
} emr_sample;

/* Between which keys, both included, the k-th largest of `count` probably lies: three standard errors to both sides. */
void emr_interval_guess(const emr_sample *sample, uint64_t k, uint64_t count, uint32_t *low, uint32_t *high);

#endif
