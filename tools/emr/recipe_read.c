/* recipe_read.c - what a recipe's keys say: its nodes as a recipe (recipe.h). */
#include "recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct recipe_reader {
    recipe *r;
    emr_error *error;
} recipe_reader;

/* Reads the value of a key into `target`. */
typedef emr_status (*key_fn)(const recipe_reader *reader, const yaml_node *key, const yaml_node *value,
                             void *target);
typedef struct recipe_key {
    const char *name;
    key_fn read;
} recipe_key;

emr_status recipe_fail(const recipe *r, unsigned line, emr_error *error, const char *format, ...)
{
    char text[600];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return emr_error_format(error, EMR_EINVAL, "%F: line %u: %s", r->name, (uint64_t)line, text);
}

static emr_status lack_room(const recipe_reader *d)
{
    return emr_error_format(d->error, EMR_ENOMEM, "%F: out of memory", d->r->name);
}

#define FAIL(line, ...) recipe_fail(d->r, (line), d->error, __VA_ARGS__)

static emr_status fail_kind(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                            const char *what)
{
    return FAIL(value->line, "'%.100s' must be %s", key->text, what);
}

/* Keys that mean something to mergekit, or that people write in the wrong place. */
static const char *explain_key(const char *key)
{
    static const struct {
        const char *key, *why;
    } known[] = {
        {"chat_template", "chat templates are not made here: the output has the base's"},
        {"residual_weight", "it does nothing in mergekit, and is not read here"},
        {"experts", "mixtures of experts (mergekit-moe) are not made here"},
        {"experts_per_token", "mixtures of experts (mergekit-moe) are not made here"},
        {"gate_mode", "mixtures of experts (mergekit-moe) are not made here"},
        {"weight", "it belongs under 'parameters'"},
        {"density", "it belongs under 'parameters'"},
        {"t", "it belongs under 'parameters'"},
        {"normalize", "it belongs under 'parameters'"},
        {"int8_mask", "it belongs under 'parameters'"},
        {"<<", "merge keys are not read"},
        {"revision", "nothing is downloaded: give the folder of that revision"},
        {"override_architecture", "architectures are told by names of tensors"},
        {"tokens", "tokenizers are not made here: 'source: base' is what can be done"},
        {"pad_to_multiple_of", "tokenizers are not made here: 'source: base' is what can be done"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].key, key) == 0)
            return known[i].why;
    return NULL;
}

static emr_status fail_key(const recipe_reader *d, const yaml_node *key, const recipe_key *keys)
{
    char known[200] = "";
    size_t at = 0;
    const char *why = explain_key(key->text);
    if (why)
        return FAIL(key->line, "'%.100s' cannot stand here: %s", key->text, why);
    for (; keys->name && at < sizeof known; keys++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", keys->name);
    return FAIL(key->line, "'%.100s' is no key that is known here: %s are", key->text, known);
}

/* Each key of a map, in its order; one without a value counts as absent. */
static emr_status read_keys(const recipe_reader *d, const yaml_node *map, const recipe_key *keys,
                            void *target)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < map->n; i++) {
        const recipe_key *k = keys;
        while (k->name && strcmp(k->name, map->keys[i]->text) != 0)
            k++;
        if (!k->name)
            status = fail_key(d, map->keys[i], keys);
        else if (!yaml_is_null(map->items[i]))
            status = k->read(d, map->keys[i], map->items[i], target);
    }
    return status;
}

static emr_status read_word(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                            const char **text)
{
    if (value->kind != YAML_NODE_SCALAR || !*value->text)
        return fail_kind(d, key, value, "a word");
    *text = value->text;
    return EMR_OK;
}

/* -------- parameters */

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

static emr_status read_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
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

/* -------- models */

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

/* A model wherever one is named: a word, or {model: ..., lora: ...}. */
static emr_status read_model(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             size_t *number)
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

/* -------- sources, slices, modules */

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

