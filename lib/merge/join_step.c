/* join_step.c - see part_step.h. The merge is a step of which no item is computed: what items came to is in the
 * parts. Blocks are copied, pieces of blocks put together and compressed, sums added up in the order of one
 * machine; and the end is that of any merge. */
#include "merge/part_step.h"

#include "bundle/encode.h"
#include "core/bytes.h"

#include <string.h>

static emr_status fail_malformed(emr_error *error)
{
    return emr_fail(error, EMR_EFORMAT, "it is not what such a merge has there");
}

emr_status emr_join_step_create(emr_join_step *j, emr_merge_step *s, emr_writer *writer, emr_error *error)
{
    emr_merge_plan *plan = s->plan;
    emr_hasher nothing;
    emr_hasher_init(&nothing);
    *j = (emr_join_step){.step = s, .writer = writer};
    for (uint32_t i = 0; i < plan->alignment.n_base; i++)
        plan->hashes.found[i] = emr_hasher_digest(&nothing);
    if (emr_merge_embeds(plan))
        emr_store_place_base(plan, plan->alignment.flat_params);
    s->told = emr_allocate(&plan->env.allocator, emr_told_bytes(plan));
    return s->told ? EMR_OK : emr_no_memory(error, NULL);
}

static emr_status take_block(emr_join_step *j, const emr_part_record *r, const uint8_t *bytes,
                             emr_error *error)
{
    const emr_block_record block = {
        .hash = r->hash, .stored = (uint32_t)r->size, .codec = r->codec, .parameter = r->parameter};
    if (!emr_writer_can_copy(j->writer, r->number, &block, r->n) || r->size > UINT32_MAX)
        return fail_malformed(error);
    emr_status status = emr_writer_flush(j->writer, error);
    return status ? status : emr_writer_copy(j->writer, r->number, &block, bytes, (size_t)r->n, error);
}

static double load_double(const uint8_t *p)
{
    return emr_f64_from_bits(emr_load64(p));
}

/* What one item or tensor came to. */
static emr_status hear_told(emr_join_step *j, emr_error *error)
{
    emr_merge_step *s = j->step;
    uint32_t entry = emr_load32(s->told), flags = emr_load32(s->told + 4);
    bool ends = flags & EMR_TOLD_ENDS;
    uint8_t *p = s->told + EMR_TOLD_HEAD;
    if (entry >= s->plan->alignment.n_merged)
        return fail_malformed(error);
    for (uint8_t *number = p; number < s->told + j->n_told; number += sizeof(double)) {
        double value = load_double(number);
        memcpy(number, &value, sizeof value);
    }
    for (uint32_t t = 0; t < s->election.n_tasks; t++) {
        emr_rescaling_hear(&s->rescaling, entry, t, (const double *)(const void *)p, flags & EMR_TOLD_BEGINS,
                           ends);
        p += emr_rescaling_n_told(s->plan, t) * sizeof(double);
    }
    for (uint32_t i = 0; i < s->coders.n_tasks; i++, p += sizeof(emr_coded_sums)) {
        emr_coded_sums sums;
        memcpy(&sums, p, sizeof sums);
        emr_coders_hear(&s->coders, i, &sums, ends);
    }
    return EMR_OK;
}

static emr_status take_sums(emr_join_step *j, const uint8_t *bytes, uint64_t n, emr_error *error)
{
    size_t all = emr_told_bytes(j->step->plan);
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t some = (size_t)emr_min(n, all - j->n_told);
        memcpy(j->step->told + j->n_told, bytes, some);
        bytes += some;
        n -= some;
        j->n_told += some;
        if (j->n_told < all)
            break;
        status = hear_told(j, error);
        j->n_told = 0;
    }
    return status;
}

/* As end_merged_tensors of merge_step.c, with the bits of codes that its last part has left. */
static emr_status end_flat_space(emr_join_step *j, emr_error *error)
{
    emr_merge_step *s = j->step;
    j->merged = true;
    emr_coders_skip_to(&s->coders, s->plan->alignment.flat_params);
    emr_rescaling_end_model(&s->rescaling);
    emr_status status = emr_store_end_merged(&s->store, error);
    return status ? status : emr_coders_end(&s->coders, error);
}

static emr_status take_tallies(emr_join_step *j, const emr_part_record *r, const uint8_t *p, emr_error *error)
{
    emr_merge_step *s = j->step;
    const emr_alignment *a = &s->plan->alignment;
    uint64_t n = (uint64_t)a->n_tasks * EMR_N_TALLIES + (uint64_t)s->coders.n_tasks * EMR_N_CODER_TALLIES;
    if (r->size != n * 8 || j->n_told || r->n < j->position || r->n > a->flat_params)
        return fail_malformed(error);
    for (uint32_t t = 0; t < a->n_tasks; t++, p += EMR_N_TALLIES * 8) {
        s->tallies[t].ones += emr_load64(p);
        s->tallies[t].zeroed += emr_load64(p + 8);
        s->tallies[t].nonzero |= emr_load64(p + 16);
    }
    bool last = !j->merged && r->n == a->flat_params;
    for (uint32_t i = 0; i < s->coders.n_tasks; i++, p += EMR_N_CODER_TALLIES * 8) {
        emr_coder *t = &s->coders.tasks[i];
        t->state.zeroed += emr_load64(p);
        t->state.carried = last ? emr_load64(p + 8) : 0;
        t->state.carry = last ? emr_load64(p + 16) : 0;
    }
    j->position = r->n;
    return last ? end_flat_space(j, error) : EMR_OK;
}

