/* regmean.c - the merged model: averages, and weights that are solved when one of their site is first read. */
#include "regmean.h"

#include "exclude.h"
#include "options.h"
#include "weights.h"

#include <string.h>

enum { COUNT_MAX = 2048 };

#define CACHE_BYTES (UINT64_C(256) << 20)

/* What a computed tensor is made of. */
typedef struct merged_tensor {
    fit_regmean *regmean;
    const emr_tensor **tensors; /* of each model: it is their mean; NULL: it is solved */
    const fit_layer *layer;
    emr_dtype dtype;
    bool is_bias;
} merged_tensor;

/* The model's user. */
typedef struct merged {
    fit_regmean regmean;
    merged_tensor *tensors;
    size_t n_tensors;
} merged;

static void destroy_regmean(void *user)
{
    merged *g = user;
    const fit_host host = g->regmean.host;
    for (size_t i = 0; g->tensors && i < g->n_tensors; i++)
        fit_release(&host, g->tensors[i].tensors);
    fit_release(&host, g->tensors);
    fit_cache_clear(&g->regmean.cache);
    fit_layers_destroy(&g->regmean.layers);
    fit_release(&host, g->regmean.coefficients);
    fit_release(&host, g);
}

static emr_status compute_regmean(const emr_computation *c, emr_error *error)
{
    const merged_tensor *t = c->user;
    fit_regmean *r = t->regmean;
    double values[COUNT_MAX], room[COUNT_MAX];
    emr_status status = t->tensors ? fit_read_mean(t->tensors, r->coefficients, r->layers.n_models, c->first,
                                                   c->count, values, room, error)
                                   : fit_cache_read(&r->cache, &t->layer->place, t->is_bias, c->first,
                                                    c->count, values, error);
    return status ? status : emr_convert(t->dtype, c->out, EMR_DTYPE_F64, values, c->count);
}

/* The merged tensor of that name. */
static const merged_tensor *find_merged(const merged *g, const emr_tensor *tensor)
{
    for (size_t i = 0; i < g->n_tensors; i++) {
        const fit_layer *layer = g->tensors[i].layer;
        const emr_tensor **of = !layer ? NULL : g->tensors[i].is_bias ? layer->biases : layer->weights;
        if (of && strcmp(emr_tensor_name(of[0]), emr_tensor_name(tensor)) == 0)
            return &g->tensors[i];
    }
    return NULL;
}

/* Solves with the threads of who is about to read. */
static emr_status prepare_regmean(void *user, const emr_tensor *tensor, const emr_resources *resources,
                                  emr_error *error)
{
    merged *g = user;
    const merged_tensor *t = find_merged(g, tensor);
    return t ? fit_cache_prepare(&g->regmean.cache, t->layer->place.number, resources, error) : EMR_OK;
}

static emr_status fill_tensor(merged *g, merged_tensor *t, const emr_tensor *tensor, emr_error *error)
{
    fit_regmean *r = &g->regmean;
    t->regmean = r;
    t->layer = fit_layers_of_weight(&r->layers, tensor);
    if (!t->layer) {
        t->layer = fit_layers_of_bias(&r->layers, tensor);
        t->is_bias = t->layer != NULL;
    }
    if (t->layer)
        return EMR_OK;
    t->tensors = fit_allocate(&r->host, r->layers.n_models, sizeof *t->tensors);
    emr_status status = t->tensors ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < r->layers.n_models; m++)
        status = fit_same_tensor(r->layers.models[m], tensor, &t->tensors[m], error);
    return status;
}

static emr_status add_regmean_tensor(merged *g, emr_model *model, const emr_tensor *tensor, emr_dtype dtype,
                                     emr_error *error)
{
    merged_tensor *t = &g->tensors[g->n_tensors++];
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    t->dtype = dtype ? dtype : emr_tensor_dtype(tensor);
    desc.name = emr_tensor_name(tensor);
    desc.dtype = t->dtype;
    desc.rank = emr_tensor_rank(tensor);
    desc.shape = emr_tensor_shape(tensor);
    desc.compute = compute_regmean;
    desc.user = t;
    desc.max_count = COUNT_MAX;
    emr_status status = fill_tensor(g, t, tensor, error);
    return status ? status : emr_model_add(model, &desc, error);
}

