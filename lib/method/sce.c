/* sce.c - SCE (select, calculate, erase; arXiv 2408.07990) as mergekit has it, tensor by tensor, in f64:
 *
 *     select     where select_topk < 1, of the positions whose variance over the tasks is not 0 the share with the largest;
 *                elsewhere task vectors count as 0
 *     calculate  weight_t ~ the mean square of task t's selected values. Where these come to less than uniform_below,
 *                which is usual for language models, all weights are the same
 *     erase      out = sum w_t v_t / max(sum w_t, 1e-6) over the tasks whose sign is that of sum v_t (plus where it is 0)
 */
#include "method/methods.h"

#include "numeric/root.h"

#include <float.h>
#include <stdbool.h>

enum { SELECT_TOPK, UNIFORM_BELOW, N_PARAMETERS };
/* Of `found`: positions whose variance is not 0, the cut, the weights. */
enum { FOUND_SPREAD, FOUND_CUT, FOUND_WEIGHTS = FOUND_CUT + 2 };

static const emr_method_parameter sce_parameters[N_PARAMETERS] = {
    [SELECT_TOPK] = {.name = "select_topk", .initial = 1, .least = 0, .most = 1},
    [UNIFORM_BELOW] = {.name = "uniform_below", .initial = 1e-6, .least = 0, .most = FLT_MAX},
};

static bool selects_some(const emr_method_tensor *tensor)
{
    return emr_method_value(tensor, 0, SELECT_TOPK) < 1;
}

static double variance_at(const emr_method_chunk *c, size_t i)
{
    double n = (double)c->tensor->n_inputs, mean = 0, sum = 0;
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        mean += (double)c->inputs[t][i];
    mean /= n;
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        double d = (double)c->inputs[t][i] - mean;
        sum += d * d;
    }
    return sum / n;
}

/* The key of the selection: a deviation, for variances of small changes are too small for a float. */
static float deviation_at(const emr_method_chunk *c, size_t i)
{
    return (float)emr_square_root(variance_at(c, i));
}

static bool is_selected(const emr_method_chunk *c, size_t i)
{
    return !selects_some(c->tensor) ||
           emr_method_is_above(c->tensor->found + FOUND_CUT, deviation_at(c, i), c->position + i);
}

/* ---- the stages: how many positions differ, the cut, the squares */

static uint32_t one_number(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 1;
}

static void count_spread(const emr_method_chunk *c, double *sums)
{
    for (size_t i = 0; i < c->n; i++)
        sums[0] += variance_at(c, i) > 0 ? 1 : 0;
}

static uint32_t two_numbers(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 2;
}

static void list_deviations(const emr_method_chunk *c, uint32_t list, float *keys)
{
    (void)list;
    for (size_t i = 0; i < c->n; i++)
        keys[i] = deviation_at(c, i);
}

static uint64_t place_spread(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)
{
    (void)cut;
    *list = 0;
    return (uint64_t)(tensor->found[FOUND_SPREAD] * emr_method_value(tensor, 0, SELECT_TOPK));
}

static uint32_t one_a_task(const emr_method_tensor *tensor)
{
    return tensor->n_inputs;
}

static void add_squares(const emr_method_chunk *c, double *sums)
{
    for (size_t i = 0; i < c->n; i++) {
        if (!is_selected(c, i))
            continue;
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
            sums[t] += (double)c->inputs[t][i] * (double)c->inputs[t][i];
    }
}

static emr_status settle_weights(const emr_method_tensor *tensor, double *weights, emr_error *error)
{
    double sum = 0;
    (void)error;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        sum += weights[t] /= (double)tensor->count;
    bool uniform = sum < emr_method_value(tensor, 0, UNIFORM_BELOW) || sum == 0;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        weights[t] = uniform ? 1 / (double)tensor->n_inputs : weights[t] / sum;
    return EMR_OK;
}

static uint32_t needed_sce_stages(const emr_method_tensor *tensor)
{
    return selects_some(tensor) ? 7 : 4;
}

/* ---- what comes out */

static float erase_minority(const emr_method_chunk *c, size_t i)
{
    const double *weights = c->tensor->found + FOUND_WEIGHTS;
    double total = 0, sum = 0, divisor = 0;
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        total += (double)c->inputs[t][i];
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        double v = (double)c->inputs[t][i];
        if (total >= 0 ? v > 0 : v < 0) {
            sum += weights[t] * v;
            divisor += weights[t];
        }
    }
    return (float)(sum / (divisor > 1e-6 ? divisor : 1e-6));
}

static emr_status combine_sce(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = is_selected(c, i) ? erase_minority(c, i) : 0;
    return EMR_OK;
}

static const emr_method_stage spread_count = {
    .size = sizeof spread_count, .n_found = one_number, .add_sums = count_spread};
static const emr_method_stage spread_cut = {.size = sizeof spread_cut,
                                            .n_found = two_numbers,
                                            .list_keys = list_deviations,
                                            .place_cut = place_spread};
static const emr_method_stage square_sums = {
    .size = sizeof square_sums, .n_found = one_a_task, .add_sums = add_squares, .settle = settle_weights};

const emr_method emr_method_sce = {
    .size = sizeof emr_method_sce,
    .name = "sce",
    .parameters = sce_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&spread_count, &spread_cut, &square_sums},
    .needed_stages = needed_sce_stages,
    .combine = combine_sce,
    .base = EMR_METHOD_BASE_REQUIRED,
};
