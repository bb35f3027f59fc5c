/* step_state.h - the merge as a step from the inside, for merge_step.c, part_step.c (a part of it) and
 * join_step.c (parts together). */
#ifndef EMR_MERGE_STEP_STATE_H
#define EMR_MERGE_STEP_STATE_H

#include "merge/adding.h"
#include "merge/coding.h"
#include "merge/election.h"
#include "merge/merge_step.h"
#include "merge/rescaling.h"
#include "merge/store.h"

/* What the report says of a task. */
typedef struct emr_task_tally {
    uint64_t ones, zeroed, nonzero;
} emr_task_tally;

struct emr_merge_step {
    emr_merge_plan *plan;
    emr_election election;
    emr_rescaling rescaling;
    emr_coders coders;
    emr_adding adding; /* where a bundle is copied */
    emr_store store;
    emr_writer *writer; /* NULL with a sink */
    const emr_io *output;
    const emr_sink *sink;
    emr_task_tally *tallies;
    uint64_t position;    /* flat end of what was folded */
    uint32_t saved_entry; /* of tensors before it everything was saved */
    size_t sums;          /* of a part: the stream, */
    uint8_t *told;        /* and room for what it holds of one item or tensor (part_step.h) */
};

#endif
