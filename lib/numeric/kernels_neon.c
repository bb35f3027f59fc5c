/* kernels_neon.c - the kernels for 64-bit ARM: a vector of 16 floats is four registers. */
#include "numeric/kernels.h"

#ifdef EMR_WITH_NEON

#include "core/bytes.h"

#include <arm_neon.h>
#include <stdbool.h>

typedef struct v16 {
    float32x4_t r[4];
} v16;

typedef struct m16 { /* a truth a lane: all ones or 0 */
    uint32x4_t r[4];
} m16;

/* One operation on each of the four registers. */
#define EACH(expression)                                                                                     \
    v16 result;                                                                                              \
    for (int i = 0; i < 4; i++)                                                                              \
        result.r[i] = (expression);                                                                          \
    return result

/* x as the compiler has it: 32 registers are enough for what each use would load again. */
static inline v16 v_once(v16 x)
{
    return x;
}

static inline v16 v_set(float f)
{
    EACH(vdupq_n_f32(f));
}

static inline v16 v_zero(void)
{
    return v_set(0);
}

static inline v16 v_load_f32(const void *p)
{
    EACH(vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p + 16 * i)));
}

static inline void v_store_f32(void *p, v16 v)
{
    for (int i = 0; i < 4; i++)
        vst1q_u8((uint8_t *)p + 16 * i, vreinterpretq_u8_f32(v.r[i]));
}

static inline uint16x4_t load_half(const uint8_t *p)
{
    return vreinterpret_u16_u8(vld1_u8(p));
}

static inline v16 v_load_bf16(const uint8_t *p)
{
    EACH(vreinterpretq_f32_u32(vshll_n_u16(load_half(p + 8 * i), 16)));
}

/* Putting elements in order is free: there is nothing to gain from another order. */
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
    EACH(vcvt_f32_f16(vreinterpret_f16_u16(load_half(p + 8 * i))));
}

static inline v16 v_add(v16 x, v16 y)
{
    EACH(vaddq_f32(x.r[i], y.r[i]));
}

static inline v16 v_sub(v16 x, v16 y)
{
    EACH(vsubq_f32(x.r[i], y.r[i]));
}

static inline v16 v_mul(v16 x, v16 y)
{
    EACH(vmulq_f32(x.r[i], y.r[i]));
}

static inline v16 v_max(v16 x, v16 y)
{
    EACH(vmaxq_f32(x.r[i], y.r[i]));
}

static inline v16 v_min(v16 x, v16 y)
{
    EACH(vminq_f32(x.r[i], y.r[i]));
}

static inline float32x4_t and_bits(float32x4_t x, uint32x4_t mask)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), mask));
}

/* +0 for either zero; anything else as it is. */
static inline v16 v_plus_zero(v16 x)
{
    return v_add(x, v_zero());
}

static inline v16 v_abs(v16 x)
{
    EACH(vabsq_f32(x.r[i]));
}

/* Whether d and e are both not 0 and have the same sign: as integers, d with its sign turned by that of e is
 * greater than 0. */
static inline uint32x4_t agree(float32x4_t d, float32x4_t e)
{
    uint32x4_t bits = vreinterpretq_u32_f32(e), sign = vandq_u32(bits, vdupq_n_u32(0x80000000u));
    int32x4_t turned = vreinterpretq_s32_u32(veorq_u32(vreinterpretq_u32_f32(d), sign));
    return vandq_u32(vcgtzq_s32(turned), vtstq_u32(bits, bits));
}

static inline m16 v_agree(v16 d, v16 e)
{
    m16 result;
    for (int i = 0; i < 4; i++)
        result.r[i] = agree(d.r[i], e.r[i]);
    return result;
}

/* All ones where x > y. */
static inline m16 v_greater(v16 x, v16 y)
{
    m16 result;
    for (int i = 0; i < 4; i++)
        result.r[i] = vcgtq_f32(x.r[i], y.r[i]);
    return result;
}

/* x where the lane is all ones, else +0. */
static inline v16 v_where(m16 lanes, v16 x)
{
    EACH(and_bits(x.r[i], lanes.r[i]));
}

