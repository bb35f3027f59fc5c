/* check_arrangement.c - whether what tasks and the base have otherwise can be what a bundle says:
 * docs/bundle-format.md, "ARRANGEMENT". Freestanding. */
#include "bundle/bundle.h"

#include <string.h>

/* A tensor of an arrangement, as it is in the bundle. False: its owner does not have it. */
static bool find_arranged(const emr_bundle *b, uint32_t owner, uint32_t number, emr_tensor_record *t)
{
    uint32_t n_tensors = b->summary.n_tensors;
    if (number < n_tensors) {
        *t = emr_bundle_tensor_record(b, number);
        if (owner != EMR_BASE)
            t->dtype = (uint16_t)emr_bundle_task_dtype(b, owner, number);
        return t->dtype != EMR_DTYPE_NONE;
    }
    size_t n_private = owner == EMR_BASE ? 0 : b->first_private[owner + 1] - b->first_private[owner];
    if (number - n_tensors >= n_private)
        return false;
    emr_private_record p = emr_bundle_private_record(b, b->first_private[owner] + number - n_tensors);
    *t = (emr_tensor_record){.name = p.name, .shape = p.shape, .rank = p.rank, .dtype = p.dtype};
    return true;
}

/* Whether an own shape can have come from a tensor's: from the same one, the base's from any, a task's from one that
 * is no smaller, or from first rows and the rest. Other shapes than the tensor's need elements of whole bytes. */
static bool is_own_shape(const emr_bundle *b, const emr_arrangement_record *r, const emr_tensor_record *t)
{
    const uint64_t *own = emr_bundle_shape(b, r->shape), *shape = emr_bundle_shape(b, t->shape), *rest_shape;
    emr_tensor_record rest;
    bool whole_bytes = emr_dtype_bits(t->dtype) % 8 == 0;
    if (r->rest == EMR_NO_REST) {
        for (uint32_t i = 0; i < t->rank; i++)
            if (own[i] > shape[i] ? r->owner != EMR_BASE || !whole_bytes : own[i] < shape[i] && !whole_bytes)
                return false;
        return true;
    }
    if (r->rest == r->tensor || !t->rank || !whole_bytes || !find_arranged(b, r->owner, r->rest, &rest) ||
        rest.rank != t->rank || rest.dtype != t->dtype)
        return false;
    rest_shape = emr_bundle_shape(b, rest.shape);
    return own[0] >= shape[0] && own[0] - shape[0] == rest_shape[0] && shape[0] && rest_shape[0] &&
           memcmp(own + 1, shape + 1, (t->rank - 1u) * 8) == 0 &&
           memcmp(own + 1, rest_shape + 1, (t->rank - 1u) * 8) == 0;
}

emr_status emr_bundle_check_arrangement(const emr_bundle *b, emr_error *error)
{
    uint64_t last =
        0; /* owner and tensor of the record before, plus 1: they ascend, and the base comes last */
    if (b->n_arrangements > 0 && !(b->features & EMR_FEATURE_ARRANGED))
        return emr_bundle_malformed(b, "its header and its arrangement disagree", error);
    for (size_t i = 0; i < b->n_arrangements; i++) {
        emr_arrangement_record r = emr_bundle_arrangement_record(b, i);
        emr_tensor_record t;
        uint64_t count, bytes, place = ((uint64_t)r.owner << 32 | r.tensor) + 1;
        if ((r.owner != EMR_BASE && r.owner >= b->summary.n_tasks) || place <= last ||
            !emr_bundle_string_fits(b, r.name) || !find_arranged(b, r.owner, r.tensor, &t) ||
            !emr_bundle_shape_fits(b, r.shape, t.rank, t.dtype, &count, &bytes) || !is_own_shape(b, &r, &t))
            return emr_bundle_malformed(b, "its arrangement is impossible", error);
        last = place;
    }
    return EMR_OK;
}
