/* task_arithmetic.c - task arithmetic (Ilharco and others, 2023, arXiv 2212.04089) as mergekit has it:
 *
 *     W = W0 + lambda * sum weight_t tau_t, divided by sum weight_t if normalize
 *
 * In f32, tasks in their order. */
#include "method/agreement.h"

static const emr_method_parameter parameters[] = {EMR_AGREEMENT_PARAMETER_LIST(0)};

static emr_status combine_arithmetic(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, false, NULL);
    return EMR_OK;
}

const emr_method emr_method_task_arithmetic = {.size = sizeof emr_method_task_arithmetic,
                                               .name = "task_arithmetic",
                                               .parameters = parameters,
                                               .combine = combine_arithmetic,
                                               .n_parameters = EMR_AGREEMENT_PARAMETERS,
                                               .base = EMR_METHOD_BASE_REQUIRED};
