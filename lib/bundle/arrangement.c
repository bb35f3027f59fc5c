/* arrangement.c - see arrangement.h. Freestanding. */
#include "bundle/arrangement.h"

#include "model/arranged.h"

#include <string.h>

static const char part_of_two[] = "a tensor is part of two others";

static size_t lower_bound(const emr_bundle *b, uint32_t owner)
{
    size_t first = 0, end = b->n_arrangements;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (emr_bundle_arrangement_record(b, middle).owner < owner)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

void emr_bundle_arrangements(const emr_bundle *b, uint32_t owner, size_t *first, size_t *end)
{
    *first = lower_bound(b, owner);
    *end = owner == EMR_BASE ? b->n_arrangements : lower_bound(b, owner + 1);
}

bool emr_bundle_is_reshaped(const emr_bundle *b, const emr_arrangement_record *r)
{
    uint32_t n_tensors = b->summary.n_tensors, rank, shape;
    if (r->tensor < n_tensors) {
        emr_tensor_record t = emr_bundle_tensor_record(b, r->tensor);
        rank = t.rank, shape = t.shape;
    } else {
        emr_private_record p =
            emr_bundle_private_record(b, b->first_private[r->owner] + r->tensor - n_tensors);
        rank = p.rank, shape = p.shape;
    }
    return r->rest != EMR_NO_REST ||
           (rank &&
            memcmp(emr_bundle_shape(b, shape), emr_bundle_shape(b, r->shape), rank * sizeof(uint64_t)) != 0);
}

/* The base's own names, to be searched for; and which tensors of the bundle come from them in the base that was
 * given, whatever else it has under their names. */
typedef struct base_names {
    const emr_bundle *bundle;
    size_t first, end;
    emr_names names;
    bool *taken;
} base_names;

static const char *own_name_at(const void *owner, size_t i)
{
    const base_names *own = owner;
    return emr_bundle_string(own->bundle, emr_bundle_arrangement_record(own->bundle, own->first + i).name);
}

static emr_status index_own_names(base_names *own, const emr_allocator *allocator, emr_error *error)
{
    emr_status status = emr_names_reserve(&own->names, allocator, own->end - own->first);
    for (size_t i = 0; !status && i < own->end - own->first; i++)
        status = emr_names_add(&own->names, allocator, own_name_at, own, i);
    if (status == EMR_EEXIST)
        return emr_bundle_malformed(own->bundle, "two tensors of its base have one name", error);
    return status ? emr_no_memory(error, own->bundle->name) : EMR_OK;
}

static bool is_shaped(const emr_tensor *t, uint32_t rank, const uint64_t *shape)
{
    return t->rank == rank && (!rank || memcmp(t->shape, shape, rank * sizeof *shape) == 0);
}

/* Which tensors of the bundle the base's own ones are, and the rests behind them. */
static emr_status take_own_tensors(base_names *own, const emr_model *base, const emr_allocator *allocator,
                                   emr_error *error)
{
    const emr_bundle *b = own->bundle;
    own->taken = emr_allocate_array(allocator, b->summary.n_tensors, sizeof *own->taken);
    if (!own->taken)
        return emr_no_memory(error, b->name);
    for (size_t i = own->first; i < own->end; i++) {
        emr_arrangement_record r = emr_bundle_arrangement_record(b, i);
        uint32_t rank = emr_bundle_tensor_record(b, r.tensor).rank;
        const emr_tensor *t = emr_model_find_tensor(base, emr_bundle_string(b, r.name));
        bool is_own = t != NULL;
        if (!t)
            t = emr_model_find_tensor(base, emr_bundle_tensor_name(b, r.tensor));
        bool has_rest = t && r.rest != EMR_NO_REST && is_shaped(t, rank, emr_bundle_shape(b, r.shape));
        if ((is_own && own->taken[r.tensor]) || (has_rest && own->taken[r.rest]))
            return emr_bundle_malformed(b, part_of_two, error);
        own->taken[r.tensor] = own->taken[r.tensor] || is_own;
        if (has_rest)
            own->taken[r.rest] = true;
    }
    return EMR_OK;
}

/* The record of a tensor of the bundle, by which the base may call it, too; false: there is none. */
static bool find_by_number(const base_names *own, uint32_t tensor, emr_arrangement_record *r)
{
    size_t first = own->first, end = own->end;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        *r = emr_bundle_arrangement_record(own->bundle, middle);
        if (r->tensor == tensor)
            return true;
        if (r->tensor < tensor)
            first = middle + 1;
        else
            end = middle;
    }
    return false;
}

