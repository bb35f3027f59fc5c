/* codes_template.h - weights of modulators, and products by them, for one instruction set: the second half
 * of kernels_template.h. Bit for bit the same as codes_c.c, which also does what is rare: F64 and F8,
 * differences. */

#include "numeric/thin.h"

/* Asks for bytes that are needed soon, into level 2. Far ahead, because a processor's own looking ahead ends
 * with each page of 4 KiB; measured on Zen 4, two streams of BF16 in pages of 4 KiB: 0.8 of plain reading
 * without, 0.9 with what comes 2 KiB later in level 1, 1.1 to 1.2 with what comes 8 KiB later in level 2.
 * Past the end nothing happens. */
static INLINE void prefetch_stream(const uint8_t *at, size_t n)
{
    for (size_t line = 0; line < n; line += 64)
        __builtin_prefetch(at + 8192 + line, 0, 2);
}

/* By the reference. Here and below, the number of scales tells the kinds with unified values apart. */
static void apply_part(const emr_run *r, size_t n_scales, size_t from, size_t n)
{
    emr_run part = *r;
    part.n = n;
    part.first_code = r->first_code + from;
    part.base = (const uint8_t *)r->base + from * emr_float_size(r->base_dtype);
    part.unified = (const uint8_t *)r->unified + from * emr_float_size(r->unified_dtype);
    part.out = (uint8_t *)r->out + from * emr_float_size(r->out_dtype);
    if (n)
        (n_scales == 1 ? emr_kernels_c.mask : emr_kernels_c.two_sided).apply(&part);
}

/* A vector of their scales: the first where the bit is 1, minus the second elsewhere. */
static INLINE v16 elected_scales(size_t n_scales, const float *scales, uint16_t bits)
{
    return n_scales == 1 ? v_set(scales[0]) : v_select(bits, v_set(scales[0]), v_set(-scales[1]));
}

/* Where those are not 0, of two; and where a mask is 1. */
static INLINE uint16_t scaled_bits(size_t n_scales, const float *scales, uint16_t bits)
{
    if (n_scales == 1)
        return bits;
    return (uint16_t)((scales[0] != 0 ? bits : 0) | (scales[1] != 0 ? ~(unsigned)bits : 0));
}

static INLINE uint16_t nonzero_bits(v16 x)
{
    m16 nonzero = v_agree(x, x);
    return (uint16_t)v_bits(nonzero, nonzero);
}

/* Whole vectors; the first bit is the first of a byte. With `stream`, a constant, what
 * is stored goes past the caches; `out` is aligned then. By value, so that what is stored cannot change it.
 */
static INLINE void apply_vectors(emr_run r, size_t n_scales, size_t from, size_t to, bool stream)
{
    size_t base_size = emr_float_size(r.base_dtype);
    size_t out_size = emr_float_size(r.out_dtype);
    size_t unified_size = emr_float_size(r.unified_dtype);
    const uint8_t *base = r.base, *unified = r.unified, *mask = r.codes + r.first_code / 8;
    uint8_t *out = r.out;
    _Alignas(64) uint8_t line[64];
    size_t bit = r.first_code % 8;
    for (size_t i = from; i < to; i += 16) {
        if ((i - from) % EMR_GROUP == 0) {
            prefetch_stream(base + i * base_size, EMR_GROUP * base_size);
            prefetch_stream(unified + i * unified_size, EMR_GROUP * unified_size);
        }
        uint8_t *at = stream ? line : out + i * out_size;
        uint16_t bits = emr_load16(mask + (bit + i) / 8);
        v16 w0 = load16(r.base_dtype, base + i * base_size);
        v16 u = load16(r.unified_dtype, unified + i * unified_size);
        v16 step = v_mul(elected_scales(n_scales, r.scales, bits), u);
        bits = scaled_bits(n_scales, r.scales, bits);
        if (n_scales == 2)
            bits &= nonzero_bits(u);
        v16 w = v_one_nan(v_add(w0, step));
        if (r.out_dtype == EMR_DTYPE_F32)
            v_store_f32(at, v_select(bits, w, w0)); /* an F32 base comes through with its own bits */
        else if (r.out_dtype == r.base_dtype)
            v_store_rounded_where(r.out_dtype, at, w, bits, base + i * base_size);
        else
            v_store_rounded(r.out_dtype, at, v_select(bits, w, w0));
        if (stream)
            v_stream(out + i * out_size, line, 16 * out_size);
    }
    if (stream)
        v_stream_end();
}

