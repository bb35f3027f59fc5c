/* tasks.c - what a session has of each task beside its codes: scales, and private tensors by name.
 * Freestanding. */
#include "session/session.h"

uint64_t emr_session_n_groups(const emr_bundle *b)
{
    return b->summary.rescale_per == EMR_PER_ROW_BYTE      ? b->summary.n_rows
           : b->summary.rescale_per == EMR_PER_TENSOR_BYTE ? b->summary.n_merged
                                                           : 1;
}

/* The tensor that has row `row` of all, for a message. */
static uint32_t tensor_of_row(const emr_session_shared *s, uint64_t row)
{
    uint32_t i = 0;
    while (i + 1 < s->bundle->summary.n_merged && s->tensors[i + 1].first_group <= row)
        i++;
    return i;
}

static emr_status read_row_scales(emr_session_shared *s, uint32_t task, uint64_t n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    float *scales = s->tasks[task].scales;
    emr_cursor cursor;
    emr_status status =
        emr_cursor_open(&cursor, b, b->task_streams[EMR_STREAM_ROW_RESCALERS][task], &s->allocator, error);
    if (!status)
        status = emr_cursor_read(&cursor, 0, scales, (size_t)n * sizeof *scales, error);
    emr_cursor_close(&cursor);
    for (uint64_t i = 0; !status && i < n; i++) {
        scales[i] = emr_f32_from_bits(emr_load32(&scales[i]));
        if (emr_f32_bits(scales[i]) >= 0x7f800000)
            status = emr_bundle_check_rescaler(
                b, task, tensor_of_row(s, i / emr_bundle_kind(b, task)->n_scales), scales[i], error);
    }
    return status;
}

/* What a task without unified values has beside its codes. */
static emr_status load_task_part(emr_session_shared *s, uint32_t task, size_t part, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    size_t stream = emr_session_part_of(b, task, part);
    uint64_t bytes = stream == EMR_NO_STREAM ? 0 : emr_bundle_stream_record(b, stream).bytes;
    uint8_t **to = &s->tasks[task].parts[part];
    emr_cursor cursor;
    if (!bytes)
        return EMR_OK;
    *to = bytes <= SIZE_MAX ? emr_allocate(&s->allocator, (size_t)bytes) : NULL;
    if (!*to)
        return emr_no_memory(error, b->name);
    emr_status status = emr_cursor_open(&cursor, b, stream, &s->allocator, error);
    if (!status)
        status = emr_cursor_read(&cursor, 0, *to, (size_t)bytes, error);
    emr_cursor_close(&cursor);
    return status;
}

static emr_status load_scales(emr_session_shared *s, uint32_t task, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    uint64_t n_groups = emr_session_n_groups(b), n_scales = emr_bundle_kind(b, task)->n_scales,
             n = n_groups * n_scales;
    float *scales =
        n <= SIZE_MAX / sizeof *scales ? emr_allocate(&s->allocator, (size_t)n * sizeof *scales) : NULL;
    s->tasks[task].scales = scales;
    if (!scales)
        return emr_no_memory(error, b->name);
    if (b->summary.rescale_per == EMR_PER_ROW_BYTE)
        return n ? read_row_scales(s, task, n, error) : EMR_OK;
    for (uint32_t i = 0; i < n_groups; i++) /* checked when the bundle was opened */
        emr_bundle_scales(b, task, i, scales + i * n_scales);
    return EMR_OK;
}

/* As emr_names wants to be told. */
static const char *private_name_at(const void *owner, size_t i)
{
    const emr_session_task *t = owner;
    const emr_bundle *b = t->shared->bundle;
    return emr_bundle_string(b, emr_bundle_private_record(b, b->first_private[t->task] + i).name);
}

static emr_status load_private_names(emr_session_shared *s, uint32_t task, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_session_task *t = &s->tasks[task];
    size_t n = b->first_private[task + 1] - b->first_private[task];
    emr_status status = emr_names_reserve(&t->private, &s->allocator, n);
    for (size_t i = 0; !status && i < n; i++)
        status = emr_names_add(&t->private, &s->allocator, private_name_at, t, i);
    if (status == EMR_EEXIST)
        return emr_fail(error, EMR_EFORMAT, "%F: task '%K' has two tensors of one name", b->name,
                        emr_bundle_task_name(b, task));
    return status ? emr_no_memory(error, b->name) : EMR_OK;
}

/* Where a task's codes are, and which need nothing to be read: they are all zeros, or all ones. */
static void find_blocks(emr_session_shared *s, uint32_t task)
{
    const emr_bundle *b = s->bundle;
    emr_session_task *t = &s->tasks[task];
    emr_code_block *blocks = s->codes.blocks + s->codes.first_block[task];
    if (emr_session_codes_of(b, task) == EMR_NO_STREAM || !t->matrices.kind)
        return;
    emr_stream_record stream = emr_session_code_stream(b, task);
    t->blocks = blocks;
    t->block_shift = emr_session_shift(stream.block_bytes / t->matrices.coding.rate * EMR_CODE_UNIT);
    for (size_t i = 0; i < emr_stream_blocks(&stream); i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(stream.first_block + i));
        blocks[i].in_place = !emr_session_needs_slot(b, &r);
        if (blocks[i].in_place && r.codec == EMR_CODEC_FILL)
            atomic_init(&blocks[i].bytes, r.parameter ? s->ones : s->zeros);
    }
}

static void find_tensor_codes(emr_session_shared *s, uint32_t task)
{
    emr_session_task *t = &s->tasks[task];
    for (uint32_t i = 0; i < s->bundle->summary.n_merged; i++) {
        emr_tensor_code code = emr_bundle_code(s->bundle, task, i);
        if (code.kind->has_unified || !s->tensors[i].is_vector)
            t->matrices = code;
        if (code.kind->has_unified || s->tensors[i].is_vector)
            t->vectors = code;
    }
}

emr_status emr_session_load_task(emr_session_shared *s, uint32_t task, emr_error *error)
{
    emr_status status = EMR_OK;
    find_tensor_codes(s, task);
    find_blocks(s, task);
    for (size_t part = 0; !status && part < EMR_SESSION_PARTS; part++)
        status = load_task_part(s, task, part, error);
    if (!status && emr_bundle_kind(s->bundle, task)->has_unified)
        status = load_scales(s, task, error);
    return status ? status : load_private_names(s, task, error);
}

emr_session_task *emr_session_find_task(emr_session_shared *s, uint32_t task, emr_error *error)
{
    uint32_t n = s->bundle->summary.n_tasks;
    if (task < n || task == EMR_BASE)
        return &s->tasks[task < n ? task : n];
    emr_fail(error, EMR_ENOTFOUND, "%F: there is no task %u", s->bundle->name, (uint64_t)task);
    return NULL;
}

size_t emr_session_find_private(const emr_session_task *t, const char *name)
{
    size_t i = t->task == EMR_BASE ? EMR_NAMES_NONE : emr_names_find(&t->private, private_name_at, t, name);
    return i == EMR_NAMES_NONE ? i : t->shared->bundle->first_private[t->task] + i;
}
