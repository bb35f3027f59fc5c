/* encode.c - codes and scales of one item, whatever the instruction set: the order of what encode.h
 * promises. Scales are computed in f64 from sums of f32, and rounded to f32, then to BF16. */
#include "numeric/encode.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "numeric/convert.h"
#include "numeric/rescale.h"
#include "numeric/thin.h"

#include <float.h>
#include <string.h>

static const uint32_t most_negative_tiny = 0x80000001; /* bits of the f32 next below 0 */
static const float bf16_max = 0x1.fep127f;

/* Which scale thinned signs have by the rule MIXED: from that many kept of a stretch on UNBIASED counts,
 * and so many later it counts alone. Fewer would make it a scale that a few numbers decide. */
enum { MIXED_FROM = 16, MIXED_OVER = 64 };

/* What is read, and computed from what was read, before anything else looks at it: a step at a time, so
 * that a processor that waits for memory has something to do. */
enum { STEP = EMR_CODE_UNIT };

/* An item on its way. */
typedef struct progress {
    emr_encode_kernels k;
    emr_encoding *e;
    uint64_t kept[EMR_CHUNK / EMR_GROUP + 1]; /* thin */
    size_t done;                              /* parameters that were read */
} progress;

/* Each primitive of the variant, or of the reference. */
static emr_encode_kernels primitives_of(const emr_kernels *kernels)
{
    const emr_encode_kernels *own = &kernels->encode, *plain = &emr_encode_c;
    return (emr_encode_kernels){
        .read = own->read ? own->read : plain->read,
        .codes = own->codes ? own->codes : plain->codes,
        .sums = own->sums ? own->sums : plain->sums,
        .levels = own->levels ? own->levels : plain->levels,
        .columns = own->columns ? own->columns : plain->columns,
    };
}

static size_t whole_groups(size_t n)
{
    return (n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP;
}

/* Makes n parameters finite, or says which one is not. */
static bool make_finite(emr_encoding *e, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        if (e->tau[i] - e->tau[i] == 0)
            continue;
        if (!e->zero_nonfinite) {
            e->bad = i;
            return false;
        }
        e->tau[i] = 0;
        e->zeroed++;
    }
    return true;
}

static uint64_t *kept_of(progress *p)
{
    return p->e->kind == EMR_MODULATOR_KIND_THIN ? p->kept : NULL;
}

/* Up to n parameters, with the codes of signs; adds their sums to the total. Returns false where something
 * is not finite and may not be. */
static bool read_step(progress *p, size_t n, emr_magnitudes *total)
{
    emr_encoding *e = p->e;
    size_t at = p->done;
    bool has_signs = e->kind == EMR_MODULATOR_KIND_SIGN || e->kind == EMR_MODULATOR_KIND_THIN;
    emr_encode_step step = {.n = n < e->n - at ? n : e->n - at,
                            .base = (const uint8_t *)e->base + at * emr_float_size(e->base_dtype),
                            .task = (const uint8_t *)e->task + at * emr_float_size(e->task_dtype),
                            .base_dtype = e->base_dtype,
                            .task_dtype = e->task_dtype,
                            .tau = e->tau + at,
                            .codes = has_signs ? e->codes : NULL,
                            .kept = kept_of(p),
                            .first = at / EMR_GROUP,
                            .group = e->flat / EMR_GROUP,
                            .coding = e->coding};
    if (!p->k.read(&step, total)) {
        if (!make_finite(e, at, step.n))
            return false;
        p->k.codes(&step);
        p->k.sums(total, step.tau, step.n, step.kept, at);
    }
    p->done += step.n;
    return true;
}

static bool read_until(progress *p, size_t end)
{
    emr_magnitudes unused = {0, 0, 0};
    bool good = true;
    while (good && p->done < end)
        good = read_step(p, STEP, &unused);
    return good;
}

/* Stores a scale in BF16; returns what was stored. */
static float store_scale(uint8_t *to, double scale)
{
    uint16_t stored = emr_f32_to_bf16(scale < (double)bf16_max ? (float)scale : bf16_max);
    emr_store16(to, stored);
    return emr_bf16_to_f32(stored);
}

/* What of a row lies in the item. */
typedef struct stretch {
    size_t from, n;
    emr_magnitudes sums;
    bool wide; /* squares are too large for f32, or so small that they lose what they are: sums are of f64 */
} stretch;

static void sum_wide(progress *p, stretch *s)
{
    const uint64_t *kept = kept_of(p);
    s->sums = (emr_magnitudes){0, 0, 0};
    for (size_t i = s->from; i < s->from + s->n; i++) {
        double tau = emr_magnitude((double)p->e->tau[i]);
        s->sums.l1 += tau;
        s->sums.l2 += tau * tau;
        s->sums.kept += kept && kept[i / 64] >> i % 64 & 1 ? tau : 0;
    }
}

