/* step.h - what a pass feeds: merged tensors chunk by chunk, all sources side by side, and then, for a step
 * that wants them, the tensors that are not merged. EMR-Merging is one step (merge/merge_step.c),
 * statistics of task vectors another (statistics/sweep.c); a new one is one table.
 *
 * A window of merged tensors takes one round:
 *
 *     load      what computing needs besides the items' bytes
 *     begin     how many jobs of its own the step has left from earlier rounds
 *     job       those, beside
 *     compute   every item, in parallel
 *     fold      every item's result, one after another in the order of positions: so what a step adds up
 *               cannot depend on who computed what when
 *     window_end
 *
 * After the last window comes merged_end; then, for a step that carries, what is not merged: keep and private
 * tensors; then finish. Of a step, compute and fold are required; everything else may be NULL, which means
 * that there is nothing to do. */
#ifndef EMR_PASS_STEP_H
#define EMR_PASS_STEP_H

#include "align/alignment.h"
#include "core/save.h"
#include "core/work.h"
#include "pass/layout.h"

/* A chunk of one merged tensor, at most EMR_CHUNK parameters that lie between two multiples of it in flat
 * space: what one kernel call sees. Pointers are into the pass's memory or the host's. */
typedef struct emr_item {
    const emr_entry *entry;
    uint32_t number; /* of the entry in the alignment */
    uint64_t first;  /* parameter within the tensor, a multiple of 64 */
    uint64_t flat;   /* the same in flat space */
    size_t n;
    const void *base;
    const void **tasks;           /* NULL where the task does not have the tensor: its task vector is 0 */
    const emr_dtype *task_dtypes; /* valid where tasks[] is not NULL */
} emr_item;

typedef struct emr_step {
    const char *what; /* "the merge", for messages */
    bool carries;     /* tensors that are not merged come too */

    /* Working memory of the step with a layout, for which `cap` bytes are left; `plan` is what the step was
     * planned with, where it may settle what depends on the layout. More than `cap`: it does not fit. */
    uint64_t (*memory)(void *plan, const emr_layout *layout, uint64_t cap);

    emr_status (*load)(void *state, const emr_item *items, size_t n_items, const emr_workers *workers,
                       emr_error *error);
    size_t (*begin)(void *state, const emr_item *items, size_t n_items);
    emr_status (*job)(void *state, size_t job, size_t worker, emr_error *error);
    /* `index` numbers the items of the window; `worker` is one of the layout's. */
    void (*compute)(void *state, const emr_item *item, size_t index, size_t worker);
    emr_status (*fold)(void *state, const emr_item *item, size_t index, emr_error *error);
    /* Everything of the window is folded; its memory is about to be reused. */
    emr_status (*window_end)(void *state, emr_error *error);
    emr_status (*merged_end)(void *state, emr_error *error);

    /* A tensor of the base that is not merged but taken from the base by some task begins; then its bytes,
     * front to back. */
    emr_status (*kept_begin)(void *state, uint32_t entry, emr_error *error);
    emr_status (*kept_bytes)(void *state, const void *bytes, size_t n, emr_error *error);
    /* The same for a task's private tensor. */
    emr_status (*private_begin)(void *state, uint32_t task, const emr_tensor *tensor, emr_error *error);
    emr_status (*private_bytes)(void *state, const void *bytes, size_t n, emr_error *error);
    emr_status (*finish)(void *state, emr_error *error);

    /* Continuing later (resume.h), after any window for which can_save says yes: settle makes durable what
     * was computed; save puts what has come since the last time, `entry` being that of the next item; then
     * saved says that it was kept. restore gets all saves, one by one, into a new state; check says whether
     * the output still holds what they say. */
    bool (*can_save)(const void *state);
    emr_status (*settle)(void *state, emr_error *error);
    void (*save)(const void *state, uint32_t entry, emr_put_fn put, void *context);
    void (*saved)(void *state, uint32_t entry);
    emr_status (*restore)(void *state, emr_get_fn get, void *context, emr_error *error);
    emr_status (*check)(void *state, uint64_t flat, bool *right, emr_error *error);
} emr_step;

#endif
