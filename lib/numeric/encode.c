/* encode.c - codes and scales of one item, whatever the instruction set: the order of what encode.h promises. Scales
 * are computed in f64 from sums of f32, and rounded once. */
#include "numeric/encode.h"

#include "core/bytes.h"
#include "numeric/convert.h"
#include "numeric/rescale.h"
#include "numeric/thin.h"

#include <float.h>
#include <string.h>

static const uint32_t most_negative_tiny = 0x80000001; /* bits of the f32 next below 0 */
static const float bf16_max = 0x1.fep127f;

/* Which scale thinned signs have by the rule MIXED: from that many kept of a stretch on UNBIASED counts, and so many
 * later it counts alone. Fewer would make it a scale that a few numbers decide. */
enum { MIXED_FROM = 16, MIXED_OVER = 64 };

/* Each primitive of the variant, or of the reference. */
static emr_encode_kernels primitives_of(const emr_kernels *kernels)
{
    const emr_encode_kernels *own = &kernels->encode, *plain = &emr_encode_c;
    return (emr_encode_kernels){
        .difference = own->difference ? own->difference : plain->difference,
        .sums = own->sums ? own->sums : plain->sums,
        .signs = own->signs ? own->signs : plain->signs,
        .thin = own->thin ? own->thin : plain->thin,
        .levels = own->levels ? own->levels : plain->levels,
        .columns = own->columns ? own->columns : plain->columns,
    };
}

