/* missing.c - what --on-missing let pass: tensors of the base that tasks lack. */
#include "cli.h"

/* The next of the base's tensors, from the i-th of the plan on, that a task lacks; NULL: no more. */
static const char *next_missing(const merge_job *j, size_t task, uint32_t *i, emr_plan_tensor *t)
{
    while (emr_merge_get_plan_tensor(j->merge, (*i)++, t) == EMR_OK)
        if (emr_model_find_tensor(j->base, t->name) && !emr_model_find_tensor(j->models[task], t->name))
            return t->name;
    return NULL;
}

json_t *missing_json(const merge_job *j, size_t task)
{
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    json_t *names = json_array();
    uint32_t i = 0;
    for (const char *name; (name = next_missing(j, task, &i, &t));)
        json_array_append_new(names, text_json(name));
    return names;
}

static bool matches_any(const char *const *globs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (emr_glob_matches(globs[i], name))
            return true;
    return false;
}

/* What the policy makes of a tensor that a task lacks. */
static emr_on_missing policy_for(const emr_policy *p, const char *name)
{
    return matches_any(p->absent_globs, p->n_absent_globs, name) ? EMR_ON_MISSING_ABSENT
           : matches_any(p->base_globs, p->n_base_globs, name)   ? EMR_ON_MISSING_BASE
                                                                 : p->on_missing;
}

/* One note about the tensors of which `policy` holds. */
static void note_some(const merge_job *j, const arguments *a, size_t task, emr_on_missing policy,
                      const char *counts, const char *count)
{
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    const char *shown[NAMES_SHOWN];
    char names[NAMES_TEXT];
    size_t n = 0;
    uint32_t i = 0;
    for (const char *name; (name = next_missing(j, task, &i, &t));)
        if (policy_for(&a->policy, name) == policy && n++ < NAMES_SHOWN)
            shown[n - 1] = name;
    if (n)
        complain(0, "note: task '%s': %zu tensor%s of the base %s absent and %s: %s", a->tasks[task].name, n,
                 n == 1 ? "" : "s", n == 1 ? "is" : "are", n == 1 ? counts : count,
                 names_text(shown, n, names));
}

bool knows_policy(const merge_job *j)
{
    emr_bundle_info before = EMR_INIT(emr_bundle_info);
    return j->before && emr_bundle_get_info(j->before, &before) == EMR_OK && before.extendable;
}

void note_missing(const merge_job *j, const arguments *a, size_t task)
{
    if (a->quiet)
        return;
    if (knows_policy(j)) {
        note_some(j, a, task, EMR_ON_MISSING_ERROR, "is treated as the bundle was made to do",
                  "are treated as the bundle was made to do");
        return;
    }
    note_some(j, a, task, EMR_ON_MISSING_BASE, "counts as unchanged", "count as unchanged");
    note_some(j, a, task, EMR_ON_MISSING_ABSENT, "stays absent", "stay absent");
}
