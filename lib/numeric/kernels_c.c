/* kernels_c.c - the kernels in plain C: the numerical specification. */
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

/* Sums of equation 6, in which every NaN is the same. */
static float add_f32(float w, float step)
{
    float sum = w + step;
    return sum == sum ? sum : emr_f32_from_bits(EMR_NAN_F32);
}

static double add_f64(double w, double step)
{
    double sum = w + step;
    return sum == sum ? sum : emr_f64_from_bits((uint64_t)0x7ff8 << 48);
}

/* Equation 6. */
static void apply_mask(const emr_run *r)
{
    emr_dtype base_dtype = r->base_dtype, unified_dtype = r->unified_dtype;
    emr_dtype out_dtype = r->out_dtype;
    size_t size = emr_float_size(base_dtype), out_size = emr_float_size(out_dtype);
    for (size_t first = 0; first < r->n; first += EMR_GROUP) {
        size_t n = r->n - first < EMR_GROUP ? r->n - first : EMR_GROUP;
        const uint8_t *base = (const uint8_t *)r->base + first * size;
        uint8_t *out = (uint8_t *)r->out + first * out_size;
        float step[EMR_GROUP], w[EMR_GROUP];
        double wide[EMR_GROUP];
        uint8_t kept[EMR_GROUP * sizeof(double)]; /* the base in the output's dtype; `out` may be `base` */
        bool mask[EMR_GROUP];
        (void)emr_convert(out_dtype, kept, base_dtype, base, n); /* the same bytes where dtypes are equal */
        emr_load_f32(step, unified_dtype, (const uint8_t *)r->unified + first * emr_float_size(unified_dtype),
                     n);
        for (size_t i = 0; i < n; i++) {
            size_t bit = r->first_code + first + i;
            mask[i] = r->codes[bit / 8] >> bit % 8 & 1;
            step[i] = r->scales[0] * step[i];
        }
        if (base_dtype == EMR_DTYPE_F64) {
            emr_load_f64(wide, base_dtype, base, n);
            for (size_t i = 0; i < n; i++)
                wide[i] = mask[i] ? add_f64(wide[i], (double)step[i]) : wide[i];
            emr_store_f64(out_dtype, out, wide, n);
        } else {
            emr_load_f32(w, base_dtype, base, n);
            for (size_t i = 0; i < n; i++)
                w[i] = mask[i] ? add_f32(w[i], step[i]) : w[i];
            emr_store_f32(out_dtype, out, w, n);
        }
        for (size_t i = 0; i < n;
             i++) /* not left to the selections above: compilers may make NaNs quiet there */
            if (!mask[i])
                memcpy(out + i * out_size, kept + i * out_size, out_size);
    }
}

/* Equation 6 for EMR_LANES columns, in f32. */
static void task_weights(const emr_dot *d, size_t first, size_t mask, float w[EMR_LANES])
{
    emr_dtype base_dtype = d->base_dtype, unified_dtype = d->unified_dtype;
    const uint8_t *base = (const uint8_t *)d->base + first * emr_float_size(base_dtype);
    float step[EMR_LANES];
    double wide[EMR_LANES];
    uint32_t bits = d->codes[mask * EMR_DOT_WORDS + first / EMR_LANES];
    emr_load_f32(step, unified_dtype, (const uint8_t *)d->unified + first * emr_float_size(unified_dtype),
                 EMR_LANES);
    for (size_t j = 0; j < EMR_LANES; j++)
        step[j] = d->scales[mask] * step[j];
    if (base_dtype == EMR_DTYPE_F64) {
        emr_load_f64(wide, base_dtype, base, EMR_LANES);
        for (size_t j = 0; j < EMR_LANES; j++)
            w[j] = (float)(bits >> j & 1 ? wide[j] + (double)step[j] : wide[j]);
        return;
    }
    emr_load_f32(w, base_dtype, base, EMR_LANES);
    for (size_t j = 0; j < EMR_LANES; j++)
        w[j] = bits >> j & 1 ? w[j] + step[j] : w[j];
}

static void dot_mask(const emr_dot *d)
{
    float w[EMR_LANES];
    for (size_t first = 0; first < d->n; first += EMR_LANES)
        for (size_t b = 0; b < d->n_vectors; b++) {
            const float *x = d->x + b * d->stride + first;
            if (b == 0 || !d->shared)
                task_weights(d, first, d->shared ? 0 : b, w);
            for (size_t j = 0; j < EMR_LANES; j++)
                d->lanes[b][j] = d->lanes[b][j] + w[j] * x[j];
        }
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
    .mask = {.apply = apply_mask, .dot = dot_mask},
};
