/* model.c - an ordered set of named tensors with metadata. Freestanding. */
#include "model/model.h"

#include "core/text.h"

#include <string.h>

static const char *name_at(const void *owner, size_t i)
{
    return ((const emr_model *)owner)->tensors[i]->name;
}

emr_status emr_model_create(emr_model **model, const char *name, const emr_allocator *given, emr_error *error)
{
    if (!model)
        return emr_fail(error, EMR_EINVAL, "emr_model_create: NULL");
    *model = NULL;
    emr_allocator allocator;
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (status)
        return status;
    emr_model *m = emr_allocate_array(&allocator, 1, sizeof *m);
    if (!m)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    m->allocator = allocator;
    m->name = emr_copy_string(&allocator, name ? name : "model");
    if (!m->name) {
        emr_model_destroy(&m);
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    }
    *model = m;
    return EMR_OK;
}

void emr_model_destroy(emr_model **model)
{
    if (!model || !*model)
        return;
    emr_model *m = *model;
    emr_allocator allocator = m->allocator;
    if (m->on_destroy)
        m->on_destroy(m->owner, &allocator);
    for (size_t i = 0; i < m->n_tensors; i++)
        emr_release(&allocator, m->tensors[i]);
    for (size_t i = 0; i < m->n_metadata; i++) {
        emr_release(&allocator, m->metadata[i].key);
        emr_release(&allocator, m->metadata[i].value);
    }
    emr_names_free(&m->names, &allocator);
    emr_release(&allocator, m->tensors);
    emr_release(&allocator, m->metadata);
    emr_release(&allocator, m->name);
    emr_release(&allocator, m);
    *model = NULL;
}

/* A tensor with its name and shape in one piece of memory. */
static emr_tensor *make_tensor(const emr_allocator *allocator, const emr_tensor_desc *d, uint64_t count,
                               uint64_t bytes)
{
    size_t shape_bytes = d->rank * sizeof(uint64_t), name_bytes = emr_text_length(d->name) + 1;
    emr_tensor *t = emr_allocate(allocator, sizeof *t + shape_bytes + name_bytes);
    if (!t)
        return NULL;
    *t = (emr_tensor){.shape = (uint64_t *)(t + 1), .count = count, .bytes = bytes, .rank = d->rank};
    t->name = (char *)(t + 1) + shape_bytes;
    if (d->rank)
        memcpy(t->shape, d->shape, shape_bytes);
    memcpy(t->name, d->name, name_bytes);
    t->dtype = (emr_dtype)d->dtype;
    t->kind = d->data   ? EMR_TENSOR_MEMORY
              : d->io   ? EMR_TENSOR_IO
              : d->read ? EMR_TENSOR_COMPUTED
                        : EMR_TENSOR_PUSHED;
    t->data = d->data;
    t->offset = d->offset;
    t->read = d->read;
    t->user = d->user;
    return t;
}

static emr_status check_desc(const emr_model *m, const emr_tensor_desc *d, uint64_t *count, uint64_t *bytes,
                             emr_error *error)
{
    if (!d->name || (d->rank && !d->shape))
        return emr_fail(error, EMR_EINVAL, "%s: a tensor needs a name and a shape", m->name);
    if (!emr_is_utf8(d->name, emr_text_length(d->name)))
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s': its name is not valid UTF-8", m->name, d->name);
    if (!emr_dtype_bits((emr_dtype)d->dtype))
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s': unknown dtype %u", m->name, d->name,
                        (uint64_t)d->dtype);
    if (d->rank > EMR_RANK_MAX)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' has %u dimensions, at most %u are possible",
                        m->name, d->name, (uint64_t)d->rank, (uint64_t)EMR_RANK_MAX);
    if (!emr_shape_bytes((emr_dtype)d->dtype, d->rank, d->shape, count, bytes))
        return emr_fail(error, EMR_EINVAL,
                        "%s: tensor '%s': its shape is too large or no whole number of bytes", m->name,
                        d->name);
    if ((d->data != NULL) + (d->io != NULL) + (d->read != NULL) > 1)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' has more than one source of bytes", m->name,
                        d->name);
    if (d->io && *bytes > UINT64_MAX - d->offset)
        return emr_fail(error, EMR_EINVAL, "%s: tensor '%s' lies beyond the largest offset", m->name,
                        d->name);
    return EMR_OK;
}

