/* handle.h - the inside of a statistics handle: what was given, what counts, and what was found. */
#ifndef EMR_STATISTICS_HANDLE_H
#define EMR_STATISTICS_HANDLE_H

#include "emr/statistics.h"
#include "core/resources.h"
#include "statistics/groups.h"
#include "statistics/task_sums.h"

typedef enum statistics_state { STATISTICS_OPEN, STATISTICS_PLANNED, STATISTICS_DONE } statistics_state;

struct emr_statistics {
    emr_env env;
    emr_statistics_options options; /* its quantiles are the handle's own copy */
    double *fractions;
    emr_policy policy;
    const emr_model *base;
    emr_task *tasks;
    uint32_t n_tasks;
    size_t tasks_capacity;
    emr_alignment alignment;
    emr_groups groups;
    emr_task_sums_table model, tensors, layers, kinds;
    double *tensor_quantiles, *model_quantiles; /* n_tasks x n_quantiles each */
    statistics_state state;
};

/* What is told of progress: bytes before the stage that runs, and those of all. */
typedef struct statistics_stage {
    const emr_env *env;
    uint64_t before, total;
} statistics_stage;

/* A copy of the handle's env that tells of a stage's bytes as of a part of all. */
emr_env emr_statistics_stage_env(const statistics_stage *stage);

#endif
