/* part_step.c - see part_step.h. */
#include "merge/part_step.h"

#include "core/bytes.h"

enum { CODED_NUMBERS = sizeof(emr_coded_sums) / sizeof(double) };

static emr_status put_record(emr_merge_step *s, emr_part_record r, const void *bytes, emr_error *error)
{
    return emr_part_put(s->plan->store.writer.part, r, bytes, false, error);
}

size_t emr_told_bytes(const emr_merge_plan *plan)
{
    size_t n = (size_t)plan->modulations.n_coded * CODED_NUMBERS;
    for (uint32_t t = 0; t < plan->modulations.n_elected; t++)
        n += emr_rescaling_n_told(plan, t);
    return EMR_TOLD_HEAD + n * sizeof(double);
}

uint64_t emr_part_step_memory(const emr_merge_plan *plan)
{
    uint64_t tallies = plan->alignment.n_tasks * (EMR_N_TALLIES + EMR_N_CODER_TALLIES) * sizeof(uint64_t);
    return plan->n_parts ? emr_told_bytes(plan) + tallies + (uint64_t)plan->alignment.n_base * EMR_HASH_BYTES
                         : 0;
}

emr_status emr_part_step_begin(emr_merge_step *s, emr_error *error)
{
    const emr_merge_plan *plan = s->plan;
    s->told = emr_allocate(&plan->env.allocator, emr_told_bytes(plan));
    s->sums = emr_writer_sums(s->writer, plan->store.value_block_bytes);
    if (!s->told || s->sums == EMR_NO_MEMORY_STREAM)
        return emr_no_memory(error, NULL);
    emr_store_begin_at(&s->store, plan->range.first);
    if (s->coders.n_tasks)
        emr_coders_begin_at(&s->coders, plan->range.first);
    s->position = plan->range.begin;
    return EMR_OK;
}

/* Into numbers of the file, in place. */
static uint8_t *store_doubles(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++, p += sizeof(double)) {
        double number;
        memcpy(&number, p, sizeof number);
        emr_store64(p, emr_f64_bits(number));
    }
    return p;
}

static uint8_t *tell_elected(const emr_merge_step *s, const emr_item *item, size_t index)
{
    uint8_t *p = s->told + EMR_TOLD_HEAD;
    for (uint32_t t = 0; t < s->election.n_tasks; t++) {
        emr_rescaling_tell(&s->rescaling, item, index, t, (double *)(void *)p);
        p = store_doubles(p, emr_rescaling_n_told(s->plan, t));
    }
    return p;
}

/* Whether sums of items are told, and those are changed by folding. */
static bool is_told_before(const emr_merge_step *s, const emr_item *item)
{
    return emr_merge_is_split(s->plan, item->entry) && !emr_merge_is_per(s->plan, EMR_RESCALE_PER_ROW);
}

void emr_part_step_before(emr_merge_step *s, const emr_item *item, size_t index)
{
    if (is_told_before(s, item))
        tell_elected(s, item, index);
}

emr_status emr_part_step_fold(emr_merge_step *s, const emr_item *item, size_t index, emr_error *error)
{
    bool split = emr_merge_is_split(s->plan, item->entry), first = item->first == 0;
    bool ends = item->first + item->n == item->entry->base->count;
    size_t bytes = emr_told_bytes(s->plan);
    if (!split && !ends)
        return EMR_OK;
    if (!is_told_before(s, item))
        tell_elected(s, item, index);
    emr_store32(s->told, item->number);
    emr_store32(s->told + 4, (!split || first ? EMR_TOLD_BEGINS : 0u) | (ends ? EMR_TOLD_ENDS : 0u));
    uint8_t *p = s->told + bytes - s->coders.n_tasks * sizeof(emr_coded_sums);
    for (uint32_t i = 0; i < s->coders.n_tasks; i++) {
        emr_coded_sums sums;
        emr_coders_tell(&s->coders, item, index, i, &sums);
        memcpy(p, &sums, sizeof sums);
        p = store_doubles(p, CODED_NUMBERS);
    }
    return emr_writer_append(s->writer, s->sums, s->told, bytes, error);
}

