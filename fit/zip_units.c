/* zip_units.c - greedy zipping: the most similar pair, of equal ones the first, becomes one, which is as similar to others as the less
 * similar of the two, times a factor. Of each row the best column is remembered. */
#include "zip.h"

#include <math.h>
#include <string.h>

typedef struct zipping {
    double *similarity;
    size_t total;
    uint32_t *best;   /* of each row that is left, its most similar column */
    uint32_t *origin; /* which model's it counts as */
    uint32_t *into;   /* what a row that is gone went into; itself where it is left */
    int64_t *budget;  /* merges of two of its own that a model has left */
    double shrink;
} zipping;

static double *element(const zipping *z, size_t i, size_t j)
{
    return &z->similarity[i * z->total + j];
}

static bool is_left(const zipping *z, size_t i)
{
    return z->into[i] == i;
}

static void find_best(zipping *z, size_t i)
{
    size_t best = i;
    for (size_t j = 0; j < z->total; j++)
        if (j != i && is_left(z, j) && (best == i || *element(z, i, j) > *element(z, i, best)))
            best = j;
    z->best[i] = (uint32_t)best;
}

/* Two of one model's may not go together any more, nor what either of them becomes. */
static void close_model(zipping *z, uint32_t model)
{
    for (size_t i = 0; i < z->total; i++)
        for (size_t j = 0; j < z->total && z->origin[i] == model; j++)
            if (z->origin[j] == model)
                *element(z, i, j) = -INFINITY;
    for (size_t i = 0; i < z->total; i++)
        if (is_left(z, i) && z->origin[i] == model)
            find_best(z, i);
}

/* Rows that saw what has changed. */
static void mend_rows(zipping *z, size_t one, size_t two)
{
    find_best(z, one);
    for (size_t i = 0; i < z->total; i++) {
        if (i == one || !is_left(z, i))
            continue;
        if (z->best[i] == one || z->best[i] == two) {
            find_best(z, i);
            continue;
        }
        double now = *element(z, i, one), before = *element(z, i, z->best[i]);
        if (now > before || (!(now < before) && one < z->best[i]))
            z->best[i] = (uint32_t)one;
    }
}

static double merge_pair(zipping *z, size_t one, size_t two)
{
    double value = *element(z, one, two);
    z->into[two] = (uint32_t)one;
    for (size_t j = 0; j < z->total; j++) {
        double less = *element(z, one, j) < *element(z, two, j) ? *element(z, one, j) : *element(z, two, j);
        *element(z, one, j) = *element(z, j, one) = isinf(less) ? less : less * z->shrink;
    }
    bool is_within = z->origin[one] == z->origin[two];
    z->origin[two] = UINT32_MAX;
    mend_rows(z, one, two);
    if (is_within && --z->budget[z->origin[one]] <= 0)
        close_model(z, z->origin[one]);
    return isinf(value) ? 0 : value; /* where nothing else is left, the limits cannot be kept */
}

static size_t first_best(const zipping *z)
{
    size_t best = z->total;
    for (size_t i = 0; i < z->total; i++)
        if (is_left(z, i) &&
            (best == z->total || *element(z, i, z->best[i]) > *element(z, best, z->best[best])))
            best = i;
    return best;
}

/* Numbers what is left, in order, and everything after what it went into. */
static void number_members(const zipping *z, zip_group *group)
{
    uint32_t n = 0;
    for (size_t i = 0; i < z->total; i++) {
        if (is_left(z, i))
            group->member[i] = n++;
        else
            group->member[i] =
                group->member[z->into[i]]; /* which is less than i, and may have gone on itself */
    }
    memset(group->sizes, 0, n * sizeof *group->sizes);
    for (size_t i = 0; i < z->total; i++)
        group->sizes[group->member[i]]++;
}

static void zip_all(zipping *z, uint32_t n_models, double within, zip_group *group, double *value)
{
    size_t left = z->total / n_models, merges = z->total - left;
    double sum = 0;
    for (size_t i = 0; i < z->total; i++) {
        z->into[i] = (uint32_t)i;
        z->origin[i] = (uint32_t)(i / left);
    }
    for (uint32_t m = 0; m < n_models; m++)
        z->budget[m] = (int64_t)((double)(merges / n_models) * within + 1e-4);
    for (size_t i = 0; i < z->total; i++)
        find_best(z, i);
    for (size_t i = 0; i < merges; i++) {
        size_t row = first_best(z);
        size_t column = z->best[row];
        sum += merge_pair(z, row < column ? row : column, row < column ? column : row);
    }
    *value = merges ? sum / (double)merges : 0;
    number_members(z, group);
}

emr_status fit_zip_units(const fit_host *host, double *similarity, size_t total, uint32_t n_models,
                         double shrink, double within, zip_group *group, double *value, emr_error *error)
{
    zipping z = {.similarity = similarity, .total = total, .shrink = shrink};
    z.best = fit_allocate(host, total, sizeof *z.best);
    z.origin = fit_allocate(host, total, sizeof *z.origin);
    z.into = fit_allocate(host, total, sizeof *z.into);
    z.budget = fit_allocate(host, n_models, sizeof *z.budget);
    bool is_whole = z.best && z.origin && z.into && z.budget;
    if (is_whole)
        zip_all(&z, n_models, within, group, value);
    fit_release(host, z.best);
    fit_release(host, z.origin);
    fit_release(host, z.into);
    fit_release(host, z.budget);
    return is_whole ? EMR_OK : fit_no_memory(error);
}
