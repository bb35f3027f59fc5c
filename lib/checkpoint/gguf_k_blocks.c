/* gguf_k_blocks.c - floats out of ggml's K-quants: blocks of 256 elements in groups of 16 or 32, each group
 * with a scale (and a minimum) of few bits, which the block's own scale multiplies. And out of the 4-bit
 * types whose codes stand for numbers in a table. */
#include "checkpoint/gguf_unpack.h"

#include <stddef.h>

enum { ALL = 256 };

/* Codes of 2 bits: 32 bytes hold elements i, i + 32, i + 64 and i + 96 of each half. */
static int two_bits(const uint8_t *b, size_t i)
{
    return b[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3;
}

/* Codes of 4 bits: `n` bytes hold elements i and i + n of 2n. */
static int four_bits(const uint8_t *b, size_t i, size_t n)
{
    return b[i / (2 * n) * n + i % n] >> 4 * (i / n % 2) & 15;
}

/* One more bit: 32 bytes hold it for elements i, i + 32, ..., i + 224. */
static int high_bit(const uint8_t *b, size_t i)
{
    return b[i % 32] >> i / 32 & 1;
}

void emr_unpack_q2_k(const uint8_t *b, float *values)
{
    const uint8_t *scales = b, *codes = b + 16;
    float d = emr_half_at(b + 80), least = emr_half_at(b + 82);
    for (size_t i = 0; i < ALL; i++) {
        float scale = d * (float)(scales[i / 16] & 15), minimum = least * (float)(scales[i / 16] >> 4);
        values[i] = scale * (float)two_bits(codes, i) - minimum;
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
    const uint8_t *highs = b, *codes = b + 32, *scales = b + 96;
    float d = emr_half_at(b + 108);
    for (size_t i = 0; i < ALL; i++) {
        float scale = d * (float)q3_scale(scales, i / 16);
        values[i] = scale * (float)(two_bits(codes, i) - (high_bit(highs, i) ? 0 : 4));
    }
}

/* Q4_K and Q5_K have 8 scales and 8 minima of 6 bits in 12 bytes: those of the first four groups in the
 * lower bits of 8 bytes, the others in halves of the last 4 and in the upper bits of the first 8. */
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
    for (size_t g = 0; g < ALL / 32; g++) {
        group_scale s = scale_of(b, g);
        for (size_t i = 32 * g; i < 32 * g + 32; i++)
            values[i] = s.scale * (float)four_bits(b + 16, i, 32) - s.minimum;
    }
}

void emr_unpack_q5_k(const uint8_t *b, float *values)
{
    for (size_t g = 0; g < ALL / 32; g++) {
        group_scale s = scale_of(b, g);
        for (size_t i = 32 * g; i < 32 * g + 32; i++)
            values[i] = s.scale * (float)(four_bits(b + 48, i, 32) | high_bit(b + 16, i) << 4) - s.minimum;
    }
}

void emr_unpack_q6_k(const uint8_t *b, float *values)
{
    const uint8_t *low = b, *high = b + 128, *scales = b + 192;
    float d = emr_half_at(b + 208);
    for (size_t i = 0; i < ALL; i++) {
        float scale = d * (float)(int8_t)scales[i / 16];
        values[i] = scale * (float)((four_bits(low, i, 64) | two_bits(high, i) << 4) - 32);
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

void emr_unpack_iq4_nl(const uint8_t *b, float *values)
{
    float d = emr_half_at(b);
    for (size_t i = 0; i < 32; i++)
        values[i] = d * (float)iq4_numbers[four_bits(b + 2, i, 16)];
}

void emr_unpack_iq4_xs(const uint8_t *b, float *values)
{
    const uint8_t *low = b + 4, *codes = b + 8;
    unsigned high = emr_load16(b + 2);
    for (size_t g = 0; g < ALL / 32; g++) {
        int scale = (low[g / 2] >> 4 * (g % 2) & 15) | (int)(high >> 2 * g & 3) << 4;
        float d = emr_half_at(b) * (float)(scale - 32);
        for (size_t i = 32 * g; i < 32 * g + 32; i++)
            values[i] = d * (float)iq4_numbers[four_bits(codes, i, 16)];
    }
}
