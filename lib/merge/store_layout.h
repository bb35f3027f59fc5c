/* store_layout.h - how a bundle is written within the memory that is allowed: blocks, output buffers, and
 * what the writer may have under way. */
#ifndef EMR_MERGE_STORE_LAYOUT_H
#define EMR_MERGE_STORE_LAYOUT_H

#include "bundle/writer.h"
#include "pass/layout.h"

struct emr_merge_plan;

enum {
    EMR_BLOCK_PARAMS_MIN = 4 << 10,
    EMR_BLOCK_PARAMS_DEFAULT = 256 << 10,
    EMR_BLOCK_PARAMS_MAX = 16 << 20,
};

typedef struct emr_store_layout {
    size_t block_params;  /* of a superblock: what one mask block holds. Blocks are written superblock by
                             superblock. */
    size_t n_buffers;     /* of outputs: 3, so that computing, compressing and writing overlap, or 1 */
    size_t buffer_params; /* of one: the pass's span */
    size_t max_parts;     /* of groups that share rescalers, in the items of a window */
    uint32_t value_block_bytes, mask_block_bytes;
    emr_writer_limits writer;
    bool writes;
} emr_store_layout;

/* Larger blocks for larger models, so that the block table stays small: a matter of the models alone, because
 * the bytes of the bundle depend on it. */
size_t emr_store_block_params(const struct emr_merge_plan *plan);

/* What follows from a layout, with a number of output buffers. */
void emr_store_layout_set(struct emr_merge_plan *plan, const emr_layout *layout, size_t n_buffers);

/* Bytes of all values that the bundle has for a parameter, and bits of all tasks' planes. */
size_t emr_store_value_bytes(const struct emr_merge_plan *plan);
size_t emr_store_plane_bits(const struct emr_merge_plan *plan);

/* Streams of the bundle at most; each may end in a block that is not full. */
uint64_t emr_store_streams(const struct emr_merge_plan *plan);

/* Entries of the block table at most, and the bytes of table and padding that go with them. */
uint64_t emr_store_block_entries(const struct emr_merge_plan *plan, size_t block_params);
uint64_t emr_store_table_bytes(const struct emr_merge_plan *plan);

#endif
