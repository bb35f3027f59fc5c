/* index.h - what a merge writes into its bundle's index; estimate.c counts it. Each call is false when there
 * is no memory. */
#ifndef EMR_MERGE_INDEX_H
#define EMR_MERGE_INDEX_H

#include "bundle/writer.h"
#include "merge/rescaling.h"

/* One private tensor, in the order in which they are written. */
bool emr_index_private(emr_writer *writer, uint32_t task, const emr_tensor *tensor, uint64_t offset);

/* Summary, tensors, who has them in which dtype, the base's metadata but of a bundle that is copied
 * (adding.h). */
bool emr_index_plan(emr_writer *writer, const emr_merge_plan *plan);

/* Rescalers per tensor; nothing where they are not. */
bool emr_index_rescalers(emr_writer *writer, const emr_rescaling *rescaling);

/* What adding tasks needs, with `n` numerators. */
bool emr_index_growth(emr_writer *writer, const emr_merge_plan *plan, const double *numerators, size_t n);

/* What one task's modulator is, in order. */
bool emr_index_modulator(emr_writer *writer, const emr_modulator_record *record);

/* One task with its metadata, in order. */
bool emr_index_task(emr_writer *writer, const emr_task *task, uint32_t number, const emr_task_report *report);

#endif
