/* tensor.c - one tensor: its facts and its bytes. Freestanding. */
#include "model/model.h"

#include "core/text.h"
#include "emr/checkpoint.h"
#include "numeric/convert.h"

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

emr_status emr_tensor_read_io(const emr_tensor *t, uint64_t offset, void *destination, size_t n,
                              emr_error *error)
{
    emr_error why;
    emr_status status = emr_io_read(&t->io, t->offset + offset, destination, n, &why);
    return status
               ? emr_fail_because(error, status, &why, "%F: tensor '%T': reading %u bytes at byte %u failed",
                                  t->model_name, t->name, (uint64_t)n, t->offset + offset)
               : EMR_OK;
}

emr_status emr_tensor_read(const emr_tensor *tensor, uint64_t offset, void *destination, size_t n,
                           emr_error *error)
{
    return emr_tensor_read_with(tensor, NULL, offset, destination, n, error);
}

emr_status emr_tensor_read_with(const emr_tensor *tensor, void *scratch, uint64_t offset, void *destination,
                                size_t n, emr_error *error)
{
    if (!tensor || (n && !destination))
        return emr_fail(error, EMR_EINVAL, "emr_tensor_read: NULL");
    if (offset > tensor->bytes || n > tensor->bytes - offset)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u bytes, asked for %u from byte %u",
                        tensor->model_name, tensor->name, tensor->bytes, (uint64_t)n, offset);
    if (tensor->unchecked)
        return emr_fail(error, EMR_ESTATE,
                        "%F: tensor '%T' can only be written: its base is checked on the way "
                        "(EMR_BASE_CHECK_WRITE)",
                        tensor->model_name, tensor->name);
    if (n == 0)
        return EMR_OK;
    switch (tensor->kind) {
    case EMR_TENSOR_MEMORY:
        memcpy(destination, (const char *)tensor->data + offset, n);
        return EMR_OK;
    case EMR_TENSOR_IO:
        return emr_tensor_read_io(tensor, offset, destination, n, error);
    case EMR_TENSOR_COMPUTED:
        return emr_tensor_compute(tensor, scratch, offset, destination, n, error);
    case EMR_TENSOR_PUSHED:
        break;
    }
    return emr_fail(error, EMR_ESTATE, "%F: tensor '%T' has no bytes of its own: they are to be pushed",
                    tensor->model_name, tensor->name);
}

emr_status emr_tensor_read_floats(const emr_tensor *tensor, uint64_t first, size_t n, float *values,
                                  emr_error *error)
{
    enum { SOME = 1024 };
    uint8_t bytes[SOME * 8];
    emr_status status = EMR_OK;
    if (!tensor || (n && !values))
        return emr_fail(error, EMR_EINVAL, "emr_tensor_read_floats: NULL");
    if (!emr_dtype_is_float(tensor->dtype))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s, no float", tensor->model_name,
                        tensor->name, emr_dtype_name(tensor->dtype));
    if (first > tensor->count || n > tensor->count - first)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u elements, asked for %u from element %u",
                        tensor->model_name, tensor->name, tensor->count, (uint64_t)n, first);
    size_t size = emr_float_size(tensor->dtype);
    if (tensor->dtype == EMR_DTYPE_F32 && emr_is_little_endian())
        return emr_tensor_read(tensor, first * size, values, n * size, error);
    for (size_t done = 0, some; !status && done < n; done += some) {
        some = (size_t)emr_min(n - done, SOME);
        status = emr_tensor_read(tensor, (first + done) * size, bytes, some * size, error);
        if (!status)
            status = emr_convert(EMR_DTYPE_F32, values + done, tensor->dtype, bytes, some);
    }
    return status;
}

bool emr_is_side_file(const emr_tensor *t)
{
    const char *name = t->name, *prefix = EMR_FILE_PREFIX;
    while (*prefix && *name == *prefix)
        name++, prefix++;
    return !*prefix && t->dtype == EMR_DTYPE_U8 && t->rank == 1;
}

bool emr_is_gguf_header(const emr_tensor *t)
{
    return t->dtype == EMR_DTYPE_U8 && t->rank == 1 && emr_same_text(t->name, EMR_GGUF_HEADER);
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

int emr_tensor_same_shape(const emr_tensor *a, const emr_tensor *b)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return true;
}

uint64_t emr_shape_rows(uint32_t rank, const uint64_t *shape)
{
    for (uint32_t i = 0; i < rank; i++)
        if (shape[i] == 0)
            return 0;
    return rank < 2 ? 1 : shape[0];
}

uint64_t emr_row_length(const emr_tensor *tensor)
{
    return tensor->count / emr_shape_rows(tensor->rank, tensor->shape);
}
