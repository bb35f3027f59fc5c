/* kernels_avx512.c - the kernels for processors with AVX-512 F, DQ, BW and VL: a vector of 16 floats is one
 * register, and a truth for each lane is a mask register. */
#include "numeric/kernels.h"

#ifdef EMR_WITH_AVX512

#include "core/bytes.h"

#include <immintrin.h>
#include <stdbool.h>

/* Of this file alone, whatever the compiler was told; but where instructions are emulated, for any processor. */
#if defined EMR_EMULATED_AVX512
#elif defined __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,f16c,popcnt"))), \
                             apply_to = function)
#elif defined __GNUC__
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,f16c,popcnt")
#endif

typedef __m512 v16;
typedef __mmask16 m16;

/* x as the compiler has it: 32 registers are enough for what each use would load again. */
static inline v16 v_once(v16 x)
{
    return x;
}

static inline v16 v_zero(void)
{
    return _mm512_setzero_ps();
}

static inline v16 v_set(float f)
{
    return _mm512_set1_ps(f);
}

static inline v16 v_load_f32(const void *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store_f32(void *p, v16 v)
{
    _mm512_storeu_ps(p, v);
}

static inline __m256i load_half(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline v16 v_load_bf16(const uint8_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_half(p)), 16));
}

/* One instruction puts 16 elements in order: there is nothing to gain from another order. */
static inline v16 v_load_even_odd(const uint8_t *p)
{
    return v_load_bf16(p);
}

static inline v16 v_in_order(v16 x)
{
    return x;
}

static inline v16 v_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(load_half(p));
}

static inline v16 v_add(v16 x, v16 y)
{
    return _mm512_add_ps(x, y);
}

static inline v16 v_sub(v16 x, v16 y)
{
    return _mm512_sub_ps(x, y);
}

static inline v16 v_mul(v16 x, v16 y)
{
    return _mm512_mul_ps(x, y);
}

static inline v16 v_max(v16 x, v16 y)
{
    return _mm512_max_ps(x, y);
}

static inline v16 v_min(v16 x, v16 y)
{
    return _mm512_min_ps(x, y);
}

/* +0 for either zero; anything else as it is. */
static inline v16 v_plus_zero(v16 x)
{
    return v_add(x, v_zero());
}

static inline v16 v_abs(v16 x)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
}

/* Where d and e are both not 0 and have the same sign; e is never -0. As integers: d with its sign turned by
 * that of e is greater than 0. */
static inline m16 v_agree(v16 d, v16 e)
{
    const __m512i sign = _mm512_set1_epi32((int)0x80000000), bits = _mm512_castps_si512(e);
    __m512i turned = _mm512_ternarylogic_epi32(_mm512_castps_si512(d), bits, sign, 0x78); /* d ^ (e & sign) */
    return _mm512_mask_cmpgt_epi32_mask(_mm512_test_epi32_mask(bits, bits), turned, _mm512_setzero_si512());
}

/* Where x > y. */
static inline m16 v_greater(v16 x, v16 y)
{
    return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ);
}

/* x where the lane is true, else +0. */
static inline v16 v_where(m16 lanes, v16 x)
{
    return _mm512_maskz_mov_ps(lanes, x);
}

/* A bit for each of 32 lanes. */
static inline uint32_t v_bits(m16 x, m16 y)
{
    return (uint32_t)x | (uint32_t)y << 16;
}

static inline uint32_t v_bits_even_odd(m16 x, m16 y)
{
    return v_bits(x, y);
}

/* low where sum < 0, high where sum > 0, and on a tie high or 0. */
static inline v16 v_elect(v16 sum, v16 high, v16 low, int tie_high)
{
    m16 up = _mm512_cmp_ps_mask(sum, v_zero(), _CMP_GT_OQ);
    if (tie_high)
        up = _mm512_cmp_ps_mask(sum, v_zero(), _CMP_GE_OQ);
    m16 down = _mm512_cmp_ps_mask(sum, v_zero(), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(_mm512_maskz_mov_ps(down, low), up, high);
}

/* The upper halves, rounded to nearest even; NaN stays NaN and becomes quiet. Adding half of what is cut off,
 * less one where the result would be even, carries where it has to. With `one_nan` there is no NaN but
 * EMR_NAN_F32, which rounding leaves as it is. */
static inline __m256i round_bf16(bool one_nan, v16 x)
{
    const __m512i odd_words = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 31,
                                               29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    __m512i u = _mm512_castps_si512(x), rounded = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
    m16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000)),
        nan = one_nan ? 0 : _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_add_epi32(rounded, odd, rounded, _mm512_set1_epi32(1));
    rounded = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(odd_words, rounded));
}

