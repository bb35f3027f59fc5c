/* ensemble_network.c - the network at one sample: h of x and of every key, scores, and the way back. With dL/dh known,
 *
 *     u = U b, b = f(D v)      dL/du = that of N      dL/dU = dL/du b^T      dL/d(D v) = f'(D v) (U^T dL/du)
 *
 * A layer's gradient is added up sample by sample, source by source; what threads share out is its columns. */
#include "ensemble.h"

#include "emr/elementary.h"

#include <math.h>

enum { ROWS = 8, COLUMNS = 256 }; /* that are worked on together */

#define EPSILON 1e-5

/* A side's numbers of one input. */
typedef struct trace {
    const ensemble_side *side;
    const float *input;
    double *active; /* f(D v), as many as D has rows */
    double *slope;  /* f'(D v); after the way back dL/d(D v) */
    double *h;      /* `shared`, as all that follow */
    double *dh;
    double *unit; /* U f(D v), brought to mean 0 and deviation 1; without N it is h */
    double *du;   /* dL/d(U f(D v)); without N it is dh */
    double *inverse;
} trace;

static size_t trace_length(const emr_ensemble *e, int side)
{
    return 2 * e->sides[side].matrices[DOWN].rows + (e->has_norm ? 4 * e->shared + 1 : 2 * e->shared);
}

size_t fit_ensemble_slot_length(const emr_ensemble *e, size_t n_sources)
{
    return trace_length(e, SIDE_X) + n_sources * trace_length(e, SIDE_KEY);
}

/* Number 0 is x, number 1 + j is the key of source j. */
static trace find_trace(const ensemble_pass *p, size_t slot, size_t number)
{
    const emr_ensemble *e = p->ensemble;
    const emr_ensemble_batch *batch = &p->samples->batch;
    const ensemble_side *side = &e->sides[number ? SIDE_KEY : SIDE_X];
    const size_t row = ensemble_row(p->samples, p->first + slot), width = side->matrices[DOWN].columns,
                 hidden = side->matrices[DOWN].rows;
    double *at = p->traces + slot * p->slot_length;
    if (number)
        at += trace_length(e, SIDE_X) + (number - 1) * trace_length(e, SIDE_KEY);
    trace t = {.side = side, .active = at, .slope = at + hidden, .h = at + 2 * hidden};
    t.input = number ? batch->keys + (row * batch->n_sources + number - 1) * width : batch->x + row * width;
    t.dh = t.h + e->shared;
    t.unit = e->has_norm ? t.dh + e->shared : t.h;
    t.du = e->has_norm ? t.unit + e->shared : t.dh;
    t.inverse = t.du + e->shared;
    return t;
}

static double dot_hidden(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static inline void add_rows(const double *matrix, size_t stride, size_t n_rows, const double *v, size_t n,
                            double *out)
{
    double sums[ROWS];
    for (size_t r = 0; r < n_rows; r++)
        sums[r] = out[r];
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < n_rows; r++)
            sums[r] += matrix[r * stride + i] * v[i];
    for (size_t r = 0; r < n_rows; r++)
        out[r] = sums[r];
}

/* out += M v, of n of M's columns; each sum in order. */
static void add_columns(const double *matrix, size_t stride, size_t n_rows, const double *v, size_t n,
                        double *out)
{
    size_t r = 0;
    for (; r + ROWS <= n_rows; r += ROWS)
        add_rows(matrix + r * stride, stride, ROWS, v, n, out + r);
    add_rows(matrix + r * stride, stride, n_rows - r, v, n, out + r);
}

static void apply_activation(emr_ensemble_activation f, double *active, double *slope, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double a = active[i], e = emr_exp(a < 0 ? a : -a), s = a < 0 ? e / (1 + e) : 1 / (1 + e);
        bool is_relu = f == EMR_ENSEMBLE_ACTIVATION_RELU;
        active[i] = is_relu ? (a > 0 ? a : 0) : a * s;
        slope[i] = is_relu ? a > 0 : s * (1 + a * (1 - s));
    }
}

/* NaN where the variance overflows. */
static void normalise_hidden(const emr_ensemble *e, const trace *t)
{
    const size_t n = e->shared;
    const double *scale = e->parameters + t->side->scale, *shift = e->parameters + t->side->shift;
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++)
        mean += t->unit[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (t->unit[i] - mean) * (t->unit[i] - mean);
    variance /= (double)n;
    *t->inverse = variance < INFINITY ? 1 / sqrt(variance + EPSILON) : NAN;
    for (size_t i = 0; i < n; i++) {
        t->unit[i] = (t->unit[i] - mean) * *t->inverse;
        t->h[i] = t->unit[i] * scale[i];
        if (t->side == &e->sides[SIDE_X])
            t->h[i] += shift[i];
    }
}

static void pass_side(const emr_ensemble *e, const trace *t)
{
    const ensemble_matrix *down = &t->side->matrices[DOWN], *up = &t->side->matrices[UP];
    double wide[COLUMNS];
    for (size_t r = 0; r < down->rows; r++)
        t->active[r] = 0;
    for (size_t first = 0; first < down->columns; first += COLUMNS) {
        size_t some = down->columns - first < COLUMNS ? down->columns - first : COLUMNS;
        for (size_t i = 0; i < some; i++)
            wide[i] = (double)t->input[first + i];
        add_columns(e->parameters + down->begin + first, down->columns, down->rows, wide, some, t->active);
    }
    apply_activation(e->activation, t->active, t->slope, down->rows);
    for (size_t r = 0; r < up->rows; r++)
        t->unit[r] = 0;
    add_columns(e->parameters + up->begin, up->columns, up->rows, t->active, up->columns, t->unit);
    if (e->has_norm)
        normalise_hidden(e, t);
}

