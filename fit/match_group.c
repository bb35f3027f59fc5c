/* match_group.c - the best permutation of one group. Of units: one assignment, or with blocks, one within each pair of blocks and one
 * of blocks. Of heads: for each pair of kv heads, dimensions of q and k, dimensions of v and o, and query heads, in turn until
 * nothing gets better (exact where a kv head has one query head); then one assignment of kv heads. */
#include "match.h"

#include <string.h>

enum { TURNS = 50 };
#define PROGRESS 1e-12

static double sum_of(const double *similarity, size_t stride, const uint32_t *columns, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += similarity[i * stride + columns[i]];
    return sum;
}

static emr_status match_blocks(const fit_host *host, const spec_group *g, const double *of, group_units *best,
                               double *value, emr_error *error)
{
    size_t n = (size_t)g->n_units, blocks = g->n_blocks, width = n / blocks;
    uint32_t *inner = fit_allocate(host, blocks * blocks, width * sizeof *inner);
    uint32_t *order = fit_allocate(host, blocks, sizeof *order);
    double *values = fit_allocate(host, blocks, blocks * sizeof *values);
    emr_status status = inner && order && values ? EMR_OK : fit_no_memory(error);
    for (size_t pair = 0; !status && pair < blocks * blocks; pair++) {
        const double *part = of + pair / blocks * width * n + pair % blocks * width;
        status = fit_assign(host, part, n, width, inner + pair * width, error);
        if (!status)
            values[pair] = sum_of(part, n, inner + pair * width, width);
    }
    if (!status)
        status = fit_assign(host, values, blocks, blocks, order, error);
    for (size_t i = 0; !status && i < n; i++) {
        size_t block = i / width, from = order[block];
        best->units[i] = (uint32_t)(from * width) + inner[(block * blocks + from) * width + i % width];
    }
    if (!status)
        *value = sum_of(values, blocks, order, blocks);
    fit_release(host, inner);
    fit_release(host, order);
    fit_release(host, values);
    return status;
}

/* Heads, and the work on a pair of them. */
typedef struct head_work {
    const fit_host *host;
    const spec_group *group;
    const fit_similarity *similarity;
    size_t kv, r, d;
    double *square;          /* d x d, or r x r */
    uint32_t *qk, *v, *slot; /* of each pair: d, d, r */
    double *values;          /* kv x kv */
    uint32_t *next;          /* r */
} head_work;

/* Similarity of dimension i of A's head `a` and dimension j of B's `b`, of a part. */
static double head_element(const head_work *w, spec_part part, size_t a, size_t i, size_t b, size_t j)
{
    const double *of = w->similarity->of[part];
    return of ? of[(a * w->d + i) * (size_t)spec_part_units(w->group, part) + b * w->d + j] : 0;
}

/* Dimensions of two parts, that of kv heads and that of queries, whose heads are paired by `slot`. */
static emr_status match_dimensions(head_work *w, spec_part kv_part, spec_part query_part, size_t a, size_t b,
                                   const uint32_t *slot, bool is_fixed, uint32_t *best, double *value,
                                   emr_error *error)
{
    for (size_t i = 0; i < w->d; i++)
        for (size_t j = 0; j < w->d; j++) {
            double sum = head_element(w, kv_part, a, i, b, j);
            for (size_t s = 0; s < w->r; s++)
                sum += head_element(w, query_part, a * w->r + s, i, b * w->r + slot[s], j);
            w->square[i * w->d + j] = sum;
        }
    for (size_t i = 0; is_fixed && i < w->d; i++)
        best[i] = (uint32_t)i;
    emr_status status = is_fixed ? EMR_OK : fit_assign(w->host, w->square, w->d, w->d, best, error);
    *value = status ? 0 : sum_of(w->square, w->d, best, w->d);
    return status;
}

/* What query heads s of `a` and u of `b` give with these dimensions. */
static double pair_value(const head_work *w, size_t a, size_t s, size_t b, size_t u, const uint32_t *qk,
                         const uint32_t *v)
{
    double sum = 0;
    for (size_t i = 0; i < w->d; i++)
        sum += head_element(w, PART_Q, a * w->r + s, i, b * w->r + u, qk[i]);
    for (size_t i = 0; i < w->d; i++)
        sum += head_element(w, PART_O, a * w->r + s, i, b * w->r + u, v[i]);
    return sum;
}

/* Better query slots, if there are any. */
static emr_status match_slots(head_work *w, size_t a, size_t b, const uint32_t *qk, const uint32_t *v,
                              uint32_t *slot, bool *is_better, emr_error *error)
{
    for (size_t s = 0; s < w->r; s++)
        for (size_t u = 0; u < w->r; u++)
            w->square[s * w->r + u] = pair_value(w, a, s, b, u, qk, v);
    emr_status status = fit_assign(w->host, w->square, w->r, w->r, w->next, error);
    *is_better =
        !status && sum_of(w->square, w->r, w->next, w->r) > sum_of(w->square, w->r, slot, w->r) + PROGRESS;
    if (*is_better)
        memcpy(slot, w->next, w->r * sizeof *slot);
    return status;
}

