/* codes_c.c - weights of every kind of modulator in plain C, and products by them: the numerical
 * specification. Freestanding. */
#include "numeric/codes_c.h"

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/thin.h"

/* What is added to some parameters of a run, `first` and on, EMR_GROUP at most, and to which at all. */
typedef struct emr_steps {
    size_t first, n;
    float step[EMR_GROUP];
    bool takes[EMR_GROUP];
} emr_steps;

typedef void (*find_steps_fn)(const emr_run *run, emr_steps *s);

/* The base's values from number `first` on, EMR_GROUP at most; +0 where no base is read. */
static const uint8_t *base_values(const void *base, emr_dtype dtype, size_t first)
{
    static const float zeros[EMR_GROUP];
    return base ? (const uint8_t *)base + first * emr_float_size(dtype) : (const uint8_t *)zeros;
}

/* Sums in which every NaN is the same. */
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

static void add_steps(const emr_run *r, const emr_steps *s)
{
    emr_dtype base_dtype = r->base_dtype, out_dtype = r->out_dtype;
    size_t n = s->n, out_size = emr_float_size(out_dtype);
    const uint8_t *base = base_values(r->base, base_dtype, s->first);
    uint8_t *out = (uint8_t *)r->out + s->first * out_size;
    uint8_t kept[EMR_GROUP * sizeof(double)]; /* the base in the output's dtype; `out` may be `base` */
    (void)emr_convert(out_dtype, kept, base_dtype, base, n); /* the same bytes where dtypes are equal */
    if (base_dtype == EMR_DTYPE_F64) {
        double w[EMR_GROUP];
        emr_load_f64(w, base_dtype, base, n);
        for (size_t i = 0; i < n; i++)
            w[i] = s->takes[i] ? add_f64(w[i], (double)s->step[i]) : w[i];
        emr_store_f64(out_dtype, out, w, n);
    } else {
        float w[EMR_GROUP];
        emr_load_f32(w, base_dtype, base, n);
        for (size_t i = 0; i < n; i++)
            w[i] = s->takes[i] ? add_f32(w[i], s->step[i]) : w[i];
        emr_store_f32(out_dtype, out, w, n);
    }
    for (size_t i = 0; i < n; i++) /* not left to the selections above: compilers may make NaNs quiet there */
        if (!s->takes[i])
            memcpy(out + i * out_size, kept + i * out_size, out_size);
}

static void apply_steps(const emr_run *r, find_steps_fn find_steps)
{
    emr_steps s;
    for (s.first = 0; s.first < r->n; s.first += EMR_GROUP) {
        s.n = r->n - s.first < EMR_GROUP ? r->n - s.first : EMR_GROUP;
        find_steps(r, &s);
        add_steps(r, &s);
    }
}

/* What kinds with unified values add: one has one scale, the mask, equation 6 of docs/algorithm.md; the
 * other two. */
static inline void elected_step(size_t n_scales, const float *scales, bool bit, float unified, float *step,
                                bool *takes)
{
    float scale = n_scales == 1 || bit ? scales[0] : -scales[1];
    *step = scale * unified;
    *takes = n_scales == 1 ? bit : scale != 0 && unified != 0;
}

static inline void find_elected_steps(const emr_run *r, emr_steps *s, size_t n_scales)
{
    size_t size = emr_float_size(r->unified_dtype);
    float unified[EMR_GROUP];
    emr_load_f32(unified, r->unified_dtype, (const uint8_t *)r->unified + s->first * size, s->n);
    for (size_t i = 0; i < s->n; i++) {
        size_t bit = r->first_code + s->first + i;
        elected_step(n_scales, r->scales, r->codes[bit / 8] >> bit % 8 & 1, unified[i], &s->step[i],
                     &s->takes[i]);
    }
}

static void find_mask_steps(const emr_run *r, emr_steps *s)
{
    find_elected_steps(r, s, 1);
}

static void find_two_sided_steps(const emr_run *r, emr_steps *s)
{
    find_elected_steps(r, s, 2);
}

/* Kinds without unified values have one scale; where it is 0 nothing is added, and there may be no codes. */
static bool takes_none(const emr_run *r, emr_steps *s)
{
    memset(s->takes, 0, sizeof s->takes);
    return r->scales[0] == 0;
}

