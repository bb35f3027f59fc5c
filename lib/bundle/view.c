/* view.c - see view.h. Freestanding. */
#include "bundle/view.h"

#include "core/text.h"
#include "numeric/convert.h"

static void close_view_scratch(void *user, void *memory)
{
    emr_view_scratch *scratch = memory;
    (void)user;
    emr_modulator_destroy(&scratch->modulator);
    emr_cursor_close(&scratch->cursor);
}

static void destroy_view(void *user)
{
    emr_view *v = user;
    emr_allocator allocator = v->allocator;
    emr_model_destroy(&v->wholes);
    emr_model_destroy(&v->parts);
    emr_model_destroy(&v->arranged_base);
    emr_model_destroy(&v->own_base);
    emr_release(&allocator, v->not_the_base);
    emr_release(&allocator, v->tensors);
    emr_release(&allocator, v);
}

emr_status emr_view_create(emr_model **model, const emr_view *view, size_t n, size_t bytes, emr_error *error)
{
    const emr_allocator *a = &view->allocator;
    emr_view *v = emr_allocate_array(a, 1, sizeof *v);
    emr_view_tensor *tensors = emr_allocate_array(a, n, sizeof *tensors);
    const emr_model_options options = {
        .size = sizeof options,
        .allocator = a,
        .name = view->bundle->name,
        .user = v,
        .destroy = destroy_view,
        .scratch_bytes = sizeof(emr_view_scratch) + bytes,
        .close_scratch = close_view_scratch,
    };
    emr_status status =
        v && tensors ? emr_model_create(model, &options, error) : emr_no_memory(error, view->bundle->name);
    if (status) {
        emr_release(a, v);
        emr_release(a, tensors);
        return status;
    }
    *v = *view;
    v->tensors = tensors;
    return EMR_OK;
}

emr_status emr_view_add(emr_model *model, const emr_view_tensor *tensor, emr_tensor_desc *desc,
                        emr_error *error)
{
    emr_view *v = model->options.user;
    emr_view_tensor *kept = &v->tensors[model->n_tensors];
    *kept = *tensor;
    kept->view = v;
    kept->dtype = desc->dtype;
    desc->user = kept;
    emr_status status = emr_model_add(model, desc, error);
    if (!status && kept->from_base.wrong)
        model->tensors[model->n_tensors - 1]->unchecked = &kept->from_base;
    return status;
}

emr_status emr_bundle_add_metadata(emr_model *model, const emr_bundle *b, uint32_t owner, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t left = b->sections[EMR_SECTION_STRINGS].size;
    uint32_t n = emr_bundle_n_metadata(b, owner);
    for (uint32_t i = 0; !status && i < n; i++) {
        emr_metadata_record m = emr_bundle_owned_metadata(b, owner, i);
        const char *key = emr_bundle_string(b, m.key), *value = emr_bundle_string(b, m.value);
        uint64_t bytes = (uint64_t)emr_text_length(key) + emr_text_length(value) + 2;
        if (bytes > left)
            return emr_bundle_malformed(b, "its metadata is longer than its strings", error);
        left -= bytes;
        status = emr_model_append_metadata(model, key, value, error);
    }
    return status;
}

emr_status emr_view_finish(emr_model **model, emr_status status, emr_error *error)
{
    if (status)
        emr_model_destroy(model);
    if (status != EMR_EEXIST)
        return status;
    if (error) /* two tensors of one name: only a bundle made so has them */
        error->status = EMR_EFORMAT;
    return EMR_EFORMAT;
}

emr_tensor_desc emr_view_describe(const emr_bundle *b, const emr_tensor_record *r)
{
    return (emr_tensor_desc){
        .size = sizeof(emr_tensor_desc),
        .name = emr_bundle_string(b, r->name),
        .shape = emr_bundle_shape(b, r->shape),
        .dtype = r->dtype,
        .rank = r->rank,
    };
}

emr_status emr_view_read(const emr_view *v, emr_view_scratch *scratch, uint64_t offset, void *to, size_t n,
                         emr_error *error)
{
    emr_status status = EMR_OK;
    if (!scratch->cursor.bundle)
        status = emr_cursor_open(&scratch->cursor, v->bundle, v->stream, &v->allocator, error);
    return status ? status : emr_cursor_read(&scratch->cursor, offset, to, n, error);
}

emr_status emr_view_compute_stored(const emr_computation *c, emr_error *error)
{
    const emr_view_tensor *t = c->user;
    uint64_t bits = emr_dtype_bits(t->dtype);
    return emr_view_read(t->view, c->scratch, t->offset + c->first * bits / 8, c->out,
                         (size_t)(c->count * bits / 8), error);
}

emr_status emr_view_compute_converted(const emr_computation *c, emr_error *error)
{
    const emr_view_tensor *t = c->user;
    emr_view_scratch *scratch = c->scratch;
    size_t size = emr_float_size(t->stored);
    emr_status status =
        emr_view_read(t->view, scratch, t->offset + c->first * size, scratch->bytes, c->count * size, error);
    if (!status)
        t->view->bundle->kernels->convert(t->dtype, c->out, t->stored, scratch->bytes, c->count);
    return status;
}
