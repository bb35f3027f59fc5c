/* arrange.h - before base and tasks are aligned: tensors whose shapes differ are cut, or filled up, so that what
 * they have in common can be merged (EMR_ON_MISMATCH_ROWS, EMR_ON_MISMATCH_PAD). */
#ifndef EMR_ALIGN_ARRANGE_H
#define EMR_ALIGN_ARRANGE_H

#include "emr/policy.h"
#include "model/model.h"

/* Sources of tensors are numbered from 0, the base; task t is t + 1. */
typedef struct emr_task {
    char *name;
    const emr_model *model;
    /* The task's part was played before (a bundle that is added to): tensors of its model that have bytes are
     * its own, private; all others are the base's, and no bytes of them are asked for. */
    bool settled;
    bool copied; /* nor of those that are its own */
} emr_task;

/* Models in the places of those that have tensors to be cut or filled up. */
typedef struct emr_arranged_sources {
    emr_model **models; /* one a source; NULL: as it is */
    emr_task *tasks;    /* the given ones, with their arranged models; NULL: nothing is arranged */
    uint32_t n;
} emr_arranged_sources;

/* Borrows the models. */
emr_status emr_arrange(emr_arranged_sources *sources, const emr_allocator *allocator,
                       const emr_policy *policy, const emr_model *base, const emr_task *tasks,
                       uint32_t n_tasks, emr_error *error);
void emr_arranged_sources_free(emr_arranged_sources *sources, const emr_allocator *allocator);

#endif
