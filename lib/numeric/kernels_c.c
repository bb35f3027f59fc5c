/* kernels_c.c - the kernels in plain C: the numerical specification. What computes weights is in
 * codes_c.c. */
#include "numeric/codes_c.h"
#include "numeric/group.h"

/* Equations 1 to 3: elects the unified task vector of one group and stores it in the unified dtype. `unified`
 * is as store_elected() leaves it; *zeroed goes up by the entries that were not finite.
 * Returns false if a value overflows the unified dtype. */
static bool elect(const emr_chunk *c, size_t first, size_t n, float unified[EMR_GROUP], size_t *zeroed)
{
    float sum[EMR_GROUP] = {0}, most[EMR_GROUP] = {0}, least[EMR_GROUP] = {0}, tau[EMR_GROUP];
    for (size_t t = 0; t < c->n_tasks; t++) {
        size_t bad = load_finite(tau, c, t, first, n);
        c->results[t].zeroed += bad;
        *zeroed += bad;
        for (size_t i = 0; i < n; i++) {
            sum[i] = sum[i] + tau[i];
            most[i] = tau[i] > most[i] ? tau[i] : most[i];
            least[i] = tau[i] < least[i] ? tau[i] : least[i];
        }
    }
    for (size_t i = 0; i < n; i++)
        unified[i] = sum[i] > 0 ? most[i] : sum[i] < 0 || c->tie_negative ? least[i] : 0;
    return store_elected(c, first, n, unified);
}

/* Equation 4: whether the mask is 1: both are not 0, and of the same sign; and, with `nearest`, tau is nearer to
 * the unified value than to 0. */
static int is_masked(bool nearest, float tau, float unified)
{
    int agree = ((tau > 0) & (unified > 0)) | ((tau < 0) & (unified < 0));
    return nearest ? agree & (magnitude(tau) > 0.5f * magnitude(unified)) : agree;
}

/* The mask of one task and group. */
static uint64_t mask_of(bool nearest, const float tau[EMR_GROUP], const float unified[EMR_GROUP], size_t n)
{
    uint8_t bits[EMR_GROUP] = {0};
    for (size_t i = 0; i < n; i++)
        bits[i] = (uint8_t)is_masked(nearest, tau[i], unified[i]);
    return pack_bits(bits);
}

/* Six sums, in the order of emr_sums; those that are taken are [first_sum(), end_sum()). */
enum { N_SUMS = 6 };

static size_t first_sum(emr_summation summation)
{
    return summation == EMR_SUM_L2 ? 2 : 0;
}

static size_t end_sum(emr_summation summation)
{
    return summation == EMR_SUM_L1 ? 2 : N_SUMS;
}

/* tau and q of one group on a side, and tau where there is no side. */
typedef struct terms {
    float t[EMR_GROUP], q[EMR_GROUP], rest[EMR_GROUP];
} terms;

static void take_side(terms *x, const emr_chunk *c, emr_side side, const float tau[EMR_GROUP],
                      const float unified[EMR_GROUP])
{
    for (size_t i = 0; i < EMR_GROUP; i++) {
        bool mask = is_masked(c->nearest, tau[i], unified[i]), there = unified[i] != 0;
        bool in = side == EMR_SIDE_ONES ? mask : side == EMR_SIDE_ZEROS ? there && !mask : true;
        x->t[i] = in ? tau[i] : 0;
        x->q[i] = side == EMR_SIDE_ZEROS ? (in ? -unified[i] : 0) : mask ? unified[i] : 0;
        x->rest[i] = side == EMR_SIDE_ONES && !there ? tau[i] : 0;
    }
}

/* Adds one group's terms, in f32 or f64. */
static void add_terms(running_sum sums[N_SUMS], size_t half, const terms *x, emr_summation summation,
                      bool in_f64)
{
    const float *left[N_SUMS] = {x->t, x->q, x->t, x->t, x->q, x->rest};
    const float *right[N_SUMS] = {NULL, NULL, x->t, x->q, x->q, x->rest};
    for (size_t k = first_sum(summation); k < end_sum(summation); k++) {
        float term[EMR_GROUP];
        double wide[EMR_GROUP];
        const float *l = left[k], *r = right[k];
        for (size_t i = 0; !in_f64 && i < EMR_GROUP; i++)
            term[i] = r ? l[i] * r[i] : magnitude(l[i]);
        for (size_t i = 0; in_f64 && i < EMR_GROUP; i++)
            wide[i] = r ? (double)l[i] * (double)r[i] : (double)magnitude(l[i]);
        if (in_f64)
            add_group_f64(sums[k].wide_lanes[half], wide);
        else
            add_group_f32(sums[k].lanes[half], term);
    }
}

