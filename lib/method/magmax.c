/* magmax.c - MagMax (Marczak and others, 2024): at each parameter the change of largest magnitude, of equal
 * ones that of the later task.
 *
 *     out = lambda * tau_t, with the last t of those whose |tau_t| is largest */
#include "method/magnitude.h"

#include <float.h>
#include <string.h>

enum { MAGMAX_LAMBDA };

static const emr_method_parameter magmax_parameters[] = {
    {.name = "lambda", .initial = 0.5, .least = -FLT_MAX, .most = FLT_MAX},
};

static void take_larger(float *restrict out, const float *restrict input, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = emr_magnitude(input[i]) >= emr_magnitude(out[i]) ? input[i] : out[i];
}

static emr_status combine_magmax(const emr_method_chunk *c, emr_error *error)
{
    float lambda = (float)emr_method_value(c->tensor, 0, MAGMAX_LAMBDA);
    (void)error;
    memcpy(c->out, c->inputs[0], c->n * sizeof *c->out);
    for (uint32_t t = 1; t < c->tensor->n_inputs; t++)
        take_larger(c->out, c->inputs[t], c->n);
    for (size_t i = 0; i < c->n; i++)
        c->out[i] *= lambda;
    return EMR_OK;
}

const emr_method emr_method_magmax = {
    .size = sizeof emr_method_magmax,
    .name = "magmax",
    .parameters = magmax_parameters,
    .n_parameters = sizeof magmax_parameters / sizeof *magmax_parameters,
    .combine = combine_magmax,
    .base = EMR_METHOD_BASE_REQUIRED,
};
