/* dare.c - DARE (arXiv 2311.03099) as mergekit has it, without an election and with one: each value of a task vector stays
 * with the probability `density`, which its random word (draw.h) decides: if it is below floor(density * 2^32). What
 * stays is rescaled (rescale.h); then as in agreement.h. Where density is 1 nothing is drawn. */
#include "method/agreement.h"
#include "method/draw.h"
#include "method/rescale.h"

#include "core/memory.h"

enum { DENSITY = EMR_AGREEMENT_PARAMETERS, RESCALE, N_PARAMETERS };

static const emr_method_parameter dare_parameters[N_PARAMETERS] = {
    EMR_AGREEMENT_PARAMETER_LIST(0),
    [DENSITY] = {.name = "density", .initial = 1, .least = 0, .most = 1, .per_task = 1},
    [RESCALE] = EMR_RESCALE_PARAMETER,
};

static double dare_density(const emr_method_tensor *tensor, uint32_t input)
{
    return emr_method_value(tensor, input, DENSITY);
}

static uint32_t dare_rescale(const emr_method_tensor *tensor)
{
    return (uint32_t)emr_method_value(tensor, 0, RESCALE);
}

static uint32_t needed_dare_stages(const emr_method_tensor *tensor)
{
    bool drops = false;
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        drops = drops || dare_density(tensor, t) < 1;
    return drops && dare_rescale(tensor) == EMR_RESCALE_NORM;
}

enum { DRAWN_AT_ONCE = 4096 };

static void add_input_norms(const emr_method_chunk *c, uint32_t input, double *sums)
{
    const emr_random_kernels kernels = emr_draw_kernels(c->tensor);
    const uint64_t threshold = emr_random_threshold(dare_density(c->tensor, input));
    emr_random_draw draw = {.key = emr_draw_key(c->tensor, input), .threshold = threshold};
    uint16_t kept[DRAWN_AT_ONCE / 16];
    for (size_t at = 0; at < c->n; at += DRAWN_AT_ONCE) {
        draw.first = c->first + at;
        draw.n = (size_t)emr_min(DRAWN_AT_ONCE, c->n - at);
        kernels.choose(&draw, kept);
        kernels.sums(c->inputs[input] + at, kept, draw.n, sums);
    }
}

static void add_dare_norms(const emr_method_chunk *c, double *sums)
{
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        if (dare_density(c->tensor, t) < 1)
            add_input_norms(c, t, sums + 2 * (size_t)t);
}

static float dare_scale(const emr_method_tensor *tensor, uint32_t input)
{
    switch (dare_rescale(tensor)) {
    case EMR_RESCALE_NORM:
        return emr_rescale_factor(tensor->found, input);
    case EMR_RESCALE_PROBABILITY:
        return (float)(1 / dare_density(tensor, input));
    default:
        return 1;
    }
}

static emr_sparsity dare_sparsity(const emr_method_tensor *tensor, uint32_t input)
{
    double density = dare_density(tensor, input);
    if (density >= 1)
        return (emr_sparsity){.scale = 1};
    return (emr_sparsity){.is_drawn = true,
                          .key = emr_draw_key(tensor, input),
                          .threshold = emr_random_threshold(density),
                          .scale = dare_scale(tensor, input)};
}

static emr_status combine_dare(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, false, dare_sparsity);
    return EMR_OK;
}

static emr_status elect_dare(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, true, dare_sparsity);
    return EMR_OK;
}

static const emr_method_stage dare_norms = {
    .size = sizeof dare_norms, .n_found = emr_rescale_norms, .add_sums = add_dare_norms};

const emr_method emr_method_dare_linear = {
    .size = sizeof emr_method_dare_linear,
    .name = "dare_linear",
    .parameters = dare_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&dare_norms},
    .needed_stages = needed_dare_stages,
    .combine = combine_dare,
    .base = EMR_METHOD_BASE_REQUIRED,
};

const emr_method emr_method_dare_ties = {
    .size = sizeof emr_method_dare_ties,
    .name = "dare_ties",
    .parameters = dare_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&dare_norms},
    .needed_stages = needed_dare_stages,
    .combine = elect_dare,
    .base = EMR_METHOD_BASE_REQUIRED,
};
