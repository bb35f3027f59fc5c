/* solved.h - what solving gave, kept for those who read it next: a few results, counted references, no waiting. */
#ifndef EMR_FIT_SOLVED_H
#define EMR_FIT_SOLVED_H

#include "host.h"
#include "tiles.h"

#include <stdatomic.h>

/* Results for the layers of a site: output o of input k is sides[o / FIT_TILE][k][o % FIT_TILE]. */
typedef struct fit_solved {
    const fit_host *host;
    size_t site;
    size_t n_sides;
    uint64_t bytes;
    fit_panel **sides;
    atomic_size_t references;
} fit_solved;

enum { FIT_SOLVED_SLOTS = 16 };

typedef struct fit_cache {
    atomic_flag lock;                    /* held for a few moves of pointers */
    fit_solved *slots[FIT_SOLVED_SLOTS]; /* the one used last in front */
    uint64_t bytes_max;                  /* of all but the first */
} fit_cache;

/* A result of n_sides panels of n_rows rows, zeroed, with one reference; or NULL. */
fit_solved *fit_solved_create(const fit_host *host, size_t site, size_t n_sides, size_t n_rows);
void fit_solved_release(fit_solved *solved);

/* The one of a site, with a reference, or NULL. */
fit_solved *fit_cache_find(fit_cache *cache, size_t site);
/* Keeps it, with a reference of the cache's own; others may go. */
void fit_cache_keep(fit_cache *cache, fit_solved *solved);
void fit_cache_clear(fit_cache *cache);

#endif
