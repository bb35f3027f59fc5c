/* dots_avx2.c - the kernels for AVX2 and FMA. */
#include <immintrin.h>
#include <stdint.h>

typedef __m256d v;
typedef __m256 f;
typedef __m128 h;
enum { V_WIDTH = 4, F_WIDTH = 8 };
#define v_load(p)        _mm256_loadu_pd(p)
#define h_load(p)        _mm_loadu_ps(p)
#define h_sub(x, y)      _mm_sub_ps(x, y)
#define v_widen(x)       _mm256_cvtps_pd(x)
#define v_mul(x, y)      _mm256_mul_pd(x, y)
#define v_add(x, y)      _mm256_add_pd(x, y)
#define v_fused(x, y, z) _mm256_fmadd_pd(x, y, z)
#define f_load(p)        _mm256_loadu_ps(p)
#define f_store(p, x)    _mm256_storeu_ps(p, x)
#define f_set(x)         _mm256_set1_ps(x)
#define f_mul(x, y)      _mm256_mul_ps(x, y)
#define f_add(x, y)      _mm256_add_ps(x, y)
#define f_sub(x, y)      _mm256_sub_ps(x, y)

static inline h h_halves(const uint16_t *p)
{
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const void *)p)), 16));
}

static inline f f_halves(const uint16_t *p)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}

static inline void v_fold(double *lanes, const v b[4])
{
    v q = v_add(v_add(b[0], b[2]), v_add(b[1], b[3]));
    _mm256_storeu_pd(lanes, v_add(v_load(lanes), q));
}

#include "dots_template.h"

const fit_dots fit_dots_avx2 = {"avx2", add_products, add_scaled};
