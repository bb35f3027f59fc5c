/* regmean_solve.c - one site: with W_0 = sum c_m W_m, the change D of all its layers solves
 *
 *     (sum c_m G~_m) D = sum c_m G~_m (W_m - W_0)                 G~ = a G + (1 - a) diag(G)
 *
 * so that what no sample tells stays the average. */
#include "regmean.h"

#include "gram.h"
#include "solve.h"
#include "weights.h"

#include <string.h>

enum { SEGMENT = 256, ROWS_A_JOB = 8 };

typedef struct work {
    const fit_regmean *r;
    const fit_host *host;
    const fit_group *group;
    size_t number; /* of the group */
    size_t n;      /* unknowns */
    size_t n_panels, n_sides;
    fit_solved *mean;   /* W_0, in the end the result */
    fit_solved *other;  /* W_m - W_0 */
    fit_solved *rights; /* right-hand sides */
    fit_panel *moments; /* a panel of c_m G~_m */
    fit_system system;
    uint32_t m; /* the model that is read or multiplied; n_models: the mean */
    size_t p;   /* the panel */
    const fit_layer *layer;
    fit_failure failure;
} work;

/* Elements of the layer's weights, or biases: the mean's or, less the mean, model m's. `to` finds the place of each. */
static void take_elements(work *w, const emr_tensor *const *tensors, uint64_t first, size_t n, size_t input,
                          size_t output, bool along_inputs)
{
    double values[SEGMENT], room[SEGMENT];
    const uint32_t n_models = w->r->layers.n_models;
    emr_error error;
    emr_status status = w->m == n_models ? fit_read_mean(tensors, w->r->coefficients, n_models, first, n,
                                                         values, room, &error)
                                         : fit_read(tensors[w->m], first, n, values, &error);
    if (status) {
        fit_note_failure(&w->failure, status, &error);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t k = along_inputs ? input + i : input,
               o = w->layer->place.first_output + (along_inputs ? output : output + i);
        double *mean = &w->mean->sides[o / FIT_TILE][k][o % FIT_TILE];
        if (w->m == n_models)
            *mean = values[i];
        else
            w->other->sides[o / FIT_TILE][k][o % FIT_TILE] = values[i] - *mean;
    }
}

/* Outputs that share a side: threads do not write side by side. */
static void take_outputs(void *arg, size_t job)
{
    work *w = arg;
    const fit_layer *layer = w->layer;
    size_t side = layer->place.first_output / FIT_TILE + job;
    for (size_t at = side * FIT_TILE; at < (side + 1) * FIT_TILE; at++) {
        if (at < layer->place.first_output || at - layer->place.first_output >= layer->place.outputs)
            continue;
        size_t o = at - layer->place.first_output;
        for (size_t k = 0; k < layer->place.inputs; k += SEGMENT) {
            size_t n = layer->place.inputs - k < SEGMENT ? layer->place.inputs - k : SEGMENT;
            take_elements(w, layer->weights, (uint64_t)o * layer->place.inputs + k, n, k, o, true);
        }
    }
}

/* The same for weights that are [in, out]. */
static void take_inputs(void *arg, size_t job)
{
    work *w = arg;
    const fit_layer *layer = w->layer;
    for (size_t k = job * ROWS_A_JOB; k < layer->place.inputs && k < (job + 1) * ROWS_A_JOB; k++) {
        for (size_t o = 0; o < layer->place.outputs; o += SEGMENT) {
            size_t n = layer->place.outputs - o < SEGMENT ? layer->place.outputs - o : SEGMENT;
            take_elements(w, layer->weights, (uint64_t)k * layer->place.outputs + o, n, k, o, false);
        }
    }
}

static void take_bias(work *w)
{
    const fit_layer *layer = w->layer;
    for (size_t o = 0; layer->biases && o < layer->place.outputs; o += SEGMENT) {
        size_t n = layer->place.outputs - o < SEGMENT ? layer->place.outputs - o : SEGMENT;
        take_elements(w, layer->biases, o, n, layer->place.inputs, o, false);
    }
}

/* All layers of the group, of model m. */
static void take_weights(work *w, uint32_t m)
{
    w->m = m;
    for (size_t i = 0; i < w->r->layers.n_layers; i++) {
        w->layer = &w->r->layers.layers[i];
        if (w->layer->place.number != w->number)
            continue;
        size_t first = w->layer->place.first_output, last = first + w->layer->place.outputs - 1;
        if (w->layer->place.is_transposed)
            fit_for(w->host, (w->layer->place.inputs + ROWS_A_JOB - 1) / ROWS_A_JOB, take_inputs, w);
        else
            fit_for(w->host, last / FIT_TILE - first / FIT_TILE + 1, take_outputs, w);
        take_bias(w);
    }
}

/* Element (i, k) of c_m G~_m. */
static double moment(const work *w, uint32_t m, size_t i, size_t k)
{
    const gram_site *s = w->r->layers.grams[m]->sites[w->group->sites[m]];
    double factor = w->r->coefficients[m] / (w->r->scale == EMR_FIT_SCALE_MEANS ? (double)s->n_rows : 1);
    return *gram_element(s, i, k) * factor * (i == k ? 1 : w->r->off_diagonal);
}

