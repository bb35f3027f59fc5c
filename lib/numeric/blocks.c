/* blocks.c - see emr/blocks.h. Rounds as ggml's reference does, operation by operation, each to f32: what
 * kernel variants are checked against. Freestanding. */
#include "emr/blocks.h"

#include "core/bytes.h"
#include "numeric/convert.h"

#include <float.h>
#include <stdbool.h>

enum { VALUES = EMR_BLOCK_VALUES };

/* A block is its scale d in F16; its minimum m, if it has one; the fifth bits of its codes, if they have any,
 * as a little-endian number, that of code 0 lowest; and the codes: signed bytes, or the lower four bits, of which
 * the lower halves of 16 bytes are those of the first 16 codes, the upper ones the others'. */
typedef struct block_format {
    emr_block_type type;
    unsigned bits; /* of a code */
    bool has_minimum;
    char name[5];
} block_format;

static const block_format formats[] = {
    {EMR_BLOCK_TYPE_Q4_0, 4, false, "Q4_0"}, {EMR_BLOCK_TYPE_Q4_1, 4, true, "Q4_1"},
    {EMR_BLOCK_TYPE_Q5_0, 5, false, "Q5_0"}, {EMR_BLOCK_TYPE_Q5_1, 5, true, "Q5_1"},
    {EMR_BLOCK_TYPE_Q8_0, 8, false, "Q8_0"},
};

static const block_format *find_format(emr_block_type type)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].type == type)
            return &formats[i];
    return NULL;
}

uint32_t emr_block_bytes(emr_block_type type)
{
    const block_format *f = find_format(type);
    return f ? (f->has_minimum ? 4 : 2) + f->bits * VALUES / 8 : 0;
}

const char *emr_block_name(emr_block_type type)
{
    const block_format *f = find_format(type);
    return f ? f->name : "?";
}

/* Codes of a block as numbers, those without a minimum from -2^(bits - 1) on. */
static void unpack_block(const block_format *f, const uint8_t *from, int codes[VALUES])
{
    uint32_t fifth = f->bits == 5 ? emr_load32(from) : 0;
    int middle = f->has_minimum ? 0 : 1 << (f->bits - 1);
    if (f->bits == 5)
        from += 4;
    for (size_t i = 0; i < VALUES / 2; i++) {
        codes[i] = (from[i] & 15) + (int)(fifth >> i & 1) * 16 - middle;
        codes[i + VALUES / 2] = (from[i] >> 4) + (int)(fifth >> (i + VALUES / 2) & 1) * 16 - middle;
    }
}

static void dequantise_block(const block_format *f, const uint8_t *block, float *values)
{
    int codes[VALUES];
    float d = emr_f16_to_f32(emr_load16(block)), m = emr_f16_to_f32(emr_load16(block + 2));
    if (f->bits == 8) {
        for (size_t i = 0; i < VALUES; i++)
            values[i] = (float)(int8_t)block[2 + i] * d;
        return;
    }
    unpack_block(f, block + (f->has_minimum ? 4 : 2), codes);
    for (size_t i = 0; i < VALUES; i++)
        values[i] = f->has_minimum ? (float)codes[i] * d + m : (float)codes[i] * d;
}

/* Codes from 0 on, of 4 or 5 bits. */
static void pack_block(const block_format *f, const int codes[VALUES], uint8_t *to)
{
    uint32_t fifth = 0;
    if (f->bits == 5) {
        for (size_t i = 0; i < VALUES; i++)
            fifth |= (uint32_t)(codes[i] >> 4) << i;
        emr_store32(to, fifth);
        to += 4;
    }
    for (size_t i = 0; i < VALUES / 2; i++)
        to[i] = (uint8_t)((codes[i] & 15) | (codes[i + VALUES / 2] & 15) << 4);
}

/* The first value of the largest magnitude; 0 where there are none but zeros and NaN. */
static float first_extreme(const float values[VALUES])
{
    float largest = 0, value = 0;
    for (size_t i = 0; i < VALUES; i++) {
        float magnitude = values[i] < 0 ? -values[i] : values[i];
        if (magnitude > largest) {
            largest = magnitude;
            value = values[i];
        }
    }
    return value;
}

/* So small a d that this is infinite is 0 in F16, whatever the codes are. */
static float inverse_scale(float d)
{
    return d != 0 ? 1.0f / d : 0.0f;
}

/* A positive number cut to a whole one; 0 where it is none that could be a code. */
static int cut_code(float x, int most)
{
    int code = x > 0 && x < 128 ? (int)x : 0;
    return code < most ? code : most;
}

/* To the nearest whole number, halves away from 0; 0 where it is none that could be a code. */
static int round_code(float x)
{
    if (!(x > -127.5f && x < 127.5f))
        return 0;
    int code = (int)x;
    float rest = x - (float)code;
    return code + (rest >= 0.5f) - (rest <= -0.5f);
}

static void quantise_eight_bits(uint8_t *block, const float *values)
{
    float most = first_extreme(values), d = (most < 0 ? -most : most) / 127, by = inverse_scale(d);
    emr_store16(block, emr_f32_to_f16(d));
    for (size_t i = 0; i < VALUES; i++)
        block[2 + i] = (uint8_t)round_code(values[i] * by);
}

/* Codes from -2^(bits - 1) on, of which the first stands for the extreme exactly. */
static void quantise_around_zero(const block_format *f, uint8_t *block, const float *values)
{
    int codes[VALUES], middle = 1 << (f->bits - 1);
    float d = first_extreme(values) / (float)-middle, by = inverse_scale(d);
    for (size_t i = 0; i < VALUES; i++)
        codes[i] = cut_code(values[i] * by + ((float)middle + 0.5f), 2 * middle - 1);
    emr_store16(block, emr_f32_to_f16(d));
    pack_block(f, codes, block + 2);
}

static void quantise_from_minimum(const block_format *f, uint8_t *block, const float *values)
{
    int codes[VALUES], last = (1 << f->bits) - 1;
    float least = FLT_MAX, most = -FLT_MAX;
    for (size_t i = 0; i < VALUES; i++) {
        least = values[i] < least ? values[i] : least;
        most = values[i] > most ? values[i] : most;
    }
    float d = (most - least) / (float)last, by = inverse_scale(d);
    for (size_t i = 0; i < VALUES; i++)
        codes[i] = cut_code((values[i] - least) * by + 0.5f, last);
    emr_store16(block, emr_f32_to_f16(d));
    emr_store16(block + 2, emr_f32_to_f16(least));
    pack_block(f, codes, block + 4);
}

emr_status emr_quantise(emr_block_type type, void *blocks, const float *values, size_t n)
{
    const block_format *f = find_format(type);
    if (!f || n % VALUES || (n && (!blocks || !values)))
        return EMR_EINVAL;
    uint8_t *to = blocks;
    for (size_t i = 0; i < n; i += VALUES, to += emr_block_bytes(type)) {
        if (f->bits == 8)
            quantise_eight_bits(to, values + i);
        else if (f->has_minimum)
            quantise_from_minimum(f, to, values + i);
        else
            quantise_around_zero(f, to, values + i);
    }
    return EMR_OK;
}

emr_status emr_dequantise(emr_block_type type, float *values, const void *blocks, size_t n)
{
    const block_format *f = find_format(type);
    if (!f || n % VALUES || (n && (!blocks || !values)))
        return EMR_EINVAL;
    const uint8_t *from = blocks;
    for (size_t i = 0; i < n; i += VALUES, from += emr_block_bytes(type))
        dequantise_block(f, from, values + i);
    return EMR_OK;
}
