/* karcher.c - the mean of directions on the sphere (Karcher, or Riemannian), times the mean length; every
 * input counts the same. With u_i the directions of the n' inputs longer than tol:
 *
 *     m = sum u_i / n', divided by its length, or the first u_i where that is below tol
 *     at most max_iter times: s = sum (a_i / sin a_i) (u_i - cos(a_i) m) / n', a_i the angle of u_i and m;
 *         if |s| < tol, m is found; else m = cos|s| m + sin|s| s / |s|
 *     out = m * (mean of all lengths)
 *
 * Inputs whose angle is within tol of 0 or of a half turn do not pull: from there, no way is the shortest. m
 * stays in the span of the inputs, so all this is done on coefficients, with lengths and angles from the Gram
 * matrix. */
#include "method/great_circle.h"
#include "method/methods.h"
#include "method/weighted_sum.h"

#include "numeric/elementary.h"
#include "numeric/root.h"

#include <stdbool.h>
#include <string.h>

enum { KARCHER_MAX_ITER, KARCHER_TOL };
#define HALF_TURN 3.14159265358979323846

static const emr_method_parameter karcher_parameters[] = {
    {.name = "max_iter", .initial = 10, .most = 10000, .is_whole = 1},
    {.name = "tol", .initial = 1e-5, .least = 1e-12, .most = 1},
};

/* The inputs' directions, and what the search for their mean keeps of each. */
typedef struct sphere {
    double *gram;    /* of the inputs, then of their directions */
    double *lengths; /* of the inputs */
    double *mean, *step;
    double tol;
    uint32_t n, n_used; /* inputs; those longer than tol */
} sphere;

/* The matrix, and behind it lengths, mean and step. */
static uint32_t karcher_numbers(const emr_method_tensor *tensor)
{
    return emr_gram_numbers(tensor) + 3 * tensor->n_inputs;
}

static bool is_used(const sphere *s, uint32_t i)
{
    return s->lengths[i] > s->tol;
}

/* What makes a direction of an input. */
static double direction_scale(const sphere *s, uint32_t i)
{
    return is_used(s, i) ? 1 / s->lengths[i] : 0;
}

static sphere sphere_of(const emr_method_tensor *tensor, double *found)
{
    uint32_t n = tensor->n_inputs;
    double *behind = found + emr_gram_numbers(tensor);
    sphere s = {.gram = found, .lengths = behind, .mean = behind + n, .step = behind + 2 * (size_t)n, .n = n};
    s.tol = emr_method_value(tensor, 0, KARCHER_TOL);
    for (uint32_t i = 0; i < n; i++) {
        s.lengths[i] = emr_gram_length(s.gram, n, i);
        s.n_used += is_used(&s, i);
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            s.gram[(size_t)i * n + j] *= direction_scale(&s, i) * direction_scale(&s, j);
    return s;
}

/* Of a sum of directions. */
static double length_of_sum(const sphere *s, const double *weights)
{
    double square = emr_gram_square(s->gram, s->n, weights);
    return square > 0 ? emr_square_root(square) : 0;
}

static void scale_mean(const sphere *s, double scale)
{
    for (uint32_t i = 0; i < s->n; i++)
        s->mean[i] *= scale;
}

static void start_at_mean(const sphere *s)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < s->n; i++)
        s->mean[i] = is_used(s, i) ? 1 / (double)s->n_used : 0;
    double length = length_of_sum(s, s->mean);
    if (length >= s->tol) {
        scale_mean(s, 1 / length);
        return;
    }
    while (!is_used(s, first))
        first++;
    memset(s->mean, 0, s->n * sizeof *s->mean);
    s->mean[first] = 1;
}

static double cosine_to_mean(const sphere *s, uint32_t i)
{
    double sum = 0;
    for (uint32_t j = 0; j < s->n; j++)
        sum += s->gram[(size_t)i * s->n + j] * s->mean[j];
    return emr_clamp_cosine(sum);
}

/* Adds the tangent vector from the mean to direction i to the step. */
static void pull_step(const sphere *s, uint32_t i)
{
    double cosine = cosine_to_mean(s, i), angle = emr_acos(cosine);
    if (angle < s->tol || angle > HALF_TURN - s->tol)
        return;
    double pull = angle / emr_sin(angle) / (double)s->n_used;
    for (uint32_t j = 0; j < s->n; j++)
        s->step[j] -= pull * cosine * s->mean[j];
    s->step[i] += pull;
}

/* Whether there is a way to go. */
static bool move_mean(const sphere *s)
{
    memset(s->step, 0, s->n * sizeof *s->step);
    for (uint32_t i = 0; i < s->n; i++)
        if (is_used(s, i))
            pull_step(s, i);
    double angle = length_of_sum(s, s->step);
    if (angle < s->tol)
        return false;
    double half = emr_sin(angle / 2), along = emr_sin(angle) / angle;
    for (uint32_t i = 0; i < s->n; i++)
        s->mean[i] = (1 - 2 * half * half) * s->mean[i] + along * s->step[i];
    double length = length_of_sum(s, s->mean);
    scale_mean(s, length > s->tol ? 1 / length : 1);
    return true;
}

static void find_mean(const sphere *s, uint32_t max_iter)
{
    memset(s->mean, 0, s->n * sizeof *s->mean);
    if (s->n_used == 0)
        return;
    start_at_mean(s);
    for (uint32_t i = 0; i < max_iter && move_mean(s); i++)
        ;
}

static emr_status settle_karcher(const emr_method_tensor *tensor, double *found, emr_error *error)
{
    sphere s = sphere_of(tensor, found);
    double lengths = 0;
    (void)error;
    find_mean(&s, (uint32_t)emr_method_value(tensor, 0, KARCHER_MAX_ITER));
    for (uint32_t i = 0; i < s.n; i++)
        lengths += s.lengths[i];
    for (uint32_t i = 0; i < s.n; i++)
        found[i] = s.n == 1 ? 1 : s.mean[i] * direction_scale(&s, i) * (lengths / (double)s.n);
    return EMR_OK;
}

static const emr_method_stage karcher_products = {
    .size = sizeof karcher_products,
    .n_found = karcher_numbers,
    .add_sums = emr_gram_sums,
    .settle = settle_karcher,
};

const emr_method emr_method_karcher = {
    .size = sizeof emr_method_karcher,
    .name = "karcher",
    .parameters = karcher_parameters,
    .n_parameters = sizeof karcher_parameters / sizeof *karcher_parameters,
    .stages = {&karcher_products},
    .combine = emr_combine_weighed,
    .base = EMR_METHOD_BASE_INPUT,
    .max_tasks = EMR_GRAM_TASKS,
};
