/* blocks.h - ggml's plainer quantised types: 32 values as a block of small integers with a scale, perhaps a
 * minimum. Weights can be written in them (session.h), and a tensor that lies in them in memory or in a file
 * is read as floats (tensor.h).
 *
 *     uint8_t blocks[34];
 *     emr_quantise(EMR_BLOCK_TYPE_Q8_0, blocks, values, 32);
 */
#ifndef EMR_BLOCKS_H
#define EMR_BLOCKS_H

#include "emr/export.h"
#include "emr/status.h"

/* Numbers are ggml's, as in GGUF files. Its other types (Q4_K, ...) are none of these; checkpoint.h reads them. */
typedef uint32_t emr_block_type;
enum {
    EMR_BLOCK_TYPE_NONE = 0, /* not in blocks */
    EMR_BLOCK_TYPE_Q4_0 = 2, /* 18 bytes: d (F16), 16 bytes of two codes;       value = (code - 8) * d */
    EMR_BLOCK_TYPE_Q4_1 = 3, /* 20 bytes: d, m, 16 bytes;                       value = code * d + m */
    EMR_BLOCK_TYPE_Q5_0 = 6, /* 22 bytes: d, 4 bytes of fifth bits, 16 bytes;   value = (code - 16) * d */
    EMR_BLOCK_TYPE_Q5_1 = 7, /* 24 bytes: d, m, 4 bytes, 16 bytes;              value = code * d + m */
    EMR_BLOCK_TYPE_Q8_0 = 8  /* 34 bytes: d, 32 signed bytes;                   value = code * d */
};

#define EMR_BLOCK_VALUES 32 /* in a block, of every type */

EMR_BEGIN_DECLS

/* Bytes of a block, or 0 for a number that is none of these types. */
EMR_API uint32_t emr_block_bytes(emr_block_type type);

/* The name as GGUF spells it ("Q8_0"), or "?". Static strings. */
EMR_API const char *emr_block_name(emr_block_type type);

/* Values in F32 into blocks, to the bit as ggml's reference rounds (quantize_row_*_ref, and Python's gguf). n is
 * a multiple of 32, or EMR_EINVAL. Blocks may have any alignment. Where a block has a value that is not
 * finite, its codes are not defined. */
EMR_API emr_status emr_quantise(emr_block_type type, void *blocks, const float *values, size_t n);

/* And back: each value is computed in f32, product and sum each rounded. */
EMR_API emr_status emr_dequantise(emr_block_type type, float *values, const void *blocks, size_t n);

EMR_END_DECLS

#endif
