/* kernels_avx2.c - the kernels for processors with AVX2, F16C and POPCNT: a vector of 16 floats is two
 * registers. */
#include "numeric/kernels.h"

#ifdef EMR_WITH_AVX2

#include "core/bytes.h"

#include <immintrin.h>
#include <stdbool.h>

/* Of this file alone, whatever the compiler was told. */
#if defined __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c,popcnt"))), apply_to = function)
#elif defined __GNUC__
#pragma GCC target("avx2,f16c,popcnt")
#endif

typedef struct v16 {
    __m256 a, b;
} v16;

typedef struct m16 { /* a truth a lane: all ones or 0 */
    __m256i a, b;
} m16;

/* x, computed once: compilers would load it again for each use, and put what is short of registers on the
 * stack. */
static inline v16 v_once(v16 x)
{
    __asm__("" : "+x"(x.a), "+x"(x.b));
    return x;
}

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

/* The same with the even elements in one register and the odd ones in the other, for half the work. */
static inline v16 v_load_even_odd(const uint8_t *p)
{
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (v16){_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)),
                 _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)))};
}

static inline v16 v_in_order(v16 x)
{
    __m256 low = _mm256_unpacklo_ps(x.a, x.b), high = _mm256_unpackhi_ps(x.a, x.b);
    return (v16){_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
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

/* +0 for either zero; anything else as it is. */
static inline v16 v_plus_zero(v16 x)
{
    return v_add(x, v_zero());
}

static inline v16 v_abs(v16 x)
{
    return v_and(x, v_set(emr_f32_from_bits(0x7fffffff)));
}

static inline __m256i as_integers(__m256 x)
{
    return _mm256_castps_si256(x);
}

/* All ones where d and e are both not 0 and have the same sign. As integers, which more units compare: d with
 * the sign of e, or 0 where e is 0, is greater than 0. */
static inline m16 v_agree(v16 d, v16 e)
{
    const __m256i zero = _mm256_setzero_si256();
    return (m16){_mm256_cmpgt_epi32(_mm256_sign_epi32(as_integers(d.a), as_integers(e.a)), zero),
                 _mm256_cmpgt_epi32(_mm256_sign_epi32(as_integers(d.b), as_integers(e.b)), zero)};
}

/* All ones where x > y. */
static inline m16 v_greater(v16 x, v16 y)
{
    return (m16){as_integers(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
                 as_integers(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ))};
}

/* x where the lane is all ones, else +0. */
static inline v16 v_where(m16 lanes, v16 x)
{
    return (v16){_mm256_and_ps(_mm256_castsi256_ps(lanes.a), x.a),
                 _mm256_and_ps(_mm256_castsi256_ps(lanes.b), x.b)};
}

/* A bit for each of 32 lanes. Packing works in each half of a register: put the quarters in order. */
static inline uint32_t v_bits(m16 x, m16 y)
{
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(x.a, x.b), _mm256_packs_epi32(y.a, y.b));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    return (uint32_t)_mm256_movemask_epi8(bytes);
}

static inline uint32_t v_bits_even_odd(m16 x, m16 y)
{
    __m256i bytes =
        _mm256_packs_epi16(_mm256_blend_epi16(x.a, x.b, 0xaa), _mm256_blend_epi16(y.a, y.b, 0xaa));
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xd8));
}

/* low where sum < 0, high where sum > 0, and on a tie high or 0. */
static inline v16 v_elect(v16 sum, v16 high, v16 low, int tie_high)
{
    __m256 zero = _mm256_setzero_ps();
    v16 up = {_mm256_cmp_ps(sum.a, zero, _CMP_GT_OQ), _mm256_cmp_ps(sum.b, zero, _CMP_GT_OQ)};
    if (tie_high)
        up = (v16){_mm256_cmp_ps(sum.a, zero, _CMP_GE_OQ), _mm256_cmp_ps(sum.b, zero, _CMP_GE_OQ)};
    v16 down = {_mm256_cmp_ps(sum.a, zero, _CMP_LT_OQ), _mm256_cmp_ps(sum.b, zero, _CMP_LT_OQ)};
    return (v16){_mm256_or_ps(_mm256_and_ps(up.a, high.a), _mm256_and_ps(down.a, low.a)),
                 _mm256_or_ps(_mm256_and_ps(up.b, high.b), _mm256_and_ps(down.b, low.b))};
}

/* The upper halves, rounded to nearest even; NaN stays NaN and becomes quiet. In the low 16 bits of each
 * element. With `one_nan` there is no NaN but EMR_NAN_F32, which rounding leaves as it is. */