void fit_ensemble_forward(const ensemble_pass *p, size_t slot)
{
    const emr_ensemble *e = p->ensemble;
    const size_t n = p->samples->batch.n_sources;
    const trace x = find_trace(p, slot, 0);
    double *scores = p->scores + (p->first + slot) * n;
    pass_side(e, &x);
    for (size_t j = 0; j < n; j++) {
        trace key = find_trace(p, slot, 1 + j);
        pass_side(e, &key);
        scores[j] = dot_hidden(x.h, key.h, e->shared) / e->temperature;
    }
}

/* du = (g - mean(g) - unit mean(g unit)) / deviation, g = scale dh. */
static void normalise_back(const emr_ensemble *e, const trace *t)
{
    const size_t n = e->shared;
    const double *scale = e->parameters + t->side->scale;
    double mean = 0, slope = 0;
    for (size_t i = 0; i < n; i++) {
        t->du[i] = scale[i] * t->dh[i];
        mean += t->du[i];
        slope += t->du[i] * t->unit[i];
    }
    mean /= (double)n;
    slope /= (double)n;
    for (size_t i = 0; i < n; i++)
        t->du[i] = *t->inverse * (t->du[i] - mean - t->unit[i] * slope);
}

static void pass_back_side(const emr_ensemble *e, const trace *t)
{
    const ensemble_matrix *up = &t->side->matrices[UP];
    if (e->has_norm)
        normalise_back(e, t);
    for (size_t c = 0; c < up->columns; c++) {
        double sum = 0;
        for (size_t r = 0; r < up->rows; r++)
            sum += e->parameters[up->begin + r * up->columns + c] * t->du[r];
        t->slope[c] *= sum;
    }
}

/* From the gradient of the sample's loss by the scores to that of the mean by what both layers give. */
void fit_ensemble_backward(const ensemble_pass *p, size_t slot)
{
    const emr_ensemble *e = p->ensemble;
    const size_t n = p->samples->batch.n_sources;
    const double *scores = p->scores + (p->first + slot) * n;
    const trace x = find_trace(p, slot, 0);
    for (size_t i = 0; i < e->shared; i++)
        x.dh[i] = 0;
    for (size_t j = 0; j < n; j++) {
        const trace key = find_trace(p, slot, 1 + j);
        double g = scores[j] / e->temperature / (double)p->samples->n;
        for (size_t i = 0; i < e->shared; i++) {
            x.dh[i] += g * key.h[i];
            key.dh[i] = g * x.h[i];
        }
        pass_back_side(e, &key);
    }
    pass_back_side(e, &x);
}

/* Columns [first, first + n) of both layers. */
static void add_down(const ensemble_matrix *m, const trace *t, size_t first, size_t n, double *gradient)
{
    for (size_t r = 0; r < m->rows; r++)
        for (size_t i = first; i < first + n; i++)
            gradient[m->begin + r * m->columns + i] += t->slope[r] * (double)t->input[i];
}

static void add_up(const ensemble_matrix *m, const trace *t, size_t first, size_t n, double *gradient)
{
    for (size_t r = 0; r < m->rows; r++)
        for (size_t i = first; i < first + n; i++)
            gradient[m->begin + r * m->columns + i] += t->du[r] * t->active[i];
}

static void add_norm(const emr_ensemble *e, const trace *t, double *gradient)
{
    for (size_t i = 0; i < e->shared; i++) {
        gradient[t->side->scale + i] += t->dh[i] * t->unit[i];
        if (t->side == &e->sides[SIDE_X])
            gradient[t->side->shift + i] += t->dh[i];
    }
}

static size_t n_blocks(const ensemble_matrix *m)
{
    return (m->columns + COLUMNS - 1) / COLUMNS;
}

size_t fit_ensemble_n_jobs(const emr_ensemble *e)
{
    size_t n = 0;
    for (int side = 0; side < SIDES; side++)
        for (int which = 0; which < MATRICES; which++)
            n += n_blocks(&e->sides[side].matrices[which]);
    return n;
}

/* The matrix and the block of columns that a job is about. */
static const ensemble_matrix *find_job(const emr_ensemble *e, size_t *job, int *side, int *which)
{
    for (int i = 0;; i++) {
        *side = i / MATRICES;
        *which = i % MATRICES;
        const ensemble_matrix *m = &e->sides[*side].matrices[*which];
        if (*job < n_blocks(m))
            return m;
        *job -= n_blocks(m);
    }
}

void fit_ensemble_add_gradient(const ensemble_pass *p, size_t n_slots, size_t job)
{
    const emr_ensemble *e = p->ensemble;
    int side, which;
    const ensemble_matrix *m = find_job(e, &job, &side, &which);
    const size_t first = job * COLUMNS, n = m->columns - first < COLUMNS ? m->columns - first : COLUMNS;
    const size_t begin = side == SIDE_X ? 0 : 1, end = side == SIDE_X ? 1 : 1 + p->samples->batch.n_sources;
    for (size_t slot = 0; slot < n_slots; slot++)
        for (size_t number = begin; number < end; number++) {
            const trace t = find_trace(p, slot, number);
            if (which == DOWN)
                add_down(m, &t, first, n, p->gradient);
            else
                add_up(m, &t, first, n, p->gradient);
            if (which == UP && first == 0 && e->has_norm)
                add_norm(e, &t, p->gradient);
        }
}
