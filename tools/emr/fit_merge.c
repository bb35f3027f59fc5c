/* fit_merge.c - `emr fit regmean`, `pleas`, `zip`, `spectral` and `coefficients`: one model out of several. */
#define _POSIX_C_SOURCE 200809L

#include "fitting.h"

#include <stdlib.h>
#include <string.h>

/* Half of the memory: the writer has the other. Progress is the writer's. */
static emr_resources solving_resources(const fit_job *j)
{
    emr_resources resources = j->inputs.session.resources;
    resources.memory_bytes /= 2;
    resources.progress = NULL;
    return resources;
}

/* --- What is solved --------------------------------------------------------------------------------------- */

static bool has_rows(const fit_job *j, const char *site)
{
    emr_gram_site info = EMR_INIT(emr_gram_site);
    uint32_t number;
    for (size_t i = 0; i < j->n_grams; i++)
        if (emr_gram_find_site(j->grams[i], site, &number, NULL) == EMR_OK &&
            emr_gram_get_site(j->grams[i], number, &info) == EMR_OK && info.n_rows)
            return true;
    return false;
}

/* Where names of sites differ, a gram would be passed over in silence. */
static emr_status check_solved(const fit_job *j, emr_error *error)
{
    emr_gram_site site = EMR_INIT(emr_gram_site);
    emr_fit_layer layer = EMR_INIT(emr_fit_layer);
    if (j->n_layers || !j->n_grams)
        return EMR_OK;
    if (emr_permutation_spec_get_layer(j->spec, 0, &layer))
        return fail_with(error, EMR_EMISMATCH, NULL, "the spec has no layers: nothing can be solved");
    (void)emr_gram_get_site(j->grams[0], 0, &site);
    return fail_with(
        error, EMR_EMISMATCH, NULL,
        "no gram has rows of the site of any layer: sites are called as '%.200s' in the gram, and "
        "as '%.200s' in the spec",
        site.name ? site.name : "", layer.site);
}

/* Layers of the spec of whose site some gram has rows. */
static emr_status select_layers(fit_job *j, emr_error *error)
{
    const uint32_t n = emr_permutation_spec_n_layers(j->spec);
    j->layers = calloc((size_t)n + 1, sizeof *j->layers);
    if (!j->layers)
        return EMR_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        emr_fit_layer *layer = &j->layers[j->n_layers];
        *layer = EMR_INIT(emr_fit_layer);
        if (emr_permutation_spec_get_layer(j->spec, i, layer) == EMR_OK && has_rows(j, layer->site))
            j->n_layers++;
    }
    return check_solved(j, error);
}

/* --- RegMean ---------------------------------------------------------------------------------------------- */

emr_status make_regmean(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_resources resources = solving_resources(j);
    double *coefficients = calloc(a->n_tasks, sizeof *coefficients);
    emr_status status = coefficients ? select_layers(j, error) : EMR_ENOMEM;
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        coefficients[i] = a->tasks[i].has_weight ? a->tasks[i].weight : 1;
    const emr_regmean_options options = {.size = sizeof options,
                                         .resources = &resources,
                                         .models = (const emr_model *const *)j->models,
                                         .grams = (const emr_gram *const *)j->grams,
                                         .coefficients = coefficients,
                                         .layers = j->layers,
                                         .exclude = a->fit.exclude_globs,
                                         .off_diagonal = a->fit.off_diagonal.value,
                                         .use_off_diagonal = a->fit.off_diagonal.is_given,
                                         .ridge = a->fit.ridge.value,
                                         .n_models = (uint32_t)a->n_tasks,
                                         .n_layers = j->n_layers,
                                         .n_exclude = (uint32_t)a->fit.n_exclude_globs,
                                         .bias = a->fit.bias,
                                         .scale = a->fit.weigh,
                                         .dtype = a->dtype};
    if (!status)
        status = emr_regmean_open_model(&options, &j->merged, error);
    free(coefficients);
    return status;
}

/* --- PLeaS ------------------------------------------------------------------------------------------------ */