static void find_sign_steps(const emr_run *r, emr_steps *s)
{
    if (takes_none(r, s))
        return;
    for (size_t i = 0; i < s->n; i++) {
        size_t bit = r->first_code + s->first + i;
        float step = r->scales[0];
        if (r->columns)
            step = step * emr_bf16_to_f32(emr_load16(r->columns + 2 * (s->first + i)));
        s->step[i] = r->codes[bit / 8] >> bit % 8 & 1 ? step : -step;
        s->takes[i] = true;
    }
}

static void find_thin_steps(const emr_run *r, emr_steps *s)
{
    uint64_t kept = 0, signs = 0;
    if (takes_none(r, s))
        return;
    for (size_t i = 0; i < s->n; i++) {
        size_t at = r->first_code + s->first + i;
        if (i == 0 || at % EMR_GROUP == 0) {
            kept = emr_thin_kept(&r->coding, r->group + at / EMR_GROUP);
            signs = emr_thin_signs(&r->coding, kept, emr_thin_codes(r->codes, &r->coding, at / EMR_GROUP));
        }
        s->step[i] = signs >> at % EMR_GROUP & 1 ? r->scales[0] : -r->scales[0];
        s->takes[i] = kept >> at % EMR_GROUP & 1;
    }
}

static void find_levels_steps(const emr_run *r, emr_steps *s)
{
    size_t width = r->coding.rate / EMR_GROUP; /* of a code, in bits */
    if (takes_none(r, s))
        return;
    for (size_t i = 0; i < s->n; i++) {
        size_t bit = (r->first_code + s->first + i) * width;
        unsigned code = r->codes[bit / 8] >> bit % 8;
        if (bit % 8 + width > 8)
            code |= (unsigned)r->codes[bit / 8 + 1] << (8 - bit % 8);
        s->step[i] = r->scales[0] * r->coding.levels[code & ((1u << width) - 1)];
        s->takes[i] = true;
    }
}

static emr_dtype differences_dtype(const emr_coding *coding)
{
    return coding->rate == 16 * EMR_GROUP ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
}

static void find_differences_steps(const emr_run *r, emr_steps *s)
{
    emr_dtype dtype = differences_dtype(&r->coding);
    if (takes_none(r, s))
        return;
    emr_load_f32(s->step, dtype, r->codes + (r->first_code + s->first) * emr_float_size(dtype), s->n);
    for (size_t i = 0; i < s->n; i++)
        s->takes[i] = s->step[i] != 0;
}

void emr_c_apply_mask(const emr_run *r)
{
    apply_steps(r, find_mask_steps);
}

void emr_c_apply_two_sided(const emr_run *r)
{
    apply_steps(r, find_two_sided_steps);
}

void emr_c_apply_sign(const emr_run *r)
{
    apply_steps(r, find_sign_steps);
}

void emr_c_apply_thin(const emr_run *r)
{
    apply_steps(r, find_thin_steps);
}

void emr_c_apply_levels(const emr_run *r)
{
    apply_steps(r, find_levels_steps);
}

void emr_c_apply_differences(const emr_run *r)
{
    apply_steps(r, find_differences_steps);
}

/* Weights of EMR_LANES columns in f32, of vector number `v`; without scales the base's. */
static inline void find_weights(const emr_dot *d, size_t first, size_t v, size_t n_scales, float w[EMR_LANES])
{
    const uint8_t *base = base_values(d->base, d->base_dtype, first);
    float unified[EMR_LANES], step[EMR_LANES] = {0};
    bool takes[EMR_LANES] = {false};
    if (n_scales) {
        uint32_t bits = d->codes[v * EMR_DOT_WORDS + first / EMR_LANES];
        emr_load_f32(unified, d->unified_dtype,
                     (const uint8_t *)d->unified + first * emr_float_size(d->unified_dtype), EMR_LANES);
        for (size_t j = 0; j < EMR_LANES; j++)
            elected_step(n_scales, d->scales + v * n_scales, bits >> j & 1, unified[j], &step[j], &takes[j]);
    }
    if (d->base_dtype == EMR_DTYPE_F64) {
        double wide[EMR_LANES];
        emr_load_f64(wide, d->base_dtype, base, EMR_LANES);
        for (size_t j = 0; j < EMR_LANES; j++)
            w[j] = (float)(takes[j] ? wide[j] + (double)step[j] : wide[j]);
        return;
    }
    emr_load_f32(w, d->base_dtype, base, EMR_LANES);
    for (size_t j = 0; j < EMR_LANES; j++)
        w[j] = takes[j] ? w[j] + step[j] : w[j];
}

