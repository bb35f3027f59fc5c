/* page_vectors.c - statistics of task vectors, by layer, kind and tensor, and how like the tasks are. */
#include "page.h"

#include "heatmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Results of every tensor that are not worth more memory than this. */
static const uint64_t TENSOR_RESULTS_MOST = 64 << 20;

static emr_status group_mean(const emr_statistics_group *g, double *matrix, double *mean, emr_error *error)
{
    emr_status status = emr_kinship(g, NULL, matrix, error);
    *mean = status ? (double)NAN : emr_kinship_mean(matrix, g->n_tasks);
    return status;
}

static void add_vectors(const page *p, page_places *places, uint32_t at, const emr_statistics_group *g,
                        double mean)
{
    page_place *place = &places->all[at];
    place->elements += (double)g->count;
    place->conflicts += (double)g->conflicts;
    place->unchanged += (double)g->unchanged;
    if (!isnan(mean)) {
        place->kinship += mean * (double)g->count;
        place->kinship_weight += (double)g->count;
    }
    for (uint32_t t = 0; t < p->n_tasks; t++) {
        page_cell *cell = page_cell_of(p, places, at, t);
        cell->elements += (double)g->count;
        cell->squares += g->products[(size_t)t * p->n_tasks + t];
        cell->fourths += g->fourths[t];
        cell->zeros += (double)g->zeros[t];
    }
}

static emr_status gather_scope(page *p, emr_statistics_scope scope, double *matrix, emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_statistics_n_groups(p->models.statistics, scope); i++) {
        emr_statistics_group g = EMR_INIT(emr_statistics_group);
        double mean = (double)NAN;
        status = emr_statistics_get_group(p->models.statistics, scope, i, &g);
        if (!status)
            status = group_mean(&g, matrix, &mean, error);
        if (!status && scope == EMR_STATISTICS_SCOPE_LAYER)
            add_vectors(p, &p->layers, page_column_of(&p->layers, g.layer), &g, mean);
        else if (!status)
            add_vectors(p, &p->kinds, page_kind_of(&p->kinds, g.name), &g, mean);
    }
    return status;
}

/* ---- tensors that are shown */

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(page_tensor *const *)a)->whole_name, (*(page_tensor *const *)b)->whole_name);
}

/* The mean change of a parameter, over all tasks: root of the mean square. */
static double group_change(const emr_statistics_group *g)
{
    double squares = 0;
    for (uint32_t t = 0; t < g->n_tasks; t++)
        squares += g->products[(size_t)t * g->n_tasks + t];
    return sqrt(page_share(squares, (double)g->count * g->n_tasks));
}

static emr_status gather_shown(page *p, double *matrix, emr_error *error)
{
    page_tensor *sorted[PAGE_ROWS];
    emr_status status = EMR_OK;
    for (uint32_t i = 0; i < p->n_shown; i++)
        sorted[i] = &p->tensors[i];
    qsort(sorted, p->n_shown, sizeof *sorted, compare_names);
    for (uint32_t i = 0;
         !status && i < emr_statistics_n_groups(p->models.statistics, EMR_STATISTICS_SCOPE_TENSOR); i++) {
        emr_statistics_group g = EMR_INIT(emr_statistics_group);
        status = emr_statistics_get_group(p->models.statistics, EMR_STATISTICS_SCOPE_TENSOR, i, &g);
        const page_tensor wanted = {.whole_name = g.name}, *key = &wanted;
        page_tensor **found =
            status ? NULL : bsearch(&key, sorted, p->n_shown, sizeof *sorted, compare_names);
        if (!found)
            continue;
        (*found)->conflicts = page_share((double)g.conflicts, (double)g.count);
        (*found)->change = group_change(&g);
        status = group_mean(&g, matrix, &(*found)->kinship, error);
    }
    return status;
}

/* ---- all */

emr_status page_run_statistics(page *p, emr_error *error)
{
    arguments own = *p->a;
    uint64_t numbers = 5 * (uint64_t)p->n_tasks * p->n_tasks * sizeof(double);
    p->without_tensors =
        numbers && emr_model_n_tensors(p->models.inputs.base) > TENSOR_RESULTS_MOST / numbers;
    own.per = p->without_tensors ? EMR_STATISTICS_SCOPE_MODEL : EMR_STATISTICS_SCOPE_TENSOR;
    emr_status status = create_statistics(&p->models, &own, error);
    return status ? status : emr_statistics_run(p->models.statistics, error);
}

emr_status page_gather_vectors(page *p, emr_error *error)
{
    double *matrix = calloc((size_t)p->n_tasks * p->n_tasks + 1, sizeof *matrix);
    emr_status status = matrix ? compute_matrix(&p->models, p->a, error) : EMR_ENOMEM;
    if (!status && !order_by_likeness(p->models.matrix, p->n_tasks, false, p->order))
        status = EMR_ENOMEM;
    if (!status)
        status = gather_scope(p, EMR_STATISTICS_SCOPE_LAYER, matrix, error);
    if (!status)
        status = gather_scope(p, EMR_STATISTICS_SCOPE_KIND, matrix, error);
    if (!status && !p->without_tensors)
        status = gather_shown(p, matrix, error);
    free(matrix);
    return status;
}