static emr_status match_pair(head_work *w, size_t a, size_t b, emr_error *error)
{
    size_t pair = a * w->kv + b;
    uint32_t *qk = w->qk + pair * w->d, *v = w->v + pair * w->d, *slot = w->slot + pair * w->r;
    double value_qk = 0, value_v = 0;
    bool is_better = true;
    emr_status status = EMR_OK;
    for (size_t s = 0; s < w->r; s++)
        slot[s] = (uint32_t)s;
    for (int turn = 0; !status && is_better && turn < TURNS; turn++) {
        status = match_dimensions(w, PART_K, PART_Q, a, b, slot, w->group->fixed_qk, qk, &value_qk, error);
        if (!status)
            status = match_dimensions(w, PART_V, PART_O, a, b, slot, false, v, &value_v, error);
        if (!status)
            status = match_slots(w, a, b, qk, v, slot, &is_better, error);
    }
    w->values[pair] = value_qk + value_v;
    return status;
}

static emr_status match_heads(head_work *w, group_units *best, double *value, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t pair = 0; !status && pair < w->kv * w->kv; pair++)
        status = match_pair(w, pair / w->kv, pair % w->kv, error);
    if (!status)
        status = fit_assign(w->host, w->values, w->kv, w->kv, best->kv, error);
    if (status)
        return status;
    *value = sum_of(w->values, w->kv, best->kv, w->kv);
    for (size_t g = 0; g < w->kv; g++) {
        size_t pair = g * w->kv + best->kv[g];
        memcpy(best->qk + g * w->d, w->qk + pair * w->d, w->d * sizeof *best->qk);
        memcpy(best->v + g * w->d, w->v + pair * w->d, w->d * sizeof *best->v);
        memcpy(best->slot + g * w->r, w->slot + pair * w->r, w->r * sizeof *best->slot);
    }
    return EMR_OK;
}

static emr_status match_all_heads(const fit_host *host, const spec_group *g, const fit_similarity *similarity,
                                  group_units *best, double *value, emr_error *error)
{
    head_work w = {host, g,    similarity, g->n_kv_heads, g->n_heads / g->n_kv_heads, g->head_dim, NULL, NULL,
                   NULL, NULL, NULL,       NULL};
    size_t pairs = w.kv * w.kv, side = w.d > w.r ? w.d : w.r;
    w.square = fit_allocate(host, side, side * sizeof *w.square);
    w.qk = fit_allocate(host, pairs, w.d * sizeof *w.qk);
    w.v = fit_allocate(host, pairs, w.d * sizeof *w.v);
    w.slot = fit_allocate(host, pairs, w.r * sizeof *w.slot);
    w.values = fit_allocate(host, pairs, sizeof *w.values);
    w.next = fit_allocate(host, w.r, sizeof *w.next);
    emr_status status = w.square && w.qk && w.v && w.slot && w.values && w.next
                            ? match_heads(&w, best, value, error)
                            : fit_no_memory(error);
    fit_release(host, w.square);
    fit_release(host, w.qk);
    fit_release(host, w.v);
    fit_release(host, w.slot);
    fit_release(host, w.values);
    fit_release(host, w.next);
    return status;
}

emr_status fit_match_group(const fit_host *host, const spec_group *g, const fit_similarity *similarity,
                           group_units *best, double *value, emr_error *error)
{
    if (g->is_heads)
        return match_all_heads(host, g, similarity, best, value, error);
    const double *of = similarity->of[PART_UNITS];
    if (g->n_blocks > 1)
        return match_blocks(host, g, of, best, value, error);
    emr_status status = fit_assign(host, of, (size_t)g->n_units, (size_t)g->n_units, best->units, error);
    if (!status)
        *value = sum_of(of, (size_t)g->n_units, best->units, (size_t)g->n_units);
    return status;
}

double fit_match_value(const spec_group *g, const fit_similarity *similarity, const group_units *units)
{
    double sum = 0;
    for (int part = 0; part < N_PARTS; part++) {
        size_t n = similarity->of[part] ? (size_t)spec_part_units(g, (spec_part)part) : 0;
        for (size_t i = 0; i < n; i++)
            sum += similarity->of[part][i * n + (size_t)fit_permuted_unit(g, units, (spec_part)part, i)];
    }
    return sum;
}

uint64_t fit_match_count(const spec_group *g, const fit_similarity *similarity)
{
    uint64_t count = 0;
    for (int part = 0; part < N_PARTS; part++)
        count += similarity->of[part] ? spec_part_units(g, (spec_part)part) : 0;
    return count;
}