/* 16 truths as bytes of all ones or 0. */
static inline uint8x16_t narrow_truths(m16 x)
{
    uint16x8_t low = vcombine_u16(vmovn_u32(x.r[0]), vmovn_u32(x.r[1]));
    uint16x8_t high = vcombine_u16(vmovn_u32(x.r[2]), vmovn_u32(x.r[3]));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
}

/* A bit for each of 32 lanes: three rounds of pairwise addition gather eight bits each. */
static inline uint32_t v_bits(m16 x, m16 y)
{
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t weight = vld1q_u8(weights);
    uint8x16_t bits = vpaddq_u8(vandq_u8(narrow_truths(x), weight), vandq_u8(narrow_truths(y), weight));
    bits = vpaddq_u8(bits, bits);
    bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u32(vreinterpretq_u32_u8(bits), 0);
}

static inline uint32_t v_bits_even_odd(m16 x, m16 y)
{
    return v_bits(x, y);
}

/* low where sum < 0, high where sum > 0, and on a tie high or 0. */
static inline v16 v_elect(v16 sum, v16 high, v16 low, int tie_high)
{
    EACH(vbslq_f32(vcltzq_f32(sum.r[i]), low.r[i],
                   and_bits(high.r[i], tie_high ? vcgezq_f32(sum.r[i]) : vcgtzq_f32(sum.r[i]))));
}

/* Rounded to nearest even; NaN stays NaN and becomes quiet. With `one_nan` there is no NaN but EMR_NAN_F32,
 * which rounding leaves as it is. */
static inline uint16x4_t round_bf16(bool one_nan, float32x4_t x)
{
    uint32x4_t u = vreinterpretq_u32_f32(x), upper = vshrq_n_u32(u, 16);
    uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
    uint32x4_t rounded = vshrq_n_u32(vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
    return vmovn_u32(one_nan ? rounded : vbslq_u32(vceqq_f32(x, x), rounded, quiet));
}

static inline uint16x4_t narrow(unsigned dtype, bool one_nan, float32x4_t x)
{
    return dtype == EMR_DTYPE_BF16 ? round_bf16(one_nan, x) : vreinterpret_u16_f16(vcvt_f16_f32(x));
}

/* Rounds to the dtype and stores. */
static inline void v_store_narrow(unsigned dtype, uint8_t *p, v16 x)
{
    for (int i = 0; i < 4; i++)
        vst1_u8(p + 8 * i, vreinterpret_u8_u16(narrow(dtype, false, x.r[i])));
}

static inline uint32x4_t bits_to_lanes(unsigned bits, int i)
{
    static const uint32_t weights[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits >> (4 * i)), vld1q_u32(weights));
}

/* x where the bit is 1, else y, bit for bit. Were y known to be a term of the sum x, a compiler might add 0
 * to it instead, which makes NaNs quiet. */
static inline v16 v_select(uint16_t bits, v16 x, v16 y)
{
    __asm__("" : "+w"(y.r[0]), "+w"(y.r[1]), "+w"(y.r[2]), "+w"(y.r[3]));
    EACH(vbslq_f32(bits_to_lanes(bits, i), x.r[i], y.r[i]));
}

/* All ones where the bit is 1. */
static inline m16 v_lanes(uint16_t bits)
{
    m16 lanes;
    for (int i = 0; i < 4; i++)
        lanes.r[i] = bits_to_lanes(bits, i);
    return lanes;
}

/* x, with EMR_NAN_F32 for every NaN. */
static inline v16 v_one_nan(v16 x)
{
    EACH(vbslq_f32(vceqq_f32(x.r[i], x.r[i]), x.r[i], vreinterpretq_f32_u32(vdupq_n_u32(EMR_NAN_F32))));
}

/* x, plus y where the bit is 1. */
static inline v16 v_add_where(uint16_t bits, v16 x, v16 y)
{
    EACH(vaddq_f32(x.r[i], and_bits(y.r[i], bits_to_lanes(bits, i))));
}

/* The same with bits `from` on, 0 or 16, of a word. */
#define v_add_where_of(word, from, x, y) v_add_where((uint16_t)((word) >> (from)), x, y)

