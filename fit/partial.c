/* partial.c - see partial.h. */
#include "partial.h"

#include "weights.h"

#include <string.h>

enum { VALUES = 512 };

/* A pair of units and how near they are. */
typedef struct pair {
    double nearness;
    uint32_t unit;
} pair;

static bool comes_first(const pair *a, const pair *b)
{
    return a->nearness > b->nearness || (!(a->nearness < b->nearness) && a->unit < b->unit);
}

static void sift_down(pair *pairs, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_first(&pairs[child], &pairs[child + 1]))
            child++;
        if (!comes_first(&pairs[i], &pairs[child]))
            return;
        pair held = pairs[i];
        pairs[i] = pairs[child];
        pairs[child] = held;
    }
}

/* The nearest first: a heap whose root is the one that comes last. */
static void sort_pairs(pair *pairs, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(pairs, i, n);
    for (size_t end = n; end-- > 1;) {
        pair held = pairs[0];
        pairs[0] = pairs[end];
        pairs[end] = held;
        sift_down(pairs, 0, end);
    }
}

static void split_units(fit_partial *p, const pair *pairs, bool *is_merged)
{
    size_t merged = 0, apart = 0;
    for (size_t i = 0; i < p->n_merged; i++)
        is_merged[pairs[i].unit] = true;
    for (size_t unit = 0; unit < p->n_units; unit++) {
        if (is_merged[unit])
            p->merged[merged++] = (uint32_t)unit;
        else
            p->apart[apart++] = (uint32_t)unit;
    }
}

emr_status fit_partial_create(fit_partial *p, const fit_host *host, const spec_group *g, size_t n_merged,
                              const double *nearness, emr_error *error)
{
    size_t n = (size_t)g->n_units;
    *p = (fit_partial){.group = g, .n_units = n, .n_merged = n_merged};
    pair *pairs = fit_allocate(host, n, sizeof *pairs);
    bool *is_merged = fit_allocate(host, n, sizeof *is_merged);
    p->merged = fit_allocate(host, n_merged, sizeof *p->merged);
    p->apart = fit_allocate(host, n - n_merged, sizeof *p->apart);
    bool is_whole = pairs && is_merged && p->merged && p->apart;
    for (size_t i = 0; is_whole && i < n; i++)
        pairs[i] = (pair){nearness ? nearness[i] : 0, (uint32_t)i};
    if (is_whole) {
        sort_pairs(pairs, n);
        split_units(p, pairs, is_merged);
    }
    fit_release(host, pairs);
    fit_release(host, is_merged);
    return is_whole ? EMR_OK : fit_no_memory(error);
}

void fit_partial_destroy(fit_partial *p, const fit_host *host)
{
    fit_release(host, p->merged);
    fit_release(host, p->apart);
    *p = (fit_partial){0};
}

/* Where a new unit comes from. */
static fit_origin unit_origin(const fit_partial *p, size_t unit)
{
    size_t apart = p->n_units - p->n_merged;
    if (unit < p->n_merged)
        return (fit_origin){p->merged[unit], p->merged[unit]};
    if (unit < p->n_merged + apart)
        return (fit_origin){p->apart[unit - p->n_merged], FIT_NOWHERE};
    return (fit_origin){FIT_NOWHERE, p->apart[unit - p->n_merged - apart]};
}

/* Puts an entry's new units in the place of its old ones: [outer, n, inner] at `offset`. */
static emr_status expand_axis(fit_mix *mix, const fit_partial *p, const spec_axis *a, emr_error *error)
{
    fit_mixed_axis *axis = &mix->axes[a->axis];
    const spec_group *g = p->group;
    uint64_t size = partial_size(p), old = a->outer * p->n_units * a->inner, new = a->outer *size * a->inner;
    uint64_t length = axis->length - old + new;
    if (axis->origins) /* another entry has moved this one */
        return emr_error_format(
            error, EMR_EUNSUPPORTED,
            "group '%s': tensor '%T' has units of two groups on one axis, which cannot be merged in part",
            g->name, emr_tensor_name(mix->a));
    fit_origin *origins = fit_allocate(mix->host, (size_t)length, sizeof *origins);
    if (!origins)
        return fit_no_memory(error);
    for (uint64_t x = 0; x < length; x++) {
        uint64_t in = x - a->offset, unit = in / a->inner % size, o = in / a->inner / size, i = in % a->inner;
        if (x < a->offset || x >= a->offset + new) {
            uint32_t from = (uint32_t)(x < a->offset ? x : x - new + old);
            origins[x] = (fit_origin){from, from};
            continue;
        }
        fit_origin from = unit_origin(p, (size_t)unit);
        origins[x].a = from.a == FIT_NOWHERE ? FIT_NOWHERE : (uint32_t)spec_place(g, a, o, from.a, i);
        origins[x].b = from.b == FIT_NOWHERE ? FIT_NOWHERE : (uint32_t)spec_place(g, a, o, from.b, i);
    }
    axis->origins = origins;
    axis->length = length;
    return EMR_OK;
}

