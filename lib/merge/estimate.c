/* estimate.c - see estimate.h. */
#include "merge/estimate.h"

#include "bundle/bundle.h"
#include "core/text.h"
#include "merge/adding.h"
#include "model/arranged.h"

/* At most this much of the index is due to a tensor: its record, name and shape, once for the base and once
 * for each task that keeps its own; and its rescalers per tensor. */
static uint64_t index_bytes_of(const emr_merge_plan *plan, const emr_entry *entry)
{
    uint64_t record =
        EMR_TENSOR_SIZE + emr_text_length(entry->sample->name) + 1 + 8 * (uint64_t)entry->sample->rank;
    uint64_t rescaler =
        emr_merge_is_per(plan, EMR_RESCALE_PER_TENSOR) ? emr_merge_most_scales(plan) * sizeof(float) : 0;
    return record + plan->alignment.n_tasks * (1 + (entry->action == EMR_ACTION_MERGE ? 0 : record)) +
           (entry->action == EMR_ACTION_MERGE ? plan->modulations.n_elected * rescaler : 0);
}

static uint64_t metadata_bytes(const emr_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->n_metadata; i++)
        bytes += EMR_METADATA_SIZE + emr_text_length(model->metadata[i].key) + 1 +
                 emr_text_length(model->metadata[i].value) + 1;
    return bytes;
}

/* Whether a task lacks a tensor is forgotten when it takes the base's: that must not matter, now or later. */
static void estimate_entry(emr_merge_plan *plan, const emr_entry *entry)
{
    const emr_alignment *a = &plan->alignment;
    uint64_t base_bytes = entry->base ? entry->base->bytes : 0;
    for (uint32_t t = 0; entry->action != EMR_ACTION_MERGE && t < a->n_tasks; t++) {
        const emr_tensor *own = emr_alignment_tensor(a, entry, t + 1);
        uint64_t bytes = own ? own->bytes : 0;
        if (!a->tasks[t].copied && (own || entry->base))
            plan->loose_bytes += (bytes > base_bytes ? bytes : base_bytes) + EMR_TENSOR_ALIGNMENT;
    }
    if (emr_merge_embeds(plan) && emr_entry_is_used(a, entry))
        plan->loose_bytes += base_bytes + EMR_TENSOR_ALIGNMENT;
    plan->index_bytes += index_bytes_of(plan, entry);
}

static uint64_t glob_bytes(const char *const *globs, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += 4 + emr_text_length(globs[i]) + 2;
    return bytes;
}

/* What a source has otherwise than it is merged; of the base, in each of so many tasks that lack it, too. */
static uint64_t arrangement_bytes(const emr_model *model, uint32_t n_tasks)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const emr_tensor *t = model->tensors[i];
        if (emr_arranged_is_reshaped(t))
            bytes += n_tasks * (EMR_ARRANGEMENT_SIZE + 8 * (uint64_t)t->rank);
        if (t->own && !t->own->is_rest)
            bytes += EMR_ARRANGEMENT_SIZE + emr_text_length(t->own->name) + 1 + 8 * (uint64_t)t->rank;
    }
    return bytes;
}

/* What being extendable adds to the index. */
static uint64_t growth_bytes(const emr_merge_plan *plan)
{
    uint64_t n_tasks = plan->alignment.n_tasks;
    uint64_t bytes = EMR_GROWTH_SIZE + 8 + (3 + 3 * n_tasks) * EMR_STREAM_SIZE;
    bytes += glob_bytes(plan->policy.private_globs, plan->policy.n_private_globs) +
             glob_bytes(plan->policy.merge_globs, plan->policy.n_merge_globs) +
             glob_bytes(plan->policy.absent_globs, plan->policy.n_absent_globs) +
             glob_bytes(plan->policy.base_globs, plan->policy.n_base_globs);
    if (!emr_merge_is_per(plan, EMR_RESCALE_PER_ROW))
        bytes += n_tasks * sizeof(double) *
                 (emr_merge_is_per(plan, EMR_RESCALE_PER_TENSOR) ? plan->alignment.n_merged : 1);
    return bytes;
}

void emr_merge_estimate(emr_merge_plan *plan)
{
    const emr_alignment *a = &plan->alignment;
    plan->loose_bytes = 0;
    plan->coded = emr_coding_measure(a);
    plan->index_bytes = EMR_HEADER_SIZE + EMR_TRAILER_SIZE + EMR_N_SECTIONS * (EMR_SECTION_HEAD + 8) +
                        EMR_SUMMARY_SIZE + 2 * EMR_STREAM_SIZE + metadata_bytes(a->base) +
                        arrangement_bytes(a->base, a->n_tasks);
    for (uint32_t t = 0; t < a->n_tasks; t++)
        plan->index_bytes += EMR_TASK_SIZE + emr_text_length(a->tasks[t].name) + 1 + 3 * EMR_STREAM_SIZE +
                             metadata_bytes(a->tasks[t].model) + arrangement_bytes(a->tasks[t].model, 0);
    if (emr_merge_has_modulators(plan))
        plan->index_bytes += (uint64_t)a->n_tasks * EMR_MODULATOR_SIZE;
    if (plan->options.extendable)
        plan->index_bytes += growth_bytes(plan);
    plan->index_bytes += plan->modulations.n_coded * EMR_STREAM_SIZE;
    if (plan->copies)
        plan->index_bytes += plan->before->n_streams * EMR_STREAM_SIZE;
    if (emr_merge_is_per(plan, EMR_RESCALE_PER_ROW))
        plan->loose_bytes =
            a->n_rows * plan->modulations.n_elected *
            (emr_merge_most_scales(plan) * sizeof(float) + (plan->options.extendable ? sizeof(double) : 0));
    for (uint32_t i = 0; i < a->n_entries; i++)
        estimate_entry(plan, &a->entries[i]);
    plan->bytes_out = a->flat_params * emr_store_value_bytes(plan) +
                      a->flat_params / 8 * emr_store_plane_bits(plan) + emr_coding_stream_bytes(plan) +
                      emr_adding_bytes(plan) + plan->loose_bytes + plan->index_bytes;
}
