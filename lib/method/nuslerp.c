/* nuslerp.c - between two tasks along the great circle, at t = weight_1 / (weight_0 + weight_1), or 0.5 where
 * the sum of weights is within 1e-6 of 0; with a base, between their task vectors.
 *
 *     out = sin((1 - t) a) / sin a * x_0 + sin(t a) / sin a * x_1
 *
 * and (1 - t) x_0 + t x_1 where 1 - cos^2 a <= 1e-14, below which rounding decides. In the cosine, lengths
 * count as at least 1e-7. a is the angle of the tensors, each taken as one vector; with nuslerp_flatten 0, of
 * each pair of vectors along the last dimension, and with nuslerp_row_wise 1 along the first one. */
#include "method/great_circle.h"
#include "method/methods.h"
#include "method/weighted_sum.h"

#include "core/error.h"
#include "numeric/root.h"
#include "statistics/dots.h"

#include <float.h>
#include <stdbool.h>

enum { NUSLERP_WEIGHT, NUSLERP_FLATTEN, NUSLERP_ROW_WISE };

static const emr_method_parameter nuslerp_parameters[] = {
    {.name = "weight", .initial = EMR_METHOD_UNSET, .least = -FLT_MAX, .most = FLT_MAX, .per_task = 1},
    {.name = "nuslerp_flatten", .initial = 1, .most = 1, .is_whole = 1},
    {.name = "nuslerp_row_wise", .initial = 0, .most = 1, .is_whole = 1},
};

/* Products of a pair of vectors, of which coefficients are made in their place. */
enum { PAIR_NUMBERS = 3 };
#define PAIRS_MAX ((uint64_t)1 << 28)

/* A tensor of one dimension is one vector in any case. */
static bool is_flattened(const emr_method_tensor *tensor)
{
    return emr_method_value(tensor, 0, NUSLERP_FLATTEN) != 0 || tensor->rank < 2;
}

static bool is_by_rows(const emr_method_tensor *tensor)
{
    return !is_flattened(tensor) && emr_method_value(tensor, 0, NUSLERP_ROW_WISE) == 0;
}

static uint64_t nuslerp_row(const emr_method_tensor *tensor)
{
    return is_by_rows(tensor) ? tensor->shape[tensor->rank - 1] : 0;
}

/* Pairs of vectors that a stage finds the angles of: element i belongs to number i % n. */
static uint64_t count_pairs(const emr_method_tensor *tensor)
{
    return is_flattened(tensor) ? 1 : tensor->count / tensor->shape[0];
}

static double nuslerp_t(const emr_method_tensor *tensor)
{
    double second = emr_method_value(tensor, 1, NUSLERP_WEIGHT);
    double sum = emr_method_value(tensor, 0, NUSLERP_WEIGHT) + second;
    return sum > -1e-6 && sum < 1e-6 ? 0.5 : second / sum;
}

static emr_status check_nuslerp(const emr_method_tensor *tensor, emr_error *error)
{
    if (tensor->n_inputs != 2)
        return emr_fail(error, EMR_EINVAL, "nuslerp goes from one task to another, and here are %u",
                        (uint64_t)tensor->n_inputs);
    double t = nuslerp_t(tensor);
    if (!(t > -1e5 && t < 1e5))
        return emr_fail(error, EMR_EINVAL, "the weights nearly cancel: nuslerp divides by their sum");
    if (!is_by_rows(tensor) && count_pairs(tensor) > PAIRS_MAX)
        return emr_fail(error, EMR_EINVAL, "nuslerp_row_wise takes at most %u vectors, and here are %u",
                        PAIRS_MAX, count_pairs(tensor));
    return EMR_OK;
}

static double at_least(double x, double least)
{
    return x > least ? x : least;
}

/* Products, of the first with itself, of both, and of the second with itself, become the two coefficients. */
static void settle_pair(double t, double numbers[PAIR_NUMBERS])
{
    double first = numbers[0], both = numbers[1], second = numbers[2];
    double squares = at_least(first, 1e-14) * at_least(second, 1e-14);
    if (1 - both * both / squares <= 1e-14)
        emr_straight_way(t, numbers);
    else
        emr_great_circle(emr_clamp_cosine(both / emr_square_root(squares)), t, numbers);
}

