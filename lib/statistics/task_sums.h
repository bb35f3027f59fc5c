/* task_sums.h - what is added up about a set of elements of n task vectors: records, in tables, of an item of a pass, a
 * tensor, a layer or a model. What the members are is in emr/statistics.h, emr_statistics_group. */
#ifndef EMR_STATISTICS_TASK_SUMS_H
#define EMR_STATISTICS_TASK_SUMS_H

#include "core/memory.h"

/* One record. While sums are taken, matrices have their upper half and diagonal alone, and `zeros` is not kept. */
typedef struct emr_task_sums {
    double *products, *distances; /* n x n */
    double *sums, *magnitudes, *fourths, *largest;
    uint64_t *same, *both; /* n x n */
    uint64_t *nonfinite, *zeros;
    uint64_t *conflicts, *unchanged;
} emr_task_sums;

typedef struct emr_task_sums_table {
    double *numbers;
    uint64_t *counts;
    uint32_t n_tasks;
    size_t n;
} emr_task_sums_table;

/* Bytes of n records; UINT64_MAX if it is more. */
uint64_t emr_task_sums_bytes(uint32_t n_tasks, uint64_t n);

/* n records of zeros. False: no memory. */
bool emr_task_sums_create(emr_task_sums_table *table, const emr_allocator *allocator, uint32_t n_tasks,
                          size_t n);
void emr_task_sums_free(emr_task_sums_table *table, const emr_allocator *allocator);

emr_task_sums emr_task_sums_at(const emr_task_sums_table *table, size_t i);

void emr_task_sums_clear(const emr_task_sums_table *table, size_t i);

/* to += more. */
void emr_task_sums_add(const emr_task_sums *to, const emr_task_sums *more, uint32_t n_tasks);

/* Fills the lower halves, and zeros, of `count` elements. */
void emr_task_sums_complete(const emr_task_sums *s, uint32_t n_tasks, uint64_t count);

#endif