static emr_status join_kept(emr_join_step *j, const emr_part_record *r, emr_error *error)
{
    const emr_alignment *a = &j->step->plan->alignment;
    if (!j->merged || r->number < a->n_merged || r->number >= a->n_base)
        return fail_malformed(error);
    j->raw_is_kept = true;
    return emr_store_kept_begin(&j->step->store, r->number, error);
}

static emr_status join_private(emr_join_step *j, const emr_part_record *r, emr_error *error)
{
    const emr_alignment *a = &j->step->plan->alignment;
    if (!j->merged || r->number >= a->n_tasks || r->n >= a->tasks[r->number].model->n_tensors)
        return fail_malformed(error);
    j->raw_is_kept = false;
    return emr_store_private_begin(&j->step->store, r->number, a->tasks[r->number].model->tensors[r->n],
                                   error);
}

static emr_status take_raw(emr_join_step *j, const emr_part_record *r, const uint8_t *bytes, emr_error *error)
{
    emr_store *s = &j->step->store;
    if (j->raw_is_kept)
        return emr_store_kept_bytes(s, bytes, (size_t)r->size, error);
    return s->private_task == EMR_BASE ? fail_malformed(error)
                                       : emr_store_private_bytes(s, bytes, (size_t)r->size, error);
}

static emr_status take_origins(emr_join_step *j, const emr_part_record *r, const uint8_t *bytes,
                               emr_error *error)
{
    const emr_alignment *a = &j->step->plan->alignment;
    if (r->number < a->n_merged || r->number >= a->n_base || r->size != a->n_tasks ||
        !a->entries[r->number].parts)
        return fail_malformed(error);
    for (uint32_t t = 0; t < a->n_tasks; t++)
        if (bytes[t] > EMR_PART_ABSENT)
            return fail_malformed(error);
    memcpy(a->entries[r->number].parts, bytes, a->n_tasks);
    return EMR_OK;
}

static emr_status take_hashes(emr_join_step *j, const emr_part_record *r, const uint8_t *bytes,
                              emr_error *error)
{
    const emr_merge_plan *plan = j->step->plan;
    if (r->size % EMR_HASH_BYTES)
        return fail_malformed(error);
    for (uint64_t at = 0; at < r->size; at += EMR_HASH_BYTES) {
        uint64_t entry = emr_load64(bytes + at);
        if (entry >= plan->alignment.n_base)
            return fail_malformed(error);
        plan->hashes.found[entry] = (emr_hash128){emr_load64(bytes + at + 8), emr_load64(bytes + at + 16)};
    }
    return EMR_OK;
}

emr_status emr_join_step_take(emr_join_step *j, const emr_part_record *r, const uint8_t *bytes,
                              emr_error *error)
{
    switch (r->kind) {
    case EMR_PART_BLOCK:
        return take_block(j, r, bytes, error);
    case EMR_PART_BYTES:
        return emr_writer_has_stream(j->writer, r->number)
                   ? emr_writer_append(j->writer, r->number, bytes, (size_t)r->size, error)
                   : fail_malformed(error);
    case EMR_PART_SUMS:
        return take_sums(j, bytes, r->size, error);
    case EMR_PART_MERGED:
        return take_tallies(j, r, bytes, error);
    case EMR_PART_KEPT:
        return join_kept(j, r, error);
    case EMR_PART_PRIVATE:
        return join_private(j, r, error);
    case EMR_PART_RAW:
        return take_raw(j, r, bytes, error);
    case EMR_PART_ORIGINS:
        return take_origins(j, r, bytes, error);
    case EMR_PART_HASHES:
        return take_hashes(j, r, bytes, error);
    default:
        return fail_malformed(error);
    }
}

emr_status emr_join_step_finish(emr_join_step *j, emr_error *error)
{
    return j->merged ? emr_merge_step_table.finish(j->step, error) : fail_malformed(error);
}

uint64_t emr_join_step_most(const emr_merge_plan *plan)
{
    enum { SMALL = 64 << 10 /* of a tensor that is not merged, and more than other records' */ };
    const emr_alignment *a = &plan->alignment;
    uint64_t most = emr_store_block_params(plan), tasks = a->n_tasks * (uint64_t)64,
             hashes = a->n_base * (uint64_t)EMR_HASH_BYTES;
    most = most > SMALL ? most : SMALL;
    most = most > tasks ? most : tasks;
    return most > hashes ? most : hashes;
}
