/* emr_step.h - EMR-Merging as a step of the driver: kernels in, unified vector, masks and rescalers out. */
#ifndef EMR_MERGE_EMR_STEP_H
#define EMR_MERGE_EMR_STEP_H

#include "bundle/writer.h"
#include "merge/layout.h"
#include "merge/step.h"
#include "numeric/kernels.h"

typedef struct emr_step emr_step;

extern const emr_step_functions emr_step_functions_emr;

/* Results go to `writer` or to `sink`, whichever is not NULL; all is borrowed. */
emr_status emr_step_create(emr_step **step, emr_plan *plan, const emr_layout *layout,
                           const emr_kernels *kernels, emr_writer *writer, const emr_sink *sink,
                           emr_error *error);
void emr_step_destroy(emr_step **step);

/* Flat end of what was folded. */
uint64_t emr_step_flat(const emr_step *step);

/* Whether everything that was folded has been put, so that the writer holds all results. */
bool emr_step_rests(const emr_step *step);

/* For going on later, while it rests: as with the writer. `row` is that of the driver's next item. */
void emr_step_save(const emr_step *step, size_t row, emr_put_fn put, void *context);
void emr_step_saved(emr_step *step, size_t row);
emr_status emr_step_restore(emr_step *step, emr_get_fn get, void *context, emr_error *error);

/* After finish. */
void emr_step_report(const emr_step *step, size_t task, emr_task_report *report);

/* Working memory, for the plan. */
uint64_t emr_step_memory(const emr_plan *plan, const emr_layout *layout);

#endif
