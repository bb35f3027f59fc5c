/* encode_c.c - what encoding is done with, in plain C: the numerical specification. */
#include "numeric/encode.h"
#include "numeric/group.h"
#include "numeric/thin.h"

enum { SUM_LANES = 16 };

/* Ends the elements that lanes add up. */
static double fold_sum(float lanes[SUM_LANES])
{
    for (size_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return (double)lanes[0];
}

static bool is_kept(const uint64_t *kept, size_t i)
{
    return kept && kept[i / 64] >> i % 64 & 1;
}

static void magnitude_sums(emr_magnitudes *total, const float *tau, size_t n, const uint64_t *kept,
                           size_t first_bit)
{
    for (size_t first = 0; first < n; first += EMR_BLOCK) {
        float l1[SUM_LANES] = {0}, l2[SUM_LANES] = {0}, of_kept[SUM_LANES] = {0};
        for (size_t i = first; i < n && i < first + EMR_BLOCK; i++) {
            size_t lane = i % SUM_LANES;
            l1[lane] = l1[lane] + magnitude(tau[i]);
            l2[lane] = l2[lane] + tau[i] * tau[i];
            of_kept[lane] = of_kept[lane] + (is_kept(kept, first_bit + i) ? magnitude(tau[i]) : 0);
        }
        total->l1 += fold_sum(l1);
        total->l2 += fold_sum(l2);
        total->kept += fold_sum(of_kept);
    }
}

/* The code of each run, or of each parameter where runs are of one. */
static uint64_t group_codes(const float *tau, uint64_t kept, uint32_t run_length)
{
    uint64_t codes = 0;
    for (uint32_t i = 0; i < EMR_GROUP; i++) {
        uint32_t run = i / run_length;
        bool is_set = tau[i] > 0 || (tau[i] == 0 && run % 2 == 1);
        codes |= (uint64_t)(is_set && kept >> i & 1) << run;
    }
    return codes;
}

/* The parameters of a group that are there and kept. */
static uint64_t drawn_of(const emr_encode_step *s, size_t group)
{
    uint32_t log2 = emr_thin_log2(s->coding.rate), hash = emr_thin_hash(s->coding.seed, s->group + group);
    uint64_t drawn = 0;
    for (uint32_t run = 0; run < s->coding.rate; run++)
        drawn |= (uint64_t)1 << ((run << log2) + (hash >> run * log2 & ((1u << log2) - 1)));
    return drawn;
}

static void step_codes(const emr_encode_step *s)
{
    for (size_t i = 0; i < s->n && s->codes; i += EMR_GROUP) {
        size_t group = s->first + i / EMR_GROUP, left = s->n - i;
        uint64_t there = left < EMR_GROUP ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
        if (s->kept) {
            s->kept[group] = drawn_of(s, group) & there;
            emr_encode_store(s->codes, s->coding.rate, group,
                             group_codes(s->tau + i, s->kept[group], EMR_GROUP / s->coding.rate));
        } else {
            emr_store64(s->codes + group * sizeof there, group_codes(s->tau + i, there, 1));
        }
    }
}

static bool read_groups(const emr_encode_step *s, emr_magnitudes *total)
{
    emr_chunk chunk = {
        .base = s->base, .tasks = &s->task, .task_dtypes = &s->task_dtype, .base_dtype = s->base_dtype};
    bool finite = true;
    for (size_t first = 0; first < s->n; first += EMR_GROUP) {
        size_t n = s->n - first < EMR_GROUP ? s->n - first : EMR_GROUP;
        float tau[EMR_GROUP] = {0};
        load_task_vector(tau, &chunk, 0, first, n);
        memcpy(s->tau + first, tau, sizeof tau);
        finite = finite && all_finite(tau, n);
    }
    if (!finite)
        return false;
    step_codes(s);
    magnitude_sums(total, s->tau, s->n, s->kept, s->first * EMR_GROUP);
    return true;
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
        total.q1 += fold_sum(q1);
        total.tq += fold_sum(tq);
        total.qq += fold_sum(qq);
    }
    return total;
}

static void add_columns(float *sums, const float *tau, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        sums[i] = sums[i] + scale * magnitude(tau[i]);
}

const emr_encode_kernels emr_encode_c = {
    .read = read_groups,
    .codes = step_codes,
    .sums = magnitude_sums,
    .levels = level_codes,
    .columns = add_columns,
};
