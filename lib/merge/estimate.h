/* estimate.h - upper bounds of what a merge writes; index.c and merge_step.c write what is counted here. */
#ifndef EMR_MERGE_ESTIMATE_H
#define EMR_MERGE_ESTIMATE_H

#include "merge/plan.h"

/* Fills in the plan's bytes_out, loose_bytes and index_bytes. The block table comes on top
 * (emr_store_table_bytes). */
void emr_merge_estimate(emr_merge_plan *plan);

#endif
