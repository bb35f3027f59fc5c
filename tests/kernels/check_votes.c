/* check_votes.c - see check_votes.h. All lengths, one voter to eleven, with bounds, with bits and without, sums that overflow,
 * sums that go on. What is read ends where its memory does. */
#include "check_votes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOTE_CASES = 2000, VOTED_MAX = 700, VOTERS_MAX = 11, SUMS = 5 };

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

/* Sums that go on and wait, where they do. */
static emr_vote_sums some_sums(float memory[SUMS][VOTED_MAX])
{
    for (size_t k = 0; k < SUMS; k++)
        for (size_t i = 0; i < VOTED_MAX; i++)
            memory[k][i] = ordinary();
    return (emr_vote_sums){memory[0], memory[1], memory[2], memory[3], memory[4]};
}

/* Some voters have bits, or bounds, or neither. */
static emr_voter some_voter(float *values, const uint16_t *kept, size_t n, bool limits, bool scales)
{
    return (emr_voter){.values = values,
                       .kept = kept,
                       .above = chance(3) ? -1 : some_bound(values, n),
                       .below = limits && chance(2) ? some_bound(values, n) : INFINITY,
                       .scale = scales ? ordinary() : 1,
                       .weight = chance(3) ? 1 : ordinary()};
}

static emr_vote some_vote(const emr_voter *voters, size_t n, bool has_bits)
{
    size_t first = below(n);
    return (emr_vote){.voters = voters,
                      .first = has_bits ? first / 16 * 16 : first,
                      .n_voters = (uint32_t)(1 + below(VOTERS_MAX)),
                      .elects = !chance(3),
                      .normalizes = chance(2),
                      .divisor = ordinary() + 3,
                      .lambda = chance(2) ? 1 : ordinary(),
                      .goes_on = chance(3),
                      .is_open = chance(3)};
}

static bool same_vote(const emr_kernels *kernels, size_t n)
{
    static float got[SUMS + 1][VOTED_MAX], want[SUMS + 1][VOTED_MAX];
    emr_voter voters[VOTERS_MAX];
    bool all = chance(4), limits = !all && chance(2), has_bits = chance(2), scales = chance(2);
    emr_vote vote = some_vote(voters, n, has_bits);
    float *values[VOTERS_MAX];
    uint16_t kept[VOTERS_MAX][VOTED_MAX / 16 + 1];
    flavour f = (flavour)below(ANY_BITS);
    for (uint32_t v = 0; v < vote.n_voters; v++) {
        values[v] = floats_at_an_end(n, f);
        for (size_t i = 0; i < sizeof kept[v] / sizeof *kept[v]; i++)
            kept[v][i] = (uint16_t)next_bits();
        voters[v] = some_voter(values[v], has_bits ? kept[v] : NULL, n, limits, scales);
        voters[v].above = all ? -1 : voters[v].above;
    }
    vote.sums = some_sums(want);
    memset(want[SUMS], 0, sizeof want[SUMS]);
    memcpy(got, want, sizeof got);
    emr_votes_c.mix(&vote, n - vote.first, want[SUMS]);
    vote.sums = (emr_vote_sums){got[0], got[1], got[2], got[3], got[4]};
    kernels->votes.mix(&vote, n - vote.first, got[SUMS]);
    for (uint32_t v = 0; v < vote.n_voters; v++)
        free(values[v]);
    return memcmp(got, want, sizeof got) == 0;
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
    for (size_t i = 0; kernels->votes.mix && i < VOTE_CASES; i++) {
        size_t length = 1 + below(VOTED_MAX);
        bool vote = same_vote(kernels, length), collection = same_collection(kernels, length);
        if (!vote || !collection)
            printf("%s: votes: %zu values: %s%sdiffer\n", kernels->name, length, vote ? "" : "mixed ",
                   collection ? "" : "collected ");
        count(n, vote && collection);
    }
}