static emr_status read_module_slices(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
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
static emr_status read_module_models(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
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

static emr_status read_module(const recipe_reader *d, const yaml_node *name, const yaml_node *node,
                              recipe_module *m)
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

/* -------- the recipe */

static emr_status take_modules(const recipe_reader *d, const yaml_node *key, size_t n)
{
    recipe *r = d->r;
    if (r->n_modules)
        return FAIL(key->line, "of 'models', 'slices' and 'modules' one alone can be there");
    r->modules = arena_take(&r->arena, (n + 1) * sizeof *r->modules);
    r->n_modules = n;
    return r->modules ? EMR_OK : lack_room(d);
}

static emr_status read_whole(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             key_fn read)
{
    emr_status status = take_modules(d, key, 1);
    if (status)
        return status;
    d->r->modules[0] = (recipe_module){.line = key->line};
    return read(d, key, value, &d->r->modules[0]);
}

static emr_status read_models(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    (void)target;
    return read_whole(d, key, value, read_module_models);
}

static emr_status read_slices(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    (void)target;
    return read_whole(d, key, value, read_module_slices);
}

static emr_status read_modules(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                               void *target)
{
    (void)target;
    if (value->kind != YAML_NODE_MAP || !value->n)
        return fail_kind(d, key, value, "modules by name");
    emr_status status = take_modules(d, key, value->n);
    for (size_t i = 0; !status && i < value->n; i++)
        status = read_module(d, value->keys[i], value->items[i], &d->r->modules[i]);
    return status;
}

static emr_status read_method(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                              void *target)
{
    (void)target;
    const char *name = NULL;
    emr_status status = read_word(d, key, value, &name);
    if (status)
        return status;
    d->r->method = emr_method_find(name);
    return d->r->method ? EMR_OK
                        : FAIL(value->line,
                               "there is no merge_method '%.100s' (emr combine --methods lists them)", name);
}

static emr_status read_base(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                            void *target)
{
    (void)target;
    return read_model(d, key, value, &d->r->base);
}

static emr_status read_top_parameters(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                      void *target)
{
    (void)target;
    return read_parameters(d, key, value, &d->r->parameters);
}

static emr_status read_type(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                            emr_dtype *dtype)
{
    static const struct {
        const char *name;
        emr_dtype dtype;
    } types[] = {{"float32", EMR_DTYPE_F32},
                 {"float16", EMR_DTYPE_F16},
                 {"bfloat16", EMR_DTYPE_BF16},
                 {"float64", EMR_DTYPE_F64}};
    static const char prefix[] = "torch.";
    const char *name = NULL;
    emr_status status = read_word(d, key, value, &name);
    if (status)
        return status;
    if (strncmp(name, prefix, strlen(prefix)) == 0)
        name += strlen(prefix);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *dtype = types[i].dtype;
            return EMR_OK;
        }
    }
    return FAIL(value->line, "'%.100s' must be float32, float16, bfloat16 or float64, not '%.100s'",
                key->text, name);
}

static emr_status read_dtype(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                             void *target)
{
    (void)target;
    return read_type(d, key, value, &d->r->dtype);
}

static emr_status read_out_dtype(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                 void *target)
{
    (void)target;
    return read_type(d, key, value, &d->r->out_dtype);
}

static emr_status read_tokenizer_source(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                        void *target)
{
    (void)target;
    d->r->base_tokenizer = true;
    if (value->kind == YAML_NODE_SCALAR && strcmp(value->text, "base") == 0)
        return EMR_OK;
    return FAIL(value->line, "'%.100s' other than 'base' cannot be done: tokenizers are not joined here",
                key->text);
}

static emr_status read_tokenizer(const recipe_reader *d, const yaml_node *key, const yaml_node *value,
                                 void *target)
{
    static const recipe_key keys[] = {{"source", read_tokenizer_source}, {NULL, NULL}};
    if (value->kind != YAML_NODE_MAP)
        return fail_kind(d, key, value, "a map with 'source'");
    emr_status status = read_keys(d, value, keys, target);
    return status || d->r->base_tokenizer
               ? status
               : FAIL(key->line,
                      "'tokenizer' without 'source: base' joins tokenizers, which is not done here");
}

static const recipe_key top_keys[] = {{"merge_method", read_method},
                                      {"models", read_models},
                                      {"slices", read_slices},
                                      {"modules", read_modules},
                                      {"base_model", read_base},
                                      {"parameters", read_top_parameters},
                                      {"dtype", read_dtype},
                                      {"out_dtype", read_out_dtype},
                                      {"tokenizer_source", read_tokenizer_source},
                                      {"tokenizer", read_tokenizer},
                                      {NULL, NULL}};

static emr_status check_parts(const recipe_reader *d)
{
    const recipe *r = d->r;
    if (!r->method)
        return FAIL(1, "'merge_method' is missing");
    return r->n_modules ? EMR_OK : FAIL(1, "one of 'models', 'slices' and 'modules' is missing");
}