/* 16 elements in a 16-bit dtype. */
static inline __m256i narrow(unsigned dtype, bool one_nan, v16 x)
{
    if (dtype == EMR_DTYPE_BF16)
        return round_bf16(one_nan, x);
    return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* Where the bit is 1. */
static inline m16 v_lanes(uint16_t bits)
{
    return (m16)bits;
}

/* x where the bit is 1, else y, bit for bit. Were y known to be a term of the sum x, a compiler might add 0
 * to it instead, which makes NaNs quiet. */
static inline v16 v_select(uint16_t bits, v16 x, v16 y)
{
#ifndef EMR_EMULATED_AVX512
    __asm__("" : "+v"(y));
#else /* emulated, in no such register */
    __asm__("" : "+m"(y));
#endif
    return _mm512_mask_blend_ps((m16)bits, y, x);
}

/* x, with EMR_NAN_F32 for every NaN. */
static inline v16 v_one_nan(v16 x)
{
    const v16 nan = _mm512_castsi512_ps(_mm512_set1_epi32(EMR_NAN_F32));
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
}

/* x, plus y where the bit is 1. */
static inline v16 v_add_where(uint16_t bits, v16 x, v16 y)
{
    return _mm512_mask_add_ps(x, (m16)bits, x, y);
}

/* The same with bits `from` on, 0 or 16, of a word: by a comparison, since moves to masks are what such sums
 * wait for. */
static inline v16 v_add_where_of(uint32_t word, unsigned from, v16 x, v16 y)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i bits = _mm512_sllv_epi32(_mm512_set1_epi32((int)(1u << from)), lanes);
    return _mm512_mask_add_ps(x, _mm512_test_epi32_mask(_mm512_set1_epi32((int)word), bits), x, y);
}

/* x where the bit is 1, else -x. */
static inline v16 v_signed(uint16_t bits, v16 x)
{
    __m512i u = _mm512_castps_si512(x);
    return _mm512_castsi512_ps(_mm512_mask_xor_epi32(u, (m16)~bits, u, _mm512_set1_epi32((int)0x80000000)));
}

/* The same of x and -x. */
static inline v16 v_either(uint16_t bits, v16 x, v16 minus)
{
    return _mm512_mask_blend_ps((m16)bits, minus, x);
}

/* What a table of 16 has for each of 16 codes of 2 to 4 bits; of narrower codes it repeats itself. */
static inline v16 v_lookup(v16 table, uint64_t codes, unsigned width)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    __m512i shifts = _mm512_mullo_epi32(lanes, _mm512_set1_epi32((int)width));
    __m512i eights = _mm512_mask_set1_epi32(_mm512_set1_epi32((int)codes), 0xff00, (int)(codes >> 8 * width));
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(eights, shifts), table);
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
    __m256i kept = _mm256_mask_blend_epi16((m16)bits, load_half(other), narrow(dtype, true, x));
    _mm256_storeu_si256((__m256i *)(void *)p, kept);
}

/* 32 or 64 bytes past the caches, to where such a line begins. */
static inline void v_stream(uint8_t *to, const uint8_t *line, size_t n)
{
    if (n == 64)
        _mm512_stream_si512((__m512i *)(void *)to, _mm512_load_si512((const void *)line));
    else
        _mm256_stream_si256((__m256i *)(void *)to, _mm256_load_si256((const __m256i *)(const void *)line));
}

/* Other threads see what was stored. */
static inline void v_stream_end(void)
{
    _mm_sfence();
}

static inline uint64_t v_popcount(uint64_t x)
{
    return (uint64_t)__builtin_popcountll(x);
}

static inline __m256 upper_half(v16 x)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
}

/* Adds 16 lanes of both sums, folded to four and widened, to a chunk's accumulators: the order of kernels.h.
 */
static inline void v_fold_add(double a[8], v16 top, v16 bottom)
{
    __m256 t = _mm256_add_ps(_mm512_castps512_ps256(top), upper_half(top));
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(bottom), upper_half(bottom));
    __m256 q = _mm256_add_ps(_mm256_permute2f128_ps(t, b, 0x20), _mm256_permute2f128_ps(t, b, 0x31));
    _mm512_storeu_pd(a, _mm512_add_pd(_mm512_loadu_pd(a), _mm512_cvtps_pd(q)));
}

/* lanes[j] += x0[j] * y0[j] + x1[j] * y1[j] in f64, for eight lanes. */
static inline void add_products(double lanes[8], __m256 x0, __m256 y0, __m256 x1, __m256 y1)
{
    __m512d first = _mm512_mul_pd(_mm512_cvtps_pd(x0), _mm512_cvtps_pd(y0));
    __m512d second = _mm512_mul_pd(_mm512_cvtps_pd(x1), _mm512_cvtps_pd(y1));
    _mm512_storeu_pd(lanes, _mm512_add_pd(_mm512_loadu_pd(lanes), _mm512_add_pd(first, second)));
}

