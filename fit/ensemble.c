/* ensemble.c - the handle of an ensemble, and what its sources make together. */
#include "ensemble.h"

#include "draw.h"

#include <math.h>

static bool is_size(uint32_t value, uint32_t most)
{
    return value >= 1 && value <= most;
}

static emr_status take_options(emr_ensemble_options *o, const emr_ensemble_options *given, emr_error *error)
{
    emr_status status = FIT_TAKE(o, given, emr_ensemble_options, mix, error);
    if (status)
        return status;
    o->temperature = o->temperature >= 0 && o->temperature <= 0 ? 1 : o->temperature;
    o->x_hidden = o->x_hidden ? o->x_hidden : 32;
    o->key_hidden = o->key_hidden ? o->key_hidden : 32;
    o->shared_width = o->shared_width ? o->shared_width : 64;
    if (!is_size(o->x_width, ENSEMBLE_WIDTH_MAX) || !is_size(o->key_width, ENSEMBLE_WIDTH_MAX))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_options: x_width and key_width must be 1 to %u",
                                (uint64_t)ENSEMBLE_WIDTH_MAX);
    if (!is_size(o->x_hidden, ENSEMBLE_HIDDEN_MAX) || !is_size(o->key_hidden, ENSEMBLE_HIDDEN_MAX) ||
        !is_size(o->shared_width, ENSEMBLE_HIDDEN_MAX))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_options: x_hidden, key_hidden and shared_width are at most %u",
                                (uint64_t)ENSEMBLE_HIDDEN_MAX);
    if (!(o->temperature > 0 && o->temperature < INFINITY))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_options: temperature must be above 0 and finite");
    if (o->activation > EMR_ENSEMBLE_ACTIVATION_RELU || o->mix > EMR_ENSEMBLE_MIX_PROBABILITIES)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_ensemble_options: activation or mix is none that there is");
    uint64_t numbers = (uint64_t)o->x_hidden * o->x_width + (uint64_t)o->key_hidden * o->key_width +
                       (uint64_t)o->shared_width * (o->x_hidden + o->key_hidden + 3);
    return numbers <= SIZE_MAX / sizeof(double) / 3 ? EMR_OK : fit_no_memory(error);
}

static void lay_out(emr_ensemble *e, const emr_ensemble_options *o)
{
    const size_t widths[SIDES] = {o->x_width, o->key_width}, hidden[SIDES] = {o->x_hidden, o->key_hidden};
    e->shared = o->shared_width;
    for (int i = 0; i < SIDES; i++) {
        ensemble_matrix *down = &e->sides[i].matrices[DOWN], *up = &e->sides[i].matrices[UP];
        *down = (ensemble_matrix){e->n_parameters, hidden[i], widths[i]};
        e->n_parameters += hidden[i] * widths[i];
        *up = (ensemble_matrix){e->n_parameters, e->shared, hidden[i]};
        e->n_parameters += e->shared * hidden[i];
    }
    for (int i = 0; i < SIDES && e->has_norm; i++) {
        e->sides[i].scale = e->n_parameters;
        e->n_parameters += e->shared;
    }
    e->sides[SIDE_X].shift = e->n_parameters;
    e->n_parameters += e->has_norm ? e->shared : 0;
}

/* Matrices are drawn one after another, in the order of the parameters; N begins as the identity. */
static void draw(emr_ensemble *e, uint64_t seed)
{
    for (int i = 0; i < SIDES; i++) {
        for (int which = 0; which < MATRICES; which++) {
            const ensemble_matrix *m = &e->sides[i].matrices[which];
            fit_draw_weights(e->parameters + m->begin, m->rows * m->columns, m->columns, seed, m->begin);
        }
        for (size_t k = 0; e->has_norm && k < e->shared; k++)
            e->parameters[e->sides[i].scale + k] = 1;
    }
}

