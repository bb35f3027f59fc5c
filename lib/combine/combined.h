/* combined.h - the combined model: an emr_model whose tensors are computed as they are read. */
#ifndef EMR_COMBINE_COMBINED_H
#define EMR_COMBINE_COMBINED_H

#include "combine/combination.h"

/* Looks at the tensors that are copied if no task has other bytes: EMR_EMISMATCH where one has. */
emr_status emr_combined_compare(const emr_combination *combination, emr_error *error);

/* Memory that each reader of its model takes. */
uint64_t emr_combined_scratch_bytes(const emr_combination *combination);

/* A model of a combination that is planned. */
emr_status emr_combined_open(emr_combination *combination, emr_model **model, emr_error *error);

#endif