/* Dtypes are constants in the code that each case gets. */
static INLINE void apply_by_dtypes(const emr_run *given, size_t n_scales, emr_dtype base, emr_dtype unified,
                                   emr_dtype out, size_t from, size_t to, bool stream)
{
    emr_run r = *given;
    r.base_dtype = base;
    r.unified_dtype = unified;
    r.out_dtype = out;
    if (stream)
        apply_vectors(r, n_scales, from, to, true);
    else
        apply_vectors(r, n_scales, from, to, false);
}

static INLINE void apply_body(const emr_run *r, size_t n_scales, size_t from, size_t to, bool stream)
{
    emr_dtype base = r->base_dtype, unified = r->unified_dtype;
    emr_dtype out = r->out_dtype;
    if (base == EMR_DTYPE_F32 && unified == EMR_DTYPE_F32 && out == EMR_DTYPE_F32)
        apply_by_dtypes(r, n_scales, EMR_DTYPE_F32, EMR_DTYPE_F32, EMR_DTYPE_F32, from, to, stream);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_F32 && out == EMR_DTYPE_BF16)
        apply_by_dtypes(r, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_F32, EMR_DTYPE_BF16, from, to, stream);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_BF16 && out == EMR_DTYPE_BF16)
        apply_by_dtypes(r, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_BF16, EMR_DTYPE_BF16, from, to, stream);
    else if (base == EMR_DTYPE_F16 && unified == EMR_DTYPE_F32 && out == EMR_DTYPE_F16)
        apply_by_dtypes(r, n_scales, EMR_DTYPE_F16, EMR_DTYPE_F32, EMR_DTYPE_F16, from, to, stream);
    else if (base == EMR_DTYPE_F16 && unified == EMR_DTYPE_F16 && out == EMR_DTYPE_F16)
        apply_by_dtypes(r, n_scales, EMR_DTYPE_F16, EMR_DTYPE_F16, EMR_DTYPE_F16, from, to, stream);
    else
        apply_by_dtypes(r, n_scales, base, unified, out, from, to, stream);
}

static INLINE void apply_elected(const emr_run *r, size_t n_scales)
{
    if (!is_narrow(r->base_dtype) || !is_narrow(r->out_dtype)) {
        apply_part(r, n_scales, 0, r->n);
        return;
    }
    size_t head = (8 - r->first_code % 8) % 8;
    head = head < r->n ? head : r->n;
    size_t body = (r->n - head) / 16 * 16;
    apply_part(r, n_scales, 0, head);
    apply_body(r, n_scales, head, head + body,
               r->stream && ((uintptr_t)r->out + head * emr_float_size(r->out_dtype)) % 64 == 0);
    apply_part(r, n_scales, head + body, r->n - head - body);
}

static void apply_mask(const emr_run *r)
{
    apply_elected(r, 1);
}

static void apply_two_sided(const emr_run *r)
{
    apply_elected(r, 2);
}

/* Kinds that share nothing. What they code with, the columns and dtypes too, is constant in the code that
 * each case gets. */
typedef enum coded_kind { SIGNS, SIGNS_BY_COLUMNS, THINNED, BY_LEVELS } coded_kind;

/* Codes of `width` bits of the vector that begins at parameter p, a multiple of 16. Those of lanes [lo,
 * hi); no byte beside theirs is read. */
static INLINE uint64_t load_codes(const uint8_t *codes, size_t width, size_t p, size_t lo, size_t hi)
{
    const uint8_t *at = codes + p / 8 * width;
    if (hi - lo == 16)
        return width == 1   ? emr_load16(at)
               : width == 2 ? emr_load32(at)
               : width == 3 ? emr_load32(at) | (uint64_t)emr_load16(at + 4) << 32
                            : emr_load64(at);
    uint64_t word = 0;
    for (size_t i = lo * width / 8; i < (hi * width + 7) / 8; i++)
        word |= (uint64_t)at[i] << 8 * i;
    return word;
}

