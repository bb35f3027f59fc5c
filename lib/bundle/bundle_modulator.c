/* bundle_modulator.c - a task's modulator over a bundle: cursors over its streams, side by side. Freestanding. */
#include "bundle/bundle.h"

#include "model/model.h"
#include "modulator/modulator.h"

#include <string.h>

/* Cursors over streams that the task does not have hold nothing. */
typedef struct bundle_source {
    const emr_bundle *bundle;
    uint32_t task;
    emr_cursor unified, codes, scales, columns, vectors;
} bundle_source;

static const emr_bundle *source_bundle(const void *user)
{
    return ((const bundle_source *)user)->bundle;
}

static uint32_t bundle_n_tensors(const void *user)
{
    return source_bundle(user)->summary.n_merged;
}

static const char *bundle_tensor_name(const void *user, uint32_t tensor)
{
    return emr_bundle_tensor_name(source_bundle(user), tensor);
}

static uint64_t bundle_tensor_count(const void *user, uint32_t tensor)
{
    emr_tensor_record t = emr_bundle_tensor_record(source_bundle(user), tensor);
    return emr_bundle_count(source_bundle(user), &t);
}

static emr_status bundle_find_tensor(const void *user, const char *name, uint32_t *tensor)
{
    const emr_bundle *b = source_bundle(user);
    uint32_t i;
    if (emr_bundle_find_tensor(b, name, &i, NULL) || i >= b->summary.n_merged)
        return EMR_ENOTFOUND;
    *tensor = i;
    return EMR_OK;
}

static emr_tensor_code bundle_tensor_code(const void *user, uint32_t tensor)
{
    return emr_bundle_code(source_bundle(user), ((const bundle_source *)user)->task, tensor);
}

/* Of a matrix of a coded task: where the scale of a parameter's stretch lies in its stream. */
static uint64_t stretch_slot(const emr_bundle *b, const emr_tensor_record *t, uint64_t parameter)
{
    uint64_t columns = emr_bundle_count(b, t) / emr_shape_rows(t->rank, emr_bundle_shape(b, t->shape));
    return t->first_row + parameter / columns + (t->first_param + parameter) / EMR_CHUNK;
}

static uint64_t bundle_n_groups(const void *user, uint32_t tensor)
{
    const emr_bundle *b = source_bundle(user);
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    const emr_kind *kind = bundle_tensor_code(user, tensor).kind;
    if (kind == &emr_kind_differences)
        return 0;
    bool rows = !kind->has_unified || b->summary.rescale_per == EMR_PER_ROW_BYTE;
    return rows ? emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape)) : 1;
}

/* Where there are stretches, their slots, from the first one's to the last one's. */
static uint64_t bundle_n_scales(const void *user, uint32_t tensor)
{
    const emr_bundle *b = source_bundle(user);
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    uint64_t n_groups = bundle_n_groups(user, tensor);
    const emr_kind *kind = bundle_tensor_code(user, tensor).kind;
    if (kind->has_unified || !n_groups)
        return n_groups * kind->n_scales;
    return stretch_slot(b, &t, emr_bundle_count(b, &t) - 1) - stretch_slot(b, &t, 0) + 1;
}

emr_status emr_bundle_check_rescaler(const emr_bundle *b, uint32_t task, uint32_t tensor, float rescaler,
                                     emr_error *error)
{
    if (emr_is_rescaler(rescaler))
        return EMR_OK;
    return emr_fail(error, EMR_EFORMAT, "%F: task '%K': tensor '%T' has an impossible rescaler", b->name,
                    emr_bundle_task_name(b, task), emr_bundle_tensor_name(b, tensor));
}

void emr_bundle_scales(const emr_bundle *b, uint32_t task, uint32_t tensor, float *scales)
{
    const emr_kind *kind = emr_bundle_kind(b, task);
    if (b->summary.rescale_per == EMR_PER_MODEL_BYTE) { /* in the task's own records */
        scales[0] = emr_bundle_task_record(b, task).rescaler;
        if (kind->n_scales > 1)
            scales[1] = emr_bundle_modulator_record(b, task).other_rescaler;
        return;
    }
    uint64_t first =
        (uint64_t)emr_bundle_first_scale(b, task) * b->summary.n_merged + (uint64_t)tensor * kind->n_scales;
    for (uint32_t i = 0; i < kind->n_scales; i++)
        scales[i] = emr_f32_from_bits(emr_load32(b->sections[EMR_SECTION_RESCALERS].data + (first + i) * 4));
}

