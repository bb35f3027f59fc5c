/* dots_avx512.c - the kernels for AVX-512. */
#include <immintrin.h>

typedef __m512d v;
typedef __m512 f;
enum { V_WIDTH = 8, F_WIDTH = 16 };
#define v_load(p)        _mm512_loadu_pd(p)
#define v_widen(p)       _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define v_mul(x, y)      _mm512_mul_pd(x, y)
#define v_add(x, y)      _mm512_add_pd(x, y)
#define v_fused(x, y, z) _mm512_fmadd_pd(x, y, z)
#define f_load(p)        _mm512_loadu_ps(p)
#define f_store(p, x)    _mm512_storeu_ps(p, x)
#define f_set(x)         _mm512_set1_ps(x)
#define f_mul(x, y)      _mm512_mul_ps(x, y)
#define f_add(x, y)      _mm512_add_ps(x, y)
#define f_sub(x, y)      _mm512_sub_ps(x, y)

static inline void v_fold(double *lanes, const v b[2])
{
    v h = v_add(b[0], b[1]);
    __m256d q = _mm256_add_pd(_mm512_castpd512_pd256(h), _mm512_extractf64x4_pd(h, 1));
    _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), q));
}

#include "dots_template.h"

const fit_dots fit_dots_avx512 = {"avx512", add_products, subtract, add_scaled};