/* 16 levels, times the scale: over and over where there are fewer. */
static INLINE v16 level_table(const float *levels, size_t width, float scale)
{
    float table[16];
    for (size_t i = 0; i < 16; i++)
        table[i] = levels[i & (((size_t)1 << width) - 1)];
    return v_mul(v_set(scale), v_load_f32(table));
}

/* Where one vector of a run reads and writes, or, at either end, copies of that for lanes [lo, hi). */
typedef struct coded_place {
    size_t lo, hi;
    const uint8_t *base, *columns;
    uint8_t *out;
} coded_place;

/* Stores the sums of one vector where anything was added. */
static INLINE void store_coded(const emr_run *r, coded_kind coded, const coded_place *at, v16 w0, v16 w,
                               uint16_t bits)
{
    if (coded != THINNED)
        v_store_rounded(r->out_dtype, at->out, w);
    else if (r->out_dtype == EMR_DTYPE_F32)
        v_store_f32(at->out, v_select(bits, w, w0));
    else if (r->out_dtype == r->base_dtype)
        v_store_rounded_where(r->out_dtype, at->out, w, bits, at->base);
    else
        v_store_rounded(r->out_dtype, at->out, v_select(bits, w, w0));
}

/* By value, so that what is stored cannot change it. With `stream`, what is stored goes past the caches;
 * `out` is aligned then where p is a multiple of 16. */
static INLINE void apply_coded_vectors(emr_run r, coded_kind coded, bool stream)
{
    const size_t base_size = emr_float_size(r.base_dtype), out_size = emr_float_size(r.out_dtype);
    const size_t first = r.first_code, end = first + r.n, width = r.coding.rate / EMR_GROUP;
    const v16 scale = v_set(r.scales[0]);
    const v16 table = coded == BY_LEVELS ? level_table(r.coding.levels, width, r.scales[0]) : scale;
    _Alignas(64) uint8_t line[64], base[64] = {0}, columns[32] = {0};
    uint64_t kept = 0, signs = 0;
    for (size_t p = first / 16 * 16, i = 0; i < r.n; p += 16) {
        coded_place at = {.lo = i ? 0 : first - p, .hi = end - p < 16 ? end - p : 16};
        const size_t n = at.hi - at.lo;
        uint8_t *out = (uint8_t *)r.out + i * out_size;
        at.base = (const uint8_t *)r.base + i * base_size;
        at.columns = coded == SIGNS_BY_COLUMNS ? r.columns + 2 * i : columns;
        at.out = stream || n < 16 ? line : out;
        if (n < 16) {
            memcpy(base + at.lo * base_size, at.base, n * base_size);
            at.base = base;
            if (coded == SIGNS_BY_COLUMNS)
                memcpy(columns + 2 * at.lo, at.columns, 2 * n);
            at.columns = columns;
        } else if (p % EMR_GROUP == 0) {
            prefetch_stream(at.base, EMR_GROUP * base_size);
        }
        v16 w0 = load16(r.base_dtype, at.base), step = scale;
        uint16_t bits = 0xffff;
        if (coded == THINNED) {
            if (i == 0 || p % EMR_GROUP == 0) {
                kept = emr_thin_kept(&r.coding, r.group + p / EMR_GROUP);
                signs = emr_thin_signs(&r.coding, kept, emr_thin_codes(r.codes, &r.coding, p / EMR_GROUP));
            }
            bits = (uint16_t)(kept >> p % EMR_GROUP);
            step = v_signed((uint16_t)(signs >> p % EMR_GROUP), scale);
        } else if (coded == BY_LEVELS) {
            step = v_lookup(table, load_codes(r.codes, width, p, at.lo, at.hi), (unsigned)width);
        } else {
            if (coded == SIGNS_BY_COLUMNS)
                step = v_mul(scale, v_load_bf16(at.columns));
            step = v_signed((uint16_t)load_codes(r.codes, 1, p, at.lo, at.hi), step);
        }
        store_coded(&r, coded, &at, w0, v_one_nan(v_add(w0, step)), bits);
        if (n < 16)
            memcpy(out, line + at.lo * out_size, n * out_size);
        else if (stream)
            v_stream(out, line, 16 * out_size);
        i += n;
    }
    if (stream)
        v_stream_end();
}

