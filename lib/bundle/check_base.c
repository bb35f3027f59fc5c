/* check_base.c - whether a model is the base that a bundle was made with. Freestanding. */
#include "bundle/arrangement.h"

#include "core/hash.h"
#include "core/work.h"
#include "model/model.h"

#include <string.h>

enum {
    HASH_BUFFER = 256 << 10,
    BASE_ROUND = 8, /* tensors that each worker compares between two calls of the progress callback */
};

/* What is said of a tensor that differs. */
static const char absent[] = "it is absent from the given base", other_dtype[] = "its dtype differs",
                  other_shape[] = "its shape differs", other_bytes[] = "its values differ";

/* NULL: as far as can be told without reading, it is the bundle's; or, in what is merged, in another float
 * dtype. */
static const char *compare_facts(const emr_bundle *b, const emr_tensor_record *r, const emr_tensor *t,
                                 bool any_float)
{
    if (!t)
        return absent;
    if (t->dtype != r->dtype && !(any_float && r->merged && emr_dtype_is_float(t->dtype)))
        return other_dtype;
    bool same = t->rank == r->rank && (!r->rank || memcmp(t->shape, emr_bundle_shape(b, r->shape),
                                                          r->rank * sizeof *t->shape) == 0);
    return same ? NULL : other_shape;
}

static emr_status fail_base(const emr_bundle *b, const emr_model *base, size_t i, const char *why,
                            emr_error *error)
{
    return emr_fail(error, EMR_EMISMATCH, "%F is not the base of %s: tensor '%T': %s", base->name, b->name,
                    emr_bundle_tensor_name(b, i), why);
}

emr_status emr_bundle_base_tensor(const emr_bundle *b, const emr_model *base, size_t i, bool any_float,
                                  const emr_tensor **tensor, emr_error *error)
{
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    *tensor = emr_model_find_tensor(base, emr_bundle_string(b, r.name));
    const char *why = compare_facts(b, &r, *tensor, any_float);
    return why ? fail_base(b, base, i, why, error) : EMR_OK;
}

typedef struct base_check {
    const emr_bundle *bundle;
    const emr_model *base;
    emr_env env;
    emr_workers workers;
    emr_base_check_options options;
    const char **differences;     /* of the round's tensors; NULL: there is none */
    uint8_t *buffers;             /* HASH_BUFFER bytes for each worker */
    size_t first;                 /* tensor with which the round begins */
    uint64_t done, total;         /* bytes */
    const char *first_difference; /* of all, and its tensor */
    size_t differing;
} base_check;

static emr_status compare_bytes(const emr_tensor *t, const emr_tensor_record *r, uint8_t *buffer,
                                const char **why, emr_error *error)
{
    emr_hasher hasher;
    emr_status status = EMR_OK;
    emr_hasher_init(&hasher);
    for (uint64_t at = 0; !status && at < t->bytes; at += HASH_BUFFER) {
        size_t n = (size_t)emr_min(HASH_BUFFER, t->bytes - at);
        status = emr_tensor_read(t, at, buffer, n, error);
        if (!status)
            emr_hasher_update(&hasher, buffer, n);
    }
    emr_hash128 hash = emr_hasher_digest(&hasher);
    if (!status && (hash.low != r->hash_low || hash.high != r->hash_high))
        *why = other_bytes;
    return status;
}

emr_status emr_bundle_check_tensor(const emr_bundle *b, const emr_model *base, size_t i,
                                   const emr_allocator *a, emr_error *error)
{
    const char *why = NULL;
    const emr_tensor *t;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    emr_status status = emr_bundle_base_tensor(b, base, i, false, &t, error);
    if (status)
        return status;
    uint8_t *buffer = emr_allocate(a, HASH_BUFFER);
    status = buffer ? compare_bytes(t, &r, buffer, &why, error) : emr_no_memory(error, b->name);
    emr_release(a, buffer);
    return !status && why ? fail_base(b, base, i, why, error) : status;
}

