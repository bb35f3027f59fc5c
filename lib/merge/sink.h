/* sink.h - a merge's results into the host's callbacks. */
#ifndef EMR_MERGE_SINK_H
#define EMR_MERGE_SINK_H

#include "merge/plan.h"
#include "pass/step.h"

/* An elected item: its unified values and the mask of each task that is elected. */
emr_status emr_sink_elected(const emr_sink *sink, const emr_item *item, const void *unified,
                            uint8_t *const *masks, const emr_merge_plan *plan, emr_error *error);

/* Rescalers of one task for the item's tensor: the part's values, n, first and task are set. */
emr_status emr_sink_rescalers(const emr_sink *sink, const emr_item *item, emr_sink_part part,
                              const emr_alignment *alignment, emr_error *error);

#endif
