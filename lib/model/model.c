/* model.c - an ordered set of named tensors with metadata. Freestanding. */
#include "model/model.h"

#include "core/text.h"

#include <string.h>

enum { COUNT_DEFAULT = 8192 /* elements computed at a time */ };

static const char *name_at(const void *owner, size_t i)
{
    return ((const emr_model *)owner)->tensors[i]->name;
}

emr_status emr_model_create(emr_model **model, const emr_model_options *given, emr_error *error)
{
    emr_model_options options;
    emr_allocator allocator;
    if (!model)
        return emr_fail(error, EMR_EINVAL, "emr_model_create: NULL");
    *model = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_model_options, error);
    if (!status)
        status = emr_allocator_take(&allocator, options.allocator, error);
    if (status)
        return status;
    emr_model *m = emr_allocate_array(&allocator, 1, sizeof *m);
    if (!m)
        return emr_no_memory(error, options.name);
    m->allocator = allocator;
    m->options = options;
    m->name = emr_copy_string(&allocator, options.name ? options.name : "model");
    m->options.name = m->name;
    status = m->name ? emr_scratch_pool_create(m, error) : emr_no_memory(error, options.name);
    if (status) {
        m->options.destroy = NULL; /* `user` is still the caller's */
        emr_model_destroy(&m);
        return status;
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
    emr_scratch_pool_destroy(m);
    if (m->options.destroy)
        m->options.destroy(m->options.user);
    for (uint32_t i = 0; i < m->n_tensors; i++)
        emr_release(&allocator, m->tensors[i]);
    for (size_t i = 0; i < m->n_hidden; i++)
        emr_release(&allocator, m->hidden[i]);
    for (uint32_t i = 0; i < m->n_metadata; i++) {
        emr_release(&allocator, m->metadata[i].key);
        emr_release(&allocator, m->metadata[i].value);
    }
    emr_names_free(&m->names, &allocator);
    emr_release(&allocator, m->tensors);
    emr_release(&allocator, m->hidden);
    emr_release(&allocator, m->metadata);
    emr_release(&allocator, m->memory);
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
    t->dtype = d->dtype;
    t->kind = d->data      ? EMR_TENSOR_MEMORY
              : d->io      ? EMR_TENSOR_IO
              : d->compute ? EMR_TENSOR_COMPUTED
                           : EMR_TENSOR_PUSHED;
    t->data = d->data;
    t->offset = d->offset;
    t->compute = d->compute;
    t->user = d->user;
    t->granule = d->granule;
    t->max_count = d->max_count;
    t->blocks = d->blocks;
    if (t->blocks)
        emr_blocks_compute_from(t);
    return t;
}

/* Defaults first; then what is not a whole number of bytes, or too large to be cut on the stack, is refused.
 */
static emr_status check_granule(const emr_model *m, emr_tensor_desc *d, emr_error *error)
{
    uint32_t bits = emr_dtype_bits(d->dtype);
    d->granule = d->granule ? d->granule : bits % 8 == 0 ? 1 : bits == 4 ? 2 : 4;
    d->max_count = d->max_count ? d->max_count : COUNT_DEFAULT > d->granule ? COUNT_DEFAULT : d->granule;
    if ((uint64_t)d->granule * bits % 8 || (uint64_t)d->granule * bits / 8 > EMR_GRANULE_BYTES)
        return emr_fail(error, EMR_EINVAL,
                        "%F: tensor '%T': a granule is a whole number of bytes, at most %u", m->name, d->name,
                        (uint64_t)EMR_GRANULE_BYTES);
    if (d->max_count < d->granule)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': max_count is less than the granule", m->name,
                        d->name);
    return EMR_OK;
}

static emr_status check_desc(const emr_model *m, emr_tensor_desc *d, uint64_t *count, uint64_t *bytes,
                             emr_error *error)
{
    if (!d->name || (d->rank && !d->shape))
        return emr_fail(error, EMR_EINVAL, "%s: a tensor needs a name and a shape", m->name);
    if (!emr_is_utf8(d->name, emr_text_length(d->name)))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its name is not valid UTF-8", m->name, d->name);
    if (!emr_dtype_bits(d->dtype))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': unknown dtype %u", m->name, d->name,
                        (uint64_t)d->dtype);
    if (d->rank > EMR_RANK_MAX)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u dimensions, at most %u are possible",
                        m->name, d->name, (uint64_t)d->rank, (uint64_t)EMR_RANK_MAX);
    if (!emr_shape_bytes(d->dtype, d->rank, d->shape, count, bytes))
        return emr_fail(error, EMR_EINVAL,
                        "%F: tensor '%T': its shape is too large or no whole number of bytes", m->name,
                        d->name);
    if ((d->data != NULL) + (d->io != NULL) + (d->compute != NULL) > 1)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has more than one source of bytes", m->name,
                        d->name);
    if (d->io && *bytes > UINT64_MAX - d->offset)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' lies beyond the largest offset", m->name,
                        d->name);
    if (d->blocks)
        return emr_blocks_check(m, d, error);
    return d->compute ? check_granule(m, d, error) : EMR_OK;
}

