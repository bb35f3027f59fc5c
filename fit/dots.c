/* dots.c - the kernels' specification, and which variant this processor takes. */
#include "dots.h"

static void add_block(double lanes[FIT_DOT_LANES], const double *g, const fit_source *tau, size_t first)
{
    double x[FIT_DOT_BLOCK], pair[8][16], half[2][16], h[8];
    for (size_t i = 0; i < FIT_DOT_BLOCK; i++)
        x[i] = g[first + i] * (double)fit_source_at(tau, first + i);
    for (size_t k = 0; k < 8; k++)
        for (size_t j = 0; j < 16; j++)
            pair[k][j] = x[32 * k + j] + x[32 * k + 16 + j];
    for (size_t m = 0; m < 2; m++)
        for (size_t j = 0; j < 16; j++)
            half[m][j] = ((pair[4 * m][j] + pair[4 * m + 1][j]) + pair[4 * m + 2][j]) + pair[4 * m + 3][j];
    for (size_t j = 0; j < 8; j++)
        h[j] = (half[0][j] + half[1][j]) + (half[0][j + 8] + half[1][j + 8]);
    for (size_t j = 0; j < FIT_DOT_LANES; j++)
        lanes[j] += h[j] + h[j + 4];
}

static void plain_add_products(double lanes[FIT_DOT_LANES], const double *g, const fit_source *tau,
                               size_t n_blocks)
{
    for (size_t i = 0; i < n_blocks; i++)
        add_block(lanes, g, tau, i * FIT_DOT_BLOCK);
}

static void plain_add_scaled(float *w, float lambda, const fit_source *tau, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] += lambda * fit_source_at(tau, i);
}

const fit_dots fit_dots_c = {"c", plain_add_products, plain_add_scaled};

const fit_dots *fit_dots_at(size_t i)
{
    const fit_dots *all[4] = {&fit_dots_c};
    size_t n = 1;
#ifdef FIT_WITH_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = &fit_dots_avx2;
    if (__builtin_cpu_supports("avx512f"))
        all[n++] = &fit_dots_avx512;
#endif
#ifdef FIT_WITH_NEON
    all[n++] = &fit_dots_neon;
#endif
    return i < n ? all[i] : NULL;
}

const fit_dots *fit_dots_select(void)
{
    const fit_dots *best = &fit_dots_c;
    for (size_t i = 1; fit_dots_at(i); i++)
        best = fit_dots_at(i);
    return best;
}
