/* gguf_k_blocks.c - floats out of ggml's K-quants: blocks of 256 elements in groups of 16 or 32, each group
 * with a scale (and a minimum) of few bits, which the block's own scale multiplies. And out of the 4-bit
 * types whose codes stand for numbers in a table. */
#include "checkpoint/gguf_unpack.h"

#include <stddef.h>

enum { ALL = 256 };

/* Where the codes of a group lie: a part of each of as many bytes. */
typedef struct group_codes {
    const uint8_t *bytes;
    int shift;
} group_codes;

/* Of 2 bits, from element i on: 32 bytes hold elements i, i + 32, i + 64 and i + 96 of each half of the
 * block. */
static group_codes two_bits(const uint8_t *b, size_t i)
{
    return (group_codes){b + i / 128 * 32 + i % 32, (int)(2 * (i / 32 % 4))};
}

/* Of 4 bits: `n` bytes hold elements i and i + n of 2n. */
static group_codes four_bits(const uint8_t *b, size_t i, size_t n)
{
    return (group_codes){b + i / (2 * n) * n + i % n, (int)(4 * (i / n % 2))};
}

/* One more bit: 32 bytes hold it for elements i, i + 32, ..., i + 224. */
static group_codes high_bits(const uint8_t *b, size_t i)
{
    return (group_codes){b + i % 32, (int)(i / 32)};
}

static int code_at(group_codes c, size_t k, int mask)
{
    return c.bytes[k] >> c.shift & mask;
}

void emr_unpack_q2_k(const uint8_t *b, float *values)
{
    float d = emr_half_at(b + 80), least = emr_half_at(b + 82);
    for (size_t i = 0; i < ALL; i += 16) {
        group_codes codes = two_bits(b + 16, i);
        float scale = d * (float)(b[i / 16] & 15), minimum = least * (float)(b[i / 16] >> 4);
        for (size_t k = 0; k < 16; k++)
            values[i + k] = scale * (float)code_at(codes, k, 3) - minimum;
    }
}

/* Scales of 6 bits: the lower four of 16 groups in 8 bytes, the upper two in 4 more. */
static int q3_scale(const uint8_t *b, size_t group)
{
    int low = b[group % 8] >> 4 * (group / 8) & 15, high = b[8 + group % 4] >> 2 * (group / 4) & 3;
    return (low | high << 4) - 32;
}

/* Where the third bit is not set, 4 is taken off. */
void emr_unpack_q3_k(const uint8_t *b, float *values)
{
    float d = emr_half_at(b + 108);
    for (size_t i = 0; i < ALL; i += 16) {
        group_codes low = two_bits(b + 32, i), high = high_bits(b, i);
        float scale = d * (float)q3_scale(b + 96, i / 16);
        for (size_t k = 0; k < 16; k++)
            values[i + k] = scale * (float)(code_at(low, k, 3) + 4 * code_at(high, k, 1) - 4);
    }
}

/* Q4_K and Q5_K have 8 scales and 8 minima of 6 bits in 12 bytes: those of the first four groups in the lower
 * bits of 8 bytes, the others in halves of the last 4 and in the upper bits of the first 8. */
typedef struct group_scale {
    float scale, minimum;
} group_scale;

static group_scale scale_of(const uint8_t *b, size_t group)
{
    const uint8_t *s = b + 4 + group;
    int scale = s[0] & 63, minimum = s[4] & 63;
    if (group >= 4) {
        scale = (s[4] & 15) | s[-4] >> 6 << 4;
        minimum = s[4] >> 4 | s[0] >> 6 << 4;
    }
    return (group_scale){emr_half_at(b) * (float)scale, emr_half_at(b + 2) * (float)minimum};
}

void emr_unpack_q4_k(const uint8_t *b, float *values)
{
    for (size_t i = 0; i < ALL; i += 32) {
        group_codes codes = four_bits(b + 16, i, 32);
        group_scale s = scale_of(b, i / 32);
        for (size_t k = 0; k < 32; k++)
            values[i + k] = s.scale * (float)code_at(codes, k, 15) - s.minimum;
    }
}

void emr_unpack_q5_k(const uint8_t *b, float *values)
{
    for (size_t i = 0; i < ALL; i += 32) {
        group_codes low = four_bits(b + 48, i, 32), high = high_bits(b + 16, i);
        group_scale s = scale_of(b, i / 32);
        for (size_t k = 0; k < 32; k++)
            values[i + k] = s.scale * (float)(code_at(low, k, 15) | code_at(high, k, 1) << 4) - s.minimum;
    }
}

void emr_unpack_q6_k(const uint8_t *b, float *values)
{
    float d = emr_half_at(b + 208);
    for (size_t i = 0; i < ALL; i += 16) {
        group_codes low = four_bits(b, i, 64), high = two_bits(b + 128, i);
        float scale = d * (float)(int8_t)b[192 + i / 16];
        for (size_t k = 0; k < 16; k++)
            values[i + k] = scale * (float)((code_at(low, k, 15) | code_at(high, k, 3) << 4) - 32);
    }
}

/* Its scale is an F32; sums of the codes follow, which nothing here needs. */
void emr_unpack_q8_k(const uint8_t *b, float *values)
{
    float d = emr_f32_from_bits(emr_load32(b));
    for (size_t i = 0; i < ALL; i++)
        values[i] = d * (float)(int8_t)b[4 + i];
}

static const int8_t iq4_numbers[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};

/* 32 elements of 16 bytes. */
static void unpack_iq4(const uint8_t *b, float scale, float *values)
{
    for (size_t i = 0; i < 32; i++)
        values[i] = scale * (float)iq4_numbers[i < 16 ? b[i] & 15 : b[i - 16] >> 4];
}

void emr_unpack_iq4_nl(const uint8_t *b, float *values)
{
    unpack_iq4(b + 2, emr_half_at(b), values);
}

void emr_unpack_iq4_xs(const uint8_t *b, float *values)
{
    unsigned high = emr_load16(b + 2);
    for (size_t g = 0; g < ALL / 32; g++) {
        int scale = (b[4 + g / 2] >> 4 * (g % 2) & 15) | (int)(high >> 2 * g & 3) << 4;
        unpack_iq4(b + 8 + 16 * g, emr_half_at(b) * (float)(scale - 32), values + 32 * g);
    }
}
