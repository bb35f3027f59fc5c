/* nearswap.c - NearSwap: towards the task, but at each parameter at most t far.
 *
 *     out = tau * min(t / max(|tau|, 1e-6), 1) */
#include "method/magnitude.h"

#include "core/error.h"

#include <float.h>

enum { NEARSWAP_T };

static const emr_method_parameter nearswap_parameters[] = {
    {.name = "t", .initial = EMR_METHOD_UNSET, .most = FLT_MAX},
};

static emr_status combine_nearswap(const emr_method_chunk *c, emr_error *error)
{
    float t = (float)emr_method_value(c->tensor, 0, NEARSWAP_T);
    const float *tau = c->inputs[0];
    (void)error;
    for (size_t i = 0; i < c->n; i++) {
        float distance = emr_magnitude(tau[i]);
        float part = t / (distance > 1e-6F ? distance : 1e-6F);
        c->out[i] = tau[i] * (part < 1 ? part : 1);
    }
    return EMR_OK;
}

const emr_method emr_method_nearswap = {
    .size = sizeof emr_method_nearswap,
    .name = "nearswap",
    .parameters = nearswap_parameters,
    .n_parameters = sizeof nearswap_parameters / sizeof *nearswap_parameters,
    .combine = combine_nearswap,
    .base = EMR_METHOD_BASE_REQUIRED,
    .max_tasks = 1,
};