/* x where the bit is 1, else -x. */
static inline v16 v_signed(uint16_t bits, v16 x)
{
    static const int32_t counts[4] = {31, 30, 29, 28};
    const int32x4_t shifts = vld1q_s32(counts);
    const uint32x4_t sign = vdupq_n_u32(0x80000000u);
    EACH(vreinterpretq_f32_u32(
        veorq_u32(vreinterpretq_u32_f32(x.r[i]),
                  vandq_u32(vshlq_u32(vdupq_n_u32(~(uint32_t)bits >> (4 * i)), shifts), sign))));
}

/* The same of x and -x. */
static inline v16 v_either(uint16_t bits, v16 x, v16 minus)
{
    (void)minus;
    return v_signed(bits, x);
}

/* What a table of 16 has for each of 16 codes of 2 to 4 bits; of narrower codes it repeats itself. Looked
 * up byte by byte. */
static inline v16 v_lookup(v16 table, uint64_t codes, unsigned width)
{
    static const int32_t lanes[4] = {0, -1, -2, -3};
    const int32x4_t shifts = vmulq_n_s32(vld1q_s32(lanes), (int32_t)width);
    const uint8x16x4_t bytes = {{vreinterpretq_u8_f32(table.r[0]), vreinterpretq_u8_f32(table.r[1]),
                                 vreinterpretq_u8_f32(table.r[2]), vreinterpretq_u8_f32(table.r[3])}};
    v16 result;
    for (unsigned i = 0; i < 4; i++) {
        uint32x4_t code = vshlq_u32(vdupq_n_u32((uint32_t)(codes >> 4 * i * width)), shifts);
        uint32x4_t index = vmulq_n_u32(vandq_u32(code, vdupq_n_u32(15)), 0x04040404u);
        index = vaddq_u32(index, vdupq_n_u32(0x03020100u));
        result.r[i] = vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(index)));
    }
    return result;
}

/* Rounds and stores where the bit is 1; elsewhere stores the 16-bit elements of `other`. x is as v_one_nan
 * leaves it. */
static inline void v_store_rounded_where(unsigned dtype, uint8_t *p, v16 x, uint16_t bits,
                                         const uint8_t *other)
{
    for (int i = 0; i < 4; i++) {
        uint16x4_t lanes = vmovn_u32(bits_to_lanes(bits, i));
        uint16x4_t kept = vbsl_u16(lanes, narrow(dtype, true, x.r[i]), load_half(other + 8 * i));
        vst1_u8(p + 8 * i, vreinterpret_u8_u16(kept));
    }
}

/* There are no such stores here. */
static inline void v_stream(uint8_t *to, const uint8_t *line, size_t n)
{
    memcpy(to, line, n);
}

static inline void v_stream_end(void)
{
}

static inline uint64_t v_popcount(uint64_t x)
{
    return vaddv_u8(vcnt_u8(vcreate_u8(x)));
}

/* Adds 16 lanes, folded to four and widened, to four of a chunk's accumulators: the order of kernels.h. */
static inline void fold_add(double a[4], v16 lanes)
{
    float32x4_t q = vaddq_f32(vaddq_f32(lanes.r[0], lanes.r[2]), vaddq_f32(lanes.r[1], lanes.r[3]));
    vst1q_f64(a, vaddq_f64(vld1q_f64(a), vcvt_f64_f32(vget_low_f32(q))));
    vst1q_f64(a + 2, vaddq_f64(vld1q_f64(a + 2), vcvt_high_f64_f32(q)));
}

static inline void v_fold_add(double a[8], v16 top, v16 bottom)
{
    fold_add(a, top);
    fold_add(a + 4, bottom);
}

