/* layers.c - see layers.h. */
#include "layers.h"

#include "exclude.h"
#include "gram.h"

#include <string.h>

/* The tensors of that name in all models. */
static emr_status find_tensors(const fit_layers *l, const char *name, const emr_tensor ***tensors,
                               emr_error *error)
{
    const emr_tensor *first = emr_model_find_tensor(l->models[0], name);
    if (!first)
        return emr_error_format(error, EMR_ENOTFOUND, "%F: there is no tensor '%T', which a layer names",
                                emr_model_name(l->models[0]), name);
    *tensors = fit_allocate(l->host, l->n_models, sizeof **tensors);
    emr_status status = *tensors ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < l->n_models; m++)
        status = fit_same_tensor(l->models[m], first, &(*tensors)[m], error);
    return status;
}

/* Inputs and outputs, by the weight's shape. */
static emr_status measure_layer(const fit_layers *l, fit_layer *layer, emr_error *error)
{
    const emr_tensor *w = layer->weights[0];
    const uint64_t *shape = emr_tensor_shape(w);
    uint32_t rank = emr_tensor_rank(w);
    if (rank < 2 || (layer->place.is_transposed && rank != 2) || !emr_tensor_count(w))
        return emr_error_format(error, EMR_EINVAL,
                                "%F: tensor '%T' is no linear layer's weight: it has %u dimensions",
                                emr_model_name(l->models[0]), emr_tensor_name(w), (uint64_t)rank);
    layer->place.outputs = (size_t)shape[layer->place.is_transposed ? 1 : 0];
    layer->place.inputs = (size_t)(emr_tensor_count(w) / layer->place.outputs);
    if (layer->biases && emr_tensor_count(layer->biases[0]) != layer->place.outputs)
        return emr_error_format(
            error, EMR_EMISMATCH, "%F: tensor '%T' has not as many elements as its layer has outputs, %u",
            emr_model_name(l->models[0]), emr_tensor_name(layer->biases[0]), (uint64_t)layer->place.outputs);
    return EMR_OK;
}

static emr_status find_sites(const fit_layers *l, const fit_layer *layer, const char *name, fit_group *group,
                             emr_error *error)
{
    for (uint32_t m = 0; m < l->n_models; m++) {
        emr_gram_site site = EMR_INIT(emr_gram_site);
        emr_status status = emr_gram_find_site(l->grams[m], name, &group->sites[m], error);
        if (status)
            return emr_error_format(error, EMR_EMISMATCH, "the gram of %F has no site '%s'",
                                    emr_model_name(l->models[m]), name);
        (void)emr_gram_get_site(l->grams[m], group->sites[m], &site);
        if (site.widths[0] != layer->place.inputs)
            return emr_error_format(error, EMR_EMISMATCH,
                                    "%F: tensor '%T' takes %u inputs, and site '%s' of its gram has %u",
                                    emr_model_name(l->models[m]), emr_tensor_name(layer->weights[m]),
                                    (uint64_t)layer->place.inputs, name, site.widths[0]);
        if (!site.n_rows)
            return emr_error_format(error, EMR_EMISMATCH, "the gram of %F has no rows of site '%s'",
                                    emr_model_name(l->models[m]), name);
    }
    return EMR_OK;
}

/* A new group, or the one with the same sites. */
static emr_status join_group(fit_layers *l, fit_layer *layer, const char *site, emr_error *error)
{
    fit_group found = {.width = layer->place.inputs, .fits_bias = layer->biases != NULL};
    found.sites = fit_allocate(l->host, l->n_models, sizeof *found.sites);
    emr_status status = found.sites ? find_sites(l, layer, site, &found, error) : fit_no_memory(error);
    size_t g = 0;
    while (!status && g < l->n_groups &&
           (l->groups[g].sites[0] != found.sites[0] || l->groups[g].fits_bias != found.fits_bias))
        g++;
    if (status || g < l->n_groups)
        fit_release(l->host, found.sites);
    else
        l->groups[l->n_groups++] = found;
    if (status)
        return status;
    layer->place.number = g;
    layer->place.first_output = l->groups[g].outputs;
    l->groups[g].outputs += layer->place.outputs;
    return EMR_OK;
}

