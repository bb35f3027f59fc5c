/* carry.c - see carry.h. */
#include "pass/carry.h"

#include <string.h>

enum { CARRY_BYTES = 64 << 10 /* read at a time */ };

struct emr_carry {
    emr_pass_setup s;
    emr_base_hash *hash;
    emr_count_fn count;
    void *context;
    uint8_t *buffers; /* two */
    uint32_t task;    /* whose private tensor is passing, */
    uint32_t tensor;  /* and which one, in the task's model */
    uint64_t offset;  /* in it */
    uint64_t number;  /* of what tasks may have as their own, so far */
    bool begun;
};

uint64_t emr_carry_memory(void)
{
    return sizeof(emr_carry) + 2 * CARRY_BYTES;
}

/* What is compared or kept is read by name, perhaps twice: it cannot be pushed. */
static emr_status check_readable(const emr_alignment *a, emr_error *error)
{
    for (uint32_t i = a->n_merged; i < a->n_base; i++) {
        const emr_entry *entry = &a->entries[i];
        bool compared = entry->action == EMR_ACTION_KEEP, used = compared || emr_entry_is_used(a, entry);
        for (uint32_t s = 0; used && s < a->n_sources; s++) {
            const emr_tensor *t = emr_alignment_tensor(a, entry, s);
            if (t && t->kind == EMR_TENSOR_PUSHED && (s == 0 || (compared && !a->tasks[s - 1].settled)))
                return emr_fail(
                    error, EMR_EUNSUPPORTED,
                    "%F: tensor '%T' is not merged but compared or kept, so its bytes cannot be pushed: "
                    "give it data, io or compute",
                    t->model_name, t->name);
        }
    }
    return EMR_OK;
}

emr_status emr_carry_create(emr_carry **carry, const emr_pass_setup *setup, emr_base_hash *hash,
                            emr_count_fn count, void *context, emr_error *error)
{
    const emr_allocator *allocator = &setup->alignment->allocator;
    *carry = NULL;
    emr_status status = check_readable(setup->alignment, error);
    if (status)
        return status;
    emr_carry *c = emr_allocate_array(allocator, 1, sizeof *c);
    if (!c)
        return emr_no_memory(error, NULL);
    *c = (emr_carry){.s = *setup, .hash = hash, .count = count, .context = context};
    c->buffers = emr_allocate(allocator, (size_t)2 * CARRY_BYTES);
    *carry = c;
    if (c->buffers)
        return EMR_OK;
    emr_carry_destroy(carry);
    return emr_no_memory(error, NULL);
}

void emr_carry_destroy(emr_carry **carry)
{
    emr_carry *c = *carry;
    if (!c)
        return;
    const emr_allocator allocator = c->s.alignment->allocator;
    emr_release(&allocator, c->buffers);
    emr_release(&allocator, c);
    *carry = NULL;
}

/* Calls `fn` with a tensor's bytes, front to back. */
static emr_status stream_tensor(emr_carry *c, uint32_t source, const emr_tensor *t,
                                emr_status (*fn)(emr_carry *c, const void *bytes, size_t n, emr_error *error),
                                emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < t->bytes; at += CARRY_BYTES) {
        size_t n = (size_t)emr_min(CARRY_BYTES, t->bytes - at);
        status = emr_name_source(c->s.alignment, source, emr_tensor_read(t, at, c->buffers, n, error), error);
        if (!status)
            status = fn(c, c->buffers, n, error);
    }
    return status;
}

