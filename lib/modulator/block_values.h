/* block_values.h - the values of a base that lies in ggml's blocks, where somebody is about to compute with them. */
#ifndef EMR_MODULATOR_BLOCK_VALUES_H
#define EMR_MODULATOR_BLOCK_VALUES_H

#include "numeric/kernels.h"

/* Values that n of them take room for: the blocks at either end are dequantised whole. */
#define EMR_BLOCK_ROOM(n) ((n) + 2 * EMR_BLOCK_VALUES)

/* Values [first, first + n) of a tensor whose blocks begin at `blocks`, dequantised into `room`: where there the
 * first one is. */
static inline const float *emr_block_values(const emr_kernels *kernels, emr_block_type type,
                                            const uint8_t *blocks, uint64_t first, size_t n, float *room)
{
    const size_t before = (size_t)(first % EMR_BLOCK_VALUES);
    const size_t whole = (before + n + EMR_BLOCK_VALUES - 1) / EMR_BLOCK_VALUES * EMR_BLOCK_VALUES;
    kernels->dequantise(type, room, blocks + first / EMR_BLOCK_VALUES * emr_block_bytes(type), whole);
    return room + before;
}

#endif
