/* philox.c - see philox.h; and the specification of what kernels draw. */
#include "numeric/philox.h"

void emr_philox(const uint32_t counter[4], uint64_t key, uint32_t words[4])
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t first_key = (uint32_t)key, second_key = (uint32_t)(key >> 32);
    for (int round = 0; round < EMR_PHILOX_ROUNDS; round++) {
        uint64_t first = (uint64_t)a * EMR_PHILOX_TIMES_0, second = (uint64_t)c * EMR_PHILOX_TIMES_1;
        a = (uint32_t)(second >> 32) ^ b ^ first_key;
        b = (uint32_t)second;
        c = (uint32_t)(first >> 32) ^ d ^ second_key;
        d = (uint32_t)first;
        first_key += EMR_PHILOX_STEP_0;
        second_key += EMR_PHILOX_STEP_1;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
}

uint64_t emr_random_threshold(double p)
{
    return p >= 1 ? (uint64_t)1 << 32 : p > 0 ? (uint64_t)(p * 4294967296.0) : 0;
}

/* The word of one element. */
static uint32_t element_word(uint64_t key, uint64_t element)
{
    const uint32_t counter[4] = {(uint32_t)(element / 4), (uint32_t)(element / 4 >> 32), 0, 0};
    uint32_t words[4];
    emr_philox(counter, key, words);
    return words[element % 4];
}

static void plain_words(uint64_t key, uint64_t first, size_t n, uint32_t *words)
{
    for (size_t i = 0; i < n; i++)
        words[i] = element_word(key, first + i);
}

static float keep_element(const emr_random_draw *draw, const float *values, size_t i)
{
    float scaled = draw->divides ? values[i] / draw->scale : values[i] * draw->scale;
    return element_word(draw->key, draw->first + i) < draw->threshold ? scaled : 0;
}

static void plain_keep(const emr_random_draw *draw, const float *values, float *kept)
{
    for (size_t i = 0; i < draw->n; i++)
        kept[i] = keep_element(draw, values, i);
}

static void plain_add(const emr_random_draw *draw, const float *values, float *totals)
{
    for (size_t i = 0; i < draw->n; i++)
        totals[i] += keep_element(draw, values, i) * draw->weight;
}

static void plain_sums(const emr_random_draw *draw, const float *values, double sums[2])
{
    double all[8] = {0}, kept[8] = {0};
    for (size_t i = 0; i < draw->n; i++) {
        uint64_t element = draw->first + i;
        double magnitude = values[i] < 0 ? -(double)values[i] : (double)values[i];
        all[element % 8] += magnitude;
        kept[element % 8] += element_word(draw->key, element) < draw->threshold ? magnitude : 0;
    }
    sums[0] += emr_random_fold(all);
    sums[1] += emr_random_fold(kept);
}

const emr_random_kernels emr_random_c = {
    .words = plain_words, .keep = plain_keep, .add = plain_add, .sums = plain_sums};

emr_random_kernels emr_random_kernels_of(const emr_kernels *kernels)
{
    return kernels->random.words ? kernels->random : emr_random_c;
}
