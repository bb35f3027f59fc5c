/* kernels_template.h - the kernels for one instruction set. Included once by each variant's file, which first
 * defines a vector of 16 floats, `v16`, and the operations on it that are used here. Bit for bit the same as
 * kernels_c.c, which also does what is rare: F64 and F8 sources, values that are not finite, sums that
 * overflow f32, L2 sums. */

#include "core/bytes.h"
#include "numeric/convert.h"

#include <stdbool.h>

enum {
    BATCH = 64,     /* tasks whose task vectors of one group are kept at a time */
    PREFETCH = 512, /* bytes ahead */
};

static bool is_narrow(unsigned dtype)
{
    return dtype == EMR_F32 || dtype == EMR_F16 || dtype == EMR_BF16;
}

static inline v16 load16(unsigned dtype, const uint8_t *p)
{
    return dtype == EMR_F32 ? v_load_f32(p) : dtype == EMR_BF16 ? v_load_bf16(p) : v_load_f16(p);
}

static inline void load_whole(unsigned dtype, const uint8_t *from, v16 values[4])
{
    /* Many streams side by side are more than processors follow on their own: measured 1.15 times as fast
     * with eight tasks. Past the end of a buffer nothing happens. */
    for (size_t line = 0; line < EMR_GROUP * emr_float_size((emr_dtype)dtype); line += 64)
        __builtin_prefetch(from + PREFETCH + line);
    for (size_t q = 0; q < 4 && dtype == EMR_F32; q++)
        values[q] = v_load_f32(from + q * 64);
    for (size_t q = 0; q < 4 && dtype == EMR_BF16; q++)
        values[q] = v_load_bf16(from + q * 32);
    for (size_t q = 0; q < 4 && dtype == EMR_F16; q++)
        values[q] = v_load_f16(from + q * 32);
}

/* The 64 values of a group; those past its end are 0. */
static inline void load_group(unsigned dtype, const void *values, size_t first, size_t n, v16 group_values[4])
{
    size_t size = emr_float_size((emr_dtype)dtype);
    const uint8_t *from = (const uint8_t *)values + first * size;
    if (n == EMR_GROUP) {
        load_whole(dtype, from, group_values);
    } else {
        uint8_t padded[EMR_GROUP * 4] = {0};
        memcpy(padded, from, n * size);
        load_whole(dtype, padded, group_values);
    }
}

/* tau = W_t - W_0 of one group. */
static inline void load_tau(const emr_chunk *c, size_t task, size_t first, size_t n, const v16 base[4],
                            float tau[EMR_GROUP])
{
    v16 w[4];
    if (c->tasks[task])
        load_group(c->task_dtypes[task], c->tasks[task], first, n, w);
    for (size_t q = 0; q < 4; q++)
        v_store_f32(tau + 16 * q, c->tasks[task] ? v_sub(w[q], base[q]) : v_zero());
}

/* One group's state between its passes. */
typedef struct group {
    _Alignas(64) float tau[BATCH][EMR_GROUP];
    _Alignas(64) float sum[EMR_GROUP], most[EMR_GROUP], least[EMR_GROUP];
    _Alignas(64) float sign[EMR_GROUP], magnitude[EMR_GROUP]; /* of the unified value, as stored */
    uint64_t elected;                                         /* where it is not 0 */
} group;

/* Equations 1 and 2 over one batch of tasks, from and to the group's sum, most and least. */
static inline void accumulate(group *g, size_t n_tasks)
{
    for (size_t q = 0; q < EMR_GROUP; q += 16) {
        v16 sum = v_load_f32(g->sum + q), most = v_load_f32(g->most + q), least = v_load_f32(g->least + q);
        for (size_t t = 0; t < n_tasks; t++) {
            v16 tau = v_load_f32(g->tau[t] + q);
            sum = v_add(sum, tau);
            most = v_max(tau, most);
            least = v_min(tau, least);
        }
        v_store_f32(g->sum + q, sum);
        v_store_f32(g->most + q, most);
        v_store_f32(g->least + q, least);
    }
}

