/* assign.c - the best assignment of rows to columns, by shortest augmenting paths with potentials (Jonker and Volgenant, 1987;
 * Crouse, "On implementing 2D rectangular assignment algorithms", 2016), O(n^3). Where that takes long it begins anew, with potentials
 * from an auction (Bertsekas, "The auction algorithm", 1988): they are not the best, and need not be, but leave short paths. */
#include "match.h"

#include <math.h>
#include <string.h>

enum { NONE = -1 };

/* Of the auction: bids get finer, from a part of the range of similarities to a part of what is one row's share of it. */
enum { FIRST_STEP = 8, LAST_STEP = 1000, STEP_FACTOR = 4, BIDS = 64 };

/* So many rows may be looked at, for each pair that needs no path, before there is an auction. */
enum { PATIENCE = 100 };

/* Rows and columns have potentials u and v: cost - u - v is never negative, and 0 where a row has its column. */
typedef struct assignment {
    size_t n;
    size_t stride;
    const double *similarity;
    double largest;
    double *u, *v;
    int32_t *column_of, *row_of;
    double *reach;        /* of a search: the shortest path to an open column; infinite: it is done */
    double *done;         /* of a column that is done: its reach */
    double *open_v;       /* v, and of those that are done -infinity: no path is shorter */
    int32_t *before;      /* the row before a column */
    int32_t *columns;     /* those that are done, in their order */
    uint64_t n_looked_at; /* rows that were looked at for paths */
} assignment;

static inline double lesser(double x, double y)
{
    return x < y ? x : y;
}

/* The smallest of n numbers, and the next after it, which may be the same again. Lanes, since the order does not matter, but the compiler
 * may not know. */
static inline double smallest(const double *x, size_t n, double *next)
{
    enum { LANES = 8 };
    double lanes[LANES], nexts[LANES], least = INFINITY;
    size_t whole = n / LANES * LANES;
    for (size_t l = 0; l < LANES; l++)
        lanes[l] = nexts[l] = INFINITY;
    for (size_t j = 0; j < whole; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            nexts[l] = lesser(nexts[l], x[j + l] > lanes[l] ? x[j + l] : lanes[l]);
            lanes[l] = lesser(x[j + l], lanes[l]);
        }
    *next = INFINITY;
    for (size_t l = 0; l < LANES; l++) {
        *next = lesser(lesser(*next, nexts[l]), lanes[l] > least ? lanes[l] : least);
        least = lesser(lanes[l], least);
    }
    for (size_t j = whole; j < n; j++) {
        *next = lesser(*next, x[j] > least ? x[j] : least);
        least = lesser(x[j], least);
    }
    return least;
}

/* The next number from j on that is at most `most`; n: there is none. */
static size_t next_at_most(const double *x, size_t j, size_t n, double most)
{
    enum { BLOCK = 32 };
    for (; n - j >= BLOCK; j += BLOCK) {
        int64_t count = 0;
        for (size_t k = 0; k < BLOCK; k++)
            count += x[j + k] <= most;
        if (count)
            break;
    }
    while (j < n && !(x[j] <= most))
        j++;
    return j;
}

/* The column where a row's cost is least, beside the potentials of columns; *least is that, and *lead how much more the next one
 * costs. */
static size_t best_column(assignment *a, size_t row, double *least, double *lead)
{
    const double *similarity = a->similarity + row * a->stride;
    for (size_t j = 0; j < a->n; j++)
        a->reach[j] = a->largest - similarity[j] - a->v[j];
    double next;
    *least = smallest(a->reach, a->n, &next);
    *lead = a->n > 1 ? next - *least : 0;
    return next_at_most(a->reach, 0, a->n, *least);
}

/* Rows bid for columns, each time by `step` more than what the column is worth to them; a column goes to the last who did. */
static void hold_auction(assignment *a, double step)
{
    size_t n_free = a->n;
    int32_t *waiting = a->columns;
    for (size_t i = 0; i < a->n; i++) {
        a->row_of[i] = NONE;
        waiting[i] = (int32_t)i;
    }
    for (size_t bids = BIDS * a->n; n_free && bids; bids--) {
        double least, lead;
        int32_t row = waiting[n_free - 1];
        size_t column = best_column(a, (size_t)row, &least, &lead);
        int32_t loser = a->row_of[column];
        a->v[column] -= lead + step;
        a->row_of[column] = row;
        if (loser == NONE)
            n_free--;
        else
            waiting[n_free - 1] = loser;
    }
}

/* Of rows their smallest cost, of columns what is left. */
static void begin_potentials(assignment *a)
{
    double next;
    for (size_t j = 0; j < a->n; j++)
        a->v[j] = INFINITY;
    for (size_t i = 0; i < a->n; i++) {
        const double *similarity = a->similarity + i * a->stride;
        for (size_t j = 0; j < a->n; j++)
            a->reach[j] = a->largest - similarity[j];
        a->u[i] = smallest(a->reach, a->n, &next);
        for (size_t j = 0; j < a->n; j++)
            a->v[j] = a->reach[j] - a->u[i] < a->v[j] ? a->reach[j] - a->u[i] : a->v[j];
    }
}