/* Where vectors that begin at a multiple of 16 have an aligned output. */
static bool streams_coded(const emr_run *r)
{
    size_t size = emr_float_size(r->out_dtype), head = (16 - r->first_code % 16) % 16;
    return r->stream && ((uintptr_t)r->out + head * size) % (16 * size) == 0;
}

static INLINE void apply_coded_by(const emr_run *given, coded_kind coded, emr_dtype base, emr_dtype out)
{
    emr_run r = *given;
    bool stream = streams_coded(given);
    r.base_dtype = base;
    r.out_dtype = out;
    apply_coded_vectors(r, coded, stream);
}

static INLINE void apply_coded(const emr_run *r, coded_kind coded)
{
    emr_dtype base = r->base_dtype, out = r->out_dtype;
    if (base == EMR_DTYPE_F32 && out == EMR_DTYPE_F32)
        apply_coded_by(r, coded, EMR_DTYPE_F32, EMR_DTYPE_F32);
    else if (base == EMR_DTYPE_BF16 && out == EMR_DTYPE_BF16)
        apply_coded_by(r, coded, EMR_DTYPE_BF16, EMR_DTYPE_BF16);
    else if (base == EMR_DTYPE_F16 && out == EMR_DTYPE_F16)
        apply_coded_by(r, coded, EMR_DTYPE_F16, EMR_DTYPE_F16);
    else
        apply_coded_by(r, coded, base, out);
}

/* Left to the reference: dtypes that are rare, and the base where nothing is added. */
static bool is_plain(const emr_run *r)
{
    return !is_narrow(r->base_dtype) || !is_narrow(r->out_dtype) || r->scales[0] == 0;
}

static void apply_sign(const emr_run *r)
{
    if (is_plain(r))
        emr_kernels_c.sign.apply(r);
    else if (r->columns)
        apply_coded(r, SIGNS_BY_COLUMNS);
    else
        apply_coded(r, SIGNS);
}

static void apply_thin(const emr_run *r)
{
    if (is_plain(r))
        emr_kernels_c.thin.apply(r);
    else
        apply_coded(r, THINNED);
}

static void apply_levels(const emr_run *r)
{
    if (is_plain(r))
        emr_kernels_c.levels.apply(r);
    else
        apply_coded(r, BY_LEVELS);
}

/* Accumulators of some vectors for every other 16 columns. */
typedef struct dot_sums {
    v16 of[V_DOT_VECTORS];
} dot_sums;

static INLINE void dot_load(float (*sums)[EMR_LANES], size_t k, size_t half, dot_sums *s)
{
    UNROLL
    for (size_t b = 0; b < k; b++)
        s->of[b] = v_load_f32(sums[b] + 16 * half);
}

static INLINE void dot_store(float (*sums)[EMR_LANES], size_t k, size_t half, const dot_sums *s)
{
    UNROLL
    for (size_t b = 0; b < k; b++)
        v_store_f32(sums[b] + 16 * half, s->of[b]);
}

/* In f32 for 16 columns, `at` on. W may come out as +0 where the specification has -0: either zero, times
 * anything, leaves an accumulator as it is, which begins at +0 and is never -0. */
static INLINE v16 dot_weights(const emr_dot *d, size_t n_scales, size_t at, size_t mask, v16 w0, v16 unified)
{
    const float *scales = d->scales + mask * n_scales;
    uint16_t bits = (uint16_t)(d->codes[mask * EMR_DOT_WORDS + at / 32] >> at % 32);
    v16 step = v_mul(elected_scales(n_scales, scales, bits), unified);
    return v_add_where(scaled_bits(n_scales, scales, bits), w0, step);
}