static emr_status add_regmean_tensors(merged *g, emr_model *model, const emr_regmean_options *o,
                                      emr_error *error)
{
    const emr_model *first = o->models[0];
    emr_status status = emr_model_copy_metadata(model, first, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(first); i++) {
        const emr_tensor *tensor = emr_model_tensor(first, i);
        if (fit_is_excluded(o->exclude, o->n_exclude, emr_tensor_name(tensor)))
            continue;
        status = emr_dtype_is_float(emr_tensor_dtype(tensor))
                     ? add_regmean_tensor(g, model, tensor, o->dtype, error)
                     : emr_model_add_tensor(model, tensor, error);
    }
    return status;
}

static emr_status take_coefficients(fit_regmean *r, const emr_regmean_options *o, emr_error *error)
{
    double sum = 0;
    r->coefficients = fit_allocate(&r->host, o->n_models, sizeof *r->coefficients);
    if (!r->coefficients)
        return fit_no_memory(error);
    for (uint32_t m = 0; m < o->n_models; m++) {
        r->coefficients[m] = o->coefficients ? o->coefficients[m] : 1;
        if (!(r->coefficients[m] >= 0 && r->coefficients[m] <= 1e100))
            return emr_error_format(error, EMR_EINVAL,
                                    "emr_regmean_options: a coefficient is negative, or no number");
        sum += r->coefficients[m];
    }
    if (!(sum > 0))
        return emr_error_format(error, EMR_EINVAL, "emr_regmean_options: all coefficients are 0");
    for (uint32_t m = 0; m < o->n_models; m++)
        r->coefficients[m] /= sum;
    return EMR_OK;
}

static emr_status check_regmean(const emr_regmean_options *o, emr_error *error)
{
    if (!o->models || !o->grams || !o->n_models || !o->models[0] || (o->n_layers && !o->layers) ||
        (o->n_exclude && !o->exclude))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_regmean_options: models and grams are required, and arrays where "
                                "their numbers are not 0");
    if (o->use_off_diagonal && !(o->off_diagonal >= 0 && o->off_diagonal <= 1))
        return emr_error_format(error, EMR_EINVAL, "emr_regmean_options: off_diagonal is from 0 to 1");
    if (!(o->ridge >= 0 && o->ridge <= 1e100))
        return emr_error_format(error, EMR_EINVAL, "emr_regmean_options: ridge is at least 0");
    if (o->bias > EMR_FIT_BIAS_FIT || o->scale > EMR_FIT_SCALE_SUMS)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_regmean_options: bias or scale is none that there is");
    return fit_check_float(o->dtype, "emr_regmean_options", error);
}

static emr_status make_merged(const fit_host *host, const emr_regmean_options *o, merged **made,
                              emr_error *error)
{
    merged *g = fit_allocate(host, 1, sizeof *g);
    if (!g)
        return fit_no_memory(error);
    fit_regmean *r = &g->regmean;
    r->host = *host;
    fit_cache_init(&r->cache, &r->host, CACHE_BYTES, fit_regmean_solve, r);
    r->off_diagonal = o->use_off_diagonal ? o->off_diagonal : 0.9;
    r->ridge = o->ridge;
    r->scale = o->scale;
    g->tensors = fit_allocate(host, emr_model_n_tensors(o->models[0]), sizeof *g->tensors);
    emr_status status = g->tensors ? take_coefficients(r, o, error) : fit_no_memory(error);
    if (!status)
        status = fit_layers_create(&r->layers, &r->host, o, error);
    if (status)
        destroy_regmean(g);
    else
        *made = g;
    return status;
}

emr_status emr_regmean_open_model(const emr_regmean_options *options, emr_model **model, emr_error *error)
{
    emr_regmean_options o;
    fit_host host;
    merged *g = NULL;
    if (model)
        *model = NULL;
    if (!options || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_regmean_open_model: NULL");
    emr_status status = FIT_TAKE(&o, options, emr_regmean_options, reserved, error);
    if (!status)
        status = check_regmean(&o, error);
    if (!status)
        status = fit_check_exclude(o.exclude, o.n_exclude, o.models[0], error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (!status)
        status = make_merged(&host, &o, &g, error);
    if (status)
        return status;
    emr_model_options made = EMR_INIT(emr_model_options);
    made.allocator = &host.allocator;
    made.name = "RegMean";
    made.user = g;
    made.destroy = destroy_regmean;
    made.prepare = prepare_regmean;
    status = emr_model_create(model, &made, error);
    if (status) {
        destroy_regmean(g);
        return status;
    }
    status = add_regmean_tensors(g, *model, &o, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
