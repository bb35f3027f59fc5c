/* rescaling.h - sums become rescalers: equation 5 of docs/algorithm.md, per model, tensor or row. What each
 * item adds is folded in order, so that the same f64 additions happen whatever the threads. */
#ifndef EMR_MERGE_RESCALING_H
#define EMR_MERGE_RESCALING_H

#include "core/save.h"
#include "merge/election.h"
#include "merge/plan.h"

/* One task's sums so far. */
typedef struct emr_task_sums {
    emr_sums model, tensor, row;
    emr_sums means; /* sums over tensors of the mean over a tensor */
} emr_task_sums;

typedef struct emr_rescaling {
    const emr_merge_plan *plan;
    const emr_election *election;
    emr_task_sums *tasks;
    /* Per model: one a task. Per tensor: n_merged for each. NULL per row. */
    float *rescalers;
    double *numerators; /* the same, where tasks can be added */
    /* Per row: of the rows that an item ends, one task's at a time. */
    float *row_rescalers;
    double *row_numerators;
    emr_sums *row_sums;   /* of each row's part in each item of the window: store.max_rows for each task */
    size_t *first_rows;   /* of each item, in row_sums */
    uint32_t saved_entry; /* of the tensors before it the rescalers were saved */
} emr_rescaling;

emr_status emr_rescaling_create(emr_rescaling *rescaling, const emr_merge_plan *plan,
                                const emr_election *election, emr_error *error);
void emr_rescaling_destroy(emr_rescaling *rescaling);
uint64_t emr_rescaling_memory(const emr_merge_plan *plan, const emr_layout *layout);

/* Per row: makes room for a window's items; then sums each one's rows (concurrent for different items). */
void emr_rescaling_begin(emr_rescaling *rescaling, const emr_item *items, size_t n_items);
void emr_rescaling_sum_rows(emr_rescaling *rescaling, const emr_item *item, size_t index);

/* Folds what the item adds to all tasks' sums, but for rows. */
void emr_rescaling_add(emr_rescaling *rescaling, size_t index);

/* Per row: the rescalers of one task's rows that end in the item, *n of them from *first of the tensor on,
 * are in row_rescalers, and their numerators in row_numerators. */
emr_status emr_rescaling_end_rows(emr_rescaling *rescaling, const emr_item *item, size_t index, uint32_t task,
                                  uint64_t *first, size_t *n, emr_error *error);

/* The tensor is complete. Per tensor, its rescaler is rescalers[task * n_merged + entry] then. */
void emr_rescaling_end_tensor(emr_rescaling *rescaling, const emr_item *item);

/* All tensors are. Per model, a task's rescaler is rescalers[task] then. */
void emr_rescaling_end_model(emr_rescaling *rescaling);

/* How many rescalers there are in `rescalers`. */
size_t emr_rescaling_count(const emr_merge_plan *plan);

/* Continuing later, as emr_step's. */
void emr_rescaling_save(const emr_rescaling *rescaling, uint32_t entry, emr_put_fn put, void *context);
void emr_rescaling_saved(emr_rescaling *rescaling, uint32_t entry);
emr_status emr_rescaling_restore(emr_rescaling *rescaling, uint32_t entry, emr_get_fn get, void *context,
                                 emr_error *error);

#endif
