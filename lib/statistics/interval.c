/* interval.c - see interval.h. */
#include "statistics/interval.h"

#include "numeric/root.h"

#include <string.h>

enum { BITS = 11, SIGMAS = 3, LEAST_MARGIN = 6 /* ranks */ };

void emr_interval_count(const emr_interval *v, unsigned bits, const uint32_t *keys, size_t n,
                        uint64_t *buckets)
{
    unsigned shift = emr_interval_shift(v, bits);
    uint32_t low = v->low, width = v->high - v->low;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = keys[i] - low;
        if (at <= width)
            buckets[at >> shift]++;
    }
}

bool emr_interval_narrow(emr_interval *v, unsigned bits, const uint64_t *buckets, uint64_t k)
{
    unsigned shift = emr_interval_shift(v, bits);
    uint64_t above = v->above;
    for (uint64_t b = ((uint64_t)(v->high - v->low) >> shift) + 1; b-- > 0; above += buckets[b]) {
        if (above + buckets[b] < k)
            continue;
        uint64_t low = v->low + (b << shift), high = low + (((uint64_t)1 << shift) - 1);
        *v = (emr_interval){.above = above,
                            .inside = buckets[b],
                            .low = (uint32_t)low,
                            .high = high < v->high ? (uint32_t)high : v->high};
        return above < k;
    }
    return false;
}

/* ---- a guess: ranks need not be exact, so one histogram of the sample does */

static emr_interval range_of_keys(const uint32_t *keys, size_t n)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t i = 0; i < n; i++) {
        least = keys[i] < least ? keys[i] : least;
        most = keys[i] > most ? keys[i] : most;
    }
    return (emr_interval){.inside = n, .low = least, .high = most};
}

static size_t count_larger(const uint32_t *keys, size_t n, uint32_t than)
{
    size_t larger = 0;
    for (size_t i = 0; i < n; i++)
        larger += keys[i] > than;
    return larger;
}

/* The standard error of the number of keys in the sample that are larger than `than`: from how much groups differ. */
static double error_of_rank(const emr_sample *s, uint32_t than)
{
    double sum = 0, squares = 0, n = (double)s->n_groups;
    for (size_t g = 0; g < s->n_groups; g++) {
        double larger = (double)count_larger(s->keys + g * s->n_each, s->n_each, than);
        sum += larger;
        squares += larger * larger;
    }
    double variance = squares - sum * sum / n;
    return variance > 0 ? emr_square_root(variance * n / (n - 1)) : 0;
}

/* The bucket of the key of that rank, 1 being the largest. */
static emr_interval bucket_of_rank(emr_interval range, const uint64_t *buckets, double rank)
{
    emr_interval_narrow(&range, BITS, buckets, rank < 1 ? 1 : (uint64_t)rank);
    return range;
}

/* The smallest interval that holds the same keys. */
static void tighten_interval(const uint32_t *keys, size_t n, uint32_t *low, uint32_t *high)
{
    uint32_t least = *high, most = *low;
    for (size_t i = 0; i < n; i++) {
        least = keys[i] >= *low && keys[i] < least ? keys[i] : least;
        most = keys[i] <= *high && keys[i] > most ? keys[i] : most;
    }
    *low = least;
    *high = most;
}

void emr_interval_guess(const emr_sample *s, uint64_t k, uint64_t count, uint32_t *low, uint32_t *high)
{
    size_t n = s->n_groups * s->n_each;
    uint64_t buckets[1 << BITS];
    emr_interval range = range_of_keys(s->keys, n);
    double rank = (double)k / (double)count * (double)n;
    memset(buckets, 0, sizeof buckets);
    emr_interval_count(&range, BITS, s->keys, n, buckets);
    double margin = SIGMAS * error_of_rank(s, bucket_of_rank(range, buckets, rank).high) + LEAST_MARGIN;
    *high = bucket_of_rank(range, buckets, rank - margin).high;
    *low = rank + margin > (double)n ? range.low : bucket_of_rank(range, buckets, rank + margin).low;
    tighten_interval(s->keys, n, low, high);
    if (rank - margin < 1)
        *high = UINT32_MAX;
    if (rank + margin > (double)n)
        *low = 0;
}