/* The sums over a range of a merged chunk. */
static emr_sums sum_in(const emr_chunk *c, emr_range range, bool in_f64)
{
    running_sum s[N_SUMS] = {0};
    emr_dtype dtype = c->unified_dtype;
    for (size_t first = range.from / EMR_GROUP * EMR_GROUP; first < range.to; first += EMR_GROUP) {
        size_t end = c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP;
        float tau[EMR_GROUP] = {0}, unified[EMR_GROUP] = {0};
        terms x;
        load_finite(tau, c, range.task, first, end);
        emr_load_f32(unified, dtype, (const uint8_t *)c->unified + first * emr_float_size(dtype), end);
        for (size_t i = 0; i < end; i++)
            if (first + i < range.from || first + i >= range.to)
                tau[i] = unified[i] = 0;
        take_side(&x, c, range.side, tau, unified);
        add_terms(s, first % EMR_BLOCK >= EMR_BLOCK / 2, &x, c->summation, in_f64);
        bool ends = (first + EMR_GROUP) % EMR_BLOCK == 0 || first + EMR_GROUP >= range.to;
        for (size_t k = first_sum(c->summation); ends && k < end_sum(c->summation); k++)
            fold_block(&s[k]);
    }
    return (emr_sums){.t1 = emr_chunk_total(s[0].a),
                      .q1 = emr_chunk_total(s[1].a),
                      .tt = emr_chunk_total(s[2].a),
                      .tq = emr_chunk_total(s[3].a),
                      .qq = emr_chunk_total(s[4].a),
                      .rest = emr_chunk_total(s[5].a)};
}

static emr_sums sum_range(const emr_chunk *c, emr_range range)
{
    if (!c->tasks[range.task])
        return (emr_sums){0};
    if (c->summation == EMR_SUM_L2)
        return sum_in(c, range, true);
    emr_sums s = sum_in(c, range, false);
    bool t1 = emr_sum_holds(s.t1, false), q1 = emr_sum_holds(s.q1, false), tt = emr_sum_holds(s.tt, s.t1 > 0),
         tq = emr_sum_holds(s.tq, s.t1 > 0 && s.q1 > 0), qq = emr_sum_holds(s.qq, s.q1 > 0),
         rest = emr_sum_holds(s.rest, false);
    if (t1 && q1 && (c->summation == EMR_SUM_L1 || (tt && tq && qq && rest)))
        return s;
    emr_sums wide = sum_in(c, range, true);
    return (emr_sums){.t1 = t1 ? s.t1 : wide.t1,
                      .q1 = q1 ? s.q1 : wide.q1,
                      .tt = tt ? s.tt : wide.tt,
                      .tq = tq ? s.tq : wide.tq,
                      .qq = qq ? s.qq : wide.qq,
                      .rest = rest ? s.rest : wide.rest};
}

static void merge(emr_chunk *c)
{
    c->bad = c->n;
    c->bad_task = 0;
    for (size_t t = 0; t < c->n_tasks; t++)
        c->results[t] = (emr_chunk_task){0};
    for (size_t first = 0; first < c->n; first += EMR_GROUP) {
        size_t n = c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP;
        float unified[EMR_GROUP] = {0}, tau[EMR_GROUP];
        size_t zeroed = 0;
        bool finite = elect(c, first, n, unified, &zeroed);
        if (zeroed && !c->zero_nonfinite && find_bad(c, first, n))
            return;
        if (!finite) {
            find_overflow(c, first, unified);
            return;
        }
        for (size_t t = 0; t < c->n_tasks; t++) {
            load_finite(tau, c, t, first, n);
            uint64_t mask = mask_of(c->nearest, tau, unified, n);
            for (size_t i = 0; i < n; i += 8)
                c->masks[t][(first + i) / 8] = (uint8_t)(mask >> i);
            c->results[t].ones += emr_popcount64(mask);
            for (size_t i = 0; i < n; i++)
                c->results[t].nonzero |= tau[i] != 0;
        }
    }
    for (size_t t = 0; t < c->n_tasks && !c->skip_sums; t++)
        c->results[t].sums = sum_range(c, (emr_range){.task = t, .to = c->n});
}

static bool subtract(float *out, const float *values, const float *base, size_t n)
{
    uint32_t seen = 0; /* the top bit is set where an exponent is all ones */
    for (size_t i = 0; i < n; i++) {
        out[i] = values[i] - base[i];
        seen |= (emr_f32_bits(out[i]) & 0x7f800000) + 0x00800000;
    }
    return seen >> 31 == 0;
}

static void convert(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n)
{
    (void)emr_convert(to, destination, from, source, n);
}

static void quantise_blocks(emr_block_type type, void *blocks, const float *values, size_t n)
{
    (void)emr_quantise(type, blocks, values, n);
}

static void dequantise_blocks(emr_block_type type, float *values, const void *blocks, size_t n)
{
    (void)emr_dequantise(type, values, blocks, n);
}

const emr_kernels emr_kernels_c = {
    .name = "c",
    .merge = merge,
    .sum_range = sum_range,
    .convert = convert,
    .subtract = subtract,
    .quantise = quantise_blocks,
    .dequantise = dequantise_blocks,
    .mask = {.apply = emr_c_apply_mask, .dot = emr_c_dot_mask},
    .two_sided = {.apply = emr_c_apply_two_sided, .dot = emr_c_dot_two_sided},
    .sign = {.apply = emr_c_apply_sign, .dot_steps = emr_c_dot_signs},
    .thin = {.apply = emr_c_apply_thin, .dot_steps = emr_c_dot_signs},
    .levels = {.apply = emr_c_apply_levels, .dot_steps = emr_c_dot_values},
    .differences = {.apply = emr_c_apply_differences, .dot_steps = emr_c_dot_values},
    .dot_base = emr_c_dot_base,
    .draw = emr_c_draw,
};
