/* tiles_avx512.c - the kernel for AVX-512: 8 x 24 sums in 24 registers. */
#include <immintrin.h>

typedef __m512d v;
enum { V_WIDTH = 8, V_ROWS = 8, V_VECTORS = 3 };
#define v_load(p)        _mm512_loadu_pd(p)
#define v_store(p, x)    _mm512_storeu_pd(p, x)
#define v_set(x)         _mm512_set1_pd(x)
#define v_mul(x, y)      _mm512_mul_pd(x, y)
#define v_add(x, y)      _mm512_add_pd(x, y)
#define v_sub(x, y)      _mm512_sub_pd(x, y)
#define v_fused(x, y, z) _mm512_fmadd_pd(x, y, z)
#include "tiles_template.h"

const fit_kernels fit_kernels_avx512 = {"avx512", tile_add_exact, tile_add, tile_subtract};
