/* kinship_report.c - what `emr kinship` found: for people and as JSON. */
#include "kinship.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_COLUMN = 14 };

const char *metric_name(emr_kinship_metric metric)
{
    return metric == EMR_KINSHIP_METRIC_PEARSON  ? "pearson"
           : metric == EMR_KINSHIP_METRIC_COSINE ? "cosine"
                                                 : "euclid";
}

static const char *per_words_of(emr_statistics_scope per)
{
    return per == EMR_STATISTICS_SCOPE_MODEL    ? "model"
           : per == EMR_STATISTICS_SCOPE_TENSOR ? "tensor"
           : per == EMR_STATISTICS_SCOPE_LAYER  ? "layer"
                                                : "kind";
}

const char *kinship_words(const arguments *a)
{
    bool split = (a->published & PUBLISHED_SPLIT) != 0;
    if (a->metric == EMR_KINSHIP_METRIC_EUCLID)
        return split ? "mean distance over tensors" : "distance of task vectors";
    if (a->metric == EMR_KINSHIP_METRIC_COSINE)
        return split                               ? "mean cosine over tensors"
               : a->published & PUBLISHED_ABSOLUTE ? "cosine without its sign"
                                                   : "cosine of task vectors";
    return split ? "mean correlation over tensors" : "correlation of task vectors";
}

/* ---- JSON */

static json_t *number_json(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *matrix_json(const double *matrix, uint32_t n)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_t *row = json_array();
        for (uint32_t k = 0; k < n; k++)
            json_array_append_new(row, number_json(matrix[(size_t)i * n + k]));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* Of elements where both are not 0, the part with the same sign. */
static double sign_agreement(const emr_statistics_group *g, uint32_t i, uint32_t k)
{
    size_t at = (size_t)i * g->n_tasks + k;
    return g->both[at] ? (double)g->same_signs[at] / (double)g->both[at] : (double)NAN;
}

static json_t *agreement_json(const emr_statistics_group *g)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < g->n_tasks; i++) {
        json_t *row = json_array();
        for (uint32_t k = 0; k < g->n_tasks; k++)
            json_array_append_new(row, number_json(sign_agreement(g, i, k)));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *task_moments_json(const emr_statistics_group *g, uint32_t t, const char *name)
{
    emr_task_moments m = EMR_INIT(emr_task_moments);
    emr_statistics_get_moments(g, t, &m);
    json_t *row = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "name", text_json(name), "norm",
                            number_json(m.norm), "mean", number_json(m.mean), "mean_magnitude",
                            number_json(m.mean_magnitude), "deviation", number_json(m.deviation), "kurtosis",
                            number_json(m.kurtosis), "largest", number_json(g->largest[t]), "zeros",
                            (json_int_t)g->zeros[t], "zeroed", (json_int_t)g->nonfinite[t]);
    if (g->quantiles) {
        json_t *quantiles = json_array();
        for (uint32_t k = 0; k < g->n_quantiles; k++)
            json_array_append_new(quantiles, number_json(g->quantiles[(size_t)t * g->n_quantiles + k]));
        json_object_set_new(row, "quantiles", quantiles);
    }
    return row;
}

static json_t *group_json(const kinship_job *j, const emr_statistics_group *g, const double *matrix)
{
    json_t *tasks = json_array();
    for (uint32_t t = 0; t < g->n_tasks; t++)
        json_array_append_new(tasks, task_moments_json(g, t, j->names[t]));
    return json_pack(
        "{s:o, s:I, s:i, s:o, s:o, s:o, s:I, s:I, s:o}", "name", text_json(g->name), "params",
        (json_int_t)g->count, "tensors", (int)g->n_tensors, "kinship", matrix_json(matrix, g->n_tasks),
        "mean", number_json(emr_kinship_mean(matrix, g->n_tasks)), "sign_agreement", agreement_json(g),
        "conflicts", (json_int_t)g->conflicts, "unchanged", (json_int_t)g->unchanged, "tasks", tasks);
}

static json_t *published_json(const arguments *a)
{
    static const char *const words[] = {"absolute", "rows", "split", "low-precision", "missing"};
    json_t *list = json_array();
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (a->published & 1u << i)
            json_array_append_new(list, json_string(words[i]));
    return list;
}

static json_t *order_json(const kinship_job *j, const size_t *order)
{
    json_t *list = json_array();
    for (uint32_t t = 0; t < j->n_tasks; t++)
        json_array_append_new(list, text_json(j->names[order[t]]));
    return list;
}

