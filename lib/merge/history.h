/* history.h - what an extendable bundle brings into a merge that adds tasks to it: its tasks as models, the
 * state of flat space window by window, the numerators of rescalers. */
#ifndef EMR_MERGE_HISTORY_H
#define EMR_MERGE_HISTORY_H

#include "core/work.h"
#include "merge/plan.h"
#include "numeric/grow.h"

/* Replaces the options and the policy that decide about the result by those the bundle was made with, as far
 * as it knows them: of the policy, and of blocks, only where it is extendable. */
emr_status emr_history_options(emr_merge_options *options, emr_policy *policy, const emr_bundle *bundle,
                               const emr_allocator *allocator, emr_error *error);

/* A settled task (alignment.h) as a model: it names its tensors, and reads those that are private. */
emr_status emr_history_task(emr_model **model, const emr_bundle *bundle, uint32_t task,
                            const emr_allocator *allocator, emr_error *error);

/* The base must be the bundle's: as far as names, types and shapes go this is known now, and the hashes that
 * are expected are noted. Merged tensors must be the bundle's, one by one. */
emr_status emr_history_expect_base(emr_base_hashes *hashes, const emr_alignment *alignment,
                                   const emr_bundle *bundle, emr_error *error);

typedef struct emr_history emr_history;

emr_status emr_history_create(emr_history **history, const emr_merge_plan *plan, emr_error *error);
void emr_history_destroy(emr_history **history);

/* Reads the state of the flat parameters [first, end), multiples of 64; then where it is, for one of them,
 * another such multiple. */
emr_status emr_history_load(emr_history *history, const emr_workers *workers, uint64_t first, uint64_t end,
                            emr_error *error);
emr_state emr_history_state(const emr_history *history, uint64_t flat);

/* The numerator of a task's rescaler, per model (`tensor` is ignored) or per tensor. */
double emr_history_numerator(const emr_history *history, uint32_t task, uint32_t tensor);
/* Those of `n` rows from row `first` of all merged tensors'. One caller at a time. */
emr_status emr_history_row_numerators(emr_history *history, uint32_t task, uint64_t first, size_t n,
                                      double *numerators, emr_error *error);

/* Working memory, for the plan. */
uint64_t emr_history_memory(const emr_merge_plan *plan, const emr_layout *layout);

#endif
