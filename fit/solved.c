/* solved.c - see solved.h. */
#include "solved.h"

#include <string.h>

void fit_solved_release(fit_solved *s)
{
    if (!s || atomic_fetch_sub(&s->references, 1) != 1)
        return;
    for (size_t i = 0; s->sides && i < s->n_sides; i++)
        fit_release(s->host, s->sides[i]);
    fit_release(s->host, s->sides);
    fit_release(s->host, s);
}

fit_solved *fit_solved_create(const fit_host *host, size_t site, size_t n_sides, size_t n_rows)
{
    fit_solved *s = fit_allocate(host, 1, sizeof *s);
    if (!s)
        return NULL;
    s->host = host;
    s->site = site;
    s->n_sides = n_sides;
    s->bytes = (uint64_t)n_sides * n_rows * sizeof(fit_panel);
    atomic_init(&s->references, 1);
    s->sides = fit_allocate(host, n_sides, sizeof *s->sides);
    bool is_whole = s->sides != NULL;
    for (size_t i = 0; is_whole && i < n_sides; i++) {
        s->sides[i] = fit_allocate(host, n_rows, sizeof(fit_panel));
        is_whole = s->sides[i] != NULL;
    }
    if (is_whole)
        return s;
    fit_solved_release(s);
    return NULL;
}

static void lock_cache(fit_cache *cache)
{
    while (atomic_flag_test_and_set_explicit(&cache->lock, memory_order_acquire))
        ;
}

static void unlock_cache(fit_cache *cache)
{
    atomic_flag_clear_explicit(&cache->lock, memory_order_release);
}

static void move_to_front(fit_cache *cache, size_t from, fit_solved *solved)
{
    memmove(cache->slots + 1, cache->slots, from * sizeof *cache->slots);
    cache->slots[0] = solved;
}

/* The one of a site, with a reference, or NULL. */
static fit_solved *find_kept(fit_cache *cache, size_t site)
{
    fit_solved *found = NULL;
    lock_cache(cache);
    for (size_t i = 0; !found && i < FIT_SOLVED_SLOTS && cache->slots[i]; i++) {
        if (cache->slots[i]->site == site) {
            found = cache->slots[i];
            move_to_front(cache, i, found);
            atomic_fetch_add(&found->references, 1);
        }
    }
    unlock_cache(cache);
    return found;
}

/* Keeps it, with a reference of the cache's own; others may go. */
static void keep_solved(fit_cache *cache, fit_solved *solved)
{
    fit_solved *gone[FIT_SOLVED_SLOTS] = {NULL};
    uint64_t bytes = 0;
    atomic_fetch_add(&solved->references, 1);
    lock_cache(cache);
    gone[0] = cache->slots[FIT_SOLVED_SLOTS - 1];
    move_to_front(cache, FIT_SOLVED_SLOTS - 1, solved);
    for (size_t i = 1; i < FIT_SOLVED_SLOTS && cache->slots[i]; i++) {
        bytes += cache->slots[i]->bytes;
        if (bytes > cache->bytes_max) {
            gone[i] = cache->slots[i];
            cache->slots[i] = NULL;
        }
    }
    unlock_cache(cache);
    for (size_t i = 0; i < FIT_SOLVED_SLOTS; i++)
        fit_solved_release(gone[i]);
}

void fit_cache_clear(fit_cache *cache)
{
    for (size_t i = 0; i < FIT_SOLVED_SLOTS; i++)
        fit_solved_release(cache->slots[i]);
    memset(cache->slots, 0, sizeof cache->slots);
}

void fit_cache_init(fit_cache *cache, const fit_host *host, uint64_t bytes, fit_solve_fn solve, void *user)
{
    memset(cache->slots, 0, sizeof cache->slots);
    atomic_flag_clear(&cache->lock);
    cache->host = host;
    cache->solve = solve;
    cache->user = user;
    cache->bytes_max = host->memory_bytes ? host->memory_bytes / 2 : bytes;
}

emr_status fit_cache_get(fit_cache *cache, const fit_host *host, size_t number, fit_solved **solved,
                         emr_error *error)
{
    *solved = find_kept(cache, number);
    if (*solved)
        return EMR_OK;
    emr_status status = cache->solve(cache->user, host, number, solved, error);
    if (!status)
        keep_solved(cache, *solved);
    return status;
}

emr_status fit_cache_prepare(fit_cache *cache, size_t number, const emr_resources *resources,
                             emr_error *error)
{
    fit_host host;
    fit_solved *solved;
    emr_status status = fit_host_take(&host, resources, error);
    host.allocator = cache->host->allocator;
    host.memory_bytes = cache->host->memory_bytes;
    if (!status)
        status = fit_cache_get(cache, &host, number, &solved, error);
    if (!status)
        fit_solved_release(solved);
    return status;
}

emr_status fit_cache_read(fit_cache *cache, const fit_solved_layer *l, bool is_bias, uint64_t first, size_t n,
                          double *values, emr_error *error)
{
    fit_host alone = *cache->host;
    fit_solved *solved;
    alone.executor.concurrency = 0;
    emr_status status = fit_cache_get(cache, &alone, l->number, &solved, error);
    for (size_t i = 0; !status && i < n; i++) {
        uint64_t at = first + i;
        size_t o = (size_t)(l->is_transposed ? at % l->outputs : at / l->inputs);
        size_t k = (size_t)(l->is_transposed ? at / l->outputs : at % l->inputs);
        if (is_bias) {
            o = (size_t)at;
            k = l->inputs;
        }
        o += l->first_output;
        values[i] = solved->sides[o / FIT_TILE][k][o % FIT_TILE];
    }
    if (!status)
        fit_solved_release(solved);
    return status;
}
