/* votes.h - the kernels of methods that cut and elect (lib/method): keys that are collected
 * where a list is cut, and the sum of the inputs, or of those that agree. */
#ifndef EMR_NUMERIC_VOTES_H
#define EMR_NUMERIC_VOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input. Values that do not count are 0; the others are multiplied by `scale`, and then by the weight. Either all voters of
 * a vote have `kept`, or none. */
typedef struct emr_voter {
    const float *values;
    const uint16_t *kept; /* which count: a bit a value, 16 in a word, the lowest first; or NULL: */
    float above, below;   /* those of a magnitude between these; -1 and infinity: all */
    float scale, weight;
} emr_voter;

/* Sums over voters, in their order: a number for each value. */
typedef struct emr_vote_sums {
    float *total;
    float *plus, *minus;               /* of what is above and below 0, where a sign is elected */
    float *plus_weight, *minus_weight; /* of their weights, where that is normalized */
} emr_vote_sums;

typedef struct emr_vote {
    const emr_voter *voters;
    size_t first; /* of their values, bits and sums; where there are bits, a multiple of 16 */
    uint32_t n_voters;
    bool elects, normalizes;
    float divisor; /* of the total, if normalized */
    float lambda;
    emr_vote_sums sums; /* of voters that are not seen in one call: */
    bool goes_on;       /* they begin as those before have left them, */
    bool is_open;       /* and wait for those to come, and there is no `out` yet */
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
