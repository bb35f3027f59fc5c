/* layout.c - see layout.h. */
#include "merge/layout.h"

#include "merge/driver.h"
#include "merge/emr_step.h"
#include "merge/window.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

enum {
    WINDOW_MAX = 1 << 20,   /* parameters; more is of no use, unless there are many workers */
    WINDOW_MIN = 64 << 10,  /* less makes rounds too short for the threads to meet in */
    WORKER_BYTES = 1024,    /* a worker's sentence of failure */
    TABLE_GOOD = 256 << 10, /* entries of the block table */
    WINDOW_GOOD = 8 << 20,  /* bytes of all sources in a window */
    JOB_GOOD = 1 << 20, /* bytes that a worker reads at a time: what stays in its caches until it computes */
    JOBS_GOOD = 4,      /* in a window, for each worker */
    LOOSE_BLOCKS = 16,  /* appended blocks under way at a time */
};

#define DEFAULT_MEMORY ((uint64_t)256 << 20)

/* What a parameter takes of the sources' memory. */
static void measure_sources(emr_layout *l, const emr_plan *plan)
{
    l->window_size = l->worker_size = 0;
    for (size_t s = 0; s <= plan->n_tasks; s++) {
        l->window_size += emr_window_size(plan, s) * (s == 0 ? 2 : 1);
        l->worker_size += emr_worker_size(plan, s);
    }
}

/* Rows that the items of a window touch at most: each item may begin and end within one. */
static size_t count_rows(const emr_layout *l, const emr_plan *plan)
{
    if (plan->options->rescale_per != EMR_RESCALE_PER_ROW)
        return 0;
    uint64_t most = emr_min(l->window_params / plan->shortest_row, plan->row_count);
    return (size_t)most + 2 * l->max_items;
}

/* Blocks of an embedded base in the rounds that they are under way. */
static size_t base_blocks(const emr_layout *l, const emr_plan *plan)
{
    size_t size = plan->options->embed_base ? 8 : 0; /* of an element at most */
    return 3 * (l->window_params * size / l->value_block_bytes);
}

static void measure(emr_layout *l, const emr_plan *plan, bool writes, uint64_t besides)
{
    size_t value_size = emr_value_size(plan), n_planes = emr_plane_count(plan);
    l->max_items = (size_t)emr_min(l->window_params / 256, 1024);
    l->max_rows = count_rows(l, plan);
    l->buffer_params = l->window_params > l->block_params ? l->window_params : l->block_params;
    l->value_block_bytes =
        (uint32_t)l->block_params; /* a quarter of a superblock in F32, half of one in F16 */
    l->mask_block_bytes = (uint32_t)l->block_params / 8;
    l->writer = (emr_writer_limits){
        .put_bytes = l->buffer_params * value_size + l->buffer_params / 8 * n_planes,
        .put_blocks = l->buffer_params / l->block_params * (value_size + n_planes),
        .loose_bytes = l->value_block_bytes,
        .loose_blocks = l->n_buffers > 1 && plan->loose_bytes ? LOOSE_BLOCKS + base_blocks(l, plan) : 1,
        .compression = plan->options->compression,
        .overlap = l->n_buffers > 1,
    };
    if (!l->writer.overlap) { /* a few blocks at a time will do */
        size_t few = l->n_workers;
        l->writer.put_bytes = (size_t)emr_min(l->writer.put_bytes, few * l->value_block_bytes);
        l->writer.put_blocks = (size_t)emr_min(l->writer.put_blocks, 8 * few);
    }
    l->memory = emr_driver_memory(plan, l) + emr_step_memory(plan, l) + l->n_workers * WORKER_BYTES + besides;
    if (writes)
        l->memory += emr_writer_memory(&l->writer, l->n_workers);
}

uint64_t emr_stream_count(const emr_plan *plan)
{
    uint64_t growth = plan->options->extendable ? 3 + 3 * (uint64_t)plan->n_tasks : 0;
    return 2 + 3 * (uint64_t)plan->n_tasks + growth;
}

