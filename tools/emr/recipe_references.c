/* recipe_references.c - the models that a recipe names, each in its list once. */
#include "recipe_reading.h"

#include <string.h>

static bool same_adapter(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : !a && !b;
}

/* Its number in the recipe's list. */
static emr_status number_model(const recipe_reader *d, const recipe_model *model, size_t *number)
{
    recipe *r = d->r;
    for (size_t i = 0; i < r->n_models; i++) {
        if (strcmp(r->models[i].path, model->path) == 0 &&
            same_adapter(r->models[i].adapter, model->adapter)) {
            *number = i;
            return EMR_OK;
        }
    }
    enum { MODELS_MAX = 1000 };
    recipe_model *models = arena_grow(&r->arena, r->models, r->n_models, sizeof *models);
    if (!models)
        return lack_room(d);
    if (r->n_models == MODELS_MAX)
        return FAIL(model->line, "this is more than %d models", MODELS_MAX);
    r->models = models;
    r->models[r->n_models] = *model;
    *number = r->n_models++;
    return EMR_OK;
}

/* MODEL or MODEL+ADAPTER. */
static emr_status split_model(const recipe_reader *d, const yaml_node *value, recipe_model *model)
{
    const char *text = value->text, *plus = strchr(text, '+');
    model->line = value->line;
    if (strchr(text, '@'))
        return FAIL(
            value->line,
            "'%.200s' names a revision, and nothing is downloaded: give the folder that it was downloaded "
            "to (one with '@' in its path as {model: {path: ...}})",
            text);
    if (plus && (strchr(plus + 1, '+') || plus == text || !plus[1]))
        return FAIL(value->line,
                    "'%.200s' must be MODEL or MODEL+ADAPTER (a path with '+' in it as {model: {path: ...}})",
                    text);
    model->path = plus ? arena_text(&d->r->arena, text, (size_t)(plus - text)) : text;
    model->adapter = plus ? plus + 1 : NULL;
    return model->path ? EMR_OK : lack_room(d);
}

static emr_status read_path(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                            void *target)
{
    return read_word(d, key, value, target);
}

/* A path, or {path: ...}. */
static emr_status read_place(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             void *target)
{
    static const recipe_key keys[] = {{"path", read_path}, {NULL, NULL}};
    const char **path = target;
    emr_status status =
        value->kind == YAML_NODE_MAP ? read_keys(d, value, keys, path) : read_word(d, key, value, path);
    return status || *path ? status : fail_kind(d, key, value, "a path");
}

static emr_status read_inner_model(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                   void *target)
{
    return read_place(d, key, value, &((recipe_model *)target)->path);
}

static emr_status read_inner_adapter(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                     void *target)
{
    return read_place(d, key, value, &((recipe_model *)target)->adapter);
}

emr_status read_model(const recipe_reader *d, const yaml_node *key, const yaml_node *value, size_t *number)
{
    static const recipe_key keys[] = {
        {"model", read_inner_model}, {"lora", read_inner_adapter}, {NULL, NULL}};
    recipe_model model = {.line = value->line};
    emr_status status;
    if (value->kind == YAML_NODE_SCALAR && *value->text)
        status = split_model(d, value, &model);
    else if (value->kind == YAML_NODE_MAP)
        status = read_keys(d, value, keys, &model);
    else
        status = fail_kind(d, key, value, "a model");
    if (!status && !model.path)
        status = fail_kind(d, key, value, "a model");
    return status ? status : number_model(d, &model, number);
}
