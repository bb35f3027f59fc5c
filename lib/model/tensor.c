/* tensor.c - one tensor: its facts and its bytes. Freestanding. */
#include "model/model.h"

#include <string.h>

const char *emr_tensor_name(const emr_tensor *tensor)
{
    return tensor->name;
}

emr_dtype emr_tensor_dtype(const emr_tensor *tensor)
{
    return tensor->dtype;
}

uint32_t emr_tensor_rank(const emr_tensor *tensor)
{
    return tensor->rank;
}

const uint64_t *emr_tensor_shape(const emr_tensor *tensor)
{
    return tensor->shape;
}

uint64_t emr_tensor_count(const emr_tensor *tensor)
{
    return tensor->count;
}

uint64_t emr_tensor_bytes(const emr_tensor *tensor)
{
    return tensor->bytes;
}

/* The host's callback may fail without a word. */
static emr_status read_computed(const emr_tensor *t, uint64_t offset, void *destination, size_t n,
                                emr_error *error)
{
    emr_error why;
    why.text[0] = '\0';
    emr_status status = t->read(t->user, offset, destination, n, &why);
    if (status && !why.text[0])
        emr_fail(&why, status, "%s: tensor '%s': its read callback failed", t->model_name, t->name);
    if (status && error)
        *error = why;
    return status;
}

emr_status emr_tensor_read(const emr_tensor *tensor, uint64_t offset, void *destination, size_t n,
                           emr_error *error)
{
    if (offset > tensor->bytes || n > tensor->bytes - offset)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' has %u bytes, asked for %u from byte %u",
                        tensor->model_name, tensor->name, tensor->bytes, (uint64_t)n, offset);
    if (n == 0)
        return EMR_OK;
    switch (tensor->kind) {
    case EMR_TENSOR_MEMORY:
        memcpy(destination, (const char *)tensor->data + offset, n);
        return EMR_OK;
    case EMR_TENSOR_IO:
        if (tensor->io.read(tensor->io.user, tensor->offset + offset, destination, n))
            return emr_fail(error, EMR_EIO, "%s: tensor '%s': reading %u bytes at byte %u failed",
                            tensor->model_name, tensor->name, (uint64_t)n, tensor->offset + offset);
        return EMR_OK;
    case EMR_TENSOR_COMPUTED:
        return read_computed(tensor, offset, destination, n, error);
    case EMR_TENSOR_PUSHED:
        break;
    }
    return emr_fail(error, EMR_ESTATE, "%s: tensor '%s' has no bytes of its own: they are to be pushed",
                    tensor->model_name, tensor->name);
}

bool emr_shape_bytes(emr_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *count, uint64_t *bytes)
{
    uint64_t bits;
    *count = 1;
    for (uint32_t i = 0; i < rank; i++) /* a zero makes the product 0, in whatever order the others come */
        if (shape[i] == 0)
            *count = 0;
    for (uint32_t i = 0; i < rank; i++)
        if (!emr_mul(*count, shape[i], count))
            return false;
    if (!emr_mul(*count, emr_dtype_bits(dtype), &bits) || bits % 8 || *count > INT64_MAX)
        return false;
    *bytes = bits / 8;
    return true;
}

bool emr_same_shape(const emr_tensor *a, const emr_tensor *b)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return true;
}

emr_status emr_io_take(emr_io *taken, const emr_io *given, emr_error *error)
{
    if (!given)
        return emr_fail(error, EMR_EINVAL, "emr_io: NULL");
    return emr_take_struct(taken, sizeof *taken, offsetof(emr_io, read), given, "emr_io", error);
}
