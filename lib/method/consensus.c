/* consensus.c - Consensus merging over TALL masks (Wang and others, 2024): the sum of the tasks' changes,
 * where it is of use to at least k of them.
 *
 *     tau = sum tau_t,  mask_t = |tau_t| > tall_t * |tau - tau_t|
 *     out = lambda * tau where at least k masks are set, else 0 */
#include "method/magnitude.h"

#include <float.h>
#include <string.h>

enum { CONSENSUS_TALL, CONSENSUS_K, CONSENSUS_LAMBDA };

static const emr_method_parameter consensus_parameters[] = {
    {.name = "tall", .initial = 0.4, .most = FLT_MAX, .per_task = 1},
    {.name = "k", .initial = 2, .most = 65535, .is_whole = 1},
    {.name = "lambda", .initial = 0.3, .least = -FLT_MAX, .most = FLT_MAX},
};

static void add_change(float *restrict sum, const float *restrict tau, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += tau[i];
}

/* Counts the masks that are set, exactly: there are fewer than 2^24. */
static void count_mask(float *restrict masks, const float *restrict sum, const float *restrict tau, size_t n,
                       float tall)
{
    for (size_t i = 0; i < n; i++)
        masks[i] += emr_magnitude(tau[i]) > tall * emr_magnitude(sum[i] - tau[i]) ? 1.0F : 0.0F;
}

static emr_status combine_consensus(const emr_method_chunk *c, emr_error *error)
{
    float k = (float)emr_method_value(c->tensor, 0, CONSENSUS_K);
    float lambda = (float)emr_method_value(c->tensor, 0, CONSENSUS_LAMBDA);
    (void)error;
    memset(c->out, 0, c->n * sizeof *c->out);
    memset(c->scratch, 0, c->n * sizeof *c->scratch);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        add_change(c->out, c->inputs[t], c->n);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        count_mask(c->scratch, c->out, c->inputs[t], c->n,
                   (float)emr_method_value(c->tensor, t, CONSENSUS_TALL));
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = c->scratch[i] >= k ? lambda * c->out[i] : 0;
    return EMR_OK;
}

const emr_method emr_method_consensus = {
    .size = sizeof emr_method_consensus,
    .name = "consensus",
    .parameters = consensus_parameters,
    .n_parameters = sizeof consensus_parameters / sizeof *consensus_parameters,
    .combine = combine_consensus,
    .scratch_floats = 1,
    .base = EMR_METHOD_BASE_REQUIRED,
};