static emr_status add_layer(fit_layers *l, const emr_regmean_options *o, size_t i, emr_error *error)
{
    emr_fit_layer given;
    emr_status status = FIT_TAKE_ELEMENT(&given, o->layers, i, emr_fit_layer, reserved, error);
    if (status)
        return status;
    if (!given.weight || !given.site || given.input_axis > 1)
        return emr_error_format(error, EMR_EINVAL,
                                "layer %u: weight and site are required, input_axis is 0 or 1", (uint64_t)i);
    if (fit_is_excluded(o->exclude, o->n_exclude, given.weight))
        return EMR_OK;
    fit_layer *layer = &l->layers[l->n_layers++];
    layer->place.is_transposed = given.input_axis == 0;
    status = find_tensors(l, given.weight, &layer->weights, error);
    if (!status && given.bias && o->bias == EMR_FIT_BIAS_FIT)
        status = find_tensors(l, given.bias, &layer->biases, error);
    if (!status)
        status = measure_layer(l, layer, error);
    for (size_t k = 0; !status && k + 1 < l->n_layers; k++)
        if (l->layers[k].weights[0] == layer->weights[0])
            status = emr_error_format(error, EMR_EINVAL, "tensor '%T' is in two layers", given.weight);
    return status ? status : join_group(l, layer, given.site, error);
}

emr_status fit_layers_create(fit_layers *l, const fit_host *host, const emr_regmean_options *o,
                             emr_error *error)
{
    *l = (fit_layers){.host = host, .n_models = o->n_models};
    l->models = fit_allocate(host, o->n_models, sizeof *l->models);
    l->grams = fit_allocate(host, o->n_models, sizeof *l->grams);
    l->layers = fit_allocate(host, o->n_layers, sizeof *l->layers);
    l->groups = fit_allocate(host, o->n_layers, sizeof *l->groups);
    emr_status status = l->models && l->grams && l->layers && l->groups ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < o->n_models; m++) {
        l->models[m] = o->models[m];
        l->grams[m] = o->grams[m];
        if (!o->models[m] || !o->grams[m] || o->grams[m]->n_models != 1)
            status = emr_error_format(error, EMR_EINVAL,
                                      "model %u: a model and a gram of one model are required", (uint64_t)m);
    }
    for (size_t i = 0; !status && i < o->n_layers; i++)
        status = add_layer(l, o, i, error);
    if (status)
        fit_layers_destroy(l);
    return status;
}

void fit_layers_destroy(fit_layers *l)
{
    if (!l->host)
        return;
    for (size_t i = 0; i < l->n_layers; i++) {
        fit_release(l->host, l->layers[i].weights);
        fit_release(l->host, l->layers[i].biases);
    }
    for (size_t g = 0; g < l->n_groups; g++)
        fit_release(l->host, l->groups[g].sites);
    fit_release(l->host, l->layers);
    fit_release(l->host, l->groups);
    fit_release(l->host, l->models);
    fit_release(l->host, l->grams);
    *l = (fit_layers){0};
}

const fit_layer *fit_layers_of_weight(const fit_layers *l, const emr_tensor *tensor)
{
    for (size_t i = 0; i < l->n_layers; i++)
        if (l->layers[i].weights[0] == tensor)
            return &l->layers[i];
    return NULL;
}

const fit_layer *fit_layers_of_bias(const fit_layers *l, const emr_tensor *tensor)
{
    for (size_t i = 0; i < l->n_layers; i++)
        if (l->layers[i].biases && l->layers[i].biases[0] == tensor)
            return &l->layers[i];
    return NULL;
}
