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

static void draw_counter(uint64_t key, uint64_t number, uint32_t purpose, uint32_t words[4])
{
    const uint32_t counter[4] = {(uint32_t)number, (uint32_t)(number >> 32), purpose, 0};
    emr_philox(counter, key, words);
}

uint32_t emr_random_lower(uint64_t key, uint64_t position)
{
    uint32_t words[4];
    draw_counter(key, position / 4, EMR_RANDOM_WORDS, words);
    return words[position % 4] >> 8;
}

/* A position's highest byte, of the words that were drawn for those around it. */
static uint32_t highest_byte(const uint32_t words[4], uint64_t position)
{
    return words[position % 16 / 4] >> position % 4 * 8 & 255;
}

static void plain_words(uint64_t key, uint64_t first, size_t n, uint32_t *words)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bytes[4];
        draw_counter(key, (first + i) / 16, EMR_RANDOM_BYTES, bytes);
        words[i] = highest_byte(bytes, first + i) << 24 | emr_random_lower(key, first + i);
    }
}

/* Whether the word is below the threshold: its lower bits are looked at where its byte leaves that open. */
static bool is_below(const emr_random_draw *draw, uint32_t byte, uint64_t position)
{
    if (byte != draw->threshold >> 24)
        return byte < draw->threshold >> 24;
    return emr_random_lower(draw->key, position) < (draw->threshold & 0xffffff);
}

static void plain_choose(const emr_random_draw *draw, uint16_t *kept)
{
    uint32_t bytes[4];
    for (size_t i = 0; i < draw->n; i++) {
        uint64_t position = draw->first + i;
        if (i == 0 || position % 16 == 0)
            draw_counter(draw->key, position / 16, EMR_RANDOM_BYTES, bytes);
        uint32_t bit = is_below(draw, highest_byte(bytes, position), position);
        kept[i / 16] = (uint16_t)(i % 16 ? kept[i / 16] | bit << i % 16 : bit);
    }
}

static void plain_sums(const float *values, const uint16_t *kept, size_t n, double sums[2])
{
    double all[16] = {0}, some[16] = {0};
    for (size_t i = 0; i < n; i++) {
        double magnitude = values[i] < 0 ? -(double)values[i] : (double)values[i];
        all[i % 16] += magnitude;
        some[i % 16] += kept[i / 16] >> i % 16 & 1 ? magnitude : 0;
    }
    sums[0] += emr_random_fold(all);
    sums[1] += emr_random_fold(some);
}

const emr_random_kernels emr_random_c = {.words = plain_words, .choose = plain_choose, .sums = plain_sums};

emr_random_kernels emr_random_kernels_of(const emr_kernels *kernels)
{
    return kernels->random.words ? kernels->random : emr_random_c;
}
