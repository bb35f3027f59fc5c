/* merging.h - models that the host makes, and merging them: what the groups of measurements share. */
#ifndef BENCH_MERGING_H
#define BENCH_MERGING_H

#include "measure.h"

emr_model *create_model(void);

/* A matrix of host memory, or a vector where `rows` is 1. */
void add_matrix(emr_model *model, const char *name, emr_dtype dtype, uint64_t rows, uint64_t columns,
                const void *data);

/* The same in ggml's blocks. */
void add_blocks(emr_model *model, const char *name, emr_block_type type, uint64_t rows, uint64_t columns,
                const void *data);

/* The same, computed as it is read. */
void add_computed(emr_model *model, const char *name, emr_dtype dtype, uint64_t rows, uint64_t columns,
                  emr_compute_fn compute, void *user);

/* Merges models[1], models[2], ..., which are called task0, task1, ..., with the base models[0], into
 * `output`, or where that is NULL to a sink that takes no notice. */
void run_merge(const emr_merge_options *options, emr_model *const *models, size_t n_tasks,
               const emr_io *output);

void destroy_models(emr_model **models, size_t n);

#endif