emr_status emr_ensemble_create(emr_ensemble **ensemble, const emr_ensemble_options *options, emr_error *error)
{
    emr_ensemble_options o;
    emr_ensemble made = {.time = FIT_ADAM_START};
    if (!ensemble)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_create: NULL");
    *ensemble = NULL;
    emr_status status = take_options(&o, options, error);
    if (!status)
        status = fit_host_take(&made.host, o.resources, error);
    if (!status)
        status = fit_adam_take(&made.adam, o.adam, error);
    if (status)
        return status;
    made.temperature = o.temperature;
    made.activation = o.activation;
    made.mix = o.mix;
    made.has_norm = o.use_norm != 0;
    lay_out(&made, &o);
    made.parameters = fit_allocate(&made.host, made.n_parameters, 3 * sizeof(double));
    emr_ensemble *e = made.parameters ? fit_allocate(&made.host, 1, sizeof *e) : NULL;
    if (!e) {
        fit_release(&made.host, made.parameters);
        return fit_no_memory(error);
    }
    *e = made;
    draw(e, o.seed);
    *ensemble = e;
    return EMR_OK;
}

void emr_ensemble_destroy(emr_ensemble **ensemble)
{
    if (!ensemble || !*ensemble)
        return;
    const fit_host host = (*ensemble)->host;
    fit_release(&host, (*ensemble)->parameters);
    fit_release(&host, *ensemble);
    *ensemble = NULL;
}

/* [n, n_sources], to be released: those that the network finds, or 0. */
static emr_status find_scores(const emr_ensemble *e, const fit_host *host, const ensemble_samples *samples,
                              double **scores, emr_error *error)
{
    ensemble_pass pass;
    if (!e) {
        *scores = fit_allocate(host, samples->n, samples->batch.n_sources * sizeof **scores);
        return *scores ? EMR_OK : fit_no_memory(error);
    }
    emr_status status = fit_ensemble_pass_create(&pass, e, samples, false, error);
    if (!status)
        status = fit_ensemble_find_scores(&pass, samples, error);
    if (!status) {
        *scores = pass.scores;
        pass.scores = NULL;
    }
    fit_ensemble_pass_destroy(&pass);
    return status;
}

typedef struct combination {
    const ensemble_samples *samples;
    emr_ensemble_mix mix;
    size_t n_jobs;
    double *scores;
    double *room; /* of each job */
    float *weights, *out;
} combination;

/* Every n_jobs-th sample. */
static void combine_samples(void *arg, size_t job)
{
    const combination *c = arg;
    const emr_ensemble_batch *batch = &c->samples->batch;
    double *room = c->room + job * fit_ensemble_room_length(batch->n_sources, batch->n_columns);
    for (size_t i = job; i < c->samples->n; i += c->n_jobs) {
        double *scores = c->scores + i * batch->n_sources;
        fit_ensemble_weigh(scores, batch->n_sources);
        for (size_t j = 0; c->weights && j < batch->n_sources; j++)
            c->weights[i * batch->n_sources + j] = (float)scores[j];
        if (c->out)
            fit_ensemble_mix_values(c->mix, scores, batch, ensemble_values(c->samples, i), room);
        for (size_t k = 0; c->out && k < batch->n_columns; k++)
            c->out[i * batch->n_columns + k] = (float)room[k];
    }
}

emr_status emr_ensemble_combine(const emr_ensemble *e, const emr_ensemble_batch *batch, float *weights,
                                float *out, emr_error *error)
{
    ensemble_samples samples;
    fit_host host;
    combination c = {.samples = &samples, .mix = e ? e->mix : EMR_ENSEMBLE_MIX_LOGITS};
    emr_status status = fit_ensemble_take(&samples, e, batch, false, error);
    if (!status && !e)
        status = fit_host_take(&host, NULL, error);
    if (status)
        return status;
    if (e)
        host = e->host;
    status = find_scores(e, &host, &samples, &c.scores, error);
    if (status)
        return status;
    c.weights = weights;
    c.out = out;
    c.n_jobs = fit_concurrency(&host) < samples.n ? fit_concurrency(&host) : samples.n;
    c.room = fit_allocate(&host, c.n_jobs,
                          fit_ensemble_room_length(samples.batch.n_sources, samples.batch.n_columns) *
                              sizeof *c.room);
    if (c.room)
        fit_for(&host, c.n_jobs, combine_samples, &c);
    fit_release(&host, c.room);
    fit_release(&host, c.scores);
    return c.room ? EMR_OK : fit_no_memory(error);
}
