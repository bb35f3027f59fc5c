/* pairs_c.c - sums over vectors and over every two of them, in plain C: the numerical specification of pairs.h. */
#include "numeric/pairs.h"

#include "numeric/group.h"

enum { LANES = EMR_PAIR_LANES };

/* A group of 64 at most, in f32. */
static void load_numbers(float x[EMR_GROUP], const emr_pair_source *s, size_t first, size_t n)
{
    const emr_chunk chunk = {.base = s->base,
                             .tasks = &(const void *){s->values},
                             .task_dtypes = &s->dtype,
                             .base_dtype = s->base_dtype};
    if (s->base)
        load_task_vector(x, &chunk, 0, first, n);
    else
        emr_load_f32(x, s->dtype, (const uint8_t *)s->values + first * emr_float_size(s->dtype), n);
}

static emr_signs signs_of(const float *x, size_t n)
{
    emr_signs signs = {0, 0};
    for (size_t i = 0; i < n; i++) {
        signs.above |= (uint64_t)(x[i] > 0) << i;
        signs.below |= (uint64_t)(x[i] < 0) << i;
    }
    return signs;
}

static void add_group(emr_vector_sums *sums, const double *x)
{
    for (size_t i = 0; i < EMR_GROUP; i++) {
        size_t lane = i % LANES;
        double size = x[i] < 0 ? -x[i] : x[i], square = x[i] * x[i];
        sums->sums[lane] = sums->sums[lane] + x[i];
        sums->magnitudes[lane] = sums->magnitudes[lane] + size;
        sums->squares[lane] = sums->squares[lane] + square;
        sums->fourths[lane] = sums->fourths[lane] + square * square;
        sums->largest = (float)size > sums->largest ? (float)size : sums->largest;
    }
}

static bool read_block(emr_vector_sums *sums, double *block, emr_signs *signs, const emr_pair_source *source,
                       size_t n)
{
    emr_vector_sums added = *sums;
    for (size_t first = 0; first < n; first += EMR_GROUP) {
        size_t left = n - first < EMR_GROUP ? n - first : EMR_GROUP;
        float x[EMR_GROUP] = {0};
        load_numbers(x, source, first, left);
        if (!all_finite(x, left))
            return false;
        for (size_t i = 0; i < EMR_GROUP; i++)
            block[first + i] = (double)x[i];
        signs[first / EMR_GROUP] = signs_of(x, left);
        add_group(&added, block + first);
    }
    *sums = added;
    return true;
}

static void add_pairs(emr_pair_sums *sums, const double *x, const double *others, size_t stride,
                      uint32_t n_others, size_t n)
{
    for (uint32_t k = 0; k < n_others; k++) {
        const double *y = others + k * stride;
        for (size_t i = 0; i < n; i++) {
            double difference = x[i] - y[i];
            sums[k].products[i % LANES] = sums[k].products[i % LANES] + x[i] * y[i];
            sums[k].distances[i % LANES] = sums[k].distances[i % LANES] + difference * difference;
        }
    }
}

static void count_agreeing(uint64_t *same, uint64_t *both, const emr_signs *x, const emr_signs *others,
                           uint32_t n_others, size_t n_words)
{
    for (uint32_t k = 0; k < n_others; k++) {
        const emr_signs *y = others + k * n_words;
        for (size_t i = 0; i < n_words; i++) {
            same[k] += emr_popcount64((x[i].above & y[i].above) | (x[i].below & y[i].below));
            both[k] += emr_popcount64((x[i].above | x[i].below) & (y[i].above | y[i].below));
        }
    }
}

const emr_pair_kernels emr_pairs_c = {.read = read_block, .add = add_pairs, .agree = count_agreeing};
