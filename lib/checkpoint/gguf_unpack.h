/* gguf_unpack.h - from a block of ggml to the floats that it stands for, one function a type. All of them
 * multiply as ggml does, each product and sum rounded to a float. */
#ifndef EMR_CHECKPOINT_GGUF_UNPACK_H
#define EMR_CHECKPOINT_GGUF_UNPACK_H

#include "core/bytes.h"
#include "numeric/convert.h"

static inline float emr_half_at(const uint8_t *p)
{
    return emr_f16_to_f32(emr_load16(p));
}

/* gguf_k_blocks.c: blocks of 256, but for IQ4_NL's, which are of 32. */
void emr_unpack_q2_k(const uint8_t *block, float *values);
void emr_unpack_q3_k(const uint8_t *block, float *values);
void emr_unpack_q4_k(const uint8_t *block, float *values);
void emr_unpack_q5_k(const uint8_t *block, float *values);
void emr_unpack_q6_k(const uint8_t *block, float *values);
void emr_unpack_q8_k(const uint8_t *block, float *values);
void emr_unpack_iq4_nl(const uint8_t *block, float *values);
void emr_unpack_iq4_xs(const uint8_t *block, float *values);

#endif
