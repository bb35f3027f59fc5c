/* solve.h - symmetric positive semidefinite systems: G x = b in coordinates in which G has a unit diagonal, by a Cholesky
 * factorisation in tiles. All sums have one order, no product is fused: the same bits anywhere.
 *
 * Features that never fire (a diagonal that is 0) have x = 0. With D = diag(G)^-1/2, solved is
 *
 *     (D G D + ridge I) y = D b,    x = D y
 *
 * Where a pivot's square falls below 1e-12 the system is singular as far as f64 can tell: then 1e-8 is added to the ridge,
 * which leaves what the samples span as good as alone, and all else near 0. */
#ifndef EMR_FIT_SOLVE_H
#define EMR_FIT_SOLVE_H

#include "host.h"
#include "tiles.h"

typedef struct fit_system {
    const fit_host *host;
    const fit_kernels *kernels;
    size_t n, n_panels;
    fit_panel **
        rows; /* rows[p][k]: column k, rows of panel p, of G and then of its factor; k < FIT_TILE * (p + 1) */
    double *scales;   /* the diagonal of D; 0: the feature never fires */
    fit_panel *below; /* the factor's rows below a panel, transposed */
    double ridge;     /* that was added in the end */
} fit_system;

/* Memory that a system of n unknowns takes; UINT64_MAX where that is beyond all. */
uint64_t fit_system_bytes(uint64_t n);
emr_status fit_system_create(fit_system *system, const fit_host *host, size_t n, emr_error *error);
void fit_system_destroy(fit_system *system);

/* Writes rows of panel p of G, all that fit_system.rows has of it, unscaled; may be called by several threads. */
typedef void (*fit_fill_fn)(void *user, size_t p, fit_panel *row);

/* Fills, scales and factors. False: G is not finite. */
bool fit_system_factor(fit_system *system, fit_fill_fn fill, void *user, double ridge);

/* Solves for n_sides panels of right-hand sides, each FIT_TILE of them: sides[s][k] are their k-th numbers, b before and x
 * afterwards; n_panels * FIT_TILE rows, those behind n are 0. */
void fit_system_solve(const fit_system *system, fit_panel **sides, size_t n_sides);

#endif
