/* dots_avx2.c - the kernels for AVX2 and FMA. */
#include <immintrin.h>

typedef __m256d v;
typedef __m256 f;
enum { V_WIDTH = 4, F_WIDTH = 8 };
#define v_load(p)        _mm256_loadu_pd(p)
#define v_widen(p)       _mm256_cvtps_pd(_mm_loadu_ps(p))
#define v_mul(x, y)      _mm256_mul_pd(x, y)
#define v_add(x, y)      _mm256_add_pd(x, y)
#define v_fused(x, y, z) _mm256_fmadd_pd(x, y, z)
#define f_load(p)        _mm256_loadu_ps(p)
#define f_store(p, x)    _mm256_storeu_ps(p, x)
#define f_set(x)         _mm256_set1_ps(x)
#define f_mul(x, y)      _mm256_mul_ps(x, y)
#define f_add(x, y)      _mm256_add_ps(x, y)
#define f_sub(x, y)      _mm256_sub_ps(x, y)

static inline void v_fold(double *lanes, const v b[4])
{
    v q = v_add(v_add(b[0], b[2]), v_add(b[1], b[3]));
    _mm256_storeu_pd(lanes, v_add(v_load(lanes), q));
}

#include "dots_template.h"

const fit_dots fit_dots_avx2 = {"avx2", add_products, subtract, add_scaled};
