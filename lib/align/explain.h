/* explain.h - why tensors of base and tasks do not fit together, and what to do about it: the sentences of an
 * alignment that fails. */
#ifndef EMR_ALIGN_EXPLAIN_H
#define EMR_ALIGN_EXPLAIN_H

#include "align/alignment.h"

/* A tensor of the base that a task lacks. Returns EMR_EMISMATCH. */
emr_status emr_explain_missing(const emr_alignment *alignment, const emr_tensor *base, const emr_task *task,
                               emr_error *error);

/* A tensor that a task would get from the base, though the task's own have other names. Returns EMR_EMISMATCH. */
emr_status emr_explain_nameless(const emr_tensor *base, const emr_task *task, emr_error *error);

/* A tensor that differs in shape or in being a float. Returns EMR_EMISMATCH. */
emr_status emr_explain_mismatch(const emr_alignment *alignment, const emr_tensor *base, const emr_tensor *own,
                                const emr_task *task, emr_error *error);

/* Whether two models have a tensor of one name. */
bool emr_has_common_name(const emr_model *a, const emr_model *b);

/* A task that has no tensor of those that are merged. Returns EMR_EMISMATCH. */
emr_status emr_explain_strangers(const emr_alignment *alignment, const emr_task *task, emr_error *error);

#endif
