/* recipe_check.c - whether a recipe's method has the parameters that are set, and these values (recipe.h). */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum recipe_level { LEVEL_SHARED, LEVEL_SOURCE, LEVEL_BASE } recipe_level;

static emr_status note_setting(recipe *r, const recipe_setting *s, const char *text, emr_error *error)
{
    recipe_note *notes = arena_grow(&r->arena, r->notes, r->n_notes, sizeof *notes);
    char *copy = arena_take(&r->arena, strlen(text) + strlen(s->name) + 3);
    if (!notes || !copy)
        return emr_error_format(error, EMR_ENOMEM, "%F: out of memory", r->name);
    r->notes = notes;
    strcat(strcat(strcat(strcpy(copy, "'"), s->name), "'"), text);
    r->notes[r->n_notes++] = (recipe_note){copy, s->line};
    return EMR_OK;
}

static const emr_method_parameter *parameter_of(const emr_method *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_parameters; i++)
        if (strcmp(m->parameters[i].name, name) == 0)
            return &m->parameters[i];
    return NULL;
}

/* Some other method has it, or mergekit's have. */
static bool is_known_parameter(const char *name)
{
    static const char *const others[] = {"int8_mask", "weight", "density", "normalize", "rescale",
                                         "lambda",    "gamma",  "epsilon", "t",         NULL};
    for (const char *const *o = others; *o; o++)
        if (strcmp(*o, name) == 0)
            return true;
    for (uint32_t i = 0; emr_method_at(i); i++)
        if (parameter_of(emr_method_at(i), name))
            return true;
    return false;
}

static emr_status check_values(const recipe *r, const recipe_setting *s, const emr_method_parameter *p,
                               emr_error *error)
{
    double value;
    for (size_t k = 0; k < s->n_cases; k++) {
        for (size_t i = 0; i < s->cases[k].n_values; i++) {
            const yaml_node *scalar = s->cases[k].values[i];
            if (!recipe_scalar(scalar, p, &value))
                return recipe_fail(r, scalar->line, error, "'%.100s': '%.100s' is no number%s", s->name,
                                   scalar->text, p->is_whole ? ", true or false" : "");
            if (value < p->least || value > p->most)
                return recipe_fail(r, scalar->line, error, "'%.100s': %.100s is not from %.9g to %.9g",
                                   s->name, scalar->text, p->least, p->most);
            if (p->is_whole && !s->cases[k].is_list && value != trunc(value))
                return recipe_fail(r, scalar->line, error, "'%.100s': %.100s is no whole number", s->name,
                                   scalar->text);
        }
    }
    return EMR_OK;
}

/* mergekit passes over what a method does not have; so do we, but say it. int8_mask changes no result. */
static emr_status check_setting(recipe *r, const recipe_setting *s, recipe_level level, emr_error *error)
{
    const emr_method_parameter *p = parameter_of(r->method, s->name);
    char text[200];
    if (!p && !is_known_parameter(s->name))
        return recipe_fail(r, s->line, error,
                           "%s has no parameter '%.100s' (emr combine --methods lists them)", r->method->name,
                           s->name);
    if (!p && strcmp(s->name, "int8_mask") == 0)
        return EMR_OK;
    if (!p || level == LEVEL_BASE) {
        snprintf(text, sizeof text, " %s does nothing with %s", p ? "of the base" : "", r->method->name);
        return note_setting(r, s, p ? text : text + 1, error);
    }
    emr_status status = check_values(r, s, p, error);
    if (!status && level == LEVEL_SOURCE && !p->per_task)
        status = note_setting(r, s, " does nothing here: it is one value for all models", error);
    return status;
}

static emr_status check_level(recipe *r, const recipe_parameters *level, recipe_level kind, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < level->n_settings; i++)
        status = check_setting(r, &level->settings[i], kind, error);
    return status;
}

static emr_status check_slice(recipe *r, const recipe_slice *slice, emr_error *error)
{
    emr_status status = check_level(r, &slice->parameters, LEVEL_SHARED, error);
    for (size_t i = 0; !status && i < slice->n_sources; i++) {
        const recipe_source *s = &slice->sources[i];
        bool is_apart = s->model == slice->base && r->method->base != EMR_METHOD_BASE_INPUT;
        status = check_level(r, &s->parameters, is_apart ? LEVEL_BASE : LEVEL_SOURCE, error);
    }
    return status;
}

emr_status recipe_check(recipe *r, emr_error *error)
{
    emr_status status = check_level(r, &r->parameters, LEVEL_SHARED, error);
    for (size_t m = 0; !status && m < r->n_modules; m++) {
        status = check_level(r, &r->modules[m].parameters, LEVEL_SHARED, error);
        for (size_t s = 0; !status && s < r->modules[m].n_slices; s++)
            status = check_slice(r, &r->modules[m].slices[s], error);
    }
    return status;
}
