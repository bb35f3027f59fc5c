/* zeros.c - the base of models that have none: zeros in the shapes of another model. Freestanding. */
#include "model/model.h"

#include <string.h>

static emr_status read_zeros(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    (void)user, (void)offset, (void)error;
    memset(destination, 0, n); /* +0 in every float type */
    return EMR_OK;
}

emr_status emr_model_create_zeros(emr_model **model, const emr_model *like, const emr_allocator *allocator,
                           emr_error *error)
{
    if (!model || !like)
        return emr_fail(error, EMR_EINVAL, "emr_model_create_zeros: NULL");
    emr_status status = emr_model_create(model, "zeros", allocator, error);
    for (size_t i = 0; !status && i < like->n_tensors; i++) {
        const emr_tensor *t = like->tensors[i];
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        if (!emr_dtype_is_float(t->dtype))
            continue;
        desc.name = t->name;
        desc.shape = t->shape;
        desc.rank = t->rank;
        desc.dtype = (uint32_t)t->dtype;
        desc.read = read_zeros;
        status = emr_model_add(*model, &desc, error);
    }
    if (status)
        emr_model_destroy(model);
    return status;
}
