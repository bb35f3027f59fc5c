/* views.c - see views.h. */
#include "combine/views.h"

/* The base comes behind the tasks. */
static const emr_model **model_place(emr_combination *c, uint32_t i)
{
    return i < c->n_tasks ? &c->tasks[i].model : &c->base;
}

static emr_status create_heads(emr_combination *c, emr_error *error)
{
    const size_t n = (size_t)c->n_tasks + 1;
    const char **names = emr_allocate_array(&c->allocator, n, sizeof *names);
    const emr_model **models = emr_allocate_array(&c->allocator, n, sizeof *models);
    emr_heads_options options = {.size = sizeof options,
                                 .allocator = &c->allocator,
                                 .globs = c->options.head_globs,
                                 .names = names,
                                 .tasks = models,
                                 .n_globs = c->options.n_head_globs,
                                 .n_tasks = c->n_tasks};
    for (uint32_t t = 0; names && models && t < c->n_tasks; t++) {
        names[t] = c->tasks[t].name;
        models[t] = c->tasks[t].model;
    }
    emr_status status =
        names && models ? emr_heads_create(&c->heads, &options, error) : emr_no_memory(error, NULL);
    emr_release(&c->allocator, names);
    emr_release(&c->allocator, models);
    return status;
}

static emr_status open_head_view(emr_combination *c, uint32_t i, emr_error *error)
{
    const emr_model **place = model_place(c, i);
    if (!*place)
        return EMR_OK;
    emr_status status = i < c->n_tasks ? emr_heads_open_task(c->heads, i, &c->views[i].view, error)
                                       : emr_heads_open_base(c->heads, *place, &c->views[i].view, error);
    if (status)
        return status;
    c->views[i].given = *place;
    *place = c->views[i].view;
    return EMR_OK;
}

emr_status emr_combination_open_views(emr_combination *c, emr_error *error)
{
    const size_t n = (size_t)c->n_tasks + 1;
    if (!c->options.n_head_globs)
        return EMR_OK;
    emr_status status = create_heads(c, error);
    if (status)
        return status;
    c->views = emr_allocate_array(&c->allocator, n, sizeof *c->views);
    if (!c->views)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < n; i++)
        status = open_head_view(c, i, error);
    if (!status && !c->options.combine_heads)
        status = emr_heads_open_joined(c->heads, c->options.dtype, &c->joined, error);
    return status;
}

void emr_combination_close_views(emr_combination *c)
{
    for (uint32_t i = 0; c->views && i <= c->n_tasks; i++)
        if (c->views[i].view) {
            *model_place(c, i) = c->views[i].given;
            emr_model_destroy(&c->views[i].view);
        }
    emr_release(&c->allocator, c->views);
    c->views = NULL;
    emr_model_destroy(&c->joined);
    emr_heads_destroy(&c->heads);
}

const emr_tensor *emr_combination_find_joined(const emr_combination *c, const char *name)
{
    return c->joined ? emr_model_find_tensor(c->joined, name) : NULL;
}