emr_status emr_model_add(emr_model *m, const emr_tensor_desc *given, emr_error *error)
{
    emr_tensor_desc d;
    uint64_t count, bytes;
    emr_io io = {0};
    if (!m || !given)
        return emr_fail(error, EMR_EINVAL, "emr_model_add: NULL");
    emr_status status = EMR_TAKE(&d, given, emr_tensor_desc, error);
    if (!status)
        status = check_desc(m, &d, &count, &bytes, error);
    if (!status && d.io)
        status = emr_io_take(&io, d.io, error);
    if (!status && d.io && !io.read)
        status = emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its emr_io has no read", m->name, d.name);
    if (status)
        return status;
    if (m->n_tensors >= UINT32_MAX - 1)
        return emr_fail(error, EMR_ELIMIT, "%F: too many tensors", m->name);
    emr_tensor *tensor = make_tensor(&m->allocator, &d, count, bytes);
    if (!tensor || !emr_grow(&m->allocator, (void **)&m->tensors, &m->tensors_capacity, m->n_tensors + 1,
                             sizeof *m->tensors)) {
        emr_release(&m->allocator, tensor);
        return emr_fail(error, EMR_ENOMEM, "%F: tensor '%T': out of memory", m->name, d.name);
    }
    tensor->model = m;
    tensor->model_name = m->name;
    tensor->io = io;
    m->tensors[m->n_tensors] = tensor;
    status = emr_names_add(&m->names, &m->allocator, name_at, m, m->n_tensors);
    if (status) {
        emr_release(&m->allocator, tensor);
        return emr_fail(error, status, "%F: tensor '%T': %s", m->name, d.name,
                        status == EMR_EEXIST ? "the name is taken" : emr_status_text(status));
    }
    m->n_tensors++;
    return EMR_OK;
}

static bool has_room_to_hide(emr_model *m, size_t n)
{
    return emr_grow(&m->allocator, (void **)&m->hidden, &m->hidden_capacity, m->n_hidden + n,
                    sizeof *m->hidden);
}

emr_status emr_model_hide(emr_model *m, const uint8_t *flags, emr_error *error)
{
    uint32_t n = 0;
    size_t hidden = 0;
    for (uint32_t i = 0; i < m->n_tensors; i++)
        hidden += flags[i] != 0;
    if (!has_room_to_hide(m, hidden))
        return emr_no_memory(error, m->name);
    for (uint32_t i = 0; i < m->n_tensors; i++)
        if (flags[i])
            m->hidden[m->n_hidden++] = m->tensors[i];
        else
            m->tensors[n++] = m->tensors[i];
    m->n_tensors = n;
    emr_names_free(&m->names, &m->allocator);
    emr_status status = emr_names_reserve(&m->names, &m->allocator, n);
    for (uint32_t i = 0; !status && i < n; i++)
        status = emr_names_add(&m->names, &m->allocator, name_at, m, i);
    return status ? emr_no_memory(error, m->name) : EMR_OK;
}

emr_status emr_model_derive(emr_model *m, uint32_t i, emr_dtype dtype, emr_compute_fn compute,
                            uint32_t max_count, emr_error *error)
{
    emr_tensor *t = m->tensors[i], *before = NULL;
    uint64_t count, bytes;
    if (!emr_shape_bytes(dtype, t->rank, t->shape, &count, &bytes))
        return emr_fail(error, EMR_ELIMIT, "%F: tensor '%T': as %s it is too large", t->model_name, t->name,
                        emr_dtype_name(dtype));
    if (has_room_to_hide(m, 1))
        before = emr_allocate(&m->allocator, sizeof *before);
    if (!before)
        return emr_no_memory(error, m->name);
    *before = *t; /* name and shape lie behind the tensor itself, which stays */
    m->hidden[m->n_hidden++] = before;
    t->dtype = dtype;
    t->bytes = bytes;
    t->kind = EMR_TENSOR_COMPUTED;
    t->data = NULL;
    t->io = (emr_io){0};
    t->offset = 0;
    if (t->blocks)
        before->user = before;
    t->blocks = EMR_BLOCK_TYPE_NONE;
    t->compute = compute;
    t->user = before;
    t->granule = 1;
    t->max_count = max_count;
    return EMR_OK;
}

/* A borrowed tensor that is computed by its own model. */
static emr_status compute_borrowed(const emr_computation *c, emr_error *error)
{
    const emr_tensor *t = c->user;
    uint64_t bits = emr_dtype_bits(t->dtype);
    return emr_tensor_read(t, c->first * bits / 8, c->out, (size_t)(c->count * bits / 8), error);
}