static inline __m256i round_bf16(bool one_nan, __m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    if (one_nan)
        return rounded;
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

/* 16 elements in a 16-bit dtype. */
static inline __m256i narrow(unsigned dtype, bool one_nan, v16 x)
{
    if (dtype == EMR_DTYPE_BF16) /* packing works in each half; put the quarters in order */
        return _mm256_permute4x64_epi64(
            _mm256_packus_epi32(round_bf16(one_nan, x.a), round_bf16(one_nan, x.b)), 0xd8);
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                            _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline __m256 bits_to_lanes(unsigned bits)
{
    const __m256i select = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i spread = _mm256_and_si256(_mm256_set1_epi32((int)bits), select);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(spread, select));
}

/* All ones where the bit is 1. */
static inline m16 v_lanes(uint16_t bits)
{
    const __m256i low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), high = _mm256_slli_epi32(low, 8);
    const __m256i all = _mm256_set1_epi32(bits);
    return (m16){_mm256_cmpeq_epi32(_mm256_and_si256(all, low), low),
                 _mm256_cmpeq_epi32(_mm256_and_si256(all, high), high)};
}

/* x where the bit is 1, else y, bit for bit. Were y known to be a term of the sum x, a compiler might add 0
 * to it instead, which makes NaNs quiet. */
static inline v16 v_select(uint16_t bits, v16 x, v16 y)
{
    __asm__("" : "+x"(y.a), "+x"(y.b));
    return (v16){_mm256_blendv_ps(y.a, x.a, bits_to_lanes(bits & 255u)),
                 _mm256_blendv_ps(y.b, x.b, bits_to_lanes(bits >> 8u))};
}

static inline __m256 with_one_nan(__m256 x)
{
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(EMR_NAN_F32));
    return _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* x, with EMR_NAN_F32 for every NaN. There is hardly ever one, and to look for it costs less than to put it
 * right: one comparison finds it in either register. */
static inline v16 v_one_nan(v16 x)
{
    if (__builtin_expect(_mm256_movemask_ps(_mm256_cmp_ps(x.a, x.b, _CMP_UNORD_Q)), 0))
        x = (v16){with_one_nan(x.a), with_one_nan(x.b)};
    return x;
}

/* x, plus y where the bit is 1. */
static inline v16 v_add_where(uint16_t bits, v16 x, v16 y)
{
    return (v16){_mm256_add_ps(x.a, _mm256_and_ps(y.a, bits_to_lanes(bits & 255u))),
                 _mm256_add_ps(x.b, _mm256_and_ps(y.b, bits_to_lanes(bits >> 8u)))};
}

/* The same with bits `from` on, 0 or 16, of a word. */
#define v_add_where_of(word, from, x, y) v_add_where((uint16_t)((word) >> (from)), x, y)

static inline __m256 signed_by(unsigned bits, __m256 x)
{
    const __m256i shifts = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    __m256i minus = _mm256_sllv_epi32(_mm256_set1_epi32((int)~bits), shifts);
    return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_and_si256(minus, _mm256_set1_epi32((int)0x80000000))));
}

/* x where the bit is 1, else -x. */
static inline v16 v_signed(uint16_t bits, v16 x)
{
    return (v16){signed_by(bits, x.a), signed_by((unsigned)bits >> 8, x.b)};
}

/* The same of x and -x. */
static inline v16 v_either(uint16_t bits, v16 x, v16 minus)
{
    (void)minus;
    return v_signed(bits, x);
}

/* Eight codes; the fourth bit of each says which half of the table. */
static inline __m256 lookup_eight(v16 table, uint32_t codes, unsigned width)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i shifts = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)width));
    __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32((int)codes), shifts);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.a, index),
                            _mm256_permutevar8x32_ps(table.b, index),
                            _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

/* What a table of 16 has for each of 16 codes of 2 to 4 bits; of narrower codes it repeats itself. */
static inline v16 v_lookup(v16 table, uint64_t codes, unsigned width)
{
    return (v16){lookup_eight(table, (uint32_t)codes, width),
                 lookup_eight(table, (uint32_t)(codes >> 8 * width), width)};
}

/* Rounds to a 16-bit dtype and stores. */
static inline void v_store_narrow(unsigned dtype, uint8_t *p, v16 x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, narrow(dtype, false, x));
}

/* Rounds and stores where the bit is 1; elsewhere stores the 16-bit elements of `other`. x is as v_one_nan
 * leaves it. */
static inline void v_store_rounded_where(unsigned dtype, uint8_t *p, v16 x, uint16_t bits,
                                         const uint8_t *other)
{
    const __m256i select = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
                                             16384, (short)0x8000);
    __m256i lanes = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((short)bits), select), select);
    __m256i old = _mm256_loadu_si256((const __m256i *)(const void *)other);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_blendv_epi8(old, narrow(dtype, true, x), lanes));
}