static inline void v_add_products(double lanes[16], v16 x0, v16 y0, v16 x1, v16 y1)
{
    add_products(lanes, _mm512_castps512_ps256(x0), _mm512_castps512_ps256(y0), _mm512_castps512_ps256(x1),
                 _mm512_castps512_ps256(y1));
    add_products(lanes + 8, upper_half(x0), upper_half(y0), upper_half(x1), upper_half(y1));
}

/* 16 signed bytes. */
static inline v16 v_load_codes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* Halves away from 0: what is just below a half does not reach 1 with the largest number below 0.5 added to it.
 */
static inline void v_store_codes(uint8_t *p, v16 x)
{
    v16 half = _mm512_or_ps(_mm512_and_ps(x, v_set(-0.0f)), v_set(0x1.fffffep-2f));
    m16 fits = _mm512_cmp_ps_mask(v_abs(x), v_set(127.5f), _CMP_LT_OQ);
    __m128i codes = _mm512_cvtepi32_epi8(_mm512_maskz_cvttps_epi32(fits, v_add(x, half)));
    _mm_storeu_si128((__m128i *)(void *)p, codes);
}

/* The instruction gives y where either is NaN. */
static inline v16 v_larger(v16 x, v16 y)
{
    return v_max(x, y);
}

static inline float v_largest(v16 x)
{
    return _mm512_reduce_max_ps(x);
}

/* Eight counters, each with room for its product. */
typedef __m512i counters;
enum { V_COUNTERS = 8 };

static inline counters c_set(uint32_t x)
{
    return _mm512_set1_epi64(x);
}

/* In the order that c_words undoes. */
static inline counters c_count(uint32_t x)
{
    return _mm512_add_epi32(c_set(x), _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0));
}

static inline counters c_load(const uint64_t numbers[8])
{
    return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), _mm512_loadu_si512(numbers));
}

static inline counters c_xor(counters x, counters y)
{
    return _mm512_xor_si512(x, y);
}

/* Nobody looks at the upper half of the lower one. */
static inline counters c_multiply(counters x, counters times, counters *low)
{
    *low = _mm512_mul_epu32(x, times);
    return _mm512_srli_epi64(*low, 32);
}

static inline void c_words(const counters words[4], v16 out[2])
{
    const __m512i lower = _mm512_set1_epi64(0xffffffff);
    __m512i first = _mm512_or_si512(_mm512_and_si512(words[0], lower), _mm512_slli_epi64(words[1], 32));
    __m512i second = _mm512_or_si512(_mm512_and_si512(words[2], lower), _mm512_slli_epi64(words[3], 32));
    out[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi64(first, second));
    out[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi64(first, second));
}

/* Where the bits of a float, as a number, are below one. */
static inline m16 v_below(v16 words, uint32_t limit)
{
    return _mm512_cmplt_epu32_mask(_mm512_castps_si512(words), _mm512_set1_epi32((int)limit));
}

/* A bit for each of 64 bytes. */
static inline uint64_t v_bytes_equal(v16 bytes, uint8_t x)
{
    return _mm512_cmpeq_epi8_mask(_mm512_castps_si512(bytes), _mm512_set1_epi8((char)x));
}

static inline uint64_t v_bytes_below(v16 bytes, uint8_t x)
{
    return _mm512_cmplt_epu8_mask(_mm512_castps_si512(bytes), _mm512_set1_epi8((char)x));
}

static inline v16 v_divide(v16 x, v16 y)
{
    return _mm512_div_ps(x, y);
}

enum { V_DOT_VECTORS = 8 }; /* whose accumulators stay in registers */

#define V_DOUBLE_BYTES 64   /* of a register, of doubles */
enum { V_PAIR_OTHERS = 4 }; /* vectors that one is paired with at a time, likewise */

#include "numeric/kernels_template.h"

#include "numeric/encode_template.h"

#include "numeric/pairs_template.h"

#include "numeric/votes_template.h"

#include "numeric/blocks_template.h"

typedef __m512d v8d;

static inline v8d d_zero(void)
{
    return _mm512_setzero_pd();
}

static inline v8d d_widen(const float *p)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}

static inline v8d d_add_product(v8d sum, v8d x, v8d y)
{
    return _mm512_add_pd(sum, _mm512_mul_pd(x, y));
}

static inline v8d d_add(v8d x, v8d y)
{
    return _mm512_add_pd(x, y);
}

static inline v8d d_abs(v8d x)
{
    return _mm512_abs_pd(x);
}

/* x, plus y where the bit is 1. */
static inline v8d d_add_where(uint8_t bits, v8d x, v8d y)
{
    return _mm512_mask_add_pd(x, bits, x, y);
}

static inline void d_store(double *p, v8d x)
{
    _mm512_storeu_pd(p, x);
}

#include "numeric/dots_template.h"
#include "numeric/random_template.h"

const emr_kernels emr_kernels_avx512 = {
    .name = "avx512",
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

#if defined __clang__ && !defined EMR_EMULATED_AVX512
#pragma clang attribute pop
#endif

#endif
