/* kinship.c - what follows from a group's sums: a task's moments, and how kin every two tasks are (Hu and others,
 * Exploring Model Kinship for Merging Large Language Models, arXiv 2410.12613). */
#include "emr/statistics.h"

#include "core/bytes.h"
#include "core/structs.h"
#include "numeric/root.h"
#include "statistics/handle.h"
#include "statistics/places.h"

#include <string.h>

/* A variance below this part of the mean square is rounding. */
#define VARIANCE_MIN 0x1p-46

static double no_number(void)
{
    return emr_f64_from_bits((uint64_t)0x7ff8 << 48);
}

static bool is_number(double x)
{
    return x == x;
}

/* A host's group, which may be older than this library. */
static emr_status take_given_group(emr_statistics_group *taken, const emr_statistics_group *given,
                                   emr_error *error)
{
    if (!given)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_group: NULL");
    emr_status status = EMR_TAKE(taken, given, emr_statistics_group, error);
    if (!status && (!taken->products || !taken->distances || !taken->sums || !taken->fourths ||
                    !taken->magnitudes || !taken->largest || !taken->zeros))
        status = emr_fail(error, EMR_EINVAL, "emr_statistics_group: it was not filled");
    return status;
}

static double square_of_norm(const emr_statistics_group *g, uint32_t t)
{
    return g->products[(size_t)t * g->n_tasks + t];
}

emr_status emr_statistics_get_moments(const emr_statistics_group *given, uint32_t task,
                                      emr_task_moments *moments)
{
    emr_statistics_group g;
    if (!moments)
        return EMR_EINVAL;
    emr_status status = take_given_group(&g, given, NULL);
    if (status)
        return status;
    if (task >= g.n_tasks)
        return EMR_ENOTFOUND;
    double n = g.count ? (double)g.count : 1, square = square_of_norm(&g, task), mean = g.sums[task] / n;
    double variance = square / n - mean * mean;
    const emr_task_moments known = {.norm = emr_square_root(square),
                                    .mean = mean,
                                    .mean_magnitude = g.magnitudes[task] / n,
                                    .deviation = emr_square_root(variance > 0 ? variance : 0),
                                    .kurtosis =
                                        square > 0 ? n * (g.fourths[task] / square) / square : no_number(),
                                    .zero_share = (double)g.zeros[task] / n};
    return EMR_GIVE(moments, &known, emr_task_moments);
}

/* x / sqrt(xx yy), within the bounds that rounding may pass. */
static double normalised(double xy, double xx, double yy)
{
    double scale = emr_square_root(xx) * emr_square_root(yy), value;
    if (!(scale > 0))
        return no_number();
    value = xy / scale;
    return value > 1 ? 1 : value < -1 ? -1 : value;
}

static double covariance(const emr_statistics_group *g, uint32_t i, uint32_t j)
{
    return g->products[(size_t)i * g->n_tasks + j] - g->sums[i] * (g->sums[j] / (double)g->count);
}

/* 0 where it is no more than what rounding leaves. */
static double variance_of(const emr_statistics_group *g, uint32_t i)
{
    double variance = covariance(g, i, i);
    return variance > square_of_norm(g, i) * VARIANCE_MIN ? variance : 0;
}

static double pearson_of(const emr_statistics_group *g, uint32_t i, uint32_t j)
{
    double xx = variance_of(g, i), yy = variance_of(g, j);
    return i == j ? (xx > 0 ? 1 : no_number()) : normalised(covariance(g, i, j), xx, yy);
}

static double cosine_of(const emr_statistics_group *g, uint32_t i, uint32_t j)
{
    double xx = square_of_norm(g, i), yy = square_of_norm(g, j);
    return i == j ? (xx > 0 ? 1 : no_number()) : normalised(g->products[(size_t)i * g->n_tasks + j], xx, yy);
}