uint64_t emr_block_entries(const emr_plan *plan, size_t block_params)
{
    return (plan->flat_params / block_params + 1) * (emr_value_size(plan) + emr_plane_count(plan)) +
           plan->loose_bytes / block_params + emr_stream_count(plan);
}

uint64_t emr_layout_table_bytes(const emr_layout *l, const emr_plan *plan)
{
    return emr_block_entries(plan, l->block_params) * (EMR_BLOCK_SIZE + EMR_RAW_ALIGNMENT);
}

/* Larger blocks for larger models, so that the block table stays small: a matter of the plan alone, because
 * the bytes of the bundle depend on it. */
static size_t block_params(const emr_plan *plan)
{
    size_t params = EMR_BLOCK_PARAMS_DEFAULT;
    if (plan->options->block_params)
        return plan->options->block_params;
    while (params < EMR_BLOCK_PARAMS_MAX && emr_block_entries(plan, params) > TABLE_GOOD)
        params *= 2;
    return params;
}

/* As many parameters as make `good` bytes, a power of two from `least` to `most`. */
static size_t fitting(size_t most, size_t least, size_t size, size_t good)
{
    size_t params = most;
    while (params > least && params * size > good)
        params /= 2;
    return params;
}

/* Bytes of all sources for a parameter. */
static size_t source_bytes(const emr_plan *plan)
{
    size_t size = 0;
    for (size_t s = 0; s <= plan->n_tasks; s++) {
        size_t window = emr_window_size(plan, s), worker = emr_worker_size(plan, s);
        size += window > worker ? window : worker;
    }
    return size;
}

static bool fits(emr_layout *l, const emr_plan *plan, bool writes, uint64_t besides, uint64_t cap,
                 size_t n_buffers)
{
    l->n_buffers = n_buffers;
    measure(l, plan, writes, besides);
    return l->memory <= cap;
}

emr_status emr_layout_choose(emr_layout *l, const emr_plan *plan, bool writes, uint64_t besides,
                             emr_error *error)
{
    uint64_t cap = plan->options->memory_bytes ? plan->options->memory_bytes : DEFAULT_MEMORY;
    size_t concurrency = plan->options->executor ? plan->options->executor->concurrency : 1;
    size_t largest = fitting(WINDOW_MAX, WINDOW_MIN, source_bytes(plan), WINDOW_GOOD), whole = EMR_CHUNK;
    while (whole < WINDOW_MAX * 4 && whole < plan->flat_params)
        whole *= 2;
    *l = (emr_layout){.block_params = block_params(plan)};
    measure_sources(l, plan);
    for (size_t workers = concurrency ? concurrency : 1; workers > 0; workers /= 2) {
        size_t smallest = workers == 1 ? EMR_CHUNK : WINDOW_MIN;
        l->n_workers = workers;
        l->job_params = fitting(WINDOW_MIN, EMR_CHUNK, l->worker_size, JOB_GOOD);
        l->window_params = largest;
        while (l->window_params < WINDOW_MAX * 4 && l->window_params / l->job_params < JOBS_GOOD * workers)
            l->window_params *= 2;
        l->window_params = (size_t)emr_min(l->window_params, whole); /* more than the model is of no use */
        smallest = (size_t)emr_min(smallest, whole);
        for (; l->window_params >= smallest; l->window_params /= 2) {
            l->job_params = l->job_params < l->window_params ? l->job_params : l->window_params;
            bool one = l->window_params >= plan->flat_params; /* window: nothing to overlap with */
            if ((!one && fits(l, plan, writes, besides, cap, 3)) || fits(l, plan, writes, besides, cap, 1))
                return EMR_OK;
        }
    }
    return emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little for %u tasks, %u would do", cap,
                    (uint64_t)plan->n_tasks, l->memory);
}
