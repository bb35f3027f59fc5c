/* index.c - see index.h. */
#include "merge/index.h"

#include "numeric/convert.h"

bool emr_index_private(emr_writer *w, uint32_t task, const emr_tensor *tensor, uint64_t offset)
{
    emr_private_record r = {.task = task,
                            .name = emr_writer_string(w, tensor->name),
                            .shape = emr_writer_shape(w, tensor->rank, tensor->shape),
                            .rank = (uint16_t)tensor->rank,
                            .dtype = (uint16_t)tensor->dtype,
                            .offset = offset};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    emr_encode_private(p, &r);
    return true;
}

/* Rows that the bundle's base has: the merged ones, and others that some task takes from there. */
static bool in_bundle(const emr_plan *plan, size_t row)
{
    if (row < plan->n_merged)
        return true;
    for (size_t t = 0; t < plan->n_tasks; t++)
        if (emr_row_from_base(&plan->rows[row], t))
            return true;
    return false;
}

/* `base_end` is where the tensors so far end in the base stream: those without elements lie there too. */
static bool index_tensor(emr_writer *w, const emr_row *row, uint64_t *base_end)
{
    uint64_t base_offset = row->base->bytes ? row->base_offset : *base_end;
    bool merged = row->action == EMR_ACTION_MERGE;
    emr_tensor_record r = {.name = emr_writer_string(w, row->base->name),
                           .shape = emr_writer_shape(w, row->base->rank, row->base->shape),
                           .rank = (uint16_t)row->base->rank,
                           .dtype = (uint16_t)row->base->dtype,
                           .merged = merged,
                           .first_param = merged ? row->first_param : 0,
                           .base_offset = base_offset,
                           .hash_low = row->hash.low,
                           .hash_high = row->hash.high,
                           .first_row = merged ? row->first_row : 0};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    *base_end = base_offset + row->base->bytes;
    emr_encode_tensor(p, &r);
    return true;
}

/* The dtype in which a task's model has a tensor of the base. */
static emr_dtype task_dtype(const emr_plan *plan, size_t task, const emr_row *row)
{
    if (!emr_row_from_base(row, task))
        return EMR_DTYPE_NONE;
    const emr_tensor *own = emr_model_find(plan->tasks[task].model, row->base->name);
    return own ? own->dtype : row->base->dtype;
}

static bool index_metadata(emr_writer *w, const emr_model *model, uint32_t owner)
{
    for (size_t i = 0; i < model->n_metadata; i++) {
        emr_metadata_record r = {owner, emr_writer_string(w, model->metadata[i].key),
                                 emr_writer_string(w, model->metadata[i].value)};
        uint8_t *p = emr_writer_record(w, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        if (!p || r.key == UINT32_MAX || r.value == UINT32_MAX)
            return false;
        emr_encode_metadata(p, &r);
    }
    return true;
}

bool emr_index_plan(emr_writer *w, const emr_plan *plan, const float *rescalers)
{
    const emr_merge_options *o = plan->options;
    emr_summary summary = {.rescale = (uint8_t)o->rescale,
                           .rescale_per = (uint8_t)o->rescale_per,
                           .tie = (uint8_t)o->tie,
                           .unified_dtype = (uint8_t)o->unified_dtype,
                           .modulator = EMR_MODULATOR_MASK,
                           .on_nonfinite = (uint8_t)o->on_nonfinite,
                           .has_base = o->embed_base != 0,
                           .n_tasks = (uint32_t)plan->n_tasks,
                           .n_merged = (uint32_t)plan->n_merged,
                           .merged_params = plan->merged_params,
                           .flat_params = plan->flat_params,
                           .n_rows = plan->row_count};
    uint8_t *dtypes, *p;
    uint64_t base_end = 0;
    for (size_t i = 0; i < plan->n_base; i++) {
        if (in_bundle(plan, i)) {
            summary.n_tensors++;
            if (!index_tensor(w, &plan->rows[i], &base_end))
                return false;
        }
    }
    dtypes = emr_writer_record(w, EMR_SECTION_TASK_DTYPES, plan->n_tasks * summary.n_tensors);
    for (size_t t = 0; dtypes && t < plan->n_tasks; t++)
        for (size_t i = 0; i < plan->n_base; i++)
            if (in_bundle(plan, i))
                *dtypes++ = (uint8_t)task_dtype(plan, t, &plan->rows[i]);
    p = rescalers ? emr_writer_record(w, EMR_SECTION_RESCALERS, plan->n_tasks * plan->n_merged * 4) : NULL;
    if (p)
        emr_store_f32(EMR_DTYPE_F32, p, rescalers, plan->n_tasks * plan->n_merged);
    if (!dtypes || (rescalers && !p))
        return false;
    p = emr_writer_record(w, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE);
    if (p)
        emr_encode_summary(p, &summary);
    return p && index_metadata(w, plan->base, EMR_BASE);
}

uint8_t *emr_index_growth(emr_writer *w, const emr_plan *plan, size_t n_numerators)
{
    const emr_merge_options *o = plan->options;
    emr_growth_record r = {.on_mismatch = (uint8_t)o->on_mismatch,
                           .on_missing = (uint8_t)o->on_missing,
                           .compression = o->compression,
                           .block_params = o->block_params,
                           .n_globs = (uint32_t)o->n_private_globs};
    size_t first = (size_t)emr_growth_numerators(r.n_globs);
    uint8_t *p = emr_writer_record(w, EMR_SECTION_GROWTH, first + 8 * n_numerators);
    if (!p)
        return NULL;
    emr_encode_growth(p, &r);
    for (size_t i = 0; i < o->n_private_globs; i++) {
        uint32_t at = emr_writer_string(w, o->private_globs[i]);
        if (at == UINT32_MAX)
            return NULL;
        emr_store32(p + EMR_GROWTH_SIZE + 4 * i, at);
    }
    return p + first;
}

bool emr_index_task(emr_writer *w, const emr_task *task, uint32_t number, const emr_task_report *report)
{
    emr_task_record r = {emr_writer_string(w, task->name), report->rescaler, report->mask_ones,
                         report->zeroed, (uint32_t)report->empty_mask};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_TASKS, EMR_TASK_SIZE);
    if (!p || r.name == UINT32_MAX)
        return false;
    emr_encode_task(p, &r);
    return index_metadata(w, task->model, number);
}
