/* gram.h - the Gram matrix of task vectors: <tau_i, tau_j> for every two tasks, per tensor and for the model,
 * from one pass over base and tasks. Norms, cosines and distances follow from it.
 *
 * tau is the difference of a task's value and the base's in f64. The order of sums is fixed, so that results
 * are the same to the last bit on every CPU, thread count and memory limit: within a chunk of flat space
 * (pass/step.h), 8 accumulators take every 8th parameter each, and are added up as
 * ((0+4)+(2+6))+((1+5)+(3+7)); chunks are added in order to their tensor, tensors in order to the model. */
#ifndef EMR_STATISTICS_GRAM_H
#define EMR_STATISTICS_GRAM_H

#include "align/alignment.h"
#include "core/resources.h"

/* N x N, row by row, symmetric. */
typedef struct emr_gram {
    emr_allocator allocator;
    uint32_t n_tasks, n_tensors; /* merged ones, in the alignment's order */
    double *tensors;
    double *model;
} emr_gram;

/* Of the tensors that are merged. Progress and cancelling as in a merge. */
emr_status emr_gram_compute(emr_gram *gram, emr_alignment *alignment, const emr_env *env, emr_error *error);
void emr_gram_free(emr_gram *gram);

#endif