/* ---- groups */

/* The kinship of the i-th group: for the model what was computed before. */
static emr_status find_group(const kinship_job *j, const arguments *a, uint32_t i, emr_statistics_group *g,
                             double *matrix, emr_error *error)
{
    const emr_kinship_options options = kinship_options(a);
    *g = (emr_statistics_group){.size = sizeof *g};
    emr_status status = emr_statistics_get_group(j->statistics, a->per, i, g);
    if (!status && a->per == EMR_STATISTICS_SCOPE_MODEL)
        memcpy(matrix, j->matrix, (size_t)j->n_tasks * j->n_tasks * sizeof *matrix);
    else if (!status)
        status = emr_kinship(g, &options, matrix, error);
    return status;
}

static emr_status print_groups_json(const kinship_job *j, const arguments *a, const size_t *order,
                                    double *matrix, emr_error *error)
{
    json_t *groups = json_array();
    emr_statistics_group g;
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < emr_statistics_n_groups(j->statistics, a->per); i++) {
        status = find_group(j, a, i, &g, matrix, error);
        if (!status)
            json_array_append_new(groups, group_json(j, &g, matrix));
    }
    json_t *root =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "metric", metric_name(a->metric), "per",
                  per_words_of(a->per), "published", published_json(a), "order", order_json(j, order),
                  "groups", groups, "heat_map", a->output ? text_json(a->output) : json_null());
    if (status) {
        json_decref(root);
        return status;
    }
    return print_json(root) ? EMR_EIO : EMR_OK;
}

/* ---- text */

static void print_value(double x, bool is_distance)
{
    if (isnan(x))
        printf(" %9s", "none");
    else
        printf(is_distance ? " %9.4g" : " %9.4f", x);
}

/* A name in a column, cut. */
static void print_column_name(const char *name)
{
    char cut[10];
    snprintf(cut, sizeof cut, "%.9s", name);
    for (size_t n = strlen(cut); n && name[n] && ((unsigned char)name[n] & 0xc0) == 0x80;)
        cut[--n] = '\0'; /* not within a character */
    printf(" ");
    for (size_t n = strlen(cut); n < 9; n++)
        printf(" ");
    print_name(cut, 0);
}

static void print_matrix(const kinship_job *j, const double *matrix, bool is_distance)
{
    printf("%*s", NAME_COLUMN, "");
    for (uint32_t t = 0; t < j->n_tasks; t++)
        print_column_name(j->names[t]);
    printf("\n");
    for (uint32_t i = 0; i < j->n_tasks; i++) {
        print_name(j->names[i], NAME_COLUMN);
        for (uint32_t k = 0; k < j->n_tasks; k++)
            print_value(matrix[(size_t)i * j->n_tasks + k], is_distance);
        printf("\n");
    }
}

static void print_moments_head(const arguments *a)
{
    printf("%*s %10s %10s %10s %10s %8s", NAME_COLUMN, "", "norm", "mean |x|", "largest", "kurtosis",
           "zeros");
    for (uint32_t k = 0; k < a->n_quantiles; k++)
        printf(" %8.4g%% ", 100 * a->quantiles[k]);
    printf("\n");
}

static void print_task_moments(const kinship_job *j, const emr_statistics_group *g)
{
    for (uint32_t t = 0; t < g->n_tasks; t++) {
        emr_task_moments m = EMR_INIT(emr_task_moments);
        emr_statistics_get_moments(g, t, &m);
        print_name(j->names[t], NAME_COLUMN);
        printf(" %10.4g %10.4g %10.4g", m.norm, m.mean_magnitude, g->largest[t]);
        if (isnan(m.kurtosis))
            printf(" %10s", "none");
        else
            printf(" %10.4g", m.kurtosis);
        printf(" %7.2f%%", 100 * m.zero_share);
        for (uint32_t k = 0; k < g->n_quantiles; k++)
            printf(" %10.4g", g->quantiles[(size_t)t * g->n_quantiles + k]);
        printf("\n");
    }
}

static double percent_of(uint64_t part, uint64_t count)
{
    return count ? 100 * (double)part / (double)count : 0;
}

