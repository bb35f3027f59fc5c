/* gram.h - how a gram keeps its sums: of each site the lower triangle of tiles, each of them whole. */
#ifndef EMR_FIT_GRAM_INSIDE_H
#define EMR_FIT_GRAM_INSIDE_H

#include "emr/fit/gram.h"

#include "host.h"
#include "tiles.h"

typedef struct gram_site {
    char *name;
    uint64_t *widths;
    size_t order;      /* D: of S */
    size_t n_panels;   /* that D rows take */
    fit_panel **tiles; /* tiles[p]: those of row p of tiles, in columns 0 ... p, one behind the other */
    uint64_t n_rows, n_dropped;
} gram_site;

struct emr_gram {
    fit_host host;
    uint32_t n_models;
    emr_on_nonfinite on_nonfinite;
    gram_site **sites; /* each in its own memory: what was opened from the gram points at them */
    size_t n_sites, room;
    uint64_t bytes;      /* of all sums */
    fit_panel *batch;    /* panels of block_rows rows, of the widest site */
    size_t batch_panels; /* that there is room for */
    size_t block_rows;
};

/* The tile that has element (i, j) of S, and the element. */
static inline double *gram_element(const gram_site *s, size_t i, size_t j)
{
    size_t high = i > j ? i : j, low = i > j ? j : i;
    fit_panel *tile = s->tiles[high / FIT_TILE] + low / FIT_TILE * FIT_TILE;
    return &tile[high % FIT_TILE][low % FIT_TILE];
}

/* Numbers of the upper triangle of S, row by row. */
static inline uint64_t gram_packed(const gram_site *s)
{
    return (uint64_t)s->order * (s->order + 1) / 2;
}

#endif
