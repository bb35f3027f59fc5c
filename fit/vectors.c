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

/* Parts begin at cache lines, but not all at the same place of a page, where they would be in each other's way. */
static size_t stride_of(size_t piece)
{
    return piece + 16;
}

static size_t n_kept(const fit_vectors *v)
{
    return v->thresholds ? v->n_tasks : 1;
}

size_t fit_room_bytes(const fit_vectors *v, size_t piece)
{
    return stride_of(piece) * (4 * sizeof(double) + (1 + n_kept(v)) * sizeof(float));
}

fit_room fit_room_of(const fit_vectors *v, void *memory)
{
    const size_t stride = stride_of(v->piece);
    double *doubles = memory;
    fit_room room = {.sums = doubles, .doubles = {doubles + stride, doubles + 2 * stride}, .stride = stride};
    room.stored = doubles + 3 * stride;
    room.base = (float *)(void *)(doubles + 4 * stride);
    room.tau = room.base + stride;
    return room;
}

static bool is_double(const emr_tensor *tensor)
{
    return emr_tensor_dtype(tensor) == EMR_DTYPE_F64;
}

/* In f32, or in f64. */
static emr_status read_values(const emr_tensor *tensor, const fit_range *r, emr_dtype to, void *values,
                              fit_room *room, emr_error *error)
{
    const emr_dtype dtype = emr_tensor_dtype(tensor);
    const size_t bytes = emr_dtype_bits(dtype) / 8;
    if (dtype == EMR_DTYPE_F32 && to == EMR_DTYPE_F32)
        return emr_tensor_read_floats(tensor, r->first, r->n, values, error);
    emr_status status = emr_tensor_read(tensor, r->first * bytes, room->stored, r->n * bytes, error);
    return status ? status : emr_convert(to, values, dtype, room->stored, r->n);
}

static emr_error_span moved(emr_error_span span, size_t by, size_t end)
{
    const bool fits = span.length && span.offset + span.length + by <= end;
    return fits ? (emr_error_span){(uint16_t)(span.offset + by), span.length} : (emr_error_span){0, 0};
}

/* Names the task of a read that failed. */
static emr_status name_task(const fit_vectors *v, uint32_t t, emr_status status, emr_error *error)
{
    if (!status || !error || error->task.length)
        return status;
    const emr_error why = *error;
    (void)emr_error_format(error, status, "task '%K': %s", v->names[t], why.text);
    const size_t by = error->task.offset + error->task.length + sizeof "': " - 1, end = strlen(error->text);
    error->file = moved(why.file, by, end);
    error->tensor = moved(why.tensor, by, end);
    error->system = why.system;
    return status;
}

/* In f64, into room->doubles[1]; the base, where it is needed, into [0]. */
static emr_status read_wide(const fit_vectors *v, const fit_range *r, uint32_t t, fit_room *room,
                            emr_error *error)
{
    const fit_vector_tensor *tensor = &v->tensors[r->tensor];
    double *base = room->doubles[0], *tau = room->doubles[1];
    emr_status status =
        name_task(v, t, read_values(tensor->tasks[t], r, EMR_DTYPE_F64, tau, room, error), error);
    if (!status && !v->are_vectors)
        status = read_values(tensor->base, r, EMR_DTYPE_F64, base, room, error);
    for (size_t i = 0; !status && !v->are_vectors && i < r->n; i++)
        tau[i] -= base[i];
    return status;
}

static bool is_little_endian(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 1;
}

/* What is behind them, up to the end of a block, is +0. */
static void fill_up(void *elements, size_t n, size_t bytes)
{
    memset((char *)elements + n * bytes, 0, (FIT_DOT_BLOCK - n % FIT_DOT_BLOCK) % FIT_DOT_BLOCK * bytes);
}

/* As it is used best: BF16 as stored, F64 as differences, all others as F32. `tau` has room. */
static emr_status read_source(const fit_vectors *v, const fit_range *r, uint32_t t, float *tau,
                              fit_room *room, fit_source *source, emr_error *error)
{
    const fit_vector_tensor *tensor = &v->tensors[r->tensor];
    const emr_tensor *task = tensor->tasks[t];
    const bool is_wide = is_double(task) || (is_double(tensor->base) && !v->are_vectors);
    emr_status status;
    *source = (fit_source){.floats = tau, .base = v->are_vectors || is_wide ? NULL : room->base};
    if (emr_tensor_dtype(task) == EMR_DTYPE_BF16 && !is_wide && is_little_endian()) {
        *source = (fit_source){.halves = room->stored, .base = source->base};
        status = emr_tensor_read(task, r->first * 2, room->stored, r->n * 2, error);
        fill_up(room->stored, r->n, 2);
        return name_task(v, t, status, error);
    }
    status = is_wide ? read_wide(v, r, t, room, error)
                     : name_task(v, t, read_values(task, r, EMR_DTYPE_F32, tau, room, error), error);
    if (!status && is_wide)
        status = emr_convert(EMR_DTYPE_F32, tau, EMR_DTYPE_F64, room->doubles[1], r->n);
    fill_up(tau, r->n, sizeof *tau);
    return status;
}

