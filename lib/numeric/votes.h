/* votes.h - the kernels of methods that cut and elect (lib/method): keys that are collected
 * where a list is cut, and the sum of the inputs, or of those that agree. */
#ifndef EMR_NUMERIC_VOTES_H
#define EMR_NUMERIC_VOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input: which of its values x count, the others as 0; what they are multiplied by; and then its weight. Either all
 * voters of a vote have `kept`, or none. */
typedef struct emr_voter {
    const float *values;
    const uint16_t
        *kept; /* a bit a value, 16 in a word, the lowest first: 1 where it counts. NULL: the bounds say it */
    float above, below; /* its magnitude is larger, and smaller; -1 and infinity: all */
    float scale, weight;
} emr_voter;

/* Sums over voters, in their order, a number for each value; NULL: they begin and end within one call. */
typedef struct emr_vote_sums {
    float *total;
    float *plus, *minus;               /* of what is above and below 0, where a sign is elected */
    float *plus_weight, *minus_weight; /* of their weights, where that is normalized */
} emr_vote_sums;

typedef struct emr_vote {
    const emr_voter *voters;
    size_t first; /* of their values, bits and sums; a multiple of 16 */
    uint32_t n_voters;
    bool elects, normalizes;
    float divisor; /* where no sign is elected, but normalized */
    float lambda;
    emr_vote_sums sums;
    bool goes_on,
        is_open; /* with `sums`: there are voters before these; and after them, so that nothing comes out yet */
} emr_vote;

/* As positive floats the numbers of an interval of keys: those that are larger than `above`, but not larger than `most`. */
typedef struct emr_key_interval {
    float above, most;
} emr_key_interval;

typedef struct emr_vote_kernels {
    /* Copies the bits of those keys that lie in the interval, without their signs, to `inside`, which has room for n; returns
     * how many. Adds the number of larger ones to *n_larger. */
    size_t (*collect)(const float *keys, size_t n, emr_key_interval interval, uint32_t *inside,
                      size_t *n_larger);
    /* The formula of method/agreement.h for n values of the voters. */
    void (*mix)(const emr_vote *vote, size_t n, float *out);
} emr_vote_kernels;

extern const emr_vote_kernels emr_votes_c; /* the specification; hosted */

#endif
