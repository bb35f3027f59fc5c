/* grow.c - see grow.h. */
#include "numeric/grow.h"

#include "numeric/group.h"

/* One group on its way: the running state, then what was elected. Bit i of a word is parameter i of the
 * group. */
typedef struct group {
    size_t first, n;
    float sum[EMR_GROUP], most[EMR_GROUP], least[EMR_GROUP];
    float unified[EMR_GROUP];
    uint64_t positive, negative; /* of `unified` */
} group;

static uint64_t load_word(const uint8_t *planes, size_t plane_bytes, size_t task, size_t first)
{
    return emr_load64(planes + task * plane_bytes + first / 8);
}

static void store_word(uint8_t *planes, size_t plane_bytes, size_t task, size_t first, uint64_t word)
{
    emr_store64(planes + task * plane_bytes + first / 8, word);
}

static uint64_t above_zero(const float values[EMR_GROUP], size_t n)
{
    uint8_t bits[EMR_GROUP] = {0};
    for (size_t i = 0; i < n; i++)
        bits[i] = values[i] > 0;
    return pack_bits(bits);
}

static uint64_t below_zero(const float values[EMR_GROUP], size_t n)
{
    uint8_t bits[EMR_GROUP] = {0};
    for (size_t i = 0; i < n; i++)
        bits[i] = values[i] < 0;
    return pack_bits(bits);
}

static const void *at_f32(const void *values, size_t first)
{
    return (const uint8_t *)values + first * 4;
}

/* What earlier tasks came to. Their signs go where the tasks' own will be: non-zero, and for now negative. */
static void load_before(const emr_growth *g, group *p)
{
    const emr_state *b = &g->before, *a = &g->after;
    emr_dtype dtype = g->chunk->unified_dtype;
    float opposite[EMR_GROUP], extreme[EMR_GROUP];
    emr_load_f32(p->unified, dtype, (const uint8_t *)b->unified + p->first * emr_float_size(dtype), p->n);
    emr_load_f32(p->sum, EMR_DTYPE_F32, at_f32(b->sums, p->first), p->n);
    emr_load_f32(opposite, EMR_DTYPE_F32, at_f32(b->opposites, p->first), p->n);
    emr_load_f32(extreme, EMR_DTYPE_F32, at_f32(b->extremes, p->first), p->n);
    for (size_t i = 0; i < p->n; i++) {
        float won = extreme[i] != 0 ? extreme[i] : p->unified[i];
        p->most[i] = p->sum[i] > 0 ? won : opposite[i];
        p->least[i] = p->sum[i] > 0 ? opposite[i] : won;
    }
    uint64_t positive = above_zero(p->unified, p->n), negative = below_zero(p->unified, p->n);
    for (size_t t = 0; t < g->n_old; t++) {
        uint64_t mask = load_word(b->masks, b->plane_bytes, t, p->first);
        uint64_t nonzero = load_word(b->nonzeros, b->plane_bytes, t, p->first);
        uint64_t undecided = load_word(b->undecided, b->plane_bytes, t, p->first) & ~(positive | negative);
        store_word(a->nonzeros, a->plane_bytes, t, p->first, nonzero);
        store_word(a->undecided, a->plane_bytes, t, p->first,
                   nonzero & ((positive & ~mask) | (negative & mask) | undecided));
    }
}

/* Equation 1's sums, and the extremes of equation 2; returns how many entries were not finite. */
static size_t take_task(const emr_growth *g, group *p, size_t t)
{
    const emr_state *a = &g->after;
    float tau[EMR_GROUP] = {0};
    size_t zeroed = load_finite(tau, g->chunk, t, p->first, p->n);
    for (size_t i = 0; i < EMR_GROUP; i++) {
        p->sum[i] = p->sum[i] + tau[i];
        p->most[i] = tau[i] > p->most[i] ? tau[i] : p->most[i];
        p->least[i] = tau[i] < p->least[i] ? tau[i] : p->least[i];
    }
    uint64_t negative = below_zero(tau, p->n);
    store_word(a->nonzeros, a->plane_bytes, t, p->first, above_zero(tau, p->n) | negative);
    store_word(a->undecided, a->plane_bytes, t, p->first, negative);
    g->chunk->results[t].zeroed += zeroed;
    return zeroed;
}

