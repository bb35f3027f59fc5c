/* host_modulator.c - a modulator that the host makes over its own memory. Freestanding. */
#include "modulator/modulator.h"

#include "core/names.h"
#include "numeric/convert.h"

typedef struct host_source {
    emr_modulation *tensors;
    size_t n, capacity;
    emr_names names;
} host_source;

static size_t n_tensors(const void *user)
{
    return ((const host_source *)user)->n;
}

static const char *name(const void *user, size_t i)
{
    return ((const host_source *)user)->tensors[i].name;
}

static uint64_t count(const void *user, size_t i)
{
    return ((const host_source *)user)->tensors[i].count;
}

static size_t find(const void *user, const char *wanted)
{
    return emr_names_find(&((const host_source *)user)->names, name, user, wanted);
}

static uint64_t rescaled(const void *user, size_t tensor)
{
    const emr_modulation *m = &((const host_source *)user)->tensors[tensor];
    return m->count / m->n_rescalers;
}

static emr_status window(void *user, size_t tensor, uint64_t first, uint64_t want, emr_window_parts parts,
                         emr_mask_window *w, emr_error *error)
{
    const emr_modulation *m = &((const host_source *)user)->tensors[tensor];
    uint64_t row = rescaled(user, tensor);
    (void)error;
    (void)parts;
    *w = (emr_mask_window){
        .n = (size_t)emr_min(emr_min(want, row - first % row), SIZE_MAX / 16),
        .unified = (const uint8_t *)m->unified + first * emr_float_size((emr_dtype)m->unified_dtype),
        .mask = m->mask + first / 8,
        .bit = first % 8,
        .rescaler = m->rescalers[first / row],
        .unified_dtype = (uint8_t)m->unified_dtype,
    };
    return EMR_OK;
}

static bool share_unified(const void *user, const void *other, size_t tensor)
{
    const emr_modulation *a = &((const host_source *)user)->tensors[tensor];
    const emr_modulation *b = &((const host_source *)other)->tensors[tensor];
    return a->unified == b->unified && a->unified_dtype == b->unified_dtype && a->count == b->count;
}

static void destroy(void *user, const emr_allocator *allocator)
{
    host_source *h = user;
    emr_names_free(&h->names, allocator);
    emr_release(allocator, h->tensors);
    emr_release(allocator, h);
}

static const emr_modulator_source host_modulator = {n_tensors, name,     count,         find,
                                                    window,    rescaled, share_unified, destroy};

emr_status emr_modulator_create(emr_modulator **modulator, const emr_allocator *given, emr_error *error)
{
    emr_allocator allocator;
    if (!modulator)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_create: NULL");
    *modulator = NULL;
    emr_status status = emr_allocator_take(&allocator, given, error);
    if (status)
        return status;
    host_source *h = emr_allocate_array(&allocator, 1, sizeof *h);
    if (!h)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    return emr_modulator_over(modulator, &allocator, emr_kernels_select(), &host_modulator, h, error);
}

emr_status emr_modulator_add(emr_modulator *modulator, const emr_modulation *given, emr_error *error)
{
    emr_modulation m;
    if (!modulator || !given)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_add: NULL");
    if (modulator->source != &host_modulator)
        return emr_fail(error, EMR_ESTATE, "tensors can be added to a host-made modulator only");
    emr_status status = emr_take_struct(&m, sizeof m, sizeof(emr_modulation), given, "emr_modulation", error);
    if (status)
        return status;
    if (!m.name || !m.rescalers || (m.count && (!m.unified || !m.mask)))
        return emr_fail(error, EMR_EINVAL, "emr_modulation: name, unified, mask and rescalers are required");
    if (m.unified_dtype != EMR_DTYPE_F32 && m.unified_dtype != EMR_DTYPE_F16 && m.unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EINVAL, "tensor '%s': unified_dtype must be F32, F16 or BF16", m.name);
    if (!m.n_rescalers || m.count % m.n_rescalers || m.count > UINT64_MAX / 8)
        return emr_fail(error, EMR_EINVAL, "tensor '%s': %u rescalers do not divide %u parameters", m.name,
                        m.n_rescalers, m.count);
    host_source *h = modulator->user;
    if (!emr_grow(&modulator->allocator, (void **)&h->tensors, &h->capacity, h->n + 1, sizeof m))
        return emr_fail(error, EMR_ENOMEM, "tensor '%s': out of memory", m.name);
    h->tensors[h->n] = m;
    status = emr_names_add(&h->names, &modulator->allocator, name, h, h->n);
    if (status)
        return emr_fail(error, status, "tensor '%s': %s", m.name, emr_status_text(status));
    h->n++;
    return EMR_OK;
}
