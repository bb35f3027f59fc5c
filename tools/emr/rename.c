/* rename.c - the names under which tensors are merged: --rename. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool rule_matches(const rename_rule *rule, const char *name)
{
    const char *star = strchr(rule->from, '*');
    if (!star)
        return strncmp(name, rule->from, strlen(rule->from)) == 0;
    size_t n = strlen(name), before = (size_t)(star - rule->from), after = strlen(star + 1);
    return n >= before + after && strncmp(name, rule->from, before) == 0 &&
           strcmp(name + n - after, star + 1) == 0;
}

static bool is_rule_for(const rename_rule *rule, long of)
{
    return rule->of == of || (rule->of == RENAME_TASKS && of != RENAME_BASE);
}

/* The rules that rename something in a model: in each name the first that matches does. */
static uint32_t choose_rules(const arguments *a, long of, const emr_model *model, emr_rename *chosen,
                             bool *used)
{
    uint32_t n = 0;
    memset(used, 0, a->n_rules * sizeof *used);
    for (uint32_t t = 0; t < emr_model_n_tensors(model); t++) {
        const char *name = emr_tensor_name(emr_model_tensor(model, t));
        size_t i = is_no_weight(name) ? a->n_rules : 0;
        while (i < a->n_rules && !(is_rule_for(&a->rules[i], of) && rule_matches(&a->rules[i], name)))
            i++;
        if (i < a->n_rules)
            used[i] = true;
    }
    for (size_t i = 0; i < a->n_rules; i++)
        if (used[i])
            chosen[n++] = (emr_rename){a->rules[i].from, a->rules[i].to};
    return n;
}

emr_status rename_tensors(emr_model **model, emr_model **original, const arguments *a, long of,
                          emr_error *error)
{
    *original = NULL;
    if (!a->n_rules)
        return EMR_OK;
    emr_rename *chosen = calloc(a->n_rules, sizeof *chosen);
    bool *used = calloc(a->n_rules, sizeof *used);
    emr_status status = chosen && used ? EMR_OK : EMR_ENOMEM;
    uint32_t n = status ? 0 : choose_rules(a, of, *model, chosen, used);
    for (size_t i = 0; n && i < a->n_rules; i++)
        a->rules[i].used = a->rules[i].used || used[i];
    if (n) {
        *original = *model;
        status = emr_model_create_renamed(model, *original, chosen, n, NULL, error);
    }
    free(chosen);
    free(used);
    return status;
}

emr_status check_rules_used(const arguments *a, emr_error *error)
{
    for (size_t i = 0; i < a->n_rules; i++) {
        const rename_rule *r = &a->rules[i];
        const char *of = r->of == RENAME_BASE ? "the base" : r->of == RENAME_TASKS ? "any task" : "that task";
        if (!r->used)
            return fail_with(error, EMR_EINVAL, NULL, "--rename: '%s' renames no tensor of %s", r->word, of);
    }
    return EMR_OK;
}
