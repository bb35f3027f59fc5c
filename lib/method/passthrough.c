/* passthrough.c - one model as it is, or times a number: out = scale * W. */
#include "method/methods.h"

#include "core/error.h"

#include <float.h>

enum { PASSTHROUGH_SCALE };

static const emr_method_parameter passthrough_parameters[] = {
    {.name = "scale", .initial = 1, .least = -FLT_MAX, .most = FLT_MAX, .per_task = 1},
};

static emr_status check_passthrough(const emr_method_tensor *tensor, emr_error *error)
{
    if (tensor->n_inputs != 1)
        return emr_fail(error, EMR_EINVAL, "passthrough takes one model, the base among them, not %u",
                        (uint64_t)tensor->n_inputs);
    return EMR_OK;
}

static emr_status combine_passthrough(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    float scale = (float)emr_method_value(c->tensor, 0, PASSTHROUGH_SCALE);
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = c->inputs[0][i] * scale;
    return EMR_OK;
}

const emr_method emr_method_passthrough = {
    .size = sizeof emr_method_passthrough,
    .name = "passthrough",
    .parameters = passthrough_parameters,
    .n_parameters = sizeof passthrough_parameters / sizeof *passthrough_parameters,
    .check = check_passthrough,
    .combine = combine_passthrough,
    .base = EMR_METHOD_BASE_INPUT,
    .max_tasks = 1,
};
