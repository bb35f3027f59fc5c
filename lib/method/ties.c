/* ties.c - TIES-Merging (arXiv 2306.01708) as mergekit has it: of each task vector, tensor by tensor, the largest values
 * stay, int(density * count) of them but at least one, and may be rescaled (rescale.h); then as in agreement.h, with an
 * election. */
#include "method/agreement.h"
#include "method/rescale.h"

enum { DENSITY = EMR_AGREEMENT_PARAMETERS, RESCALE, N_PARAMETERS };

static const emr_method_parameter ties_parameters[N_PARAMETERS] = {
    EMR_AGREEMENT_PARAMETER_LIST(1),
    [DENSITY] = {.name = "density", .initial = 1, .least = 0, .most = 1, .per_task = 1},
    [RESCALE] = EMR_RESCALE_FLAG,
};

static double ties_density(const emr_method_tensor *tensor, uint32_t input)
{
    return emr_method_value(tensor, input, DENSITY);
}

static uint32_t count_ties_cuts(const emr_method_tensor *tensor)
{
    return 2 * tensor->n_inputs;
}

static uint64_t place_ties_cut(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)
{
    double density = ties_density(tensor, cut);
    *list = cut;
    if (density <= 0 || density >= 1)
        return density <= 0 ? 0 : EMR_MAGNITUDE_ALL;
    uint64_t k = emr_magnitude_share(density, tensor->count);
    return k ? k : 1;
}

static uint32_t needed_ties_stages(const emr_method_tensor *tensor)
{
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        if (ties_density(tensor, t) < 1)
            return emr_method_value(tensor, 0, RESCALE) != 0 ? 3 : 1; /* a bit each */
    return 0;
}

static emr_magnitude_cuts ties_cuts_of(const emr_method_tensor *tensor, uint32_t input)
{
    bool all = ties_density(tensor, input) >= 1;
    return (emr_magnitude_cuts){.keep = all ? NULL : tensor->found + 2 * (size_t)input};
}

static emr_sparsity ties_sparsity(const emr_method_tensor *tensor, uint32_t input)
{
    emr_sparsity s = {.cuts = ties_cuts_of(tensor, input), .scale = 1};
    if (s.cuts.keep && emr_method_value(tensor, 0, RESCALE) != 0)
        s.scale = emr_rescale_factor(tensor->found + count_ties_cuts(tensor), input);
    return s;
}

static void add_ties_norms(const emr_method_chunk *c, double *sums)
{
    emr_magnitude_norms(c, ties_cuts_of, sums);
}

static emr_status combine_ties(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, true, ties_sparsity);
    return EMR_OK;
}

static const emr_method_stage ties_cuts = {
    .size = sizeof ties_cuts,
    .n_found = count_ties_cuts,
    .list_keys = emr_magnitude_keys,
    .place_cut = place_ties_cut,
};

static const emr_method_stage ties_norms = {
    .size = sizeof ties_norms, .n_found = emr_rescale_norms, .add_sums = add_ties_norms};

const emr_method emr_method_ties = {
    .size = sizeof emr_method_ties,
    .name = "ties",
    .parameters = ties_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&ties_cuts, &ties_norms},
    .needed_stages = needed_ties_stages,
    .combine = combine_ties,
    .scratch_floats = 1,
    .base = EMR_METHOD_BASE_REQUIRED,
};
