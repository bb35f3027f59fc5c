/* project.c - see project.h. */
#include "project.h"

#include <string.h>

typedef struct projecting {
    const gram_site *site;
    const fit_kernels *kernels;
    const fit_solved *weights;
    fit_solved *product;
    fit_panel *rows; /* a panel of rows of S, transposed */
    size_t of, with, width, p;
} projecting;

static void fill_rows(void *arg, size_t q)
{
    const projecting *c = arg;
    for (size_t k = q * FIT_TILE; k < (q + 1) * FIT_TILE; k++)
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = c->p * FIT_TILE + r;
            c->rows[k][r] =
                i <= c->width && k <= c->width ? block_element(c->site, c->of, i, c->with, k, c->width) : 0;
        }
}

static void multiply_side(void *arg, size_t side)
{
    const projecting *c = arg;
    fit_panel *tile = c->product->sides[side] + c->p * FIT_TILE;
    memset(tile, 0, FIT_TILE * sizeof *tile);
    c->kernels->add(tile, (const fit_panel *)c->rows, (const fit_panel *)c->weights->sides[side],
                    c->width + 1);
}

emr_status fit_project(const fit_host *host, const gram_site *site, size_t of, size_t with, size_t width,
                       const fit_solved *weights, fit_solved *product, emr_error *error)
{
    size_t rows = project_rows(width);
    projecting c = {.site = site,
                    .kernels = fit_kernels_select(),
                    .weights = weights,
                    .product = product,
                    .of = of,
                    .with = with,
                    .width = width};
    c.rows = fit_allocate(host, rows, sizeof *c.rows);
    if (!c.rows)
        return fit_no_memory(error);
    for (c.p = 0; c.p < rows / FIT_TILE; c.p++) {
        fit_for(host, rows / FIT_TILE, fill_rows, &c);
        fit_for(host, weights->n_sides, multiply_side, &c);
    }
    fit_release(host, c.rows);
    return EMR_OK;
}
