/* recipe_combine.c - a recipe, done: a combination for each slice, and one model of what comes out of them. */
#include "configuration.h"
#include "recipe_job.h"

#include <stdlib.h>
#include <string.h>

int take_recipe(combine_job *j, const arguments *a)
{
    j->recipe = calloc(1, sizeof *j->recipe);
    if (!j->recipe)
        return complain(EXIT_SYSTEM, "out of memory");
    int exit_status = read_recipe_file(j->recipe, a);
    const recipe *r = &j->recipe->recipe;
    j->method = r->method;
    j->dtype = r->out_dtype ? r->out_dtype : r->dtype;
    return exit_status;
}

/* Where each slice lies in the output. */
static emr_status place_slices(combine_job *j)
{
    recipe_job *w = j->recipe;
    const recipe *r = &w->recipe;
    size_t n = 0;
    for (size_t m = 0; m < r->n_modules; m++)
        n += r->modules[m].n_slices;
    w->slices = calloc(n, sizeof *w->slices);
    j->parts = calloc(n, sizeof *j->parts);
    if (!w->slices || !j->parts)
        return EMR_ENOMEM;
    w->n_slices = j->n_parts = n;
    slice_work *s = w->slices;
    for (size_t m = 0; m < r->n_modules; m++) {
        const recipe_module *module = &r->modules[m];
        uint64_t first_layer = 0;
        for (size_t k = 0; k < module->n_slices; k++, s++) {
            const recipe_slice *slice = &module->slices[k];
            *s = (slice_work){.module = module,
                              .slice = slice,
                              .first_layer = first_layer,
                              .is_first = k == 0,
                              .is_last = k + 1 == module->n_slices};
            first_layer += slice->sources[0].end - slice->sources[0].first;
        }
    }
    return EMR_OK;
}

static emr_status check_modules(const recipe_job *w, emr_error *error)
{
    const recipe *r = &w->recipe;
    const emr_model *donor = donor_model(w);
    for (size_t m = 0; m < r->n_modules; m++)
        if (r->modules[m].name && !is_module_name(r->modules[m].name))
            return recipe_fail(r, r->modules[m].line, error,
                               "module '%.100s' is not known: default, text_decoder, multi_modal_projector, "
                               "vision_tower, vision_model, encoder, decoder and shared are",
                               r->modules[m].name);
    for (uint32_t i = 0; i < emr_model_n_tensors(donor); i++) {
        const char *name = emr_tensor_name(emr_model_tensor(donor, i));
        bool is_there = is_no_weight(name);
        for (size_t m = 0; m < r->n_modules; m++)
            is_there = is_there || !r->modules[m].name || module_has(r->modules[m].name, name);
        if (!is_there)
            return recipe_fail(r, r->modules[0].line, error, "no module of the recipe has tensor '%.200s'",
                               name);
    }
    return EMR_OK;
}

static emr_status add_views(const recipe_job *w, const slice_work *s, emr_combination *c, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->slice->n_sources; i++) {
        size_t model = s->slice->sources[i].model;
        status = model == s->slice->base
                     ? emr_combination_set_base(c, s->views[i].model, error)
                     : emr_combination_add_task(c, w->inputs[model].name, s->views[i].model, error);
    }
    return status;
}

/* Readers of one slice may wait with their memory while another is read. */
static uint64_t slice_memory(const combine_job *j, const arguments *a)
{
    const uint64_t usual = (uint64_t)256 << 20, least = (uint64_t)8 << 20;
    uint64_t part = (a->memory ? a->memory : usual) / j->n_parts;
    return part > least || a->memory ? part : least;
}

static emr_status plan_slice(combine_job *j, const arguments *a, size_t k, emr_error *error)
{
    recipe_job *w = j->recipe;
    emr_policy policy = a->policy;
    if (w->recipe.base_tokenizer && policy.on_mismatch == EMR_ON_MISMATCH_ERROR)
        policy.on_mismatch = EMR_ON_MISMATCH_ROWS;
    emr_resources resources = j->inputs.session.resources;
    emr_combination_options options = combination_options(j, a, &policy);
    resources.memory_bytes = slice_memory(j, a);
    options.resources = &resources;
    emr_combination **c = &j->parts[k].combination;
    emr_status status = build_views(w, &w->slices[k], error);
    if (!status)
        status = emr_combination_create(c, &options, error);
    if (!status)
        status = add_views(w, &w->slices[k], *c, error);
    return status ? status : set_recipe_parameters(w, &w->slices[k], *c, error);
}

/* All must be of one kind; what their names are is told to those who tell of tasks. */
static emr_status check_recipe_kinds(const recipe_job *w, emr_error *error)
{
    const emr_model *first = w->inputs[0].model;
    bool is_gguf = emr_model_find_tensor(first, EMR_GGUF_HEADER) != NULL;
    for (size_t i = 1; i < w->recipe.n_models; i++)
        if ((emr_model_find_tensor(w->inputs[i].model, EMR_GGUF_HEADER) != NULL) != is_gguf)
            return emr_error_format(error, EMR_EUNSUPPORTED,
                                    "%F: one of it and %s is GGUF: all must be of one kind",
                                    emr_model_name(w->inputs[i].model), emr_model_name(first));
    return EMR_OK;
}

