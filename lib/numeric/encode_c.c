/* encode_c.c - what encoding is done with, in plain C: the numerical specification. */
#include "numeric/group.h"
#include "numeric/thin.h"

enum { SUM_LANES = 16 };

static bool difference_of(const emr_difference *d, float *tau, size_t *nonzero)
{
    emr_chunk chunk = {
        .base = d->base, .tasks = &d->task, .task_dtypes = &d->task_dtype, .base_dtype = d->base_dtype};
    bool finite = true;
    *nonzero = 0;
    for (size_t first = 0; first < d->n; first += EMR_GROUP) {
        size_t n = d->n - first < EMR_GROUP ? d->n - first : EMR_GROUP;
        float group[EMR_GROUP];
        load_task_vector(group, &chunk, 0, first, n);
        memcpy(tau + first, group, n * sizeof *tau);
        finite = finite && all_finite(group, n);
        for (size_t i = 0; i < n; i++)
            *nonzero += group[i] != 0;
    }
    return finite;
}

/* Ends the elements that lanes add up. */
static double fold_lanes(float lanes[SUM_LANES])
{
    for (size_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return (double)lanes[0];
}

static emr_magnitudes magnitude_sums(const float *tau, size_t n)
{
    emr_magnitudes total = {0, 0};
    for (size_t first = 0; first < n; first += EMR_BLOCK) {
        float l1[SUM_LANES] = {0}, l2[SUM_LANES] = {0};
        for (size_t i = first; i < n && i < first + EMR_BLOCK; i++) {
            size_t lane = i % SUM_LANES;
            l1[lane] = l1[lane] + magnitude(tau[i]);
            l2[lane] = l2[lane] + tau[i] * tau[i];
        }
        total.l1 += fold_lanes(l1);
        total.l2 += fold_lanes(l2);
    }
    return total;
}

static void sign_codes(uint8_t *codes, const float *tau, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        unsigned byte = 0;
        for (size_t j = 0; j < 8; j++)
            byte |= (unsigned)(tau[i + j] > 0 || (tau[i + j] == 0 && j % 2 == 1)) << j;
        codes[i / 8] = (uint8_t)byte;
    }
}

static void thin_codes(uint8_t *codes, uint64_t *kept, float *tau, size_t n, const emr_coding *coding,
                       uint64_t group)
{
    uint32_t log2 = emr_thin_log2(coding->rate), length = 1u << log2;
    for (size_t g = 0; g * EMR_GROUP < n; g++) {
        uint32_t hash = emr_thin_hash(coding->seed, group + g);
        kept[g] = 0;
        for (uint32_t run = 0; run < coding->rate; run++) {
            uint32_t place = run * length + (hash >> run * log2 & (length - 1));
            size_t i = g * EMR_GROUP + place, bit = g * coding->rate + run;
            if (i >= n)
                continue;
            kept[g] |= (uint64_t)1 << place;
            if (tau[i] > 0 || (tau[i] == 0 && run % 2 == 1))
                codes[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
        for (size_t i = g * EMR_GROUP; i < n && i < (g + 1) * EMR_GROUP; i++)
            tau[i] = kept[g] >> i % EMR_GROUP & 1 ? tau[i] : 0;
    }
}

static emr_level_sums level_codes(float *tau, size_t n, bool odd, const emr_thresholds *t)
{
    emr_level_sums total = {0, 0, 0};
    for (size_t first = 0; first < n; first += EMR_BLOCK) {
        float q1[SUM_LANES] = {0}, tq[SUM_LANES] = {0}, qq[SUM_LANES] = {0};
        for (size_t i = first; i < n && i < first + EMR_BLOCK; i++) {
            size_t lane = i % SUM_LANES, code = 0;
            for (size_t k = 0; k + 1 < t->n_levels; k++)
                code += tau[i] > t->at[(odd + i) % 2][k];
            float level = t->levels[code];
            q1[lane] = q1[lane] + magnitude(level);
            tq[lane] = tq[lane] + level * tau[i];
            qq[lane] = qq[lane] + level * level;
            tau[i] = (float)code;
        }
        total.q1 += fold_lanes(q1);
        total.tq += fold_lanes(tq);
        total.qq += fold_lanes(qq);
    }
    return total;
}

static void add_columns(float *sums, const float *tau, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        sums[i] = sums[i] + scale * magnitude(tau[i]);
}

const emr_encode_kernels emr_encode_c = {
    .difference = difference_of,
    .sums = magnitude_sums,
    .signs = sign_codes,
    .thin = thin_codes,
    .levels = level_codes,
    .columns = add_columns,
};
