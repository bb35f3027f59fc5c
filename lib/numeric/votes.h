/* votes.h - the kernels of methods that cut and elect (lib/method): keys that are collected
 * where a list is cut, and the sum of the inputs that agree. */
#ifndef EMR_NUMERIC_VOTES_H
#define EMR_NUMERIC_VOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input: of its values x those count whose magnitude is larger than `above` and smaller than `below`, the others as 0. */
typedef struct emr_voter {
    const float *values;
    float above, below; /* -1 and infinity: all */
    float weight;
} emr_voter;

typedef struct emr_vote {
    const emr_voter *voters; /* in the order of their sums */
    size_t first;            /* of their values */
    uint32_t n_voters;
    bool normalizes;
    float lambda;
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
    /* The formula of method/agreement.h with an election, for n values of the voters. */
    void (*elect)(const emr_vote *vote, size_t n, float *out);
} emr_vote_kernels;

extern const emr_vote_kernels emr_votes_c; /* the specification; hosted */

#endif
