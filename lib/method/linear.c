/* linear.c - the weighted mean, or with normalize 0 the weighted sum:
 *
 *     out = sum weight_t * W_t  [ / sum weight_t ]
 *
 * in f32, inputs in their order. */
#include "method/methods.h"

#include "core/error.h"

#include <float.h>
#include <string.h>

enum { LINEAR_WEIGHT, LINEAR_NORMALIZE };

static const emr_method_parameter linear_parameters[] = {
    {.name = "weight", .initial = EMR_METHOD_UNSET, .least = -FLT_MAX, .most = FLT_MAX, .per_task = 1},
    {.name = "normalize", .initial = 1, .most = 1, .is_whole = 1},
};

static float sum_weights(const emr_method_tensor *tensor)
{
    float sum = 0;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        sum += (float)emr_method_value(tensor, t, LINEAR_WEIGHT);
    return sum;
}

static emr_status check_linear(const emr_method_tensor *tensor, emr_error *error)
{
    if (emr_method_value(tensor, 0, LINEAR_NORMALIZE) != 0 && sum_weights(tensor) == 0)
        return emr_fail(
            error, EMR_EINVAL,
            "the weights add up to 0, by which linear would divide; set normalize to 0 for the plain sum");
    return EMR_OK;
}

static void add_weighted(float *restrict out, const float *restrict input, size_t n, float weight)
{
    for (size_t i = 0; i < n; i++)
        out[i] += input[i] * weight;
}

static emr_status combine_linear(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    memset(c->out, 0, c->n * sizeof *c->out);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        add_weighted(c->out, c->inputs[t], c->n, (float)emr_method_value(c->tensor, t, LINEAR_WEIGHT));
    if (emr_method_value(c->tensor, 0, LINEAR_NORMALIZE) == 0)
        return EMR_OK;
    float sum = sum_weights(c->tensor);
    for (size_t i = 0; i < c->n; i++)
        c->out[i] /= sum;
    return EMR_OK;
}

const emr_method emr_method_linear = {
    .size = sizeof emr_method_linear,
    .name = "linear",
    .parameters = linear_parameters,
    .n_parameters = sizeof linear_parameters / sizeof *linear_parameters,
    .check = check_linear,
    .combine = combine_linear,
    .base = EMR_METHOD_BASE_INPUT,
};
