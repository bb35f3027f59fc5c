/* load.c - what a session has in memory from its creation on: base tensors, the unified vector, what tasks
 * have beside their codes, and room for these. Freestanding. */
#include "session/needs.h"

#include "core/io.h"
#include "numeric/convert.h"

enum { READ_BYTES = 1 << 20 }; /* of the base, at a time */

static const emr_tensor *base_tensor(const emr_session_shared *s, uint32_t i)
{
    return emr_model_find_tensor(s->base, emr_bundle_tensor_name(s->bundle, i));
}

static emr_status allocate_fill(emr_session_shared *s, const emr_session_needs *n, emr_error *error)
{
    s->zeros = emr_allocate(&s->allocator, n->fill_bytes);
    s->ones = emr_allocate(&s->allocator, n->fill_bytes);
    if (!s->zeros || !s->ones)
        return emr_no_memory(error, s->bundle->name);
    memset(s->zeros, 0, n->fill_bytes);
    memset(s->ones, 0xff, n->fill_bytes);
    return EMR_OK;
}

/* Some bytes of a tensor. */
static emr_status read_base_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *s = context;
    const emr_session_piece *p = &s->pieces[job];
    const emr_tensor *t = base_tensor(s->shared, p->tensor);
    (void)worker;
    return t->blocks ? emr_tensor_read_io(t, p->first, p->out, (size_t)p->n, error)
                     : emr_tensor_read(t, p->first, p->out, (size_t)p->n, error);
}

static emr_status read_base_pieces(emr_session *s, emr_error *error)
{
    size_t n = s->n_pieces;
    s->n_pieces = 0;
    return n ? emr_work(&s->workers, n, read_base_piece, s, error) : EMR_OK;
}

static emr_status map_base_tensor(emr_session_shared *s, uint32_t i, const emr_tensor *t, emr_error *error)
{
    emr_session_tensor *m = &s->tensors[i];
    size_t bytes = (size_t)emr_session_base_bytes(m);
    emr_error why;
    emr_status status = bytes ? emr_io_map(&t->io, t->offset, bytes, &m->window, &why) : EMR_OK;
    m->base = m->window;
    return status ? emr_fail_because(error, status, &why, "%F: tensor '%T' cannot be mapped", s->base->name,
                                     t->name)
                  : EMR_OK;
}

/* Collects pieces to be read, and reads them when there are many: the last ones are left. */
static emr_status copy_base_tensor(emr_session *s, uint32_t i, emr_error *error)
{
    emr_session_tensor *m = &s->shared->tensors[i];
    uint64_t bytes = emr_session_base_bytes(m);
    uint8_t *copy = emr_allocate(&s->shared->allocator, (size_t)bytes);
    emr_status status = EMR_OK;
    m->copy = copy;
    m->base = copy;
    if (!copy)
        return emr_no_memory(error, s->shared->bundle->name);
    for (uint64_t at = 0, n; !status && at < bytes; at += n) {
        n = emr_min(bytes - at, READ_BYTES);
        s->pieces[s->n_pieces++] = (emr_session_piece){.tensor = i, .first = at, .n = n, .out = copy + at};
        if (s->n_pieces == EMR_SESSION_PIECES)
            status = read_base_pieces(s, error);
    }
    return status;
}

static emr_status load_base(emr_session *handle, emr_error *error)
{
    emr_session_shared *s = handle->shared;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; s->base && !status && i < s->bundle->summary.n_merged; i++) {
        const emr_tensor *t = base_tensor(s, i);
        if (emr_session_has_base(t))
            continue;
        if (emr_session_base_bytes(&s->tensors[i]) > SIZE_MAX)
            return emr_no_memory(error, s->bundle->name);
        status =
            emr_session_maps_base(t) ? map_base_tensor(s, i, t, error) : copy_base_tensor(handle, i, error);
    }
    return status ? status : read_base_pieces(handle, error);
}

