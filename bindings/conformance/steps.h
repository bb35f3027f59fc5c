/* steps.h - the steps of cases. Each does what `step` says, adds what comes out to `result`, and fails as the library does. */
#ifndef EMR_CONFORMANCE_STEPS_H
#define EMR_CONFORMANCE_STEPS_H

#include "world.h"

typedef emr_status (*step_fn)(world *w, const json_t *step, json_t *result, emr_error *error);

typedef struct step_kind {
    const char *name;
    const char *keys; /* that it may have, besides do, expect and error */
    step_fn run;
} step_kind;

/* Each ends with an entry without a name. */
extern const step_kind model_steps[], file_steps[], merge_steps[], bundle_steps[], session_steps[],
    method_steps[];

#endif