/* Models as a whole have the base as their last source, if it is none yet. */
static void add_base_source(const recipe *r, recipe_slice *slice)
{
    for (size_t i = 0; i < slice->n_sources; i++)
        if (slice->sources[i].model == r->base)
            return;
    slice->sources[slice->n_sources++] = (recipe_source){.model = r->base, .line = slice->line};
}

/* Of slerp it is mergekit that asks for one, where t is 0. */
static bool needs_base(const emr_method *m)
{
    return m->base == EMR_METHOD_BASE_REQUIRED || m->base == EMR_METHOD_BASE_BESIDE ||
           strcmp(m->name, "slerp") == 0;
}

/* Every slice's base is one of its sources, or there is none. */
static emr_status settle_base(const recipe_reader *d, const recipe_module *m, recipe_slice *slice)
{
    const recipe *r = d->r;
    bool needs_one = needs_base(r->method);
    if (slice->base == RECIPE_NO_MODEL)
        slice->base = r->base;
    if (slice->base == RECIPE_NO_MODEL)
        return needs_one ? FAIL(slice->line, "%s needs a 'base_model'", r->method->name) : EMR_OK;
    if (!m->has_ranges)
        add_base_source(r, slice);
    for (size_t i = 0; i < slice->n_sources; i++)
        if (slice->sources[i].model == slice->base)
            return EMR_OK;
    if (needs_one || r->method->base == EMR_METHOD_BASE_OPTIONAL)
        return FAIL(slice->line, "the base_model '%.200s' must be one of the slice's sources with %s",
                    r->models[slice->base].path, r->method->name);
    slice->base = RECIPE_NO_MODEL; /* an input like others, which is none here */
    return EMR_OK;
}

static emr_status settle_bases(const recipe_reader *d)
{
    emr_status status = EMR_OK;
    for (size_t m = 0; m < d->r->n_modules; m++)
        for (size_t s = 0; !status && s < d->r->modules[m].n_slices; s++)
            status = settle_base(d, &d->r->modules[m], &d->r->modules[m].slices[s]);
    return status;
}

/* How many inputs each slice has, and may have. */
static emr_status check_counts(const recipe_reader *d, const recipe_slice *slice)
{
    const emr_method *method = d->r->method;
    size_t n_tasks =
        slice->n_sources - (slice->base != RECIPE_NO_MODEL && method->base != EMR_METHOD_BASE_INPUT);
    size_t least = method->min_tasks ? method->min_tasks : 1;
    if (method->base == EMR_METHOD_BASE_INPUT)
        return EMR_OK; /* the method's own matter: the base may count */
    if (n_tasks < least)
        return FAIL(slice->line, "%s needs at least %zu model%s%s here, not %zu", method->name, least,
                    least == 1 ? "" : "s", method->base ? " besides the base" : "", n_tasks);
    if (method->max_tasks && n_tasks > method->max_tasks)
        return FAIL(slice->line, "%s takes at most %u model%s%s here, not %zu", method->name,
                    method->max_tasks, method->max_tasks == 1 ? "" : "s",
                    method->base ? " besides the base" : "", n_tasks);
    return EMR_OK;
}

static emr_status check_all_counts(const recipe_reader *d)
{
    emr_status status = EMR_OK;
    for (size_t m = 0; m < d->r->n_modules; m++)
        for (size_t s = 0; !status && s < d->r->modules[m].n_slices; s++)
            status = check_counts(d, &d->r->modules[m].slices[s]);
    return status;
}

emr_status recipe_read(recipe *r, const char *text, size_t n, const char *name, emr_error *error)
{
    const recipe_reader reader = {r, error}, *d = &reader;
    yaml_node *root;
    *r = (recipe){.name = name, .base = RECIPE_NO_MODEL};
    if (n > RECIPE_BYTES_MAX)
        return emr_error_format(error, EMR_EINVAL, "%F: this is more than 1 MiB, and no recipe", name);
    emr_status status = yaml_read(&root, &r->arena, text, n, name, error);
    if (!status && root->kind != YAML_NODE_MAP)
        status = FAIL(root->line, "a recipe is a map of keys");
    if (!status)
        status = read_keys(d, root, top_keys, NULL);
    if (!status)
        status = check_parts(d);
    if (!status)
        status = settle_bases(d);
    return status ? status : check_all_counts(d);
}

void recipe_free(recipe *r)
{
    arena_free(&r->arena);
}
