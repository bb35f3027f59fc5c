/* plan.h - the tensors of a combined model, what each needs, and how memory is shared out. */
#ifndef EMR_COMBINE_PLAN_H
#define EMR_COMBINE_PLAN_H

#include "combine/combination.h"

/* Makes the plan, if there is none. After a failure there is none. */
emr_status emr_combination_make_plan(emr_combination *combination, emr_error *error);
void emr_combination_unplan(emr_combination *combination);

/* The stages that a tensor needs: a bit each. */
uint32_t emr_combined_stages(const emr_combined *tensor);

#endif
