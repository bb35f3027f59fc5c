/* model_stock.c - Model Stock (Jang and others, 2024): the mean of the tasks, as near to the base as the
 * angles between their task vectors say.
 *
 *     c = mean over all pairs of cos(tau_i, tau_j)
 *     t = N c / (1 + (N - 1) c), or 0 where |1 + (N - 1) c| < 1e-6
 *     out = t * mean tau
 *
 * In a cosine, the product of two lengths counts as at least 1e-6. Vectors are tensors; with filter_wise 1,
 * the vectors along the last dimension of tensors of two and more. */
#include "method/great_circle.h"
#include "method/methods.h"
#include "method/weighted_sum.h"

#include "core/error.h"
#include "numeric/root.h"
#include "statistics/dots.h"

#include <stdbool.h>

enum { MODEL_STOCK_FILTER_WISE };

static const emr_method_parameter model_stock_parameters[] = {
    {.name = "filter_wise", .initial = 0, .most = 1, .is_whole = 1},
};

static bool is_filter_wise(const emr_method_tensor *tensor)
{
    return emr_method_value(tensor, 0, MODEL_STOCK_FILTER_WISE) != 0 && tensor->rank >= 2;
}

static uint64_t filter_length(const emr_method_tensor *tensor)
{
    return is_filter_wise(tensor) ? tensor->shape[tensor->rank - 1] : 0;
}

static emr_status check_model_stock(const emr_method_tensor *tensor, emr_error *error)
{
    if (tensor->n_inputs < 2)
        return emr_fail(error, EMR_EINVAL,
                        "model_stock compares tasks with each other, and here is one alone");
    return EMR_OK;
}

static double pair_cosine(double product, double length, double other)
{
    double lengths = length * other;
    return emr_clamp_cosine(product / (lengths > 1e-6 ? lengths : 1e-6));
}

/* What the tasks' sum is multiplied by: t / N. */
static double stock_coefficient(double cosines, uint32_t n)
{
    double n_tasks = (double)n, cosine = cosines / (n_tasks * (n_tasks - 1) / 2);
    double divisor = 1 + (n_tasks - 1) * cosine;
    return divisor > -1e-6 && divisor < 1e-6 ? 0 : cosine / divisor;
}

static double sum_cosines(const double *gram, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++)
            sum += pair_cosine(gram[(size_t)i * n + j], emr_gram_length(gram, n, i),
                               emr_gram_length(gram, n, j));
    return sum;
}

static emr_status settle_model_stock(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    uint32_t n = tensor->n_inputs;
    double coefficient = stock_coefficient(sum_cosines(found, n), n);
    (void)error;
    for (uint32_t t = 0; t < n; t++)
        found[t] = coefficient;
    return EMR_OK;
}

static double filter_product(const emr_method_chunk *c, uint32_t i, uint32_t j, size_t at, size_t n)
{
    return emr_dot_floats(c->tensor->library, c->inputs[i] + at, c->inputs[j] + at, n);
}

/* The same of a filter, without memory for a matrix. */
static double sum_filter_cosines(const emr_method_chunk *c, size_t at, size_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->tensor->n_inputs; i++) {
        double length = emr_square_root(filter_product(c, i, i, at, n));
        for (uint32_t j = i + 1; j < c->tensor->n_inputs; j++)
            sum += pair_cosine(filter_product(c, i, j, at, n), length,
                               emr_square_root(filter_product(c, j, j, at, n)));
    }
    return sum;
}

static emr_status combine_model_stock(const emr_method_chunk *c, emr_error *error)
{
    size_t length = (size_t)filter_length(c->tensor);
    if (length == 0)
        return emr_combine_weighed(c, error);
    for (size_t at = 0; at < c->n; at += length) {
        double cosines = sum_filter_cosines(c, at, length);
        emr_weigh_alike(c, at, length, stock_coefficient(cosines, c->tensor->n_inputs));
    }
    return EMR_OK;
}

static uint32_t model_stock_stages(const emr_method_tensor *tensor)
{
    return is_filter_wise(tensor) ? 0 : 1;
}

static const emr_method_stage model_stock_products = {
    .size = sizeof model_stock_products,
    .n_found = emr_gram_numbers,
    .add_sums = emr_gram_sums,
    .settle = settle_model_stock,
};

const emr_method emr_method_model_stock = {
    .size = sizeof emr_method_model_stock,
    .name = "model_stock",
    .parameters = model_stock_parameters,
    .n_parameters = sizeof model_stock_parameters / sizeof *model_stock_parameters,
    .stages = {&model_stock_products},
    .check = check_model_stock,
    .row_length = filter_length,
    .needed_stages = model_stock_stages,
    .combine = combine_model_stock,
    .base = EMR_METHOD_BASE_REQUIRED,
    .min_tasks = 2,
    .max_tasks = EMR_GRAM_TASKS,
};
