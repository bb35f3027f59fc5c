/* votes_c.c - see votes.h: an element at a time. */
#include "numeric/votes.h"

#include "core/bytes.h"

static float magnitude_of(float x)
{
    return x < 0 ? -x : x;
}

static size_t collect_keys(const float *keys, size_t n, emr_key_interval v, uint32_t *inside,
                           size_t *n_larger)
{
    size_t n_inside = 0, larger = 0;
    for (size_t i = 0; i < n; i++) {
        float key = magnitude_of(keys[i]);
        inside[n_inside] = emr_f32_bits(key) & 0x7fffffff;
        n_inside += key > v.above && !(key > v.most);
        larger += key > v.most;
    }
    *n_larger += larger;
    return n_inside;
}

/* What the voters come to so far. */
typedef struct vote_sums {
    float total, plus, minus, plus_weight, minus_weight;
} vote_sums;

static void add_voter(vote_sums *s, const emr_voter *voter, float x)
{
    float size = magnitude_of(x);
    float d = size > voter->above && size < voter->below ? x * voter->weight : 0;
    s->total += d;
    s->plus += d > 0 ? d : 0;
    s->minus += d < 0 ? d : 0;
    s->plus_weight += d > 0 ? voter->weight : 0;
    s->minus_weight += d < 0 ? voter->weight : 0;
}

/* What is of the side that was elected; of none where the sum overflowed both ways. */
static float side_of(float total, float plus, float minus)
{
    return total >= 0 ? plus : total < 0 ? minus : 0;
}

static float elected_sum(const vote_sums *s, bool normalizes, float lambda)
{
    float sum = side_of(s->total, s->plus, s->minus);
    float weight = side_of(s->total, s->plus_weight, s->minus_weight);
    return (normalizes ? sum / (weight == 0 ? 1 : weight) : sum) * lambda;
}

static void elect_sums(const emr_vote *vote, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        vote_sums s = {0, 0, 0, 0, 0};
        for (uint32_t v = 0; v < vote->n_voters; v++)
            add_voter(&s, &vote->voters[v], vote->voters[v].values[vote->first + i]);
        out[i] = elected_sum(&s, vote->normalizes, vote->lambda);
    }
}

const emr_vote_kernels emr_votes_c = {
    .collect = collect_keys,
    .elect = elect_sums,
};