static void print_model(const kinship_job *j, const arguments *a, const emr_statistics_group *g,
                        const double *matrix)
{
    printf("%s, %u task%s, %llu parameters in %u tensors\n\n", kinship_words(a), j->n_tasks,
           j->n_tasks == 1 ? "" : "s", (unsigned long long)g->count, g->n_tensors);
    print_matrix(j, matrix, a->metric == EMR_KINSHIP_METRIC_EUCLID);
    printf("\nmean of pairs: ");
    print_value(emr_kinship_mean(matrix, j->n_tasks), a->metric == EMR_KINSHIP_METRIC_EUCLID);
    printf("; signs conflict in %.2f%% of parameters, no task changes %.2f%%\n\n",
           percent_of(g->conflicts, g->count), percent_of(g->unchanged, g->count));
    print_moments_head(a);
    print_task_moments(j, g);
}

/* The pair with the smallest (`sign` 1) or largest value; false: there is none. */
static bool find_extreme(const double *matrix, uint32_t n, double sign, uint32_t pair[2])
{
    bool found = false;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n; k++) {
            double value = sign * matrix[(size_t)i * n + k];
            if (!isnan(value) && (!found || value < sign * matrix[(size_t)pair[0] * n + pair[1]])) {
                pair[0] = i;
                pair[1] = k;
                found = true;
            }
        }
    return found;
}

static void print_pair(const kinship_job *j, const double *matrix, double sign, bool is_distance)
{
    uint32_t pair[2] = {0, 0};
    if (!find_extreme(matrix, j->n_tasks, sign, pair))
        return;
    print_value(matrix[(size_t)pair[0] * j->n_tasks + pair[1]], is_distance);
    printf(" ");
    print_name(j->names[pair[0]], 0);
    printf(" ");
    print_name(j->names[pair[1]], 0);
}

/* A line a group. */
static void print_group_line(const kinship_job *j, const arguments *a, const emr_statistics_group *g,
                             const double *matrix)
{
    bool is_distance = a->metric == EMR_KINSHIP_METRIC_EUCLID;
    print_name(*g->name ? g->name : "(no layer)", 40);
    printf(" %12llu", (unsigned long long)g->count);
    print_value(emr_kinship_mean(matrix, j->n_tasks), is_distance);
    printf(" %8.2f%%", percent_of(g->conflicts, g->count));
    print_pair(j, matrix, is_distance ? -1 : 1, is_distance);
    printf(" ");
    print_pair(j, matrix, is_distance ? 1 : -1, is_distance);
    printf("\n");
}

static emr_status print_groups(const kinship_job *j, const arguments *a, double *matrix, emr_error *error)
{
    emr_statistics_group g;
    emr_status status = EMR_OK;
    if (a->per)
        printf("%-40s %12s %9s %9s %9s\n", per_words_of(a->per), "parameters", "mean", "conflict",
               "  least kin, most kin");
    for (uint32_t i = 0; !status && i < emr_statistics_n_groups(j->statistics, a->per); i++) {
        status = find_group(j, a, i, &g, matrix, error);
        if (!status && a->per)
            print_group_line(j, a, &g, matrix);
        else if (!status)
            print_model(j, a, &g, matrix);
    }
    return status;
}

emr_status print_kinship(const kinship_job *j, const arguments *a, const size_t *order, emr_error *error)
{
    double *matrix = calloc((size_t)j->n_tasks * j->n_tasks + 1, sizeof *matrix);
    if (!matrix)
        return EMR_ENOMEM;
    emr_status status = a->json    ? print_groups_json(j, a, order, matrix, error)
                        : a->quiet ? EMR_OK
                                   : print_groups(j, a, matrix, error);
    free(matrix);
    return status;
}

emr_status print_kinship_plan(const kinship_job *j, const arguments *a, emr_error *error)
{
    emr_statistics_plan p = EMR_INIT(emr_statistics_plan);
    char in[32], peak[32];
    emr_status status = emr_statistics_get_plan(j->statistics, &p, error);
    if (status)
        return status;
    if (a->json)
        return print_json(json_pack("{s:I, s:i, s:i, s:i, s:i, s:I, s:I}", "params", (json_int_t)p.params,
                                    "tensors", (int)p.n_tensors, "left_out", (int)p.n_left_out, "layers",
                                    (int)p.n_layers, "kinds", (int)p.n_kinds, "bytes_in",
                                    (json_int_t)p.bytes_in, "peak_memory", (json_int_t)p.peak_memory))
                   ? EMR_EIO
                   : EMR_OK;
    printf("%llu parameters in %u tensors count, %u tensors do not; %u layers, %u kinds; reads %s, works in "
           "%s\n",
           (unsigned long long)p.params, p.n_tensors, p.n_left_out, p.n_layers, p.n_kinds,
           size_text(p.bytes_in, in), size_text(p.peak_memory, peak));
    return EMR_OK;
}
