/* assign.c - the best assignment of rows to columns, by shortest augmenting paths with potentials (Jonker and Volgenant, 1987;
 * Crouse, "On implementing 2D rectangular assignment algorithms", 2016), O(n^3). */
#include "match.h"

#include <math.h>
#include <string.h>

enum { NONE = -1 };

/* Rows and columns have potentials u and v: cost - u - v is never negative, and 0 where a row has its column. */
typedef struct assignment {
    size_t n;
    size_t stride;
    const double *similarity;
    double largest;
    double *u, *v;
    int32_t *column_of, *row_of;
    double *reach;    /* of a search: the shortest path to an open column; infinite: it is done */
    double *done;     /* of a column that is done: its reach */
    double *open_v;   /* v, and of those that are done -infinity: no path is shorter */
    int32_t *before;  /* the row before a column */
    int32_t *columns; /* those that are done, in their order */
} assignment;

static double cost(const assignment *a, size_t row, size_t column)
{
    return a->largest - a->similarity[row * a->stride + column];
}

/* Potentials to begin with: of rows their smallest cost, of columns what is left; and pairs without any cost. */
static void begin_potentials(assignment *a)
{
    for (size_t j = 0; j < a->n; j++)
        a->v[j] = INFINITY;
    for (size_t i = 0; i < a->n; i++) {
        a->u[i] = INFINITY;
        for (size_t j = 0; j < a->n; j++)
            a->u[i] = cost(a, i, j) < a->u[i] ? cost(a, i, j) : a->u[i];
        for (size_t j = 0; j < a->n; j++)
            a->v[j] = cost(a, i, j) - a->u[i] < a->v[j] ? cost(a, i, j) - a->u[i] : a->v[j];
    }
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; a->column_of[i] == NONE && j < a->n; j++)
            if (a->row_of[j] == NONE && !(cost(a, i, j) - a->u[i] - a->v[j] > 0)) {
                a->column_of[i] = (int32_t)j;
                a->row_of[j] = (int32_t)i;
            }
}

/* Looks at a row's columns, and gives the nearest open one: a free one if there is a choice, else the first. */
static size_t extend_paths(assignment *a, size_t row, double length)
{
    const double *similarity = a->similarity + row * a->stride;
    const double base = length + a->largest - a->u[row];
    double nearest = INFINITY;
    for (size_t j = 0; j < a->n; j++) {
        double through = base - similarity[j] - a->open_v[j];
        bool is_better = through < a->reach[j];
        a->reach[j] = is_better ? through : a->reach[j];
        a->before[j] = is_better ? (int32_t)row : a->before[j];
        nearest = a->reach[j] < nearest ? a->reach[j] : nearest;
    }
    size_t first = a->n;
    for (size_t j = 0; j < a->n; j++) {
        if (a->reach[j] > nearest || isinf(a->reach[j]))
            continue;
        first = first == a->n ? j : first;
        if (a->row_of[j] == NONE)
            return j;
    }
    return first;
}

/* The free column at the end of the shortest path from a row. */
static size_t find_path(assignment *a, size_t start, size_t *n_done, double *length)
{
    size_t row = start;
    *length = 0;
    *n_done = 0;
    for (size_t j = 0; j < a->n; j++) {
        a->reach[j] = INFINITY;
        a->open_v[j] = a->v[j];
    }
    for (;;) {
        size_t column = extend_paths(a, row, *length);
        *length = a->reach[column];
        a->done[column] = *length;
        a->reach[column] = INFINITY;
        a->open_v[column] = -INFINITY;
        a->columns[(*n_done)++] = (int32_t)column;
        if (a->row_of[column] == NONE)
            return column;
        row = (size_t)a->row_of[column];
    }
}

static void move_potentials(assignment *a, size_t start, size_t n_done, double length)
{
    a->u[start] += length;
    for (size_t k = 0; k < n_done; k++) {
        size_t column = (size_t)a->columns[k];
        double left = length - a->done[column];
        if (a->row_of[column] != NONE)
            a->u[a->row_of[column]] += left;
        a->v[column] -= left;
    }
}

static void augment(assignment *a, size_t start)
{
    size_t n_done;
    double length;
    int32_t column = (int32_t)find_path(a, start, &n_done, &length), row;
    move_potentials(a, start, n_done, length);
    do {
        row = a->before[column];
        int32_t next = a->column_of[row];
        a->row_of[column] = row;
        a->column_of[row] = column;
        column = next;
    } while ((size_t)row != start);
}

emr_status fit_assign(const fit_host *host, const double *similarity, size_t stride, size_t n,
                      uint32_t *column_of_row, emr_error *error)
{
    assignment a = {.n = n, .stride = stride, .similarity = similarity, .largest = -INFINITY};
    double *numbers = fit_allocate(host, n, 5 * sizeof *numbers);
    int32_t *indices = fit_allocate(host, n, 4 * sizeof *indices);
    if (numbers && indices) {
        a.u = numbers;
        a.v = numbers + n;
        a.reach = numbers + 2 * n;
        a.done = numbers + 3 * n;
        a.open_v = numbers + 4 * n;
        a.column_of = indices;
        a.row_of = indices + n;
        a.before = indices + 2 * n;
        a.columns = indices + 3 * n;
        for (size_t i = 0; i < n; i++) {
            a.column_of[i] = a.row_of[i] = NONE;
            for (size_t j = 0; j < n; j++)
                a.largest = similarity[i * stride + j] > a.largest ? similarity[i * stride + j] : a.largest;
        }
        begin_potentials(&a);
        for (size_t i = 0; i < n; i++)
            if (a.column_of[i] == NONE)
                augment(&a, i);
        for (size_t i = 0; i < n; i++)
            column_of_row[i] = (uint32_t)a.column_of[i];
    }
    bool is_whole = numbers && indices;
    fit_release(host, numbers);
    fit_release(host, indices);
    return is_whole ? EMR_OK : fit_no_memory(error);
}

emr_status emr_assign(const double *similarity, size_t n, uint32_t *column_of_row,
                      const emr_allocator *allocator, emr_error *error)
{
    fit_host host;
    emr_resources resources = EMR_INIT(emr_resources);
    if ((!similarity || !column_of_row) && n)
        return emr_error_format(error, EMR_EINVAL, "emr_assign: NULL");
    if (n > INT32_MAX)
        return emr_error_format(error, EMR_ELIMIT, "emr_assign: more than 2147483647 rows");
    for (size_t i = 0; i < n * n; i++)
        if (similarity[i] - similarity[i] != 0)
            return emr_error_format(error, EMR_ENONFINITE,
                                    "emr_assign: the similarity of row %u and column %u is NaN or "
                                    "infinite",
                                    (uint64_t)(i / n), (uint64_t)(i % n));
    resources.allocator = allocator;
    emr_status status = fit_host_take(&host, &resources, error);
    return status ? status : fit_assign(&host, similarity, n, n, column_of_row, error);
}