/* What was counted, and the bits of codes that do not fill a byte where flat space ends. */
static emr_status put_tallies(emr_merge_step *s, emr_error *error)
{
    const emr_merge_plan *plan = s->plan;
    size_t n =
        (size_t)plan->alignment.n_tasks * EMR_N_TALLIES + (size_t)s->coders.n_tasks * EMR_N_CODER_TALLIES;
    uint8_t *bytes = emr_allocate_array(&plan->env.allocator, n, sizeof(uint64_t)), *p = bytes;
    if (!bytes)
        return emr_no_memory(error, NULL);
    for (uint32_t t = 0; t < plan->alignment.n_tasks; t++, p += EMR_N_TALLIES * 8) {
        emr_store64(p, s->tallies[t].ones);
        emr_store64(p + 8, s->tallies[t].zeroed);
        emr_store64(p + 16, s->tallies[t].nonzero);
    }
    for (uint32_t i = 0; i < s->coders.n_tasks; i++, p += EMR_N_CODER_TALLIES * 8) {
        emr_store64(p, s->coders.tasks[i].state.zeroed);
        emr_store64(p + 8, s->coders.tasks[i].state.carried);
        emr_store64(p + 16, s->coders.tasks[i].state.carry);
    }
    const emr_part_record r = {.kind = EMR_PART_MERGED, .n = plan->range.end, .size = n * sizeof(uint64_t)};
    emr_status status = put_record(s, r, bytes, error);
    emr_release(&plan->env.allocator, bytes);
    return status;
}

emr_status emr_part_step_merged(emr_merge_step *s, emr_error *error)
{
    emr_status status = emr_writer_end_part(s->writer, error);
    return status ? status : put_tallies(s, error);
}

emr_status emr_part_step_kept(emr_merge_step *s, uint32_t entry, emr_error *error)
{
    return put_record(s, (emr_part_record){.kind = EMR_PART_KEPT, .number = entry}, "", error);
}

emr_status emr_part_step_private(emr_merge_step *s, uint32_t task, const emr_tensor *tensor, emr_error *error)
{
    const emr_model *m = s->plan->alignment.tasks[task].model;
    uint32_t i = 0;
    while (m->tensors[i] != tensor)
        i++;
    return put_record(s, (emr_part_record){.kind = EMR_PART_PRIVATE, .number = task, .n = i}, "", error);
}

emr_status emr_part_step_raw(emr_merge_step *s, const void *bytes, size_t n, emr_error *error)
{
    return put_record(s, (emr_part_record){.kind = EMR_PART_RAW, .n = n, .size = n}, bytes, error);
}

/* Where each task has the kept tensors of the range from, now that they are compared. */
static emr_status put_origins(emr_merge_step *s, emr_error *error)
{
    const emr_alignment *a = &s->plan->alignment;
    emr_status status = EMR_OK;
    for (uint32_t i = s->plan->range.kept_first; !status && i < s->plan->range.kept_end; i++)
        if (a->entries[i].action == EMR_ACTION_KEEP)
            status =
                put_record(s, (emr_part_record){.kind = EMR_PART_ORIGINS, .number = i, .size = a->n_tasks},
                           a->entries[i].parts, error);
    return status;
}

/* Whether a tensor of the base was hashed to its end. */
static bool is_hashed(const emr_merge_plan *plan, uint32_t i)
{
    const emr_alignment *a = &plan->alignment;
    const emr_entry *entry = &a->entries[i];
    uint64_t end = entry->first_param + entry->base->count;
    return i < a->n_merged
               ? entry->base->count && end > plan->range.first && end <= plan->range.end
               : i >= plan->range.kept_first && i < plan->range.kept_end && emr_entry_is_used(a, entry);
}

static emr_status put_hashes(emr_merge_step *s, emr_error *error)
{
    const emr_merge_plan *plan = s->plan;
    uint8_t *bytes = emr_allocate_array(&plan->env.allocator, plan->alignment.n_base, EMR_HASH_BYTES),
            *p = bytes;
    if (!bytes)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; i < plan->alignment.n_base; i++) {
        if (!is_hashed(plan, i))
            continue;
        emr_store64(p, i);
        emr_store64(p + 8, plan->hashes.found[i].low);
        emr_store64(p + 16, plan->hashes.found[i].high);
        p += EMR_HASH_BYTES;
    }
    const emr_part_record r = {.kind = EMR_PART_HASHES, .size = (uint64_t)(p - bytes)};
    emr_status status = put_record(s, r, bytes, error);
    emr_release(&plan->env.allocator, bytes);
    return status;
}

emr_status emr_part_step_finish(emr_merge_step *s, emr_error *error)
{
    emr_status status = put_origins(s, error);
    if (!status)
        status = put_hashes(s, error);
    return status ? status : emr_part_finish(s->plan->store.writer.part, error);
}