/* 32 or 64 bytes past the caches, to where such a line begins. */
static inline void v_stream(uint8_t *to, const uint8_t *line, size_t n)
{
    for (size_t i = 0; i < n; i += 32)
        _mm256_stream_si256((__m256i *)(void *)(to + i),
                            _mm256_load_si256((const __m256i *)(const void *)(line + i)));
}

/* Other threads see what was stored. */
static inline void v_stream_end(void)
{
    _mm_sfence();
}

static inline uint64_t v_popcount(uint64_t x)
{
    return (uint64_t)_mm_popcnt_u64(x);
}

/* Adds 16 lanes of both sums, folded to four and widened, to a chunk's accumulators: the order of kernels.h.
 */
static inline void v_fold_add(double a[8], v16 top, v16 bottom)
{
    __m256 t = _mm256_add_ps(top.a, top.b), b = _mm256_add_ps(bottom.a, bottom.b);
    __m256 q = _mm256_add_ps(_mm256_permute2f128_ps(t, b, 0x20), _mm256_permute2f128_ps(t, b, 0x31));
    __m256d tops = _mm256_cvtps_pd(_mm256_castps256_ps128(q)),
            bottoms = _mm256_cvtps_pd(_mm256_extractf128_ps(q, 1));
    _mm256_storeu_pd(a, _mm256_add_pd(_mm256_loadu_pd(a), tops));
    _mm256_storeu_pd(a + 4, _mm256_add_pd(_mm256_loadu_pd(a + 4), bottoms));
}

/* lanes[j] += x0[j] * y0[j] + x1[j] * y1[j] in f64. */
static inline void v_add_products(double lanes[16], v16 x0, v16 y0, v16 x1, v16 y1)
{
    float x[2][16], y[2][16];
    v_store_f32(x[0], x0);
    v_store_f32(x[1], x1);
    v_store_f32(y[0], y0);
    v_store_f32(y[1], y1);
    for (size_t j = 0; j < 16; j += 4) {
        __m256d first =
            _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(x[0] + j)), _mm256_cvtps_pd(_mm_loadu_ps(y[0] + j)));
        __m256d second =
            _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(x[1] + j)), _mm256_cvtps_pd(_mm_loadu_ps(y[1] + j)));
        _mm256_storeu_pd(lanes + j, _mm256_add_pd(_mm256_loadu_pd(lanes + j), _mm256_add_pd(first, second)));
    }
}

