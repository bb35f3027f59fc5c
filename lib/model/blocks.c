/* blocks.c - tensors that lie in ggml's blocks, in memory or in a file, and read as floats: they are computed.
 * Freestanding. */
#include "model/model.h"

#include "core/bytes.h"
#include "numeric/convert.h"

enum {
#ifdef EMR_FREESTANDING
    AT_A_TIME = 16, /* blocks, on the stack */
#else
    AT_A_TIME = 256,
#endif
    BLOCK_BYTES_MAX = 34,
};

emr_status emr_blocks_check(const emr_model *m, const emr_tensor_desc *d, emr_error *error)
{
    const char *name = d->name;
    if (!emr_block_bytes(d->blocks))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': there are no blocks of type %u", m->name, name,
                        (uint64_t)d->blocks);
    if (d->dtype != EMR_DTYPE_F32)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is in blocks: its dtype must be F32, not %s",
                        m->name, name, emr_dtype_name(d->dtype));
    if (d->compute || (!d->data && !d->io))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is in blocks: it needs data or io", m->name,
                        name);
    if (!d->rank || d->shape[d->rank - 1] % EMR_BLOCK_VALUES)
        return emr_fail(error, EMR_EINVAL,
                        "%F: tensor '%T' is in blocks: its last dimension must be a multiple of %u", m->name,
                        name, (uint64_t)EMR_BLOCK_VALUES);
    return EMR_OK;
}

uint64_t emr_blocks_bytes(const emr_tensor *t, uint64_t n)
{
    return n / EMR_BLOCK_VALUES * emr_block_bytes(t->blocks);
}

/* Whole blocks from memory. */
static void dequantise_to_bytes(const emr_tensor *t, uint8_t *to, const uint8_t *blocks, size_t n)
{
    float values[EMR_BLOCK_VALUES];
    for (size_t i = 0; i < n; i += EMR_BLOCK_VALUES, to += sizeof values) {
        (void)emr_dequantise(t->blocks, values, blocks + emr_blocks_bytes(t, i), EMR_BLOCK_VALUES);
        emr_store_f32(EMR_DTYPE_F32, to, values, EMR_BLOCK_VALUES);
    }
}

static emr_status compute_from_blocks(const emr_computation *c, emr_error *error)
{
    const emr_tensor *t = c->user;
    uint64_t at = emr_blocks_bytes(t, c->first);
    uint8_t read[AT_A_TIME * BLOCK_BYTES_MAX];
    const uint8_t *blocks = read;
    if (t->data) {
        blocks = (const uint8_t *)t->data + at;
    } else {
        emr_status status = emr_tensor_read_io(t, at, read, (size_t)emr_blocks_bytes(t, c->count), error);
        if (status)
            return status;
    }
    dequantise_to_bytes(t, c->out, blocks, c->count);
    return EMR_OK;
}

void emr_blocks_compute_from(emr_tensor *t)
{
    t->kind = EMR_TENSOR_COMPUTED;
    t->compute = compute_from_blocks;
    t->user = t;
    t->granule = EMR_BLOCK_VALUES;
    t->max_count = AT_A_TIME * EMR_BLOCK_VALUES;
}

bool emr_tensor_share_source(const emr_tensor *t, uint64_t first, emr_tensor_desc *d)
{
    const uint64_t block = EMR_BLOCK_VALUES * sizeof(float);
    uint64_t at = first;
    if (t->blocks) {
        if (!d->rank || d->shape[d->rank - 1] % EMR_BLOCK_VALUES || first % block)
            return false;
        d->blocks = t->blocks;
        at = emr_blocks_bytes(t, first / sizeof(float));
    } else if (t->kind == EMR_TENSOR_COMPUTED) {
        return false;
    }
    if (t->kind == EMR_TENSOR_MEMORY || (t->blocks && t->data)) {
        d->data = (const uint8_t *)t->data + at;
    } else if (t->kind != EMR_TENSOR_PUSHED) {
        d->io = &t->io;
        d->offset = t->offset + at;
    }
    return true;
}
