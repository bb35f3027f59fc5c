/* adding.h - tasks that share nothing are added to a bundle of any kind: its streams are copied as they are
 * stored, and what its index says of its own tasks is said again. */
#ifndef EMR_MERGE_ADDING_H
#define EMR_MERGE_ADDING_H

#include "bundle/writer.h"
#include "merge/plan.h"

/* For emr_align_settled: what is done with a tensor of the base, `bundle` being an emr_bundle. */
emr_action emr_adding_choose(const void *bundle, const emr_tensor *base);

/* Where the base's tensors lie in the bundle that is added to; whether its embedded base has what new tasks take. */
emr_status emr_adding_offsets(emr_merge_plan *plan, emr_error *error);

/* Its streams, but for those that make it extendable. */
typedef struct emr_adding {
    const emr_merge_plan *plan;
    emr_writer *writer;
    size_t *streams; /* in the writer, of each of the bundle's */
} emr_adding;

/* Declares them, and indexes the private tensors of its tasks: they come first. */
emr_status emr_adding_create(emr_adding *adding, const emr_merge_plan *plan, emr_writer *writer,
                             emr_error *error);
void emr_adding_destroy(emr_adding *adding);
uint64_t emr_adding_memory(const emr_merge_plan *plan);

/* Copies them, once nothing else is to be written. */
emr_status emr_adding_copy(const emr_adding *adding, emr_error *error);

/* Rescalers per tensor, and the base's metadata. */
bool emr_adding_index(const emr_adding *adding);

/* What the bundle says of one of its tasks. */
emr_task_report emr_adding_report(const emr_merge_plan *plan, uint32_t task);

/* Bytes of its blocks. */
uint64_t emr_adding_bytes(const emr_merge_plan *plan);

#endif
