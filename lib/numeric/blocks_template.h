/* blocks_template.h - blocks of ggml's Q8_0 for one instruction set, bit for bit as blocks.c has them. Included
 * by each variant's file behind kernels_template.h; of its operations these are used here alone:
 *
 *     v_load_codes       16 signed bytes as floats
 *     v_store_codes      16 floats as signed bytes, halves away from 0; 0 where the magnitude is not below 127.5
 *     v_larger           x where it is larger than y, else y
 *     v_largest          of 16, none of them NaN */
#include "emr/blocks.h"
#include "core/bytes.h"
#include "numeric/convert.h"

static void dequantise_fast(emr_block_type type, float *values, const void *blocks, size_t n)
{
    if (type != EMR_BLOCK_TYPE_Q8_0) {
        emr_kernels_c.dequantise(type, values, blocks, n);
        return;
    }
    const uint8_t *from = blocks;
    for (size_t i = 0; i < n; i += 32, from += 34) {
        v16 d = v_set(emr_f16_to_f32(emr_load16(from)));
        v_store_f32(values + i, v_mul(v_load_codes(from + 2), d));
        v_store_f32(values + i + 16, v_mul(v_load_codes(from + 18), d));
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
