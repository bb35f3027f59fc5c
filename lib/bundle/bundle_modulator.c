/* bundle_modulator.c - a task's modulator over a bundle: two or three cursors side by side. Freestanding. */
#include "bundle/bundle.h"

#include "model/model.h"
#include "modulator/modulator.h"

typedef struct bundle_source {
    const emr_bundle *bundle;
    uint32_t task;
    emr_cursor unified, codes, row_scales;
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

static uint64_t bundle_n_groups(const void *user, uint32_t tensor)
{
    const emr_bundle *b = source_bundle(user);
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    return b->summary.rescale_per == EMR_PER_ROW_BYTE ? emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape))
                                                      : 1;
}

emr_status emr_bundle_check_rescaler(const emr_bundle *b, uint32_t task, uint32_t tensor, float rescaler,
                                     emr_error *error)
{
    if (emr_f32_bits(rescaler) < 0x7f800000)
        return EMR_OK;
    return emr_fail(error, EMR_EFORMAT, "%F: task '%K': tensor '%T' has an impossible rescaler", b->name,
                    emr_bundle_task_name(b, task), emr_bundle_tensor_name(b, tensor));
}

/* A task's scale number i of one of the tensors; in a bundle whose scales are not per row. One scale of a
 * whole model is in the task's record. */
static float stored_scale(const emr_bundle *b, uint32_t task, uint32_t tensor, size_t i)
{
    size_t n_scales = emr_bundle_kind(b, task)->n_scales;
    bool per_model = b->summary.rescale_per == EMR_PER_MODEL_BYTE;
    if (per_model && n_scales == 1)
        return emr_bundle_task_record(b, task).rescaler;
    size_t group = per_model ? task : (size_t)task * b->summary.n_merged + tensor;
    return emr_f32_from_bits(
        emr_load32(b->sections[EMR_SECTION_RESCALERS].data + (group * n_scales + i) * 4));
}

void emr_bundle_scales(const emr_bundle *b, uint32_t task, uint32_t tensor, float *scales)
{
    for (size_t i = 0; i < emr_bundle_kind(b, task)->n_scales; i++)
        scales[i] = stored_scale(b, task, tensor, i);
}

static emr_status bundle_read_scales(void *user, uint32_t tensor, uint64_t first, size_t n, float *scales,
                                     emr_error *error)
{
    bundle_source *s = user;
    const emr_bundle *b = s->bundle;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    bool per_row = b->summary.rescale_per == EMR_PER_ROW_BYTE;
    emr_status status = EMR_OK;
    if (per_row)
        status =
            emr_cursor_read(&s->row_scales, (t.first_row * emr_bundle_kind(b, s->task)->n_scales + first) * 4,
                            scales, n * 4, error);
    for (size_t i = 0; !status && i < n; i++) {
        scales[i] = per_row ? emr_f32_from_bits(emr_load32(&scales[i]))
                            : stored_scale(b, s->task, tensor, (size_t)first + i);
        status = emr_bundle_check_rescaler(b, s->task, tensor, scales[i], error);
    }
    return status;
}

/* Shortens the window to the part that has the same scales, and gives these. */
static emr_status find_scales(bundle_source *s, uint32_t tensor, uint64_t first, emr_code_window *w,
                              emr_error *error)
{
    const emr_bundle *b = s->bundle;
    if (b->summary.rescale_per != EMR_PER_ROW_BYTE) { /* checked when the bundle was opened */
        emr_bundle_scales(b, s->task, tensor, w->scales);
        return EMR_OK;
    }
    uint64_t row_params = bundle_tensor_count(s, tensor) / bundle_n_groups(s, tensor);
    w->n = (size_t)emr_min(w->n, row_params - first % row_params);
    size_t n_scales = emr_bundle_kind(b, s->task)->n_scales;
    return bundle_read_scales(s, tensor, first / row_params * n_scales, n_scales, w->scales, error);
}

static emr_status bundle_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                                emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    bundle_source *s = user;
    emr_tensor_code code = emr_bundle_code(s->bundle, s->task, tensor);
    emr_dtype dtype = s->bundle->summary.unified_dtype;
    uint64_t flat = emr_bundle_tensor_record(s->bundle, tensor).first_param + first;
    size_t available, size = dtype == EMR_DTYPE_F32 ? 4 : 2;
    const uint8_t *bytes;
    *w = (emr_code_window){.first_code = flat % EMR_CODE_UNIT,
                           .group = flat / EMR_CODE_UNIT * (EMR_CODE_UNIT / EMR_GROUP),
                           .unified_dtype = dtype};
    emr_status status =
        emr_cursor_at(&s->codes, flat / EMR_CODE_UNIT * code.coding.rate, &w->codes, &available, error);
    if (status)
        return status;
    w->n = (size_t)emr_min(want, (uint64_t)available * EMR_CODE_UNIT / code.coding.rate - w->first_code);
    if (parts == EMR_WINDOW_ALL && code.kind->has_unified) {
        status = emr_cursor_at(&s->unified, flat * size, &bytes, &available, error);
        if (status)
            return status;
        w->unified = bytes;
        w->n = (size_t)emr_min(w->n, available / size);
    }
    return parts == EMR_WINDOW_CODES ? EMR_OK : find_scales(s, tensor, first, w, error);
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
    emr_cursor_close(&s->row_scales);
    emr_release(allocator, s);
}

static const emr_modulator_source bundle_modulator = {
    .n_tensors = bundle_n_tensors,
    .tensor_name = bundle_tensor_name,
    .tensor_count = bundle_tensor_count,
    .find_tensor = bundle_find_tensor,
    .code = bundle_tensor_code,
    .n_groups = bundle_n_groups,
    .read_scales = bundle_read_scales,
    .window = bundle_window,
    .share_unified = bundle_share_unified,
    .destroy = bundle_source_destroy,
};

static emr_status open_cursors(bundle_source *s, const emr_allocator *allocator, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_status status =
        emr_cursor_open(&s->unified, b, b->base_streams[EMR_STREAM_UNIFIED], allocator, error);
    if (!status)
        status = emr_cursor_open(&s->codes, b, b->task_streams[EMR_STREAM_MASK][s->task], allocator, error);
    if (!status)
        status = emr_cursor_open(&s->row_scales, b, b->task_streams[EMR_STREAM_ROW_RESCALERS][s->task],
                                 allocator, error);
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
    const emr_modulator members = {.allocator = allocator,
                                   .kernels = b->kernels,
                                   .kind = emr_bundle_kind(b, task),
                                   .source = &bundle_modulator,
                                   .user = s};
    return emr_modulator_open(modulator, &members, error);
}
