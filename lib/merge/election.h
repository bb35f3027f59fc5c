/* election.h - electing, masking and summing the items of a window, in parallel: the kernels' work, with
 * places in the output buffers for what they give. Equations 1 to 4 of docs/algorithm.md. */
#ifndef EMR_MERGE_ELECTION_H
#define EMR_MERGE_ELECTION_H

#include "merge/history.h"
#include "pass/nonfinite.h"
#include "merge/plan.h"
#include "merge/streams.h"
#include "numeric/grow.h"
#include "pass/step.h"

/* What an item came to. */
typedef struct emr_elected {
    emr_chunk chunk;
    emr_growth growth;   /* where tasks can be added */
    emr_nonfinite found; /* at chunk.bad, in chunk.bad_task */
} emr_elected;

/* The output buffers follow one another as a ring: flat position p is at p % ring_params of each. */
typedef struct emr_election {
    const emr_merge_plan *plan;
    const emr_kernels *kernels;
    uint32_t n_tasks;          /* those that are elected; below, a task is one of them */
    emr_history *history;      /* of settled tasks; NULL without */
    size_t n_values, n_planes; /* EMR_N_VALUES and EMR_N_PLANES, where tasks can be added; else 1; 0
                                  where no task is elected */
    uint64_t ring_params;
    uint8_t *values[EMR_N_VALUES];
    size_t value_sizes[EMR_N_VALUES];
    uint8_t *planes[EMR_N_PLANES]; /* plane_bytes for each task */
    size_t plane_bytes;
    emr_elected *items;      /* of the window */
    emr_chunk_task *results; /* n_tasks an item */
    uint8_t **mask_pointers; /* n_tasks an item */
    /* Likewise: the sources of those that are elected. NULL where they are the item's. */
    const void **sources;
    emr_dtype *dtypes;
} emr_election;

emr_status emr_election_create(emr_election *election, const emr_merge_plan *plan, const emr_kernels *kernels,
                               emr_error *error);
void emr_election_destroy(emr_election *election);
uint64_t emr_election_memory(const emr_merge_plan *plan, const emr_layout *layout);

/* Concurrent for different items. */
void emr_elect(emr_election *election, const emr_item *item, size_t index);

/* EMR_ENONFINITE, saying what, if the item holds something that cannot be merged. */
emr_status emr_election_check(const emr_election *election, const emr_item *item, size_t index,
                              emr_error *error);

/* Sums over a range of an elected item. Concurrent. */
emr_sums emr_elected_sums(const emr_election *election, size_t index, emr_range range);

/* Where the buffers hold a flat position. */
static inline const uint8_t *emr_election_values(const emr_election *e, size_t value, uint64_t flat)
{
    return e->values[value] + (size_t)(flat % e->ring_params) * e->value_sizes[value];
}

static inline const uint8_t *emr_election_plane(const emr_election *e, size_t plane, uint32_t task,
                                                uint64_t flat)
{
    return e->planes[plane] + task * e->plane_bytes + (size_t)(flat % e->ring_params) / 8;
}

#endif