static inline void dot_weights(const emr_dot *d, size_t n_scales, bool shared)
{
    float w[EMR_LANES];
    for (size_t first = 0; first < d->n; first += EMR_LANES)
        for (size_t b = 0; b < d->n_vectors; b++) {
            const float *x = d->x + b * d->stride + first;
            if (b == 0 || !shared)
                find_weights(d, first, b, n_scales, w);
            for (size_t j = 0; j < EMR_LANES; j++)
                d->lanes[b][j] = d->lanes[b][j] + w[j] * x[j];
        }
}

void emr_c_dot_mask(const emr_dot *d)
{
    dot_weights(d, 1, d->shared);
}

void emr_c_dot_two_sided(const emr_dot *d)
{
    dot_weights(d, 2, d->shared);
}

void emr_c_dot_base(const emr_dot *d)
{
    dot_weights(d, 0, true);
}

/* What one vector and one row add up to. */
static void sign_steps(const emr_step_dot *d, const uint32_t *codes, const uint32_t *kept, const float *x,
                       float lanes[EMR_LANES])
{
    for (size_t c = 0; c < d->n; c++) {
        float *lane = &lanes[c % EMR_LANES], step = x[c];
        if (kept && !(kept[c / 32] >> c % 32 & 1))
            continue;
        if (d->columns)
            step = emr_bf16_to_f32(emr_load16(d->columns + 2 * c)) * step;
        *lane = *lane + (codes[c / 32] >> c % 32 & 1 ? step : -step);
    }
}

void emr_c_dot_signs(const emr_step_dot *d)
{
    for (size_t b = 0; b < d->n_vectors; b++)
        for (size_t r = 0; r < d->n_rows; r++)
            sign_steps(d, d->codes + r * d->code_stride, d->kept ? d->kept + r * d->code_stride : NULL,
                       d->x + b * d->stride, d->lanes[b * d->lane_stride + r]);
}

/* The code of column c, of `width` bits. */
static uint32_t packed_code(const uint32_t *codes, size_t c, uint32_t width)
{
    size_t bit = c * width;
    uint32_t code = codes[bit / 32] >> bit % 32;
    if (bit % 32 + width > 32)
        code |= codes[bit / 32 + 1] << (32 - bit % 32);
    return width < 32 ? code & ((1u << width) - 1) : code;
}

/* What that code stands for: a level, or a number of 16 or 32 bits. */
static float code_value(const emr_step_dot *d, const uint32_t *codes, size_t c)
{
    uint32_t width = d->coding.rate / EMR_GROUP, code = packed_code(codes, c, width);
    return width == 32   ? emr_f32_from_bits(code)
           : width == 16 ? emr_bf16_to_f32((uint16_t)code)
                         : d->coding.levels[code];
}

void emr_c_dot_values(const emr_step_dot *d)
{
    for (size_t b = 0; b < d->n_vectors; b++)
        for (size_t r = 0; r < d->n_rows; r++)
            for (size_t c = 0; c < d->n; c++) {
                float *lane = &d->lanes[b * d->lane_stride + r][c % EMR_LANES];
                *lane = *lane + code_value(d, d->codes + r * d->code_stride, c) * d->x[b * d->stride + c];
            }
}

void emr_c_draw(const emr_run *r, size_t first, size_t n, uint32_t *kept, uint32_t *signs)
{
    for (size_t g = 0; g < n; g++) {
        uint64_t bits = emr_thin_kept(&r->coding, r->group + first + g);
        uint64_t signed_bits =
            emr_thin_signs(&r->coding, bits, emr_thin_codes(r->codes, &r->coding, first + g));
        kept[2 * g] = (uint32_t)bits;
        kept[2 * g + 1] = (uint32_t)(bits >> 32);
        signs[2 * g] = (uint32_t)signed_bits;
        signs[2 * g + 1] = (uint32_t)(signed_bits >> 32);
    }
}