static uint32_t nuslerp_numbers(const emr_method_tensor *tensor)
{
    return is_by_rows(tensor) ? 0 : (uint32_t)(PAIR_NUMBERS * count_pairs(tensor));
}

/* Of elements [at, at + n) of the chunk. */
static void add_pair(double numbers[PAIR_NUMBERS], const emr_method_chunk *c, size_t at, size_t n)
{
    const float *first = c->inputs[0] + at, *second = c->inputs[1] + at;
    const emr_kernels *kernels = c->tensor->library;
    numbers[0] += emr_dot_floats(kernels, first, first, n);
    numbers[1] += emr_dot_floats(kernels, first, second, n);
    numbers[2] += emr_dot_floats(kernels, second, second, n);
}

static void add_nuslerp(const emr_method_chunk *c, double *sums)
{
    uint64_t n_pairs = count_pairs(c->tensor), pair = c->first % n_pairs;
    if (n_pairs == 1)
        add_pair(sums, c, 0, c->n);
    for (size_t i = 0; i < c->n && n_pairs > 1; i++, pair = pair + 1 < n_pairs ? pair + 1 : 0) {
        double first = (double)c->inputs[0][i], second = (double)c->inputs[1][i];
        double *numbers = sums + PAIR_NUMBERS * pair;
        numbers[0] += first * first;
        numbers[1] += first * second;
        numbers[2] += second * second;
    }
}

static emr_status settle_nuslerp(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    double t = nuslerp_t(tensor);
    (void)error;
    for (uint64_t pair = 0; pair < count_pairs(tensor); pair++)
        settle_pair(t, found + PAIR_NUMBERS * pair);
    return EMR_OK;
}

static void combine_rows(const emr_method_chunk *c)
{
    size_t length = (size_t)nuslerp_row(c->tensor);
    double t = nuslerp_t(c->tensor);
    for (size_t at = 0; at < c->n; at += length) {
        double numbers[PAIR_NUMBERS] = {0};
        add_pair(numbers, c, at, length);
        settle_pair(t, numbers);
        emr_weigh_inputs(c, at, length, numbers);
    }
}

static void combine_columns(const emr_method_chunk *c, uint64_t n_pairs)
{
    uint64_t pair = c->first % n_pairs;
    for (size_t i = 0; i < c->n; i++, pair = pair + 1 < n_pairs ? pair + 1 : 0) {
        const double *coefficients = c->tensor->found + PAIR_NUMBERS * pair;
        c->out[i] =
            (float)(coefficients[0] * (double)c->inputs[0][i] + coefficients[1] * (double)c->inputs[1][i]);
    }
}

static emr_status combine_nuslerp(const emr_method_chunk *c, emr_error *error)
{
    if (is_by_rows(c->tensor))
        combine_rows(c);
    else if (count_pairs(c->tensor) > 1)
        combine_columns(c, count_pairs(c->tensor));
    else
        return emr_combine_weighed(c, error);
    return EMR_OK;
}

static uint32_t nuslerp_stages(const emr_method_tensor *tensor)
{
    return is_by_rows(tensor) ? 0 : 1;
}

static const emr_method_stage nuslerp_products = {
    .size = sizeof nuslerp_products,
    .n_found = nuslerp_numbers,
    .add_sums = add_nuslerp,
    .settle = settle_nuslerp,
};

const emr_method emr_method_nuslerp = {
    .size = sizeof emr_method_nuslerp,
    .name = "nuslerp",
    .parameters = nuslerp_parameters,
    .n_parameters = sizeof nuslerp_parameters / sizeof *nuslerp_parameters,
    .stages = {&nuslerp_products},
    .check = check_nuslerp,
    .row_length = nuslerp_row,
    .needed_stages = nuslerp_stages,
    .combine = combine_nuslerp,
    .base = EMR_METHOD_BASE_OPTIONAL,
    .min_tasks = 2,
    .max_tasks = 2,
};
