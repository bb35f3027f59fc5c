/* target.c - finding and checking what a host wants written; see target.h. Freestanding. */
#include "session/target.h"

#include "core/bytes.h"
#include "model/model.h"
#include "numeric/convert.h"

/* A name that is no merged tensor's, nor a kept one's. */
static emr_status fail_unknown(const emr_session_shared *s, const char *name, emr_error *error)
{
    for (uint32_t task = 0; task < s->bundle->summary.n_tasks; task++)
        if (emr_session_find_private(&s->tasks[task], name) != EMR_NAMES_NONE)
            return emr_fail(error, EMR_ENOTFOUND,
                            "%F: tensor '%T' is private to task '%K': only emr_session_apply gives it",
                            s->bundle->name, name, emr_bundle_task_name(s->bundle, task));
    return emr_fail(error, EMR_ENOTFOUND, "%F: no tensor '%T' is merged, or kept from the base",
                    s->bundle->name, name);
}

emr_status emr_session_find_tensor(const emr_session *s, const char *name, uint32_t number, uint32_t *tensor,
                                   emr_error *error)
{
    const emr_bundle *b = s->shared->bundle;
    *tensor = number;
    if (!name)
        return number < b->summary.n_tensors
                   ? EMR_OK
                   : emr_fail(error, EMR_ENOTFOUND, "%F: there is no tensor %u", b->name, (uint64_t)number);
    return emr_bundle_find_tensor(b, name, tensor, NULL) ? fail_unknown(s->shared, name, error) : EMR_OK;
}

/* Whether the task's checkpoint had a tensor of the bundle. */
static bool has_bundle_tensor(const emr_session_target *t, uint32_t i)
{
    uint32_t task = t->task->task;
    return task == EMR_BASE || emr_bundle_task_dtype(t->session->shared->bundle, task, i) != EMR_DTYPE_NONE;
}

static emr_status fail_absent(const emr_session_target *t, emr_error *error)
{
    const emr_bundle *b = t->session->shared->bundle;
    uint32_t task = t->task->task;
    if (task == EMR_BASE)
        return emr_fail(error, EMR_ENOTFOUND, "%F: the base has no tensor '%T'", b->name, t->name);
    return emr_fail(error, EMR_ENOTFOUND, "%F: task '%K' has no tensor '%T'", b->name,
                    emr_bundle_task_name(b, task), t->name);
}

static emr_status fail_unchanged(const emr_session_target *t, emr_error *error)
{
    return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is not merged: it has no change to give without_base",
                    t->session->shared->bundle->name, t->name);
}

emr_status emr_target_find(emr_session_target *t, uint32_t i, emr_error *error)
{
    const emr_bundle *b = t->session->shared->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    uint32_t task = t->task->task;
    t->name = emr_bundle_tensor_name(b, i);
    if (!has_bundle_tensor(t, i))
        return fail_absent(t, error);
    t->from = r.merged ? EMR_FROM_MERGED : EMR_FROM_KEPT;
    t->i = i;
    t->total = emr_bundle_count(b, &r);
    t->row = r.rank ? emr_bundle_shape(b, r.shape)[r.rank - 1] : 1;
    t->stored = r.dtype;
    t->dtype = task == EMR_BASE ? t->stored : emr_bundle_task_dtype(b, task, i);
    if (t->without_base) {
        t->stored = t->dtype = EMR_DTYPE_F32;
        return r.merged ? EMR_OK : fail_unchanged(t, error);
    }
    if (!t->session->shared->base)
        return emr_fail(
            error, EMR_ESTATE,
            r.merged ? "%F: tensor '%T': this session has no base: set without_base, for the change alone"
                     : "%F: tensor '%T' is kept from the base, and this session has none",
            b->name, t->name);
    return r.merged ? EMR_OK : emr_bundle_base_tensor(b, t->session->shared->base, i, false, &t->kept, error);
}

static void find_private(emr_session_target *t, size_t i)
{
    const emr_bundle *b = t->session->shared->bundle;
    emr_private_record p = emr_bundle_private_record(b, i);
    t->from = EMR_FROM_PRIVATE;
    t->i = i;
    t->stored = t->dtype = p.dtype;
    t->total = t->row = 1;
    for (uint32_t d = 0; d < p.rank; d++)
        t->total *= t->row = emr_bundle_shape(b, p.shape)[d];
}

