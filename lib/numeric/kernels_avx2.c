/* kernels_avx2.c - the kernels for processors with AVX2, F16C and POPCNT: a vector of 16 floats is two
 * registers. */
#include "numeric/kernels.h"

#ifdef EMR_WITH_AVX2

#include "core/bytes.h"

#include <immintrin.h>

typedef struct v16 {
    __m256 a, b;
} v16;

static inline v16 v_zero(void)
{
    return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

static inline v16 v_set(float f)
{
    return (v16){_mm256_set1_ps(f), _mm256_set1_ps(f)};
}

static inline v16 v_load_f32(const void *p)
{
    return (v16){_mm256_loadu_ps((const float *)p), _mm256_loadu_ps((const float *)p + 8)};
}

static inline void v_store_f32(void *p, v16 v)
{
    _mm256_storeu_ps((float *)p, v.a);
    _mm256_storeu_ps((float *)p + 8, v.b);
}

static inline __m128i load_half(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static inline __m256 widen_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline v16 v_load_bf16(const uint8_t *p)
{
    return (v16){widen_bf16(load_half(p)), widen_bf16(load_half(p + 16))};
}

static inline v16 v_load_f16(const uint8_t *p)
{
    return (v16){_mm256_cvtph_ps(load_half(p)), _mm256_cvtph_ps(load_half(p + 16))};
}

static inline v16 v_add(v16 x, v16 y)
{
    return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

static inline v16 v_sub(v16 x, v16 y)
{
    return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

static inline v16 v_mul(v16 x, v16 y)
{
    return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

static inline v16 v_max(v16 x, v16 y)
{
    return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

static inline v16 v_min(v16 x, v16 y)
{
    return (v16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

static inline v16 v_and(v16 x, v16 y)
{
    return (v16){_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)};
}

static inline v16 v_xor(v16 x, v16 y)
{
    return (v16){_mm256_xor_ps(x.a, y.a), _mm256_xor_ps(x.b, y.b)};
}

static inline v16 v_abs(v16 x)
{
    return v_and(x, v_set(emr_f32_from_bits(0x7fffffff)));
}

static inline v16 v_sign(v16 x)
{
    return v_and(x, v_set(-0.0f));
}

static inline v16 positive(v16 x)
{
    return (v16){_mm256_cmp_ps(x.a, _mm256_setzero_ps(), _CMP_GT_OQ),
                 _mm256_cmp_ps(x.b, _mm256_setzero_ps(), _CMP_GT_OQ)};
}

/* A bit for each element that is > 0. */
static inline unsigned v_bits_positive(v16 x)
{
    v16 p = positive(x);
    return (unsigned)_mm256_movemask_ps(p.a) | (unsigned)_mm256_movemask_ps(p.b) << 8;
}

/* y where x > 0, else +0. */
static inline v16 v_where_positive(v16 x, v16 y)
{
    return v_and(positive(x), y);
}

/* most where sum > 0, least where sum < 0, and on a tie least or 0. */
static inline v16 v_elect(v16 sum, v16 most, v16 least, int tie_negative)
{
    v16 zero = v_zero(), up = positive(sum), down = positive(v_sub(zero, sum));
    if (tie_negative)
        down = (v16){_mm256_cmp_ps(sum.a, zero.a, _CMP_LE_OQ), _mm256_cmp_ps(sum.b, zero.b, _CMP_LE_OQ)};
    v16 chosen = {_mm256_or_ps(_mm256_and_ps(up.a, most.a), _mm256_and_ps(down.a, least.a)),
                  _mm256_or_ps(_mm256_and_ps(up.b, most.b), _mm256_and_ps(down.b, least.b))};
    return chosen;
}

/* +0 for either zero; anything else as it is. */
static inline v16 v_plus_zero(v16 x)
{
    __m256 zero = _mm256_setzero_ps();
    return (v16){_mm256_and_ps(x.a, _mm256_cmp_ps(x.a, zero, _CMP_NEQ_UQ)),
                 _mm256_and_ps(x.b, _mm256_cmp_ps(x.b, zero, _CMP_NEQ_UQ))};
}

/* The upper halves, rounded to nearest even; NaN stays NaN and becomes quiet. In the low 16 bits of each
 * element. */
static inline __m256i round_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

/* 16 elements in a 16-bit dtype. */
static inline __m256i narrow(unsigned dtype, v16 x)
{
    if (dtype == EMR_BF16) /* packing works in each half; put the quarters in order */
        return _mm256_permute4x64_epi64(_mm256_packus_epi32(round_bf16(x.a), round_bf16(x.b)), 0xd8);
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                            _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline __m256 bits_to_lanes(unsigned bits)
{
    const __m256i select = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i spread = _mm256_and_si256(_mm256_set1_epi32((int)bits), select);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(spread, select));
}

/* x where the bit is 1, else y, bit for bit. Were y known to be a term of the sum x, a compiler might add 0
 * to it instead, which makes NaNs quiet. */
static inline v16 v_select(uint16_t bits, v16 x, v16 y)
{
    __asm__("" : "+x"(y.a), "+x"(y.b));
    return (v16){_mm256_blendv_ps(y.a, x.a, bits_to_lanes(bits & 255u)),
                 _mm256_blendv_ps(y.b, x.b, bits_to_lanes(bits >> 8u))};
}

/* x rounded to the dtype. */
static inline v16 v_round(unsigned dtype, v16 x)
{
    uint8_t p[32];
    if (dtype == EMR_F32)
        return x;
    _mm256_storeu_si256((__m256i *)(void *)p, narrow(dtype, x));
    return dtype == EMR_BF16 ? v_load_bf16(p) : v_load_f16(p);
}

/* Rounds to the dtype and stores. */
static inline void v_store_rounded(unsigned dtype, uint8_t *p, v16 x)
{
    if (dtype == EMR_F32)
        v_store_f32(p, x);
    else
        _mm256_storeu_si256((__m256i *)(void *)p, narrow(dtype, x));
}

/* Rounds and stores where the bit is 1; elsewhere stores the 16-bit elements of `other`. */
static inline void v_store_rounded_where(unsigned dtype, uint8_t *p, v16 x, uint16_t bits,
                                         const uint8_t *other)
{
    const __m256i select = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
                                             16384, (short)0x8000);
    __m256i lanes = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((short)bits), select), select);
    __m256i old = _mm256_loadu_si256((const __m256i *)(const void *)other);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_blendv_epi8(old, narrow(dtype, x), lanes));
}

static inline uint64_t v_popcount(uint64_t x)
{
    return (uint64_t)_mm_popcnt_u64(x);
}

/* Adds 16 lanes, folded to four and widened, to a chunk's accumulators: the order of kernels.h. */
static inline void v_fold_add(double a[4], v16 lanes)
{
    __m256 h = _mm256_add_ps(lanes.a, lanes.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    _mm256_storeu_pd(a, _mm256_add_pd(_mm256_loadu_pd(a), _mm256_cvtps_pd(q)));
}

#include "numeric/kernels_template.h"

const emr_kernels emr_kernels_avx2 = {"avx2", merge, sum_range, apply};

#endif