/* lanes[j] += x0[j] * y0[j] + x1[j] * y1[j] in f64. */
static inline void v_add_products(double lanes[16], v16 x0, v16 y0, v16 x1, v16 y1)
{
    for (int i = 0; i < 4; i++) {
        float64x2_t low0 =
            vmulq_f64(vcvt_f64_f32(vget_low_f32(x0.r[i])), vcvt_f64_f32(vget_low_f32(y0.r[i])));
        float64x2_t low1 =
            vmulq_f64(vcvt_f64_f32(vget_low_f32(x1.r[i])), vcvt_f64_f32(vget_low_f32(y1.r[i])));
        float64x2_t high0 = vmulq_f64(vcvt_high_f64_f32(x0.r[i]), vcvt_high_f64_f32(y0.r[i]));
        float64x2_t high1 = vmulq_f64(vcvt_high_f64_f32(x1.r[i]), vcvt_high_f64_f32(y1.r[i]));
        double *to = lanes + 4 * i;
        vst1q_f64(to, vaddq_f64(vld1q_f64(to), vaddq_f64(low0, low1)));
        vst1q_f64(to + 2, vaddq_f64(vld1q_f64(to + 2), vaddq_f64(high0, high1)));
    }
}

static inline float32x4_t four_codes(int16x4_t codes)
{
    return vcvtq_f32_s32(vmovl_s16(codes));
}

/* 16 signed bytes. */
static inline v16 v_load_codes(const uint8_t *p)
{
    int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
    int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
    return (v16){{four_codes(vget_low_s16(low)), four_codes(vget_high_s16(low)),
                  four_codes(vget_low_s16(high)), four_codes(vget_high_s16(high))}};
}

/* Halves away from 0. */
static inline int16x4_t round_four(float32x4_t x)
{
    uint32x4_t fits = vcltq_f32(vabsq_f32(x), vdupq_n_f32(127.5f));
    return vmovn_s32(vandq_s32(vcvtaq_s32_f32(x), vreinterpretq_s32_u32(fits)));
}

static inline void v_store_codes(uint8_t *p, v16 x)
{
    int8x8_t low = vmovn_s16(vcombine_s16(round_four(x.r[0]), round_four(x.r[1])));
    int8x8_t high = vmovn_s16(vcombine_s16(round_four(x.r[2]), round_four(x.r[3])));
    vst1q_u8(p, vreinterpretq_u8_s8(vcombine_s8(low, high)));
}

/* The instruction for it gives NaN where either is. */
static inline v16 v_larger(v16 x, v16 y)
{
    EACH(vbslq_f32(vcgtq_f32(x.r[i], y.r[i]), x.r[i], y.r[i]));
}

static inline float v_largest(v16 x)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.r[0], x.r[1]), vmaxq_f32(x.r[2], x.r[3])));
}

/* Four counters. */
typedef uint32x4_t counters;
enum { V_COUNTERS = 4 };

static inline counters c_set(uint32_t x)
{
    return vdupq_n_u32(x);
}

static inline counters c_count(uint32_t x)
{
    static const uint32_t lanes[4] = {0, 1, 2, 3};
    return vaddq_u32(c_set(x), vld1q_u32(lanes));
}

static inline counters c_load(const uint64_t numbers[4])
{
    return vcombine_u32(vmovn_u64(vld1q_u64(numbers)), vmovn_u64(vld1q_u64(numbers + 2)));
}

static inline counters c_xor(counters x, counters y)
{
    return veorq_u32(x, y);
}

static inline counters c_multiply(counters x, counters times, counters *low)
{
    uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(times)));
    uint32x4_t second = vreinterpretq_u32_u64(vmull_high_u32(x, times));
    *low = vuzp1q_u32(first, second);
    return vuzp2q_u32(first, second);
}

static inline void c_words(const counters words[4], v16 out[1])
{
    uint32x4x2_t even = vzipq_u32(words[0], words[2]), odd = vzipq_u32(words[1], words[3]);
    uint32x4x2_t low = vzipq_u32(even.val[0], odd.val[0]), high = vzipq_u32(even.val[1], odd.val[1]);
    out[0] = (v16){{vreinterpretq_f32_u32(low.val[0]), vreinterpretq_f32_u32(low.val[1]),
                    vreinterpretq_f32_u32(high.val[0]), vreinterpretq_f32_u32(high.val[1])}};
}

/* Where the bits of a float, as a number, are below one. */
static inline m16 v_below(v16 words, uint32_t limit)
{
    m16 below;
    for (int i = 0; i < 4; i++)
        below.r[i] = vcltq_u32(vreinterpretq_u32_f32(words.r[i]), vdupq_n_u32(limit));
    return below;
}

