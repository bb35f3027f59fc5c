/* ties.h - TIES-Merging: see ties.c. */
#ifndef TIES_H
#define TIES_H

#include <emr/emr.h>

enum { TIES_MAX_TASKS = 32 };

/* What is merged, and how. The models must outlive the merged one. */
typedef struct ties_recipe {
    const emr_model *base, *tasks[TIES_MAX_TASKS];
    uint32_t n_tasks;
    float lambda;
    double density;
} ties_recipe;

/* The merged model. Before this returns, every tensor is read three times: twice for thresholds, once for
 * signs.
 */
emr_status ties_open(emr_model **model, const ties_recipe *recipe, emr_error *error);

#endif
