/* recipe_parameters.c - the parameters of a recipe as settings: values, gradients, cases with filters. */
#include "recipe_reading.h"

#include <string.h>

static emr_status read_scalars(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                               recipe_case *c)
{
    c->is_list = value->kind == YAML_NODE_LIST;
    c->n_values = c->is_list ? value->n : 1;
    c->values = arena_take(&d->r->arena, (c->n_values + 1) * sizeof *c->values);
    if (!c->values)
        return lack_room(d);
    for (size_t i = 0; i < c->n_values; i++) {
        c->values[i] = c->is_list ? value->items[i] : value;
        if (c->values[i]->kind != YAML_NODE_SCALAR || yaml_is_null(c->values[i]))
            return fail_kind(d, key, c->values[i], "a value, a list of values, or a list of {filter, value}");
    }
    return EMR_OK;
}

static emr_status read_filter(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    recipe_case *c = target;
    emr_status status = read_word(d, key, value, &c->filter);
    if (!status && strcmp(c->filter, "*") == 0)
        c->filter = NULL;
    return status;
}

static emr_status read_case_value(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                  void *target)
{
    return read_scalars(d, key, value, target);
}

static emr_status read_case(const recipe_reader *d, const yaml_node *node, recipe_case *c)
{
    static const recipe_key keys[] = {{"filter", read_filter}, {"value", read_case_value}, {NULL, NULL}};
    emr_status status = read_keys(d, node, keys, c);
    return status || c->values ? status : FAIL(node->line, "'value' is missing beside 'filter'");
}

static emr_status read_cases(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             recipe_setting *s)
{
    emr_status status = EMR_OK;
    s->n_cases = value->n;
    s->cases = arena_take(&d->r->arena, value->n * sizeof *s->cases);
    if (!s->cases)
        return lack_room(d);
    for (size_t i = 0; !status && i < value->n; i++)
        status = value->items[i]->kind == YAML_NODE_MAP
                     ? read_case(d, value->items[i], &s->cases[i])
                     : fail_kind(d, key, value->items[i], "one of values alone, or of {filter, value} alone");
    return status;
}

static emr_status read_setting_cases(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                     recipe_setting *s)
{
    if (value->kind == YAML_NODE_LIST && value->n && value->items[0]->kind == YAML_NODE_MAP)
        return read_cases(d, key, value, s);
    s->n_cases = 1;
    s->cases = arena_take(&d->r->arena, sizeof *s->cases);
    if (!s->cases)
        return lack_room(d);
    return value->kind == YAML_NODE_MAP ? read_case(d, value, s->cases)
                                        : read_scalars(d, key, value, s->cases);
}

emr_status read_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                           recipe_parameters *p)
{
    emr_status status = EMR_OK;
    if (value->kind != YAML_NODE_MAP)
        return fail_kind(d, key, value, "parameters by name");
    p->settings = arena_take(&d->r->arena, (value->n + 1) * sizeof *p->settings);
    if (!p->settings)
        return lack_room(d);
    for (size_t i = 0; !status && i < value->n; i++) {
        recipe_setting *s = &p->settings[p->n_settings++];
        s->name = value->keys[i]->text;
        s->line = value->keys[i]->line;
        status = read_setting_cases(d, value->keys[i], value->items[i], s);
    }
    return status;
}
