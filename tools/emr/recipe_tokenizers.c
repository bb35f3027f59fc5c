/* recipe_tokenizers.c - where a recipe says that the output has the base's tokenizer, mergekit puts the rows of the other
 * models' embeddings into its order. Here rows stay where they are: whether they mean the same tokens is looked up. */
#include "recipe_job.h"

#include <stdlib.h>
#include <string.h>

/* A side file's bytes, and a zero byte behind them; NULL in *text where a model does not have it. */
static emr_status read_side_file(const emr_model *model, const char *name, char **text, size_t *n,
                                 emr_error *error)
{
    const emr_tensor *file = emr_model_find_tensor(model, name);
    *text = NULL;
    if (!file)
        return EMR_OK;
    *n = (size_t)emr_tensor_bytes(file);
    *text = calloc(1, *n + 1);
    return *text ? emr_tensor_read(file, 0, *text, *n, error) : EMR_ENOMEM;
}

/* Both have a file, of the same bytes. */
static emr_status compare_files(const emr_model *a, const emr_model *b, const char *name, bool *same,
                                emr_error *error)
{
    char *one, *other = NULL;
    size_t n_one = 0, n_other = 0;
    emr_status status = read_side_file(a, name, &one, &n_one, error);
    if (!status)
        status = read_side_file(b, name, &other, &n_other, error);
    *same = !status && one && other && n_one == n_other && memcmp(one, other, n_one) == 0;
    free(one);
    free(other);
    return status;
}

/* Tokens by number, as an object of tokens: a vocabulary is an object of numbers or an array of [token, score]. */
static void take_vocabulary(json_t *tokens, json_t *vocabulary)
{
    const char *token;
    json_t *item;
    size_t i;
    if (json_is_object(vocabulary)) {
        json_object_foreach(vocabulary, token, item)
        {
            json_object_set(tokens, token, item);
        }
    }
    json_array_foreach(vocabulary, i, item)
    {
        token = json_string_value(json_array_get(item, 0));
        if (token)
            json_object_set_new(tokens, token, json_integer((json_int_t)i));
    }
}

static void take_added_tokens(json_t *tokens, json_t *added)
{
    json_t *item;
    size_t i;
    json_array_foreach(added, i, item)
    {
        const char *token = json_string_value(json_object_get(item, "content"));
        if (token && json_is_integer(json_object_get(item, "id")))
            json_object_set(tokens, token, json_object_get(item, "id"));
    }
}

/* What a model's tokenizer.json calls its tokens; NULL in *tokens: it has none, or none that can be read. */
static emr_status read_tokens(const emr_model *model, json_t **tokens, emr_error *error)
{
    char *text;
    size_t n = 0;
    emr_status status = read_side_file(model, "file:tokenizer.json", &text, &n, error);
    json_t *root = status || !text ? NULL : json_loadb(text, n, JSON_ALLOW_NUL, NULL);
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab");
    free(text);
    *tokens = vocabulary ? json_object() : NULL;
    if (vocabulary) {
        take_vocabulary(*tokens, vocabulary);
        take_added_tokens(*tokens, json_object_get(root, "added_tokens"));
    }
    json_decref(root);
    return status;
}

/* The first token that both have under different numbers, or that the base alone has under a number that the model gives
 * to another; NULL: rows mean the same. */
static const char *find_moved_token(json_t *base, json_t *model)
{
    const char *token;
    json_t *number;
    json_int_t end = 0;
    json_object_foreach(model, token, number)
    {
        json_t *here = json_object_get(base, token);
        if (here && json_integer_value(here) != json_integer_value(number))
            return token;
        end = json_integer_value(number) >= end ? json_integer_value(number) + 1 : end;
    }
    json_object_foreach(base, token, number)
    {
        if (!json_object_get(model, token) && json_integer_value(number) < end)
            return token;
    }
    return NULL;
}

static emr_status compare_tokens(const recipe_job *w, size_t i, const emr_model *base, emr_error *error)
{
    const recipe_model *m = &w->recipe.models[i];
    json_t *ours, *theirs = NULL;
    emr_status status = read_tokens(base, &ours, error);
    if (!status)
        status = read_tokens(w->inputs[i].model, &theirs, error);
    const char *moved = ours && theirs ? find_moved_token(ours, theirs) : NULL;
    if (!status && !(ours && theirs))
        status = recipe_fail(&w->recipe, m->line, error,
                             "the tokenizers of '%.200s' and of the base differ, and "
                             "without a tokenizer.json in both they cannot be compared",
                             m->path);
    else if (!status && moved)
        status = recipe_fail(&w->recipe, m->line, error,
                             "token '%.60s' has another row in '%.200s' than in the base: "
                             "rows of embeddings are not put in another order here",
                             moved, m->path);
    json_decref(ours);
    json_decref(theirs);
    return status;
}

static bool has_tokenizer(const emr_model *model)
{
    return emr_model_find_tensor(model, "file:tokenizer.json") ||
           emr_model_find_tensor(model, "file:tokenizer.model");
}

static emr_status check_tokenizer(const recipe_job *w, size_t i, const arguments *a, emr_error *error)
{
    const emr_model *base = w->inputs[w->recipe.base].model, *model = w->inputs[i].model;
    bool is_same = false;
    if (!has_tokenizer(base) || !has_tokenizer(model)) {
        if (!a->quiet)
            complain(
                0,
                "note: %s: line %u: '%.200s' or the base has no tokenizer beside its weights: that rows of "
                "embeddings mean the same tokens is taken for granted",
                w->recipe.name, w->recipe.models[i].line, w->recipe.models[i].path);
        return EMR_OK;
    }
    emr_status status = compare_files(base, model, "file:tokenizer.json", &is_same, error);
    if (!status && !is_same && !emr_model_find_tensor(model, "file:tokenizer.json"))
        status = compare_files(base, model, "file:tokenizer.model", &is_same, error);
    return status || is_same ? status : compare_tokens(w, i, base, error);
}

emr_status check_tokenizers(const recipe_job *w, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    if (!w->recipe.base_tokenizer)
        return EMR_OK;
    for (size_t i = 0; !status && i < w->recipe.n_models; i++)
        if (i != w->recipe.base &&
            strcmp(w->recipe.models[i].path, w->recipe.models[w->recipe.base].path) != 0)
            status = check_tokenizer(w, i, a, error);
    return status;
}
