/* tiles.c - the kernel's specification, and which variant this processor takes. */
#include "tiles.h"

static void plain_add(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < FIT_TILE; i++)
            for (size_t j = 0; j < FIT_TILE; j++)
                tile[i][j] += a[k][i] * b[k][j];
}

static void plain_subtract(fit_panel *tile, const fit_panel *a, const fit_panel *b, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < FIT_TILE; i++)
            for (size_t j = 0; j < FIT_TILE; j++)
                tile[i][j] -= a[k][i] * b[k][j];
}

const fit_kernels fit_kernels_c = {"c", plain_add, plain_add, plain_subtract};

const fit_kernels *fit_kernels_at(size_t i)
{
    const fit_kernels *all[4] = {&fit_kernels_c};
    size_t n = 1;
#ifdef FIT_WITH_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = &fit_kernels_avx2;
    if (__builtin_cpu_supports("avx512f"))
        all[n++] = &fit_kernels_avx512;
#endif
#ifdef FIT_WITH_NEON
    all[n++] = &fit_kernels_neon;
#endif
    return i < n ? all[i] : NULL;
}

const fit_kernels *fit_kernels_select(void)
{
    const fit_kernels *best = &fit_kernels_c;
    for (size_t i = 1; fit_kernels_at(i); i++)
        best = fit_kernels_at(i);
    return best;
}
