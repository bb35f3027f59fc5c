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

/* After finish. */
void emr_step_report(const emr_step *step, size_t task, emr_task_report *report);

/* Working memory, for the plan. */
uint64_t emr_step_memory(const emr_plan *plan, const emr_layout *layout);

#endif
