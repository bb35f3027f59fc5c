/* surgery.c - adapters as handles: made, asked and applied. */
#include "surgery.h"

#include "draw.h"

#include <string.h>

emr_status fit_surgery_take_options(emr_surgery_options *taken, const emr_surgery_options *given,
                                    emr_error *error)
{
    emr_status status = FIT_TAKE(taken, given, emr_surgery_options, loss, error);
    if (!status && (taken->width > SURGERY_WIDTH_MAX || taken->rank > SURGERY_RANK_MAX))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_surgery_options: width is at most %u, rank at most %u",
                                (uint64_t)SURGERY_WIDTH_MAX, (uint64_t)SURGERY_RANK_MAX);
    if (!status && taken->loss > EMR_SURGERY_LOSS_SQUARED)
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_options: loss is none that there is");
    return status;
}

static bool allocate_arrays(emr_surgery *s)
{
    const fit_host *host = &s->host;
    size_t n = 2 * s->rank * s->width;
    s->parameters = fit_allocate(host, n, sizeof *s->parameters);
    s->m = fit_allocate(host, n, sizeof *s->m);
    s->v = fit_allocate(host, n, sizeof *s->v);
    s->gradient = fit_allocate(host, n, sizeof *s->gradient);
    s->added = fit_allocate(host, n, sizeof *s->added);
    s->inputs = fit_allocate(host, SURGERY_BLOCK * s->width, sizeof *s->inputs);
    s->outward = fit_allocate(host, SURGERY_BLOCK * s->width, sizeof *s->outward);
    s->hidden = fit_allocate(host, SURGERY_BLOCK * s->rank, sizeof *s->hidden);
    s->inward = fit_allocate(host, SURGERY_BLOCK * s->rank, sizeof *s->inward);
    s->row_loss = fit_allocate(host, SURGERY_BLOCK, sizeof *s->row_loss);
    s->down = fit_allocate(host, n / 2, sizeof *s->down);
    s->up = fit_allocate(host, n / 2, sizeof *s->up);
    return s->parameters && s->m && s->v && s->gradient && s->added && s->inputs && s->outward && s->hidden &&
           s->inward && s->row_loss && s->down && s->up;
}

emr_status fit_surgery_create(emr_surgery **surgery, const emr_surgery_options *options, emr_error *error)
{
    fit_host host;
    emr_adam adam;
    emr_status status = fit_host_take(&host, options->resources, error);
    if (!status)
        status = fit_adam_take(&adam, options->adam, error);
    if (status)
        return status;
    emr_surgery *made = fit_allocate(&host, 1, sizeof *made);
    if (!made)
        return fit_no_memory(error);
    made->host = host;
    made->adam = adam;
    made->time = FIT_ADAM_START;
    made->width = (size_t)options->width;
    made->rank = options->rank;
    made->loss = options->loss;
    if (!allocate_arrays(made)) {
        emr_surgery_destroy(&made);
        return fit_no_memory(error);
    }
    *surgery = made;
    return EMR_OK;
}

emr_status emr_surgery_create(emr_surgery **surgery, const emr_surgery_options *options, emr_error *error)
{
    emr_surgery_options taken;
    if (!surgery)
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_create: NULL");
    *surgery = NULL;
    emr_status status = fit_surgery_take_options(&taken, options, error);
    if (!status && !taken.width)
        status = emr_error_format(error, EMR_EINVAL,
                                  "emr_surgery_options: width, the number of features, is not set");
    taken.rank = taken.rank ? taken.rank : 16;
    if (!status)
        status = fit_surgery_create(surgery, &taken, error);
    if (status)
        return status;
    emr_surgery *s = *surgery;
    fit_draw_weights(s->parameters, s->rank * s->width, s->width, taken.seed, 0);
    fit_surgery_store(s);
    return EMR_OK;
}

void emr_surgery_destroy(emr_surgery **surgery)
{
    if (!surgery || !*surgery)
        return;
    emr_surgery *s = *surgery;
    void *const arrays[] = {s->parameters, s->m,      s->v,      s->gradient, s->added, s->inputs,
                            s->outward,    s->hidden, s->inward, s->row_loss, s->down,  s->up};
    const fit_host host = s->host;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        fit_release(&host, arrays[i]);
    fit_release(&host, s);
    *surgery = NULL;
}

void fit_surgery_store(emr_surgery *s)
{
    const double *up = s->parameters + s->rank * s->width;
    for (size_t i = 0; i < s->rank * s->width; i++)
        s->down[i] = (float)s->parameters[i];
    for (size_t r = 0; r < s->rank; r++)
        for (size_t k = 0; k < s->width; k++)
            s->up[k * s->rank + r] = (float)up[r * s->width + k];
}

void fit_surgery_load(emr_surgery *s)
{
    double *up = s->parameters + s->rank * s->width;
    for (size_t i = 0; i < s->rank * s->width; i++)
        s->parameters[i] = (double)s->down[i];
    for (size_t r = 0; r < s->rank; r++)
        for (size_t k = 0; k < s->width; k++)
            up[r * s->width + k] = (double)s->up[k * s->rank + r];
}

uint64_t emr_surgery_width(const emr_surgery *surgery)
{
    return surgery ? surgery->width : 0;
}

uint32_t emr_surgery_rank(const emr_surgery *surgery)
{
    return surgery ? (uint32_t)surgery->rank : 0;
}

emr_status emr_surgery_apply(const emr_surgery *surgery, const float *x, float *y, size_t n, emr_error *error)
{
    if (!surgery || (n && (!x || !y)))
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_apply: NULL");
    const emr_surgery_weights weights = {sizeof weights, surgery->down, surgery->up, surgery->width,
                                         surgery->rank};
    float *hidden = fit_allocate(&surgery->host, surgery->rank, sizeof *hidden);
    if (!hidden)
        return fit_no_memory(error);
    emr_status status = emr_surgery_apply_weights(&weights, x, y, n, hidden);
    fit_release(&surgery->host, hidden);
    return status;
}