/* Where nobody wants to hear of all differences, the first one is a failure, and emr_work() sees to it that
 * it is the first in the bundle's order. */
static emr_status compare_job(void *context, size_t job, size_t worker, emr_error *error)
{
    const base_check *check = context;
    const emr_bundle *b = check->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, check->first + job);
    const emr_tensor *t = emr_model_find_tensor(check->base, emr_bundle_string(b, r.name));
    const char *why = compare_facts(b, &r, t, false);
    emr_status status =
        why ? EMR_OK : compare_bytes(t, &r, check->buffers + worker * HASH_BUFFER, &why, error);
    check->differences[job] = why;
    if (!status && why && !check->options.differs)
        status = fail_base(b, check->base, check->first + job, why, error);
    return status;
}

static void tell_differences(base_check *check, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const emr_base_difference difference = {
            .size = sizeof difference,
            .tensor = emr_bundle_tensor_name(check->bundle, check->first + i),
            .why = check->differences[i],
        };
        if (!difference.why)
            continue;
        if (!check->first_difference) {
            check->first_difference = difference.why;
            check->differing = check->first + i;
        }
        check->options.differs(check->options.user, &difference);
    }
}

static uint64_t given_bytes(const base_check *check, size_t i)
{
    const emr_tensor *t = emr_model_find_tensor(check->base, emr_bundle_tensor_name(check->bundle, i));
    return t ? t->bytes : 0;
}

/* Compares every tensor, in rounds. */
static emr_status compare_all(base_check *check, emr_error *error)
{
    size_t n_tensors = check->bundle->summary.n_tensors;
    emr_status status = EMR_OK;
    for (size_t i = 0; i < n_tensors; i++)
        check->total += given_bytes(check, i);
    for (size_t n; !status && check->first < n_tensors; check->first += n) {
        n = (size_t)emr_min(BASE_ROUND * check->workers.n, n_tensors - check->first);
        status = emr_work(&check->workers, n, compare_job, check, error);
        for (size_t i = check->first; i < check->first + n; i++)
            check->done += given_bytes(check, i);
        if (!status && check->options.differs)
            tell_differences(check, n);
        if (!status)
            status = emr_env_progress(&check->env, check->done, check->total, "checking the base", error);
    }
    return status;
}

static emr_status run_check(base_check *check, emr_error *error)
{
    const emr_allocator *a = &check->env.allocator;
    emr_status status =
        emr_bundle_create_workers(&check->workers, check->bundle, &check->env, 0, HASH_BUFFER, error);
    if (status)
        return status;
    check->differences = emr_allocate_array(a, check->workers.n, BASE_ROUND * sizeof *check->differences);
    check->buffers = emr_allocate_array(a, check->workers.n, HASH_BUFFER);
    status = check->differences && check->buffers ? compare_all(check, error)
                                                  : emr_no_memory(error, check->bundle->name);
    if (!status && check->first_difference)
        status = fail_base(check->bundle, check->base, check->differing, check->first_difference, error);
    emr_release(a, check->differences);
    emr_release(a, check->buffers);
    emr_workers_destroy(&check->workers);
    return status;
}

emr_status emr_bundle_check_base(const emr_bundle *b, const emr_model *base,
                                 const emr_base_check_options *options, emr_error *error)
{
    base_check check = {.bundle = b, .base = base};
    if (!b || !base)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_check_base: NULL");
    emr_model *arranged = NULL;
    emr_status status = EMR_TAKE(&check.options, options, emr_base_check_options, error);
    if (!status)
        status = emr_env_take(&check.env, check.options.resources, &b->allocator, error);
    if (!status)
        status = emr_bundle_arrange_base(&arranged, b, base, false, &check.env.allocator, error);
    check.base = arranged ? arranged : base;
    if (!status)
        status = run_check(&check, error);
    emr_model_destroy(&arranged);
    return status;
}
