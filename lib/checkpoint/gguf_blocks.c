/* gguf_blocks.c - the tensor types of ggml, and floats made of blocks as they are read, but for those that any
 * model may have (emr/blocks.h): they are in gguf_k_blocks.c. */
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_unpack.h"

/* Numbers that are absent were types once, and are so no more. */
static const emr_gguf_type types[] = {
    {"F32", 0, 1, 4, EMR_DTYPE_F32, NULL},
    {"F16", 1, 1, 2, EMR_DTYPE_F16, NULL},
    {"Q4_0", 2, 32, 18, EMR_DTYPE_U8, NULL},
    {"Q4_1", 3, 32, 20, EMR_DTYPE_U8, NULL},
    {"Q5_0", 6, 32, 22, EMR_DTYPE_U8, NULL},
    {"Q5_1", 7, 32, 24, EMR_DTYPE_U8, NULL},
    {"Q8_0", 8, 32, 34, EMR_DTYPE_U8, NULL},
    {"Q8_1", 9, 32, 36, EMR_DTYPE_U8, NULL},
    {"Q2_K", 10, 256, 84, EMR_DTYPE_U8, emr_unpack_q2_k},
    {"Q3_K", 11, 256, 110, EMR_DTYPE_U8, emr_unpack_q3_k},
    {"Q4_K", 12, 256, 144, EMR_DTYPE_U8, emr_unpack_q4_k},
    {"Q5_K", 13, 256, 176, EMR_DTYPE_U8, emr_unpack_q5_k},
    {"Q6_K", 14, 256, 210, EMR_DTYPE_U8, emr_unpack_q6_k},
    {"Q8_K", 15, 256, 292, EMR_DTYPE_U8, emr_unpack_q8_k},
    {"IQ2_XXS", 16, 256, 66, EMR_DTYPE_U8, NULL},
    {"IQ2_XS", 17, 256, 74, EMR_DTYPE_U8, NULL},
    {"IQ3_XXS", 18, 256, 98, EMR_DTYPE_U8, NULL},
    {"IQ1_S", 19, 256, 50, EMR_DTYPE_U8, NULL},
    {"IQ4_NL", 20, 32, 18, EMR_DTYPE_U8, emr_unpack_iq4_nl},
    {"IQ3_S", 21, 256, 110, EMR_DTYPE_U8, NULL},
    {"IQ2_S", 22, 256, 82, EMR_DTYPE_U8, NULL},
    {"IQ4_XS", 23, 256, 136, EMR_DTYPE_U8, emr_unpack_iq4_xs},
    {"I8", 24, 1, 1, EMR_DTYPE_I8, NULL},
    {"I16", 25, 1, 2, EMR_DTYPE_I16, NULL},
    {"I32", 26, 1, 4, EMR_DTYPE_I32, NULL},
    {"I64", 27, 1, 8, EMR_DTYPE_I64, NULL},
    {"F64", 28, 1, 8, EMR_DTYPE_F64, NULL},
    {"IQ1_M", 29, 256, 56, EMR_DTYPE_U8, NULL},
    {"BF16", 30, 1, 2, EMR_DTYPE_BF16, NULL},
    {"TQ1_0", 34, 256, 54, EMR_DTYPE_U8, NULL},
    {"TQ2_0", 35, 256, 66, EMR_DTYPE_U8, NULL},
    {"MXFP4", 39, 32, 17, EMR_DTYPE_U8, NULL},
    {"NVFP4", 40, 64, 36, EMR_DTYPE_U8, NULL},
    {"Q1_0", 41, 128, 18, EMR_DTYPE_U8, NULL},
    {"Q2_0", 42, 64, 18, EMR_DTYPE_U8, NULL},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const emr_gguf_type *emr_gguf_type_find(uint32_t number)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].number == number)
            return &types[i];
    return NULL;
}

const emr_gguf_type *emr_gguf_type_of(emr_dtype dtype)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].block == 1 && types[i].dtype == dtype)
            return &types[i];
    return NULL;
}

emr_status emr_gguf_unpack(const emr_computation *c, emr_error *error)
{
    const emr_tensor *t = c->user;
    const emr_gguf_type *type = t->data;
    uint8_t blocks[EMR_GGUF_UNPACKED_BYTES], *to = c->out;
    size_t n = c->count / type->block, bytes = n * type->block_bytes;
    uint64_t at = t->offset + c->first / type->block * type->block_bytes;
    emr_error why;
    emr_status status = emr_io_read(&t->io, at, blocks, bytes, &why);
    if (status)
        return emr_fail_because(error, status, &why, "%F: tensor '%T': reading %u bytes at byte %u failed",
                                t->model_name, t->name, (uint64_t)bytes, at);
    for (size_t i = 0; i < n; i++) {
        float values[EMR_GGUF_BLOCK_MAX];
        type->unpack(blocks + i * type->block_bytes, values);
        for (size_t k = 0; k < type->block; k++, to += 4)
            emr_store32(to, emr_f32_bits(values[k]));
    }
    return EMR_OK;
}
