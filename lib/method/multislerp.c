/* multislerp.c - between several tasks on the sphere; with a base, between their task vectors. With u_t the
 * direction of x_t and w_t its weight, divided by their sum with normalize_weights:
 *
 *     u_t = x_t / (|x_t| + eps),  m = sum w_t u_t,  out = m / |m| * sum w_t |x_t|
 *
 * which is what one step from m in its tangent space comes to: the tangent vectors' weighted sum is 0. Where
 * |m| < eps, or all that it has may be rounding, no direction is left: out = sum w_t x_t with two tasks, and
 * EMR_EINVAL with more, but 0 where all of them are. One task is that task. */
#include "method/methods.h"
#include "method/weighted_sum.h"

#include "core/error.h"
#include "numeric/root.h"

#include <float.h>
#include <stdbool.h>

enum { MULTISLERP_WEIGHT, MULTISLERP_NORMALIZE, MULTISLERP_EPS };

static const emr_method_parameter multislerp_parameters[] = {
    {.name = "weight", .initial = EMR_METHOD_UNSET, .least = -FLT_MAX, .most = FLT_MAX, .per_task = 1},
    {.name = "normalize_weights", .initial = 1, .most = 1, .is_whole = 1},
    {.name = "eps", .initial = 1e-8, .least = 1e-30, .most = 1},
};

static double weight_sum(const emr_method_tensor *tensor)
{
    double sum = 0;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        sum += emr_method_value(tensor, t, MULTISLERP_WEIGHT);
    return sum;
}

static emr_status check_multislerp(const emr_method_tensor *tensor, emr_error *error)
{
    if (tensor->n_inputs > 1 && emr_method_value(tensor, 0, MULTISLERP_NORMALIZE) != 0 &&
        weight_sum(tensor) == 0)
        return emr_fail(
            error, EMR_EINVAL,
            "the weights add up to 0, by which multislerp would divide; set normalize_weights to 0 "
            "to take them as they are");
    return EMR_OK;
}

static double weight_of_direction(const emr_method_tensor *tensor, uint32_t t)
{
    double sum = emr_method_value(tensor, 0, MULTISLERP_NORMALIZE) != 0 ? weight_sum(tensor) : 1;
    return emr_method_value(tensor, t, MULTISLERP_WEIGHT) / sum;
}

/* found: the Gram matrix, which coefficients take the place of, and behind it the directions' own, w_t /
 * (|x_t| + eps). */
static uint32_t multislerp_numbers(const emr_method_tensor *tensor)
{
    return emr_gram_numbers(tensor) + tensor->n_inputs;
}

/* Sums over the tasks, of weighted lengths and of weighted directions' lengths. */
typedef struct sphere_sums {
    double lengths;    /* sum w_t |x_t| */
    double directions; /* sum |w_t| |u_t| */
} sphere_sums;

static sphere_sums point_directions(const emr_method_tensor *tensor, const double *gram, double *directions)
{
    sphere_sums sums = {0};
    for (uint32_t t = 0; t < tensor->n_inputs; t++) {
        double length = emr_gram_length(gram, tensor->n_inputs, t), weight = weight_of_direction(tensor, t);
        directions[t] = weight / (length + emr_method_value(tensor, 0, MULTISLERP_EPS));
        sums.lengths += weight * length;
        sums.directions += (directions[t] < 0 ? -directions[t] : directions[t]) * length;
    }
    return sums;
}

/* Where directions cancel out. */
static emr_status settle_without_direction(const emr_method_tensor *tensor, double *found, bool all_zero,
                                           emr_error *error)
{
    if (tensor->n_inputs != 2 && !all_zero)
        return emr_fail(error, EMR_EINVAL,
                        "the weighted directions of the tasks cancel out, and multislerp needs one to go in");
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        found[t] = weight_of_direction(tensor, t);
    return EMR_OK;
}

static emr_status settle_multislerp(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    uint32_t n = tensor->n_inputs;
    double *directions = found + emr_gram_numbers(tensor);
    sphere_sums sums = point_directions(tensor, found, directions);
    double length = emr_square_root(emr_gram_square(found, n, directions));
    if (n == 1) {
        found[0] = 1;
        return EMR_OK;
    }
    if (!(length >= emr_method_value(tensor, 0, MULTISLERP_EPS) && length > 1e-7 * sums.directions))
        return settle_without_direction(tensor, found, sums.directions == 0, error);
    for (uint32_t t = 0; t < n; t++)
        found[t] = directions[t] / length * sums.lengths;
    return EMR_OK;
}

static const emr_method_stage multislerp_products = {
    .size = sizeof multislerp_products,
    .n_found = multislerp_numbers,
    .add_sums = emr_gram_sums,
    .settle = settle_multislerp,
};

const emr_method emr_method_multislerp = {
    .size = sizeof emr_method_multislerp,
    .name = "multislerp",
    .parameters = multislerp_parameters,
    .n_parameters = sizeof multislerp_parameters / sizeof *multislerp_parameters,
    .stages = {&multislerp_products},
    .check = check_multislerp,
    .combine = emr_combine_weighed,
    .base = EMR_METHOD_BASE_OPTIONAL,
    .max_tasks = EMR_GRAM_TASKS,
};
