/* ramplus_tl.c - RAM+, tensor by tensor: as RAM (changed.h), but what a task has changed alone is boosted,
 * the more, the more of its changes it shares with others. Over the tensor,
 *
 *     boost_t = 1 + r * min(shared_t / unique_t, alpha)
 *
 * with the numbers of parameters that task t and others, and that it alone, has changed; unique_t counts as
 * at least epsilon. */
#include "method/changed.h"
#include "method/methods.h"

#include <float.h>

enum { RAMPLUS_R = EMR_CHANGED_EPSILON + 1, RAMPLUS_ALPHA };
enum { COUNT_STEP = 512 /* elements that are counted at a time */ };

static const emr_method_parameter ramplus_parameters[] = {
    EMR_CHANGED_EPSILON_PARAMETER,
    {.name = "r", .initial = 0.1, .most = FLT_MAX},
    {.name = "alpha", .initial = 0.2, .most = FLT_MAX},
};

/* unique_t of all tasks, which boosts take the place of, then shared_t. */
static uint32_t ramplus_numbers(const emr_method_tensor *tensor)
{
    return 2 * tensor->n_inputs;
}

/* Counts in f32 are exact: there are few. */
static void count_step(const emr_method_chunk *c, size_t at, size_t n, double *sums)
{
    float counts[COUNT_STEP], epsilon = (float)emr_method_value(c->tensor, 0, EMR_CHANGED_EPSILON);
    emr_count_changed(c, at, n, counts);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        uint32_t unique = 0, shared = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t changed = emr_is_changed(c->inputs[t][at + i], epsilon) != 0;
            unique += changed & (counts[i] == 1);
            shared += changed & (counts[i] > 1);
        }
        sums[t] += unique;
        sums[c->tensor->n_inputs + t] += shared;
    }
}

static void count_ramplus(const emr_method_chunk *c, double *sums)
{
    for (size_t at = 0, n; at < c->n; at += n) {
        n = c->n - at < COUNT_STEP ? c->n - at : COUNT_STEP;
        count_step(c, at, n, sums);
    }
}

static emr_status settle_ramplus(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    double r = emr_method_value(tensor, 0, RAMPLUS_R), alpha = emr_method_value(tensor, 0, RAMPLUS_ALPHA);
    double least = emr_method_value(tensor, 0, EMR_CHANGED_EPSILON);
    (void)error;
    for (uint32_t t = 0; t < tensor->n_inputs; t++) {
        double shared = found[tensor->n_inputs + t], unique = found[t] > least ? found[t] : least;
        /* not the quotient, whose divisor may be 0 */
        found[t] = 1 + r * (shared >= alpha * unique ? alpha : shared / unique);
    }
    return EMR_OK;
}

static emr_status combine_ramplus(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_combine_changed(c, c->tensor->found);
    return EMR_OK;
}

static const emr_method_stage ramplus_counts = {
    .size = sizeof ramplus_counts,
    .n_found = ramplus_numbers,
    .add_sums = count_ramplus,
    .settle = settle_ramplus,
};

const emr_method emr_method_ramplus_tl = {
    .size = sizeof emr_method_ramplus_tl,
    .name = "ramplus_tl",
    .parameters = ramplus_parameters,
    .n_parameters = sizeof ramplus_parameters / sizeof *ramplus_parameters,
    .stages = {&ramplus_counts},
    .combine = combine_ramplus,
    .scratch_floats = 2,
    .base = EMR_METHOD_BASE_REQUIRED,
};