emr_status emr_model_add_tensor(emr_model *m, const emr_tensor *t, emr_error *error)
{
    return t ? emr_model_add_tensor_as(m, t, t->name, error)
             : emr_fail(error, EMR_EINVAL, "emr_model_add_tensor: NULL");
}

emr_status emr_model_add_tensor_as(emr_model *m, const emr_tensor *t, const char *name, emr_error *error)
{
    if (!m || !t || !name)
        return emr_fail(error, EMR_EINVAL, "emr_model_add_tensor_as: NULL");
    emr_tensor_desc desc = {
        .size = sizeof desc, .name = name, .shape = t->shape, .rank = t->rank, .dtype = t->dtype};
    if (!emr_tensor_share_source(t, 0, &desc)) {
        desc.compute = compute_borrowed;
        desc.user = (void *)(uintptr_t)t;
        desc.granule = t->granule;
        desc.max_count = UINT32_MAX;
    }
    emr_status status = emr_model_add(m, &desc, error);
    if (!status && t->kind == EMR_TENSOR_IO)
        m->tensors[m->n_tensors - 1]->data = t->data;
    if (!status && desc.compute == compute_borrowed)
        m->tensors[m->n_tensors - 1]->origin = t;
    return status;
}

emr_status emr_model_copy_metadata(emr_model *m, const emr_model *from, emr_error *error)
{
    emr_status status = EMR_OK;
    if (!m || !from)
        return emr_fail(error, EMR_EINVAL, "emr_model_copy_metadata: NULL");
    for (uint32_t i = 0; !status && i < from->n_metadata; i++)
        status = emr_model_set_metadata(m, from->metadata[i].key, from->metadata[i].value, error);
    return status;
}

/* The place of a key; n_metadata where it is not there. */
static uint32_t find_metadata(const emr_model *m, const char *key)
{
    uint32_t i = 0;
    while (i < m->n_metadata && !emr_same_text(m->metadata[i].key, key))
        i++;
    return i;
}

/* Puts an entry at place i, over an old one or at the end. */
static emr_status put_metadata(emr_model *m, uint32_t i, const char *key, const char *value, emr_error *error)
{
    emr_metadata entry = {emr_copy_string(&m->allocator, key), emr_copy_string(&m->allocator, value)};
    if (!entry.key || !entry.value ||
        !emr_grow(&m->allocator, (void **)&m->metadata, &m->metadata_capacity, i + 1, sizeof entry)) {
        emr_release(&m->allocator, entry.key);
        emr_release(&m->allocator, entry.value);
        return emr_fail(error, EMR_ENOMEM, "%F: metadata '%s': out of memory", m->name, key);
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
        return emr_fail(error, EMR_EINVAL, "%F: metadata '%s' is not valid UTF-8", m->name, key);
    return put_metadata(m, find_metadata(m, key), key, value, error);
}

emr_status emr_model_remove_metadata(emr_model *m, const char *key)
{
    if (!m || !key)
        return EMR_EINVAL;
    uint32_t i = find_metadata(m, key);
    if (i == m->n_metadata)
        return EMR_ENOTFOUND;
    emr_release(&m->allocator, m->metadata[i].key);
    emr_release(&m->allocator, m->metadata[i].value);
    m->n_metadata--;
    memmove(&m->metadata[i], &m->metadata[i + 1], (m->n_metadata - i) * sizeof *m->metadata);
    return EMR_OK;
}

const char *emr_model_find_metadata(const emr_model *m, const char *key)
{
    uint32_t i = find_metadata(m, key);
    return i < m->n_metadata ? m->metadata[i].value : NULL;
}

const char *emr_model_name(const emr_model *model)
{
    return model->name;
}

uint32_t emr_model_n_tensors(const emr_model *model)
{
    return model->n_tensors;
}

const emr_tensor *emr_model_tensor(const emr_model *model, uint32_t i)
{
    return i < model->n_tensors ? model->tensors[i] : NULL;
}

const emr_tensor *emr_model_find_tensor(const emr_model *model, const char *name)
{
    size_t i = emr_names_find(&model->names, name_at, model, name);
    return i == EMR_NAMES_NONE ? NULL : model->tensors[i];
}

uint32_t emr_model_n_metadata(const emr_model *model)
{
    return model->n_metadata;
}

emr_status emr_model_get_metadata(const emr_model *model, uint32_t i, const char **key, const char **value)
{
    if (!model || !key || !value)
        return EMR_EINVAL;
    if (i >= model->n_metadata)
        return EMR_ENOTFOUND;
    *key = model->metadata[i].key;
    *value = model->metadata[i].value;
    return EMR_OK;
}
