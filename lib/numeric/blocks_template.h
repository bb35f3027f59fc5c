/* blocks_template.h - ggml's blocks for one instruction set, bit for bit as blocks.c has them: values of all types,
 * and blocks of Q8_0. Included by each variant's file behind kernels_template.h; of its operations these are used
 * here alone:
 *
 *     v_load_codes       16 signed bytes as floats
 *     v_store_codes      16 floats as signed bytes, halves away from 0; 0 where the magnitude is not below 127.5
 *     v_larger           x where it is larger than y, else y
 *     v_largest          of 16, none of them NaN */
#include "emr/blocks.h"
#include "core/bytes.h"
#include "numeric/convert.h"

#define INLINE inline __attribute__((always_inline))

/* A byte of bits as eight bytes of 0 or 16, the lowest first. */
static INLINE uint64_t spread_bits(uint32_t bits)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t each = (bits & 255) * ones & 0x8040201008040201u;
    return (each + 127 * ones) >> 3 & 16 * ones;
}

/* The 32 codes of 4 or 5 bits that begin at `from`, as bytes. */
static INLINE void spread_codes(uint8_t codes[32], bool five, const uint8_t *from)
{
    const uint64_t low = 0x0f0f0f0f0f0f0f0fu;
    const uint32_t fifth = five ? emr_load32(from) : 0;
    from += five ? 4 : 0;
    for (size_t i = 0; i < 16; i += 8) {
        uint64_t both, first, second;
        memcpy(&both, from + i, 8);
        first = (both & low) | spread_bits(fifth >> i);
        second = (both >> 4 & low) | spread_bits(fifth >> (16 + i));
        memcpy(codes + i, &first, 8);
        memcpy(codes + 16 + i, &second, 8);
    }
}

static INLINE void dequantise_type(emr_block_type type, float *values, const uint8_t *from, size_t n)
{
    const bool eight = type == EMR_BLOCK_TYPE_Q8_0;
    const bool five = type == EMR_BLOCK_TYPE_Q5_0 || type == EMR_BLOCK_TYPE_Q5_1;
    const bool has_minimum = type == EMR_BLOCK_TYPE_Q4_1 || type == EMR_BLOCK_TYPE_Q5_1;
    const size_t head = has_minimum ? 4 : 2, bytes = head + (eight ? 32 : five ? 20 : 16);
    const v16 middle = v_set(eight || has_minimum ? 0 : five ? 16 : 8);
    for (size_t i = 0; i < n; i += 32, from += bytes) {
        const v16 d = v_set(emr_f16_to_f32(emr_load16(from)));
        const v16 m = has_minimum ? v_set(emr_f16_to_f32(emr_load16(from + 2))) : v_zero();
        const uint8_t *codes = from + head;
        uint8_t spread[32];
        if (!eight) {
            spread_codes(spread, five, codes);
            codes = spread;
        }
        for (size_t k = 0; k < 32; k += 16) {
            v16 x = v_mul(v_sub(v_load_codes(codes + k), middle), d);
            v_store_f32(values + i + k, has_minimum ? v_add(x, m) : x);
        }
    }
}

static void dequantise_fast(emr_block_type type, float *values, const void *blocks, size_t n)
{
    switch (type) { /* code of its own for each */
    case EMR_BLOCK_TYPE_Q4_0:
        dequantise_type(EMR_BLOCK_TYPE_Q4_0, values, blocks, n);
        break;
    case EMR_BLOCK_TYPE_Q4_1:
        dequantise_type(EMR_BLOCK_TYPE_Q4_1, values, blocks, n);
        break;
    case EMR_BLOCK_TYPE_Q5_0:
        dequantise_type(EMR_BLOCK_TYPE_Q5_0, values, blocks, n);
        break;
    case EMR_BLOCK_TYPE_Q5_1:
        dequantise_type(EMR_BLOCK_TYPE_Q5_1, values, blocks, n);
        break;
    default:
        dequantise_type(EMR_BLOCK_TYPE_Q8_0, values, blocks, n);
    }
}

static void quantise_fast(emr_block_type type, void *blocks, const float *values, size_t n)
{
    if (type != EMR_BLOCK_TYPE_Q8_0) {
        emr_kernels_c.quantise(type, blocks, values, n);
        return;
    }
    uint8_t *to = blocks;
    for (size_t i = 0; i < n; i += 32, to += 34) {
        v16 x = v_load_f32(values + i), y = v_load_f32(values + i + 16);
        float d = v_largest(v_larger(v_abs(y), v_larger(v_abs(x), v_zero()))) / 127;
        v16 by = v_set(d != 0 ? 1.0f / d : 0.0f);
        emr_store16(to, emr_f32_to_f16(d));
        v_store_codes(to + 2, v_mul(x, by));
        v_store_codes(to + 18, v_mul(y, by));
    }
}

#define BLOCK_KERNELS .dequantise = dequantise_fast, .quantise = quantise_fast

#undef INLINE
