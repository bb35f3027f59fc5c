/* learner.c - see learner.h. */
#include "learner.h"

#include <emr/fit/losses.h>

#include <string.h>

static int n_learned(const learner *l)
{
    return l->options.with_head ? N_TENSORS : N_TENSORS - 2;
}

emr_status learner_open(learner *l, const tasks *of, const learner_options *wanted, emr_error *error)
{
    static const char *const heads[] = {"fc3.*"};
    emr_adam adam = EMR_INIT(emr_adam);
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    memset(l, 0, sizeof *l);
    l->of = of;
    l->options = *wanted;
    l->report = EMR_INIT(emr_coefficients_report);
    adam.lr = LEARN_RATE;
    options.base = of->base;
    options.tasks = wanted->models ? wanted->models : (const emr_model *const *)of->models;
    options.names = task_names + wanted->first;
    options.n_tasks = (uint32_t)wanted->n_tasks;
    options.adam = &adam;
    options.scope = wanted->scope;
    options.map = wanted->map;
    options.initial = wanted->initial;
    options.use_initial = 1;
    options.keep = wanted->keep;
    options.exclude = heads;
    options.n_exclude = wanted->with_head ? 0 : 1;
    emr_status status = emr_coefficients_create(&l->coefficients, &options, error);
    return status ? status : learner_apply(l, error);
}

void learner_close(learner *l)
{
    emr_coefficients_destroy(&l->coefficients);
}

emr_status learner_apply(learner *l, emr_error *error)
{
    emr_weights weights[N_TENSORS];
    network_weights(&l->merged, weights);
    return emr_coefficients_apply(l->coefficients, weights, N_TENSORS, error);
}

/* n images of a task through the merged network: the mean loss, and with `gradient` its gradient, added up there. */
static emr_status run_images(learner *l, int task, learner_loss kind, size_t first, size_t n, double *loss,
                             network *gradient, emr_error *error)
{
    activations a;
    rows d;
    uint32_t answers[BATCH];
    emr_logits logits = EMR_INIT(emr_logits);
    if (!l->options.with_head)
        network_set_head(&l->merged, &l->of->individual[task]);
    images_take(&l->of->unlabelled[task], first, n, a.of[0], answers);
    network_forward(&l->merged, &a, n);
    logits.data = a.of[N_LAYERS][0];
    logits.n_rows = n;
    logits.n_columns = N_LOGITS;
    logits.row_stride = N_HIDDEN;
    float *dlogits = gradient ? d[0] : NULL;
    emr_status status = kind == LOSS_ENTROPY ? emr_entropy(&logits, loss, dlogits, error)
                                             : emr_cross_entropy(&logits, answers, loss, dlogits, error);
    if (!status && gradient)
        network_backward(&l->merged, &a, d, n, gradient);
    return status;
}

emr_status learner_pass(learner *l, double *loss, emr_error *error)
{
    emr_weights gradients[N_TENSORS];
    emr_status status = EMR_OK;
    *loss = 0;
    memset(&l->gradient, 0, sizeof l->gradient);
    for (int t = l->options.first; !status && t < l->options.first + l->options.n_tasks; t++) {
        double own = 0;
        status = run_images(l, t, l->options.loss, l->n_steps * LEARN_BATCH, LEARN_BATCH, &own, &l->gradient,
                            error);
        *loss += own;
    }
    network_weights(&l->gradient, gradients);
    for (int i = 0; !status && i < n_learned(l); i++)
        status = emr_coefficients_gradient(l->coefficients, gradients[i].name, 0, gradients[i].count,
                                           EMR_DTYPE_F32, gradients[i].data, error);
    return status;
}

emr_status learner_step(learner *l, emr_error *error)
{
    double loss;
    emr_status status = learner_pass(l, &loss, error);
    if (!status)
        status = emr_coefficients_step(l->coefficients, &l->report, error);
    if (!status)
        status = learner_apply(l, error);
    l->n_steps++;
    return status;
}

static emr_status mean_loss(learner *l, int task, learner_loss kind, double *mean, emr_error *error)
{
    size_t n = l->of->unlabelled[task].n;
    emr_status status = EMR_OK;
    *mean = 0;
    for (size_t first = 0; !status && first < n; first += BATCH) {
        size_t some = n - first < BATCH ? n - first : BATCH;
        double loss = 0;
        status = run_images(l, task, kind, first, some, &loss, NULL, error);
        *mean += loss * (double)some / (double)n;
    }
    return status;
}

emr_status learner_measure(learner *l, measured *m, emr_error *error)
{
    emr_status status = EMR_OK;
    double n = l->options.n_tasks;
    *m = (measured){0, 0, 0};
    for (int t = l->options.first; !status && t < l->options.first + l->options.n_tasks; t++) {
        double entropy = 0, loss = 0;
        status = mean_loss(l, t, LOSS_ENTROPY, &entropy, error);
        if (!status)
            status = mean_loss(l, t, l->options.loss, &loss, error);
        m->entropy += entropy / n;
        m->loss += loss / n;
        m->accuracy += images_accuracy(&l->merged, &l->of->heldout[t]) / n;
    }
    return status;
}