emr_status open_recipe(combine_job *j, const arguments *a, emr_error *error)
{
    recipe_job *w = j->recipe;
    emr_status status = open_inputs(w, a, &j->inputs.session.resources, error);
    if (!status)
        status = check_recipe_kinds(w, error);
    if (!status)
        status = check_modules(w, error);
    if (!status)
        status = check_tokenizers(w, a, error);
    if (!status)
        status = place_slices(j);
    for (size_t k = 0; !status && k < w->n_slices; k++)
        status = plan_slice(j, a, k, error);
    return status;
}

/* -------- the output */

/* The layers of a module's slices, as their first sources number them; free them. */
static uint64_t *list_layers(const recipe_module *module, size_t *n)
{
    uint64_t *layers;
    *n = 0;
    for (size_t k = 0; k < module->n_slices; k++)
        *n += (size_t)(module->slices[k].sources[0].end - module->slices[k].sources[0].first);
    layers = calloc(*n + 1, sizeof *layers);
    for (size_t k = 0, at = 0; layers && k < module->n_slices; k++)
        for (uint64_t i = module->slices[k].sources[0].first; i < module->slices[k].sources[0].end; i++)
            layers[at++] = i;
    return layers;
}

static emr_status stack_layers(json_t *root, const recipe_module *module, const arguments *a)
{
    size_t n;
    uint64_t *layers = list_layers(module, &n);
    if (!layers)
        return EMR_ENOMEM;
    if (!configuration_set_layers(root, module->name, layers, n) && !a->quiet)
        complain(
            0, "note: config.json has no number of layers under a name that is known: it must become %zu", n);
    free(layers);
    return EMR_OK;
}

/* The new config.json, where slices change it. */
static emr_status change_configuration(recipe_job *w, const arguments *a, emr_error *error)
{
    json_t *root;
    bool changes = false;
    for (size_t m = 0; m < w->recipe.n_modules; m++)
        changes = changes || w->recipe.modules[m].has_ranges;
    emr_status status = changes ? configuration_load(&root, donor_model(w), error) : EMR_OK;
    if (status || !changes || !root)
        return status;
    for (size_t m = 0; !status && m < w->recipe.n_modules; m++)
        if (w->recipe.modules[m].has_ranges)
            status = stack_layers(root, &w->recipe.modules[m], a);
    if (!status)
        w->config = configuration_text(root);
    json_decref(root);
    return status || w->config ? status : EMR_ENOMEM;
}

static emr_status add_configuration(recipe_job *w, emr_error *error)
{
    const uint64_t n = strlen(w->config);
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = CONFIGURATION_NAME,
                                  .shape = &n,
                                  .rank = 1,
                                  .dtype = EMR_DTYPE_U8,
                                  .data = w->config};
    return emr_model_add(w->output, &desc, error);
}

static emr_status add_side_files(recipe_job *w, emr_error *error)
{
    const emr_model *donor = donor_model(w);
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(donor); i++) {
        const emr_tensor *t = emr_model_tensor(donor, i);
        const char *name = emr_tensor_name(t);
        if (!side_file_name(name))
            continue;
        status = w->config && strcmp(name, CONFIGURATION_NAME) == 0
                     ? add_configuration(w, error)
                     : emr_model_add_tensor(w->output, t, error);
    }
    return status;
}

static emr_status add_part(emr_model *output, const emr_model *part, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(part); i++)
        status = emr_model_add_tensor(output, emr_model_tensor(part, i), error);
    return status;
}

emr_status finish_recipe(combine_job *j, const arguments *a, emr_error *error)
{
    recipe_job *w = j->recipe;
    const emr_model_options options = {.size = sizeof options, .name = a->config};
    emr_status status = emr_model_create(&w->output, &options, error);
    if (!status)
        status = emr_model_copy_metadata(w->output, donor_model(w), error);
    for (size_t k = 0; !status && k < j->n_parts; k++) {
        status = emr_combination_open_model(j->parts[k].combination, &j->parts[k].model, error);
        if (!status)
            status = add_part(w->output, j->parts[k].model, error);
    }
    if (!status)
        status = change_configuration(w, a, error);
    if (!status)
        status = add_side_files(w, error);
    j->model = w->output;
    j->dtype = j->dtype ? j->dtype : w->widest; /* for config.json: plans are made */
    return status;
}

void close_recipe(combine_job *j)
{
    recipe_job *w = j->recipe;
    emr_model_destroy(&w->output);
    for (size_t k = 0; k < j->n_parts; k++) {
        emr_model_destroy(&j->parts[k].model);
        emr_combination_destroy(&j->parts[k].combination);
    }
    free(j->parts);
    close_views(w);
    close_inputs(w);
    recipe_free(&w->recipe);
    free(w->config);
    free(w->text);
    free(w);
}

json_t *recipe_models_json(const recipe_job *w)
{
    const recipe *r = &w->recipe;
    json_t *models = json_array();
    for (size_t i = 0; i < r->n_models; i++)
        json_array_append_new(
            models, json_pack("{s:o, s:o, s:o}", "name", text_json(w->inputs[i].name), "checkpoint",
                              text_json(r->models[i].path), "adapter",
                              r->models[i].adapter ? text_json(r->models[i].adapter) : json_null()));
    return json_pack("{s:o, s:o, s:o}", "recipe", text_json(r->name), "base",
                     r->base == RECIPE_NO_MODEL ? json_null() : text_json(r->models[r->base].path), "models",
                     models);
}