/* Equation 3, rounded to the unified dtype and stored. A zero is stored as +0. */
static inline void elect(const emr_chunk *c, group *g, size_t first, size_t n)
{
    size_t size = emr_float_size((emr_dtype)c->unified_dtype);
    uint8_t *to = (uint8_t *)c->unified + first * size;
    uint8_t padded[EMR_GROUP * 4];
    uint8_t *stored = n < EMR_GROUP ? padded : to;
    g->elected = 0;
    for (size_t q = 0; q < EMR_GROUP; q += 16) {
        v16 unified = v_elect(v_load_f32(g->sum + q), v_load_f32(g->most + q), v_load_f32(g->least + q),
                              c->tie_negative);
        unified = v_plus_zero(v_round(c->unified_dtype, unified));
        v_store_rounded(c->unified_dtype, stored + q * size, unified);
        v_store_f32(g->sign + q, v_sign(unified));
        v_store_f32(g->magnitude + q, v_abs(unified));
        g->elected |= (uint64_t)v_bits_positive(v_abs(unified)) << q;
    }
    if (n < EMR_GROUP)
        memcpy(to, padded, n * size);
}

/* Equations 4 and 5 for one task and group. */
static inline void mask_and_sum(const emr_chunk *c, const group *g, size_t task, const float tau[EMR_GROUP],
                                size_t first, size_t n)
{
    emr_chunk_task *r = &c->results[task];
    uint64_t mask = 0;
    v16 top = v_zero(), bottom = v_zero();
    for (size_t q = 0; q < EMR_GROUP; q += 16) {
        v16 t = v_load_f32(tau + q), magnitude = v_load_f32(g->magnitude + q);
        v16 same =
            v_xor(t, v_load_f32(g->sign + q)); /* positive where tau is not 0 and has the unified sign */
        mask |= (uint64_t)v_bits_positive(same) << q;
        top = q ? v_add(top, v_abs(t)) : v_abs(t);
        v16 kept = v_where_positive(same, magnitude);
        bottom = q ? v_add(bottom, kept) : kept;
    }
    mask &= g->elected;
    uint8_t *to = c->masks[task] + first / 8;
    if (n == EMR_GROUP) {
        emr_store64(to, mask);
    } else {
        for (size_t i = 0; i < n; i += 8)
            to[i / 8] = (uint8_t)(mask >> i);
    }
    r->ones += v_popcount(mask);
    v_fold_add(r->lanes, top);
    v_fold_add(r->lanes + 4, bottom);
}

static inline void merge_group(const emr_chunk *c, group *g, size_t first, size_t n)
{
    v16 base[4];
    load_group(c->base_dtype, c->base, first, n, base);
    for (size_t q = 0; q < EMR_GROUP; q += 16) {
        v_store_f32(g->sum + q, v_zero());
        v_store_f32(g->most + q, v_zero());
        v_store_f32(g->least + q, v_zero());
    }
    for (size_t done = 0; done < c->n_tasks; done += BATCH) {
        size_t n_batch = c->n_tasks - done < BATCH ? c->n_tasks - done : BATCH;
        for (size_t t = 0; t < n_batch; t++)
            load_tau(c, done + t, first, n, base, g->tau[t]);
        accumulate(g, n_batch);
    }
    elect(c, g, first, n);
    for (size_t t = 0; t < c->n_tasks; t++) {
        if (c->n_tasks > BATCH) /* what was kept is another batch's by now */
            load_tau(c, t, first, n, base, g->tau[0]);
        mask_and_sum(c, g, t, c->n_tasks > BATCH ? g->tau[0] : g->tau[t], first, n);
    }
}