static inline __m256 eight_codes(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* 16 signed bytes. */
static inline v16 v_load_codes(const uint8_t *p)
{
    return (v16){eight_codes(p), eight_codes(p + 8)};
}

/* Halves away from 0: what is just below a half does not reach 1 with the largest number below 0.5 added to it.
 */
static inline __m256i round_eight(__m256 x)
{
    const __m256 minus = _mm256_set1_ps(-0.0f);
    __m256 half = _mm256_or_ps(_mm256_and_ps(x, minus), _mm256_set1_ps(0x1.fffffep-2f));
    __m256 fits = _mm256_cmp_ps(_mm256_andnot_ps(minus, x), _mm256_set1_ps(127.5f), _CMP_LT_OQ);
    return _mm256_and_si256(_mm256_cvttps_epi32(_mm256_add_ps(x, half)), _mm256_castps_si256(fits));
}

static inline void v_store_codes(uint8_t *p, v16 x)
{
    __m256i words = _mm256_packs_epi32(round_eight(x.a), round_eight(x.b));
    words = _mm256_permute4x64_epi64(words, 0xd8); /* packing works in each half */
    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

/* The instruction gives y where either is NaN. */
static inline v16 v_larger(v16 x, v16 y)
{
    return v_max(x, y);
}

static inline float v_largest(v16 x)
{
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* Four counters, each with room for its product. */
typedef __m256i counters;
enum { V_COUNTERS = 4 };

static inline counters c_set(uint32_t x)
{
    return _mm256_set1_epi64x(x);
}

/* The middle two change places, which c_words undoes. */
static inline counters c_count(uint32_t x)
{
    return _mm256_add_epi32(c_set(x), _mm256_setr_epi64x(0, 2, 1, 3));
}

static inline counters c_load(const uint64_t numbers[4])
{
    return _mm256_permute4x64_epi64(_mm256_loadu_si256((const __m256i *)(const void *)numbers), 0xd8);
}

static inline counters c_xor(counters x, counters y)
{
    return _mm256_xor_si256(x, y);
}

/* Nobody looks at the upper half of the lower one. */
static inline counters c_multiply(counters x, counters times, counters *low)
{
    *low = _mm256_mul_epu32(x, times);
    return _mm256_srli_epi64(*low, 32);
}

static inline void c_words(const counters words[4], v16 out[1])
{
    __m256i first = _mm256_blend_epi32(words[0], _mm256_slli_epi64(words[1], 32), 0xaa);
    __m256i second = _mm256_blend_epi32(words[2], _mm256_slli_epi64(words[3], 32), 0xaa);
    out[0].a = _mm256_castsi256_ps(_mm256_unpacklo_epi64(first, second));
    out[0].b = _mm256_castsi256_ps(_mm256_unpackhi_epi64(first, second));
}

/* Where the bits of a float, as a number, are below one. There are comparisons of signed numbers alone. */
static inline m16 v_below(v16 words, uint32_t limit)
{
    const __m256i top = _mm256_set1_epi32((int)0x80000000),
                  most = _mm256_set1_epi32((int)(limit ^ 0x80000000u));
    return (m16){_mm256_cmpgt_epi32(most, _mm256_xor_si256(as_integers(words.a), top)),
                 _mm256_cmpgt_epi32(most, _mm256_xor_si256(as_integers(words.b), top))};
}

/* A bit for each of 64 bytes. */
static inline uint64_t byte_bits(__m256i first, __m256i second)
{
    return (uint32_t)_mm256_movemask_epi8(first) | (uint64_t)(uint32_t)_mm256_movemask_epi8(second) << 32;
}

static inline uint64_t v_bytes_equal(v16 bytes, uint8_t x)
{
    const __m256i all = _mm256_set1_epi8((char)x);
    return byte_bits(_mm256_cmpeq_epi8(as_integers(bytes.a), all),
                     _mm256_cmpeq_epi8(as_integers(bytes.b), all));
}

/* Those below x: the others are the larger ones of themselves and x. */
static inline uint64_t v_bytes_below(v16 bytes, uint8_t x)
{
    const __m256i all = _mm256_set1_epi8((char)x), a = as_integers(bytes.a), b = as_integers(bytes.b);
    return ~byte_bits(_mm256_cmpeq_epi8(_mm256_max_epu8(a, all), a),
                      _mm256_cmpeq_epi8(_mm256_max_epu8(b, all), b));
}

static inline v16 v_divide(v16 x, v16 y)
{
    return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}

enum { V_DOT_VECTORS = 2 }; /* whose accumulators stay in registers */

#define V_DOUBLE_BYTES 32   /* of a register, of doubles */
enum { V_PAIR_OTHERS = 2 }; /* vectors that one is paired with at a time, likewise */

#include "numeric/kernels_template.h"

#include "numeric/encode_template.h"

#include "numeric/pairs_template.h"

#include "numeric/votes_template.h"

#include "numeric/blocks_template.h"

typedef struct v8d {
    __m256d a, b;
} v8d;

static inline v8d d_zero(void)
{
    return (v8d){_mm256_setzero_pd(), _mm256_setzero_pd()};
}

static inline v8d d_widen(const float *p)
{
    return (v8d){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}

static inline v8d d_add_product(v8d sum, v8d x, v8d y)
{
    return (v8d){_mm256_add_pd(sum.a, _mm256_mul_pd(x.a, y.a)),
                 _mm256_add_pd(sum.b, _mm256_mul_pd(x.b, y.b))};
}

static inline v8d d_add(v8d x, v8d y)
{
    return (v8d){_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b)};
}

static inline v8d d_abs(v8d x)
{
    const __m256d minus = _mm256_set1_pd(-0.0);
    return (v8d){_mm256_andnot_pd(minus, x.a), _mm256_andnot_pd(minus, x.b)};
}

/* y where the bits of `select` are set in `bits`. */
static inline __m256d four_where(unsigned bits, __m256i select, __m256d y)
{
    __m256i spread = _mm256_and_si256(_mm256_set1_epi64x(bits), select);
    return _mm256_and_pd(y, _mm256_castsi256_pd(_mm256_cmpeq_epi64(spread, select)));
}

/* x, plus y where the bit is 1. */
static inline v8d d_add_where(uint8_t bits, v8d x, v8d y)
{
    return (v8d){_mm256_add_pd(x.a, four_where(bits, _mm256_setr_epi64x(1, 2, 4, 8), y.a)),
                 _mm256_add_pd(x.b, four_where(bits, _mm256_setr_epi64x(16, 32, 64, 128), y.b))};
}

static inline void d_store(double *p, v8d x)
{
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
}

#include "numeric/dots_template.h"
#include "numeric/random_template.h"

const emr_kernels emr_kernels_avx2 = {
    .name = "avx2",
    .merge = merge,
    .sum_range = sum_range,
    .convert = convert,
    .subtract = subtract,
    CODE_KERNELS,
    .encode = ENCODE_KERNELS,
    .dots = dots,
    .pairs = PAIR_KERNELS,
    .random = RANDOM_KERNELS,
    .votes = VOTE_KERNELS,
    BLOCK_KERNELS,
};

#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
