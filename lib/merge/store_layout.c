/* store_layout.c - see store_layout.h. */
#include "merge/store_layout.h"

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

/* Unified values and base; a task's masks, row rescalers and private tensors; what growing needs. */
uint64_t emr_store_streams(const emr_merge_plan *plan)
{
    uint64_t n_tasks = plan->alignment.n_tasks;
    return 2 + 3 * n_tasks + (plan->options.extendable ? 3 + 3 * n_tasks : 0);
}

uint64_t emr_store_block_entries(const emr_merge_plan *plan, size_t block_params)
{
    uint64_t of_params = emr_store_value_bytes(plan) + emr_store_plane_bits(plan);
    return (plan->alignment.flat_params / block_params + 1) * of_params + plan->loose_bytes / block_params +
           emr_store_streams(plan);
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

/* Rows that the items of a window touch at most: each item may begin and end within one. */
static size_t count_rows(const emr_merge_plan *plan, const emr_layout *l)
{
    const emr_alignment *a = &plan->alignment;
    if (!emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) || !plan->modulations.n_elected)
        return 0;
    return (size_t)emr_min(l->window_params / a->shortest_row, a->n_rows) + 2 * l->max_items;
}

/* Blocks of an embedded base in the rounds that they are under way. */
static size_t base_blocks(const emr_merge_plan *plan, const emr_layout *l)
{
    size_t size = plan->options.embed_base ? 8 : 0; /* of an element at most */
    return 3 * (l->window_params * size / plan->store.value_block_bytes);
}

static void limit_writer(emr_merge_plan *plan, const emr_layout *l)
{
    emr_store_layout *s = &plan->store;
    size_t value_bytes = emr_store_value_bytes(plan), plane_bits = emr_store_plane_bits(plan);
    bool overlaps = s->n_buffers > 1;
    s->writer = (emr_writer_limits){
        .put_bytes = s->buffer_params * value_bytes + s->buffer_params / 8 * plane_bits,
        .put_blocks = s->buffer_params / s->block_params * (value_bytes + plane_bits),
        .loose_bytes = s->value_block_bytes,
        .loose_blocks = overlaps && plan->loose_bytes ? LOOSE_BLOCKS + base_blocks(plan, l) : 1,
        .compression = plan->options.compression,
        .overlap = overlaps,
    };
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
    s->max_rows = count_rows(plan, l);
    s->buffer_params = l->span_params;
    s->value_block_bytes =
        (uint32_t)s->block_params; /* a quarter of a superblock in F32, half of one in F16 */
    s->mask_block_bytes = (uint32_t)s->block_params / 8;
    limit_writer(plan, l);
}
