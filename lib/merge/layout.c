/* layout.c - see layout.h. */
#include "merge/layout.h"

#include "bundle/writer.h"
#include "merge/driver.h"
#include "merge/emr_step.h"
#include "numeric/convert.h"
#include "numeric/kernels.h"

enum {
    WINDOW_MAX = 1 << 20,   /* parameters; more does not make reads any faster */
    WORKER_BYTES = 1024,    /* a worker's sentence of failure */
    WINDOW_GOOD = 64 << 10, /* less does make them slower */
    TABLE_GOOD = 256 << 10, /* entries of the block table */
    STAGING_GOOD = 8 << 20, /* bytes; more falls out of the processor's caches before it is used */
};

#define DEFAULT_MEMORY ((uint64_t)256 << 20)

size_t emr_staging_size(const emr_plan *plan, size_t s)
{
    size_t size = 0;
    for (size_t i = 0; i < plan->n_merged; i++) {
        const emr_tensor *t = s == 0 ? plan->rows[i].base
                                     : emr_model_find(plan->tasks[s - 1].model, plan->rows[i].sample->name);
        if (t && t->kind != EMR_TENSOR_MEMORY && emr_float_size(t->dtype) > size)
            size = emr_float_size(t->dtype);
    }
    return size;
}

static void measure(emr_layout *l, const emr_plan *plan, size_t staging_per_param, bool writes)
{
    l->max_items = (size_t)emr_min(l->window_params / 256, 1024);
    l->buffer_params = l->window_params > l->block_params ? l->window_params : l->block_params;
    l->value_block_bytes =
        (uint32_t)l->block_params; /* a quarter of a superblock in F32, half of one in F16 */
    l->mask_block_bytes = (uint32_t)l->block_params / 8;
    l->n_slots = 2 * l->n_workers;
    l->memory = l->window_params * staging_per_param + emr_driver_memory(plan, l) + emr_step_memory(plan, l);
    l->memory += l->n_workers * WORKER_BYTES;
    if (writes)
        l->memory +=
            emr_writer_memory(l->n_slots, l->n_workers, l->value_block_bytes, plan->options->compression);
}

uint64_t emr_stream_count(const emr_plan *plan)
{
    return 2 + 3 * (uint64_t)plan->n_tasks;
}

uint64_t emr_block_entries(const emr_plan *plan, size_t block_params)
{
    uint64_t value_blocks = plan->options->unified_dtype == EMR_F32 ? 4 : 2;
    return (plan->flat_params / block_params + 1) * (value_blocks + plan->n_tasks) +
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

emr_status emr_layout_choose(emr_layout *l, const emr_plan *plan, bool writes, emr_error *error)
{
    uint64_t cap = plan->options->memory_bytes ? plan->options->memory_bytes : DEFAULT_MEMORY;
    size_t concurrency = plan->options->executor ? plan->options->executor->concurrency : 1;
    size_t staging = 0, largest = WINDOW_MAX;
    for (size_t s = 0; s <= plan->n_tasks; s++)
        staging += emr_staging_size(plan, s);
    while (largest > WINDOW_GOOD && largest * staging > STAGING_GOOD)
        largest /= 2;
    for (size_t workers = concurrency ? concurrency : 1; workers > 0; workers /= 2) {
        size_t smallest = workers == 1 ? EMR_CHUNK : WINDOW_GOOD;
        for (size_t window = largest; window >= smallest; window /= 2) {
            *l = (emr_layout){
                .window_params = window, .block_params = block_params(plan), .n_workers = workers};
            measure(l, plan, staging, writes);
            if (l->memory <= cap)
                return EMR_OK;
        }
    }
    return emr_fail(error, EMR_ELIMIT, "%u bytes of memory are too little for %u tasks, %u would do", cap,
                    (uint64_t)plan->n_tasks, l->memory);
}