static INLINE void dot_columns(const emr_dot *d, size_t n_scales, size_t from, size_t k, size_t at,
                               dot_sums *s)
{
    const uint8_t *base = d->base, *unified = d->unified;
    const float *x = d->x + from * d->stride + at;
    v16 w0 = load16(d->base_dtype, base + at * emr_float_size(d->base_dtype)), w = w0, u = w0;
    if (n_scales)
        u = load16(d->unified_dtype, unified + at * emr_float_size(d->unified_dtype));
    UNROLL
    for (size_t b = 0; b < k; b++, x += d->stride) {
        if (n_scales && (b == 0 || !d->shared))
            w = dot_weights(d, n_scales, at, d->shared ? 0 : from + b, w0, u);
        s->of[b] = v_add(s->of[b], v_mul(w, v_load_f32(x)));
    }
}

/* `k` vectors, a constant. By value, so that what is stored cannot change it. */
static INLINE void dot_vectors(emr_dot d, size_t n_scales, size_t from, size_t k)
{
    dot_sums low, high;
    dot_load(d.lanes + from, k, 0, &low);
    dot_load(d.lanes + from, k, 1, &high);
    for (size_t at = 0; at < d.n; at += EMR_LANES) {
        if (from == 0) { /* the other vectors find it there */
            size_t base_size = emr_float_size(d.base_dtype);
            size_t unified_size = emr_float_size(d.unified_dtype);
            prefetch_stream((const uint8_t *)d.base + at * base_size, EMR_LANES * base_size);
            if (n_scales)
                prefetch_stream((const uint8_t *)d.unified + at * unified_size, EMR_LANES * unified_size);
        }
        dot_columns(&d, n_scales, from, k, at, &low);
        dot_columns(&d, n_scales, from, k, at + 16, &high);
    }
    dot_store(d.lanes + from, k, 0, &low);
    dot_store(d.lanes + from, k, 1, &high);
}

/* As many vectors at a time as there are registers for: do_some(..., from, k), k a constant. */
#define SOME_AT_A_TIME(n_vectors, do_some, ...)                                                              \
    do {                                                                                                     \
        size_t from = 0;                                                                                     \
        for (; V_DOT_VECTORS >= 8 && (n_vectors)-from >= 8; from += 8)                                       \
            do_some(__VA_ARGS__, from, V_DOT_VECTORS >= 8 ? 8 : 1);                                          \
        for (; V_DOT_VECTORS >= 4 && (n_vectors)-from >= 4; from += 4)                                       \
            do_some(__VA_ARGS__, from, V_DOT_VECTORS >= 4 ? 4 : 1);                                          \
        for (; (n_vectors)-from >= 2; from += 2)                                                             \
            do_some(__VA_ARGS__, from, 2);                                                                   \
        if (from < (n_vectors))                                                                              \
            do_some(__VA_ARGS__, from, 1);                                                                   \
    } while (0)

/* The dtypes and whether there is one mask are constants in the code that each case gets. */
static INLINE void dot_by(const emr_dot *given, size_t n_scales, emr_dtype base_dtype,
                          emr_dtype unified_dtype, bool shared)
{
    emr_dot d = *given;
    d.base_dtype = base_dtype;
    d.unified_dtype = unified_dtype;
    d.shared = shared;
    SOME_AT_A_TIME(d.n_vectors, dot_vectors, d, n_scales);
}

static INLINE void dot_elected(const emr_dot *d, size_t n_scales)
{
    emr_dtype base = d->base_dtype, unified = d->unified_dtype;
    if (!is_narrow(d->base_dtype))
        (n_scales == 1 ? emr_kernels_c.mask : emr_kernels_c.two_sided).dot(d);
    else if (base == EMR_DTYPE_F32 && unified == EMR_DTYPE_F32 && d->shared)
        dot_by(d, n_scales, EMR_DTYPE_F32, EMR_DTYPE_F32, true);
    else if (base == EMR_DTYPE_F32 && unified == EMR_DTYPE_F32)
        dot_by(d, n_scales, EMR_DTYPE_F32, EMR_DTYPE_F32, false);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_F32 && d->shared)
        dot_by(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_F32, true);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_F32)
        dot_by(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_F32, false);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_BF16 && d->shared)
        dot_by(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_BF16, true);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_BF16)
        dot_by(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_BF16, false);
    else
        dot_by(d, n_scales, base, unified, d->shared);
}

