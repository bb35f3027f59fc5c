/* driver.h - moves tensors from models (pull) or from the host (push) through a step, in windows of bounded
 * size. */
#ifndef EMR_MERGE_DRIVER_H
#define EMR_MERGE_DRIVER_H

#include "bundle/writer.h"
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

/* Calls `fn` after each window of merged tensors. */
typedef emr_status (*emr_window_fn)(void *context, emr_error *error);
void emr_driver_on_window(emr_driver *driver, emr_window_fn fn, void *context);

/* The row of the next item. */
size_t emr_driver_row(const emr_driver *driver);

/* The flat position at which it begins. */
uint64_t emr_driver_flat(const emr_driver *driver);

/* Input bytes that have passed. */
uint64_t emr_driver_done(const emr_driver *driver);

/* For going on later, from within such a call: settles first, then saves; then that has been kept. */
emr_status emr_driver_settle(emr_driver *driver, emr_error *error);
void emr_driver_save(const emr_driver *driver, emr_put_fn put, void *context);
void emr_driver_saved(emr_driver *driver);
/* Into a new driver, save by save; then, once, it finds its way back. */
emr_status emr_driver_restore(emr_driver *driver, emr_get_fn get, void *context, emr_error *error);
emr_status emr_driver_continue(emr_driver *driver, emr_error *error);

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
