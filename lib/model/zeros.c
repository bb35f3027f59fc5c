/* zeros.c - the base of models that have none: zeros in the shapes of another model. Freestanding. */
#include "model/model.h"

#include "numeric/convert.h"

#include <string.h>

static emr_status compute_zeros(const emr_computation *c, emr_error *error)
{
    const size_t *element_bytes = c->user;
    (void)error;
    memset(c->out, 0, c->count * *element_bytes); /* +0 in every float type */
    return EMR_OK;
}

emr_status emr_model_create_zeros(emr_model **model, const emr_model *like, const emr_allocator *allocator,
                                  emr_error *error)
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}; /* of a float; one of each to point at */
    if (model)
        *model = NULL;
    if (!model || !like)
        return emr_fail(error, EMR_EINVAL, "emr_model_create_zeros: NULL");
    const emr_model_options options = {.size = sizeof options, .name = "zeros", .allocator = allocator};
    emr_status status = emr_model_create(model, &options, error);
    if (!status)
        (*model)->zeros = true;
    for (uint32_t i = 0; !status && i < like->n_tensors; i++) {
        const emr_tensor *t = like->tensors[i];
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        if (!emr_dtype_is_float(t->dtype))
            continue;
        desc.name = t->name;
        desc.shape = t->shape;
        desc.rank = t->rank;
        desc.dtype = t->dtype;
        desc.compute = compute_zeros;
        desc.user = (void *)(uintptr_t)&sizes[emr_float_size(t->dtype)]; /* which nobody writes to */
        desc.max_count = UINT32_MAX;
        status = emr_model_add(*model, &desc, error);
    }
    if (status)
        emr_model_destroy(model);
    return status;
}
