/* magnitude.c - see magnitude.h. A cut's position splits a chunk in two: keys that equal the cut's are above it in front of
 * the position, and below it from there on. So up to the next position of any cut, each input's values stay between two
 * bounds. */
#include "method/magnitude.h"

#include "core/bytes.h"
#include "core/memory.h"

#include <float.h>

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

size_t emr_magnitude_bounds(const emr_method_chunk *c, emr_magnitude_cuts cuts, size_t at, size_t n,
                            float *above, float *below)
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
        same = emr_magnitude_bounds(c, cuts, at + from, n - from, &above, &below);
        for (size_t i = from; i < from + same; i++) {
            float size = emr_magnitude(values[i]);
            room[i] = size > above && size < below ? values[i] : 0;
        }
    }
    return room;
}

/* ---- norms */

double emr_magnitude_sum(const float *values, size_t n)
{
    double lanes[8] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % 8] += (double)emr_magnitude(values[i]);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void emr_magnitude_norms(const emr_method_chunk *c, emr_magnitude_cuts_fn cuts, double *sums)
{
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        sums[2 * (size_t)t] += emr_magnitude_sum(c->inputs[t], c->n);
        sums[2 * (size_t)t + 1] +=
            emr_magnitude_sum(emr_magnitude_sparsify(c, cuts(c->tensor, t), t, 0, c->n, c->scratch), c->n);
    }
}
