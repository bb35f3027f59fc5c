/* solve.c - see solve.h. The factor L is made a panel of columns at a time, from what lies to its left. */
#include "solve.h"

#include <math.h>

#define LEAST_LIVE     1e-30 /* of the largest of G's diagonal */
#define LEAST_PIVOT    1e-12 /* a pivot's square */
#define SINGULAR_RIDGE 1e-8

uint64_t fit_system_bytes(uint64_t n)
{
    uint64_t panels = (n + FIT_TILE - 1) / FIT_TILE;
    if (n > UINT64_C(1) << 26)
        return UINT64_MAX;
    return (panels * (panels + 1) / 2 + panels) * FIT_TILE * sizeof(fit_panel) + n * sizeof(double);
}

emr_status fit_system_create(fit_system *s, const fit_host *host, size_t n, emr_error *error)
{
    *s = (fit_system){.host = host, .kernels = fit_kernels_select(), .n = n, .n_panels = fit_n_panels(n)};
    s->rows = fit_allocate(host, s->n_panels, sizeof *s->rows);
    s->scales = fit_allocate(host, s->n_panels * FIT_TILE, sizeof *s->scales);
    s->below = fit_allocate(host, s->n_panels * FIT_TILE, sizeof *s->below);
    bool is_whole = s->rows && s->scales && s->below;
    for (size_t p = 0; is_whole && p < s->n_panels; p++) {
        s->rows[p] = fit_allocate(host, (p + 1) * FIT_TILE, sizeof(fit_panel));
        is_whole = s->rows[p] != NULL;
    }
    if (is_whole)
        return EMR_OK;
    fit_system_destroy(s);
    return fit_no_memory(error);
}

void fit_system_destroy(fit_system *s)
{
    for (size_t p = 0; s->rows && p < s->n_panels; p++)
        fit_release(s->host, s->rows[p]);
    if (s->host) {
        fit_release(s->host, s->rows);
        fit_release(s->host, s->scales);
        fit_release(s->host, s->below);
    }
    *s = (fit_system){0};
}

/* The tile of panel p of rows and panel q of columns. */
static fit_panel *tile_at(const fit_system *s, size_t p, size_t q)
{
    return s->rows[p] + q * FIT_TILE;
}

typedef struct filling {
    fit_system *system;
    fit_fill_fn fill;
    void *user;
} filling;

static void fill_row(void *arg, size_t p)
{
    const filling *f = arg;
    f->fill(f->user, p, f->system->rows[p]);
}

static void find_scales(fit_system *s)
{
    double largest = 0;
    for (size_t i = 0; i < s->n; i++) {
        double d = tile_at(s, i / FIT_TILE, i / FIT_TILE)[i % FIT_TILE][i % FIT_TILE];
        largest = d > largest ? d : largest;
        s->scales[i] = d;
    }
    for (size_t i = 0; i < s->n; i++)
        s->scales[i] = s->scales[i] > largest * LEAST_LIVE ? 1 / sqrt(s->scales[i]) : 0;
}

/* D G D + ridge I; where nothing fires, and behind n, the unit matrix. */
static void scale_row(const fit_system *s, size_t p, double ridge)
{
    for (size_t k = 0; k < (p + 1) * FIT_TILE; k++) {
        double *column = s->rows[p][k];
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = p * FIT_TILE + r;
            if (i != k)
                column[r] = column[r] * s->scales[i] * s->scales[k];
            else
                column[r] = (s->scales[i] > 0 ? 1 : 0) + ridge + (s->scales[i] > 0 ? 0 : 1);
        }
    }
}

/* Factors the tile on the diagonal. False: a pivot is too small. */
static bool factor_diagonal(fit_panel *tile)
{
    for (size_t c = 0; c < FIT_TILE; c++) {
        for (size_t m = 0; m < c; m++)
            for (size_t r = c; r < FIT_TILE; r++)
                tile[c][r] -= tile[m][c] * tile[m][r];
        if (!(tile[c][c] >= LEAST_PIVOT))
            return false;
        double pivot = sqrt(tile[c][c]);
        tile[c][c] = pivot;
        for (size_t r = c + 1; r < FIT_TILE; r++)
            tile[c][r] /= pivot;
    }
    return true;
}

/* tile := tile L^-T, L being the factored tile of the diagonal. */
static void solve_tile(fit_panel *tile, const fit_panel *diagonal)
{
    for (size_t c = 0; c < FIT_TILE; c++) {
        for (size_t m = 0; m < c; m++)
            for (size_t r = 0; r < FIT_TILE; r++)
                tile[c][r] -= diagonal[m][c] * tile[m][r];
        for (size_t r = 0; r < FIT_TILE; r++)
            tile[c][r] /= diagonal[c][c];
    }
}

/* A panel q of columns that is being factored. */
typedef struct column {
    const fit_system *system;
    size_t q;
} column;

