/* codes.c - a session's codes: which blocks a piece of work needs, reading those that are not in memory, and
 * where a parameter's code is then. Freestanding. */
#include "session/session.h"

#include "numeric/convert.h"

emr_room emr_session_request(emr_session *s, const uint32_t *tasks, size_t n_tasks, uint32_t tensor,
                             uint64_t first, uint64_t n)
{
    const emr_session_shared *shared = s->shared;
    uint64_t flat = shared->tensors[tensor].first_param + first;
    size_t n_ranges = 0;
    for (size_t i = 0; n && i < n_tasks; i++) {
        if (tasks[i] == EMR_BASE)
            continue;
        const emr_session_task *t = &shared->tasks[tasks[i]];
        if (emr_session_code(t, tensor)->kind == &emr_kind_differences)
            continue;
        uint64_t begin = flat >> t->block_shift, end = ((flat + n - 1) >> t->block_shift) + 1;
        s->ranges[n_ranges++] =
            (emr_code_range){shared->codes.first_block[tasks[i]] + (size_t)begin, (size_t)(end - begin)};
    }
    return emr_code_cache_request(&s->shared->codes, &s->codes, s->ranges, n_ranges);
}

/* The task that has a block of the cache. */
static uint32_t block_task(const emr_code_cache *c, size_t block)
{
    uint32_t task = 0;
    while (block >= c->first_block[task + 1])
        task++;
    return task;
}

static emr_status read_code_block(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *handle = context;
    const emr_session_worker *w = &handle->work[worker];
    emr_session_shared *s = handle->shared;
    size_t block = handle->codes.missing[job];
    uint32_t task = block_task(&s->codes, block);
    emr_code_block *c = &s->codes.blocks[block];
    emr_stream_record stream = emr_session_code_stream(s->bundle, task);
    uint8_t *into = c->in_place ? w->packed : emr_code_cache_slot(&s->codes, block);
    const uint8_t *data;
    emr_status status = emr_block_read(s->bundle, &stream, block - s->codes.first_block[task], w->decoder,
                                       w->packed, into, &data, error);
    if (!status)
        atomic_store_explicit(&c->bytes, data, memory_order_release);
    return status;
}

emr_status emr_session_read_codes(emr_session *s, emr_error *error)
{
    emr_code_cache *c = &s->shared->codes;
    emr_status status = EMR_OK;
    unsigned n_waits = 0;
    while (!status && emr_code_cache_claim(c, &s->codes)) {
        if (!s->codes.n_claimed) {
            emr_code_cache_wait(c, &n_waits);
            continue;
        }
        status = emr_work(&s->workers, s->codes.n_claimed, read_code_block, s, error);
        emr_code_cache_settle(c, &s->codes);
    }
    return status;
}

/* Where parameter `flat` lies within its block; shortens the window to what is left of that. */
static size_t place_in_block(emr_code_window *w, uint64_t flat, unsigned shift)
{
    size_t within = (size_t)(flat & (((uint64_t)1 << shift) - 1));
    w->n = (size_t)emr_min(w->n, ((uint64_t)1 << shift) - within);
    return within;
}

static void window_codes(const emr_session_task *t, const emr_tensor_code *code, uint64_t flat,
                         emr_code_window *w)
{
    size_t within = place_in_block(w, flat, t->block_shift);
    w->codes = atomic_load_explicit(&t->blocks[flat >> t->block_shift].bytes, memory_order_acquire) +
               within / EMR_CODE_UNIT * code->coding.rate;
    w->first_code = flat % EMR_CODE_UNIT;
    w->group = flat / EMR_CODE_UNIT * (EMR_CODE_UNIT / EMR_GROUP);
}

static void window_unified(const emr_session_shared *s, uint64_t flat, emr_code_window *w)
{
    size_t within = place_in_block(w, flat, s->unified_shift);
    w->unified = s->unified_blocks[flat >> s->unified_shift] + within * emr_float_size(w->unified_dtype);
}

static void window_scales(const emr_session_task *t, uint32_t tensor, uint64_t first, emr_code_window *w)
{
    const emr_session_tensor *m = &t->shared->tensors[tensor];
    size_t n_scales = t->matrices.kind->n_scales;
    uint64_t group = m->first_group;
    if (t->shared->bundle->summary.rescale_per == EMR_PER_ROW_BYTE) {
        group += first / m->n_columns;
        w->n = (size_t)emr_min(w->n, m->n_columns - first % m->n_columns);
    }
    for (size_t k = 0; k < n_scales; k++)
        w->scales[k] = t->scales[group * n_scales + k];
}

/* The stretch of its row that parameter `first` lies in. */
static emr_status window_stretch(const emr_session_task *t, uint32_t tensor, uint64_t first,
                                 emr_code_window *w, emr_error *error)
{
    const emr_session_tensor *m = &t->shared->tensors[tensor];
    uint64_t flat = m->first_param + first, row = first / m->n_columns, column = first - row * m->n_columns;
    uint64_t slot = m->first_row + row + flat / EMR_CHUNK;
    const uint8_t *columns = t->parts[EMR_SESSION_COLUMNS];
    w->n = (size_t)emr_min(emr_min(w->n, m->n_columns - column), EMR_CHUNK - flat % EMR_CHUNK);
    w->scales[0] = emr_bf16_to_f32(emr_load16(t->parts[EMR_SESSION_SCALES] + slot * 2));
    if (columns && m->has_columns)
        w->columns = columns + (m->first_place + column) * 2;
    return emr_bundle_check_rescaler(t->shared->bundle, t->task, tensor, w->scales[0], error);
}

static void window_differences(const emr_session_task *t, uint32_t tensor, uint64_t first, emr_code_window *w)
{
    uint64_t place = t->shared->tensors[tensor].first_place + first;
    w->codes = t->parts[EMR_SESSION_VECTORS] + place / EMR_CODE_UNIT * t->vectors.coding.rate;
    w->first_code = place % EMR_CODE_UNIT;
    w->group = place / EMR_CODE_UNIT * (EMR_CODE_UNIT / EMR_GROUP);
    w->scales[0] = 1;
}

emr_status emr_session_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                              emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    const emr_session_task *t = user;
    const emr_session_shared *s = t->shared;
    const emr_tensor_code *code = emr_session_code(t, tensor);
    uint64_t flat = s->tensors[tensor].first_param + first;
    *w = (emr_code_window){.n = (size_t)emr_min(want, SIZE_MAX / 16),
                           .unified_dtype = s->bundle->summary.unified_dtype};
    if (code->kind == &emr_kind_differences) {
        window_differences(t, tensor, first, w);
        return EMR_OK;
    }
    if (parts == EMR_WINDOW_ALL && s->unified.bytes && (!code->kind || code->kind->has_unified))
        window_unified(s, flat, w);
    if (!code->kind) /* no codes, scales of 0 */
        return EMR_OK;
    window_codes(t, code, flat, w);
    if (parts == EMR_WINDOW_CODES)
        return EMR_OK;
    if (!code->kind->has_unified)
        return window_stretch(t, tensor, first, w, error);
    window_scales(t, tensor, first, w);
    return EMR_OK;
}
