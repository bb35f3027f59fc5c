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

/* In place of the base's dtype, a constant: no base is read, all its values are +0. */
enum { NO_BASE = EMR_DTYPE_NONE };

static bool is_plain_base(emr_dtype dtype)
{
    return dtype == NO_BASE || is_narrow(dtype);
}

/* 16 of the base's values, from number i on. */
static INLINE v16 load_base_vector(unsigned dtype, const uint8_t *base, size_t i)
{
    return dtype == NO_BASE ? v_zero() : load16(dtype, base + i * emr_float_size(dtype));
}

static INLINE void prefetch_base(unsigned dtype, const uint8_t *base, size_t i, size_t n)
{
    if (dtype != NO_BASE)
        prefetch_stream(base + i * emr_float_size(dtype), n * emr_float_size(dtype));
}

/* By the reference. Here and below, the number of scales tells the kinds with unified values apart. */
static void apply_part(const emr_run *r, size_t n_scales, size_t from, size_t n)
{
    emr_run part = *r;
    part.n = n;
    part.first_code = r->first_code + from;
    if (r->base)
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

/* Whole vectors; the first bit is the first of a byte. With `stream`, a constant, what is stored goes past the
 * caches; `out` is aligned then. By value, so that what is stored cannot change it. */
static INLINE void apply_vectors(emr_run r, size_t n_scales, size_t from, size_t to, bool stream)
{
    size_t out_size = emr_float_size(r.out_dtype);
    size_t unified_size = emr_float_size(r.unified_dtype);
    const uint8_t *base = r.base, *unified = r.unified, *mask = r.codes + r.first_code / 8;
    uint8_t *out = r.out;
    _Alignas(64) uint8_t line[64];
    size_t bit = r.first_code % 8;
    for (size_t i = from; i < to; i += 16) {
        if ((i - from) % EMR_GROUP == 0) {
            prefetch_base(r.base_dtype, base, i, EMR_GROUP);
            prefetch_stream(unified + i * unified_size, EMR_GROUP * unified_size);
        }
        uint8_t *at = stream ? line : out + i * out_size;
        uint16_t bits = emr_load16(mask + (bit + i) / 8);
        v16 w0 = load_base_vector(r.base_dtype, base, i);
        v16 u = load16(r.unified_dtype, unified + i * unified_size);
        v16 step = v_mul(elected_scales(n_scales, r.scales, bits), u);
        bits = scaled_bits(n_scales, r.scales, bits);
        if (n_scales == 2)
            bits &= nonzero_bits(u);
        v16 w = v_one_nan(v_add(w0, step));
        if (r.out_dtype == EMR_DTYPE_F32)
            v_store_f32(at, v_select(bits, w, w0)); /* an F32 base comes through with its own bits */
        else if (r.out_dtype == r.base_dtype)
            v_store_rounded_where(r.out_dtype, at, w, bits, base + i * emr_float_size(r.out_dtype));
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
    emr_dtype base = r->base ? r->base_dtype : NO_BASE, unified = r->unified_dtype;
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
    else if (base == NO_BASE)
        apply_by_dtypes(r, n_scales, NO_BASE, unified, out, from, to, stream);
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
typedef enum coded_kind {
    SIGNS,
    SIGNS_BY_COLUMNS,
    THINNED,
    LEVELS_OF_2_BITS,
    LEVELS_OF_3_BITS,
    LEVELS_OF_4_BITS
} coded_kind;

/* Bits of a code; of a thinned group there are fewer codes. */
static INLINE size_t code_width(coded_kind coded)
{
    return coded == LEVELS_OF_2_BITS ? 2 : coded == LEVELS_OF_3_BITS ? 3 : coded == LEVELS_OF_4_BITS ? 4 : 1;
}

/* Codes of 16 parameters. No byte beside theirs is read. */
static INLINE uint64_t load_codes(size_t width, const uint8_t *at)
{
    return width == 1   ? emr_load16(at)
           : width == 2 ? emr_load32(at)
           : width == 3 ? emr_load32(at) | (uint64_t)emr_load16(at + 4) << 32
                        : emr_load64(at);
}

/* 16 levels, times the scale: over and over where there are fewer. */
static INLINE v16 level_table(coded_kind coded, const float *levels, float scale)
{
    float table[16] = {0};
    for (size_t i = 0; i < 16 && code_width(coded) > 1; i++)
        table[i] = levels[i % ((size_t)1 << code_width(coded))];
    return v_mul(v_set(scale), v_load_f32(table));
}

enum { DRAWN = 8 }; /* groups whose positions are drawn together, in vectors of words */

/* What eight groups from number `first` on keep; of codes there are those of `n`. k is a constant, so that codes
 * are loaded at once, where all of them are there. */
static INLINE void draw_by(const emr_run *r, size_t first, size_t n, uint32_t k, uint64_t *kept,
                           uint64_t *signs)
{
    const emr_coding coding = {.rate = EMR_GROUP >> k, .seed = r->coding.seed};
    uint64_t codes[DRAWN] = {0}, all[DRAWN];
    if (n >= DRAWN)
        for (size_t g = 0; g < DRAWN; g++)
            codes[g] = emr_thin_codes(r->codes, &coding, first + g);
    else
        for (size_t g = 0; g < n; g++)
            codes[g] = emr_thin_codes(r->codes, &coding, first + g);
    for (size_t g = 0; g < DRAWN; g++)
        all[g] = emr_thin_kept_by(emr_thin_hash(coding.seed, r->group + first + g), k);
    for (size_t g = 0; g < DRAWN; g++)
        signs[g] = emr_thin_signs_by(all[g], codes[g], k);
    memcpy(kept, all, sizeof all);
}

static ALONE void draw_groups(const emr_run *r, size_t first, size_t n, uint64_t *kept, uint64_t *signs)
{
    switch (r->coding.rate) {
    case 32:
        draw_by(r, first, n, 1, kept, signs);
        break;
    case 16:
        draw_by(r, first, n, 2, kept, signs);
        break;
    case 8:
        draw_by(r, first, n, 3, kept, signs);
        break;
    case 4:
        draw_by(r, first, n, 4, kept, signs);
        break;
    default:
        draw_by(r, first, n, 5, kept, signs);
    }
}

static void draw_many(const emr_run *r, size_t first, size_t n, uint32_t *kept, uint32_t *signs)
{
    uint64_t some_kept[DRAWN], some_signs[DRAWN];
    size_t at = 0;
    for (; n - at >= DRAWN; at += DRAWN) {
        draw_groups(r, first + at, DRAWN, some_kept, some_signs);
        memcpy(kept + 2 * at, some_kept, sizeof some_kept);
        memcpy(signs + 2 * at, some_signs, sizeof some_signs);
    }
    if (at == n)
        return;
    draw_groups(r, first + at, n - at, some_kept, some_signs);
    memcpy(kept + 2 * at, some_kept, (n - at) * sizeof *some_kept);
    memcpy(signs + 2 * at, some_signs, (n - at) * sizeof *some_signs);
}

/* Stores sums where anything was added. */
static INLINE void store_coded(const emr_run *r, size_t i, uint8_t *out, v16 w0, v16 w, uint16_t bits)
{
    if (r->out_dtype == EMR_DTYPE_F32)
        v_store_f32(out, bits == 0xffff ? w : v_select(bits, w, w0));
    else if (r->out_dtype == r->base_dtype)
        v_store_rounded_where(r->out_dtype, out, w, bits,
                              (const uint8_t *)r->base + i * emr_float_size(r->base_dtype));
    else
        v_store_rounded(r->out_dtype, out, bits == 0xffff ? w : v_select(bits, w, w0));
}

/* Whole vectors, which begin where the codes of 16 do. By value, so that what is stored cannot change it.
 * With `stream` it goes past the caches; `out` is aligned then. */
static INLINE void apply_coded_vectors(emr_run r, coded_kind coded, bool stream)
{
    const size_t out_size = emr_float_size(r.out_dtype);
    const v16 scale = v_set(r.scales[0]), table = level_table(coded, r.coding.levels, r.scales[0]);
    const uint8_t *base = r.base;
    uint8_t *out = r.out;
    const size_t first_group = r.first_code / EMR_GROUP,
                 end_group = (r.first_code + r.n + EMR_GROUP - 1) / EMR_GROUP;
    _Alignas(64) uint8_t line[64] = {0};
    uint64_t kept[DRAWN], signs[DRAWN];
    for (size_t i = 0, p = r.first_code; i < r.n; i += 16, p += 16) {
        uint8_t *at = stream ? line : out + i * out_size;
        v16 w0 = load_base_vector(r.base_dtype, base, i), step = scale;
        if (p % EMR_GROUP == 0)
            prefetch_base(r.base_dtype, base, i, EMR_GROUP);
        if (coded == THINNED) {
            size_t group = p / EMR_GROUP, at_hand = (group - first_group) % DRAWN;
            if (i == 0 || (at_hand == 0 && p % EMR_GROUP == 0))
                draw_groups(&r, group, end_group - group, kept, signs);
            v16 w = v_one_nan(v_add(w0, v_signed((uint16_t)(signs[at_hand] >> p % EMR_GROUP), scale)));
            store_coded(&r, i, at, w0, w, (uint16_t)(kept[at_hand] >> p % EMR_GROUP));
        } else {
            uint64_t codes = load_codes(code_width(coded), r.codes + p / 8 * code_width(coded));
            if (coded == SIGNS_BY_COLUMNS)
                step = v_mul(scale, v_load_bf16(r.columns + 2 * i));
            step = code_width(coded) == 1 ? v_signed((uint16_t)codes, step)
                                          : v_lookup(table, codes, (unsigned)code_width(coded));
            store_coded(&r, i, at, w0, v_one_nan(v_add(w0, step)), 0xffff);
        }
        if (stream)
            v_stream(out + i * out_size, line, 16 * out_size);
    }
    if (stream)
        v_stream_end();
}

/* Dtypes are constants in the code that each case gets. */
static INLINE void apply_coded_by(const emr_run *given, coded_kind coded, emr_dtype base, emr_dtype out)
{
    emr_run r = *given;
    r.base_dtype = base;
    r.out_dtype = out;
    if (given->stream)
        apply_coded_vectors(r, coded, true);
    else
        apply_coded_vectors(r, coded, false);
}

static INLINE void apply_coded_body(const emr_run *r, coded_kind coded)
{
    emr_dtype base = r->base ? r->base_dtype : NO_BASE, out = r->out_dtype;
    if (base == EMR_DTYPE_F32 && out == EMR_DTYPE_F32)
        apply_coded_by(r, coded, EMR_DTYPE_F32, EMR_DTYPE_F32);
    else if (base == EMR_DTYPE_BF16 && out == EMR_DTYPE_BF16)
        apply_coded_by(r, coded, EMR_DTYPE_BF16, EMR_DTYPE_BF16);
    else if (base == EMR_DTYPE_F16 && out == EMR_DTYPE_F16)
        apply_coded_by(r, coded, EMR_DTYPE_F16, EMR_DTYPE_F16);
    else if (base == NO_BASE)
        apply_coded_by(r, coded, NO_BASE, out);
    else
        apply_coded_by(r, coded, base, out);
}

/* Bytes below which it costs more to wait for what went past the caches: rows are runs by themselves.
 * Measured on Zen 4: rows of 1.5 KiB 0.64 of copying with that, 0.83 without; of 8 KiB 1.09 and 0.87. */
enum { STREAM_LEAST = 4096 };

typedef void (*coded_body_fn)(const emr_run *r);

/* Parameters [from, from + n) of a run, which lie within the codes of 16: as a run of 16 made of copies,
 * so that nothing beside them is read. */
static void apply_coded_part(const emr_run *r, size_t width, coded_body_fn body, size_t from, size_t n)
{
    const size_t base_size = emr_float_size(r->base_dtype), out_size = emr_float_size(r->out_dtype);
    const size_t p = (r->first_code + from) / 16 * 16, lane = r->first_code + from - p;
    uint8_t base[64] = {0}, out[64], columns[32] = {0}, codes[8] = {0};
    emr_run part = *r;
    if (r->base)
        memcpy(base + lane * base_size, (const uint8_t *)r->base + from * base_size, n * base_size);
    if (r->columns)
        memcpy(columns + 2 * lane, r->columns + 2 * from, 2 * n);
    part.n = 16;
    part.base = r->base ? base : NULL;
    part.out = out;
    part.columns = columns;
    part.first_code = p;
    part.stream = false;
    if (r->coding.rate >= EMR_GROUP) { /* of thinned ones there are those of whole groups */
        size_t first = lane * width / 8, end = ((lane + n) * width + 7) / 8;
        memcpy(codes + first, r->codes + p / 8 * width + first, end - first);
        part.codes = codes;
        part.first_code = 0;
    }
    body(&part);
    memcpy((uint8_t *)r->out + from * out_size, out + lane * out_size, n * out_size);
}

static void apply_coded(const emr_run *r, size_t width, coded_body_fn body)
{
    const size_t base_size = emr_float_size(r->base_dtype), out_size = emr_float_size(r->out_dtype);
    size_t head = (16 - r->first_code % 16) % 16;
    head = head < r->n ? head : r->n;
    size_t tail = (r->n - head) % 16;
    emr_run whole = *r;
    if (head)
        apply_coded_part(r, width, body, 0, head);
    whole.n = r->n - head - tail;
    if (r->base)
        whole.base = (const uint8_t *)r->base + head * base_size;
    whole.out = (uint8_t *)r->out + head * out_size;
    whole.columns = r->columns ? r->columns + 2 * head : NULL;
    whole.first_code = r->first_code + head;
    whole.stream =
        r->stream && whole.n * out_size >= STREAM_LEAST && (uintptr_t)whole.out % (16 * out_size) == 0;
    body(&whole);
    if (tail)
        apply_coded_part(r, width, body, r->n - tail, tail);
}

/* What needs no code of its own: the base where nothing is added, and, by the reference, dtypes that are rare. */
static bool applies_plainly(const emr_run *r, const emr_code_kernels *reference)
{
    if (r->scales[0] == 0) {
        if (!r->base)
            memset(r->out, 0, r->n * emr_float_size(r->out_dtype));
        else if (r->out != r->base)
            convert(r->out_dtype, r->out, r->base_dtype, r->base, r->n);
        return true;
    }
    if (is_narrow(r->base_dtype) && is_narrow(r->out_dtype))
        return false;
    reference->apply(r);
    return true;
}

/* The body of each case, alone in its registers. */
#define CODED_BODY(name, coded)                                                                              \
    static ALONE void name(const emr_run *r)                                                                 \
    {                                                                                                        \
        apply_coded_body(r, coded);                                                                          \
    }

CODED_BODY(apply_signs, SIGNS)
CODED_BODY(apply_signs_by_columns, SIGNS_BY_COLUMNS)
CODED_BODY(apply_thinned, THINNED)
CODED_BODY(apply_levels_2, LEVELS_OF_2_BITS)
CODED_BODY(apply_levels_3, LEVELS_OF_3_BITS)
CODED_BODY(apply_levels_4, LEVELS_OF_4_BITS)

static void apply_sign(const emr_run *r)
{
    if (!applies_plainly(r, &emr_kernels_c.sign))
        apply_coded(r, 1, r->columns ? apply_signs_by_columns : apply_signs);
}

static void apply_thin(const emr_run *r)
{
    if (!applies_plainly(r, &emr_kernels_c.thin))
        apply_coded(r, 1, apply_thinned);
}

static void apply_levels(const emr_run *r)
{
    size_t width = r->coding.rate / EMR_GROUP;
    if (!applies_plainly(r, &emr_kernels_c.levels))
        apply_coded(r, width, width == 2 ? apply_levels_2 : width == 3 ? apply_levels_3 : apply_levels_4);
}

/* Accumulators of some vectors, or rows, for every other 16 columns. */
typedef struct dot_sums {
    v16 of[V_DOT_VECTORS];
} dot_sums;

static INLINE void dot_load(float (*sums)[EMR_LANES], size_t apart, size_t k, size_t half, dot_sums *s)
{
    UNROLL
    for (size_t b = 0; b < k; b++)
        s->of[b] = v_load_f32(sums[b * apart] + 16 * half);
}

static INLINE void dot_store(float (*sums)[EMR_LANES], size_t apart, size_t k, size_t half, const dot_sums *s)
{
    UNROLL
    for (size_t b = 0; b < k; b++)
        v_store_f32(sums[b * apart] + 16 * half, s->of[b]);
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
    v16 w0 = load_base_vector(d->base_dtype, base, at), w = w0, u = w0;
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
    dot_load(d.lanes + from, 1, k, 0, &low);
    dot_load(d.lanes + from, 1, k, 1, &high);
    for (size_t at = 0; at < d.n; at += EMR_LANES) {
        if (from == 0) { /* the other vectors find it there */
            size_t unified_size = emr_float_size(d.unified_dtype);
            if (d.ahead)
                for (size_t line = 0; line < EMR_LANES * emr_float_size(d.base_dtype); line += 64)
                    __builtin_prefetch((const uint8_t *)d.ahead + at * emr_float_size(d.base_dtype) + line, 0,
                                       2);
            else
                prefetch_base(d.base_dtype, d.base, at, EMR_LANES);
            if (n_scales)
                prefetch_stream((const uint8_t *)d.unified + at * unified_size, EMR_LANES * unified_size);
        }
        dot_columns(&d, n_scales, from, k, at, &low);
        dot_columns(&d, n_scales, from, k, at + 16, &high);
    }
    dot_store(d.lanes + from, 1, k, 0, &low);
    dot_store(d.lanes + from, 1, k, 1, &high);
}

/* As many vectors, or rows, at a time as there are registers for: do_some(..., from, k), k a constant. */
#define SOME_AT_A_TIME(n_of_all, do_some, ...)                                                               \
    do {                                                                                                     \
        size_t from = 0;                                                                                     \
        for (; V_DOT_VECTORS >= 8 && (n_of_all)-from >= 8; from += 8)                                        \
            do_some(__VA_ARGS__, from, V_DOT_VECTORS >= 8 ? 8 : 1);                                          \
        for (; V_DOT_VECTORS >= 4 && (n_of_all)-from >= 4; from += 4)                                        \
            do_some(__VA_ARGS__, from, V_DOT_VECTORS >= 4 ? 4 : 1);                                          \
        for (; (n_of_all)-from >= 2; from += 2)                                                              \
            do_some(__VA_ARGS__, from, 2);                                                                   \
        if (from < (n_of_all))                                                                               \
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

static INLINE void dot_by_dtypes(const emr_dot *d, size_t n_scales, emr_dtype base, emr_dtype unified)
{
    if (d->shared)
        dot_by(d, n_scales, base, unified, true);
    else
        dot_by(d, n_scales, base, unified, false);
}

static INLINE void dot_elected(const emr_dot *d, size_t n_scales)
{
    emr_dtype base = d->base ? d->base_dtype : NO_BASE, unified = d->unified_dtype;
    if (!is_plain_base(base))
        (n_scales == 1 ? emr_kernels_c.mask : emr_kernels_c.two_sided).dot(d);
    else if (base == EMR_DTYPE_F32 && unified == EMR_DTYPE_F32)
        dot_by_dtypes(d, n_scales, EMR_DTYPE_F32, EMR_DTYPE_F32);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_F32)
        dot_by_dtypes(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_F32);
    else if (base == EMR_DTYPE_BF16 && unified == EMR_DTYPE_BF16)
        dot_by_dtypes(d, n_scales, EMR_DTYPE_BF16, EMR_DTYPE_BF16);
    else if (base == NO_BASE && unified == EMR_DTYPE_F32)
        dot_by_dtypes(d, n_scales, NO_BASE, EMR_DTYPE_F32);
    else if (base == NO_BASE && unified == EMR_DTYPE_BF16)
        dot_by_dtypes(d, n_scales, NO_BASE, EMR_DTYPE_BF16);
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

/* 16 columns, `at` on, of a kind that shares nothing, for a scale of 1: of one vector in `k` rows, or of one
 * row by `k` vectors. */
static INLINE void step_columns(const emr_step_dot *d, coded_kind coded, v16 table, bool by_rows, size_t k,
                                size_t at, dot_sums *s)
{
    const size_t width = code_width(coded);
    v16 x = table, minus = table, factor = table;
    uint64_t codes = 0;
    UNROLL
    for (size_t b = 0; b < k; b++) {
        if (b == 0 || by_rows) {
            codes = load_codes(width, (const uint8_t *)(d->codes + b * d->code_stride) + at / 8 * width);
            factor = width > 1 ? v_lookup(table, codes, (unsigned)width) : table;
        }
        if (b == 0 || !by_rows) {
            x = v_load_f32(d->x + b * d->stride + at);
            if (coded == SIGNS_BY_COLUMNS)
                x = v_mul(v_load_bf16(d->columns + 2 * at), x);
            minus = v_signed(0, x);
        }
        v16 step = width > 1 ? v_mul(factor, x) : v_either((uint16_t)codes, x, minus);
        if (coded == THINNED) {
            s->of[b] =
                v_add_where_of(d->kept[b * d->code_stride + at / 32], (unsigned)(at % 32), s->of[b], step);
        } else
            s->of[b] = v_add(s->of[b], step);
    }
}

/* `k` rows, or vectors, from number `from` on. */
static INLINE void step_some(emr_step_dot d, coded_kind coded, bool by_rows, size_t from, size_t k)
{
    const v16 table = level_table(coded, d.coding.levels, 1);
    const size_t apart = by_rows ? 1 : d.lane_stride;
    dot_sums low, high;
    d.codes += by_rows ? from * d.code_stride : 0;
    if (by_rows && coded == THINNED)
        d.kept += from * d.code_stride;
    d.x += by_rows ? 0 : from * d.stride;
    d.lanes += from * apart;
    dot_load(d.lanes, apart, k, 0, &low);
    dot_load(d.lanes, apart, k, 1, &high);
    for (size_t at = 0; at < d.n; at += EMR_LANES) {
        for (size_t line = 0; d.ahead && line < EMR_LANES * EMR_STEP_AHEAD; line += 64)
            emr_ask_ahead(d.ahead + at * EMR_STEP_AHEAD + line);
        step_columns(&d, coded, table, by_rows, k, at, &low);
        step_columns(&d, coded, table, by_rows, k, at + 16, &high);
    }
    dot_store(d.lanes, apart, k, 0, &low);
    dot_store(d.lanes, apart, k, 1, &high);
}

/* Signs cost less than vectors do, row after row; to look levels up costs more. */
static INLINE void step_dot(const emr_step_dot *given, coded_kind coded)
{
    emr_step_dot d = *given;
    if (code_width(coded) == 1 || d.n_vectors == 1)
        for (size_t b = 0; b < d.n_vectors; b++, d.x += d.stride, d.lanes += d.lane_stride)
            SOME_AT_A_TIME(d.n_rows, step_some, d, coded, true);
    else
        for (size_t r = 0; r < d.n_rows; r++, d.codes += d.code_stride, d.lanes++)
            SOME_AT_A_TIME(d.n_vectors, step_some, d, coded, false);
}

#undef SOME_AT_A_TIME
#undef CODED_BODY

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
    if (d->coding.rate == 2 * EMR_GROUP)
        step_dot(d, LEVELS_OF_2_BITS);
    else if (d->coding.rate == 3 * EMR_GROUP)
        step_dot(d, LEVELS_OF_3_BITS);
    else
        step_dot(d, LEVELS_OF_4_BITS);
}

/* These in a variant's table. */
#define CODE_KERNELS                                                                                         \
    .mask = {.apply = apply_mask, .dot = dot_mask},                                                          \
    .two_sided = {.apply = apply_two_sided, .dot = dot_two_sided},                                           \
    .sign = {.apply = apply_sign, .dot_steps = dot_signs},                                                   \
    .thin = {.apply = apply_thin, .dot_steps = dot_signs},                                                   \
    .levels = {.apply = apply_levels, .dot_steps = dot_levels}, .dot_base = dot_base, .draw = draw_many