static emr_status take_entries(fit_mix *mix, const emr_permutation_spec *spec, const fit_partial *partials,
                               emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < spec->n_groups; i++) {
        const spec_group *g = &spec->groups[i];
        for (size_t k = 0; !status && k < g->n_axes; k++) {
            if (strcmp(g->axes[k].tensor, emr_tensor_name(mix->a)) != 0)
                continue;
            mix->axes[g->axes[k].axis].makes_units |= !g->axes[k].is_input;
            mix->makes_units |= !g->axes[k].is_input;
            if (!g->is_heads && partials[i].n_merged < partials[i].n_units)
                status = expand_axis(mix, &partials[i], &g->axes[k], error);
        }
    }
    return status;
}

emr_status fit_mix_create(fit_mix *mix, const fit_host *host, const emr_permutation_spec *spec,
                          const fit_partial *partials, const emr_tensor *a, const emr_tensor *b,
                          emr_error *error)
{
    uint32_t rank = emr_tensor_rank(a);
    *mix = (fit_mix){.host = host, .a = a, .b = b, .inner = 1, .count = 1};
    for (uint32_t axis = 0; axis < rank && axis < SPEC_RANK_MAX; axis++)
        mix->axes[axis].length = emr_tensor_shape(a)[axis];
    emr_status status = take_entries(mix, spec, partials, error);
    if (status) {
        fit_mix_destroy(mix);
        return status;
    }
    for (uint32_t axis = 0; axis < rank; axis++) {
        uint64_t length = axis < SPEC_RANK_MAX ? mix->axes[axis].length : emr_tensor_shape(a)[axis];
        if (axis < SPEC_RANK_MAX && mix->axes[axis].origins) {
            mix->n_axes = axis + 1;
            mix->inner = 1;
        } else {
            mix->inner *= length;
        }
        mix->count *= length;
    }
    return EMR_OK;
}

void fit_mix_destroy(fit_mix *mix)
{
    for (uint32_t axis = 0; axis < SPEC_RANK_MAX; axis++) {
        fit_release(mix->host, mix->axes[axis].origins);
        mix->axes[axis].origins = NULL;
    }
}

/* The origins of all axes together: the number of the element in A and in B, or nowhere. */
typedef struct place {
    uint64_t a, b;
} place;
#define NOWHERE UINT64_MAX

static place find_place(const fit_mix *mix, uint64_t at)
{
    place found = {at % mix->inner, at % mix->inner};
    uint64_t weight = mix->inner;
    at /= mix->inner;
    for (uint32_t axis = mix->n_axes; axis-- > 0;) {
        fit_origin from = mix_origin(&mix->axes[axis], at % mix->axes[axis].length);
        found.a = found.a == NOWHERE || from.a == FIT_NOWHERE ? NOWHERE : found.a + from.a * weight;
        found.b = found.b == NOWHERE || from.b == FIT_NOWHERE ? NOWHERE : found.b + from.b * weight;
        at /= mix->axes[axis].length;
        weight *= emr_tensor_shape(mix->a)[axis];
    }
    return found;
}

/* Whether an element that is of both models on all axes that make units is the mean; so it is where no axis makes them. */
static double share_of(const fit_mix *mix, uint64_t at)
{
    at /= mix->inner;
    for (uint32_t axis = mix->n_axes; axis-- > 0;) {
        fit_origin from = mix_origin(&mix->axes[axis], at % mix->axes[axis].length);
        if (mix->axes[axis].makes_units && (from.a == FIT_NOWHERE || from.b == FIT_NOWHERE))
            return 1;
        at /= mix->axes[axis].length;
    }
    return 0.5;
}

/* How many elements from `at` on lie one behind the other in A and in B. */
static size_t run_of(const fit_mix *mix, uint64_t at, place from, size_t n)
{
    size_t run = (size_t)(mix->inner - at % mix->inner);
    while (run < n) {
        place next = find_place(mix, at + run);
        bool goes_on = share_of(mix, at + run) - share_of(mix, at) == 0 &&
                       next.a == (from.a == NOWHERE ? NOWHERE : from.a + run) &&
                       next.b == (from.b == NOWHERE ? NOWHERE : from.b + run);
        if (!goes_on)
            break;
        run += (size_t)mix->inner;
    }
    return run < n ? run : n;
}

emr_status fit_mix_read(const fit_mix *mix, uint64_t first, size_t n, double *values, emr_error *error)
{
    double other[VALUES];
    while (n) {
        place from = find_place(mix, first);
        size_t run = run_of(mix, first, from, n < VALUES ? n : VALUES);
        double share = share_of(mix, first);
        emr_status status = EMR_OK;
        memset(values, 0, run * sizeof *values);
        if (from.a != NOWHERE)
            status = fit_read(mix->a, from.a, run, values, error);
        memset(other, 0, run * sizeof *other);
        if (!status && from.b != NOWHERE)
            status = fit_read(mix->b, from.b, run, other, error);
        if (status)
            return status;
        for (size_t i = 0; i < run; i++)
            values[i] = share * values[i] + share * other[i];
        values += run;
        first += run;
        n -= run;
    }
    return EMR_OK;
}