/* Equations 1 to 3; what it takes to go on from there is stored. */
static bool elect(const emr_growth *g, group *p)
{
    const emr_chunk *c = g->chunk;
    float extreme[EMR_GROUP] = {0}, opposite[EMR_GROUP] = {0};
    for (size_t i = 0; i < p->n; i++) {
        extreme[i] = p->sum[i] > 0 ? p->most[i] : p->least[i];
        opposite[i] = p->sum[i] > 0 ? p->least[i] : p->most[i];
        p->unified[i] = p->sum[i] > 0 || p->sum[i] < 0 || c->tie_negative ? extreme[i] : 0;
    }
    bool finite = store_elected(c, p->first, p->n, p->unified);
    for (size_t i = 0; i < p->n; i++)
        extreme[i] = extreme[i] == p->unified[i] ? 0 : extreme[i];
    emr_store_f32(EMR_DTYPE_F32, (uint8_t *)g->after.sums + p->first * 4, p->sum, p->n);
    emr_store_f32(EMR_DTYPE_F32, (uint8_t *)g->after.opposites + p->first * 4, opposite, p->n);
    emr_store_f32(EMR_DTYPE_F32, (uint8_t *)g->after.extremes + p->first * 4, extreme, p->n);
    p->positive = above_zero(p->unified, p->n);
    p->negative = below_zero(p->unified, p->n);
    return finite;
}

/* Equation 4. Of the signs only those are kept that the mask does not tell. */
static void mask(const emr_growth *g, const group *p, size_t t)
{
    const emr_state *a = &g->after;
    emr_chunk_task *r = &g->chunk->results[t];
    uint64_t nonzero = load_word(a->nonzeros, a->plane_bytes, t, p->first);
    uint64_t negative = load_word(a->undecided, a->plane_bytes, t, p->first);
    uint64_t bits = nonzero & ((p->positive & ~negative) | (p->negative & negative));
    store_word(a->masks, a->plane_bytes, t, p->first, bits);
    store_word(a->undecided, a->plane_bytes, t, p->first, negative & ~(p->positive | p->negative));
    r->ones += emr_popcount64(bits);
    r->nonzero |= nonzero != 0;
}

void emr_growth_merge(emr_growth *g)
{
    emr_chunk *c = g->chunk;
    c->bad = c->n;
    c->bad_task = 0;
    for (size_t t = 0; t < c->n_tasks; t++)
        c->results[t] = (emr_chunk_task){0};
    for (size_t first = 0; first < c->n; first += EMR_GROUP) {
        group p = {.first = first, .n = c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP};
        size_t zeroed = 0;
        if (g->n_old)
            load_before(g, &p);
        for (size_t t = g->n_old; t < c->n_tasks; t++)
            zeroed += take_task(g, &p, t);
        bool finite = elect(g, &p);
        if (zeroed && !c->zero_nonfinite && find_bad(c, first, p.n))
            return;
        if (!finite) {
            find_overflow(c, first, p.unified);
            return;
        }
        for (size_t t = 0; t < c->n_tasks; t++)
            mask(g, &p, t);
    }
    for (size_t t = 0; t < c->n_tasks && !c->skip_sums; t++)
        c->results[t].sums = emr_growth_sum_range(g, (emr_range){.task = t, .to = c->n});
}

/* q1's terms of one group: |M * unified|, as add_terms() in kernels_c.c has them. */
static void add_masked(running_sum *s, const emr_growth *g, emr_range range, size_t first, bool in_f64)
{
    const emr_chunk *c = g->chunk;
    emr_dtype dtype = c->unified_dtype;
    size_t n = c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP, half = first % EMR_BLOCK >= EMR_BLOCK / 2;
    float values[EMR_GROUP] = {0};
    double wide[EMR_GROUP];
    uint64_t bits = load_word(g->after.masks, g->after.plane_bytes, range.task, first);
    emr_load_f32(values, dtype, (const uint8_t *)c->unified + first * emr_float_size(dtype), n);
    for (size_t i = 0; i < EMR_GROUP; i++)
        values[i] =
            (bits >> i & 1) && first + i >= range.from && first + i < range.to ? magnitude(values[i]) : 0;
    if (!in_f64) {
        add_group_f32(s->lanes[half], values);
        return;
    }
    for (size_t i = 0; i < EMR_GROUP; i++)
        wide[i] = (double)values[i];
    add_group_f64(s->wide_lanes[half], wide);
}

static double sum_masked(const emr_growth *g, emr_range range, bool in_f64)
{
    running_sum s = {0};
    for (size_t first = range.from / EMR_GROUP * EMR_GROUP; first < range.to; first += EMR_GROUP) {
        add_masked(&s, g, range, first, in_f64);
        if ((first + EMR_GROUP) % EMR_BLOCK == 0 || first + EMR_GROUP >= range.to)
            fold_block(&s);
    }
    return emr_chunk_total(s.a);
}

emr_sums emr_growth_sum_range(const emr_growth *g, emr_range range)
{
    if (range.task >= g->n_old)
        return g->kernels->sum_range(g->chunk, range);
    double q1 = sum_masked(g, range, false);
    return (emr_sums){.q1 = emr_sum_holds(q1, false) ? q1 : sum_masked(g, range, true)};
}
