/* classify.h - what becomes of a tensor of a combined model, from names, dtypes, shapes and roles alone. */
#ifndef EMR_COMBINE_CLASSIFY_H
#define EMR_COMBINE_CLASSIFY_H

#include "combine/combination.h"

/* The model whose tensors the combined model has: the base; where there is none, or one of zeros, the first
 * task. */
const emr_model *emr_combination_reference(const emr_combination *combination);

/* Fills a tensor: its action and reason and, combined, its inputs and base. EMR_EMISMATCH names task and tensor. */
emr_status emr_combined_classify(emr_combination *combination, const emr_tensor *sample, emr_combined *tensor,
                                 emr_error *error);

/* EMR_EMISMATCH where a task has a tensor that would be lost. */
emr_status emr_combination_check_others(const emr_combination *combination, emr_error *error);

#endif
