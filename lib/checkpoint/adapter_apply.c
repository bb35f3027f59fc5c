/* adapter_apply.c - a base with an adapter in it, as a model whose changed tensors are computed as they are
 * read (adapter_weights.c). */
#include "checkpoint/adapter.h"
#include "checkpoint/adapter_changes.h"

static void free_adaptation(void *user)
{
    emr_changes_free(user);
}

/* A tensor of the adapter's as it is. */
static emr_status compute_saved(const emr_computation *c, emr_error *error)
{
    const emr_tensor *t = c->user;
    uint64_t bits = emr_dtype_bits(t->dtype);
    return emr_tensor_read(t, c->first * bits / 8, c->out, (size_t)(c->count * bits / 8), error);
}

static emr_status add_changed(emr_model *m, const emr_change *c, emr_error *error)
{
    bool is_computed = c->b || c->ia3;
    const emr_tensor *like = is_computed ? c->work.weight : c->saved;
    const emr_tensor_desc desc = {.size = sizeof desc,
                                  .name = c->name,
                                  .shape = like->shape,
                                  .rank = like->rank,
                                  .dtype = like->dtype,
                                  .compute = is_computed ? emr_adapted_compute : compute_saved,
                                  .user = is_computed ? (void *)(uintptr_t)&c->work : (void *)(uintptr_t)like,
                                  .granule = is_computed ? 0 : like->granule,
                                  .max_count = is_computed ? EMR_ADAPTED_COUNT : UINT32_MAX};
    return emr_model_add(m, &desc, error);
}

static emr_status fill_adapted(emr_model *m, const emr_adaptation *d, emr_error *error)
{
    emr_status status = emr_model_copy_metadata(m, d->base, error);
    emr_model_remove_metadata(m, EMR_ADAPTER_CONFIG);
    for (uint32_t i = 0; !status && i < d->base->n_tensors; i++) {
        const emr_tensor *t = d->base->tensors[i];
        const emr_change *c = emr_changes_lookup(d, t->name);
        status = c ? add_changed(m, c, error) : emr_model_add_tensor(m, t, error);
    }
    for (size_t i = 0; !status && i < d->n; i++)
        if (!d->changes[i].base)
            status = add_changed(m, &d->changes[i], error);
    m->stamp = d->base->stamp * 31 + d->adapter->stamp;
    return status;
}

emr_status emr_adapter_apply(emr_model **model, const emr_model *base, const emr_model *adapter,
                             const emr_resources *resources, emr_error *error)
{
    emr_env env;
    if (model)
        *model = NULL;
    if (!model || !base || !adapter)
        return emr_fail(error, EMR_EINVAL, "emr_adapter_apply: NULL");
    emr_status status = emr_env_take(&env, resources, NULL, error);
    if (status)
        return status;
    emr_adaptation *d = emr_allocate_array(&env.allocator, 1, sizeof *d);
    if (!d)
        return emr_no_memory(error, adapter->name);
    d->env = env;
    d->base = base;
    d->adapter = adapter;
    status = emr_changes_find(d, error);
    if (!status)
        status = emr_changes_fit(d, error);
    const emr_model_options options = {.size = sizeof options,
                                       .allocator = &d->env.allocator,
                                       .name = adapter->name,
                                       .user = d,
                                       .destroy = free_adaptation,
                                       .scratch_bytes = status ? 0 : emr_changes_scratch(d)};
    if (!status)
        status = emr_model_create(model, &options, error);
    if (status) {
        free_adaptation(d);
        return status;
    }
    status = fill_adapted(*model, d, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
