/* modulations.h - what the modulators of a merge's tasks are to be: as given, checked, with every default
 * filled in; and which of the tasks take part in the election. */
#ifndef EMR_MERGE_MODULATIONS_H
#define EMR_MERGE_MODULATIONS_H

#include "emr/merge.h"
#include "align/arrange.h"
#include "bundle/format.h"

struct emr_merge_plan;

typedef struct emr_modulations {
    emr_modulation_spec *specs; /* one a task, nothing left open */
    /* The numbers of the tasks that are elected, in their order, and of those that are coded by themselves;
     * of a bundle that is copied, its tasks are neither. */
    uint32_t *elected, *coded;
    uint32_t *places; /* of each task, in the one or the other */
    uint32_t n_elected, n_coded;
    emr_mask_rule mask_rule; /* of all that are elected */
} emr_modulations;

/* Takes a spec by the size rule. EMR_EINVAL: what no task can be. */
emr_status emr_modulation_take(emr_modulation_spec *taken, const emr_modulation_spec *given,
                               emr_error *error);

/* What each task's is: `given[t]`, or where that is of size 0 the plan's common one; of tasks from a bundle
 * what it is there. Settles what the plan's options leave open, and whether its bundle is copied.
 * EMR_EINVAL: tasks with a unified vector that do not agree, or what cannot be added. */
emr_status emr_modulations_settle(struct emr_merge_plan *plan, const emr_task *tasks, uint32_t n_tasks,
                                  const emr_modulation_spec *given, emr_error *error);
void emr_modulations_free(emr_modulations *modulations, const emr_allocator *allocator);

/* Whether a task is elected in this merge, or coded by itself. */
static inline bool emr_modulations_elect(const emr_modulations *m, uint32_t task)
{
    return m->places[task] < m->n_elected && m->elected[m->places[task]] == task;
}

static inline bool emr_modulations_code(const emr_modulations *m, uint32_t task)
{
    return m->places[task] < m->n_coded && m->coded[m->places[task]] == task;
}

/* As the bundle has it, but for what only the run can tell. */
emr_modulator_record emr_modulation_record(const emr_modulation_spec *spec);

/* Whether its tasks have a unified vector. */
bool emr_modulation_is_elected(const emr_modulation_spec *spec);

#endif