emr_status emr_target_find_name(emr_session_target *t, emr_error *error)
{
    uint32_t i;
    if (emr_bundle_find_tensor(t->session->shared->bundle, t->name, &i, NULL) == EMR_OK &&
        has_bundle_tensor(t, i))
        return emr_target_find(t, i, error);
    size_t private = emr_session_find_private(t->task, t->name);
    if (private == EMR_NAMES_NONE)
        return fail_absent(t, error);
    find_private(t, private);
    return t->without_base ? fail_unchanged(t, error) : EMR_OK;
}

emr_status emr_target_set_dtype(emr_session_target *t, emr_dtype dtype, emr_error *error)
{
    const emr_bundle *b = t->session->shared->bundle;
    if (dtype && dtype != t->dtype && (!emr_dtype_is_float(dtype) || !emr_dtype_is_float(t->stored)))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s and cannot be given in another dtype",
                        b->name, t->name, emr_dtype_name(t->dtype));
    if (emr_dtype_bits(t->stored) % 8)
        return emr_fail(error, EMR_EUNSUPPORTED, "%F: tensor '%T' has elements of less than a byte", b->name,
                        t->name);
    t->out_dtype = dtype ? dtype : t->dtype;
    return EMR_OK;
}

emr_status emr_target_check_whole(const emr_session_target *t, const char *words, uint64_t n,
                                  emr_error *error)
{
    return t->out_blocks && n % EMR_BLOCK_VALUES
               ? emr_fail(error, EMR_EINVAL, "%F: tensor '%T': in %s, %s must be a multiple of %u, not %u",
                          t->session->shared->bundle->name, t->name, emr_block_name(t->out_blocks), words,
                          (uint64_t)EMR_BLOCK_VALUES, n)
               : EMR_OK;
}

emr_status emr_target_set_blocks(emr_session_target *t, emr_block_type blocks, emr_dtype dtype,
                                 emr_error *error)
{
    const char *name = t->session->shared->bundle->name;
    if (!emr_block_bytes(blocks))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': there are no blocks of type %u", name, t->name,
                        (uint64_t)blocks);
    if (!emr_is_little_endian())
        return emr_fail(error, EMR_EUNSUPPORTED,
                        "%F: tensor '%T': weights are written in blocks on little-endian processors alone",
                        name, t->name);
    if (dtype && dtype != EMR_DTYPE_F32)
        return emr_fail(error, EMR_EINVAL,
                        "%F: tensor '%T': blocks are of F32 weights: leave dtype 0, or make it F32", name,
                        t->name);
    if (!emr_dtype_is_float(t->stored))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s and cannot be given in %s", name, t->name,
                        emr_dtype_name(t->dtype), emr_block_name(blocks));
    t->out_blocks = blocks;
    t->out_dtype = EMR_DTYPE_F32;
    return emr_target_check_whole(t, "its last dimension", t->row, error);
}

bool emr_memory_overlaps(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return a_bytes && b_bytes && (x < y ? y - x < a_bytes : x - y < b_bytes);
}

/* The base's memory of a tensor, where it has any. */
static const void *base_memory(const emr_session_target *t, uint64_t *bytes)
{
    if (t->from == EMR_FROM_MERGED) {
        const emr_session_tensor *m = &t->session->shared->tensors[t->i];
        *bytes = emr_session_base_bytes(m);
        return m->base;
    }
    *bytes = 0;
    if (t->from != EMR_FROM_KEPT)
        return NULL;
    if (t->kept->blocks && t->kept->data)
        *bytes = emr_blocks_bytes(t->kept, t->kept->count);
    else if (t->kept->kind == EMR_TENSOR_MEMORY)
        *bytes = t->kept->bytes;
    return *bytes ? t->kept->data : NULL;
}

emr_status emr_target_check_output(const emr_session_target *t, uint64_t n, emr_error *error)
{
    const emr_bundle *b = t->session->shared->bundle;
    uint64_t base_bytes;
    const void *base = base_memory(t, &base_bytes);
    if (n && !t->out)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': no memory was given for it", b->name, t->name);
    if (n > SIZE_MAX / 8 || emr_target_bytes(t, n) > UINTPTR_MAX - (uintptr_t)t->out)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': %u elements do not fit in memory", b->name,
                        t->name, n);
    if (base && emr_memory_overlaps(t->out, emr_target_bytes(t, n), base, base_bytes))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its weights would overwrite the base's", b->name,
                        t->name);
    return EMR_OK;
}