static void merge(emr_chunk *c)
{
    const double infinity = emr_f64_from_bits((uint64_t)0x7ff << 52);
    bool narrow = is_narrow(c->base_dtype), finite = true;
    for (size_t t = 0; t < c->n_tasks; t++)
        narrow = narrow && (!c->tasks[t] || is_narrow(c->task_dtypes[t]));
    if (!narrow || c->l2) {
        emr_kernels_c.merge(c);
        return;
    }
    group g;
    c->bad = c->n;
    c->bad_task = 0;
    for (size_t t = 0; t < c->n_tasks; t++)
        c->results[t] = (emr_chunk_task){.ones = 0};
    for (size_t first = 0; first < c->n; first += EMR_GROUP)
        merge_group(c, &g, first, c->n - first < EMR_GROUP ? c->n - first : EMR_GROUP);
    for (size_t t = 0; t < c->n_tasks; t++) {
        emr_chunk_task *r = &c->results[t];
        r->sums = (emr_sums){emr_chunk_total(r->lanes), emr_chunk_total(r->lanes + 4)};
        r->nonzero = r->sums.top > 0;
        finite = finite && r->sums.top < infinity && r->sums.bottom < infinity; /* false for NaN too */
        if (c->skip_sums)
            r->sums = (emr_sums){0, 0};
    }
    if (!finite) /* bad input, or sums past f32: rare, and told apart there */
        emr_kernels_c.merge(c);
}

static void apply_by(const emr_kernels *kernels, const emr_run *r, size_t from, size_t n)
{
    emr_run part = *r;
    part.n = n;
    part.bit = r->bit + from;
    part.base = (const uint8_t *)r->base + from * emr_float_size((emr_dtype)r->base_dtype);
    part.unified = (const uint8_t *)r->unified + from * emr_float_size((emr_dtype)r->unified_dtype);
    part.out = (uint8_t *)r->out + from * emr_float_size((emr_dtype)r->out_dtype);
    if (n)
        kernels->apply(&part);
}

/* Equation 6 for whole vectors; the mask's first bit is the first of a byte. */
static void apply_vectors(const emr_run *r, size_t from, size_t to)
{
    size_t base_size = emr_float_size((emr_dtype)r->base_dtype),
           out_size = emr_float_size((emr_dtype)r->out_dtype);
    size_t unified_size = emr_float_size((emr_dtype)r->unified_dtype);
    const uint8_t *base = r->base, *unified = r->unified, *mask = r->mask + r->bit / 8;
    uint8_t *out = r->out;
    v16 rescaler = v_set(r->rescaler);
    size_t bit = r->bit % 8;
    for (size_t i = from; i < to; i += 16) {
        uint16_t bits = emr_load16(mask + (bit + i) / 8);
        v16 w0 = load16(r->base_dtype, base + i * base_size);
        v16 step = v_mul(rescaler, load16(r->unified_dtype, unified + i * unified_size));
        v16 w = v_select(bits, v_add(w0, step), w0);
        if (r->out_dtype == EMR_F32)
            v_store_f32(out + i * out_size, w); /* an F32 base comes through with its own bits */
        else if (r->out_dtype == r->base_dtype)
            v_store_rounded_where(r->out_dtype, out + i * out_size, w, bits, base + i * base_size);
        else
            v_store_rounded(r->out_dtype, out + i * out_size, w);
    }
}

static void apply(const emr_run *r)
{
    if (!is_narrow(r->base_dtype) || !is_narrow(r->out_dtype)) {
        emr_kernels_c.apply(r);
        return;
    }
    size_t head = (8 - r->bit % 8) % 8;
    head = head < r->n ? head : r->n;
    size_t body = (r->n - head) / 16 * 16;
    apply_by(&emr_kernels_c, r, 0, head);
    apply_vectors(r, head, head + body);
    apply_by(&emr_kernels_c, r, head + body, r->n - head - body);
}

static emr_sums sum_range(const emr_chunk *c, size_t task, size_t from, size_t to)
{
    return emr_kernels_c.sum_range(c, task, from, to);
}
