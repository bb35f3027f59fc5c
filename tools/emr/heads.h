/* heads.h - --heads: tasks that have labels of their own, side by side in one head. */
#ifndef EMR_TOOLS_HEADS_H
#define EMR_TOOLS_HEADS_H

#include "cli.h"

/* For `emr merge`: the tasks' models become views that have the rows of all tasks in their heads, and config.json with
 * the labels of all. */
emr_status view_heads(merge_job *j, const arguments *a, emr_error *error);

/* The policy that keeps these heads private too. It is valid until they are closed. */
void keep_heads_private(const merge_job *j, emr_policy *policy);
/* Once the views are destroyed. */
void close_heads(merge_job *j, const arguments *a);

/* For `emr combine`: *labelled is the combined model with labels' names in its metadata (EMR_HEAD_GROUPS) and with the
 * config.json of the first task that has one, in which the labels of all tasks are joined. To be destroyed before
 * `model`. */
emr_status label_heads(emr_model **labelled, const emr_model *model, emr_model *const *tasks,
                       emr_error *error);

#endif