static double distance_of(const emr_statistics_group *g, uint32_t i, uint32_t j)
{
    if (g->is_rounded && (!(g->largest[i] > 0) || !(g->largest[j] > 0)))
        return no_number(); /* it was scaled by 127 / 0 */
    return emr_square_root(g->distances[(size_t)i * g->n_tasks + j]);
}

static double kinship_of(const emr_statistics_group *g, const emr_kinship_options *o, uint32_t i, uint32_t j)
{
    double value = !g->count                                 ? no_number()
                   : o->metric == EMR_KINSHIP_METRIC_PEARSON ? pearson_of(g, i, j)
                   : o->metric == EMR_KINSHIP_METRIC_COSINE  ? cosine_of(g, i, j)
                                                             : distance_of(g, i, j);
    return o->absolute && o->metric == EMR_KINSHIP_METRIC_COSINE && value < 0 ? -value : value;
}

static emr_status take_kinship_options(emr_kinship_options *taken, const emr_kinship_options *given,
                                       emr_error *error)
{
    emr_status status = EMR_TAKE(taken, given, emr_kinship_options, error);
    if (!status && taken->metric > EMR_KINSHIP_METRIC_EUCLID)
        status = emr_fail(error, EMR_EINVAL, "emr_kinship_options: unknown metric");
    return status;
}

emr_status emr_kinship(const emr_statistics_group *given, const emr_kinship_options *options, double *matrix,
                       emr_error *error)
{
    emr_statistics_group g;
    emr_kinship_options taken;
    if (!matrix)
        return emr_fail(error, EMR_EINVAL, "emr_kinship: NULL");
    emr_status status = take_given_group(&g, given, error);
    if (!status)
        status = take_kinship_options(&taken, options, error);
    for (uint32_t i = 0; !status && i < g.n_tasks; i++)
        for (uint32_t j = i; j < g.n_tasks; j++)
            matrix[(size_t)i * g.n_tasks + j] = matrix[(size_t)j * g.n_tasks + i] =
                kinship_of(&g, &taken, i, j);
    return status;
}

/* The mean over tensors of one pair. */
static double split_mean(const emr_statistics *s, const emr_kinship_options *o, uint32_t i, uint32_t j)
{
    double sum = 0, weight = 0;
    for (uint32_t k = 0; k < s->groups.n_tensors; k++) {
        emr_statistics_group g = {.size = sizeof g};
        emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_TENSOR, k, &g);
        double value = kinship_of(&g, o, i, j);
        if (is_number(value)) {
            sum += value * (double)g.count;
            weight += (double)g.count;
        }
    }
    return weight > 0 ? sum / weight : no_number();
}

emr_status emr_statistics_split_kinship(const emr_statistics *s, const emr_kinship_options *options,
                                        double *matrix, emr_error *error)
{
    emr_kinship_options taken;
    if (!s || !matrix)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_split_kinship: NULL");
    emr_status status = take_kinship_options(&taken, options, error);
    if (!status && (s->state != STATISTICS_DONE || s->options.without_tensors))
        status =
            emr_fail(error, EMR_ESTATE, "kinship by tensors is had after a run that keeps groups of tensors");
    for (uint32_t i = 0; !status && i < s->n_tasks; i++)
        for (uint32_t j = i; j < s->n_tasks; j++)
            matrix[(size_t)i * s->n_tasks + j] = matrix[(size_t)j * s->n_tasks + i] =
                split_mean(s, &taken, i, j);
    return status;
}

double emr_kinship_mean(const double *matrix, uint32_t n)
{
    double sum = 0, n_pairs = (double)n * (n ? n - 1 : 0) / 2;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++)
            sum += matrix[(size_t)i * n + j];
    return n_pairs > 0 ? sum / n_pairs : no_number();
}

int64_t emr_statistics_layer_of(const char *name)
{
    return name ? emr_place_layer(name) : -1;
}

const char *emr_statistics_kind_of(const char *name)
{
    return emr_place_kind_name(emr_place_kind(name ? name : ""));
}
