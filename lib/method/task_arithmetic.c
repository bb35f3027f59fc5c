/* task_arithmetic.c - task arithmetic (Ilharco and others, 2023, arXiv 2212.04089) as mergekit has it:
 *
 *     W = W0 + lambda * sum weight_t tau_t, divided by sum weight_t if normalize
 *
 * In f32, tasks in their order, as emr_agreement_combine() does it; but several tasks at a time, for here nothing else
 * is to be done than to read them. */
#include "method/agreement.h"

#include "core/memory.h"

#include <string.h>

enum { STEP = 1024 /* elements whose sums stay in the nearest cache */ };

static const emr_method_parameter parameters[] = {EMR_AGREEMENT_PARAMETER_LIST(0)};

static void add_one_task(float *restrict sums, const float *restrict a, float weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += a[i] * weight;
}

static void add_four_tasks(float *restrict sums, const float *const inputs[4], const float weights[4],
                           size_t at, size_t n)
{
    const float *restrict a = inputs[0] + at, *restrict b = inputs[1] + at;
    const float *restrict c = inputs[2] + at, *restrict d = inputs[3] + at;
    const float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
    for (size_t i = 0; i < n; i++)
        sums[i] = (((sums[i] + a[i] * wa) + b[i] * wb) + c[i] * wc) + d[i] * wd;
}

static void add_tasks(const emr_method_chunk *c, size_t at, size_t n)
{
    float *sums = c->out + at, weights[4];
    uint32_t t = 0;
    memset(sums, 0, n * sizeof *sums);
    for (; t + 4 <= c->tensor->n_inputs; t += 4) {
        for (uint32_t k = 0; k < 4; k++)
            weights[k] = (float)emr_method_value(c->tensor, t + k, EMR_AGREEMENT_WEIGHT);
        add_four_tasks(sums, c->inputs + t, weights, at, n);
    }
    for (; t < c->tensor->n_inputs; t++)
        add_one_task(sums, c->inputs[t] + at, (float)emr_method_value(c->tensor, t, EMR_AGREEMENT_WEIGHT), n);
}

static void scale_sums(float *sums, float divisor, float lambda, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sums[i] = sums[i] / divisor * lambda;
}

static emr_status combine_arithmetic(const emr_method_chunk *c, emr_error *error)
{
    const float lambda = (float)emr_method_value(c->tensor, 0, EMR_AGREEMENT_LAMBDA);
    const float divisor = emr_agreement_divisor(c->tensor);
    (void)error;
    for (size_t at = 0; at < c->n; at += STEP) {
        size_t n = (size_t)emr_min(STEP, c->n - at);
        add_tasks(c, at, n);
        if (divisor != 1 || lambda != 1)
            scale_sums(c->out + at, divisor, lambda, n);
    }
    return EMR_OK;
}

const emr_method emr_method_task_arithmetic = {.size = sizeof emr_method_task_arithmetic,
                                               .name = "task_arithmetic",
                                               .parameters = parameters,
                                               .combine = combine_arithmetic,
                                               .n_parameters = EMR_AGREEMENT_PARAMETERS,
                                               .base = EMR_METHOD_BASE_REQUIRED};
