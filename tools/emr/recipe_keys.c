/* recipe_keys.c - see recipe_reading.h: keys of a recipe's maps, and what is said of those that are none. */
#include "recipe_reading.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

emr_status recipe_fail(const recipe *r, unsigned line, emr_error *error, const char *format, ...)
{
    char text[600];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return emr_error_format(error, EMR_EINVAL, "%F: line %u: %s", r->name, (uint64_t)line, text);
}

emr_status lack_room(const recipe_reader *d)
{
    return emr_error_format(d->error, EMR_ENOMEM, "%F: out of memory", d->r->name);
}

emr_status fail_kind(const recipe_reader *d, const yaml_node *key, const yaml_node *value, const char *what)
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

emr_status read_keys(const recipe_reader *d, const yaml_node *map, const recipe_key *keys, void *target)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < map->n; i++) {
        const recipe_key *k = keys;
        while (k->name && strcmp(k->name, map->keys[i]->text) != 0)
            k++;
        bool is_absent = yaml_is_null(map->items[i]);
        if (!k->name && !(is_absent && explain_key(map->keys[i]->text)))
            status = fail_key(d, map->keys[i], keys);
        else if (!is_absent)
            status = k->read(d, map->keys[i], map->items[i], target);
    }
    return status;
}

emr_status read_word(const recipe_reader *d, const yaml_node *key, const yaml_node *value, const char **text)
{
    if (value->kind != YAML_NODE_SCALAR || !*value->text)
        return fail_kind(d, key, value, "a word");
    *text = value->text;
    return EMR_OK;
}
