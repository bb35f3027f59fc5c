/* sweep.h - the one reading that takes a group's sums: a step of a pass.
 *
 * tau is as docs/algorithm.md has it, in f32. The order of sums is fixed, so that results are the same to the last bit on
 * every CPU, thread count and memory limit: within a chunk of flat space (pass/step.h), 8 accumulators take every 8th
 * element each, and are added up as ((0+4)+(2+6))+((1+5)+(3+7)) (numeric/pairs.h); chunks are added in order to their
 * tensor, tensors in order to their layer, their kind, and the model. */
#ifndef EMR_STATISTICS_SWEEP_H
#define EMR_STATISTICS_SWEEP_H

#include "emr/statistics.h"
#include "core/resources.h"
#include "numeric/kernels.h"
#include "pass/layout.h"
#include "statistics/groups.h"
#include "statistics/task_sums.h"

/* What is swept, and where to. Everything is borrowed. */
typedef struct emr_sweep {
    emr_alignment *alignment;
    const emr_groups *groups;
    const emr_env *env; /* memory_bytes: that of all, `besides` among it; 0: no limit */
    const emr_kernels *kernels;
    emr_on_nonfinite on_nonfinite;
    /* Task vectors times 127 / their largest magnitude, rounded to whole numbers: that of the tensor, or of the
     * model; NULL: as they are. */
    const emr_task_sums_table *largest_of;
    bool keeps_tensors; /* else `tensors` is one record, taken for one after the other */
    uint64_t besides;   /* bytes of memory that are taken */
    emr_task_sums_table *model, *tensors, *layers, *kinds; /* zeros at first */
} emr_sweep;

/* How it would use its memory. EMR_ELIMIT: it does not suffice. */
emr_status emr_sweep_plan(emr_layout *layout, const emr_sweep *sweep, emr_error *error);
emr_status emr_sweep_run(const emr_sweep *sweep, emr_error *error);

#endif
