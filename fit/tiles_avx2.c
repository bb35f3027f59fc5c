/* tiles_avx2.c - the kernel for AVX2 and FMA: 4 x 12 sums in 12 registers. */
#include <immintrin.h>

typedef __m256d v;
enum { V_WIDTH = 4, V_ROWS = 4, V_VECTORS = 3 };
#define v_load(p)        _mm256_loadu_pd(p)
#define v_store(p, x)    _mm256_storeu_pd(p, x)
#define v_set(x)         _mm256_set1_pd(x)
#define v_mul(x, y)      _mm256_mul_pd(x, y)
#define v_add(x, y)      _mm256_add_pd(x, y)
#define v_sub(x, y)      _mm256_sub_pd(x, y)
#define v_fused(x, y, z) _mm256_fmadd_pd(x, y, z)
#include "tiles_template.h"

const fit_kernels fit_kernels_avx2 = {"avx2", tile_add_exact, tile_add, tile_subtract};
