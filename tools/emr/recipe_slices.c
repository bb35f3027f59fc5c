/* recipe_slices.c - what a recipe puts together: sources, slices of them, modules of these. */
#include "recipe_reading.h"

#include <stdlib.h>
#include <string.h>

static emr_status read_layer(const recipe_reader *d, const yaml_node *node, uint64_t *layer)
{
    enum { DIGITS_MAX = 6 };
    size_t n = node->kind == YAML_NODE_SCALAR ? strlen(node->text) : 0;
    if (!n || n > DIGITS_MAX || strspn(node->text, "0123456789") != n || (n > 1 && *node->text == '0'))
        return FAIL(node->line, "'layer_range' must be two whole numbers");
    *layer = strtoull(node->text, NULL, 10);
    return EMR_OK;
}

static emr_status read_range(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             void *target)
{
    recipe_source *s = target;
    if (value->kind != YAML_NODE_LIST || value->n != 2)
        return fail_kind(d, key, value, "two whole numbers");
    emr_status status = read_layer(d, value->items[0], &s->first);
    if (!status)
        status = read_layer(d, value->items[1], &s->end);
    if (!status && s->first >= s->end)
        status = FAIL(value->line, "'layer_range' [%llu, %llu] has no layers", (unsigned long long)s->first,
                      (unsigned long long)s->end);
    return status;
}

static emr_status read_source_model(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                    void *target)
{
    return read_model(d, key, value, &((recipe_source *)target)->model);
}

static emr_status read_source_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                         void *target)
{
    return read_parameters(d, key, value, &((recipe_source *)target)->parameters);
}

static emr_status read_source(const recipe_reader *d, const yaml_node *node, bool has_range, recipe_source *s)
{
    static const recipe_key ranged[] = {{"model", read_source_model},
                                        {"layer_range", read_range},
                                        {"parameters", read_source_parameters},
                                        {NULL, NULL}};
    static const recipe_key whole[] = {
        {"model", read_source_model}, {"parameters", read_source_parameters}, {NULL, NULL}};
    *s = (recipe_source){.model = RECIPE_NO_MODEL, .line = node->line};
    if (node->kind != YAML_NODE_MAP)
        return FAIL(node->line, "this must be a map with 'model'");
    emr_status status = read_keys(d, node, has_range ? ranged : whole, s);
    if (!status && s->model == RECIPE_NO_MODEL)
        status = FAIL(node->line, "'model' is missing");
    if (!status && has_range && !s->end)
        status = FAIL(node->line, "'layer_range' is missing");
    return status;
}

static emr_status check_twin(const recipe_reader *d, const recipe_slice *slice, const recipe_source *s)
{
    for (const recipe_source *other = slice->sources; other < s; other++) {
        if (other->model == s->model)
            return FAIL(s->line, "model '%.200s' is there twice, first in line %u",
                        d->r->models[s->model].path, other->line);
        if (other->end - other->first != s->end - s->first)
            return FAIL(s->line, "this is %llu layers, where the sources before have %llu",
                        (unsigned long long)(s->end - s->first),
                        (unsigned long long)(other->end - other->first));
    }
    return EMR_OK;
}

static emr_status read_sources(const recipe_reader *d, const yaml_node *key, const yaml_node *list,
                               bool has_range, recipe_slice *slice)
{
    emr_status status = EMR_OK;
    if (list->kind != YAML_NODE_LIST || !list->n)
        return fail_kind(d, key, list, "a list of models");
    slice->sources =
        arena_take(&d->r->arena, (list->n + 1) * sizeof *slice->sources); /* a base may be added */
    if (!slice->sources)
        return lack_room(d);
    for (size_t i = 0; !status && i < list->n; i++) {
        recipe_source *s = &slice->sources[slice->n_sources];
        status = read_source(d, list->items[i], has_range, s);
        if (!status)
            status = check_twin(d, slice, s);
        slice->n_sources++;
    }
    return status;
}

static emr_status read_slice_sources(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                     void *target)
{
    return read_sources(d, key, value, true, target);
}

static emr_status read_slice_base(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                  void *target)
{
    return read_model(d, key, value, &((recipe_slice *)target)->base);
}

static emr_status read_slice_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                        void *target)
{
    return read_parameters(d, key, value, &((recipe_slice *)target)->parameters);
}

static emr_status read_slice(const recipe_reader *d, const yaml_node *node, recipe_slice *slice)
{
    static const recipe_key keys[] = {{"sources", read_slice_sources},
                                      {"base_model", read_slice_base},
                                      {"parameters", read_slice_parameters},
                                      {NULL, NULL}};
    *slice = (recipe_slice){.base = RECIPE_NO_MODEL, .line = node->line};
    if (node->kind != YAML_NODE_MAP)
        return FAIL(node->line, "this must be a map with 'sources'");
    emr_status status = read_keys(d, node, keys, slice);
    return status || slice->n_sources ? status : FAIL(node->line, "'sources' is missing");
}

static emr_status take_slices(const recipe_reader *d, const yaml_node *key, size_t n, bool has_ranges,
                              recipe_module *m)
{
    if (m->n_slices)
        return FAIL(key->line, "of 'models' and 'slices' one alone can be there");
    m->slices = arena_take(&d->r->arena, (n + 1) * sizeof *m->slices);
    m->n_slices = n;
    m->has_ranges = has_ranges;
    return m->slices ? EMR_OK : lack_room(d);
}

emr_status read_module_slices(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    recipe_module *m = target;
    if (value->kind != YAML_NODE_LIST || !value->n)
        return fail_kind(d, key, value, "a list of slices");
    emr_status status = take_slices(d, key, value->n, true, m);
    for (size_t i = 0; !status && i < value->n; i++)
        status = read_slice(d, value->items[i], &m->slices[i]);
    return status;
}

/* Models as a whole are one slice. */
emr_status read_module_models(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    recipe_module *m = target;
    emr_status status = take_slices(d, key, 1, false, m);
    if (status)
        return status;
    m->slices[0] = (recipe_slice){.base = RECIPE_NO_MODEL, .line = value->line};
    return read_sources(d, key, value, false, &m->slices[0]);
}

static emr_status read_module_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                         void *target)
{
    return read_parameters(d, key, value, &((recipe_module *)target)->parameters);
}

emr_status read_module(const recipe_reader *d, const yaml_node *name, const yaml_node *node, recipe_module *m)
{
    static const recipe_key keys[] = {{"models", read_module_models},
                                      {"slices", read_module_slices},
                                      {"parameters", read_module_parameters},
                                      {NULL, NULL}};
    *m = (recipe_module){.name = name->text, .line = name->line};
    if (node->kind != YAML_NODE_MAP)
        return fail_kind(d, name, node, "a map with 'models' or 'slices'");
    emr_status status = read_keys(d, node, keys, m);
    return status || m->n_slices
               ? status
               : FAIL(name->line, "module '%.100s' has neither 'models' nor 'slices'", name->text);
}