static emr_status arrange_rest(emr_model *m, const base_names *own, const emr_arrangement_record *r,
                               const emr_tensor *t, uint64_t rows, emr_error *error)
{
    const emr_bundle *b = own->bundle;
    if (r->rest != EMR_NO_REST)
        return emr_arranged_add_rest(m, t, emr_bundle_tensor_name(b, r->rest), rows, error);
    char *name = emr_rest_name(&m->allocator, emr_bundle_tensor_name(b, r->tensor), rows);
    emr_status status = name ? emr_arranged_add_rest(m, t, name, rows, error) : emr_no_memory(error, m->name);
    emr_release(&m->allocator, name);
    return status;
}

/* A tensor of a record. One that is not as its record says gets the bundle's name alone: it is as the bundle has
 * it, or it is compared with that and found to be wrong. */
static emr_status arrange_owned(emr_model *m, const base_names *own, const emr_arrangement_record *r,
                                const emr_tensor *t, bool whole, emr_error *error)
{
    const emr_bundle *b = own->bundle;
    emr_tensor_record in_bundle = emr_bundle_tensor_record(b, r->tensor);
    const uint64_t *shape = emr_bundle_shape(b, in_bundle.shape);
    const char *name = emr_bundle_string(b, in_bundle.name);
    if (t->dtype != (emr_dtype)in_bundle.dtype ||
        !is_shaped(t, in_bundle.rank, emr_bundle_shape(b, r->shape)) || is_shaped(t, in_bundle.rank, shape))
        return emr_arranged_rename(m, t, name, error);
    emr_status status = emr_arranged_fit(m, t, name, shape, error);
    bool has_rest =
        r->rest != EMR_NO_REST || (whole && t->rank && shape[0] && shape[0] < t->shape[0] &&
                                   memcmp(shape + 1, t->shape + 1, (t->rank - 1) * sizeof *shape) == 0);
    return !status && has_rest ? arrange_rest(m, own, r, t, shape[0], error) : status;
}

static emr_status arrange_tensor(emr_model *m, const base_names *own, const emr_tensor *t, bool whole,
                                 emr_error *error)
{
    const emr_bundle *b = own->bundle;
    emr_arrangement_record r;
    uint32_t number;
    size_t i = emr_names_find(&own->names, own_name_at, own, t->name);
    if (i != EMR_NAMES_NONE) {
        r = emr_bundle_arrangement_record(b, own->first + i);
        return arrange_owned(m, own, &r, t, whole, error);
    }
    if (emr_bundle_find_tensor(b, t->name, &number, NULL))
        return emr_arranged_keep(m, t, error);
    if (own->taken[number])
        return EMR_OK;
    return find_by_number(own, number, &r) ? arrange_owned(m, own, &r, t, whole, error)
                                           : emr_arranged_keep(m, t, error);
}

emr_status emr_bundle_arrange_base(emr_model **arranged, const emr_bundle *b, const emr_model *base,
                                   bool whole, const emr_allocator *allocator, emr_error *error)
{
    base_names own = {.bundle = b};
    *arranged = NULL;
    emr_bundle_arrangements(b, EMR_BASE, &own.first, &own.end);
    if (own.first == own.end)
        return EMR_OK;
    emr_status status = emr_arranged_create(arranged, base, allocator, error);
    if (!status)
        status = index_own_names(&own, allocator, error);
    if (!status)
        status = take_own_tensors(&own, base, allocator, error);
    for (uint32_t i = 0; !status && i < base->n_tensors; i++)
        status = arrange_tensor(*arranged, &own, base->tensors[i], whole, error);
    emr_names_free(&own.names, allocator);
    emr_release(allocator, own.taken);
    if (status)
        emr_model_destroy(arranged);
    return status;
}

emr_status emr_arranged_task_read(emr_arranged_task *a, const emr_bundle *b, uint32_t task,
                                  const emr_allocator *allocator, emr_error *error)
{
    size_t first, end;
    *a = (emr_arranged_task){NULL, (size_t)b->summary.n_tensors + b->first_private[task + 1] -
                                       b->first_private[task]};
    emr_bundle_arrangements(b, task, &first, &end);
    if (first == end)
        return EMR_OK;
    a->records = emr_allocate_array(allocator, a->n, sizeof *a->records);
    if (!a->records)
        return emr_no_memory(error, b->name);
    for (size_t i = 0; i < a->n; i++)
        a->records[i] = EMR_NOT_ARRANGED;
    for (size_t i = first; i < end; i++)
        a->records[emr_bundle_arrangement_record(b, i).tensor] = (uint32_t)i;
    for (size_t i = first; i < end; i++) {
        uint32_t rest = emr_bundle_arrangement_record(b, i).rest;
        if (rest == EMR_NO_REST)
            continue;
        if (a->records[rest] != EMR_NOT_ARRANGED) {
            emr_arranged_task_free(a, allocator);
            return emr_bundle_malformed(b, part_of_two, error);
        }
        a->records[rest] = EMR_ARRANGED_REST;
    }
    return EMR_OK;
}

void emr_arranged_task_free(emr_arranged_task *a, const emr_allocator *allocator)
{
    emr_release(allocator, a->records);
    a->records = NULL;
}
