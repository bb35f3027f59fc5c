/* combine_settings.c - methods and their parameters on the command line: --set [TASK.]PARAMETER=VALUE[:GLOB], the
 * weights behind --task; and notes about patterns that fit nothing. */
#define _POSIX_C_SOURCE 200809L

#include "combining.h"

#include <stdlib.h>
#include <string.h>

emr_status find_method(const emr_method **method, const char *name, emr_error *error)
{
    char known[600] = "";
    size_t at = 0;
    *method = emr_method_find(name);
    if (*method)
        return EMR_OK;
    for (uint32_t i = 0; emr_method_at(i) && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", emr_method_at(i)->name);
    return fail_with(error, EMR_ENOTFOUND, NULL, "there is no method '%.100s'; there are %s", name, known);
}

uint32_t find_parameter(const emr_method *method, const char *name)
{
    uint32_t i = 0;
    while (i < method->n_parameters && strcmp(method->parameters[i].name, name) != 0)
        i++;
    return i;
}

bool is_flag(const emr_method_parameter *p)
{
    return p->is_whole && !(p->least < 0) && !(p->least > 0) && !(p->most < 1) && !(p->most > 1);
}

/* A word of --set, taken apart. */
typedef struct setting_word {
    char *text; /* that the others point into */
    const char *parameter, *glob;
    double value;
    uint32_t task;
} setting_word;

static emr_status name_task(setting_word *w, const char *task, const arguments *a, emr_error *error)
{
    for (size_t i = 0; i < a->n_tasks; i++) {
        if (strcmp(a->tasks[i].name, task) == 0 && a->base && strcmp(task, "base") == 0)
            return fail_with(error, EMR_EINVAL, NULL,
                             "--set: 'base' is the base and a task: give the task another name");
        if (strcmp(a->tasks[i].name, task) == 0) {
            w->task = (uint32_t)i;
            return EMR_OK;
        }
    }
    w->task = EMR_BASE;
    if (strcmp(task, "base") == 0 && a->base)
        return EMR_OK;
    return fail_with(error, EMR_EINVAL, NULL, "--set: '%.300s' is no task here", task);
}

/* Tasks may have dots in their names, parameters have none. */
static emr_status read_setting(setting_word *w, const char *word, const arguments *a, emr_error *error)
{
    w->task = EMR_EVERY_TASK;
    w->text = strdup(word);
    if (!w->text)
        return EMR_ENOMEM;
    char *equals = strchr(w->text, '='), *end = equals ? equals + 1 + strcspn(equals + 1, ":") : NULL;
    if (!equals || equals == w->text)
        return fail_with(error, EMR_EINVAL, NULL, "--set: '%.300s' must be [TASK.]PARAMETER=VALUE[:GLOB]",
                         word);
    if (!parse_number(equals + 1, end, &w->value))
        return fail_with(error, EMR_EINVAL, NULL, "--set: '%.300s': the value is no number, true or false",
                         word);
    if (*end && !end[1])
        return fail_with(error, EMR_EINVAL, NULL, "--set: '%.300s' has no pattern", word);
    w->glob = *end ? end + 1 : NULL;
    *equals = '\0';
    char *dot = strrchr(w->text, '.');
    w->parameter = dot ? dot + 1 : w->text;
    if (!dot)
        return EMR_OK;
    *dot = '\0';
    return name_task(w, w->text, a, error);
}

static emr_status apply_word(emr_combination *c, const char *word, const arguments *a, emr_error *error)
{
    setting_word w = {0};
    emr_status status = read_setting(&w, word, a, error);
    if (!status)
        status = emr_combination_set_parameter(c, w.parameter, w.task, w.glob, w.value, error);
    free(w.text);
    return status;
}

emr_status apply_settings(emr_combination *c, const combine_job *j, const arguments *a, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < a->n_tasks; i++) {
        if (!a->tasks[i].has_weight)
            continue;
        if (find_parameter(j->method, "weight") == j->method->n_parameters)
            status = fail_with(
                error, EMR_EINVAL, NULL,
                "--task: '%.255s' has a weight behind its checkpoint, and %s has no parameter weight",
                a->tasks[i].name, j->method->name);
        else
            status = emr_combination_set_parameter(c, "weight", (uint32_t)i, NULL, a->tasks[i].weight, error);
    }
    for (size_t i = 0; !status && i < a->n_set_words; i++)
        status = apply_word(c, a->set_words[i], a, error);
    return status;
}

static bool has_match(const emr_model *model, const char *glob)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++)
        if (emr_glob_matches(glob, emr_tensor_name(emr_model_tensor(model, i))))
            return true;
    return false;
}

static void note_idle_glob(const merge_job *inputs, const arguments *a, const char *option, const char *glob)
{
    bool is_used = inputs->base && has_match(inputs->base, glob);
    for (size_t i = 0; !is_used && i < a->n_tasks; i++)
        is_used = has_match(inputs->models[i], glob);
    if (!is_used)
        complain(0, "note: %s: '%.300s' matches no tensor", option, glob);
}

void note_idle_globs(const merge_job *inputs, const arguments *a)
{
    for (size_t i = 0; i < a->n_set_words; i++) {
        const char *colon = strchr(a->set_words[i] + strcspn(a->set_words[i], "="), ':');
        if (colon)
            note_idle_glob(inputs, a, "--set", colon + 1);
    }
    for (size_t i = 0; i < a->policy.n_private_globs; i++)
        note_idle_glob(inputs, a, "--keep", a->policy.private_globs[i]);
    for (size_t i = 0; i < a->policy.n_merge_globs; i++)
        note_idle_glob(inputs, a, "--merge", a->policy.merge_globs[i]);
}
