/* layout.h - how a run uses the memory it was allowed: window size, workers, slots. */
#ifndef EMR_MERGE_LAYOUT_H
#define EMR_MERGE_LAYOUT_H

#include "bundle/writer.h"
#include "merge/plan.h"

enum {
    EMR_IO_BUFFER = 64 << 10, /* bytes read at a time where tensors are not merged */
    EMR_BLOCK_PARAMS_MIN = 4 << 10,
    EMR_BLOCK_PARAMS_DEFAULT = 256 << 10,
    EMR_BLOCK_PARAMS_MAX = 16 << 20,
};

typedef struct emr_layout {
    size_t window_params; /* flat parameters per window, a multiple of EMR_CHUNK */
    size_t job_params;    /* of them that a worker reads and computes at a time; as much of a multiple */
    size_t window_size, worker_size; /* bytes a parameter that windows hold, and that a worker reads */
    size_t n_buffers; /* of the step's outputs: 3, so that computing, compressing and writing overlap, or 1 */
    size_t buffer_params; /* of one: whole superblocks, and whole windows or a window's part */
    size_t max_items;
    size_t max_rows;     /* of tensors, in the items of a window; 0 unless rescalers are per row */
    size_t block_params; /* of a superblock: what one mask block holds; blocks are written superblock by
                            superblock */
    uint32_t value_block_bytes, mask_block_bytes;
    emr_writer_limits writer;
    size_t n_workers;
    uint64_t memory; /* bytes of working memory in all */
} emr_layout;

/* Streams of the bundle at most; each may end in a block that is not full. */
uint64_t emr_stream_count(const emr_plan *plan);

/* Entries of the block table at most. */
uint64_t emr_block_entries(const emr_plan *plan, size_t block_params);

/* At most this many bytes of block table and padding go with the plan's blocks. */
uint64_t emr_layout_table_bytes(const emr_layout *layout, const emr_plan *plan);

/* The fastest layout within the cap; EMR_ELIMIT says how much would do. `writes` tells whether a bundle is
 * written; `besides` are bytes that the merge needs besides, in any layout. */
emr_status emr_layout_choose(emr_layout *layout, const emr_plan *plan, bool writes, uint64_t besides,
                             emr_error *error);

#endif
