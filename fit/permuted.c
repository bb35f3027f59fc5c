/* permuted.c - a model whose units are in another order, gathered as it is read. */
#include "view.h"

enum { COUNT_MAX = 32768 };

typedef struct permuted {
    fit_host host;
    fit_view *views;
    size_t n_views;
} permuted;

static void destroy_permuted(void *user)
{
    permuted *p = user;
    const fit_host host = p->host;
    for (size_t i = 0; p->views && i < p->n_views; i++)
        fit_view_destroy(&p->views[i]);
    fit_release(&host, p->views);
    fit_release(&host, p);
}

static emr_status compute_permuted(const emr_computation *c, emr_error *error)
{
    return fit_view_read(c->user, c->first, c->count, c->out, c->scratch, error);
}

static emr_status add_view(emr_model *model, const emr_tensor *tensor, fit_view *view, emr_error *error)
{
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    if (!view->n_axes)
        return emr_model_add_tensor(model, tensor, error);
    desc.name = emr_tensor_name(tensor);
    desc.dtype = emr_tensor_dtype(tensor);
    desc.rank = emr_tensor_rank(tensor);
    desc.shape = emr_tensor_shape(tensor);
    desc.compute = compute_permuted;
    desc.user = view;
    desc.max_count = COUNT_MAX;
    return emr_model_add(model, &desc, error);
}

static emr_status make_views(permuted *p, const emr_permutation *permutation, const emr_model *model,
                             size_t *scratch, emr_error *error)
{
    uint32_t n = emr_model_n_tensors(model);
    p->views = fit_allocate(&p->host, n, sizeof *p->views);
    if (!p->views)
        return fit_no_memory(error);
    for (uint32_t i = 0; i < n; i++) {
        emr_status status =
            fit_view_create(&p->views[i], &p->host, permutation, emr_model_tensor(model, i), NULL, error);
        if (status)
            return status;
        p->n_views++;
        if (fit_view_scratch(&p->views[i]) > *scratch)
            *scratch = fit_view_scratch(&p->views[i]);
    }
    return EMR_OK;
}

static emr_status open_views(permuted *p, const emr_model *model, size_t scratch, emr_model **opened,
                             emr_error *error)
{
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &p->host.allocator;
    options.name = emr_model_name(model);
    options.user = p;
    options.destroy = destroy_permuted;
    options.scratch_bytes = scratch;
    emr_status status = emr_model_create(opened, &options, error);
    if (status) {
        destroy_permuted(p);
        return status;
    }
    status = emr_model_copy_metadata(*opened, model, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(model); i++)
        status = add_view(*opened, emr_model_tensor(model, i), &p->views[i], error);
    if (status)
        emr_model_destroy(opened);
    return status;
}

emr_status emr_permutation_open_model(const emr_permutation *permutation, const emr_model *model,
                                      emr_model **opened, emr_error *error)
{
    size_t scratch = 0;
    if (opened)
        *opened = NULL;
    if (!permutation || !model || !opened)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_open_model: NULL");
    emr_status status = emr_permutation_spec_check(permutation->spec, model, error);
    if (status)
        return status;
    permuted *p = fit_allocate(&permutation->host, 1, sizeof *p);
    if (!p)
        return fit_no_memory(error);
    p->host = permutation->host;
    status = make_views(p, permutation, model, &scratch, error);
    if (status) {
        destroy_permuted(p);
        return status;
    }
    return open_views(p, model, scratch, opened, error);
}
