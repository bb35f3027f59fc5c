/* host_modulator.c - a modulator that the host makes over its own memory. Freestanding. */
#include "modulator/modulator.h"

#include "core/names.h"
#include "numeric/convert.h"

/* A tensor, as the host describes it, and what that means. */
typedef struct host_tensor {
    emr_modulation m;
    emr_tensor_code code;
} host_tensor;

typedef struct host_source {
    host_tensor *tensors;
    size_t n, capacity;
    emr_names names;
} host_source;

static const emr_modulation *host_modulation(const void *user, uint32_t i)
{
    return &((const host_source *)user)->tensors[i].m;
}

static uint32_t host_n_tensors(const void *user)
{
    return (uint32_t)((const host_source *)user)->n;
}

static const char *host_tensor_name(const void *user, uint32_t i)
{
    return host_modulation(user, i)->name;
}

static uint64_t host_tensor_count(const void *user, uint32_t i)
{
    return host_modulation(user, i)->count;
}

/* As emr_names wants to be told. */
static const char *host_name_at(const void *user, size_t i)
{
    return host_modulation(user, (uint32_t)i)->name;
}

static emr_status host_find_tensor(const void *user, const char *name, uint32_t *tensor)
{
    size_t i = emr_names_find(&((const host_source *)user)->names, host_name_at, user, name);
    if (i == EMR_NAMES_NONE)
        return EMR_ENOTFOUND;
    *tensor = (uint32_t)i;
    return EMR_OK;
}

static emr_tensor_code host_tensor_code(const void *user, uint32_t i)
{
    return ((const host_source *)user)->tensors[i].code;
}

static uint64_t host_n_groups(const void *user, uint32_t i)
{
    return host_modulation(user, i)->n_rescalers;
}

static uint64_t host_n_scales(const void *user, uint32_t i)
{
    return host_n_groups(user, i) * host_tensor_code(user, i).kind->n_scales;
}

static emr_status host_read_scales(void *user, uint32_t tensor, uint64_t first, size_t n, float *scales,
                                   emr_error *error)
{
    (void)error;
    if (n)
        memcpy(scales, host_modulation(user, tensor)->rescalers + first, n * sizeof *scales);
    return EMR_OK;
}

static emr_status host_window(void *user, uint32_t tensor, uint64_t first, uint64_t want,
                              emr_window_parts parts, emr_code_window *w, emr_error *error)
{
    const emr_modulation *m = host_modulation(user, tensor);
    const emr_tensor_code code = host_tensor_code(user, tensor);
    uint64_t row = m->count / m->n_rescalers;
    (void)error;
    (void)parts;
    *w = (emr_code_window){
        .n = (size_t)emr_min(emr_min(want, row - first % row), SIZE_MAX / 16),
        .codes = m->mask + first / EMR_CODE_UNIT * code.coding.rate,
        .first_code = first % EMR_CODE_UNIT,
        .group = first / EMR_CODE_UNIT * (EMR_CODE_UNIT / EMR_GROUP),
        .unified_dtype = m->unified_dtype,
    };
    for (size_t k = 0; k < code.kind->n_scales; k++)
        w->scales[k] = m->rescalers[first / row * code.kind->n_scales + k];
    if (m->columns)
        w->columns = (const uint8_t *)m->columns + first % row * 2;
    if (code.kind->has_unified)
        w->unified = (const uint8_t *)m->unified + first * emr_float_size(m->unified_dtype);
    else
        w->n = (size_t)emr_min(w->n, EMR_CHUNK - first % EMR_CHUNK);
    return EMR_OK;
}

static bool host_share_unified(const void *user, const void *other, uint32_t tensor)
{
    const emr_modulation *a = host_modulation(user, tensor), *b = host_modulation(other, tensor);
    return a->unified == b->unified && a->unified_dtype == b->unified_dtype && a->count == b->count;
}

static void host_destroy(void *user, const emr_allocator *allocator)
{
    host_source *h = user;
    emr_names_free(&h->names, allocator);
    emr_release(allocator, h->tensors);
    emr_release(allocator, h);
}

