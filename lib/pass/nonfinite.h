/* nonfinite.h - a value that cannot be merged, and the sentence about it. */
#ifndef EMR_PASS_NONFINITE_H
#define EMR_PASS_NONFINITE_H

#include "pass/step.h"

/* Which of two values is not finite; neither, if their difference is not. */
typedef struct emr_nonfinite {
    bool base, task;
} emr_nonfinite;

/* Looks at one parameter of an item, whose bytes are there. `task` is the task's. */
emr_nonfinite emr_nonfinite_examine(const emr_item *item, uint32_t task, size_t at);

/* Fails with EMR_ENONFINITE. */
emr_status emr_nonfinite_fail(const emr_nonfinite *found, const emr_item *item, const emr_task *task,
                              size_t at, emr_error *error);

#endif
