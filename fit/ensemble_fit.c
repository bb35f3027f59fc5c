/* ensemble_fit.c - steps of Adam on an ensemble, one by one or until samples that are held out get no better. */
#include "ensemble.h"

#include "draw.h"

#include <math.h>
#include <string.h>

static emr_status take_step(emr_ensemble *e, ensemble_pass *pass, const ensemble_samples *samples,
                            double *loss, emr_error *error)
{
    double *m = e->parameters + e->n_parameters, *v = m + e->n_parameters;
    emr_status status = fit_ensemble_find_gradient(pass, samples, loss, error);
    if (status)
        return status;
    for (size_t i = 0; i < e->n_parameters; i++)
        if (!isfinite(pass->gradient[i] * pass->gradient[i]))
            return emr_error_format(error, EMR_ENONFINITE,
                                    "the gradient of the ensemble overflows: scale its inputs down, or fit "
                                    "it anew with a lower lr");
    fit_adam_step(&e->adam, &e->time, e->parameters, m, v, pass->gradient, e->n_parameters);
    return EMR_OK;
}

emr_status emr_ensemble_train(emr_ensemble *e, const emr_ensemble_batch *batch, double *loss,
                              emr_error *error)
{
    ensemble_samples samples;
    ensemble_pass pass;
    double before;
    if (!e)
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_train: NULL");
    emr_status status = fit_ensemble_take(&samples, e, batch, true, error);
    if (status)
        return status;
    status = fit_ensemble_pass_create(&pass, e, &samples, true, error);
    if (!status)
        status = take_step(e, &pass, &samples, &before, error);
    if (!status && loss)
        *loss = before;
    fit_ensemble_pass_destroy(&pass);
    return status;
}

/* The network and what Adam knows, as they were at one time. */
typedef struct snapshot {
    double *numbers;
    fit_adam_time time;
} snapshot;

static void keep_weights(const emr_ensemble *e, snapshot *kept)
{
    memcpy(kept->numbers, e->parameters, 3 * e->n_parameters * sizeof(double));
    kept->time = e->time;
}

static void go_back(emr_ensemble *e, const snapshot *kept)
{
    memcpy(e->parameters, kept->numbers, 3 * e->n_parameters * sizeof(double));
    e->time = kept->time;
}

typedef struct fitting {
    emr_ensemble *e;
    emr_ensemble_fit_options options;
    ensemble_pass pass;
    ensemble_samples all, fitted, held_out;
    size_t *rows; /* of all samples: those fitted, then those held out */
    fit_drawing drawing;
    snapshot best;
    emr_ensemble_report report;
} fitting;

static emr_status take_fit_options(emr_ensemble_fit_options *o, const emr_ensemble_fit_options *given,
                                   emr_error *error)
{
    emr_status status = FIT_TAKE(o, given, emr_ensemble_fit_options, use_held_out, error);
    if (status)
        return status;
    o->n_steps = o->n_steps ? o->n_steps : 500;
    o->patience = o->patience ? o->patience : 50;
    const bool is_zero = o->held_out >= 0 && o->held_out <= 0; /* false of NaN */
    o->held_out = is_zero && !o->use_held_out ? 0.25 : o->held_out;
    return o->held_out >= 0 && o->held_out <= 0.9
               ? EMR_OK
               : emr_error_format(error, EMR_EINVAL, "emr_ensemble_fit_options: held_out must be 0 to 0.9");
}

static ensemble_samples next_batch(fitting *f)
{
    if (!f->drawing.rows)
        return f->fitted;
    fit_draw_batch(&f->drawing);
    for (size_t i = 0; i < f->drawing.n_batch; i++)
        f->drawing.rows[i] = f->rows[f->drawing.rows[i]];
    return (ensemble_samples){f->fitted.batch, f->drawing.rows, f->drawing.n_batch};
}

static emr_status find_losses(fitting *f, double *fitted, double *held_out, emr_error *error)
{
    emr_status status = fit_ensemble_find_loss(&f->pass, &f->fitted, fitted, error);
    *held_out = NAN;
    if (!status && f->held_out.n)
        status = fit_ensemble_find_loss(&f->pass, &f->held_out, held_out, error);
    return status;
}

