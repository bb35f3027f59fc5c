/* missing.c - what --on-missing let pass: tensors of the base that tasks lack. */
#include "cli.h"

#include <stdlib.h>

/* The next tensor of the base, from the i-th of the plan on, that a task lacks; NULL where there are no more. The
 * private ones are nobody's but their tasks'. */
static const char *next_missing(const merge_job *j, const emr_model *task, uint32_t *i)
{
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    while (emr_merge_get_plan_tensor(j->merge, (*i)++, &t) == EMR_OK)
        if (t.action != EMR_ACTION_PRIVATE && !emr_model_find_tensor(task, t.name))
            return t.name;
    return NULL;
}

json_t *missing_json(const merge_job *j, size_t task)
{
    json_t *names = json_array();
    uint32_t i = 0;
    for (const char *name; (name = next_missing(j, j->models[task], &i));)
        json_array_append_new(names, text_json(name));
    return names;
}

void note_missing(const merge_job *j, const arguments *a, size_t task)
{
    const char *shown[NAMES_SHOWN];
    char names[NAMES_TEXT];
    size_t n = 0;
    uint32_t i = 0;
    for (const char *name; (name = next_missing(j, j->models[task], &i)); n++)
        if (n < NAMES_SHOWN)
            shown[n] = name;
    if (!n || a->quiet)
        return;
    const char *is = n == 1 ? "is" : "are";
    bool stays = a->policy.on_missing > EMR_ON_MISSING_BASE;
    complain(0, "note: task '%s': %zu tensor%s of the base %s absent and %s: %s", a->tasks[task].name, n,
             n == 1 ? "" : "s", is,
             stays    ? "will be again"
             : n == 1 ? "counts as unchanged"
                      : "count as unchanged",
             names_text(shown, n, names));
}