/* Goes on to the stretch that begins where this one ends. Returns false where there is none. */
static bool next_stretch(progress *p, stretch *s)
{
    const emr_encoding *e = p->e;
    size_t from = s->from + s->n;
    uint64_t row_rest = e->row_length - (e->first + from) % e->row_length;
    *s = (stretch){.from = from, .n = e->n - from < row_rest ? e->n - from : (size_t)row_rest};
    for (size_t i = 0, n, at; i < s->n; i += n) {
        n = s->n - i < STEP ? s->n - i : STEP;
        at = from + i;
        if (p->done == at && (n % EMR_GROUP == 0 || at + n == e->n)) {
            if (!read_step(p, n, &s->sums))
                return false;
        } else if (read_until(p, at + n)) {
            p->k.sums(&s->sums, e->tau + at, n, kept_of(p), at);
        } else {
            return false;
        }
    }
    s->wide = s->sums.l1 > 0 && !(s->sums.l2 >= 0x1p-80 && s->sums.l2 <= (double)FLT_MAX);
    if (s->wide)
        sum_wide(p, s);
    return s->n > 0;
}

/* A stretch's scale, with what its unscaled values come to. */
static float store_stretch(emr_encoding *e, const stretch *s, double scale, double tq, double qq)
{
    float stored = store_scale(e->scales + 2 * e->n_stretches++, scale);
    double r = (double)stored;
    e->tt += s->sums.l2;
    e->tq += r * tq;
    e->qq += r * r * qq;
    e->rr += r * r * (double)s->n / (double)e->row_length;
    return stored;
}

/* How much of UNBIASED there is in MIXED. */
static double mixed_part(double kept)
{
    double part = (kept - MIXED_FROM) / MIXED_OVER;
    return part < 0 ? 0 : part < 1 ? part : 1;
}

/* The scale of n signs, of which one in `thinning` is kept. */
static double sign_scale(emr_rescale rule, emr_magnitudes sums, size_t n, uint32_t thinning)
{
    double all = (double)n, times = (double)thinning, part = mixed_part(all / times);
    double mean = emr_rescale_of(EMR_RESCALE_L1, sums.l1, all, sums.l2, sums.l1, all);
    double unbiased = emr_rescale_of(EMR_RESCALE_UNBIASED, sums.l1, all, sums.l2, sums.l1, all);
    switch (rule) {
    case EMR_RESCALE_L1:
    case EMR_RESCALE_L1_MEANS:
        return mean * times;
    case EMR_RESCALE_L2:
        return mean;
    case EMR_RESCALE_NORM:
        return emr_square_root(sums.l2 * times / all);
    case EMR_RESCALE_MIXED:
        return ((1 - part) * mean + part * unbiased) * times;
    default:
        return unbiased * times;
    }
}

static void encode_signs(progress *p)
{
    emr_encoding *e = p->e;
    bool by_column = e->n >= e->row_length;
    if (e->has_columns)
        memset(e->column_sums, 0, (by_column ? (size_t)e->row_length : e->n) * sizeof *e->column_sums);
    for (stretch s = {0}; next_stretch(p, &s);) {
        float scale = store_stretch(e, &s, sign_scale(e->rescale, s.sums, s.n, 1), s.sums.l1, (double)s.n);
        size_t column = by_column ? (size_t)((e->first + s.from) % e->row_length) : s.from;
        if (e->has_columns)
            p->k.columns(e->column_sums + column, e->tau + s.from, s.n, scale);
    }
}

/* Bits [from, from + n) of words that are set. */
static size_t count_kept(const uint64_t *words, size_t from, size_t n)
{
    size_t count = 0;
    for (size_t i = from, next; i < from + n; i = next) {
        next = (i / 64 + 1) * 64 < from + n ? (i / 64 + 1) * 64 : from + n;
        uint64_t word = words[i / 64] >> i % 64;
        count += emr_popcount64(next - i < 64 ? word & (((uint64_t)1 << (next - i)) - 1) : word);
    }
    return count;
}

static void encode_thin(progress *p)
{
    emr_encoding *e = p->e;
    uint32_t thinning = EMR_GROUP / e->coding.rate;
    for (stretch s = {0}; next_stretch(p, &s);)
        (void)store_stretch(e, &s, sign_scale(e->rescale, s.sums, s.n, thinning), s.sums.kept,
                            (double)count_kept(p->kept, s.from, s.n));
}

/* Half-way between levels, times the root mean square. 0 is in the middle of an odd number of levels; of an
 * even number it goes to either side of the middle by turns, so that runs of it compress and add up to
 * nothing. */
static emr_thresholds find_thresholds(const emr_encoding *e, float rms)
{
    const float *levels = e->coding.levels, below = emr_f32_from_bits(most_negative_tiny);
    emr_thresholds t = {.n_levels = e->n_levels, .levels = levels};
    for (uint32_t i = 0; i + 1 < e->n_levels; i++) {
        float between = 0.5f * (levels[i] + levels[i + 1]), at = between * rms;
        t.at[0][i] = between < 0 && at == 0 ? below : at;
        t.at[1][i] = between == 0 ? below : t.at[0][i];
    }
    return t;
}

