/* permutation_model.c - a permutation's indices as a model, by which it is saved, and out of one. */
#include "permutation.h"

#include <string.h>

static const char *const suffixes[HEADS_ARRAYS] = {".kv", ".slot", ".qk", ".v"};

static emr_status add_array(const fit_host *host, emr_model *model, const spec_group *g, const char *suffix,
                            const uint32_t *units, size_t rows, size_t columns, emr_error *error)
{
    const uint64_t matrix[2] = {rows, columns}, vector[1] = {rows * columns};
    const bool is_vector = !g->is_heads || strcmp(suffix, suffixes[HEADS_KV]) == 0;
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    char *name = fit_join_strings(host, g->name, suffix);
    desc.name = name;
    desc.dtype = EMR_DTYPE_U32;
    desc.rank = is_vector ? 1 : 2;
    desc.shape = is_vector ? vector : matrix;
    desc.data = units;
    emr_status status = name ? emr_model_add(model, &desc, error) : fit_no_memory(error);
    fit_release(host, name);
    return status;
}

static emr_status add_group(const emr_permutation *p, emr_model *model, size_t i, emr_error *error)
{
    const spec_group *g = &p->spec->groups[i];
    if (!g->is_heads)
        return add_array(&p->host, model, g, "", p->groups[i].units, 1, (size_t)g->n_units, error);
    emr_status status = EMR_OK;
    for (int which = 0; !status && which < HEADS_ARRAYS; which++)
        status = add_array(&p->host, model, g, suffixes[which], fit_heads_array(&p->groups[i], which),
                           fit_heads_rows(g, which), fit_heads_columns(g, which), error);
    return status;
}

static void destroy_copy(void *user)
{
    emr_permutation *copy = user;
    emr_permutation_destroy(&copy);
}

emr_status emr_permutation_open_indices(const emr_permutation *p, emr_model **model, emr_error *error)
{
    emr_permutation *copy;
    if (model)
        *model = NULL;
    if (!p || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_open_indices: NULL");
    emr_status status = fit_permutation_copy(p, &p->host, &copy, error);
    if (status)
        return status;
    emr_model_options options = EMR_INIT(emr_model_options);
    options.allocator = &p->host.allocator;
    options.name = "permutation";
    options.user = copy;
    options.destroy = destroy_copy;
    status = emr_model_create(model, &options, error);
    if (status) {
        emr_permutation_destroy(&copy);
        return status;
    }
    for (size_t i = 0; !status && i < copy->spec->n_groups; i++)
        status = add_group(copy, *model, i, error);
    if (status)
        emr_model_destroy(model);
    return status;
}

/* Reads rows * columns numbers of a tensor; free them. */
static emr_status read_array(const emr_permutation *p, const emr_model *model, const spec_group *g,
                             const char *suffix, size_t count, uint32_t **units, emr_error *error)
{
    char *name = fit_join_strings(&p->host, g->name, suffix);
    const emr_tensor *tensor = name ? emr_model_find_tensor(model, name) : NULL;
    emr_status status = name ? EMR_OK : fit_no_memory(error);
    if (!status && !tensor)
        status =
            emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' is absent", emr_model_name(model), name);
    if (!status && (emr_tensor_dtype(tensor) != EMR_DTYPE_U32 || emr_tensor_count(tensor) != count))
        status = emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' must be U32, of %u elements",
                                  emr_model_name(model), name, (uint64_t)count);
    fit_release(&p->host, name);
    if (status)
        return status;
    *units = fit_allocate(&p->host, count, sizeof **units);
    return *units ? emr_tensor_read(tensor, 0, *units, count * sizeof **units, error) : fit_no_memory(error);
}

static emr_status read_group(emr_permutation *p, const emr_model *model, const spec_group *g,
                             emr_error *error)
{
    uint32_t *arrays[HEADS_ARRAYS] = {NULL};
    emr_status status = EMR_OK;
    if (!g->is_heads) {
        status = read_array(p, model, g, "", (size_t)g->n_units, &arrays[0], error);
        if (!status)
            status = emr_permutation_set_units(p, g->name, arrays[0], error);
    } else {
        for (int which = 0; !status && which < HEADS_ARRAYS; which++)
            status =
                read_array(p, model, g, suffixes[which],
                           fit_heads_rows(g, which) * fit_heads_columns(g, which), &arrays[which], error);
        const emr_head_units units = {sizeof units, arrays[HEADS_KV], arrays[HEADS_SLOT], arrays[HEADS_QK],
                                      arrays[HEADS_V]};
        if (!status)
            status = emr_permutation_set_heads(p, g->name, &units, error);
    }
    for (int which = 0; which < HEADS_ARRAYS; which++)
        fit_release(&p->host, arrays[which]);
    return status;
}

emr_status emr_permutation_read_indices(emr_permutation *p, const emr_model *model, emr_error *error)
{
    emr_permutation *read;
    if (!p || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_permutation_read_indices: NULL");
    emr_status status = fit_permutation_copy(p, &p->host, &read, error);
    if (status)
        return status;
    for (size_t i = 0; !status && i < p->spec->n_groups; i++)
        status = read_group(read, model, &p->spec->groups[i], error);
    if (!status) { /* all of it or nothing */
        group_units *groups = p->groups;
        p->groups = read->groups;
        read->groups = groups;
    }
    emr_permutation_destroy(&read);
    return status;
}
