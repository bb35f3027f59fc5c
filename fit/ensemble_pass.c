/* ensemble_pass.c - passes of samples through the network, some at a time, which threads share out; sums are in order of samples. */
#include "ensemble.h"

#include <math.h>

enum { SLOTS = 32 };

emr_status fit_ensemble_pass_create(ensemble_pass *p, const emr_ensemble *e, const ensemble_samples *samples,
                                    bool goes_back, emr_error *error)
{
    const emr_ensemble_batch *batch = &samples->batch;
    *p = (ensemble_pass){.ensemble = e, .n_slots = samples->n < SLOTS ? samples->n : SLOTS};
    p->slot_length = fit_ensemble_slot_length(e, batch->n_sources);
    p->room_length = fit_ensemble_room_length(batch->n_sources, batch->n_columns);
    p->traces = fit_allocate(&e->host, p->n_slots, p->slot_length * sizeof(double));
    p->room = fit_allocate(&e->host, p->n_slots, p->room_length * sizeof(double));
    p->scores = fit_allocate(&e->host, samples->n, batch->n_sources * sizeof(double));
    p->losses = fit_allocate(&e->host, samples->n, sizeof(double));
    if (goes_back)
        p->gradient = fit_allocate(&e->host, e->n_parameters, sizeof(double));
    return p->traces && p->room && p->scores && p->losses && (p->gradient || !goes_back)
               ? EMR_OK
               : fit_no_memory(error);
}

void fit_ensemble_pass_destroy(ensemble_pass *p)
{
    const fit_host *host = &p->ensemble->host;
    fit_release(host, p->traces);
    fit_release(host, p->room);
    fit_release(host, p->scores);
    fit_release(host, p->losses);
    fit_release(host, p->gradient);
}

static void find_loss(const ensemble_pass *p, size_t slot, bool goes_back)
{
    const ensemble_samples *s = p->samples;
    const size_t i = p->first + slot;
    p->losses[i] = fit_ensemble_loss(p->ensemble->mix, p->scores + i * s->batch.n_sources, &s->batch,
                                     ensemble_values(s, i), s->batch.labels[ensemble_row(s, i)], goes_back,
                                     p->room + slot * p->room_length);
}

static void pass_scores(void *arg, size_t slot)
{
    fit_ensemble_forward(arg, slot);
}

static void pass_loss(void *arg, size_t slot)
{
    fit_ensemble_forward(arg, slot);
    find_loss(arg, slot, false);
}

static void pass_back(void *arg, size_t slot)
{
    fit_ensemble_forward(arg, slot);
    find_loss(arg, slot, true);
    fit_ensemble_backward(arg, slot);
}

static void pass_gradient(void *arg, size_t job)
{
    const ensemble_pass *p = arg;
    const size_t rest = p->samples->n - p->first;
    fit_ensemble_add_gradient(p, rest < p->n_slots ? rest : p->n_slots, job);
}

static emr_status say_overflow(uint64_t sample, emr_error *error)
{
    return emr_error_format(
        error, EMR_ENONFINITE,
        "sample %u: the ensemble's numbers overflow: its weights or the sample's values are "
        "too large; scale them down, or fit with a lower lr",
        sample);
}

static emr_status run_slots(ensemble_pass *p, const ensemble_samples *samples,
                            void (*fn)(void *arg, size_t slot), emr_error *error)
{
    const fit_host *host = &p->ensemble->host;
    const size_t n_sources = samples->batch.n_sources;
    p->samples = samples;
    for (p->first = 0; p->first < samples->n; p->first += p->n_slots) {
        const size_t rest = samples->n - p->first;
        fit_for(host, rest < p->n_slots ? rest : p->n_slots, fn, p);
        if (fn == pass_back)
            fit_for(host, fit_ensemble_n_jobs(p->ensemble), pass_gradient, p);
    }
    for (size_t i = 0; i < samples->n * n_sources; i++)
        if (!isfinite(p->scores[i]))
            return say_overflow(ensemble_row(samples, i / n_sources), error);
    return EMR_OK;
}

static emr_status mean_loss(const ensemble_pass *p, double *loss, emr_error *error)
{
    double sum = 0;
    for (size_t i = 0; i < p->samples->n; i++) {
        if (!isfinite(p->losses[i]))
            return say_overflow(ensemble_row(p->samples, i), error);
        sum += p->losses[i];
    }
    *loss = sum / (double)p->samples->n;
    return EMR_OK;
}

emr_status fit_ensemble_find_scores(ensemble_pass *p, const ensemble_samples *samples, emr_error *error)
{
    return run_slots(p, samples, pass_scores, error);
}

emr_status fit_ensemble_find_loss(ensemble_pass *p, const ensemble_samples *samples, double *loss,
                                  emr_error *error)
{
    emr_status status = run_slots(p, samples, pass_loss, error);
    return status ? status : mean_loss(p, loss, error);
}

emr_status fit_ensemble_find_gradient(ensemble_pass *p, const ensemble_samples *samples, double *loss,
                                      emr_error *error)
{
    for (size_t i = 0; i < p->ensemble->n_parameters; i++)
        p->gradient[i] = 0;
    emr_status status = run_slots(p, samples, pass_back, error);
    return status ? status : mean_loss(p, loss, error);
}
