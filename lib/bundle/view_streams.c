/* view_streams.c - what one stream of a bundle holds, as a model: the embedded base, the unified task vector,
 * a task's mask. Freestanding. */
#include "bundle/view.h"

#include "core/text.h"
#include "numeric/convert.h"

/* What the three calls begin with: a view's value, of which the stream is still to be set. */
static emr_status begin_view(emr_model **model, emr_view *view, const emr_bundle *b,
                             const emr_allocator *given, const char *caller, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!model || !b)
        return emr_fail(error, EMR_EINVAL, "%s: NULL", caller);
    *view = (emr_view){.bundle = b, .stream = EMR_NO_STREAM};
    return emr_allocator_take(&view->allocator, given ? given : &b->allocator, error);
}

/* A tensor for each of the bundle's first n. */
static emr_status add_tensors(emr_model *model, const emr_bundle *b, uint32_t n,
                              emr_status (*add)(emr_model *model, const emr_bundle *b,
                                                const emr_tensor_record *r, emr_error *error),
                              emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < n; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        status = add(model, b, &r, error);
    }
    return status;
}

static emr_status add_base_tensor(emr_model *model, const emr_bundle *b, const emr_tensor_record *r,
                                  emr_error *error)
{
    emr_tensor_desc desc = emr_view_describe(b, r);
    desc.compute = emr_view_compute_stored;
    desc.max_count = UINT32_MAX;
    return emr_view_add(model, &(emr_view_tensor){.offset = r->base_offset}, &desc, error);
}

emr_status emr_bundle_open_base(emr_model **model, const emr_bundle *b, const emr_allocator *allocator,
                                emr_error *error)
{
    emr_view view;
    emr_status status = begin_view(model, &view, b, allocator, "emr_bundle_open_base", error);
    if (!status && !b->summary.has_base)
        status = emr_fail(error, EMR_ENOTFOUND, "%F: the base is not embedded", b->name);
    if (status)
        return status;
    view.stream = b->base_streams[EMR_STREAM_BASE];
    status = emr_view_create(model, &view, b->summary.n_tensors, 0, error);
    if (status)
        return status;
    status = add_tensors(*model, b, b->summary.n_tensors, add_base_tensor, error);
    if (!status)
        status = emr_bundle_add_metadata(*model, b, EMR_BASE, error);
    return emr_view_finish(model, status, error);
}

uint64_t emr_bundle_base_memory(const emr_bundle *b)
{
    uint64_t n = b->summary.n_tensors, n_metadata = emr_bundle_n_metadata(b, EMR_BASE);
    uint64_t bytes = sizeof(emr_model) + EMR_SCRATCH_PLACES * sizeof(void *) + sizeof(emr_view) +
                     emr_text_length(b->name) + 1;
    for (uint32_t i = 0; i < n; i++) {
        emr_tensor_record r = emr_bundle_tensor_record(b, i);
        bytes += sizeof(emr_tensor) + r.rank * sizeof(uint64_t) + sizeof(emr_view_tensor) +
                 emr_text_length(emr_bundle_string(b, r.name)) + 1;
    }
    /* what grows by doubling: at most twice what is needed, and while it is copied half of that again */
    bytes += (3 * n + 8) * sizeof(emr_tensor *) + emr_names_memory((size_t)n) * 3 / 2 +
             (3 * n_metadata + 8) * sizeof(emr_metadata);
    /* entries of one owner are no longer than all strings */
    return bytes + (n_metadata ? b->sections[EMR_SECTION_STRINGS].size : 0);
}

static emr_status add_unified_tensor(emr_model *model, const emr_bundle *b, const emr_tensor_record *r,
                                     emr_error *error)
{
    emr_dtype stored = b->summary.unified_dtype;
    emr_tensor_desc desc = emr_view_describe(b, r);
    desc.dtype = EMR_DTYPE_F32;
    desc.compute = stored == EMR_DTYPE_F32 ? emr_view_compute_stored : emr_view_compute_converted;
    desc.max_count = stored == EMR_DTYPE_F32 ? UINT32_MAX : EMR_VIEW_PIECE;
    const emr_view_tensor t = {.offset = r->first_param * emr_float_size(stored), .stored = stored};
    return emr_view_add(model, &t, &desc, error);
}

emr_status emr_bundle_open_unified(emr_model **model, const emr_bundle *b, const emr_allocator *allocator,
                                   emr_error *error)
{
    emr_view view;
    emr_status status = begin_view(model, &view, b, allocator, "emr_bundle_open_unified", error);
    if (!status && !emr_bundle_n_elected(b))
        status =
            emr_fail(error, EMR_EUNSUPPORTED, "%F: its tasks' modulators have no unified vector", b->name);
    if (status)
        return status;
    view.stream = b->base_streams[EMR_STREAM_UNIFIED];
    status = emr_view_create(model, &view, b->summary.n_merged,
                             EMR_VIEW_PIECE * emr_float_size(b->summary.unified_dtype), error);
    if (!status)
        status = emr_view_finish(
            model, add_tensors(*model, b, b->summary.n_merged, add_unified_tensor, error), error);
    return status;
}

enum { MASK_GRANULE = 8 }; /* tensors begin at whole bytes of a mask, so this many bits are always one */

static emr_status compute_mask(const emr_computation *c, emr_error *error)
{
    const emr_view_tensor *t = c->user;
    emr_view_scratch *scratch = c->scratch;
    uint8_t *out = c->out;
    emr_status status = emr_view_read(t->view, scratch, (t->offset + c->first) / 8, scratch->bytes,
                                      (c->count + 7) / 8, error);
    for (size_t i = 0; !status && i < c->count; i++)
        out[i] = scratch->bytes[i / 8] >> i % 8 & 1;
    return status;
}

static emr_status add_mask_tensor(emr_model *model, const emr_bundle *b, const emr_tensor_record *r,
                                  emr_error *error)
{
    emr_tensor_desc desc = emr_view_describe(b, r);
    desc.dtype = EMR_DTYPE_BOOL;
    desc.compute = compute_mask;
    desc.granule = MASK_GRANULE;
    desc.max_count = EMR_VIEW_PIECE;
    return emr_view_add(model, &(emr_view_tensor){.offset = r->first_param}, &desc, error);
}

emr_status emr_bundle_open_mask(emr_model **model, const emr_bundle *b, uint32_t task,
                                const emr_allocator *allocator, emr_error *error)
{
    emr_view view;
    emr_status status = begin_view(model, &view, b, allocator, "emr_bundle_open_mask", error);
    if (!status && task >= b->summary.n_tasks)
        status = emr_fail(error, EMR_ENOTFOUND, "%F: there is no task %u", b->name, (uint64_t)task);
    if (!status && !emr_bundle_kind(b, task)->has_unified)
        status = emr_fail(error, EMR_EUNSUPPORTED, "%F: task '%K': its modulator is no mask but %s", b->name,
                          emr_bundle_task_name(b, task), emr_bundle_kind(b, task)->name);
    if (status)
        return status;
    view.stream = b->task_streams[EMR_STREAM_MASK][task];
    status = emr_view_create(model, &view, b->summary.n_merged, EMR_VIEW_PIECE / MASK_GRANULE, error);
    if (!status)
        status = emr_view_finish(model, add_tensors(*model, b, b->summary.n_merged, add_mask_tensor, error),
                                 error);
    return status;
}
