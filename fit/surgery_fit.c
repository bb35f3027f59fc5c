/* surgery_fit.c - the fit of an adapter: gradients of a batch, row by row and then unit by unit, and steps of Adam. All sums over
 * samples are in their order, so that threads and blocks do not show. */
#include "surgery.h"

#include "draw.h"
#include "finite.h"

#include <string.h>

/* A batch on its way through the adapter, a block of rows at a time. */
typedef struct batch {
    emr_surgery *s;
    const float *x;
    const float *z; /* features to come near to; NULL: `dy` is given */
    const float *dy;
    float *dx;          /* or NULL */
    const size_t *rows; /* numbers of the batch's rows; NULL: 0, 1, ... */
    size_t n;           /* rows in all */
    size_t first;       /* of the block */
    size_t n_block;
    double *gradient; /* added to; NULL: the loss alone */
} batch;

/* sum of a[k] * b[k]: eight sums by k mod 8, folded by 4, 2 and 1. */
static double dot_rows(const double *a, const double *b, size_t n)
{
    double sums[8] = {0};
    size_t whole = n - n % 8;
    for (size_t i = 0; i < whole; i += 8)
        for (size_t j = 0; j < 8; j++)
            sums[j] += a[i + j] * b[i + j];
    for (size_t j = 0; j < n - whole; j++)
        sums[j] += a[whole + j] * b[whole + j];
    for (size_t half = 4; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

/* Units that are off add nothing. */
static void add_scaled_row(double *sum, double factor, const double *values, size_t n)
{
    if (factor < 0 || factor > 0)
        for (size_t k = 0; k < n; k++)
            sum[k] += factor * values[k];
}

static size_t row_number(const batch *b, size_t i)
{
    return b->rows ? b->rows[b->first + i] : b->first + i;
}

/* y - z into `outward`, and its loss: the sum over features. */
static double compare_row(const batch *b, const float *z, const double *x, const double *hidden,
                          double *outward)
{
    const emr_surgery *s = b->s;
    const double *up = s->parameters + s->rank * s->width;
    double loss = 0;
    memset(outward, 0, s->width * sizeof *outward);
    for (size_t r = 0; r < s->rank; r++)
        add_scaled_row(outward, hidden[r], up + r * s->width, s->width);
    for (size_t k = 0; k < s->width; k++) {
        double off = x[k] - outward[k] - (double)z[k];
        outward[k] = off;
        loss += s->loss == EMR_SURGERY_LOSS_SQUARED ? off * off : off < 0 ? -off : off;
    }
    return loss;
}

/* dL/dy out of y - z. */
static void derive_loss(const batch *b, double *outward)
{
    const emr_surgery *s = b->s;
    double share = 1 / ((double)b->n * (double)s->width);
    for (size_t k = 0; k < s->width; k++) {
        double off = outward[k];
        outward[k] = s->loss == EMR_SURGERY_LOSS_SQUARED ? 2 * off * share
                     : off > 0                           ? share
                     : off < 0                           ? -share
                                                         : 0;
    }
}

/* Row i of the block, forward and back to D x. */
static void pass_row(void *arg, size_t i)
{
    const batch *b = arg;
    emr_surgery *s = b->s;
    size_t at = row_number(b, i) * s->width;
    double *x = s->inputs + i * s->width, *outward = s->outward + i * s->width,
           *hidden = s->hidden + i * s->rank, *inward = s->inward + i * s->rank;
    for (size_t k = 0; k < s->width; k++)
        x[k] = (double)b->x[at + k];
    for (size_t r = 0; r < s->rank; r++) {
        double a = dot_rows(s->parameters + r * s->width, x, s->width);
        hidden[r] = a > 0 ? a : 0;
    }
    if (b->z)
        s->row_loss[i] = compare_row(b, b->z + at, x, hidden, outward);
    if (!b->gradient)
        return;
    if (b->z)
        derive_loss(b, outward);
    else
        for (size_t k = 0; k < s->width; k++)
            outward[k] = (double)b->dy[at + k];
    for (size_t r = 0; r < s->rank; r++)
        inward[r] =
            hidden[r] > 0 ? -dot_rows(s->parameters + (s->rank + r) * s->width, outward, s->width) : 0;
}

/* Unit r's gradients, over the block's rows in order. */
static void add_unit(void *arg, size_t r)
{
    const batch *b = arg;
    const emr_surgery *s = b->s;
    double *down = b->gradient + r * s->width, *up = down + s->rank * s->width;
    for (size_t i = 0; i < b->n_block; i++) {
        add_scaled_row(down, s->inward[i * s->rank + r], s->inputs + i * s->width, s->width);
        add_scaled_row(up, -s->hidden[i * s->rank + r], s->outward + i * s->width, s->width);
    }
}

static void write_dx(void *arg, size_t i)
{
    const batch *b = arg;
    const emr_surgery *s = b->s;
    double *sum = s->outward + i * s->width;
    float *dx = b->dx + (b->first + i) * s->width;
    for (size_t r = 0; r < s->rank; r++)
        add_scaled_row(sum, s->inward[i * s->rank + r], s->parameters + r * s->width, s->width);
    for (size_t k = 0; k < s->width; k++)
        dx[k] = (float)sum[k];
}

/* Shared out where threads are worth waking. */
static void share_batch(batch *b, size_t n, void (*fn)(void *arg, size_t i))
{
    if (b->n_block * b->s->rank * b->s->width >= 1 << 17)
        fit_for(&b->s->host, n, fn, b);
    else
        for (size_t i = 0; i < n; i++)
            fn(b, i);
}

/* The batch's loss, 0 where it has no z. */
static double pass_batch(batch *b)
{
    double loss = 0;
    for (b->first = 0; b->first < b->n; b->first += b->n_block) {
        b->n_block = b->n - b->first < SURGERY_BLOCK ? b->n - b->first : SURGERY_BLOCK;
        share_batch(b, b->n_block, pass_row);
        if (b->gradient)
            share_batch(b, b->s->rank, add_unit);
        if (b->dx)
            share_batch(b, b->n_block, write_dx);
        for (size_t i = 0; b->z && i < b->n_block; i++)
            loss += b->s->row_loss[i];
    }
    return loss / ((double)b->n * (double)b->s->width);
}

static void step_parameters(emr_surgery *s, const double *gradient)
{
    fit_adam_step(&s->adam, &s->time, s->parameters, s->m, s->v, gradient, 2 * s->rank * s->width);
}

static void clear_gradient(const emr_surgery *s, double *gradient)
{
    memset(gradient, 0, 2 * s->rank * s->width * sizeof *gradient);
}

/* The batch's loss before the step. */
static double train_batch(batch *b)
{
    clear_gradient(b->s, b->s->gradient);
    b->gradient = b->s->gradient;
    double loss = pass_batch(b);
    step_parameters(b->s, b->s->gradient);
    return loss;
}

static emr_status check_samples(const emr_surgery *s, const char *x_name, const float *x,
                                const char *other_name, const float *other, size_t n, emr_error *error)
{
    const char *missing = !s ? "emr_surgery" : !x ? x_name : !other ? other_name : NULL;
    if (missing || !n)
        return emr_error_format(error, EMR_EINVAL, "%s: %s", missing ? missing : x_name,
                                missing ? "NULL" : "there are no rows");
    emr_status status = fit_check_finite(x_name, x, n, s->width, s->width, NULL, error);
    return status ? status : fit_check_finite(other_name, other, n, s->width, s->width, NULL, error);
}

emr_status emr_surgery_train(emr_surgery *surgery, const float *x, const float *z, size_t n, double *loss,
                             emr_error *error)
{
    emr_status status =
        check_samples(surgery, "emr_surgery_train: x", x, "emr_surgery_train: z", z, n, error);
    if (status)
        return status;
    batch b = {.s = surgery, .x = x, .z = z, .n = n};
    double before = train_batch(&b);
    fit_surgery_store(surgery);
    if (loss)
        *loss = before;
    return EMR_OK;
}

emr_status emr_surgery_backward(emr_surgery *surgery, const float *x, const float *dy, size_t n, float *dx,
                                emr_error *error)
{
    emr_status status =
        check_samples(surgery, "emr_surgery_backward: x", x, "emr_surgery_backward: dy", dy, n, error);
    if (status)
        return status;
    batch b = {.s = surgery, .x = x, .dy = dy, .dx = dx, .n = n, .gradient = surgery->added};
    pass_batch(&b);
    surgery->has_added = true;
    return EMR_OK;
}

emr_status emr_surgery_step(emr_surgery *surgery, emr_error *error)
{
    if (!surgery)
        return emr_error_format(error, EMR_EINVAL, "emr_surgery_step: NULL");
    if (!surgery->has_added)
        return emr_error_format(error, EMR_ESTATE,
                                "emr_surgery_step: there is no gradient: call emr_surgery_backward first");
    step_parameters(surgery, surgery->added);
    fit_surgery_store(surgery);
    clear_gradient(surgery, surgery->added);
    surgery->has_added = false;
    return EMR_OK;
}

static emr_status run_steps(emr_surgery *s, const float *x, const float *z, fit_drawing *d, uint64_t n_steps,
                            emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t i = 0; i < n_steps; i++) {
        status = fit_progress(&s->host, i, n_steps, "fitting", error);
        if (status)
            break;
        batch b = {.s = s, .x = x, .z = z, .rows = d->rows, .n = d->n_batch};
        fit_draw_batch(d);
        train_batch(&b);
    }
    fit_surgery_store(s);
    return status ? status : fit_progress(&s->host, n_steps, n_steps, "fitting", error);
}

emr_status emr_surgery_fit(emr_surgery *surgery, const float *x, const float *z, size_t n,
                           const emr_surgery_fit_options *options, emr_surgery_report *report,
                           emr_error *error)
{
    emr_surgery_fit_options o;
    emr_surgery_report found = {.size = sizeof found};
    emr_status status = FIT_TAKE(&o, options, emr_surgery_fit_options, seed, error);
    if (!status && report && FIT_GIVE(report, &found, emr_surgery_report, n_steps))
        status = emr_error_format(error, EMR_EINVAL, "emr_surgery_report: size is not set");
    if (!status)
        status = check_samples(surgery, "emr_surgery_fit: x", x, "emr_surgery_fit: z", z, n, error);
    if (status)
        return status;
    batch all = {.s = surgery, .x = x, .z = z, .n = n};
    fit_drawing d;
    found.n_steps = o.n_steps ? o.n_steps : 1000;
    found.loss_before = report ? pass_batch(&all) : 0;
    status = fit_drawing_create(&d, &surgery->host, n, o.n_batch ? o.n_batch : 16, o.seed)
                 ? run_steps(surgery, x, z, &d, found.n_steps, error)
                 : fit_no_memory(error);
    fit_drawing_destroy(&d, &surgery->host);
    if (!status && report) {
        found.loss_after = pass_batch(&all);
        FIT_GIVE(report, &found, emr_surgery_report, n_steps);
    }
    return status;
}
