/* store_layout.c - see store_layout.h. */
#include "merge/store_layout.h"

#include "bundle/bundle.h"
#include "merge/plan.h"
#include "merge/streams.h"

enum {
    TABLE_GOOD = 256 << 10, /* entries of the block table */
    LOOSE_BLOCKS = 16,      /* appended blocks under way at a time */
};

size_t emr_store_value_bytes(const emr_merge_plan *plan)
{
    size_t bytes = 0, n = plan->modulations.n_elected > 0;
    for (size_t i = 0; i < (plan->options.extendable ? EMR_N_VALUES : n); i++)
        bytes += emr_value_size(i, plan->options.unified_dtype);
    return bytes;
}

size_t emr_store_plane_bits(const emr_merge_plan *plan)
{
    return plan->modulations.n_elected * (size_t)(plan->options.extendable ? EMR_N_PLANES : 1);
}

/* Unified values and base; a task's masks, row rescalers and private tensors; codes, scales, columns and differences;
 * what growing needs; those of a bundle that is copied. */
uint64_t emr_store_streams(const emr_merge_plan *plan)
{
    uint64_t n_tasks = plan->alignment.n_tasks;
    uint64_t copied = plan->copies ? plan->before->n_streams : 0;
    return copied + 2 + 3 * n_tasks + 4 * (uint64_t)plan->modulations.n_coded +
           (plan->options.extendable ? 3 + 3 * n_tasks : 0);
}

uint64_t emr_store_block_entries(const emr_merge_plan *plan, size_t block_params)
{
    uint64_t of_params = emr_store_value_bytes(plan) + emr_store_plane_bits(plan);
    uint64_t copied = plan->copies ? plan->before->n_blocks : 0;
    return copied + (plan->alignment.flat_params / block_params + 1) * of_params +
           plan->loose_bytes / block_params + emr_store_streams(plan) + emr_coding_blocks(plan, block_params);
}

uint64_t emr_store_table_bytes(const emr_merge_plan *plan)
{
    return emr_store_block_entries(plan, plan->store.block_params) * (EMR_BLOCK_SIZE + EMR_RAW_ALIGNMENT);
}

size_t emr_store_block_params(const emr_merge_plan *plan)
{
    size_t params = EMR_BLOCK_PARAMS_DEFAULT;
    if (plan->options.block_params)
        return plan->options.block_params;
    while (params < EMR_BLOCK_PARAMS_MAX && emr_store_block_entries(plan, params) > TABLE_GOOD)
        params *= 2;
    return params;
}

/* Rows that the items of a window touch at most: each item may begin and end within one. It is of one tensor. */
static size_t count_parts(const emr_merge_plan *plan, const emr_layout *l)
{
    const emr_alignment *a = &plan->alignment;
    if (!emr_merge_is_per(plan, EMR_RESCALE_PER_ROW))
        return l->max_items;
    return (size_t)emr_min(l->window_params / a->shortest_row, a->n_rows) + 2 * l->max_items;
}

/* Blocks of an embedded base in the rounds that they are under way. */
static size_t base_blocks(const emr_merge_plan *plan, const emr_layout *l)
{
    size_t size = emr_merge_embeds(plan) ? 8 : 0; /* of an element at most */
    return 3 * (l->window_params * size / plan->store.value_block_bytes);
}

/* Blocks of tasks that share nothing, and their bytes, that a number of windows fill. */
static size_t coded_limits(const emr_merge_plan *plan, const emr_layout *l, size_t n_windows, size_t *bytes)
{
    size_t n_tasks = plan->modulations.n_coded, blocks = 0;
    *bytes = 0;
    if (!n_tasks)
        return 0;
    for (uint32_t i = 0; i < n_tasks; i++) {
        emr_coding coding = emr_coding_of_matrices(&plan->modulations.specs[plan->modulations.coded[i]]);
        size_t block = emr_coding_block_bytes(&coding, plan->store.block_params);
        size_t n = 1 + l->window_params / EMR_CODE_UNIT * coding.rate / block;
        blocks += n;
        *bytes += n * block;
    }
    size_t small = emr_coding_small_bytes(plan->store.block_params);
    size_t rest = (size_t)(emr_coding_window_bytes(plan, l) / small) + 3 * n_tasks;
    *bytes = n_windows * (*bytes + rest * small);
    return n_windows * (blocks + rest);
}

static void limit_writer(emr_merge_plan *plan, const emr_layout *l)
{
    emr_store_layout *s = &plan->store;
    size_t value_bytes = emr_store_value_bytes(plan), plane_bits = emr_store_plane_bits(plan);
    bool overlaps = s->n_buffers > 1;
    size_t coded_bytes, coded_blocks = coded_limits(plan, l, overlaps ? 3 : 1, &coded_bytes);
    s->writer = (emr_writer_limits){
        .put_bytes = s->buffer_params * value_bytes + s->buffer_params / 8 * plane_bits,
        .put_blocks = s->buffer_params / s->block_params * (value_bytes + plane_bits),
        .loose_bytes = s->value_block_bytes,
        .loose_blocks = overlaps && plan->loose_bytes ? LOOSE_BLOCKS + base_blocks(plan, l) : 1,
        .compression = plan->options.compression,
        .overlap = overlaps,
    };
    if (coded_blocks)
        s->writer.loose_total = s->writer.loose_blocks * s->writer.loose_bytes + coded_bytes;
    s->writer.loose_blocks += coded_blocks;
    if (!overlaps) { /* a few blocks at a time will do */
        size_t few = l->n_workers;
        s->writer.put_bytes = (size_t)emr_min(s->writer.put_bytes, few * s->value_block_bytes);
        s->writer.put_blocks = (size_t)emr_min(s->writer.put_blocks, 8 * few);
    }
}

void emr_store_layout_set(emr_merge_plan *plan, const emr_layout *l, size_t n_buffers)
{
    emr_store_layout *s = &plan->store;
    s->n_buffers = n_buffers;
    s->max_parts = count_parts(plan, l);
    s->buffer_params = l->span_params;
    s->value_block_bytes =
        (uint32_t)s->block_params; /* a quarter of a superblock in F32, half of one in F16 */
    s->mask_block_bytes = (uint32_t)s->block_params / 8;
    limit_writer(plan, l);
}
