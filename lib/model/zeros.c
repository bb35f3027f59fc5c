/* zeros.c - the base of models that have none: zeros, or ones, in the shapes of another model. Freestanding.
 */
#include "model/model.h"

#include "numeric/convert.h"

#include <string.h>

/* An element of a value in a float dtype, as it is stored. */
typedef struct constant {
    uint8_t bytes[8];
    size_t size;
} constant;

static emr_status compute_constant(const emr_computation *c, emr_error *error)
{
    const constant *value = c->user;
    uint8_t *out = c->out;
    (void)error;
    for (size_t i = 0; i < c->count; i++)
        memcpy(out + i * value->size, value->bytes, value->size);
    return EMR_OK;
}

/* +0 is the same in every float type. */
static emr_status compute_zeros(const emr_computation *c, emr_error *error)
{
    const constant *value = c->user;
    (void)error;
    memset(c->out, 0, c->count * value->size);
    return EMR_OK;
}

/* Nobody writes to these; one of each to point at, by dtype. */
static const constant ones[] = {
    [EMR_DTYPE_F32] = {{0, 0, 0x80, 0x3f}, 4}, [EMR_DTYPE_F16] = {{0, 0x3c}, 2},
    [EMR_DTYPE_BF16] = {{0x80, 0x3f}, 2},      [EMR_DTYPE_F64] = {{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, 8},
    [EMR_DTYPE_F8_E4M3] = {{0x38}, 1},         [EMR_DTYPE_F8_E5M2] = {{0x3c}, 1},
};

emr_status emr_model_create_constant(emr_model **model, const char *name, const emr_model *like,
                                     bool (*is_one)(const emr_tensor *tensor), const emr_allocator *allocator,
                                     emr_error *error)
{
    const emr_model_options options = {.size = sizeof options, .name = name, .allocator = allocator};
    emr_status status = emr_model_create(model, &options, error);
    if (!status)
        (*model)->zeros = !is_one;
    for (uint32_t i = 0; !status && i < like->n_tensors; i++) {
        const emr_tensor *t = like->tensors[i];
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        if (!emr_dtype_is_float(t->dtype))
            continue;
        desc.name = t->name;
        desc.shape = t->shape;
        desc.rank = t->rank;
        desc.dtype = t->dtype;
        desc.compute = is_one && is_one(t) ? compute_constant : compute_zeros;
        desc.user = (void *)(uintptr_t)&ones[t->dtype];
        desc.max_count = UINT32_MAX;
        status = emr_model_add(*model, &desc, error);
    }
    if (status)
        emr_model_destroy(model);
    return status;
}

emr_status emr_model_create_zeros(emr_model **model, const emr_model *like, const emr_allocator *allocator,
                                  emr_error *error)
{
    if (model)
        *model = NULL;
    if (!model || !like)
        return emr_fail(error, EMR_EINVAL, "emr_model_create_zeros: NULL");
    return emr_model_create_constant(model, "zeros", like, NULL, allocator, error);
}
