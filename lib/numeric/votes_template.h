/* votes_template.h - what methods that cut and elect do, for one instruction set: votes_c.c with the vectors of
 * kernels_template.h, after which each variant's file includes this. What is left at the end is done by votes_c.c. */

#include "numeric/votes.h"

#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { V_FLOATS = 16, V_KEYS = 64 };

/* A bit for each of V_KEYS keys that is larger. */
static INLINE uint64_t larger_keys(const float *keys, v16 than)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < V_KEYS; i += 2 * V_FLOATS)
        bits |= (uint64_t)v_bits(v_greater(v_abs(v_load_f32(keys + i)), than),
                                 v_greater(v_abs(v_load_f32(keys + i + V_FLOATS)), than))
                << i;
    return bits;
}

/* Few keys lie in an interval: they are copied one by one. */
static INLINE uint32_t *copy_marked(uint32_t *to, const float *keys, uint64_t marked)
{
    for (; marked; marked &= marked - 1)
        *to++ = emr_f32_bits(keys[__builtin_ctzll(marked)]) & 0x7fffffff;
    return to;
}

static size_t collect_vectors(const float *keys, size_t n, emr_key_interval interval, uint32_t *inside,
                              size_t *n_larger)
{
    const v16 above = v_set(interval.above), most = v_set(interval.most);
    size_t whole = n / V_KEYS * V_KEYS, larger = 0;
    uint32_t *end = inside;
    for (size_t i = 0; i < whole; i += V_KEYS) {
        uint64_t beyond = larger_keys(keys + i, most);
        larger += (size_t)__builtin_popcountll(beyond);
        end = copy_marked(end, keys + i, larger_keys(keys + i, above) & ~beyond);
    }
    *n_larger += larger;
    size_t n_inside = (size_t)(end - inside);
    return n_inside + emr_votes_c.collect(keys + whole, n - whole, interval, end, n_larger);
}

/* Sums over the voters, of 16 elements. */
typedef struct vote_vectors {
    v16 total, plus, minus, plus_weight, minus_weight;
} vote_vectors;

/* As many slices at a time as there are registers for, or nearly. */
enum { SUM_SLICES = 4, ELECT_SLICES = 2, V_VOTED = SUM_SLICES * V_FLOATS };

/* What a vote needs to look at: constants, for which there is code of its own. */
typedef enum vote_filter { COUNT_ALL, COUNT_ABOVE, COUNT_BETWEEN, COUNT_KEPT } vote_filter;
typedef enum vote_goal { VOTE_SUMS, VOTE_ELECTS, VOTE_NORMALIZES } vote_goal;

/* Values that count, scaled. */
static INLINE v16 counted_vector(const emr_voter *voter, size_t i, vote_filter filter)
{
    v16 x = v_load_f32(voter->values + i), size = v_abs(x);
    if (filter == COUNT_ALL)
        return x;
    if (filter == COUNT_KEPT)
        return v_where(v_lanes(voter->kept[i / V_FLOATS]), v_mul(x, v_set(voter->scale)));
    x = v_where(v_greater(size, v_set(voter->above)), v_mul(x, v_set(voter->scale)));
    return filter == COUNT_ABOVE ? x : v_where(v_greater(v_set(voter->below), size), x);
}

static INLINE void add_vector(vote_vectors *s, const emr_voter *voter, size_t i, vote_filter filter,
                              vote_goal goal)
{
    const v16 zero = v_zero(), weight = v_set(voter->weight);
    v16 d = v_mul(counted_vector(voter, i, filter), weight);
    s->total = v_add(s->total, d);
    if (goal == VOTE_SUMS)
        return;
    s->plus = v_add(s->plus, v_max(d, zero));
    s->minus = v_add(s->minus, v_min(d, zero));
    if (goal == VOTE_ELECTS)
        return;
    s->plus_weight = v_add(s->plus_weight, v_where(v_greater(d, zero), weight));
    s->minus_weight = v_add(s->minus_weight, v_where(v_greater(zero, d), weight));
}

static INLINE vote_vectors load_vectors(const emr_vote *vote, size_t i, vote_goal goal)
{
    const v16 zero = v_zero();
    const emr_vote_sums *from = &vote->sums;
    vote_vectors s = {zero, zero, zero, zero, zero};
    if (!vote->goes_on)
        return s;
    s.total = v_load_f32(from->total + i);
    if (goal != VOTE_SUMS) {
        s.plus = v_load_f32(from->plus + i);
        s.minus = v_load_f32(from->minus + i);
    }
    if (goal == VOTE_NORMALIZES) {
        s.plus_weight = v_load_f32(from->plus_weight + i);
        s.minus_weight = v_load_f32(from->minus_weight + i);
    }
    return s;
}

