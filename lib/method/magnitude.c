/* magnitude.c - see magnitude.h. A cut's position splits a chunk in two: keys that equal the cut's are above it in front of
 * the position, and below it from there on. So up to the next position of any cut, each input's values stay between two
 * bounds. */
#include "method/magnitude.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "method/agreement.h"
#include "numeric/kernels.h"

enum { VOTERS_AT_ONCE = 64 };

void emr_magnitude_keys(const emr_method_chunk *c, uint32_t list, float *keys)
{
    const float *values = c->inputs[list];
    for (size_t i = 0; i < c->n; i++)
        keys[i] = emr_magnitude(values[i]);
}

/* ---- bounds */

/* How many of n elements from `at` on lie in front of the cut's position. */
static size_t count_in_front(const emr_method_chunk *c, const double *cut, size_t at, size_t n)
{
    double left = cut[1] - (double)(c->position + at);
    return left <= 0 ? 0 : left >= (double)n ? n : (size_t)left;
}

/* What the magnitudes that stay are larger than. */
static float bound_of_kept(const double *cut, bool in_front)
{
    float key = (float)cut[0];
    if (!in_front)
        return key;
    return key > 0 ? emr_f32_from_bits(emr_f32_bits(key) - 1) : -1;
}

/* What they are smaller than. */
static float bound_of_dropped(const double *cut, bool in_front)
{
    float key = (float)cut[0];
    return in_front || key > FLT_MAX ? key : emr_f32_from_bits(emr_f32_bits(key) + 1);
}

/* The bounds of elements from `at` on; returns for how many of n, at least one, they are the same. */
static size_t bounds_at(const emr_method_chunk *c, emr_magnitude_cuts cuts, size_t at, size_t n, float *above,
                        float *below)
{
    *above = -1;
    *below = __builtin_inff();
    if (cuts.keep) {
        size_t front = count_in_front(c, cuts.keep, at, n);
        *above = bound_of_kept(cuts.keep, front > 0);
        n = front ? front : n;
    }
    if (cuts.drop) {
        size_t front = count_in_front(c, cuts.drop, at, n);
        *below = bound_of_dropped(cuts.drop, front > 0);
        n = front ? front : n;
    }
    return n;
}

const float *emr_magnitude_sparsify(const emr_method_chunk *c, emr_magnitude_cuts cuts, uint32_t input,
                                    size_t at, size_t n, float *room)
{
    const float *values = c->inputs[input] + at;
    float above, below;
    if (!cuts.keep && !cuts.drop)
        return values;
    for (size_t from = 0, same; from < n; from += same) {
        same = bounds_at(c, cuts, at + from, n - from, &above, &below);
        for (size_t i = from; i < from + same; i++) {
            float size = emr_magnitude(values[i]);
            room[i] = size > above && size < below ? values[i] * cuts.scale : 0;
        }
    }
    return room;
}

/* ---- norms */

/* Eight sums side by side, then added up. */
static double l1_norm(const float *values, size_t n)
{
    double lanes[8] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % 8] += (double)emr_magnitude(values[i]);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void emr_magnitude_norms(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts, double *sums)
{
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        sums[2 * (size_t)t] += l1_norm(c->inputs[t], c->n);
        sums[2 * (size_t)t + 1] +=
            l1_norm(emr_magnitude_sparsify(c, cuts(c->tensor, t), t, 0, c->n, c->scratch), c->n);
    }
}

/* ---- the election */

static emr_vote_kernels vote_kernels(const emr_method_tensor *tensor)
{
    const emr_kernels *kernels = tensor->library ? tensor->library : emr_kernels_select();
    return kernels->votes.elect ? kernels->votes : emr_votes_c;
}

/* Up to where all inputs' bounds are the same. */
static size_t elect_alike(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts, emr_vote *vote,
                          emr_voter *voters, size_t at)
{
    size_t n = c->n - at;
    for (uint32_t t = 0; t < vote->n_voters; t++)
        n = bounds_at(c, cuts(c->tensor, t), at, n, &voters[t].above, &voters[t].below);
    vote->first = at;
    return n;
}

static void elect_at_once(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts)
{
    const emr_vote_kernels kernels = vote_kernels(c->tensor);
    emr_voter voters[VOTERS_AT_ONCE];
    emr_vote vote = {.voters = voters,
                     .n_voters = c->tensor->n_inputs,
                     .normalizes = emr_method_value(c->tensor, 0, EMR_AGREEMENT_NORMALIZE) != 0,
                     .lambda = (float)emr_method_value(c->tensor, 0, EMR_AGREEMENT_LAMBDA)};
    for (uint32_t t = 0; t < vote.n_voters; t++)
        voters[t] = (emr_voter){.values = c->inputs[t],
                                .weight = (float)emr_method_value(c->tensor, t, EMR_AGREEMENT_WEIGHT)};
    for (size_t at = 0, n; at < c->n; at += n) {
        n = elect_alike(c, cuts, &vote, voters, at);
        kernels.elect(&vote, n, c->out + at);
    }
}

enum { ELECT_STEP = 1024 };

/* The same, an input after the other. */
static void elect_one_by_one(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts)
{
    for (size_t at = 0; at < c->n; at += ELECT_STEP) {
        size_t n = (size_t)emr_min(ELECT_STEP, c->n - at);
        float *room = c->scratch + EMR_AGREEMENT_FLOATS * n;
        emr_agreement a;
        emr_agreement_begin(&a, c->scratch, n, true);
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
            emr_agreement_add(&a, c->tensor, t,
                              emr_magnitude_sparsify(c, cuts(c->tensor, t), t, at, n, room));
        emr_agreement_end(&a, c->tensor, c->out + at);
    }
}

static bool is_scaled(const emr_method_tensor *tensor, emr_magnitude_cuts_fn cuts)
{
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        if (cuts(tensor, t).scale != 1)
            return true;
    return false;
}

void emr_magnitude_elect(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts)
{
    if (c->tensor->n_inputs <= VOTERS_AT_ONCE && !is_scaled(c->tensor, cuts))
        elect_at_once(c, cuts);
    else
        elect_one_by_one(c, cuts);
}
