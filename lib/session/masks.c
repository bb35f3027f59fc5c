/* masks.c - a session's masks: which blocks a piece of work needs, reading those that are not in memory, and
 * where the bits of a parameter are then. Freestanding. */
#include "session/session.h"

#include "numeric/convert.h"

static emr_stream_record mask_stream(const emr_bundle *b, size_t task)
{
    return emr_bundle_stream_record(b, b->task_streams[EMR_STREAM_MASK][task]);
}

bool emr_session_want(emr_session *s, const emr_session_task *t, size_t tensor, uint64_t first, uint64_t n)
{
    uint64_t flat = s->tensors[tensor].first_param + first;
    if (!n || t->task == EMR_BASE)
        return true;
    emr_stream_record stream = mask_stream(s->bundle, t->task);
    uint64_t last = (flat + n - 1) / 8 / stream.block_bytes;
    for (uint64_t i = flat / 8 / stream.block_bytes; i <= last; i++) {
        emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(stream.first_block + i));
        if (!emr_mask_cache_want(&s->masks, s->masks.first_block[t->task] + (size_t)i,
                                 emr_mask_needs_slot(s->bundle, &r)))
            return false;
    }
    return true;
}

static emr_status read_block(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_session *s = context;
    size_t block = s->masks.wanted[job], task = 0;
    emr_mask_block *m = &s->masks.blocks[block];
    while (block >= s->masks.first_block[task + 1])
        task++;
    emr_stream_record stream = mask_stream(s->bundle, task);
    uint64_t i = block - s->masks.first_block[task];
    emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(stream.first_block + i));
    if (r.codec == EMR_CODEC_FILL && m->slot == EMR_IN_PLACE) {
        m->bits = r.parameter ? s->ones : s->zeros;
        return EMR_OK;
    }
    const emr_session_worker *w = &s->work[worker];
    uint8_t *into = m->slot == EMR_IN_PLACE ? w->packed : emr_mask_cache_slot(&s->masks, block);
    const uint8_t *data;
    emr_status status = emr_block_read(s->bundle, &stream, i, w->decoder, w->packed, into, &data, error);
    if (!status)
        m->bits = data;
    return status;
}

emr_status emr_session_load(emr_session *s, emr_error *error)
{
    size_t n = s->masks.n_wanted;
    s->masks.read += n;
    return n ? emr_work(&s->workers, n, read_block, s, error) : EMR_OK;
}

/* The mask's part of a window. */
static void find_mask(const emr_session_task *t, uint64_t flat, emr_mask_window *w)
{
    const emr_session *s = t->session;
    if (t->task == EMR_BASE) {
        w->mask = s->zeros;
        w->bit = 0;
        w->n = (size_t)s->zeros_bytes * 8;
        return;
    }
    emr_stream_record stream = mask_stream(s->bundle, t->task);
    uint64_t byte = flat / 8, block = byte / stream.block_bytes;
    size_t within = (size_t)(byte % stream.block_bytes);
    w->mask = s->masks.blocks[s->masks.first_block[t->task] + block].bits + within;
    w->bit = flat % 8;
    w->n = (emr_stream_block_length(&stream, block) - within) * 8 - w->bit;
}

static float rescaler(const emr_session_task *t, size_t tensor, uint64_t first, size_t *n)
{
    const emr_session *s = t->session;
    const emr_session_tensor *held = &s->tensors[tensor];
    if (t->task == EMR_BASE)
        return 0;
    if (!t->rows)
        return emr_bundle_rescaler(s->bundle, t->task, tensor);
    *n = (size_t)emr_min(*n, held->n_columns - first % held->n_columns);
    return t->rows[held->first_row + first / held->n_columns];
}

emr_status emr_session_window(void *user, size_t tensor, uint64_t first, uint64_t want,
                              emr_window_parts parts, emr_mask_window *w, emr_error *error)
{
    const emr_session_task *t = user;
    const emr_session *s = t->session;
    uint64_t flat = s->tensors[tensor].first_param + first;
    size_t size = emr_float_size((emr_dtype)s->bundle->summary.unified_dtype);
    (void)error;
    find_mask(t, flat, w);
    w->unified_dtype = s->bundle->summary.unified_dtype;
    w->n = (size_t)emr_min(w->n, want);
    if (parts == EMR_WINDOW_ALL) {
        uint64_t block = flat * size / s->unified.block_bytes;
        size_t within = (size_t)(flat * size % s->unified.block_bytes);
        w->unified = s->unified_blocks[block] + within;
        w->n = (size_t)emr_min(w->n, (emr_stream_block_length(&s->unified, block) - within) / size);
    }
    w->rescaler = rescaler(t, tensor, first, &w->n);
    return EMR_OK;
}
