/* recipe_read.c - what a recipe's topmost keys say (recipe.h). */
#include "recipe_reading.h"

#include <string.h>

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
    d->r->tokenizer_line = value->line;
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
    if (r->base_tokenizer && r->base == RECIPE_NO_MODEL)
        return FAIL(r->tokenizer_line, "the base's tokenizer is asked for, and there is no 'base_model'");
    return r->n_modules ? EMR_OK : FAIL(1, "one of 'models', 'slices' and 'modules' is missing");
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
    return status ? status : settle_bases(d);
}

void recipe_free(recipe *r)
{
    arena_free(&r->arena);
}