/* What codes will stand for, in f64. */
static emr_level_sums wide_level_sums(const float *tau, size_t n, bool odd, const emr_thresholds *t)
{
    emr_level_sums sums = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        size_t code = 0;
        for (size_t j = 0; j + 1 < t->n_levels; j++)
            code += tau[i] > t->at[(odd + i) % 2][j];
        double level = (double)t->levels[code];
        sums.q1 += emr_magnitude(level);
        sums.tq += level * (double)tau[i];
        sums.qq += level * level;
    }
    return sums;
}

/* Codes that lie in tau, packed. */
static void pack_codes(const emr_encoding *e)
{
    uint32_t bits = e->coding.rate / EMR_GROUP;
    uint8_t *codes = e->codes;
    for (size_t i = 0; i < whole_groups(e->n); i += 8, codes += bits) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < 8; j++)
            word |= (uint32_t)(int32_t)e->tau[i + j] << bits * j;
        for (uint32_t byte = 0; byte < bits; byte++)
            codes[byte] = (uint8_t)(word >> 8 * byte);
    }
}

static void encode_levels(progress *p)
{
    emr_encoding *e = p->e;
    for (stretch s = {0}; next_stretch(p, &s);) {
        bool odd = s.from % 2 == 1;
        emr_thresholds t = find_thresholds(e, (float)emr_square_root(s.sums.l2 / (double)s.n));
        emr_level_sums wide = {0, 0, 0};
        if (s.wide)
            wide = wide_level_sums(e->tau + s.from, s.n, odd, &t);
        emr_level_sums q = p->k.levels(e->tau + s.from, s.n, odd, &t);
        q = s.wide ? wide : q;
        (void)store_stretch(e, &s, emr_rescale_of(e->rescale, s.sums.l1, q.q1, s.sums.l2, q.tq, q.qq), q.tq,
                            q.qq);
    }
    if (e->bad == e->n)
        pack_codes(e);
}

/* tau itself, rounded. */
static void encode_differences(progress *p)
{
    emr_encoding *e = p->e;
    emr_dtype dtype = e->coding.rate == 16 * EMR_GROUP ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
    size_t size = emr_float_size(dtype);
    if (!read_until(p, e->n))
        return;
    for (size_t i = 0; i < e->n; i++) {
        float tau = e->tau[i], v;
        if (dtype == EMR_DTYPE_BF16)
            tau = tau > bf16_max ? bf16_max : tau < -bf16_max ? -bf16_max : tau;
        emr_store_f32(dtype, e->codes + i * size, &tau, 1);
        emr_load_f32(&v, dtype, e->codes + i * size, 1);
        e->tt += (double)e->tau[i] * (double)e->tau[i];
        e->tq += (double)e->tau[i] * (double)v;
        e->qq += (double)v * (double)v;
    }
}

void emr_encode_item(const emr_kernels *kernels, emr_encoding *e)
{
    progress p = {.k = primitives_of(kernels), .e = e};
    e->n_stretches = 0;
    e->tt = e->tq = e->qq = e->rr = 0;
    e->zeroed = 0;
    e->bad = e->n;
    if (e->kind == EMR_MODULATOR_KIND_SIGN)
        encode_signs(&p);
    else if (e->kind == EMR_MODULATOR_KIND_THIN)
        encode_thin(&p);
    else if (e->kind == EMR_MODULATOR_KIND_LEVELS)
        encode_levels(&p);
    else
        encode_differences(&p);
}

void emr_encode_fold(double *sums, const emr_encoding *e)
{
    bool by_column = e->n >= e->row_length;
    size_t n = by_column ? (size_t)e->row_length : e->n;
    uint64_t first = by_column ? 0 : e->first % e->row_length;
    for (size_t i = 0, part; i < n; i += part) { /* up to the row's end, then from its front */
        double *to = sums + (first + i) % e->row_length;
        part = (size_t)emr_min(n - i, e->row_length - (first + i) % e->row_length);
        for (size_t j = 0; j < part; j++)
            to[j] += (double)e->column_sums[i + j];
    }
}

/* c = factor * p / rr, p being the column's sum: with factor 1 it has the least error. */
void emr_encode_columns(emr_column_fit *fit)
{
    double total = 0, squares = 0, tq = 0, cc = 0;
    for (uint64_t j = 0; j < fit->n_columns; j++) {
        total += fit->sums[j];
        squares += fit->sums[j] * fit->sums[j];
    }
    bool useful = fit->rr > 0 && emr_magnitude(total - fit->tq) <=
                                     0x1p-10 * fit->tq; /* the same sum, but for what was lost */
    bool is_l1 =
        fit->rescale == EMR_RESCALE_L1 || fit->rescale == EMR_RESCALE_L1_MEANS; /* for signs it is L2 */
    double least = useful ? squares / fit->rr : 0; /* <tau, v> and <v, v> of the least error */
    double factor = emr_rescale_of(is_l1 ? EMR_RESCALE_L2 : fit->rescale, 0, 0, fit->tt, least, least);
    for (uint64_t j = 0; j < fit->n_columns; j++) {
        double c = store_scale(fit->columns + 2 * j, useful ? factor * (fit->sums[j] / fit->rr) : 1);
        tq += c * fit->sums[j];
        cc += c * c;
    }
    if (useful) {
        fit->tq = tq;
        fit->qq = fit->rr * cc;
    }
}
