/* vectors.c - see vectors.h. */
#include "vectors.h"

#include "elected.h"

#include <string.h>

void fit_vectors_release(fit_vectors *v)
{
    if (!v || atomic_fetch_sub(&v->references, 1) != 1)
        return;
    const fit_host host = v->host;
    for (size_t i = 0; v->tensors && i < v->n_tensors; i++)
        fit_release(&host, (void *)v->tensors[i].tasks);
    for (uint32_t t = 0; v->names && t < v->n_tasks; t++)
        fit_release(&host, v->names[t]);
    fit_release(&host, v->tensors);
    fit_release(&host, v->names);
    fit_release(&host, v->thresholds);
    fit_release(&host, v);
}

/* Every part is whole blocks of elements, so each begins at a cache line. */
size_t fit_room_bytes(const fit_vectors *v, size_t piece)
{
    return piece * (4 * sizeof(double) + (1 + (size_t)v->n_tasks) * sizeof(float));
}

fit_room fit_room_of(const fit_vectors *v, void *memory)
{
    double *doubles = memory;
    fit_room room = {.sums = doubles, .doubles = {doubles + v->piece, doubles + 2 * v->piece}};
    room.stored = doubles + 3 * v->piece;
    room.base = (float *)(void *)(doubles + 4 * v->piece);
    room.tau = room.base + v->piece;
    return room;
}

static bool is_double(const emr_tensor *tensor)
{
    return emr_tensor_dtype(tensor) == EMR_DTYPE_F64;
}

static emr_status read_floats(const emr_tensor *tensor, uint64_t first, size_t n, float *values,
                              fit_room *room, emr_error *error)
{
    const emr_dtype dtype = emr_tensor_dtype(tensor);
    const size_t bytes = emr_dtype_bits(dtype) / 8;
    if (dtype == EMR_DTYPE_F32)
        return emr_tensor_read_floats(tensor, first, n, values, error);
    emr_status status = emr_tensor_read(tensor, first * bytes, room->stored, n * bytes, error);
    return status ? status : emr_convert(EMR_DTYPE_F32, values, dtype, room->stored, n);
}

static emr_status read_doubles(const emr_tensor *tensor, uint64_t first, size_t n, double *values,
                               fit_room *room, emr_error *error)
{
    const emr_dtype dtype = emr_tensor_dtype(tensor);
    const size_t bytes = emr_dtype_bits(dtype) / 8;
    emr_status status = emr_tensor_read(tensor, first * bytes, room->stored, n * bytes, error);
    return status ? status : emr_convert(EMR_DTYPE_F64, values, dtype, room->stored, n);
}

/* In f64, into room->doubles[1]; the base, where it is needed, into [0]. */
static emr_status read_wide_vector(const fit_vectors *v, const fit_vector_tensor *tensor, uint32_t t,
                                   uint64_t first, size_t n, fit_room *room, emr_error *error)
{
    double *base = room->doubles[0], *tau = room->doubles[1];
    emr_status status = read_doubles(tensor->tasks[t], first, n, tau, room, error);
    if (!status && !v->are_vectors)
        status = read_doubles(tensor->base, first, n, base, room, error);
    for (size_t i = 0; !status && !v->are_vectors && i < n; i++)
        tau[i] -= base[i];
    return status;
}

/* In f32; the base's f32 are there. */
static emr_status read_vector(const fit_vectors *v, const fit_vector_tensor *tensor, uint32_t t,
                              uint64_t first, size_t n, float *tau, fit_room *room, emr_error *error)
{
    emr_status status;
    if (is_double(tensor->tasks[t]) || (is_double(tensor->base) && !v->are_vectors)) {
        status = read_wide_vector(v, tensor, t, first, n, room, error);
        return status ? status : emr_convert(EMR_DTYPE_F32, tau, EMR_DTYPE_F64, room->doubles[1], n);
    }
    status = read_floats(tensor->tasks[t], first, n, tau, room, error);
    if (!status && !v->are_vectors)
        v->dots->subtract(tau, room->base, n);
    return status;
}

emr_status fit_vectors_read_all(const fit_vectors *v, size_t tensor, uint64_t first, size_t n, fit_room *room,
                                emr_error *error)
{
    const fit_vector_tensor *of = &v->tensors[tensor];
    emr_status status = v->are_vectors ? EMR_OK : read_floats(of->base, first, n, room->base, room, error);
    for (uint32_t t = 0; !status && t < v->n_tasks; t++)
        status = read_vector(v, of, t, first, n, room->tau + t * v->piece, room, error);
    return status;
}

emr_status fit_vectors_read(const fit_vectors *v, size_t tensor, uint64_t first, size_t n, fit_room *room,
                            emr_error *error)
{
    emr_status status = fit_vectors_read_all(v, tensor, first, n, room, error);
    if (!status && v->thresholds)
        fit_keep_elected(v, n, room);
    return status;
}

static emr_status merge_floats(const fit_vectors *v, const fit_merging *m, uint64_t first, size_t n,
                               fit_room *room, float *w, emr_error *error)
{
    const fit_vector_tensor *tensor = &v->tensors[m->tensor];
    const bool needs_base = !v->are_vectors || !m->without_base;
    emr_status status = v->thresholds ? fit_vectors_read(v, m->tensor, first, n, room, error) : EMR_OK;
    if (!status && needs_base)
        status = read_floats(tensor->base, first, n, room->base, room, error);
    if (m->without_base)
        memset(w, 0, n * sizeof *w);
    else
        memcpy(w, room->base, n * sizeof *w);
    for (uint32_t t = 0; !status && t < v->n_tasks; t++) {
        float lambda = (float)m->lambdas[t], *tau = v->thresholds ? room->tau + t * v->piece : room->tau;
        if (lambda == 0)
            continue;
        if (!v->thresholds)
            status = read_vector(v, tensor, t, first, n, tau, room, error);
        if (!status)
            v->dots->add_scaled(w, lambda, tau, n);
    }
    return status;
}

static emr_status merge_doubles(const fit_vectors *v, const fit_merging *m, uint64_t first, size_t n,
                                fit_room *room, double *w, emr_error *error)
{
    const fit_vector_tensor *tensor = &v->tensors[m->tensor];
    emr_status status = v->thresholds ? fit_vectors_read(v, m->tensor, first, n, room, error) : EMR_OK;
    if (m->without_base)
        memset(w, 0, n * sizeof *w);
    else if (!status)
        status = read_doubles(tensor->base, first, n, w, room, error);
    for (uint32_t t = 0; !status && t < v->n_tasks; t++) {
        const float *kept = v->thresholds ? room->tau + t * v->piece : NULL;
        if (m->lambdas[t] == 0)
            continue;
        status = read_wide_vector(v, tensor, t, first, n, room, error);
        for (size_t i = 0; !status && i < n; i++)
            if (!kept || kept[i] != 0)
                w[i] += m->lambdas[t] * room->doubles[1][i];
    }
    return status;
}

emr_status fit_vectors_merge(const fit_vectors *v, const fit_merging *m, uint64_t first, size_t n, void *out,
                             fit_room *room, emr_error *error)
{
    double *w = room->sums;
    float *narrow = (float *)(void *)room->sums;
    if (is_double(v->tensors[m->tensor].base)) {
        emr_status status = merge_doubles(v, m, first, n, room, w, error);
        return status ? status : emr_convert(m->dtype, out, EMR_DTYPE_F64, w, n);
    }
    emr_status status = merge_floats(v, m, first, n, room, narrow, error);
    return status ? status : emr_convert(m->dtype, out, EMR_DTYPE_F32, narrow, n);
}