/* A bit for each of 64 bytes, which are all ones or 0: three rounds of pairwise addition gather eight bits each. */
static inline uint64_t byte_bits(const uint8x16_t truths[4])
{
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t weight = vld1q_u8(weights);
    uint8x16_t low = vpaddq_u8(vandq_u8(truths[0], weight), vandq_u8(truths[1], weight));
    uint8x16_t high = vpaddq_u8(vandq_u8(truths[2], weight), vandq_u8(truths[3], weight));
    uint8x16_t bits = vpaddq_u8(low, high);
    bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u64(vreinterpretq_u64_u8(bits), 0);
}

static inline uint64_t v_bytes_equal(v16 bytes, uint8_t x)
{
    uint8x16_t equal[4];
    for (int i = 0; i < 4; i++)
        equal[i] = vceqq_u8(vreinterpretq_u8_f32(bytes.r[i]), vdupq_n_u8(x));
    return byte_bits(equal);
}

static inline uint64_t v_bytes_below(v16 bytes, uint8_t x)
{
    uint8x16_t below[4];
    for (int i = 0; i < 4; i++)
        below[i] = vcltq_u8(vreinterpretq_u8_f32(bytes.r[i]), vdupq_n_u8(x));
    return byte_bits(below);
}

static inline v16 v_divide(v16 x, v16 y)
{
    EACH(vdivq_f32(x.r[i], y.r[i]));
}

#undef EACH

enum { V_DOT_VECTORS = 2 }; /* whose accumulators stay in registers */

#define V_DOUBLE_BYTES 16   /* of a register, of doubles */
enum { V_PAIR_OTHERS = 2 }; /* vectors that one is paired with at a time, likewise */

#include "numeric/kernels_template.h"

#include "numeric/encode_template.h"

#include "numeric/pairs_template.h"

#include "numeric/votes_template.h"

#include "numeric/blocks_template.h"

typedef struct v8d {
    float64x2_t r[4];
} v8d;

static inline v8d d_zero(void)
{
    float64x2_t zero = vdupq_n_f64(0);
    return (v8d){{zero, zero, zero, zero}};
}

static inline v8d d_widen(const float *p)
{
    float32x4_t low = vld1q_f32(p), high = vld1q_f32(p + 4);
    return (v8d){{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low), vcvt_f64_f32(vget_low_f32(high)),
                  vcvt_high_f64_f32(high)}};
}

static inline v8d d_add_product(v8d sum, v8d x, v8d y)
{
    for (int i = 0; i < 4; i++)
        sum.r[i] = vaddq_f64(sum.r[i], vmulq_f64(x.r[i], y.r[i]));
    return sum;
}

static inline v8d d_add(v8d x, v8d y)
{
    for (int i = 0; i < 4; i++)
        x.r[i] = vaddq_f64(x.r[i], y.r[i]);
    return x;
}

static inline v8d d_abs(v8d x)
{
    for (int i = 0; i < 4; i++)
        x.r[i] = vabsq_f64(x.r[i]);
    return x;
}

/* x, plus y where the bit is 1. */
static inline v8d d_add_where(uint8_t bits, v8d x, v8d y)
{
    static const uint64_t weights[2] = {1, 2};
    for (int i = 0; i < 4; i++) {
        uint64x2_t lanes = vtstq_u64(vdupq_n_u64((uint64_t)bits >> (2 * i)), vld1q_u64(weights));
        uint64x2_t kept = vandq_u64(vreinterpretq_u64_f64(y.r[i]), lanes);
        x.r[i] = vaddq_f64(x.r[i], vreinterpretq_f64_u64(kept));
    }
    return x;
}

static inline void d_store(double *p, v8d x)
{
    for (int i = 0; i < 4; i++)
        vst1q_f64(p + 2 * i, x.r[i]);
}

#include "numeric/dots_template.h"
#include "numeric/random_template.h"

const emr_kernels emr_kernels_neon = {
    .name = "neon",
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

#endif
