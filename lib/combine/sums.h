/* sums.h - the two kinds of stages (emr_method_stage): one adds up sums, one cuts lists. */
#ifndef EMR_COMBINE_SUMS_H
#define EMR_COMBINE_SUMS_H

#include "combine/reader.h"
#include "core/work.h"

/* A run of a method's stages, one after another. */
typedef struct emr_sweep {
    emr_combination *combination;
    const emr_env *env;
    emr_workers workers;
    const emr_combined *one;
    const emr_combined *const *tensors; /* that are gone through, in this order */
    uint32_t n_tensors;
    emr_method_tensor seen; /* what the stages are of */
    double *found;          /* by the stages so far, and room for this one's */
    size_t n_found;         /* by those before this one */
    uint64_t done, stage_end,
        total; /* elements, of all stages: read, to be read at this stage's end, and in all */
} emr_sweep;

/* So many more elements of this stage were read: the host hears of it. What is read again does not count. */
emr_status emr_sweep_advance(emr_sweep *sweep, uint64_t n, emr_error *error);

/* n numbers behind those found so far. */
emr_status emr_sweep_sum(emr_sweep *sweep, const emr_method_stage *stage, uint32_t n, emr_error *error);
emr_status emr_sweep_cut(emr_sweep *sweep, const emr_method_stage *stage, uint32_t n, emr_error *error);

/* Elements of a chunk of a tensor in stages: 16,384, or as many whole rows as fit into that, but at least one. */
size_t emr_sweep_chunk(const emr_combined *tensor);

/* The largest that there is. */
size_t emr_sweep_largest_chunk(const emr_sweep *sweep);

/* A reader for each worker. Both are to be released, whatever is returned. */
emr_status emr_sweep_readers_create(const emr_sweep *sweep, size_t capacity, emr_combine_reader **readers,
                                    uint8_t **memory, emr_error *error);

#endif