static INLINE void store_vectors(const emr_vote *vote, const vote_vectors *s, size_t i, vote_goal goal)
{
    const emr_vote_sums *to = &vote->sums;
    v_store_f32(to->total + i, s->total);
    if (goal != VOTE_SUMS) {
        v_store_f32(to->plus + i, s->plus);
        v_store_f32(to->minus + i, s->minus);
    }
    if (goal == VOTE_NORMALIZES) {
        v_store_f32(to->plus_weight + i, s->plus_weight);
        v_store_f32(to->minus_weight + i, s->minus_weight);
    }
}

/* 1 in the place of 0, whose bits alone are below 1. */
static INLINE v16 weights_to_divide_by(v16 weights)
{
    return v_add(weights, v_where(v_below(v_abs(weights), 1), v_set(1)));
}

static INLINE v16 mixed_vector(const emr_vote *vote, const vote_vectors *s, vote_goal goal)
{
    v16 sum = s->total, divisor = v_set(vote->divisor);
    if (goal != VOTE_SUMS)
        sum = v_elect(s->total, s->plus, s->minus, 1);
    if (goal == VOTE_NORMALIZES)
        divisor = weights_to_divide_by(v_elect(s->total, s->plus_weight, s->minus_weight, 1));
    if (vote->normalizes)
        sum = v_divide(sum, divisor);
    return v_mul(sum, v_set(vote->lambda));
}

static INLINE void mix_slices(const emr_vote *vote, size_t n, float *out, vote_filter filter, vote_goal goal,
                              const size_t slices)
{
    for (size_t k = 0; k + slices * V_FLOATS <= n; k += slices * V_FLOATS) {
        vote_vectors s[SUM_SLICES];
        UNROLL
        for (size_t j = 0; j < slices; j++)
            s[j] = load_vectors(vote, vote->first + k + j * V_FLOATS, goal);
        for (uint32_t v = 0; v < vote->n_voters; v++) {
            const emr_voter voter = vote->voters[v];
            UNROLL
            for (size_t j = 0; j < slices; j++)
                add_vector(&s[j], &voter, vote->first + k + j * V_FLOATS, filter, goal);
        }
        UNROLL
        for (size_t j = 0; j < slices; j++) {
            if (vote->is_open)
                store_vectors(vote, &s[j], vote->first + k + j * V_FLOATS, goal);
            else
                v_store_f32(out + k + j * V_FLOATS, mixed_vector(vote, &s[j], goal));
        }
    }
}

static INLINE void mix_by(const emr_vote *vote, size_t n, float *out, vote_filter filter)
{
    if (!vote->elects)
        mix_slices(vote, n, out, filter, VOTE_SUMS, SUM_SLICES);
    else if (!vote->normalizes)
        mix_slices(vote, n, out, filter, VOTE_ELECTS, ELECT_SLICES);
    else
        mix_slices(vote, n, out, filter, VOTE_NORMALIZES, ELECT_SLICES);
}

static vote_filter voter_filter(const emr_voter *voter)
{
    if (voter->kept)
        return COUNT_KEPT;
    if (!(voter->below > FLT_MAX))
        return COUNT_BETWEEN;
    return voter->above < 0 && voter->scale == 1 ? COUNT_ALL : COUNT_ABOVE;
}

/* The least that does for all. */
static vote_filter filter_of(const emr_vote *vote)
{
    vote_filter least = COUNT_ALL;
    for (uint32_t v = 0; v < vote->n_voters; v++)
        least = voter_filter(&vote->voters[v]) > least ? voter_filter(&vote->voters[v]) : least;
    return least;
}

static void mix_vectors(const emr_vote *vote, size_t n, float *out)
{
    size_t whole = n / V_VOTED * V_VOTED;
    emr_vote rest = *vote;
    switch (filter_of(vote)) {
    case COUNT_ALL:
        mix_by(vote, whole, out, COUNT_ALL);
        break;
    case COUNT_ABOVE:
        mix_by(vote, whole, out, COUNT_ABOVE);
        break;
    case COUNT_BETWEEN:
        mix_by(vote, whole, out, COUNT_BETWEEN);
        break;
    case COUNT_KEPT:
        mix_by(vote, whole, out, COUNT_KEPT);
    }
    rest.first += whole;
    emr_votes_c.mix(&rest, n - whole, out + whole);
}

/* This in a variant's table. */
#define VOTE_KERNELS                                                                                         \
    {                                                                                                        \
        .collect = collect_vectors, .mix = mix_vectors                                                       \
    }

#undef INLINE
#undef UNROLL