/* Whether a task's tensor has the base's bytes. */
static emr_status compare_tensors(emr_carry *c, uint32_t task, const emr_tensor *base, const emr_tensor *own,
                                  bool *equal, emr_error *error)
{
    emr_status status = EMR_OK;
    *equal = own->dtype == base->dtype && emr_tensor_same_shape(own, base);
    for (uint64_t at = 0; !status && *equal && at < base->bytes; at += CARRY_BYTES) {
        size_t n = (size_t)emr_min(CARRY_BYTES, base->bytes - at);
        status = emr_tensor_read(base, at, c->buffers, n, error);
        if (!status)
            status = emr_name_source(c->s.alignment, task + 1,
                                     emr_tensor_read(own, at, c->buffers + CARRY_BYTES, n, error), error);
        *equal = !status && memcmp(c->buffers, c->buffers + CARRY_BYTES, n) == 0;
    }
    return status;
}

/* Finds out where a task has a tensor from that is kept where it is equal. */
static emr_status compare_task(emr_carry *c, emr_entry *entry, uint32_t task, const emr_tensor *own,
                               emr_error *error)
{
    bool equal = true;
    emr_status status = compare_tensors(c, task, entry->base, own, &equal, error);
    entry->parts[task] = equal ? EMR_PART_BASE : EMR_PART_OWN;
    if (!status && equal) /* others count when they are streamed */
        status = c->count(c->context, own->bytes, error);
    return status;
}

/* Which tasks have their own copy of a tensor that is kept where it is equal. */
static emr_status compare_tasks(emr_carry *c, emr_entry *entry, emr_error *error)
{
    const emr_alignment *a = c->s.alignment;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < a->n_tasks; t++) {
        const emr_tensor *own = emr_alignment_tensor(a, entry, t + 1);
        if (own && !a->tasks[t].settled)
            status = compare_task(c, entry, t, own, error);
    }
    if (!status && !emr_entry_is_used(a, entry))
        status = c->count(c->context, entry->base->bytes, error); /* compared, and then nobody's */
    return status;
}

static emr_status keep_bytes(emr_carry *c, const void *bytes, size_t n, emr_error *error)
{
    if (c->hash)
        emr_base_hash_bytes(c->hash, bytes, n);
    emr_status status = c->s.step->kept_bytes ? c->s.step->kept_bytes(c->s.state, bytes, n, error) : EMR_OK;
    return status ? status : c->count(c->context, n, error);
}

static emr_status bring_kept(emr_carry *c, uint32_t number, emr_error *error)
{
    const emr_tensor *base = c->s.alignment->entries[number].base;
    emr_status status = c->s.step->kept_begin ? c->s.step->kept_begin(c->s.state, number, error) : EMR_OK;
    if (c->hash)
        emr_base_hash_begin(c->hash);
    if (!status)
        status = stream_tensor(c, 0, base, keep_bytes, error);
    return !status && c->hash ? emr_base_hash_end(c->hash, number, error) : status;
}

emr_status emr_carry_kept(emr_carry *c, emr_error *error)
{
    emr_alignment *a = c->s.alignment;
    emr_status status = EMR_OK;
    const emr_pass_range *range = c->s.range;
    uint32_t first = range ? range->kept_first : a->n_merged, end = range ? range->kept_end : a->n_base;
    for (uint32_t i = first; !status && i < end; i++) {
        emr_entry *entry = &a->entries[i];
        if (entry->action == EMR_ACTION_KEEP)
            status = compare_tasks(c, entry, error);
        if (!status && emr_entry_is_used(a, entry))
            status = bring_kept(c, i, error);
    }
    return status;
}

static const emr_tensor *private_tensor_at(const emr_carry *c, uint32_t task, uint32_t i)
{
    const emr_alignment *a = c->s.alignment;
    if (a->tasks[task].copied)
        return NULL;
    const emr_tensor *t = emr_model_tensor(a->tasks[task].model, i);
    const emr_entry *entry = t ? emr_alignment_find(a, t->name) : NULL;
    return entry && entry->action != EMR_ACTION_MERGE && emr_entry_part(entry, task) == EMR_PART_OWN ? t
                                                                                                     : NULL;
}

