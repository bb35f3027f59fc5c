/* tiles.h - the one kernel of libemr-fit's linear algebra, and the form of matrices that it works on.
 *
 * A matrix is cut into panels of FIT_TILE rows (or columns), element after element: panel[k][FIT_TILE]. The kernel adds to
 * a tile the products of two panels,
 *
 *     tile[i][j] += a[k][i] * b[k][j]      for k = 0, 1, ..., n - 1, in this order
 *
 * each element by itself, so that nothing depends on how the work is shared out. Sums of activations are one tile for
 * each two panels of rows; in a factorisation and in solving, a, b and the tile are panels and tiles of the matrices. */
#ifndef EMR_FIT_TILES_H
#define EMR_FIT_TILES_H

#include <stddef.h>

enum { FIT_TILE = 24 };

typedef double fit_panel[FIT_TILE];

typedef struct fit_kernels {
    const char *name;
    /* Products are exact (of floats in f64), so it does not matter whether they are rounded. */
    void (*add_exact)(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n);
    /* Each product is rounded, then each sum. */
    void (*add)(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n);
    void (*subtract)(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n);
} fit_kernels;

extern const fit_kernels fit_kernels_c; /* the specification */
extern const fit_kernels fit_kernels_avx2, fit_kernels_avx512, fit_kernels_neon;

/* The best that this processor has. */
const fit_kernels *fit_kernels_select(void);

/* All that are built and can run here, the specification first; NULL past the end. */
const fit_kernels *fit_kernels_at(size_t i);

static inline size_t fit_n_panels(size_t n)
{
    return (n + FIT_TILE - 1) / FIT_TILE;
}

#endif