/* Scales [first, first + n) of a stream of f32s or BF16s. */
static emr_status read_scale_stream(bundle_source *s, uint32_t tensor, uint64_t first, size_t n, bool wide,
                                    float *scales, emr_error *error)
{
    size_t size = wide ? 4 : 2;
    emr_status status = emr_cursor_read(&s->scales, first * size, scales, n * size, error);
    const uint8_t *bytes = (const uint8_t *)scales;
    for (size_t i = n; !status && i-- > 0;) { /* from behind, where narrow ones are not written over */
        uint32_t bits = wide ? emr_load32(bytes + 4 * i) : (uint32_t)emr_load16(bytes + 2 * i) << 16;
        scales[i] = emr_f32_from_bits(bits);
        status = emr_bundle_check_rescaler(s->bundle, s->task, tensor, scales[i], error);
    }
    return status;
}

static emr_status bundle_read_scales(void *user, uint32_t tensor, uint64_t first, size_t n, float *scales,
                                     emr_error *error)
{
    bundle_source *s = user;
    const emr_bundle *b = s->bundle;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    const emr_kind *kind = emr_bundle_kind(b, s->task);
    if (!n)
        return EMR_OK;
    if (!kind->has_unified)
        return read_scale_stream(s, tensor, stretch_slot(b, &t, 0) + first, n, false, scales, error);
    if (b->summary.rescale_per == EMR_PER_ROW_BYTE)
        return read_scale_stream(s, tensor, t.first_row * kind->n_scales + first, n, true, scales, error);
    float all[EMR_SCALES_MAX]; /* checked when the bundle was opened */
    emr_bundle_scales(b, s->task, tensor, all);
    memcpy(scales, all + first, n * sizeof *scales);
    return EMR_OK;
}

/* Shortens the window to the part that has the same scales, and gives these. */
static emr_status find_scales(bundle_source *s, uint32_t tensor, uint64_t first, emr_code_window *w,
                              emr_error *error)
{
    const emr_bundle *b = s->bundle;
    const emr_kind *kind = emr_bundle_kind(b, s->task);
    if (kind->has_unified && b->summary.rescale_per != EMR_PER_ROW_BYTE) {
        emr_bundle_scales(b, s->task, tensor, w->scales);
        return EMR_OK;
    }
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    uint64_t rows = emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape));
    uint64_t columns = emr_bundle_count(b, &t) / rows;
    w->n = (size_t)emr_min(w->n, columns - first % columns);
    if (kind->has_unified)
        return read_scale_stream(s, tensor, (t.first_row + first / columns) * kind->n_scales, kind->n_scales,
                                 true, w->scales, error);
    w->n = (size_t)emr_min(w->n, EMR_CHUNK - (t.first_param + first) % EMR_CHUNK);
    return read_scale_stream(s, tensor, stretch_slot(b, &t, first), 1, false, w->scales, error);
}

/* Shortens the window to the part whose scales of columns lie in one block, and gives these, if there are any. */
static emr_status find_columns(bundle_source *s, uint32_t tensor, uint64_t first, emr_code_window *w,
                               emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    uint64_t columns = emr_matrix_columns(t.rank, emr_bundle_shape(b, t.shape));
    size_t available;
    if (!columns || !emr_bundle_modulator_record(b, s->task).has_columns)
        return EMR_OK;
    emr_status status =
        emr_cursor_at(&s->columns, (t.first_place + first % columns) * 2, &w->columns, &available, error);
    if (!status)
        w->n = (size_t)emr_min(w->n, available / 2);
    return status;
}

/* The window's codes, `place` being that of its first parameter in the stream. */
static emr_status find_codes(emr_cursor *codes, uint32_t rate, uint64_t place, uint64_t want,
                             emr_code_window *w, emr_error *error)
{
    size_t available;
    w->first_code = place % EMR_CODE_UNIT;
    w->group = place / EMR_CODE_UNIT * (EMR_CODE_UNIT / EMR_GROUP);
    emr_status status = emr_cursor_at(codes, place / EMR_CODE_UNIT * rate, &w->codes, &available, error);
    if (!status)
        w->n = (size_t)emr_min(want, (uint64_t)available * EMR_CODE_UNIT / rate - w->first_code);
    return status;
}

