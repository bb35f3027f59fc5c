/* coefficients_gradient.c - products of gradients with task vectors, as gradients come in. Of a tensor, whole blocks are worked off
 * at once, a chunk a job; up to 255 elements behind them wait. */
#include "coefficients.h"

#include <string.h>

enum { BLOCK = FIT_DOT_BLOCK, CHUNK = FIT_DOT_CHUNK, LANES = FIT_DOT_LANES };

/* Elements [done, end) of the stream's tensor: what waits, and behind it what has been handed in. */
typedef struct handed {
    const emr_coefficients *c;
    const unsigned char *gradient; /* of elements [first, ...) */
    uint64_t done, first, end;
    size_t first_job; /* of this round, counted in chunks from that of `done` */
} handed;

/* Elements [first, first + n) as f32. */
static void copy_gradient(const handed *h, uint64_t first, size_t n, float *values)
{
    const gradient_stream *s = &h->c->stream;
    const size_t bytes = emr_dtype_bits(s->dtype) / 8;
    size_t waiting = first < h->first ? (size_t)(h->first - first) : 0;
    waiting = waiting < n ? waiting : n;
    if (waiting)
        memcpy(values, s->waiting + (first - h->done), waiting * sizeof *values);
    if (n > waiting)
        (void)emr_convert(EMR_DTYPE_F32, values + waiting, s->dtype,
                          h->gradient + (first + waiting - h->first) * bytes, n - waiting);
}

/* A piece's products; what is missing of its last block is +0. */
static emr_status add_piece(const handed *h, uint64_t first, size_t n, double *lanes, fit_room *room,
                            emr_error *error)
{
    const fit_vectors *v = h->c->vectors;
    const fit_range range = {h->c->stream.tensor, first, n};
    const size_t n_blocks = (n + BLOCK - 1) / BLOCK;
    double *g = room->sums;
    fit_source tau;
    emr_status status = fit_vectors_begin(v, &range, room, error);
    copy_gradient(h, first, n, room->stored);
    for (size_t i = 0; i < n_blocks * BLOCK; i++)
        g[i] = i < n ? (double)((float *)room->stored)[i] : 0;
    for (uint32_t t = 0; !status && t < v->n_tasks; t++) {
        status = fit_vectors_read(v, &range, t, room, &tau, error);
        if (!status)
            v->dots->add_products(lanes + t * LANES, g, &tau, n_blocks);
    }
    return status;
}

static double *lanes_of_job(const handed *h, size_t job)
{
    return h->c->stream.job_lanes + job * h->c->n_tasks * LANES;
}

/* What of a chunk is there. */
static void job_range(const handed *h, size_t job, uint64_t *first, uint64_t *end)
{
    const uint64_t chunk = h->done / CHUNK + h->first_job + job;
    *first = chunk * CHUNK > h->done ? chunk * CHUNK : h->done;
    *end = (chunk + 1) * CHUNK < h->end ? (chunk + 1) * CHUNK : h->end;
}

static emr_status add_chunk(void *arg, size_t job, void *memory, emr_error *error)
{
    const handed *h = arg;
    fit_room room = fit_room_of(h->c->vectors, memory);
    double *lanes = lanes_of_job(h, job);
    uint64_t first, end;
    emr_status status = EMR_OK;
    job_range(h, job, &first, &end);
    if (h->first_job + job == 0)
        memcpy(lanes, h->c->stream.lanes, h->c->n_tasks * LANES * sizeof *lanes);
    else
        memset(lanes, 0, h->c->n_tasks * LANES * sizeof *lanes);
    while (!status && first < end) {
        size_t n = end - first < h->c->vectors->piece ? (size_t)(end - first) : h->c->vectors->piece;
        status = add_piece(h, first, n, lanes, &room, error);
        first += n;
    }
    return status;
}

/* Adds up chunks that are whole, in order; the last may go on. */
static void fold_jobs(const handed *h, size_t n_jobs, bool is_last)
{
    const emr_coefficients *c = h->c;
    for (size_t job = 0; job < n_jobs; job++) {
        const double *lanes = lanes_of_job(h, job);
        uint64_t first, end;
        job_range(h, job, &first, &end);
        if (end % CHUNK == 0 || is_last) {
            for (uint32_t t = 0; t < c->n_tasks; t++)
                c->stream.totals[t] += fit_dot_total(lanes + t * LANES);
            memset(c->stream.lanes, 0, c->n_tasks * LANES * sizeof *lanes);
        } else {
            memcpy(c->stream.lanes, lanes, c->n_tasks * LANES * sizeof *lanes);
        }
    }
}

static emr_status work_off(emr_coefficients *c, handed *h, bool is_last, emr_error *error)
{
    const uint64_t n_jobs = h->end > h->done ? (h->end - 1) / CHUNK - h->done / CHUNK + 1 : 0;
    emr_status status = EMR_OK;
    while (!status && h->first_job < n_jobs) {
        uint64_t left = n_jobs - h->first_job;
        size_t n = left < c->stream.n_jobs ? (size_t)left : c->stream.n_jobs;
        status = fit_crew_run(&c->crew, n, add_chunk, h, error);
        if (!status)
            fold_jobs(h, n, is_last);
        h->first_job += n;
    }
    return status;
}

