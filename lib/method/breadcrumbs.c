/* breadcrumbs.c - Model Breadcrumbs (arXiv 2312.06795) as mergekit 0.1.5 has it, without an election and with one: of each
 * task vector, tensor by tensor, the int(gamma * count) largest values go, and the smallest, so that int(density * count)
 * stay; fewer of the largest go where there is no room. What stays may be rescaled (rescale.h). Then as in agreement.h. Of
 * equal magnitudes those in front are larger. */
#include "method/agreement.h"
#include "method/rescale.h"

enum { DENSITY = EMR_AGREEMENT_PARAMETERS, GAMMA, RESCALE, N_PARAMETERS };

static const emr_method_parameter breadcrumbs_parameters[N_PARAMETERS] = {
    EMR_AGREEMENT_PARAMETER_LIST(0),
    [DENSITY] = {.name = "density", .initial = 1, .least = 0, .most = 1, .per_task = 1},
    [GAMMA] = {.name = "gamma", .initial = 0.01, .least = 0, .most = 1, .per_task = 1},
    [RESCALE] = EMR_RESCALE_FLAG,
};

/* Two cuts of each input's magnitudes: what goes, and what goes or stays. */
static uint32_t count_crumb_cuts(const emr_method_tensor *tensor)
{
    return 4 * tensor->n_inputs;
}

static bool takes_all(const emr_method_tensor *tensor, uint32_t input)
{
    return emr_method_value(tensor, input, DENSITY) >= 1;
}

static uint64_t place_crumb_cut(const emr_method_tensor *tensor, uint32_t cut, uint32_t *list)
{
    uint32_t input = *list = cut / 2;
    uint64_t n = tensor->count, stay = emr_magnitude_share(emr_method_value(tensor, input, DENSITY), n);
    uint64_t go = emr_magnitude_share(emr_method_value(tensor, input, GAMMA), n);
    if (takes_all(tensor, input))
        return cut % 2 ? EMR_MAGNITUDE_ALL : 0;
    go = go > n - stay ? n - stay : go;
    if (cut % 2 == 0)
        return go;
    return go + stay < n ? go + stay : EMR_MAGNITUDE_ALL;
}

static uint32_t needed_crumb_stages(const emr_method_tensor *tensor)
{
    for (uint32_t t = 0; t < tensor->n_inputs; t++)
        if (!takes_all(tensor, t))
            return emr_method_value(tensor, 0, RESCALE) != 0 ? 3 : 1; /* a bit each */
    return 0;
}

static emr_magnitude_cuts crumb_cuts_of(const emr_method_tensor *tensor, uint32_t input)
{
    const double *cuts = tensor->found + 4 * (size_t)input;
    return takes_all(tensor, input) ? (emr_magnitude_cuts){NULL, NULL}
                                    : (emr_magnitude_cuts){.keep = cuts + 2, .drop = cuts};
}

static emr_sparsity crumb_sparsity(const emr_method_tensor *tensor, uint32_t input)
{
    emr_sparsity s = {.cuts = crumb_cuts_of(tensor, input), .scale = 1};
    if (s.cuts.keep && emr_method_value(tensor, 0, RESCALE) != 0)
        s.scale = emr_rescale_factor(tensor->found + count_crumb_cuts(tensor), input);
    return s;
}

static void add_crumb_norms(const emr_method_chunk *c, double *sums)
{
    emr_magnitude_norms(c, crumb_cuts_of, sums);
}

static emr_status combine_crumbs(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, false, crumb_sparsity);
    return EMR_OK;
}

static emr_status elect_crumbs(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_agreement_combine(c, true, crumb_sparsity);
    return EMR_OK;
}

static const emr_method_stage crumb_cuts = {
    .size = sizeof crumb_cuts,
    .n_found = count_crumb_cuts,
    .list_keys = emr_magnitude_keys,
    .place_cut = place_crumb_cut,
};

static const emr_method_stage crumb_norms = {
    .size = sizeof crumb_norms, .n_found = emr_rescale_norms, .add_sums = add_crumb_norms};

const emr_method emr_method_breadcrumbs = {
    .size = sizeof emr_method_breadcrumbs,
    .name = "breadcrumbs",
    .parameters = breadcrumbs_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&crumb_cuts, &crumb_norms},
    .needed_stages = needed_crumb_stages,
    .combine = combine_crumbs,
    .scratch_floats = 1,
    .base = EMR_METHOD_BASE_REQUIRED,
};

const emr_method emr_method_breadcrumbs_ties = {
    .size = sizeof emr_method_breadcrumbs_ties,
    .name = "breadcrumbs_ties",
    .parameters = breadcrumbs_parameters,
    .n_parameters = N_PARAMETERS,
    .stages = {&crumb_cuts, &crumb_norms},
    .needed_stages = needed_crumb_stages,
    .combine = elect_crumbs,
    .scratch_floats = 1,
    .base = EMR_METHOD_BASE_REQUIRED,
};
