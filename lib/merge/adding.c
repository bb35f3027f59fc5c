/* adding.c - see adding.h. */
#include "merge/adding.h"

#include "bundle/block_copy.h"

#include <string.h>

/* A tensor that is compared is read more than once. */
emr_action emr_adding_choose(const void *bundle, const emr_tensor *base)
{
    const emr_bundle *b = bundle;
    uint32_t number;
    if (emr_bundle_find_tensor(b, base->name, &number, NULL) != EMR_OK)
        return EMR_ACTION_PRIVATE;
    if (!emr_bundle_tensor_record(b, number).merged)
        return base->kind == EMR_TENSOR_PUSHED ? EMR_ACTION_PRIVATE : EMR_ACTION_KEEP;
    return emr_dtype_is_float(base->dtype) ? EMR_ACTION_MERGE : EMR_ACTION_PRIVATE;
}

/* An embedded base is copied as it is: without tensors that all of the bundle's tasks keep themselves. */
static emr_status check_embedded(const emr_merge_plan *plan, emr_error *error)
{
    const emr_alignment *a = &plan->alignment;
    const emr_bundle *b = plan->before;
    uint32_t number;
    for (size_t i = 0; b->summary.has_base && i < a->n_entries; i++)
        for (uint32_t t = plan->n_old; t < a->n_tasks; t++) {
            const emr_entry *entry = &a->entries[i];
            if (entry->base && emr_entry_part(entry, t) == EMR_PART_BASE &&
                emr_bundle_find_tensor(b, entry->base->name, &number, NULL) != EMR_OK)
                return emr_fail(
                    error, EMR_EMISMATCH,
                    "task '%K' (%F): tensor '%T' is absent, and not in the base that is embedded in "
                    "%s, so the task must go without it (--on-missing absent)",
                    a->tasks[t].name, a->tasks[t].model->name, entry->base->name, b->name);
        }
    return EMR_OK;
}

emr_status emr_adding_offsets(emr_merge_plan *plan, emr_error *error)
{
    const emr_bundle *b = plan->before;
    emr_status status = check_embedded(plan, error);
    if (status)
        return status;
    for (uint32_t i = 0; i < b->summary.n_tensors; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        const emr_entry *entry = emr_alignment_find(&plan->alignment, emr_bundle_string(b, r.name));
        plan->base_offsets[entry - plan->alignment.entries] = r.base_offset;
    }
    return EMR_OK;
}

static bool is_stream_kept(const emr_stream_record *s)
{
    const emr_stream_rule *rule = emr_stream_rule_of(s->kind);
    return rule && !rule->growth;
}

static bool index_old_private(const emr_adding *adding)
{
    const emr_bundle *b = adding->plan->before;
    bool there = true;
    for (size_t i = 0; there && i < b->n_private; i++) {
        emr_private_record r = emr_bundle_private_record(b, i);
        uint8_t *p = emr_writer_record(adding->writer, EMR_SECTION_PRIVATE, EMR_PRIVATE_SIZE);
        r.name = emr_writer_string(adding->writer, emr_bundle_string(b, r.name));
        r.shape = emr_writer_shape(adding->writer, r.rank, emr_bundle_shape(b, r.shape));
        there = p && r.name != UINT32_MAX && r.shape != UINT32_MAX;
        if (there)
            emr_encode_private(p, &r);
    }
    return there;
}

emr_status emr_adding_create(emr_adding *adding, const emr_merge_plan *plan, emr_writer *writer,
                             emr_error *error)
{
    const emr_bundle *b = plan->before;
    *adding = (emr_adding){.plan = plan, .writer = writer};
    adding->streams = emr_allocate_array(&plan->env.allocator, b->n_streams, sizeof *adding->streams);
    bool there = adding->streams != NULL;
    for (size_t i = 0; there && i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        adding->streams[i] = EMR_NO_STREAM;
        if (!is_stream_kept(&s))
            continue;
        adding->streams[i] = emr_writer_stream(writer, (enum emr_stream_kind)s.kind, s.owner, s.block_bytes,
                                               EMR_TEXTURE_UNKNOWN);
        there = adding->streams[i] != EMR_NO_MEMORY_STREAM;
    }
    return there && index_old_private(adding) ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_adding_destroy(emr_adding *adding)
{
    if (adding->plan)
        emr_release(&adding->plan->env.allocator, adding->streams);
}

uint64_t emr_adding_memory(const emr_merge_plan *plan)
{
    const emr_bundle *b = plan->before;
    return plan->copies ? b->n_streams * sizeof(size_t) + emr_copy_memory(b) : 0;
}

/* The input has passed: there is nothing more to count, but stopping is still possible. */
static emr_status note_copied(void *context, uint64_t bytes, emr_error *error)
{
    const emr_merge_plan *plan = context;
    uint64_t total = plan->alignment.merged_bytes + plan->alignment.loose_bytes;
    (void)bytes;
    return emr_env_progress(&plan->env, total, total, "the merge", error);
}

emr_status emr_adding_copy(const emr_adding *adding, emr_error *error)
{
    const emr_block_copy copy = {.bundle = adding->plan->before,
                                 .allocator = &adding->plan->env.allocator,
                                 .writer = adding->writer,
                                 .streams = adding->streams,
                                 .advance = note_copied,
                                 .context = (void *)(uintptr_t)adding->plan};
    return emr_copy_blocks(&copy, error);
}

static bool index_old_metadata(const emr_adding *adding)
{
    const emr_bundle *b = adding->plan->before;
    bool there = true;
    for (size_t i = 0; there && i < b->n_metadata; i++) {
        emr_metadata_record r = emr_bundle_metadata_record(b, i);
        if (r.owner != EMR_BASE)
            continue;
        uint8_t *p = emr_writer_record(adding->writer, EMR_SECTION_METADATA, EMR_METADATA_SIZE);
        r.key = emr_writer_string(adding->writer, emr_bundle_string(b, r.key));
        r.value = emr_writer_string(adding->writer, emr_bundle_string(b, r.value));
        there = p && r.key != UINT32_MAX && r.value != UINT32_MAX;
        if (there)
            emr_encode_metadata(p, &r);
    }
    return there;
}

bool emr_adding_index(const emr_adding *adding)
{
    const emr_section *rescalers = &adding->plan->before->sections[EMR_SECTION_RESCALERS];
    uint8_t *p = emr_writer_record(adding->writer, EMR_SECTION_RESCALERS, (size_t)rescalers->size);
    if (p && rescalers->size)
        memcpy(p, rescalers->data, (size_t)rescalers->size);
    return p && index_old_metadata(adding);
}

emr_task_report emr_adding_report(const emr_merge_plan *plan, uint32_t task)
{
    emr_task_record r = emr_bundle_task_record(plan->before, task);
    return (emr_task_report){.size = sizeof(emr_task_report),
                             .name = emr_bundle_task_name(plan->before, task),
                             .mask_ones = r.ones,
                             .zeroed = r.zeroed,
                             .rescaler = r.rescaler,
                             .empty_mask = r.empty_mask,
                             .other_rescaler =
                                 emr_bundle_modulator_record(plan->before, task).other_rescaler};
}

uint64_t emr_adding_bytes(const emr_merge_plan *plan)
{
    return plan->copies ? plan->before->index_offset : 0;
}
