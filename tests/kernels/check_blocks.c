/* check_blocks.c - see check_blocks.h. */
#include "check_blocks.h"

#include "core/bytes.h"

#include <stdio.h>
#include <string.h>

enum { VALUES_MAX = 40 * EMR_BLOCK_VALUES, BYTES_MAX = 40 * 34, GUARDS = 64 };

static const emr_block_type all_types[] = {EMR_BLOCK_TYPE_Q8_0, EMR_BLOCK_TYPE_Q4_0, EMR_BLOCK_TYPE_Q4_1,
                                           EMR_BLOCK_TYPE_Q5_0, EMR_BLOCK_TYPE_Q5_1};

static float block_values[VALUES_MAX + 1], floats_a[VALUES_MAX + GUARDS], floats_b[VALUES_MAX + GUARDS];
static uint8_t blocks_a[BYTES_MAX + 2 * GUARDS], blocks_b[BYTES_MAX + 2 * GUARDS];

/* Halves and what is next to them, of scales that are powers of two and not; and anything. */
static void fill_block(float *values)
{
    flavour f = (flavour)below(N_FLAVOURS);
    bool halves = chance(2);
    float d = halves && chance(2) ? value_of(f) : 0x1p-5f;
    for (size_t i = 0; i < EMR_BLOCK_VALUES; i++) {
        values[i] = halves ? (float)((int)below(255) - 127) * 0.5f * d : value_of(f);
        if (chance(4))
            values[i] = emr_f32_from_bits(emr_f32_bits(values[i]) + (uint32_t)below(3) - 1);
    }
    if (halves)
        values[below(EMR_BLOCK_VALUES)] = (chance(2) ? 127 : -127) * d;
}

static bool same_blocks(const emr_kernels *k, emr_block_type type, const float *values, size_t n)
{
    size_t offset = below(4);
    memset(blocks_a, 0x5a, sizeof blocks_a);
    memset(blocks_b, 0x5a, sizeof blocks_b);
    emr_kernels_c.quantise(type, blocks_a + GUARDS + offset, values, n);
    k->quantise(type, blocks_b + GUARDS + offset, values, n);
    return memcmp(blocks_a, blocks_b, sizeof blocks_a) == 0;
}

static bool same_floats(const emr_kernels *k, emr_block_type type, const uint8_t *blocks, size_t n)
{
    memset(floats_a, 0x5a, sizeof floats_a);
    memset(floats_b, 0x5a, sizeof floats_b);
    emr_kernels_c.dequantise(type, floats_a, blocks, n);
    k->dequantise(type, floats_b, blocks, n);
    for (size_t i = 0; i < n; i++) /* which NaN a sum of two has is the compiler's choice */
        if (floats_a[i] != floats_a[i] && floats_b[i] != floats_b[i])
            floats_b[i] = floats_a[i];
    return memcmp(floats_a, floats_b, sizeof floats_a) == 0;
}

static bool check_some_blocks(const emr_kernels *k)
{
    emr_block_type type = all_types[chance(2) ? 0 : below(5)];
    size_t n = below(VALUES_MAX / EMR_BLOCK_VALUES + 1) * EMR_BLOCK_VALUES, offset = below(2);
    for (size_t i = 0; i < n; i += EMR_BLOCK_VALUES)
        fill_block(block_values + offset + i);
    bool same = same_blocks(k, type, block_values + offset, n);
    if (chance(2))
        for (size_t i = 0; i < sizeof blocks_a; i++)
            blocks_a[i] = (uint8_t)(next_bits() >> 32);
    same = same && same_floats(k, type, blocks_a + below(GUARDS), n);
    if (!same)
        printf("%s: %zu values in %s differ\n", k->name, n, emr_block_name(type));
    return same;
}

void check_blocks(const emr_kernels *k, counts *n)
{
    for (int i = 0; i < 1000; i++)
        count(n, check_some_blocks(k));
}
