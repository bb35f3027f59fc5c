/* votes_template.h - what methods that cut and elect do, for one instruction set: votes_c.c with the vectors of
 * kernels_template.h, after which each variant's file includes this. What is left at the end is done by votes_c.c. */

#include "numeric/votes.h"

#define INLINE inline __attribute__((always_inline))

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

/* What an election needs to look at; constants, for which there is code of its own. */
typedef struct vote_kind {
    bool normalizes, limits; /* by `below` */
} vote_kind;

static INLINE void add_vector(vote_vectors *s, const emr_voter *voter, size_t i, vote_kind k)
{
    const v16 zero = v_zero(), weight = v_set(voter->weight), x = v_load_f32(voter->values + i);
    v16 size = v_abs(x), kept = v_where(v_greater(size, v_set(voter->above)), x);
    if (k.limits)
        kept = v_where(v_greater(v_set(voter->below), size), kept);
    v16 d = v_mul(kept, weight);
    s->total = v_add(s->total, d);
    s->plus = v_add(s->plus, v_max(d, zero));
    s->minus = v_add(s->minus, v_min(d, zero));
    if (k.normalizes) {
        s->plus_weight = v_add(s->plus_weight, v_where(v_greater(d, zero), weight));
        s->minus_weight = v_add(s->minus_weight, v_where(v_greater(zero, d), weight));
    }
}

/* 1 in the place of 0, whose bits alone are below 1. */
static INLINE v16 weights_to_divide_by(v16 weights)
{
    return v_add(weights, v_where(v_below(v_abs(weights), 1), v_set(1)));
}

static INLINE void store_elected(const vote_vectors *s, float *out, bool normalizes, float lambda)
{
    v16 sums = v_elect(s->total, s->plus, s->minus, 1);
    if (normalizes)
        sums = v_divide(sums, weights_to_divide_by(v_elect(s->total, s->plus_weight, s->minus_weight, 1)));
    v_store_f32(out, v_mul(sums, v_set(lambda)));
}

static INLINE void elect_slices(const emr_vote *vote, size_t n, float *out, vote_kind k)
{
    const v16 zero = v_zero();
    for (size_t i = 0; i < n; i += V_FLOATS) {
        vote_vectors s = {zero, zero, zero, zero, zero};
        for (uint32_t v = 0; v < vote->n_voters; v++)
            add_vector(&s, &vote->voters[v], vote->first + i, k);
        store_elected(&s, out + i, k.normalizes, vote->lambda);
    }
}

static bool has_limits(const emr_vote *vote)
{
    for (uint32_t v = 0; v < vote->n_voters; v++)
        if (!(vote->voters[v].below > FLT_MAX))
            return true;
    return false;
}

static void elect_vectors(const emr_vote *vote, size_t n, float *out)
{
    size_t whole = n / V_FLOATS * V_FLOATS;
    emr_vote rest = *vote;
    bool limits = has_limits(vote);
    if (vote->normalizes && limits)
        elect_slices(vote, whole, out, (vote_kind){true, true});
    else if (vote->normalizes)
        elect_slices(vote, whole, out, (vote_kind){true, false});
    else if (limits)
        elect_slices(vote, whole, out, (vote_kind){false, true});
    else
        elect_slices(vote, whole, out, (vote_kind){false, false});
    rest.first += whole;
    emr_votes_c.elect(&rest, n - whole, out + whole);
}

/* This in a variant's table. */
#define VOTE_KERNELS                                                                                         \
    {                                                                                                        \
        .collect = collect_vectors, .elect = elect_vectors                                                   \
    }

#undef INLINE
