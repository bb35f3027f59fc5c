/* coefficients_model.c - the merged model, computed as it is read, with the coefficients of one moment. */
#include "coefficients.h"

typedef struct merged merged;

typedef struct merged_tensor {
    const merged *of;
    size_t tensor;
    const double *lambdas; /* of each task */
} merged_tensor;

struct merged {
    fit_host host;
    fit_vectors *vectors;
    double *lambdas; /* [group][task] */
    merged_tensor *tensors;
};

static void destroy_merged(void *user)
{
    merged *m = user;
    const fit_host host = m->host;
    fit_release(&host, m->lambdas);
    fit_release(&host, m->tensors);
    fit_vectors_release(m->vectors);
    fit_release(&host, m);
}

static emr_status compute_merged(const emr_computation *computation, emr_error *error)
{
    const merged_tensor *t = computation->user;
    const fit_vectors *v = t->of->vectors;
    fit_room room = fit_room_of(v, computation->scratch);
    const fit_range range = {t->tensor, computation->first, computation->count};
    const fit_merging merging = {.lambdas = t->lambdas,
                                 .dtype = emr_tensor_dtype(v->tensors[t->tensor].base)};
    return fit_vectors_merge(v, &merging, &range, computation->out, &room, error);
}

static merged *create_merged(const emr_coefficients *c)
{
    const size_t n = c->vectors->n_tensors;
    merged *m = fit_allocate(&c->host, 1, sizeof *m);
    if (!m)
        return NULL;
    m->host = c->host;
    m->vectors = c->vectors;
    atomic_fetch_add(&c->vectors->references, 1);
    m->lambdas = fit_allocate(&c->host, (size_t)c->n_groups * c->n_tasks, sizeof *m->lambdas);
    m->tensors = fit_allocate(&c->host, n, sizeof *m->tensors);
    if (!m->lambdas || !m->tensors) {
        destroy_merged(m);
        return NULL;
    }
    for (uint32_t g = 0; g < c->n_groups; g++)
        fit_coefficients_lambdas(c, g, m->lambdas + (size_t)g * c->n_tasks);
    for (size_t i = 0; i < n; i++)
        m->tensors[i] = (merged_tensor){m, i, m->lambdas + (size_t)c->group_of[i] * c->n_tasks};
    return m;
}

static emr_status add_merged(const fit_vectors *v, merged_tensor *t, emr_model *model, emr_error *error)
{
    const emr_tensor *base = v->tensors[t->tensor].base;
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = emr_tensor_name(base);
    desc.dtype = emr_tensor_dtype(base);
    desc.rank = emr_tensor_rank(base);
    desc.shape = emr_tensor_shape(base);
    desc.compute = compute_merged;
    desc.user = t;
    desc.max_count = (uint32_t)v->piece;
    return emr_model_add(model, &desc, error);
}

/* In the base's order, of which the merged tensors are a part. */
static emr_status add_merged_tensors(const merged *m, emr_model *model, emr_error *error)
{
    const emr_model *base = m->vectors->base;
    size_t next = 0;
    emr_status status = emr_model_copy_metadata(model, base, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(base); i++) {
        const emr_tensor *tensor = emr_model_tensor(base, i);
        if (next < m->vectors->n_tensors && m->vectors->tensors[next].base == tensor)
            status = add_merged(m->vectors, &m->tensors[next++], model, error);
        else
            status = emr_model_add_tensor(model, tensor, error);
    }
    return status;
}

emr_status emr_coefficients_open_model(const emr_coefficients *c, emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!c || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_open_model: NULL");
    merged *m = create_merged(c);
    if (!m)
        return fit_no_memory(error);
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &c->host.allocator;
    options.name = "merged";
    options.user = m;
    options.destroy = destroy_merged;
    options.scratch_bytes = fit_room_bytes(c->vectors, c->vectors->piece);
    emr_status status = emr_model_create(model, &options, error);
    if (status) {
        destroy_merged(m);
        return status;
    }
    status = add_merged_tensors(m, *model, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