static emr_status find_unified(bundle_source *s, uint64_t flat, emr_code_window *w, emr_error *error)
{
    const uint8_t *bytes;
    size_t available, size = w->unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
    emr_status status = emr_cursor_at(&s->unified, flat * size, &bytes, &available, error);
    if (status)
        return status;
    w->unified = bytes;
    w->n = (size_t)emr_min(w->n, available / size);
    return EMR_OK;
}

static emr_status bundle_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                                emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    bundle_source *s = user;
    emr_tensor_code code = emr_bundle_code(s->bundle, s->task, tensor);
    emr_tensor_record t = emr_bundle_tensor_record(s->bundle, tensor);
    *w = (emr_code_window){.scales = {1}, .unified_dtype = s->bundle->summary.unified_dtype};
    if (code.kind == &emr_kind_differences)
        return find_codes(&s->vectors, code.coding.rate, t.first_place + first, want, w, error);
    uint64_t flat = t.first_param + first;
    emr_status status = find_codes(&s->codes, code.coding.rate, flat, want, w, error);
    if (!status && parts == EMR_WINDOW_ALL && code.kind->has_unified)
        status = find_unified(s, flat, w, error);
    if (!status && parts != EMR_WINDOW_CODES)
        status = find_scales(s, tensor, first, w, error);
    if (!status && parts != EMR_WINDOW_CODES)
        status = find_columns(s, tensor, first, w, error);
    return status;
}

static bool bundle_share_unified(const void *user, const void *other, uint32_t tensor)
{
    (void)tensor;
    return source_bundle(user) == source_bundle(other);
}

static void bundle_source_destroy(void *user, const emr_allocator *allocator)
{
    bundle_source *s = user;
    emr_cursor_close(&s->unified);
    emr_cursor_close(&s->codes);
    emr_cursor_close(&s->scales);
    emr_cursor_close(&s->columns);
    emr_cursor_close(&s->vectors);
    emr_release(allocator, s);
}

static const emr_modulator_source bundle_modulator = {
    .n_tensors = bundle_n_tensors,
    .tensor_name = bundle_tensor_name,
    .tensor_count = bundle_tensor_count,
    .find_tensor = bundle_find_tensor,
    .code = bundle_tensor_code,
    .n_groups = bundle_n_groups,
    .n_scales = bundle_n_scales,
    .read_scales = bundle_read_scales,
    .window = bundle_window,
    .share_unified = bundle_share_unified,
    .destroy = bundle_source_destroy,
};

static emr_status open_cursors(bundle_source *s, const emr_allocator *allocator, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    size_t *const *streams = b->task_streams;
    uint32_t t = s->task;
    bool elected = emr_bundle_kind(b, t)->has_unified;
    const size_t base_unified = b->base_streams[EMR_STREAM_UNIFIED];
    emr_status status = elected ? emr_cursor_open(&s->unified, b, base_unified, allocator, error) : EMR_OK;
    if (!status)
        status = emr_cursor_open(&s->codes, b, streams[elected ? EMR_STREAM_MASK : EMR_STREAM_CODES][t],
                                 allocator, error);
    if (!status)
        status =
            emr_cursor_open(&s->scales, b, streams[elected ? EMR_STREAM_ROW_RESCALERS : EMR_STREAM_SCALES][t],
                            allocator, error);
    if (!status)
        status = emr_cursor_open(&s->columns, b, streams[EMR_STREAM_COLUMNS][t], allocator, error);
    if (!status)
        status = emr_cursor_open(&s->vectors, b, streams[EMR_STREAM_VECTORS][t], allocator, error);
    return status;
}

emr_status emr_bundle_open_modulator(emr_modulator **modulator, const emr_bundle *b, uint32_t task,
                                     const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (modulator)
        *modulator = NULL;
    if (!modulator || !b)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open_modulator: NULL");
    if (task >= b->summary.n_tasks)
        return emr_fail(error, EMR_ENOTFOUND, "%F: there is no task %u", b->name, (uint64_t)task);
    emr_status status = emr_allocator_take(&allocator, given ? given : &b->allocator, error);
    if (status)
        return status;
    bundle_source *s = emr_allocate_array(&allocator, 1, sizeof *s);
    if (!s)
        return emr_no_memory(error, b->name);
    s->bundle = b;
    s->task = task;
    status = open_cursors(s, &allocator, error);
    if (status) {
        bundle_source_destroy(s, &allocator);
        return status;
    }
    const emr_modulator members = {
        .allocator = allocator, .kernels = b->kernels, .source = &bundle_modulator, .user = s};
    return emr_modulator_open(modulator, &members, error);
}