static void fill_moments(void *arg, size_t q)
{
    const work *w = arg;
    for (size_t k = q * FIT_TILE; k < (q + 1) * FIT_TILE; k++)
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = w->p * FIT_TILE + r;
            w->moments[k][r] = i < w->n && k < w->n ? moment(w, w->m, i, k) : 0;
        }
}

static void multiply_side(void *arg, size_t side)
{
    const work *w = arg;
    w->system.kernels->add(w->rights->sides[side] + w->p * FIT_TILE, (const fit_panel *)w->moments,
                           (const fit_panel *)w->other->sides[side], w->n);
}

/* rights += c_m G~_m (W_m - W_0) */
static void add_rights(work *w, uint32_t m)
{
    w->m = m;
    for (w->p = 0; w->p < w->n_panels; w->p++) {
        fit_for(w->host, w->n_panels, fill_moments, w);
        fit_for(w->host, w->n_sides, multiply_side, w);
    }
}

static void fill_system(void *user, size_t p, fit_panel *row)
{
    const work *w = user;
    for (size_t k = 0; k < (p + 1) * FIT_TILE; k++) {
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = p * FIT_TILE + r;
            double sum = 0;
            for (uint32_t m = 0; i < w->n && k < w->n && m < w->r->layers.n_models; m++)
                sum += moment(w, m, i, k);
            row[k][r] = sum;
        }
    }
}

static void add_change(void *arg, size_t side)
{
    const work *w = arg;
    for (size_t k = 0; k < w->n; k++)
        for (size_t j = 0; j < FIT_TILE; j++)
            w->mean->sides[side][k][j] += w->rights->sides[side][k][j];
}

static emr_status run_solve(work *w, emr_error *error)
{
    const uint32_t n_models = w->r->layers.n_models;
    take_weights(w, n_models);
    for (uint32_t m = 0; !w->failure.status && m < n_models; m++) {
        take_weights(w, m);
        if (!w->failure.status)
            add_rights(w, m);
    }
    if (w->failure.status) {
        if (error)
            *error = w->failure.error;
        return w->failure.status;
    }
    if (!fit_system_factor(&w->system, fill_system, w, w->r->ridge))
        return emr_error_format(error, EMR_ENONFINITE,
                                "a site's sums of %u inputs are beyond what a number holds",
                                (uint64_t)w->group->width);
    fit_system_solve(&w->system, w->rights->sides, w->n_sides);
    fit_for(w->host, w->n_sides, add_change, w);
    return EMR_OK;
}

static emr_status check_memory(const work *w, emr_error *error)
{
    uint64_t rows = (uint64_t)w->n_panels * FIT_TILE, side = rows * sizeof(fit_panel);
    uint64_t needed = fit_system_bytes(w->n) + 3 * w->n_sides * side + side, cap = w->host->memory_bytes;
    if (!cap || needed <= cap)
        return EMR_OK;
    return emr_error_format(error, EMR_ELIMIT,
                            "solving %u outputs of %u inputs takes %u bytes, and memory_bytes is %u",
                            (uint64_t)w->group->outputs, (uint64_t)w->group->width, needed, cap);
}

static emr_status make_work(work *w, emr_error *error)
{
    size_t rows = w->n_panels * FIT_TILE;
    const fit_host *own = &w->r->host; /* what is kept is released with it */
    emr_status status = fit_system_create(&w->system, w->host, w->n, error);
    if (status)
        return status;
    w->mean = fit_solved_create(own, w->number, w->n_sides, rows);
    w->other = fit_solved_create(own, w->number, w->n_sides, rows);
    w->rights = fit_solved_create(own, w->number, w->n_sides, rows);
    w->moments = fit_allocate(w->host, rows, sizeof *w->moments);
    return w->mean && w->other && w->rights && w->moments ? EMR_OK : fit_no_memory(error);
}

emr_status fit_regmean_solve(void *regmean, const fit_host *host, size_t number, fit_solved **solved,
                             emr_error *error)
{
    const fit_regmean *r = regmean;
    const fit_group *group = &r->layers.groups[number];
    work w = {
        .r = r, .host = host, .group = group, .number = number, .failure = {.is_noted = ATOMIC_FLAG_INIT}};
    w.n = group->width + (group->fits_bias ? 1 : 0);
    w.n_panels = fit_n_panels(w.n);
    w.n_sides = fit_n_panels(group->outputs);
    emr_status status = check_memory(&w, error);
    if (!status)
        status = make_work(&w, error);
    if (!status)
        status = run_solve(&w, error);
    fit_system_destroy(&w.system);
    fit_solved_release(w.other);
    fit_solved_release(w.rights);
    fit_release(host, w.moments);
    if (status)
        fit_solved_release(w.mean);
    else
        *solved = w.mean;
    return status;
}