/* Which is to blame for a sum that is not finite: the gradients at hand, or a task vector. */
static emr_status check_sums(const emr_coefficients *c, const handed *h, uint64_t handed_end,
                             emr_error *error)
{
    const gradient_stream *s = &c->stream;
    const char *name = emr_tensor_name(c->vectors->tensors[s->tensor].base);
    float g[BLOCK];
    uint32_t t = 0;
    while (t < c->n_tasks && is_finite(s->totals[t]) && is_finite(fit_dot_total(s->lanes + t * LANES)))
        t++;
    if (t == c->n_tasks)
        return EMR_OK;
    for (uint64_t first = h->done; first < handed_end; first += BLOCK) {
        size_t n = handed_end - first < BLOCK ? (size_t)(handed_end - first) : BLOCK;
        copy_gradient(h, first, n, g);
        for (size_t i = 0; i < n; i++)
            if (!is_finite((double)g[i]))
                return emr_error_format(
                    error, EMR_ENONFINITE,
                    "tensor '%T': the gradient of element %u is NaN or infinite in f32: the "
                    "next step is refused",
                    name, first + i);
    }
    return emr_error_format(error, EMR_ENONFINITE,
                            "task '%K': tensor '%T': its task vector is not finite, so its product with the "
                            "gradient is not: the next step is refused",
                            c->vectors->names[t], name);
}

static void end_stream(emr_coefficients *c)
{
    gradient_stream *s = &c->stream;
    memset(s->totals, 0, c->n_tasks * sizeof *s->totals);
    memset(s->lanes, 0, c->n_tasks * LANES * sizeof *s->lanes);
    s->tensor = NO_NUMBER;
    s->first = 0;
}

void emr_coefficients_clear(emr_coefficients *c)
{
    if (!c)
        return;
    end_stream(c);
    memset(c->sums, 0, c->vectors->n_tensors * c->n_tasks * sizeof *c->sums);
    memset(c->has_gradient, 0, c->vectors->n_tensors);
    c->refused = EMR_OK;
}

static void add_totals(emr_coefficients *c)
{
    double *sums = c->sums + (size_t)c->stream.tensor * c->n_tasks;
    for (uint32_t t = 0; t < c->n_tasks; t++)
        sums[t] += c->stream.totals[t];
    c->has_gradient[c->stream.tensor] = 1;
}

static emr_status take_gradient(emr_coefficients *c, uint64_t count, const void *gradient, emr_error *error)
{
    gradient_stream *s = &c->stream;
    const uint64_t total = emr_tensor_count(c->vectors->tensors[s->tensor].base), end = s->first + count;
    const bool is_last = end == total;
    handed h = {.c = c, .gradient = gradient, .done = s->first - s->first % BLOCK, .first = s->first};
    h.end = is_last ? end : end - end % BLOCK;
    emr_status status = work_off(c, &h, is_last, error);
    if (!status)
        status = check_sums(c, &h, end, error);
    if (status)
        return status;
    if (!is_last)
        copy_gradient(&h, h.end, (size_t)(end - h.end), s->waiting);
    s->first = end;
    if (is_last) {
        add_totals(c);
        end_stream(c);
    }
    return EMR_OK;
}

/* Whether it is what comes next. */
static emr_status check_gradient(const emr_coefficients *c, uint32_t tensor, uint64_t first, uint64_t count,
                                 emr_dtype dtype, emr_error *error)
{
    const gradient_stream *s = &c->stream;
    const emr_tensor *given = c->vectors->tensors[tensor].base;
    if (dtype != EMR_DTYPE_F32 && dtype != EMR_DTYPE_F16 && dtype != EMR_DTYPE_BF16 && dtype != EMR_DTYPE_F64)
        return emr_error_format(error, EMR_EINVAL, "tensor '%T': gradients are F32, F16, BF16 or F64",
                                emr_tensor_name(given));
    if (s->tensor != NO_NUMBER && s->tensor != tensor)
        return emr_error_format(
            error, EMR_EINVAL,
            "the gradient of tensor '%T' is not complete: its elements from %u on come next",
            emr_tensor_name(c->vectors->tensors[s->tensor].base), s->first);
    if (s->tensor != NO_NUMBER && s->dtype != dtype)
        return emr_error_format(error, EMR_EINVAL, "tensor '%T': its gradient began in %s, and goes on in it",
                                emr_tensor_name(given), emr_dtype_name(s->dtype));
    if (first != s->first)
        return emr_error_format(error, EMR_EINVAL,
                                "tensor '%T': elements of its gradient from %u on come next, not from %u",
                                emr_tensor_name(given), s->first, first);
    if (count > emr_tensor_count(given) - first)
        return emr_error_format(error, EMR_EINVAL, "tensor '%T' has %u elements, not %u from %u on",
                                emr_tensor_name(given), emr_tensor_count(given), count, first);
    return EMR_OK;
}

emr_status emr_coefficients_gradient(emr_coefficients *c, const char *tensor, uint64_t first, uint64_t count,
                                     emr_dtype dtype, const void *gradient, emr_error *error)
{
    if (!c || !tensor || (count && !gradient))
        return emr_error_format(error, EMR_EINVAL, "emr_coefficients_gradient: NULL");
    uint32_t number = fit_coefficients_find_tensor(c, tensor);
    if (number == NO_NUMBER && !emr_model_find_tensor(c->vectors->base, tensor))
        return emr_error_format(error, EMR_ENOTFOUND, "%F: the base has no tensor '%T'",
                                emr_model_name(c->vectors->base), tensor);
    if (number == NO_NUMBER || c->groups[c->group_of[number]].is_fixed)
        return EMR_OK;
    if (c->refused)
        return emr_error_format(
            error, c->refused,
            "tensor '%T': a gradient before it was refused, so the next step is: clear, or "
            "step, to begin again",
            tensor);
    emr_status status = check_gradient(c, number, first, count, dtype, error);
    if (status || (!count && emr_tensor_count(c->vectors->tensors[number].base)))
        return status;
    c->stream.tensor = number;
    c->stream.dtype = dtype;
    status = take_gradient(c, count, gradient, error);
    if (status) {
        emr_coefficients_clear(c);
        c->refused = status;
    }
    return status;
}
