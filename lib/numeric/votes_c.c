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

/* A value of a voter, or 0. */
static float counted_value(const emr_voter *voter, size_t i)
{
    float x = voter->values[i], size = magnitude_of(x);
    bool counts =
        voter->kept ? voter->kept[i / 16] >> i % 16 & 1 : size > voter->above && size < voter->below;
    return counts ? x * voter->scale : 0;
}

static void add_voter(vote_sums *s, const emr_voter *voter, size_t i)
{
    float d = counted_value(voter, i) * voter->weight;
    s->total += d;
    s->plus += d > 0 ? d : 0;
    s->minus += d < 0 ? d : 0;
    s->plus_weight += d > 0 ? voter->weight : 0;
    s->minus_weight += d < 0 ? voter->weight : 0;
}

static vote_sums load_sums(const emr_vote *vote, size_t i)
{
    const emr_vote_sums *from = &vote->sums;
    vote_sums s = {0, 0, 0, 0, 0};
    if (!vote->goes_on)
        return s;
    s.total = from->total[i];
    if (vote->elects) {
        s.plus = from->plus[i];
        s.minus = from->minus[i];
    }
    if (vote->elects && vote->normalizes) {
        s.plus_weight = from->plus_weight[i];
        s.minus_weight = from->minus_weight[i];
    }
    return s;
}

static void store_sums(const emr_vote *vote, const vote_sums *s, size_t i)
{
    const emr_vote_sums *to = &vote->sums;
    to->total[i] = s->total;
    if (vote->elects) {
        to->plus[i] = s->plus;
        to->minus[i] = s->minus;
    }
    if (vote->elects && vote->normalizes) {
        to->plus_weight[i] = s->plus_weight;
        to->minus_weight[i] = s->minus_weight;
    }
}

/* What is of the side that was elected; of none where the sum overflowed both ways. */
static float side_of(float total, float plus, float minus)
{
    return total >= 0 ? plus : total < 0 ? minus : 0;
}

static float mixed_value(const emr_vote *vote, const vote_sums *s)
{
    float sum = s->total, divisor = vote->divisor;
    if (vote->elects) {
        float weight = side_of(s->total, s->plus_weight, s->minus_weight);
        sum = side_of(s->total, s->plus, s->minus);
        divisor = weight == 0 ? 1 : weight;
    }
    return (vote->normalizes ? sum / divisor : sum) * vote->lambda;
}

static void mix_values(const emr_vote *vote, size_t n, float *out)
{
    for (size_t k = 0, i = vote->first; k < n; k++, i++) {
        vote_sums s = load_sums(vote, i);
        for (uint32_t v = 0; v < vote->n_voters; v++)
            add_voter(&s, &vote->voters[v], i);
        if (vote->is_open)
            store_sums(vote, &s, i);
        else
            out[k] = mixed_value(vote, &s);
    }
}

const emr_vote_kernels emr_votes_c = {
    .collect = collect_keys,
    .mix = mix_values,
};