static emr_status read_unified_block(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *handle = context;
    const emr_session_worker *w = &handle->work[worker];
    emr_session_shared *s = handle->shared;
    emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(s->unified.first_block + job));
    const uint8_t **at = &s->unified_blocks[job];
    if (r.codec == EMR_CODEC_FILL && r.parameter == 0) {
        *at = s->zeros;
        return EMR_OK;
    }
    uint8_t *into = *at ? s->unified_memory + (*at - s->unified_memory) : w->packed;
    const uint8_t *data;
    emr_status status =
        emr_block_read(s->bundle, &s->unified, job, w->decoder, w->packed, into, &data, error);
    if (!status)
        *at = data;
    return status;
}

static emr_status load_unified(emr_session *handle, const emr_session_needs *n, emr_error *error)
{
    emr_session_shared *s = handle->shared;
    size_t n_blocks = (size_t)emr_stream_blocks(&s->unified);
    s->unified_shift =
        emr_session_shift(s->unified.block_bytes / emr_float_size(s->bundle->summary.unified_dtype));
    s->unified_blocks = emr_allocate_array(&s->allocator, n_blocks, sizeof *s->unified_blocks);
    s->unified_memory = n->unified <= SIZE_MAX ? emr_allocate(&s->allocator, (size_t)n->unified) : NULL;
    if (!s->unified_blocks || !s->unified_memory)
        return emr_no_memory(error, s->bundle->name);
    uint8_t *next = s->unified_memory;
    for (size_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(s->unified.first_block + i));
        if (!emr_session_needs_copy(s->bundle, &r))
            continue;
        s->unified_blocks[i] = next;
        next += emr_round_up(emr_stream_block_length(&s->unified, i), EMR_ALIGNMENT);
    }
    return emr_work(&handle->workers, n_blocks, read_unified_block, handle, error);
}

emr_status emr_session_load(emr_session *handle, const emr_session_needs *n, emr_error *error)
{
    emr_session_shared *s = handle->shared;
    emr_status status = allocate_fill(s, n, error);
    if (!status)
        status = load_base(handle, error);
    if (!status)
        status = load_unified(handle, n, error);
    for (uint32_t task = 0; !status && task < s->bundle->summary.n_tasks; task++)
        status = emr_session_load_task(s, task, error);
    return status;
}

static void unmap_unified(emr_session_shared *s)
{
    const emr_bundle *b = s->bundle;
    for (size_t i = 0; s->unified_blocks && i < emr_stream_blocks(&s->unified); i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(s->unified.first_block + i));
        if (emr_session_maps(b, &r))
            emr_io_unmap(&b->io, s->unified_blocks[i], r.stored);
    }
}

static void unmap_codes(emr_session_shared *s)
{
    const emr_bundle *b = s->bundle;
    for (uint32_t task = 0; task < s->codes.n_tasks; task++)
        for (size_t i = s->codes.first_block[task]; i < s->codes.first_block[task + 1]; i++) {
            emr_stream_record stream = emr_session_code_stream(b, task);
            emr_block_record r =
                emr_bundle_block_record(b, (size_t)(stream.first_block + i - s->codes.first_block[task]));
            if (emr_session_maps(b, &r))
                emr_io_unmap(&b->io, s->codes.blocks[i].bytes, r.stored);
        }
}

static void release_base(emr_session_shared *s)
{
    for (uint32_t i = 0; s->tensors && i < s->bundle->summary.n_merged; i++) {
        const emr_session_tensor *m = &s->tensors[i];
        if (m->window) {
            const emr_tensor *t = base_tensor(s, i);
            emr_io_unmap(&t->io, m->window, (size_t)emr_session_base_bytes(m));
        }
        emr_release(&s->allocator, m->copy);
    }
}

void emr_session_unload(emr_session_shared *s)
{
    const emr_allocator *a = &s->allocator;
    unmap_unified(s);
    unmap_codes(s);
    release_base(s);
    for (uint32_t task = 0; s->tasks && task < s->bundle->summary.n_tasks; task++) {
        emr_release(a, s->tasks[task].scales);
        for (size_t part = 0; part < EMR_SESSION_PARTS; part++)
            emr_release(a, s->tasks[task].parts[part]);
        emr_names_free(&s->tasks[task].private, a);
    }
    void *const rest[] = {(void *)s->unified_blocks, s->unified_memory, s->zeros, s->ones};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        emr_release(a, rest[i]);
}
