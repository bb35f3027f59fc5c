/* driver.h - moves tensors from models (pull) or from the host (push) through a step, in windows of bounded
 * size. */
#ifndef EMR_MERGE_DRIVER_H
#define EMR_MERGE_DRIVER_H

#include "core/work.h"
#include "merge/layout.h"
#include "merge/step.h"

typedef struct emr_driver emr_driver;

/* Everything given is borrowed. Fails with EMR_EUNSUPPORTED where a tensor that must be read twice is to be
 * pushed. */
emr_status emr_driver_create(emr_driver **driver, emr_plan *plan, const emr_layout *layout,
                             const emr_workers *workers, const emr_step_functions *functions, void *step,
                             emr_error *error);
void emr_driver_destroy(emr_driver **driver);

/* Does all that can be done without (more) pushed bytes. */
emr_status emr_driver_pump(emr_driver *driver, emr_error *error);

/* Sources are numbered from 0, the base; task t is t + 1. */
emr_status emr_driver_push(emr_driver *driver, size_t source, const void *data, size_t n, size_t *taken,
                           emr_error *error);
/* The tensor whose bytes a source must push next, NULL if none, and how many of them it may push now. */
const emr_tensor *emr_driver_expects(const emr_driver *driver, size_t source, uint64_t *bytes);

/* The end: EMR_ESTATE while pushed bytes are missing. */
emr_status emr_driver_finish(emr_driver *driver, emr_error *error);

/* Working memory, for the plan. */
uint64_t emr_driver_memory(const emr_plan *plan, const emr_layout *layout);

#endif
