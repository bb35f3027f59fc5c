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

/* Solves number `number`, with the threads of `host`. Release what it gives. */
typedef emr_status (*fit_solve_fn)(void *user, const fit_host *host, size_t number, fit_solved **solved,
                                   emr_error *error);

typedef struct fit_cache {
    const fit_host *host; /* whose memory the results take */
    fit_solve_fn solve;
    void *user;
    atomic_flag lock;                    /* held for a few moves of pointers */
    fit_solved *slots[FIT_SOLVED_SLOTS]; /* the one used last in front */
    uint64_t bytes_max;                  /* of all but the first */
} fit_cache;

/* A result of n_sides panels of n_rows rows, zeroed, with one reference; or NULL. */
fit_solved *fit_solved_create(const fit_host *host, size_t site, size_t n_sides, size_t n_rows);
void fit_solved_release(fit_solved *solved);

/* An empty one, for half of the host's memory_bytes, or `bytes` where that is not said. */
void fit_cache_init(fit_cache *cache, const fit_host *host, uint64_t bytes, fit_solve_fn solve, void *user);
void fit_cache_clear(fit_cache *cache);

/* The result of that number, with a reference: the one that is kept, or solved now, with the threads of `host`. */
emr_status fit_cache_get(fit_cache *cache, const fit_host *host, size_t number, fit_solved **solved,
                         emr_error *error);
/* Solves it, if need be, with the threads of who is about to read. */
emr_status fit_cache_prepare(fit_cache *cache, size_t number, const emr_resources *resources,
                             emr_error *error);

/* A linear layer whose weights are in a result, its bias behind the last input. */
typedef struct fit_solved_layer {
    size_t number; /* the result's */
    size_t inputs, outputs;
    size_t first_output; /* among those of the result */
    bool is_transposed;  /* the weight is [in, out] */
} fit_solved_layer;

/* Elements of the weight, or of the bias, solved on the reading thread alone. */
emr_status fit_cache_read(fit_cache *cache, const fit_solved_layer *layer, bool is_bias, uint64_t first,
                          size_t n, double *values, emr_error *error);

#endif
