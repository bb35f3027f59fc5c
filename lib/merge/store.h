/* store.h - a merge's results into a bundle: streams and blocks, in an order that depends on positions alone,
 * so that windows of any size give the same file. */
#ifndef EMR_MERGE_STORE_H
#define EMR_MERGE_STORE_H

#include "bundle/writer.h"
#include "merge/election.h"
#include "merge/plan.h"

/* The streams of one task that is elected. */
typedef struct emr_task_streams {
    size_t planes[EMR_N_PLANES], rescalers, numerators;
} emr_task_streams;

typedef struct emr_store {
    emr_merge_plan *plan;
    const emr_election *election;
    emr_writer *writer;          /* borrowed */
    size_t values[EMR_N_VALUES]; /* streams */
    emr_task_streams *tasks;     /* those that are elected */
    size_t base, private;        /* streams */
    uint32_t private_task;       /* whose stream `private` is; EMR_BASE at first */
    uint64_t written;            /* flat end of the superblocks that were put */
} emr_store;

emr_status emr_store_create(emr_store *store, emr_merge_plan *plan, const emr_election *election,
                            emr_writer *writer, emr_error *error);
void emr_store_destroy(emr_store *store);

/* Of a part that begins at a flat position: its streams go on where those of the parts before end. */
void emr_store_begin_at(emr_store *store, uint64_t flat);

/* Where the base's tensors up to a flat position lie in the base stream, into the plan; and where that ends. */
uint64_t emr_store_place_base(emr_merge_plan *plan, uint64_t flat);
uint64_t emr_store_memory(const emr_merge_plan *plan);

/* The base's bytes of an item, where the base is embedded. */
emr_status emr_store_base(emr_store *store, const emr_item *item, emr_error *error);

/* The rescalers of `n` rows of an elected task, as many for each as its kind has, and their numerators (NULL
 * where tasks cannot be added). Both are overwritten. */
emr_status emr_store_rows(emr_store *store, uint32_t task, float *rescalers, double *numerators, size_t n,
                          emr_error *error);

/* Puts every superblock of which everything is elected, up to a flat position; the last one of all is
 * shorter. */
emr_status emr_store_put(emr_store *store, uint64_t flat, emr_error *error);

/* All merged tensors are done. */
emr_status emr_store_end_merged(emr_store *store, emr_error *error);

/* What is not merged, as emr_step has it; then no more of it comes. */
emr_status emr_store_kept_begin(emr_store *store, uint32_t entry, emr_error *error);
emr_status emr_store_kept_bytes(emr_store *store, const void *bytes, size_t n, emr_error *error);
emr_status emr_store_private_begin(emr_store *store, uint32_t task, const emr_tensor *tensor,
                                   emr_error *error);
emr_status emr_store_private_bytes(emr_store *store, const void *bytes, size_t n, emr_error *error);
emr_status emr_store_end(emr_store *store, emr_error *error);

#endif
