/* draw.c - see draw.h. */
#include "draw.h"

#include <math.h>

#define STEP UINT64_C(0x9e3779b97f4a7c15)

uint64_t fit_draw(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * STEP;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double fit_draw_uniform(uint64_t seed, uint64_t i)
{
    return ((double)(fit_draw(seed, i) >> 11) + 0.5) * 0x1p-53;
}

void fit_draw_weights(double *weights, size_t n, size_t columns, uint64_t seed, uint64_t first)
{
    double most = 1 / sqrt((double)columns);
    for (size_t i = 0; i < n; i++)
        weights[i] = (2 * fit_draw_uniform(seed, first + i) - 1) * most;
}

void fit_shuffle(size_t *numbers, size_t n, uint64_t *state)
{
    for (size_t i = n; i > 1; i--, *state += STEP) {
        size_t k = (size_t)(fit_draw(*state, 0) % i), held = numbers[i - 1];
        numbers[i - 1] = numbers[k];
        numbers[k] = held;
    }
}

bool fit_drawing_create(fit_drawing *d, const fit_host *host, size_t n, size_t n_batch, uint64_t seed)
{
    *d = (fit_drawing){.n = n, .n_batch = n_batch < n ? n_batch : n, .next = n, .seed = seed};
    if (n_batch >= n)
        return true;
    d->order = fit_allocate(host, n, sizeof *d->order);
    d->rows = fit_allocate(host, n_batch, sizeof *d->rows);
    for (size_t i = 0; d->order && i < n; i++)
        d->order[i] = i;
    return d->order && d->rows;
}

void fit_drawing_destroy(fit_drawing *d, const fit_host *host)
{
    fit_release(host, d->order);
    fit_release(host, d->rows);
}

void fit_draw_batch(fit_drawing *d)
{
    for (size_t i = 0; d->rows && i < d->n_batch; i++, d->next++) {
        if (d->next == d->n) {
            fit_shuffle(d->order, d->n, &d->seed);
            d->next = 0;
        }
        d->rows[i] = d->order[d->next];
    }
}