/* Any potentials of columns will do: those of rows then are what is smallest. */
static void auction_potentials(assignment *a, double range)
{
    double lead;
    for (size_t j = 0; j < a->n; j++)
        a->v[j] = 0;
    for (double step = range / FIRST_STEP; step > range / ((double)a->n * LAST_STEP); step /= STEP_FACTOR)
        hold_auction(a, step);
    for (size_t i = 0; i < a->n; i++)
        (void)best_column(a, i, &a->u[i], &lead);
}

/* Pairs without any cost; how many there are. */
static size_t take_free_pairs(assignment *a)
{
    size_t n_pairs = 0;
    for (size_t i = 0; i < a->n; i++)
        a->column_of[i] = a->row_of[i] = NONE;
    for (size_t i = 0; i < a->n; i++) {
        const double *similarity = a->similarity + i * a->stride;
        for (size_t j = 0; j < a->n; j++)
            a->reach[j] = a->largest - similarity[j] - a->u[i] - a->v[j];
        size_t j = next_at_most(a->reach, 0, a->n, 0);
        while (j < a->n && a->row_of[j] != NONE)
            j = next_at_most(a->reach, j + 1, a->n, 0);
        if (j < a->n) {
            a->column_of[i] = (int32_t)j;
            a->row_of[j] = (int32_t)i;
            n_pairs++;
        }
    }
    return n_pairs;
}

/* Looks at a row's columns, and gives the nearest open one: a free one if there is a choice, else the first. */
static size_t extend_paths(assignment *a, size_t row, double length)
{
    const double *similarity = a->similarity + row * a->stride;
    const double base = length + a->largest - a->u[row];
    for (size_t j = 0; j < a->n; j++) {
        double through = base - similarity[j] - a->open_v[j];
        if (through < a->reach[j]) {
            a->reach[j] = through;
            a->before[j] = (int32_t)row;
        }
    }
    double next, nearest = smallest(a->reach, a->n, &next);
    size_t first = next_at_most(a->reach, 0, a->n, nearest);
    for (size_t j = first; j < a->n; j = next_at_most(a->reach, j + 1, a->n, nearest))
        if (a->row_of[j] == NONE)
            return j;
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
        a->n_looked_at++;
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

/* With potentials as they are. False: it would take too long. */
static bool assign_rows(assignment *a, bool is_patient)
{
    uint64_t most = (uint64_t)PATIENCE * take_free_pairs(a);
    for (size_t i = 0; i < a->n; i++) {
        if (!is_patient && a->n_looked_at > most)
            return false;
        if (a->column_of[i] == NONE)
            augment(a, i);
    }
    return true;
}

/* The largest similarity, and what the smallest one is less; NaN where one is not finite. */
static double find_range(assignment *a)
{
    double least = INFINITY, differences = 0;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->n; j++) {
            double x = a->similarity[i * a->stride + j];
            a->largest = x > a->largest ? x : a->largest;
            least = lesser(x, least);
            differences += x - x;
        }
    return a->n ? a->largest - least + differences : 0;
}

static void assign(assignment *a, double range)
{
    begin_potentials(a);
    if (assign_rows(a, false))
        return;
    auction_potentials(a, range);
    (void)assign_rows(a, true);
}

emr_status fit_assign(const fit_host *host, const double *similarity, size_t stride, size_t n,
                      uint32_t *column_of_row, emr_error *error)
{
    assignment a = {.n = n, .stride = stride, .similarity = similarity, .largest = -INFINITY};
    double *numbers = fit_allocate(host, n, 5 * sizeof *numbers);
    int32_t *indices = fit_allocate(host, n, 4 * sizeof *indices);
    emr_status status = numbers && indices ? EMR_OK : fit_no_memory(error);
    double range = find_range(&a);
    if (!status && !(range * (double)n * (double)n < INFINITY)) /* paths are sums of differences */
        status = emr_error_format(error, EMR_ENONFINITE,
                                  "similarities of %u units are not finite, or so far apart that their sums "
                                  "are beyond what a number holds",
                                  (uint64_t)n);
    if (!status) {
        a.u = numbers;
        a.v = numbers + n;
        a.reach = numbers + 2 * n;
        a.done = numbers + 3 * n;
        a.open_v = numbers + 4 * n;
        a.column_of = indices;
        a.row_of = indices + n;
        a.before = indices + 2 * n;
        a.columns = indices + 3 * n;
        assign(&a, range);
        for (size_t i = 0; i < n; i++)
            column_of_row[i] = (uint32_t)a.column_of[i];
    }
    fit_release(host, numbers);
    fit_release(host, indices);
    return status;
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
