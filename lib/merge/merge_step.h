/* merge_step.h - EMR-Merging as a step of a pass: elect (election.h), rescale (rescaling.h), and give the
 * results to a bundle (store.h) or to the host's sink. */
#ifndef EMR_MERGE_MERGE_STEP_H
#define EMR_MERGE_MERGE_STEP_H

#include "bundle/writer.h"
#include "merge/plan.h"
#include "numeric/kernels.h"
#include "pass/step.h"

typedef struct emr_merge_step emr_merge_step;

extern const emr_step emr_merge_step_table;

/* Results go to `writer`, whose I/O is `output`, or to `sink`, whichever is not NULL; all is borrowed. */
emr_status emr_merge_step_create(emr_merge_step **step, emr_merge_plan *plan, const emr_kernels *kernels,
                                 emr_writer *writer, const emr_io *output, const emr_sink *sink,
                                 emr_error *error);
void emr_merge_step_destroy(emr_merge_step **step);

/* After finish. */
void emr_merge_step_report(const emr_merge_step *step, uint32_t task, emr_task_report *report);
emr_fidelity emr_merge_step_fidelity(const emr_merge_step *step, uint32_t task);
emr_modulator_record emr_merge_step_modulator(const emr_merge_step *step, uint32_t task);

/* Working memory without the writer's, for the layout; the plan's store is settled. */
uint64_t emr_merge_step_memory(const emr_merge_plan *plan, const emr_layout *layout);

#endif
