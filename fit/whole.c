/* whole.c - see whole.h. */
#include "whole.h"

#include "solved.h"

enum { COUNT_MAX = 4096 };

#define CACHE_BYTES (UINT64_C(64) << 20)

typedef struct whole whole;

typedef struct whole_tensor {
    whole *of;
    const emr_tensor **tensors; /* of each model */
    size_t number;
    emr_dtype dtype;
} whole_tensor;

struct whole {
    fit_host host;
    fit_cache cache;
    fit_whole_options o;
    whole_tensor *tensors;
    size_t n_tensors;
};

emr_status fit_same_tensor(const emr_model *model, const emr_tensor *like, const emr_tensor **found,
                           emr_error *error)
{
    const char *name = emr_tensor_name(like);
    *found = emr_model_find_tensor(model, name);
    if (!*found)
        return emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' is absent", emr_model_name(model),
                                name);
    if (!emr_tensor_same_shape(*found, like))
        return emr_error_format(error, EMR_EMISMATCH,
                                "%F: tensor '%T' has another shape than in the first model",
                                emr_model_name(model), name);
    if (!emr_dtype_is_float(emr_tensor_dtype(*found)))
        return emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' is no float", emr_model_name(model),
                                name);
    return EMR_OK;
}

static void destroy_whole(void *user)
{
    whole *w = user;
    const fit_host host = w->host;
    for (size_t i = 0; w->tensors && i < w->n_tensors; i++)
        fit_release(&host, w->tensors[i].tensors);
    fit_cache_clear(&w->cache);
    fit_release(&host, w->tensors);
    if (w->o.destroy)
        w->o.destroy(w->o.user);
    fit_release(&host, w);
}

/* The whole tensor: element i is sides[0][i / FIT_TILE][i % FIT_TILE], so that they lie one behind the other. */
static emr_status merge_whole(void *user, const fit_host *host, size_t number, fit_solved **merged,
                              emr_error *error)
{
    whole *w = user;
    const whole_tensor *t = &w->tensors[number];
    fit_solved *made =
        fit_solved_create(&w->host, number, 1, fit_n_panels((size_t)emr_tensor_count(t->tensors[0])));
    emr_status status =
        made ? w->o.merge(w->o.user, t->tensors, made->sides[0][0], error) : fit_no_memory(error);
    (void)host;
    if (status)
        fit_solved_release(made);
    else
        *merged = made;
    return status;
}

static emr_status compute_whole(const emr_computation *c, emr_error *error)
{
    const whole_tensor *t = c->user;
    fit_solved *merged;
    emr_status status = fit_cache_get(&t->of->cache, &t->of->host, t->number, &merged, error);
    if (status)
        return status;
    const double *values = merged->sides[0][0];
    status = emr_convert(t->dtype, c->out, EMR_DTYPE_F64, values + c->first, c->count);
    fit_solved_release(merged);
    return status;
}

static emr_status add_float(whole *w, emr_model *model, const emr_tensor *tensor, emr_error *error)
{
    whole_tensor *t = &w->tensors[w->n_tensors];
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    *t = (whole_tensor){
        .of = w, .number = w->n_tensors, .dtype = w->o.dtype ? w->o.dtype : emr_tensor_dtype(tensor)};
    t->tensors = fit_allocate(&w->host, w->o.n_models, sizeof *t->tensors);
    if (!t->tensors)
        return fit_no_memory(error);
    w->n_tensors++;
    emr_status status = EMR_OK;
    for (uint32_t m = 0; !status && m < w->o.n_models; m++)
        status = fit_same_tensor(w->o.models[m], tensor, &t->tensors[m], error);
    desc.name = emr_tensor_name(tensor);
    desc.dtype = t->dtype;
    desc.rank = emr_tensor_rank(tensor);
    desc.shape = emr_tensor_shape(tensor);
    desc.compute = compute_whole;
    desc.user = t;
    desc.max_count = COUNT_MAX;
    return status ? status : emr_model_add(model, &desc, error);
}

static emr_status add_tensors(whole *w, emr_model *model, const emr_model *first, emr_error *error)
{
    emr_status status = emr_model_copy_metadata(model, first, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(first); i++) {
        const emr_tensor *tensor = emr_model_tensor(first, i);
        status = emr_dtype_is_float(emr_tensor_dtype(tensor)) ? add_float(w, model, tensor, error)
                                                              : emr_model_add_tensor(model, tensor, error);
    }
    return status;
}

emr_status fit_whole_open(const fit_host *host, const fit_whole_options *o, emr_model **model,
                          emr_error *error)
{
    whole *w = fit_allocate(host, 1, sizeof *w);
    if (!w) {
        if (o->destroy)
            o->destroy(o->user);
        return fit_no_memory(error);
    }
    w->host = *host;
    w->o = *o;
    fit_cache_init(&w->cache, &w->host, CACHE_BYTES, merge_whole, w);
    w->tensors = fit_allocate(host, emr_model_n_tensors(o->models[0]), sizeof *w->tensors);
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &host->allocator;
    options.name = o->name;
    options.user = w;
    options.destroy = destroy_whole;
    emr_status status = w->tensors ? emr_model_create(model, &options, error) : fit_no_memory(error);
    if (status) {
        destroy_whole(w);
        return status;
    }
    const emr_model *first = o->models[0];
    w->o.models = o->models; /* looked at while tensors are added, and no longer */
    status = add_tensors(w, *model, first, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
