/* dots_avx512.c - the kernels for AVX-512. */
#include <immintrin.h>
#include <stdint.h>

typedef __m512d v;
typedef __m512 f;
typedef __m256 h;
enum { V_WIDTH = 8, F_WIDTH = 16 };
#define v_load(p)        _mm512_loadu_pd(p)
#define h_load(p)        _mm256_loadu_ps(p)
#define h_sub(x, y)      _mm256_sub_ps(x, y)
#define v_widen(x)       _mm512_cvtps_pd(x)
#define v_mul(x, y)      _mm512_mul_pd(x, y)
#define v_add(x, y)      _mm512_add_pd(x, y)
#define v_fused(x, y, z) _mm512_fmadd_pd(x, y, z)
#define f_load(p)        _mm512_loadu_ps(p)
#define f_store(p, x)    _mm512_storeu_ps(p, x)
#define f_set(x)         _mm512_set1_ps(x)
#define f_mul(x, y)      _mm512_mul_ps(x, y)
#define f_add(x, y)      _mm512_add_ps(x, y)
#define f_sub(x, y)      _mm512_sub_ps(x, y)

static inline h h_halves(const uint16_t *p)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}

static inline f f_halves(const uint16_t *p)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

static inline void v_fold(double *lanes, const v b[2])
{
    v sum = v_add(b[0], b[1]);
    __m256d q = _mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd(sum, 1));
    _mm256_storeu_pd(lanes, _mm256_add_pd(_mm256_loadu_pd(lanes), q));
}

#include "dots_template.h"

const fit_dots fit_dots_avx512 = {"avx512", add_products, add_scaled};
