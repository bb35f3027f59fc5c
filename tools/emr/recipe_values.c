/* recipe_values.c - what a recipe's settings are for one tensor: filters, gradients, levels (recipe.h). Positions in a
 * gradient are computed in doubles, as mergekit does. */
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

static bool is_word_of(const char *const *words, const char *text)
{
    for (; *words; words++) {
        size_t i = 0;
        while ((*words)[i] && (text[i] | 0x20) == (*words)[i])
            i++;
        if (!(*words)[i] && !text[i])
            return true;
    }
    return false;
}

/* What is read as a flag: 1, 0, or -1: no such word. */
static int flag_of(const char *text)
{
    static const char *const yes[] = {"true", "yes", "on", "y", "t", NULL}, *const no[] = {"false", "no",
                                                                                           "off",   "n",
                                                                                           "f",     NULL};
    return is_word_of(yes, text) ? 1 : is_word_of(no, text) ? 0 : -1;
}

bool recipe_scalar(const yaml_node *scalar, const emr_method_parameter *p, double *value)
{
    const char *text = scalar->text;
    char *end;
    int flag = p->is_whole ? flag_of(text) : -1;
    *value = flag;
    if (flag >= 0)
        return true;
    if (!*text || strlen(text) > 40 || strspn(text, "0123456789+-.eE") != strlen(text) ||
        (*text == '0' && text[1] >= '0' && text[1] <= '9')) /* which YAML reads as octal */
        return false;
    *value = strtod(text, &end);
    return !*end && *value - *value == 0;
}

static bool is_choice(const recipe_case *c, const emr_method_parameter *p)
{
    bool is_switch = p->is_whole && p->most < 2;
    for (size_t i = 0; p->is_whole && i < c->n_values; i++)
        is_switch = is_switch || flag_of(c->values[i]->text) >= 0;
    return is_switch;
}

/* Of a case that fits; false: an empty list, which says nothing. */
static bool case_value(const recipe_case *c, const emr_method_parameter *p, double t, double *value)
{
    double scaled = t * (double)(c->n_values - 1), next;
    if (!c->n_values)
        return false;
    if (!c->is_list)
        return recipe_scalar(c->values[0], p, value);
    size_t i = (size_t)scaled, j = i + 1 < c->n_values ? i + 1 : c->n_values - 1;
    double part = scaled - (double)i;
    if (!recipe_scalar(c->values[i], p, value) || !recipe_scalar(c->values[j], p, &next))
        return false;
    if (!is_choice(c, p))
        *value = (1 - part) * *value + part * next;
    return true;
}

static bool setting_value(const recipe_parameters *level, const recipe_place *place,
                          const emr_method_parameter *p, double *value)
{
    for (size_t i = 0; i < level->n_settings; i++) {
        const recipe_setting *s = &level->settings[i];
        if (strcmp(s->name, p->name) != 0)
            continue;
        for (size_t k = 0; k < s->n_cases; k++)
            if (!s->cases[k].filter || strstr(place->tensor, s->cases[k].filter))
                return case_value(&s->cases[k], p, place->t, value);
    }
    return false;
}

double recipe_value(const recipe *r, const recipe_place *place, const emr_method_parameter *p)
{
    const recipe_parameters *levels[] = {place->source ? &place->source->parameters : NULL,
                                         &place->slice->parameters, &place->module->parameters,
                                         &r->parameters};
    double value;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (levels[i] && setting_value(levels[i], place, p, &value))
            return value;
    return p->initial;
}
