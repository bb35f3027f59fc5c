/* blocks.c - see emr/blocks.h. Freestanding. */
#include "emr/blocks.h"

uint32_t emr_block_bytes(emr_block_type type)
{
    (void)type;
    return 0;
}

const char *emr_block_name(emr_block_type type)
{
    (void)type;
    return "?";
}

emr_status emr_quantise(emr_block_type type, void *blocks, const float *values, size_t n)
{
    (void)type, (void)blocks, (void)values, (void)n;
    return EMR_EUNSUPPORTED;
}

emr_status emr_dequantise(emr_block_type type, float *values, const void *blocks, size_t n)
{
    (void)type, (void)blocks, (void)values, (void)n;
    return EMR_EUNSUPPORTED;
}