/* A step, and whether it was the best. */
static emr_status step_on(fitting *f, double *best, emr_error *error)
{
    const ensemble_samples batch = next_batch(f);
    double loss;
    emr_status status = take_step(f->e, &f->pass, &batch, &loss, error);
    if (status)
        return status;
    f->report.n_steps++;
    if (f->held_out.n)
        status = fit_ensemble_find_loss(&f->pass, &f->held_out, &loss, error);
    if (!status && (!f->held_out.n || loss < *best)) {
        *best = loss;
        f->report.n_best = f->report.n_steps;
        if (f->held_out.n)
            keep_weights(f->e, &f->best);
    }
    return status;
}

static emr_status take_steps(fitting *f, emr_error *error)
{
    const uint64_t n_steps = f->options.n_steps;
    double best = f->report.held_out_before;
    emr_status status = EMR_OK;
    if (f->held_out.n)
        keep_weights(f->e, &f->best);
    while (!status && f->report.n_steps < n_steps &&
           f->report.n_steps - f->report.n_best < f->options.patience) {
        status = step_on(f, &best, error);
        if (!status)
            status = fit_progress(&f->e->host, f->report.n_steps, n_steps, "fitting the ensemble", error);
    }
    if (f->held_out.n)
        go_back(f->e, &f->best);
    return status;
}

/* Both parts of the samples, their batches, and room for the best. */
static emr_status prepare_fitting(fitting *f, emr_error *error)
{
    const fit_host *host = &f->e->host;
    const emr_ensemble_fit_options *o = &f->options;
    uint64_t seed = o->seed;
    f->rows = fit_allocate(host, f->all.n, sizeof *f->rows);
    f->fitted = f->held_out = f->all;
    emr_status status =
        f->rows ? fit_ensemble_split(&f->all, host, o->held_out, &seed, f->rows, &f->held_out.n, error)
                : fit_no_memory(error);
    if (status)
        return status;
    f->fitted.n = f->all.n - f->held_out.n;
    f->fitted.rows = f->rows;
    f->held_out.rows = f->rows + f->fitted.n;
    f->report.n_held_out = f->held_out.n;
    if (f->held_out.n)
        f->best.numbers = fit_allocate(host, f->e->n_parameters, 3 * sizeof(double));
    bool has_room = f->best.numbers || !f->held_out.n;
    return fit_drawing_create(&f->drawing, host, f->fitted.n, o->n_batch ? o->n_batch : f->fitted.n, seed) &&
                   has_room
               ? EMR_OK
               : fit_no_memory(error);
}

static emr_status fit_network(fitting *f, emr_error *error)
{
    emr_status status = prepare_fitting(f, error);
    if (!status)
        status = find_losses(f, &f->report.loss_before, &f->report.held_out_before, error);
    if (!status)
        status = take_steps(f, error);
    if (!status)
        status = find_losses(f, &f->report.loss_after, &f->report.held_out_after, error);
    fit_drawing_destroy(&f->drawing, &f->e->host);
    fit_release(&f->e->host, f->rows);
    fit_release(&f->e->host, f->best.numbers);
    return status;
}

emr_status emr_ensemble_fit(emr_ensemble *e, const emr_ensemble_batch *batch,
                            const emr_ensemble_fit_options *options, emr_ensemble_report *report,
                            emr_error *error)
{
    fitting f = {.e = e, .report = EMR_INIT(emr_ensemble_report)};
    if (!e || (report && FIT_GIVE(report, &f.report, emr_ensemble_report, n_held_out)))
        return emr_error_format(error, EMR_EINVAL, "emr_ensemble_fit: %s",
                                e ? "the report's size is not set: begin with EMR_INIT" : "NULL");
    emr_status status = take_fit_options(&f.options, options, error);
    if (!status)
        status = fit_ensemble_take(&f.all, e, batch, true, error);
    if (status)
        return status;
    status = fit_ensemble_pass_create(&f.pass, e, &f.all, true, error);
    if (!status)
        status = fit_network(&f, error);
    fit_ensemble_pass_destroy(&f.pass);
    if (!status && report)
        FIT_GIVE(report, &f.report, emr_ensemble_report, n_held_out);
    return status;
}