static const emr_modulator_source host_modulator = {
    .n_tensors = host_n_tensors,
    .tensor_name = host_tensor_name,
    .tensor_count = host_tensor_count,
    .find_tensor = host_find_tensor,
    .code = host_tensor_code,
    .n_groups = host_n_groups,
    .n_scales = host_n_scales,
    .read_scales = host_read_scales,
    .window = host_window,
    .share_unified = host_share_unified,
    .destroy = host_destroy,
};

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
        return emr_no_memory(error, NULL);
    const emr_modulator members = {
        .allocator = allocator, .kernels = emr_kernels_select(), .source = &host_modulator, .user = h};
    return emr_modulator_open(modulator, &members, error);
}

static emr_status check_unified(const emr_modulation *m, emr_error *error)
{
    if (m->count && !m->unified)
        return emr_fail(error, EMR_EINVAL, "tensor '%T': its kind needs the unified values", m->name);
    if (m->unified_dtype != EMR_DTYPE_F32 && m->unified_dtype != EMR_DTYPE_F16 &&
        m->unified_dtype != EMR_DTYPE_BF16)
        return emr_fail(error, EMR_EINVAL, "tensor '%T': unified_dtype must be F32, F16 or BF16", m->name);
    return EMR_OK;
}

static emr_status check_modulation(const emr_modulation *m, emr_tensor_code *code, emr_error *error)
{
    if (!m->name || !m->rescalers || (m->count && !m->mask))
        return emr_fail(error, EMR_EINVAL, "emr_modulation: name, mask and rescalers are required");
    if (!m->n_rescalers || m->count % m->n_rescalers || m->count > UINT64_MAX / 8)
        return emr_fail(error, EMR_EINVAL, "tensor '%T': %u rescalers do not divide %u parameters", m->name,
                        m->n_rescalers, m->count);
    code->kind = emr_kind_find(m->kind ? m->kind : EMR_MODULATOR_KIND_MASK);
    if (!code->kind)
        return emr_fail(error, EMR_EINVAL, "tensor '%T': there is no kind %u of modulators", m->name,
                        (uint64_t)m->kind);
    if (m->columns && !code->kind->has_columns)
        return emr_fail(error, EMR_EINVAL, "tensor '%T': only signs have scales of columns", m->name);
    code->coding =
        emr_kind_coding(code->kind, m->thinning ? m->thinning : 4, m->n_levels ? m->n_levels : 4, m->seed);
    if (!code->coding.rate)
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': thinning must be 2, 4, 8, 16 or 32, and n_levels 3, 4, 8 or 16",
                        m->name);
    return code->kind->has_unified ? check_unified(m, error) : EMR_OK;
}

emr_status emr_modulator_add(emr_modulator *modulator, const emr_modulation *given, emr_error *error)
{
    host_tensor t;
    if (!modulator || !given)
        return emr_fail(error, EMR_EINVAL, "emr_modulator_add: NULL");
    if (modulator->source != &host_modulator)
        return emr_fail(error, EMR_ESTATE, "tensors can be added to a host-made modulator only");
    emr_status status = EMR_TAKE(&t.m, given, emr_modulation, error);
    if (!status)
        status = check_modulation(&t.m, &t.code, error);
    if (status)
        return status;
    host_source *h = modulator->user;
    if (h->n == EMR_BASE) /* the largest number of a tensor is one less */
        return emr_fail(error, EMR_ELIMIT, "a modulator has at most %u tensors", (uint64_t)h->n);
    if (!emr_grow(&modulator->allocator, (void **)&h->tensors, &h->capacity, h->n + 1, sizeof t))
        return emr_fail(error, EMR_ENOMEM, "tensor '%T': out of memory", t.m.name);
    h->tensors[h->n] = t;
    status = emr_names_add(&h->names, &modulator->allocator, host_name_at, h, h->n);
    if (status)
        return emr_fail(error, status, "tensor '%T': %s", t.m.name, emr_status_text(status));
    h->n++;
    return EMR_OK;
}
