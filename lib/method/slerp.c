/* slerp.c - between two models along the great circle of their directions. The first, the base where there is
 * one, is t = 0, the other t = 1; a is the angle between the two tensors, each taken as one vector:
 *
 *     out = sin((1 - t) a) / sin a * W_0 + sin(t a) / sin a * W_1
 *
 * and (1 - t) W_0 + t W_1 where |cos a| > 0.9995. In the cosine, a vector of length 1e-8 or less is not
 * divided by its length. */
#include "method/great_circle.h"
#include "method/methods.h"
#include "method/weighted_sum.h"

#include "core/error.h"

enum { SLERP_T };

static const emr_method_parameter slerp_parameters[] = {
    {.name = "t", .initial = EMR_METHOD_UNSET, .most = 1},
};

static emr_status check_slerp(const emr_method_tensor *tensor, emr_error *error)
{
    if (tensor->n_inputs != 2)
        return emr_fail(error, EMR_EINVAL, "slerp takes two models, the base among them, not %u",
                        (uint64_t)tensor->n_inputs);
    return EMR_OK;
}

/* What a vector's products are divided by for its direction's. */
static double slerp_length(const double *gram, uint32_t i)
{
    double length = emr_gram_length(gram, 2, i);
    return length > 1e-8 ? length : 1;
}

static emr_status settle_slerp(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    double t = emr_method_value(tensor, 0, SLERP_T);
    double cosine = emr_clamp_cosine(found[1] / (slerp_length(found, 0) * slerp_length(found, 1)));
    (void)error;
    if (cosine > 0.9995 || cosine < -0.9995)
        emr_straight_way(t, found);
    else
        emr_great_circle(cosine, t, found);
    return EMR_OK;
}

static const emr_method_stage slerp_products = {
    .size = sizeof slerp_products,
    .n_found = emr_gram_numbers,
    .add_sums = emr_gram_sums,
    .settle = settle_slerp,
};

const emr_method emr_method_slerp = {
    .size = sizeof emr_method_slerp,
    .name = "slerp",
    .parameters = slerp_parameters,
    .n_parameters = sizeof slerp_parameters / sizeof *slerp_parameters,
    .stages = {&slerp_products},
    .check = check_slerp,
    .combine = emr_combine_weighed,
    .base = EMR_METHOD_BASE_INPUT,
    .max_tasks = 2,
};
