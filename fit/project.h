/* project.h - what a linear layer makes of a site's sums: S W, without any sample. Weights are panels, as in slices.h: number k of
 * unit u is sides[u / FIT_TILE][k][u % FIT_TILE]; number `width` of each is its bias, which goes with the constant of S. */
#ifndef EMR_FIT_PROJECT_H
#define EMR_FIT_PROJECT_H

#include "gram.h"
#include "solved.h"

/* Element (i, k) of a block of S: of model `of` and model `with`, the constant behind each model's inputs. */
static inline double block_element(const gram_site *s, size_t of, size_t i, size_t with, size_t k,
                                   size_t width)
{
    size_t last = s->order - 1;
    return *gram_element(s, i < width ? of * width + i : last, k < width ? with * width + k : last);
}

/* product[i][u] = sum over k <= width of S[of, i][with, k] * weights[k][u], for i <= width; both have width + 1 rows, filled up to
 * whole panels. */
emr_status fit_project(const fit_host *host, const gram_site *site, size_t of, size_t with, size_t width,
                       const fit_solved *weights, fit_solved *product, emr_error *error);

/* Rows of `width` inputs and a bias, in whole panels. */
static inline size_t project_rows(size_t width)
{
    return fit_n_panels(width + 1) * FIT_TILE;
}

#endif