/* With thresholds, all tasks' tau. */
emr_status fit_vectors_read_all(const fit_vectors *v, const fit_range *r, fit_room *room, emr_error *error)
{
    const emr_tensor *base = v->tensors[r->tensor].base;
    fit_source source;
    emr_status status =
        v->are_vectors ? EMR_OK : read_values(base, r, EMR_DTYPE_F32, room->base, room, error);
    fill_up(room->base, r->n, sizeof *room->base);
    for (uint32_t t = 0; !status && v->thresholds && t < v->n_tasks; t++) {
        float *tau = room->tau + t * room->stride;
        status = read_source(v, r, t, tau, room, &source, error);
        for (size_t i = 0; !status && i < r->n; i++)
            tau[i] = fit_source_at(&source, i);
        fill_up(tau, r->n, sizeof *tau);
    }
    return status;
}

emr_status fit_vectors_begin(const fit_vectors *v, const fit_range *r, fit_room *room, emr_error *error)
{
    emr_status status = fit_vectors_read_all(v, r, room, error);
    if (!status && v->thresholds)
        fit_keep_elected(v, r->n, room);
    return status;
}

emr_status fit_vectors_read(const fit_vectors *v, const fit_range *r, uint32_t t, fit_room *room,
                            fit_source *tau, emr_error *error)
{
    if (!v->thresholds)
        return read_source(v, r, t, room->tau, room, tau, error);
    *tau = (fit_source){.floats = room->tau + t * room->stride};
    return EMR_OK;
}

static emr_status merge_floats(const fit_vectors *v, const fit_merging *m, const fit_range *r, fit_room *room,
                               float *w, emr_error *error)
{
    emr_status status = fit_vectors_begin(v, r, room, error);
    if (m->without_base)
        memset(w, 0, r->n * sizeof *w);
    else if (v->are_vectors && !status)
        status = read_values(v->tensors[r->tensor].base, r, EMR_DTYPE_F32, w, room, error);
    else
        memcpy(w, room->base, r->n * sizeof *w);
    for (uint32_t t = 0; !status && t < v->n_tasks; t++) {
        float lambda = (float)m->lambdas[t];
        fit_source tau;
        if (lambda == 0)
            continue;
        status = fit_vectors_read(v, r, t, room, &tau, error);
        if (!status)
            v->dots->add_scaled(w, lambda, &tau, r->n);
    }
    return status;
}

static emr_status merge_doubles(const fit_vectors *v, const fit_merging *m, const fit_range *r,
                                fit_room *room, double *w, emr_error *error)
{
    emr_status status = v->thresholds ? fit_vectors_begin(v, r, room, error) : EMR_OK;
    if (m->without_base)
        memset(w, 0, r->n * sizeof *w);
    else if (!status)
        status = read_values(v->tensors[r->tensor].base, r, EMR_DTYPE_F64, w, room, error);
    for (uint32_t t = 0; !status && t < v->n_tasks; t++) {
        const float *kept = v->thresholds ? room->tau + t * room->stride : NULL;
        if (m->lambdas[t] == 0)
            continue;
        status = read_wide(v, r, t, room, error);
        for (size_t i = 0; !status && i < r->n; i++)
            if (!kept || kept[i] != 0)
                w[i] += m->lambdas[t] * room->doubles[1][i];
    }
    return status;
}

emr_status fit_vectors_merge(const fit_vectors *v, const fit_merging *m, const fit_range *r, void *out,
                             fit_room *room, emr_error *error)
{
    double *w = room->sums;
    const bool is_in_place =
        m->dtype == EMR_DTYPE_F32 && is_little_endian() && (uintptr_t)out % sizeof(float) == 0;
    float *narrow = is_in_place ? out : (float *)(void *)room->sums;
    if (is_double(v->tensors[r->tensor].base)) {
        emr_status status = merge_doubles(v, m, r, room, w, error);
        return status ? status : emr_convert(m->dtype, out, EMR_DTYPE_F64, w, r->n);
    }
    emr_status status = merge_floats(v, m, r, room, narrow, error);
    return status || is_in_place ? status : emr_convert(m->dtype, out, EMR_DTYPE_F32, narrow, r->n);
}
