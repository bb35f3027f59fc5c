/* step.h - what the driver feeds: blocks of all tasks side by side, then the tensors that are not merged.
 * EMR-Merging is one such step (emr_step.c); other merging methods and statistics of task vectors can be
 * others. */
#ifndef EMR_MERGE_STEP_H
#define EMR_MERGE_STEP_H

#include "core/work.h"
#include "merge/plan.h"

/* A chunk of one merged tensor: what one kernel call sees. Pointers are into the driver's memory or the
 * host's. */
typedef struct emr_item {
    size_t row;     /* of the plan */
    uint64_t first; /* parameter within the tensor */
    uint64_t flat;  /* the same in flat space, a multiple of 64 */
    size_t n;
    const void *base;
    const void **tasks;         /* NULL where the task does not have the tensor */
    const uint8_t *task_dtypes; /* valid where tasks[] is not NULL */
} emr_item;

/* How the driver calls a step. `index` numbers the items of a window from 0. A window takes one round. */
typedef struct emr_step_functions {
    /* Before a round: what computing these items needs besides their bytes. */
    emr_status (*load)(void *step, const emr_item *items, size_t n_items, const emr_workers *workers,
                       emr_error *error);
    /* A round begins, with these items (their bytes come later). Returns how many jobs the step has left from
     * earlier rounds; they run beside the computing. */
    size_t (*begin)(void *step, const emr_item *items, size_t n_items);
    emr_status (*job)(void *step, size_t job, size_t worker, emr_error *error);
    /* Concurrently, once for each item of a window. */
    void (*compute)(void *step, const emr_item *item, size_t index);
    /* Then, one after another, in the order of positions: so results cannot depend on who computed what when.
     */
    emr_status (*fold)(void *step, const emr_item *item, size_t index, emr_error *error);
    /* Everything of the window is folded; its memory is about to be reused. */
    emr_status (*window_end)(void *step, emr_error *error);
    /* All merged tensors are done. */
    emr_status (*merged_end)(void *step, emr_error *error);
    /* Bytes of a tensor of the base that is not merged but taken from the base by some task. */
    emr_status (*kept)(void *step, size_t row, const void *bytes, size_t n, emr_error *error);
    /* A task's private tensor begins; then its bytes, front to back. */
    emr_status (*private_begin)(void *step, size_t task, const emr_tensor *tensor, emr_error *error);
    emr_status (*private_bytes)(void *step, const void *bytes, size_t n, emr_error *error);
    /* Everything is done. */
    emr_status (*finish)(void *step, emr_error *error);
} emr_step_functions;

#endif