emr_status emr_model_add(emr_model *m, const emr_tensor_desc *given, emr_error *error)
{
    emr_tensor_desc d;
    uint64_t count, bytes;
    emr_io io = {0};
    if (!m || !given)
        return emr_fail(error, EMR_EINVAL, "emr_model_add: NULL");
    emr_status status =
        emr_take_struct(&d, sizeof d, sizeof(emr_tensor_desc), given, "emr_tensor_desc", error);
    if (!status)
        status = check_desc(m, &d, &count, &bytes, error);
    if (!status && d.io)
        status = emr_io_take(&io, d.io, error);
    if (!status && d.io && !io.read)
        status = emr_fail(error, EMR_EINVAL, "%s: tensor '%s': its emr_io has no read", m->name, d.name);
    if (status)
        return status;
    emr_tensor *tensor = make_tensor(&m->allocator, &d, count, bytes);
    if (!tensor || !emr_grow(&m->allocator, (void **)&m->tensors, &m->tensors_capacity, m->n_tensors + 1,
                             sizeof *m->tensors)) {
        emr_release(&m->allocator, tensor);
        return emr_fail(error, EMR_ENOMEM, "%s: tensor '%s': out of memory", m->name, d.name);
    }
    tensor->model_name = m->name;
    tensor->io = io;
    m->tensors[m->n_tensors] = tensor;
    status = emr_names_add(&m->names, &m->allocator, name_at, m, m->n_tensors);
    if (status) {
        emr_release(&m->allocator, tensor);
        return emr_fail(error, status, "%s: tensor '%s': %s", m->name, d.name,
                        status == EMR_EEXIST ? "the name is taken" : emr_status_text(status));
    }
    m->n_tensors++;
    return EMR_OK;
}

/* Puts an entry at place i, over an old one or at the end. */
static emr_status put_metadata(emr_model *m, size_t i, const char *key, const char *value, emr_error *error)
{
    emr_metadata entry = {emr_copy_string(&m->allocator, key), emr_copy_string(&m->allocator, value)};
    if (!entry.key || !entry.value ||
        !emr_grow(&m->allocator, (void **)&m->metadata, &m->metadata_capacity, i + 1, sizeof entry)) {
        emr_release(&m->allocator, entry.key);
        emr_release(&m->allocator, entry.value);
        return emr_fail(error, EMR_ENOMEM, "%s: metadata '%s': out of memory", m->name, key);
    }
    if (i < m->n_metadata) {
        emr_release(&m->allocator, m->metadata[i].key);
        emr_release(&m->allocator, m->metadata[i].value);
    } else {
        m->n_metadata++;
    }
    m->metadata[i] = entry;
    return EMR_OK;
}

emr_status emr_model_append_metadata(emr_model *m, const char *key, const char *value, emr_error *error)
{
    return put_metadata(m, m->n_metadata, key, value, error);
}

emr_status emr_model_set_metadata(emr_model *m, const char *key, const char *value, emr_error *error)
{
    if (!m || !key || !value)
        return emr_fail(error, EMR_EINVAL, "emr_model_set_metadata: NULL");
    if (!emr_is_utf8(key, emr_text_length(key)) || !emr_is_utf8(value, emr_text_length(value)))
        return emr_fail(error, EMR_EINVAL, "%s: metadata '%s' is not valid UTF-8", m->name, key);
    size_t i = 0;
    while (i < m->n_metadata && !emr_same_text(m->metadata[i].key, key))
        i++;
    return put_metadata(m, i, key, value, error);
}

const char *emr_model_name(const emr_model *model)
{
    return model->name;
}

size_t emr_model_n_tensors(const emr_model *model)
{
    return model->n_tensors;
}

const emr_tensor *emr_model_tensor(const emr_model *model, size_t i)
{
    return i < model->n_tensors ? model->tensors[i] : NULL;
}

const emr_tensor *emr_model_find(const emr_model *model, const char *name)
{
    size_t i = emr_names_find(&model->names, name_at, model, name);
    return i == EMR_NAMES_NONE ? NULL : model->tensors[i];
}

size_t emr_model_n_metadata(const emr_model *model)
{
    return model->n_metadata;
}

emr_status emr_model_get_metadata(const emr_model *model, size_t i, const char **key, const char **value)
{
    if (i >= model->n_metadata)
        return EMR_ENOTFOUND;
    *key = model->metadata[i].key;
    *value = model->metadata[i].value;
    return EMR_OK;
}