static void subtract_left(const fit_system *s, size_t p, size_t q)
{
    s->kernels->subtract(tile_at(s, p, q), (const fit_panel *)s->rows[q], (const fit_panel *)s->rows[p],
                         q * FIT_TILE);
}

static void factor_below(void *arg, size_t i)
{
    const column *c = arg;
    size_t p = c->q + 1 + i;
    subtract_left(c->system, p, c->q);
    solve_tile(tile_at(c->system, p, c->q), (const fit_panel *)tile_at(c->system, c->q, c->q));
}

static bool factor_all(fit_system *s)
{
    for (size_t q = 0; q < s->n_panels; q++) {
        column c = {s, q};
        subtract_left(s, q, q);
        if (!factor_diagonal(tile_at(s, q, q)))
            return false;
        fit_for(s->host, s->n_panels - q - 1, factor_below, &c);
    }
    return true;
}

static bool try_ridge(fit_system *s, filling *f, double ridge)
{
    s->ridge = ridge;
    fit_for(s->host, s->n_panels, fill_row, f);
    find_scales(s);
    for (size_t p = 0; p < s->n_panels; p++)
        scale_row(s, p, ridge);
    return factor_all(s);
}

bool fit_system_factor(fit_system *s, fit_fill_fn fill, void *user, double ridge)
{
    filling f = {s, fill, user};
    double more = 0;
    while (!try_ridge(s, &f, ridge + more)) {
        if (!(more <= (double)s->n)) /* a matrix of this diagonal would be positive: it is not finite */
            return false;
        more = more > 0 ? more * 100 : SINGULAR_RIDGE;
    }
    return true;
}

/* All right-hand sides, and the panel of rows whose turn it is. */
typedef struct solving {
    const fit_system *system;
    fit_panel **sides;
    size_t p;
} solving;

/* y := L^-1 D b */
static void solve_forward(void *arg, size_t side)
{
    const solving *v = arg;
    const fit_system *s = v->system;
    fit_panel *x = v->sides[side];
    for (size_t i = 0; i < s->n_panels * FIT_TILE; i++)
        for (size_t j = 0; j < FIT_TILE; j++)
            x[i][j] *= s->scales[i];
    for (size_t p = 0; p < s->n_panels; p++) {
        fit_panel *rows = x + p * FIT_TILE;
        const fit_panel *diagonal = (const fit_panel *)tile_at(s, p, p);
        s->kernels->subtract(rows, (const fit_panel *)s->rows[p], (const fit_panel *)x, p * FIT_TILE);
        for (size_t r = 0; r < FIT_TILE; r++) {
            for (size_t m = 0; m < r; m++)
                for (size_t j = 0; j < FIT_TILE; j++)
                    rows[r][j] -= diagonal[m][r] * rows[m][j];
            for (size_t j = 0; j < FIT_TILE; j++)
                rows[r][j] /= diagonal[r][r];
        }
    }
}

/* Rows of panel p of L^-T y. */
static void solve_backward(void *arg, size_t side)
{
    const solving *v = arg;
    const fit_system *s = v->system;
    fit_panel *x = v->sides[side], *rows = x + v->p * FIT_TILE;
    const fit_panel *diagonal = (const fit_panel *)tile_at(s, v->p, v->p);
    size_t behind = (s->n_panels - v->p - 1) * FIT_TILE;
    s->kernels->subtract(rows, (const fit_panel *)s->below, (const fit_panel *)(rows + FIT_TILE), behind);
    for (size_t r = FIT_TILE; r-- > 0;) {
        for (size_t j = 0; j < FIT_TILE; j++)
            rows[r][j] /= diagonal[r][r];
        for (size_t m = 0; m < r; m++)
            for (size_t j = 0; j < FIT_TILE; j++)
                rows[m][j] -= diagonal[m][r] * rows[r][j];
    }
}

/* below[k][c] = L[row k behind panel p][column c of it] */
static void transpose_below(const fit_system *s, size_t p)
{
    for (size_t q = p + 1; q < s->n_panels; q++) {
        const fit_panel *tile = (const fit_panel *)tile_at(s, q, p);
        for (size_t c = 0; c < FIT_TILE; c++)
            for (size_t r = 0; r < FIT_TILE; r++)
                s->below[(q - p - 1) * FIT_TILE + r][c] = tile[c][r];
    }
}

void fit_system_solve(const fit_system *s, fit_panel **sides, size_t n_sides)
{
    solving v = {.system = s, .sides = sides};
    fit_for(s->host, n_sides, solve_forward, &v);
    for (v.p = s->n_panels; v.p-- > 0;) {
        transpose_below(s, v.p);
        fit_for(s->host, n_sides, solve_backward, &v);
    }
    for (size_t side = 0; side < n_sides; side++)
        for (size_t i = 0; i < s->n_panels * FIT_TILE; i++)
            for (size_t j = 0; j < FIT_TILE; j++)
                sides[side][i][j] *= s->scales[i];
}