emr_entry *emr_carry_candidate(const emr_alignment *a, uint32_t task, const emr_tensor *t)
{
    emr_entry *entry = emr_alignment_find(a, t->name);
    bool may = entry && (entry->action == EMR_ACTION_KEEP || (entry->action == EMR_ACTION_PRIVATE &&
                                                              emr_entry_part(entry, task) == EMR_PART_OWN));
    return may ? entry : NULL;
}

/* Of a range: whether the next tensor is in it and the task's own; what others compare is compared here too. */
static emr_status find_in_range(emr_carry *c, bool *is_own, emr_error *error)
{
    const emr_alignment *a = c->s.alignment;
    const emr_tensor *t = emr_model_tensor(a->tasks[c->task].model, c->tensor);
    emr_entry *entry = t ? emr_carry_candidate(a, c->task, t) : NULL;
    emr_status status = EMR_OK;
    *is_own = entry && c->number >= c->s.range->private_first && c->number < c->s.range->private_end;
    c->number += entry != NULL;
    if (*is_own && entry->action == EMR_ACTION_KEEP)
        status = compare_task(c, entry, c->task, t, error);
    *is_own = *is_own && emr_entry_part(entry, c->task) == EMR_PART_OWN;
    return status;
}

static emr_status give_private(emr_carry *c, const void *bytes, size_t n, emr_error *error)
{
    c->offset += n;
    emr_status status =
        c->s.step->private_bytes ? c->s.step->private_bytes(c->s.state, bytes, n, error) : EMR_OK;
    return status ? status : c->count(c->context, n, error);
}

static emr_status begin_private(emr_carry *c, const emr_tensor *t, emr_error *error)
{
    c->offset = 0;
    c->begun = true;
    emr_status status =
        c->s.step->private_begin ? c->s.step->private_begin(c->s.state, c->task, t, error) : EMR_OK;
    if (!status && t->kind != EMR_TENSOR_PUSHED)
        status = stream_tensor(c, c->task + 1, t, give_private, error);
    return status;
}

emr_status emr_carry_private(emr_carry *c, bool *done, emr_error *error)
{
    const emr_alignment *a = c->s.alignment;
    *done = false;
    while (c->task < a->n_tasks) {
        bool is_here = true;
        emr_status status = c->s.range ? find_in_range(c, &is_here, error) : EMR_OK;
        const emr_tensor *t = is_here ? private_tensor_at(c, c->task, c->tensor) : NULL;
        if (!status && t && !c->begun)
            status = begin_private(c, t, error);
        if (status)
            return status;
        if (t && c->offset < t->bytes)
            return EMR_OK; /* waits to be pushed */
        c->begun = false;
        if (++c->tensor >= a->tasks[c->task].model->n_tensors) {
            c->task++;
            c->tensor = 0;
        }
    }
    *done = true;
    return EMR_OK;
}

emr_status emr_carry_push(emr_carry *c, uint32_t source, const void *data, size_t n, size_t *taken,
                          emr_error *error)
{
    *taken = 0;
    if (c->task + 1 != source)
        return EMR_OK;
    const emr_tensor *t = private_tensor_at(c, c->task, c->tensor);
    *taken = (size_t)emr_min(t->bytes - c->offset, n);
    return give_private(c, data, *taken, error);
}

const emr_tensor *emr_carry_expected(const emr_carry *c, uint32_t source, uint64_t *bytes)
{
    *bytes = 0;
    if (source == 0 || c->task + 1 > source || c->task == c->s.alignment->n_tasks)
        return NULL;
    uint32_t i = c->task + 1 == source ? c->tensor : 0;
    if (c->task + 1 == source && c->begun) {
        const emr_tensor *t = private_tensor_at(c, c->task, i);
        *bytes = t->bytes - c->offset;
        return t;
    }
    for (; i < c->s.alignment->tasks[source - 1].model->n_tensors; i++) {
        const emr_tensor *t = private_tensor_at(c, source - 1, i);
        if (t && t->kind == EMR_TENSOR_PUSHED && t->bytes)
            return t;
    }
    return NULL;
}
