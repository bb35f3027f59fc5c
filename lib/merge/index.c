/* index.c - see index.h. */
#include "merge/index.h"

#include "modulator/kind.h"
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

/* Tensors that the bundle's base has: the merged ones, and others that some task takes from there. */
static bool is_in_bundle(const emr_alignment *a, uint32_t entry)
{
    return entry < a->n_merged || emr_entry_is_used(a, &a->entries[entry]);
}

/* `base_end` is where the tensors so far end in the base stream: those without elements lie there too. */
static bool index_tensor(emr_writer *w, const emr_merge_plan *plan, uint32_t number, uint64_t *base_end)
{
    const emr_entry *entry = &plan->alignment.entries[number];
    const emr_tensor *base = entry->base;
    uint64_t base_offset = base->bytes ? plan->base_offsets[number] : *base_end;
    bool merged = entry->action == EMR_ACTION_MERGE;
    emr_tensor_record r = {.name = emr_writer_string(w, base->name),
                           .shape = emr_writer_shape(w, base->rank, base->shape),
                           .rank = (uint16_t)base->rank,
                           .dtype = (uint16_t)base->dtype,
                           .merged = merged,
                           .first_param = merged ? entry->first_param : 0,
                           .base_offset = base_offset,
                           .hash_low = plan->hashes.found[number].low,
                           .hash_high = plan->hashes.found[number].high,
                           .first_row = merged ? entry->first_row : 0};
    uint8_t *p = emr_writer_record(w, EMR_SECTION_TENSORS, EMR_TENSOR_SIZE);
    if (!p || r.name == UINT32_MAX || r.shape == UINT32_MAX)
        return false;
    *base_end = base_offset + base->bytes;
    emr_encode_tensor(p, &r);
    return true;
}

/* The dtype in which a task's model has a tensor of the base. */
static emr_dtype task_dtype(const emr_alignment *a, uint32_t task, const emr_entry *entry)
{
    if (!emr_entry_from_base(entry, task))
        return EMR_DTYPE_NONE;
    const emr_tensor *own = emr_model_find_tensor(a->tasks[task].model, entry->base->name);
    return own ? own->dtype : entry->base->dtype;
}

static bool index_metadata(emr_writer *w, const emr_model *model, uint32_t owner)
{
    for (uint32_t i = 0; i < model->n_metadata; i++) {
        emr_metadata_record r = {owner, emr_writer_string(w, model->metadata[i].key),
                                 emr_writer_string(w, model->metadata[i].value)};
        uint8_t *p = emr_writer_record(w, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        if (!p || r.key == UINT32_MAX || r.value == UINT32_MAX)
            return false;
        emr_encode_metadata(p, &r);
    }
    return true;
}

static emr_summary summarise(const emr_merge_plan *plan)
{
    const emr_merge_options *o = &plan->options;
    const emr_alignment *a = &plan->alignment;
    return (emr_summary){.rescale = (uint8_t)o->rescale,
                         .rescale_per = (uint8_t)o->rescale_per,
                         .tie = (uint8_t)o->tie,
                         .unified_dtype = (uint8_t)o->unified_dtype,
                         .modulator = EMR_MODULATOR_KIND_MASK,
                         .on_nonfinite = (uint8_t)o->on_nonfinite,
                         .has_base = o->embed_base != 0,
                         .n_tasks = a->n_tasks,
                         .n_merged = a->n_merged,
                         .merged_params = a->merged_params,
                         .flat_params = a->flat_params,
                         .n_rows = a->n_rows};
}

static bool index_dtypes(emr_writer *w, const emr_alignment *a, uint32_t n_tensors)
{
    uint8_t *dtypes = emr_writer_record(w, EMR_SECTION_TASK_DTYPES, (size_t)a->n_tasks * n_tensors);
    for (uint32_t t = 0; dtypes && t < a->n_tasks; t++)
        for (uint32_t i = 0; i < a->n_base; i++)
            if (is_in_bundle(a, i))
                *dtypes++ = (uint8_t)task_dtype(a, t, &a->entries[i]);
    return dtypes != NULL;
}

static bool index_rescalers(emr_writer *w, const float *rescalers, size_t n)
{
    uint8_t *p = emr_writer_record(w, EMR_SECTION_RESCALERS, n * sizeof *rescalers);
    if (p)
        emr_store_f32(EMR_DTYPE_F32, p, rescalers, n);
    return p != NULL;
}

bool emr_index_plan(emr_writer *w, const emr_merge_plan *plan, const float *rescalers)
{
    const emr_alignment *a = &plan->alignment;
    emr_summary summary = summarise(plan);
    uint64_t base_end = 0;
    bool there = true;
    for (uint32_t i = 0; there && i < a->n_base; i++) {
        if (!is_in_bundle(a, i))
            continue;
        summary.n_tensors++;
        there = index_tensor(w, plan, i, &base_end);
    }
    there = there && index_dtypes(w, a, summary.n_tensors);
    if (there && rescalers)
        there = index_rescalers(w, rescalers, (size_t)a->n_tasks * a->n_merged);
    uint8_t *p = there ? emr_writer_record(w, EMR_SECTION_SUMMARY, EMR_SUMMARY_SIZE) : NULL;
    if (p)
        emr_encode_summary(p, &summary);
    return p && index_metadata(w, a->base, EMR_BASE);
}

bool emr_index_growth(emr_writer *w, const emr_merge_plan *plan, const double *numerators, size_t n)
{
    const emr_policy *policy = &plan->policy;
    emr_growth_record r = {.on_mismatch = (uint8_t)policy->on_mismatch,
                           .on_missing = (uint8_t)policy->on_missing,
                           .compression = plan->options.compression,
                           .block_params = plan->options.block_params,
                           .n_globs = policy->n_private_globs};
    size_t first = (size_t)emr_growth_numerators(r.n_globs);
    uint8_t *p = emr_writer_record(w, EMR_SECTION_GROWTH, first + 8 * n);
    if (!p)
        return false;
    emr_encode_growth(p, &r);
    for (uint32_t i = 0; i < r.n_globs; i++) {
        uint32_t at = emr_writer_string(w, policy->private_globs[i]);
        if (at == UINT32_MAX)
            return false;
        emr_store32(p + EMR_GROWTH_SIZE + 4 * (size_t)i, at);
    }
    for (size_t i = 0; i < n; i++)
        emr_store64(p + first + 8 * i, emr_f64_bits(numerators[i]));
    return true;
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
