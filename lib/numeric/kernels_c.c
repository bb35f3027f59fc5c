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

/* Whether the mask is 1: both non-zero, with the same sign. */
static int agree(float tau, float unified)
{
    return ((tau > 0) & (unified > 0)) | ((tau < 0) & (unified < 0));
}

/* Equation 4: the mask of one task and group, by signs alone. */
static uint64_t mask_of(const float tau[EMR_GROUP], const float unified[EMR_GROUP], size_t n)
{
    uint8_t bits[EMR_GROUP] = {0};
    for (size_t i = 0; i < n; i++)
        bits[i] = (uint8_t)agree(tau[i], unified[i]);
    return pack_bits(bits);
}

typedef struct accumulators {
    running_sum top, bottom;
} accumulators;

/* Equation 5's terms of one group, |tau| and |M * unified|, or their products for L2; `in_f64` repeats L1 in
 * f64. Where tau is 0 both terms are +0. */
static void add_terms(accumulators *a, size_t half, const float tau[EMR_GROUP],
                      const float unified[EMR_GROUP], bool l2, bool in_f64)
{
    float top[EMR_GROUP], bottom[EMR_GROUP];
    double wide_top[EMR_GROUP], wide_bottom[EMR_GROUP];
    for (size_t i = 0; i < EMR_GROUP; i++) {
        top[i] = magnitude(tau[i]);
        bottom[i] = agree(tau[i], unified[i]) ? magnitude(unified[i]) : 0;
    }
    if (!l2 && !in_f64) {
        add_group_f32(a->top.lanes[half], top);
        add_group_f32(a->bottom.lanes[half], bottom);
        return;
    }
    for (size_t i = 0; i < EMR_GROUP; i++) {
        wide_top[i] = l2 ? (double)top[i] * (double)bottom[i] : (double)top[i];
        wide_bottom[i] = l2 ? (double)bottom[i] * (double)bottom[i] : (double)bottom[i];
    }
    add_group_f64(a->top.wide_lanes[half], wide_top);
    add_group_f64(a->bottom.wide_lanes[half], wide_bottom);
}

/* The sums of one task over [from, to) of a merged chunk. */
static emr_sums sum_in(const emr_chunk *c, size_t task, size_t from, size_t to, bool in_f64)
{
    accumulators a = {0};
    emr_dtype dtype = c->unified_dtype;
    for (size_t first = from / EMR_GROUP * EMR_GROUP; first < to; first += EMR_GROUP) {
        size_t end = c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP;
        float tau[EMR_GROUP] = {0}, unified[EMR_GROUP] = {0};
        load_finite(tau, c, task, first, end);
        emr_load_f32(unified, dtype, (const uint8_t *)c->unified + first * emr_float_size(dtype), end);
        for (size_t i = 0; i < end; i++)
            if (first + i < from || first + i >= to)
                tau[i] = 0;
        add_terms(&a, first % EMR_BLOCK >= EMR_BLOCK / 2, tau, unified, c->l2, in_f64);
        if ((first + EMR_GROUP) % EMR_BLOCK == 0 || first + EMR_GROUP >= to) {
            fold_block(&a.top);
            fold_block(&a.bottom);
        }
    }
    return (emr_sums){emr_chunk_total(a.top.a), emr_chunk_total(a.bottom.a)};
}

static emr_sums sum_range(const emr_chunk *c, size_t task, size_t from, size_t to)
{
    const double infinity = emr_f64_from_bits((uint64_t)0x7ff << 52);
    emr_sums sums = sum_in(c, task, from, to, false);
    if (!c->l2 && (sums.top == infinity || sums.bottom == infinity)) {
        emr_sums wide = sum_in(c, task, from, to, true);
        sums.top = sums.top == infinity ? wide.top : sums.top;
        sums.bottom = sums.bottom == infinity ? wide.bottom : sums.bottom;
    }
    return sums;
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
            uint64_t mask = mask_of(tau, unified, n);
            for (size_t i = 0; i < n; i += 8)
                c->masks[t][(first + i) / 8] = (uint8_t)(mask >> i);
            c->results[t].ones += emr_popcount64(mask);
            for (size_t i = 0; i < n; i++)
                c->results[t].nonzero |= tau[i] != 0;
        }
    }
    for (size_t t = 0; t < c->n_tasks && !c->skip_sums; t++)
        c->results[t].sums = sum_range(c, t, 0, c->n);
}

static void convert(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n)
{
    (void)emr_convert(to, destination, from, source, n);
}

const emr_kernels emr_kernels_c = {
    .name = "c",
    .merge = merge,
    .sum_range = sum_range,
    .convert = convert,
    .mask = {.apply = emr_c_apply_mask, .dot = emr_c_dot_mask},
    .two_sided = {.apply = emr_c_apply_two_sided, .dot = emr_c_dot_two_sided},
    .sign = {.apply = emr_c_apply_sign, .dot_steps = emr_c_dot_signs},
    .thin = {.apply = emr_c_apply_thin, .dot_steps = emr_c_dot_signs},
    .levels = {.apply = emr_c_apply_levels, .dot_steps = emr_c_dot_values},
    .differences = {.apply = emr_c_apply_differences, .dot_steps = emr_c_dot_values},
    .dot_base = emr_c_dot_base,
};
