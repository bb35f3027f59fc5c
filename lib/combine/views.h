/* views.h - heads (emr/heads.h): the tasks and the base as they are combined, with the rows of all tasks in every head. */
#ifndef EMR_COMBINE_VIEWS_H
#define EMR_COMBINE_VIEWS_H

#include "combine/combination.h"

/* Where heads were asked for: views take the place of base and tasks, until they are closed. */
emr_status emr_combination_open_views(emr_combination *combination, emr_error *error);
void emr_combination_close_views(emr_combination *combination);

/* The tensor of that name with each row its own task's, where it is a head that is not combined; else NULL. */
const emr_tensor *emr_combination_find_joined(const emr_combination *combination, const char *name);

#endif