/* tau, 0 past the item. Returns false where something is not finite and may not be. */
static bool find_difference(const emr_encode_kernels *k, emr_encoding *e)
{
    emr_difference d = {e->n, e->base, e->task, e->base_dtype, e->task_dtype};
    size_t nonzero, room = (e->n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP + 64;
    bool finite = k->difference(&d, e->tau, &nonzero);
    memset(e->tau + e->n, 0, (room - e->n) * sizeof *e->tau);
    for (size_t i = 0; i < e->n && !finite; i++) {
        if (e->tau[i] - e->tau[i] == 0)
            continue;
        if (!e->zero_nonfinite) {
            e->bad = i;
            return false;
        }
        e->tau[i] = 0;
        e->zeroed++;
        nonzero--;
    }
    e->zeros = e->n - nonzero;
    return true;
}

/* Stores a scale in BF16; returns what was stored. */
static float store_scale(uint8_t *to, double scale)
{
    uint16_t stored = emr_f32_to_bf16(scale < (double)bf16_max ? (float)scale : bf16_max);
    emr_store16(to, stored);
    return emr_bf16_to_f32(stored);
}

/* Sums of a stretch, in f64 where squares are too large for f32 or so small that they lose what they are. */
static emr_magnitudes stretch_sums(const emr_encode_kernels *k, const float *tau, size_t n, bool *wide)
{
    emr_magnitudes sums = k->sums(tau, n);
    *wide = sums.l1 > 0 && !(sums.l2 >= 0x1p-80 && sums.l2 <= (double)FLT_MAX);
    if (!*wide)
        return sums;
    sums = (emr_magnitudes){0, 0};
    for (size_t i = 0; i < n; i++) {
        sums.l1 += emr_magnitude((double)tau[i]);
        sums.l2 += (double)tau[i] * (double)tau[i];
    }
    return sums;
}

/* How many of the item's parameters from one on are in the same stretch. */
static size_t stretch_length(const emr_encoding *e, size_t from)
{
    uint64_t row_rest = e->row_length - (e->first + from) % e->row_length;
    return e->n - from < row_rest ? e->n - from : (size_t)row_rest;
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
    double all = (double)n, times = (double)thinning;
    double mean = emr_rescale_of(EMR_RESCALE_L1, sums.l1, all, sums.l2, sums.l1, all),
           part = mixed_part(all / times);
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

/* Scales of signs, all of them or thinned ones, and what they make of the columns. */
static void scale_signs(const emr_encode_kernels *k, emr_encoding *e, uint32_t thinning)
{
    size_t by_column = e->n >= e->row_length;
    if (e->has_columns)
        memset(e->column_sums, 0, (by_column ? (size_t)e->row_length : e->n) * sizeof *e->column_sums);
    for (size_t from = 0, n; from < e->n; from += n) {
        bool wide;
        n = stretch_length(e, from);
        emr_magnitudes sums = stretch_sums(k, e->tau + from, n, &wide);
        float scale =
            store_scale(e->scales + 2 * e->n_stretches++, sign_scale(e->rescale, sums, n, thinning));
        double square = (double)scale * (double)scale * (double)n;
        e->tt += sums.l2;
        e->rr += square / (double)e->row_length;
        if (thinning == 1) {
            e->tq += (double)scale * sums.l1;
            e->qq += square;
        }
        if (e->has_columns)
            k->columns(e->column_sums + (by_column ? (e->first + from) % e->row_length : from), e->tau + from,
                       n, scale);
    }
}

/* Bits [from, from + n) of words that are set. */
static size_t count_bits(const uint64_t *words, size_t from, size_t n)
{
    size_t count = 0;
    for (size_t i = from, next; i < from + n; i = next) {
        next = (i / 64 + 1) * 64 < from + n ? (i / 64 + 1) * 64 : from + n;
        uint64_t word = words[i / 64] >> i % 64;
        count += emr_popcount64(next - i < 64 ? word & (((uint64_t)1 << (next - i)) - 1) : word);
    }
    return count;
}

static void encode_thin(const emr_encode_kernels *k, emr_encoding *e)
{
    uint64_t kept[EMR_CHUNK / EMR_GROUP];
    scale_signs(k, e, EMR_GROUP / e->coding.rate);
    memset(e->codes, 0, emr_encode_bytes(&e->coding, e->n));
    k->thin(e->codes, kept, e->tau, e->n, &e->coding, e->flat / EMR_GROUP);
    for (size_t from = 0, n, s = 0; from < e->n; from += n, s++) {
        bool wide;
        n = stretch_length(e, from);
        double scale = (double)emr_bf16_to_f32(emr_load16(e->scales + 2 * s));
        e->tq += scale * stretch_sums(k, e->tau + from, n, &wide).l1;
        e->qq += scale * scale * (double)count_bits(kept, from, n);
    }
}

static void encode_signs(const emr_encode_kernels *k, emr_encoding *e)
{
    scale_signs(k, e, 1);
    k->signs(e->codes, e->tau, (e->n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP);
    for (size_t i = e->n; i % EMR_GROUP != 0; i++) /* what is no parameter has no bit */
        e->codes[i / 8] &= (uint8_t) ~(1u << i % 8);
}

/* Half-way between levels, times the root mean square. 0 is in the middle of an odd number of levels; of an even
 * number it goes to either side of the middle by turns, so that runs of it compress and add up to nothing. */
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
    for (size_t i = 0; i < (e->n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP; i += 8, codes += bits) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < 8; j++)
            word |= (uint32_t)(int32_t)e->tau[i + j] << bits * j;
        for (uint32_t byte = 0; byte < bits; byte++)
            codes[byte] = (uint8_t)(word >> 8 * byte);
    }
}

static void encode_levels(const emr_encode_kernels *k, emr_encoding *e)
{
    for (size_t from = 0, n; from < e->n; from += n) {
        bool wide, odd = from % 2 == 1;
        n = stretch_length(e, from);
        emr_magnitudes sums = stretch_sums(k, e->tau + from, n, &wide);
        emr_thresholds thresholds = find_thresholds(e, (float)emr_square_root(sums.l2 / (double)n));
        emr_level_sums wide_sums =
            wide ? wide_level_sums(e->tau + from, n, odd, &thresholds) : (emr_level_sums){0};
        emr_level_sums q = k->levels(e->tau + from, n, odd, &thresholds);
        q = wide ? wide_sums : q;
        double scale = (double)store_scale(e->scales + 2 * e->n_stretches++,
                                           emr_rescale_of(e->rescale, sums.l1, q.q1, sums.l2, q.tq, q.qq));
        e->tt += sums.l2;
        e->tq += scale * q.tq;
        e->qq += scale * scale * q.qq;
        e->rr += scale * scale * (double)n / (double)e->row_length;
    }
    pack_codes(e);
}

/* tau itself, rounded. */
static void encode_differences(emr_encoding *e)
{
    emr_dtype dtype = e->coding.rate == 16 * EMR_GROUP ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
    size_t size = emr_float_size(dtype);
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
    emr_encode_kernels k = primitives_of(kernels);
    e->n_stretches = 0;
    e->tt = e->tq = e->qq = e->rr = 0;
    e->zeros = e->zeroed = 0;
    e->bad = e->n;
    if (!find_difference(&k, e))
        return;
    if (e->kind == EMR_MODULATOR_KIND_SIGN)
        encode_signs(&k, e);
    else if (e->kind == EMR_MODULATOR_KIND_THIN)
        encode_thin(&k, e);
    else if (e->kind == EMR_MODULATOR_KIND_LEVELS)
        encode_levels(&k, e);
    else
        encode_differences(e);
}

void emr_encode_fold(double *sums, const emr_encoding *e)
{
    bool by_column = e->n >= e->row_length;
    size_t n = by_column ? (size_t)e->row_length : e->n;
    uint64_t first = by_column ? 0 : e->first % e->row_length;
    for (size_t i = 0; i < n; i++)
        sums[(first + i) % e->row_length] += (double)e->column_sums[i];
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