/* How many pairs of a group a word's number means: "48" or "75%". */
static bool read_pairs(const char *number, uint64_t n_units, uint64_t *pairs)
{
    double value;
    size_t n = strlen(number);
    bool is_share = n && number[n - 1] == '%';
    if (!parse_number(number, number + n - is_share, &value) || !(value >= 0))
        return false;
    if (is_share && value <= 100)
        *pairs = (uint64_t)(value / 100 * (double)n_units + 0.5);
    else if (!is_share && value <= (double)n_units && value == (double)(uint64_t)value)
        *pairs = (uint64_t)value;
    else
        return false;
    return true;
}

/* Sets the groups of units that GROUP=PAIRS means; of one group the last word counts. */
static emr_status apply_pairs(const fit_job *j, const char *word, emr_pleas_width *widths, emr_error *error)
{
    const char *equals = strrchr(word, '=');
    char *glob = equals && equals != word ? strndup(word, (size_t)(equals - word)) : NULL;
    emr_unit_group group = EMR_INIT(emr_unit_group);
    emr_status status = EMR_OK;
    bool is_used = false;
    if (!glob)
        return fail_with(error, EMR_EINVAL, NULL, "--pairs: '%.300s' must be GROUP=NUMBER or GROUP=SHARE%%",
                         word);
    for (uint32_t i = 0; !status && emr_permutation_spec_get_group(j->spec, i, &group) == EMR_OK; i++) {
        if (!group.n_units || group.n_blocks > 1 || !emr_glob_matches(glob, group.name))
            continue;
        is_used = true;
        if (!read_pairs(equals + 1, group.n_units, &widths[i].n_merged))
            status = fail_with(error, EMR_EINVAL, NULL,
                               "--pairs: '%.300s': group '%.300s' takes 0 to %llu pairs, or 0%% to 100%%",
                               word, group.name, (unsigned long long)group.n_units);
    }
    if (!status && !is_used)
        status =
            fail_with(error, EMR_EINVAL, NULL,
                      "--pairs: '%.300s' names no group of units (emr fit spec MODEL --dry-run lists the "
                      "groups; heads and units in blocks are merged whole)",
                      glob);
    free(glob);
    return status;
}

/* Of all groups of units, in the spec's order; *n of them. */
static emr_status take_widths(const fit_job *j, const arguments *a, emr_pleas_width **widths, uint32_t *n,
                              emr_error *error)
{
    const uint32_t n_groups = emr_permutation_spec_n_groups(j->spec);
    emr_unit_group group = EMR_INIT(emr_unit_group);
    emr_status status = EMR_OK;
    *n = 0;
    *widths = calloc((size_t)n_groups + 1, sizeof **widths);
    if (!*widths)
        return EMR_ENOMEM;
    for (uint32_t i = 0; emr_permutation_spec_get_group(j->spec, i, &group) == EMR_OK; i++)
        (*widths)[i] = (emr_pleas_width){sizeof **widths, group.name, group.n_units};
    for (size_t i = 0; !status && i < a->fit.n_pair_words; i++)
        status = apply_pairs(j, a->fit.pair_words[i], *widths, error);
    for (uint32_t i = 0; emr_permutation_spec_get_group(j->spec, i, &group) == EMR_OK; i++)
        if (group.n_units && group.n_blocks == 1)
            (*widths)[(*n)++] = (*widths)[i];
    return status;
}

/* The one that was given, or B's units as they are nearest to A's. */
static emr_status take_permutation(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_match_options options = {
        .size = sizeof options, .space = j->n_grams ? EMR_MATCH_SPACE_ACTIVATIONS : EMR_MATCH_SPACE_WEIGHTS};
    return a->fit.permutation ? open_fit_permutation(&j->permutation, j, a->fit.permutation, error)
                              : find_permutation(j, &options, error);
}

