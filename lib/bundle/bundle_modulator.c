/* bundle_modulator.c - a task's modulator over a bundle: two or three cursors side by side. Freestanding. */
#include "bundle/bundle.h"

#include "modulator/modulator.h"

typedef struct bundle_source {
    const emr_bundle *bundle;
    size_t task;
    emr_cursor unified, mask, rows;
} bundle_source;

static size_t n_tensors(const void *user)
{
    return ((const bundle_source *)user)->bundle->summary.n_merged;
}

static const char *name(const void *user, size_t i)
{
    return emr_bundle_tensor_name(((const bundle_source *)user)->bundle, i);
}

static uint64_t count(const void *user, size_t i)
{
    const emr_bundle *b = ((const bundle_source *)user)->bundle;
    emr_tensor_record t = emr_bundle_tensor_record(b, i);
    return emr_bundle_count(b, &t);
}

static size_t find(const void *user, const char *wanted)
{
    const emr_bundle *b = ((const bundle_source *)user)->bundle;
    size_t i;
    return emr_bundle_find_tensor(b, wanted, &i) || i >= b->summary.n_merged ? EMR_NAMES_NONE : i;
}

static uint64_t rescaled(const void *user, size_t tensor)
{
    const emr_bundle *b = ((const bundle_source *)user)->bundle;
    emr_tensor_record t = emr_bundle_tensor_record(b, tensor);
    uint64_t all = emr_bundle_count(b, &t), rows = emr_shape_rows(t.rank, emr_bundle_shape(b, t.shape));
    return b->summary.rescale_per == EMR_PER_ROW_BYTE && rows ? all / rows : all;
}

/* As on opening for rescalers that are not per row. */
emr_status emr_bundle_check_rescaler(const emr_bundle *b, size_t task, size_t tensor, uint32_t bits,
                                     emr_error *error)
{
    if (bits < 0x7f800000)
        return EMR_OK;
    return emr_fail(error, EMR_EFORMAT, "%s: task '%s': tensor '%s' has an impossible rescaler", b->name,
                    emr_bundle_task_name(b, task), emr_bundle_tensor_name(b, tensor));
}

/* Shortens the window to the part that has one rescaler, and gives that. */
static emr_status rescale(bundle_source *s, size_t tensor, const emr_tensor_record *t, uint64_t first,
                          emr_mask_window *w, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    if (b->summary.rescale_per != EMR_PER_ROW_BYTE) {
        w->rescaler = emr_bundle_rescaler(b, s->task, tensor);
        return EMR_OK;
    }
    uint64_t row_length = rescaled(s, tensor);
    uint8_t bytes[4] = {0};
    emr_status status = emr_cursor_read(&s->rows, (t->first_row + first / row_length) * 4, bytes, 4, error);
    w->rescaler = emr_f32_from_bits(emr_load32(bytes));
    if (!status)
        status = emr_bundle_check_rescaler(b, s->task, tensor, emr_load32(bytes), error);
    w->n = (size_t)emr_min(w->n, row_length - first % row_length);
    return status;
}

static emr_status window(void *user, size_t tensor, uint64_t first, uint64_t want, emr_window_parts parts,
                         emr_mask_window *w, emr_error *error)
{
    bundle_source *s = user;
    emr_tensor_record t = emr_bundle_tensor_record(s->bundle, tensor);
    uint64_t flat = t.first_param + first;
    unsigned size = s->bundle->summary.unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
    size_t available;
    const uint8_t *bytes;
    *w = (emr_mask_window){.bit = flat % 8, .unified_dtype = s->bundle->summary.unified_dtype};
    emr_status status = emr_cursor_at(&s->mask, flat / 8, &w->mask, &available, error);
    if (status)
        return status;
    w->n = (size_t)emr_min(want, (uint64_t)available * 8 - w->bit);
    if (parts == EMR_WINDOW_ALL) {
        status = emr_cursor_at(&s->unified, flat * size, &bytes, &available, error);
        if (status)
            return status;
        w->unified = bytes;
        w->n = (size_t)emr_min(w->n, available / size);
    }
    return parts == EMR_WINDOW_MASK ? EMR_OK : rescale(s, tensor, &t, first, w, error);
}

static bool share_unified(const void *user, const void *other, size_t tensor)
{
    (void)tensor;
    return ((const bundle_source *)user)->bundle == ((const bundle_source *)other)->bundle;
}

static void destroy(void *user, const emr_allocator *allocator)
{
    bundle_source *s = user;
    emr_cursor_close(&s->unified);
    emr_cursor_close(&s->mask);
    emr_cursor_close(&s->rows);
    emr_release(allocator, s);
}

static const emr_modulator_source over_bundle = {n_tensors, name,     count,         find,
                                                 window,    rescaled, share_unified, destroy};

emr_status emr_bundle_open_modulator(emr_modulator **modulator, const emr_bundle *b, size_t task,
                                const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (!modulator || !b)
        return emr_fail(error, EMR_EINVAL, "emr_bundle_open_modulator: NULL");
    *modulator = NULL;
    if (task >= b->summary.n_tasks)
        return emr_fail(error, EMR_ENOTFOUND, "%s: there is no task %u", b->name, (uint64_t)task);
    emr_status status = emr_allocator_take(&allocator, given ? given : &b->allocator, error);
    if (status)
        return status;
    bundle_source *s = emr_allocate_array(&allocator, 1, sizeof *s);
    if (!s)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    s->bundle = b;
    s->task = task;
    status = emr_cursor_open(&s->unified, b, b->base_streams[EMR_STREAM_UNIFIED], &allocator, error);
    if (!status)
        status = emr_cursor_open(&s->mask, b, b->task_streams[EMR_STREAM_MASK][task], &allocator, error);
    if (!status)
        status =
            emr_cursor_open(&s->rows, b, b->task_streams[EMR_STREAM_ROW_RESCALERS][task], &allocator, error);
    if (status) {
        destroy(s, &allocator);
        return status;
    }
    return emr_modulator_over(modulator, &allocator, b->kernels, &over_bundle, s, error);
}
