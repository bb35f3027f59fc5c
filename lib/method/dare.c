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

/* What is drawn for elements [at, at + n) of the chunk's input. */
static emr_random_draw dare_draw(const emr_method_chunk *c, uint32_t input, size_t at, size_t n)
{
    double density = dare_density(c->tensor, input);
    return (emr_random_draw){.key = emr_draw_key(c->tensor, input),
                             .first = c->first + at,
                             .n = n,
                             .threshold = emr_random_threshold(density),
                             .scale = 1};
}

static void add_dare_norms(const emr_method_chunk *c, double *sums)
{
    const emr_random_kernels kernels = emr_draw_kernels(c->tensor);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        const emr_random_draw draw = dare_draw(c, t, 0, c->n);
        if (dare_density(c->tensor, t) < 1)
            kernels.sums(&draw, c->inputs[t], sums + 2 * (size_t)t);
    }
}

/* The same, and what becomes of what is kept. */
static emr_random_draw dare_scaled_draw(const emr_method_chunk *c, uint32_t input, size_t at, size_t n)
{
    const emr_method_tensor *tensor = c->tensor;
    emr_random_draw draw = dare_draw(c, input, at, n);
    draw.divides = dare_rescale(tensor) == EMR_RESCALE_PROBABILITY;
    draw.weight = (float)emr_method_value(tensor, input, EMR_AGREEMENT_WEIGHT);
    if (draw.divides)
        draw.scale = (float)dare_density(tensor, input);
    else if (dare_rescale(tensor) == EMR_RESCALE_NORM)
        draw.scale = emr_rescale_factor(tensor->found, input);
    return draw;
}

static const float *keep_drawn(const emr_method_chunk *c, uint32_t input, size_t at, size_t n, float *room)
{
    const float *values = c->inputs[input] + at;
    if (dare_density(c->tensor, input) >= 1)
        return values;
    const emr_random_draw draw = dare_scaled_draw(c, input, at, n);
    emr_draw_kernels(c->tensor).keep(&draw, values, room);
    return room;
}

/* Added up as they are drawn: without an election there is but one sum. */
static void add_drawn(const emr_method_chunk *c, const emr_agreement *a, uint32_t input, size_t at)
{
    const float *values = c->inputs[input] + at;
    if (dare_density(c->tensor, input) >= 1) {
        emr_agreement_add(a, c->tensor, input, values);
        return;
    }
    const emr_random_draw draw = dare_scaled_draw(c, input, at, a->n);
    emr_draw_kernels(c->tensor).add(&draw, values, a->total);
}

static emr_status combine_dare(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t at = 0; at < c->n; at += EMR_AGREEMENT_STEP) {
        emr_agreement a;
        emr_agreement_begin(&a, c->scratch, (size_t)emr_min(EMR_AGREEMENT_STEP, c->n - at), false);
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
            add_drawn(c, &a, t, at);
        emr_agreement_end(&a, c->tensor, c->out + at);
    }
    return EMR_OK;
}

static emr_status elect_dare(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, true, keep_drawn);
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
    .scratch_floats = EMR_AGREEMENT_SCRATCH,
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
    .scratch_floats = EMR_AGREEMENT_SCRATCH,
    .base = EMR_METHOD_BASE_REQUIRED,
};
