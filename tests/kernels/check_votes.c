/* check_votes.c - see check_votes.h. All lengths, one voter to eleven, with bounds and without, sums that overflow. What is
 * read ends where its memory does. */
#include "check_votes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOTE_CASES = 2000, VOTED_MAX = 700, VOTERS_MAX = 11 };

static float *floats_at_an_end(size_t n, flavour f)
{
    float *p = malloc(n * sizeof *p);
    if (!p)
        abort();
    fill_values((uint8_t *)p, EMR_DTYPE_F32, n, f);
    return p;
}

static float some_bound(const float *values, size_t n)
{
    return fabsf(values[below(n)]);
}

static bool same_election(const emr_kernels *kernels, size_t n)
{
    static float got[VOTED_MAX], want[VOTED_MAX];
    emr_voter voters[VOTERS_MAX];
    emr_vote vote = {.voters = voters,
                     .first = below(n),
                     .n_voters = (uint32_t)(1 + below(VOTERS_MAX)),
                     .normalizes = chance(2),
                     .lambda = chance(2) ? 1 : ordinary()};
    bool limits = chance(2);
    float *values[VOTERS_MAX];
    flavour f = (flavour)below(ANY_BITS);
    for (uint32_t v = 0; v < vote.n_voters; v++) {
        values[v] = floats_at_an_end(n, f);
        voters[v] = (emr_voter){.values = values[v],
                                .above = chance(3) ? -1 : some_bound(values[v], n),
                                .below = limits && chance(2) ? some_bound(values[v], n) : INFINITY,
                                .weight = chance(3) ? 1 : ordinary()};
    }
    emr_votes_c.elect(&vote, n - vote.first, want);
    kernels->votes.elect(&vote, n - vote.first, got);
    for (uint32_t v = 0; v < vote.n_voters; v++)
        free(values[v]);
    return memcmp(got, want, (n - vote.first) * sizeof *got) == 0;
}

static bool same_collection(const emr_kernels *kernels, size_t n)
{
    static uint32_t got[VOTED_MAX], want[VOTED_MAX];
    float *keys = floats_at_an_end(n, (flavour)below(ANY_BITS));
    emr_key_interval interval = {chance(8) ? -1 : some_bound(keys, n),
                                 chance(8) ? INFINITY : some_bound(keys, n)};
    size_t larger = 5, larger_wanted = 5;
    size_t n_got = kernels->votes.collect(keys, n, interval, got, &larger);
    size_t n_wanted = emr_votes_c.collect(keys, n, interval, want, &larger_wanted);
    free(keys);
    return n_got == n_wanted && larger == larger_wanted && memcmp(got, want, n_got * sizeof *got) == 0;
}

void check_votes(const emr_kernels *kernels, counts *n)
{
    for (size_t i = 0; kernels->votes.elect && i < VOTE_CASES; i++) {
        size_t length = 1 + below(VOTED_MAX);
        bool election = same_election(kernels, length), collection = same_collection(kernels, length);
        if (!election || !collection)
            printf("%s: votes: %zu values: %s%sdiffer\n", kernels->name, length, election ? "" : "elected ",
                   collection ? "" : "collected ");
        count(n, election && collection);
    }
}