static void dot_mask(const emr_dot *d)
{
    dot_elected(d, 1);
}

static void dot_two_sided(const emr_dot *d)
{
    dot_elected(d, 2);
}

static void dot_base(const emr_dot *d)
{
    if (!is_narrow(d->base_dtype))
        emr_kernels_c.dot_base(d);
    else if (d->base_dtype == EMR_DTYPE_F32)
        dot_by(d, 0, EMR_DTYPE_F32, EMR_DTYPE_F32, true);
    else if (d->base_dtype == EMR_DTYPE_BF16)
        dot_by(d, 0, EMR_DTYPE_BF16, EMR_DTYPE_F32, true);
    else
        dot_by(d, 0, EMR_DTYPE_F16, EMR_DTYPE_F32, true);
}

/* 16 columns, `at` on, of a kind that shares nothing, for a scale of 1. */
static INLINE void step_columns(const emr_step_dot *d, coded_kind coded, v16 table, size_t from, size_t k,
                                size_t at, dot_sums *s)
{
    const size_t width = d->coding.rate / EMR_GROUP;
    const float *x = d->x + from * d->stride + at;
    uint16_t bits = 0, kept = 0;
    v16 factor = table;
    if (coded == BY_LEVELS)
        factor = v_lookup(table, load_codes((const uint8_t *)d->codes, width, at, 0, 16), (unsigned)width);
    else
        bits = (uint16_t)(d->codes[at / 32] >> at % 32);
    if (coded == SIGNS_BY_COLUMNS)
        factor = v_load_bf16(d->columns + 2 * at);
    if (coded == THINNED)
        kept = (uint16_t)(d->kept[at / 32] >> at % 32);
    UNROLL
    for (size_t b = 0; b < k; b++, x += d->stride) {
        v16 step = v_load_f32(x);
        if (coded == SIGNS_BY_COLUMNS || coded == BY_LEVELS)
            step = v_mul(factor, step);
        if (coded != BY_LEVELS)
            step = v_signed(bits, step);
        s->of[b] = coded == THINNED ? v_add_where(kept, s->of[b], step) : v_add(s->of[b], step);
    }
}

static INLINE void step_vectors(emr_step_dot d, coded_kind coded, size_t from, size_t k)
{
    const v16 table =
        coded == BY_LEVELS ? level_table(d.coding.levels, d.coding.rate / EMR_GROUP, 1) : v_zero();
    dot_sums low, high;
    dot_load(d.lanes + from, k, 0, &low);
    dot_load(d.lanes + from, k, 1, &high);
    for (size_t at = 0; at < d.n; at += EMR_LANES) {
        step_columns(&d, coded, table, from, k, at, &low);
        step_columns(&d, coded, table, from, k, at + 16, &high);
    }
    dot_store(d.lanes + from, k, 0, &low);
    dot_store(d.lanes + from, k, 1, &high);
}

static INLINE void step_dot(const emr_step_dot *d, coded_kind coded)
{
    SOME_AT_A_TIME(d->n_vectors, step_vectors, *d, coded);
}

#undef SOME_AT_A_TIME

static void dot_signs(const emr_step_dot *d)
{
    if (d->kept)
        step_dot(d, THINNED);
    else if (d->columns)
        step_dot(d, SIGNS_BY_COLUMNS);
    else
        step_dot(d, SIGNS);
}

static void dot_levels(const emr_step_dot *d)
{
    step_dot(d, BY_LEVELS);
}

/* These in a variant's table. */
#define CODE_KERNELS                                                                                         \
    .mask = {.apply = apply_mask, .dot = dot_mask},                                                          \
    .two_sided = {.apply = apply_two_sided, .dot = dot_two_sided},                                           \
    .sign = {.apply = apply_sign, .dot_steps = dot_signs},                                                   \
    .thin = {.apply = apply_thin, .dot_steps = dot_signs},                                                   \
    .levels = {.apply = apply_levels, .dot_steps = dot_levels}, .dot_base = dot_base
