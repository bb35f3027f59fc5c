/* coding_layout.h - how much the streams of tasks that share nothing take: in the bundle, in blocks of it,
 * in memory. */
#ifndef EMR_MERGE_CODING_LAYOUT_H
#define EMR_MERGE_CODING_LAYOUT_H

#include "emr/modulator.h"
#include "numeric/kernels.h"
#include "pass/layout.h"

struct emr_merge_plan;

/* What the merged tensors are to such tasks. */
typedef struct emr_coding_sizes {
    uint64_t vector_params, matrix_params;
    uint64_t n_columns, widest; /* of matrices whose columns may have scales: in all, of one */
    uint64_t shortest_row;      /* of a matrix */
    uint64_t n_slots;           /* of scales */
} emr_coding_sizes;

emr_coding_sizes emr_coding_measure(const emr_alignment *alignment);

/* How a task's matrices are coded, and its vectors. */
emr_coding emr_coding_of_matrices(const emr_modulation_spec *spec);
emr_coding emr_coding_of_vectors(const emr_modulation_spec *spec);
bool emr_coding_has_columns(const emr_modulation_spec *spec);

/* Columns of a tensor that may have scales; 0 of vectors, and of others that have none. */
uint64_t emr_coding_columns(const emr_tensor *base);
bool emr_coding_is_vector(const emr_tensor *base);

/* Bytes of blocks, with so many parameters in a block of codes of one bit: of a task's codes, and of the
 * rest. */
uint32_t emr_coding_block_bytes(const emr_coding *coding, size_t block_params);
uint32_t emr_coding_small_bytes(size_t block_params);

/* Of all tasks of the merge: bytes of their streams, and blocks, at most. */
uint64_t emr_coding_stream_bytes(const struct emr_merge_plan *plan);
uint64_t emr_coding_blocks(const struct emr_merge_plan *plan, size_t block_params);

/* The same of all merged parameters of a tensor, or of some, at most. */
uint64_t emr_coding_tensor_bytes(const struct emr_merge_plan *plan, const emr_tensor *base, uint64_t params);

/* At most, of one window: bytes and sums that its items come to; of all tasks. */
uint64_t emr_coding_window_bytes(const struct emr_merge_plan *plan, const emr_layout *layout);
uint64_t emr_coding_window_sums(const struct emr_merge_plan *plan, const emr_layout *layout);

#endif
