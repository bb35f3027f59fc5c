/* rescaling.h - sums become scales: equation 5 of docs/algorithm.md and the other rules, per model, tensor
 * or row, one or two of each group as the task's kind has it; and how near a task comes with them. What each
 * item adds is folded in order, so that the same f64 additions happen whatever the threads. */
#ifndef EMR_MERGE_RESCALING_H
#define EMR_MERGE_RESCALING_H

#include "core/save.h"
#include "merge/election.h"
#include "merge/plan.h"

/* What a rebuilt task vector v is to tau: their products so far. */
typedef struct emr_nearness {
    double tt, tv, vv;
} emr_nearness;

/* One task's sums so far, of each side that has a scale: of the tensor or row that is under way, and of the
 * model, plain and as L1_MEANS has it. With rescalers per row nearness is added up in chunks, tensors, the
 * model. */
typedef struct emr_task_sums {
    emr_sums group[EMR_SCALES_MAX], model[EMR_SCALES_MAX], means;
    emr_nearness chunk, tensor, nearness;
} emr_task_sums;

typedef struct emr_rescaling {
    const emr_merge_plan *plan;
    const emr_election *election;
    emr_task_sums *tasks;
    /* Per model: one group a task. Per tensor: n_merged for each. EMR_SCALES_MAX scales a group. NULL per
     * row. */
    float *rescalers;
    double *numerators; /* one a group, where tasks can be added */
    /* Per row: of the rows that an item ends, one task's at a time, without gaps. */
    float *row_rescalers;
    double *row_numerators;
    emr_sums *parts; /* of each row's or tensor's part in each item of the window: store.max_parts of them for
                             each task, n_sides for each part */
    uint32_t n_sides;     /* the most that a task has */
    size_t *first_parts;  /* of each item, in one task's */
    uint32_t saved_entry; /* of the tensors before it the rescalers were saved */
} emr_rescaling;

emr_status emr_rescaling_create(emr_rescaling *rescaling, const emr_merge_plan *plan,
                                const emr_election *election, emr_error *error);
void emr_rescaling_destroy(emr_rescaling *rescaling);
uint64_t emr_rescaling_memory(const emr_merge_plan *plan, const emr_layout *layout);

/* Makes room for a window's items; then sums each one's parts (concurrent for different items). */
void emr_rescaling_begin(emr_rescaling *rescaling, const emr_item *items, size_t n_items);
void emr_rescaling_sum(emr_rescaling *rescaling, const emr_item *item, size_t index);

/* Folds what the item adds to a task's sums, and ends what ends in it: *n rows or tensors from number *first
 * of the tensor on. Per row, their rescalers are in row_rescalers, as many for each as the task's kind has,
 * and their numerators in row_numerators. Per tensor, the rescalers are where emr_rescaling_of() says. */
emr_status emr_rescaling_fold(emr_rescaling *rescaling, const emr_item *item, size_t index, uint32_t task,
                              uint64_t *first, size_t *n, emr_error *error);

/* What a part of a merge tells of its sums, and whoever joins parts hears (part_sums.h): one task's, of so many
 * numbers. Where other parts have some of an item's tensor, of each item: before it is folded, or per row
 * afterwards. Else of the whole tensor, after its last item was folded. */
size_t emr_rescaling_n_told(const emr_merge_plan *plan, uint32_t task);
void emr_rescaling_tell(const emr_rescaling *rescaling, const emr_item *item, size_t index, uint32_t task,
                        double *told);
void emr_rescaling_hear(emr_rescaling *rescaling, uint32_t entry, uint32_t task, const double *told,
                        bool begins, bool ends);

/* All tensors are done. Per model, the rescalers are known then. */
void emr_rescaling_end_model(emr_rescaling *rescaling);

/* EMR_SCALES_MAX rescalers of a task, per model (`tensor` is ignored) or per tensor. */
const float *emr_rescaling_of(const emr_rescaling *rescaling, uint32_t task, uint32_t tensor);

/* How near a task comes, after the end; NaN where that was not measured. */
emr_fidelity emr_rescaling_fidelity(const emr_rescaling *rescaling, uint32_t task);

/* How many groups there are in `rescalers`. */
size_t emr_rescaling_count(const emr_merge_plan *plan);

/* Continuing later, as emr_step's. */
void emr_rescaling_save(const emr_rescaling *rescaling, uint32_t entry, emr_put_fn put, void *context);
void emr_rescaling_saved(emr_rescaling *rescaling, uint32_t entry);
emr_status emr_rescaling_restore(emr_rescaling *rescaling, uint32_t entry, emr_get_fn get, void *context,
                                 emr_error *error);

#endif
