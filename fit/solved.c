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

fit_solved *fit_cache_find(fit_cache *cache, size_t site)
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

void fit_cache_keep(fit_cache *cache, fit_solved *solved)
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