emr_status make_pleas(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_resources resources = solving_resources(j);
    emr_pleas_width *widths = NULL;
    emr_pleas_options options = {.size = sizeof options,
                                 .resources = &resources,
                                 .gram = j->n_grams ? j->grams[0] : NULL,
                                 .exclude = a->fit.exclude_globs,
                                 .ridge = a->fit.ridge.value,
                                 .n_exclude = (uint32_t)a->fit.n_exclude_globs,
                                 .target = a->fit.target,
                                 .dtype = a->dtype};
    emr_status status = take_widths(j, a, &widths, &options.n_widths, error);
    if (!status)
        status = select_layers(j, error);
    if (!status)
        status = take_permutation(j, a, error);
    options.widths = widths;
    options.permutation = j->permutation;
    if (!status)
        status = emr_pleas_open_model(j->spec, j->models[0], j->models[1], &options, &j->merged, error);
    if (!status)
        status = configure_widths(j, a, widths, options.n_widths, error);
    free(widths);
    return status;
}

/* --- Zip, TSV-M and Iso-C --------------------------------------------------------------------------------- */

emr_status make_zip(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_zip_options options = {.size = sizeof options,
                                     .resources = &j->inputs.session.resources,
                                     .models = (const emr_model *const *)j->models,
                                     .gram = j->n_grams ? j->grams[0] : NULL,
                                     .balance = a->fit.balance.value,
                                     .use_balance = a->fit.balance.is_given,
                                     .shrink = a->fit.shrink.value,
                                     .use_shrink = a->fit.shrink.is_given,
                                     .within = a->fit.within.value,
                                     .use_within = a->fit.within.is_given,
                                     .seed = a->seed,
                                     .n_models = (uint32_t)j->n_models,
                                     .max_rounds = a->fit.max_rounds,
                                     .patience = a->fit.patience,
                                     .dtype = a->dtype};
    count_progress("groups");
    return emr_zip_open_model(j->spec, &options, &j->merged, &j->match, error);
}

emr_status make_spectral(fit_job *j, const arguments *a, emr_error *error)
{
    const emr_resources resources = solving_resources(j);
    const emr_spectral_options options = {
        .size = sizeof options,
        .resources = &resources,
        .base = j->inputs.base,
        .tasks = (const emr_model *const *)j->models,
        .scale = a->fit.scale.value,
        .use_scale = a->fit.scale.is_given,
        .n_tasks = (uint32_t)a->n_tasks,
        .method = strcmp(a->method, "iso_c") == 0 ? EMR_SPECTRAL_METHOD_ISO_C : EMR_SPECTRAL_METHOD_TSV_M,
        .dtype = a->dtype};
    return emr_spectral_open_model(&options, &j->merged, error);
}

/* --- Coefficients that were learned ----------------------------------------------------------------------- */

/* The tasks are found by their names. */
static emr_status open_merged(fit_job *j, const arguments *a, const emr_model *state, emr_error *error)
{
    emr_resources resources = j->inputs.session.resources; /* with its progress: of trimmed task vectors */
    const char **names = calloc(a->n_tasks, sizeof *names);
    emr_coefficients *coefficients = NULL;
    resources.memory_bytes /= 2;
    for (size_t i = 0; names && i < a->n_tasks; i++)
        names[i] = a->tasks[i].name;
    const emr_coefficients_options options = {.size = sizeof options,
                                              .resources = &resources,
                                              .base = j->inputs.base,
                                              .tasks = (const emr_model *const *)j->models,
                                              .names = names,
                                              .state = state,
                                              .n_tasks = (uint32_t)a->n_tasks};
    emr_status status = names ? emr_coefficients_create(&coefficients, &options, error) : EMR_ENOMEM;
    if (!status)
        status = emr_coefficients_open_model(coefficients, &j->merged, error);
    emr_coefficients_destroy(&coefficients);
    free(names);
    return status;
}

emr_status make_coefficients(fit_job *j, const arguments *a, emr_error *error)
{
    emr_model *state;
    emr_status status = emr_checkpoint_open(&state, a->fit.state, NULL, error);
    if (!status)
        status = open_merged(j, a, state, error);
    emr_model_destroy(&state);
    return status;
}
