/* encode_template.h - what encoding is done with, for one instruction set: encode_c.c with the vectors of
 * kernels_template.h, after which each variant's file includes this. What is rare is left to encode_c.c:
 * F64 and F8 sources, and values that are not finite. */

#include "numeric/encode.h"
#include "numeric/thin.h"

#define INLINE inline __attribute__((always_inline))
#define ALONE  __attribute__((noinline))

enum { ENCODE_AHEAD = 12288 }; /* bytes; measured: with 8 and 16 KiB, and without, it takes longer */

/* A bit for each of 32 lanes: whether x and y are above their limits. The difference of numbers that differ
 * is never 0. */
static INLINE uint32_t bits_above(v16 x, v16 y, v16 x_limit, v16 y_limit)
{
    const v16 one = v_set(1);
    return v_bits(v_agree(v_sub(x, x_limit), one), v_agree(v_sub(y, y_limit), one));
}

/* Two values that take turns. */
static INLINE v16 set_turns(float even, float odd)
{
    const float turns[16] = {even, odd, even, odd, even, odd, even, odd,
                             even, odd, even, odd, even, odd, even, odd};
    return v_load_f32(turns);
}

/* The fold of kernels.h. */
static INLINE float total_of(v16 x)
{
    float sums[16];
    v_store_f32(sums, x);
    for (size_t j = 0; j < 8; j++)
        sums[j] = sums[j] + sums[j + 8];
    for (size_t j = 0; j < 4; j++)
        sums[j] = sums[j] + sums[j + 4];
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/* x in the first n lanes, +0 in the others. */
static INLINE v16 first_lanes(size_t n, v16 x)
{
    return n < 16 ? v_select((uint16_t)((1u << n) - 1), x, v_zero()) : x;
}

/* What 256 elements add up to. */
typedef struct magnitude_lanes {
    v16 l1, l2, kept;
} magnitude_lanes;

/* The bits from one on, 16 of them. */
static INLINE uint16_t bits_from(const uint64_t *words, size_t bit)
{
    uint64_t low = words[bit / 64] >> bit % 64;
    return (uint16_t)(bit % 64 <= 48 ? low : low | words[bit / 64 + 1] << (64 - bit % 64));
}

static INLINE void add_magnitudes(magnitude_lanes *to, v16 x, const uint64_t *kept, size_t bit)
{
    v16 magnitude = v_abs(x);
    to->l1 = v_add(to->l1, magnitude);
    to->l2 = v_add(to->l2, v_mul(x, x));
    if (kept)
        to->kept = v_add_where(bits_from(kept, bit), to->kept, magnitude);
}

static INLINE void end_magnitudes(emr_magnitudes *total, const magnitude_lanes *sums, bool kept)
{
    total->l1 += (double)total_of(sums->l1);
    total->l2 += (double)total_of(sums->l2);
    total->kept += kept ? (double)total_of(sums->kept) : 0;
}

/* Two blocks at a time: an addition has not ended when the next one of its block could begin. */
static INLINE void add_all_magnitudes(emr_magnitudes *total, const float *tau, size_t n, const uint64_t *kept,
                                      size_t bit)
{
    const magnitude_lanes none = {v_zero(), v_zero(), v_zero()};
    size_t i = 0;
    for (; i + 2 * EMR_BLOCK <= n; i += 2 * EMR_BLOCK) {
        magnitude_lanes low = none, high = none;
        for (size_t j = i; j < i + EMR_BLOCK; j += 16) {
            add_magnitudes(&low, v_load_f32(tau + j), kept, bit + j);
            add_magnitudes(&high, v_load_f32(tau + EMR_BLOCK + j), kept, bit + EMR_BLOCK + j);
        }
        end_magnitudes(total, &low, kept != NULL);
        end_magnitudes(total, &high, kept != NULL);
    }
    while (i < n) {
        magnitude_lanes sums = none;
        size_t end = n - i < EMR_BLOCK ? n : i + EMR_BLOCK;
        for (; i + 16 <= end; i += 16)
            add_magnitudes(&sums, v_load_f32(tau + i), kept, bit + i);
        if (i < end)
            add_magnitudes(&sums, first_lanes(end - i, v_load_f32(tau + i)), kept, bit + i);
        i = end;
        end_magnitudes(total, &sums, kept != NULL);
    }
}

static void encode_sums(emr_magnitudes *total, const float *tau, size_t n, const uint64_t *kept, size_t first)
{
    if (kept)
        add_all_magnitudes(total, tau, n, kept, first);
    else
        add_all_magnitudes(total, tau, n, NULL, 0);
}

/* The f32 next below 0: only 0 and what is greater are above it. */
static INLINE float next_below_zero(void)
{
    return emr_f32_from_bits(0x80000001);
}

/* The bit that each run of a word has at most, one after another: emr_thin_signs backwards. */
static INLINE uint64_t gather_runs(uint64_t word, uint32_t log2)
{
    uint32_t apart = (1u << log2) - 1;
    for (uint32_t step = 0; step < log2; step++)
        word |= word >> (1u << step);
    word &= emr_thin_every(log2);
    for (uint32_t half = 0; half < 6 - log2; half++)
        word = (word | word >> (apart << half)) &
               emr_thin_every(log2 + half + 1) * emr_thin_low_bits(UINT32_C(2) << half);
    return word;
}

/* What each parameter of a group has to be above for a code of 1: 0, and in odd runs what lets 0 pass. */
static INLINE void set_limits(float limits[EMR_GROUP], uint32_t log2)
{
    for (size_t i = 0; i < EMR_GROUP; i++)
        limits[i] = i >> log2 & 1 ? next_below_zero() : 0;
}

/* Where 16 elements are in memory; the last group of an item is read from a copy, which goes on in zeros. */
typedef struct read_place {
    const uint8_t *base, *task;
} read_place;

/* Asks for a group that comes later: what is computed between two of them leaves processors that fetch what
 * comes next on their own too little to see. */
static INLINE void prefetch_ahead(const uint8_t *group, size_t size)
{
    for (size_t line = 0; line < EMR_GROUP * size; line += 64)
        __builtin_prefetch(group + ENCODE_AHEAD + line, 0, 2);
}

/* One group: tau, its codes, and what it adds. `check` gets a number less itself, which is 0, or a NaN. */
static INLINE uint64_t read_group(read_place from, unsigned base_dtype, unsigned task_dtype, float *tau,
                                  const float *limits, const uint64_t *kept, magnitude_lanes *sums,
                                  v16 *check)
{
    size_t base_size = emr_float_size(base_dtype), task_size = emr_float_size(task_dtype);
    uint64_t word = 0;
    prefetch_ahead(from.base, base_size);
    prefetch_ahead(from.task, task_size);
    for (size_t i = 0; i < EMR_GROUP; i += 32) {
        v16 x = v_sub(load16(task_dtype, from.task + i * task_size),
                      load16(base_dtype, from.base + i * base_size));
        v16 y = v_sub(load16(task_dtype, from.task + (i + 16) * task_size),
                      load16(base_dtype, from.base + (i + 16) * base_size));
        *check = v_add(*check, v_add(v_sub(x, x), v_sub(y, y)));
        v_store_f32(tau + i, x);
        v_store_f32(tau + i + 16, y);
        word |= (uint64_t)bits_above(x, y, v_load_f32(limits + i), v_load_f32(limits + i + 16)) << i;
        add_magnitudes(sums, x, kept, i);
        add_magnitudes(sums, y, kept, i + 16);
    }
    return word;
}

/* Groups of a step, blocks of 256 from its first. */
static INLINE bool read_all(const emr_encode_step *s, unsigned base_dtype, unsigned task_dtype, bool thin,
                            emr_magnitudes *total)
{
    size_t base_size = emr_float_size(base_dtype), task_size = emr_float_size(task_dtype);
    const magnitude_lanes none = {v_zero(), v_zero(), v_zero()};
    uint32_t log2 = thin ? emr_thin_log2(s->coding.rate) : 0;
    float limits[EMR_GROUP];
    uint8_t copies[2][EMR_GROUP * 4];
    magnitude_lanes sums = none;
    emr_magnitudes added = *total;
    v16 check = v_zero();
    set_limits(limits, log2);
    for (size_t i = 0; i < s->n; i += EMR_GROUP) {
        size_t group = s->first + i / EMR_GROUP, left = s->n - i;
        read_place from = {(const uint8_t *)s->base + i * base_size,
                           (const uint8_t *)s->task + i * task_size};
        uint64_t there = ~(uint64_t)0;
        if (left < EMR_GROUP) {
            memset(copies, 0, sizeof copies);
            from = (read_place){memcpy(copies[0], from.base, left * base_size),
                                memcpy(copies[1], from.task, left * task_size)};
            there = emr_thin_low_bits((uint32_t)left);
        }
        if (thin)
            there = s->kept[group] = there & emr_thin_kept(&s->coding, s->group + group);
        uint64_t word = read_group(from, base_dtype, task_dtype, s->tau + i, limits, thin ? &there : NULL,
                                   &sums, &check) &
                        there;
        if (thin)
            emr_encode_store(s->codes, s->coding.rate, group, gather_runs(word, log2));
        else if (s->codes)
            emr_store64(s->codes + group * sizeof word, word);
        if (i % EMR_BLOCK == EMR_BLOCK - EMR_GROUP || left <= EMR_GROUP) {
            end_magnitudes(&added, &sums, thin);
            sums = none;
        }
    }
    if (total_of(check) != 0) /* or NaN */
        return false;
    *total = added;
    return true;
}

static ALONE bool read_f32(const emr_encode_step *s, emr_magnitudes *total)
{
    return s->kept ? read_all(s, EMR_DTYPE_F32, EMR_DTYPE_F32, true, total)
                   : read_all(s, EMR_DTYPE_F32, EMR_DTYPE_F32, false, total);
}

static ALONE bool read_bf16(const emr_encode_step *s, emr_magnitudes *total)
{
    return s->kept ? read_all(s, EMR_DTYPE_BF16, EMR_DTYPE_BF16, true, total)
                   : read_all(s, EMR_DTYPE_BF16, EMR_DTYPE_BF16, false, total);
}

static ALONE bool read_mixed(const emr_encode_step *s, emr_magnitudes *total)
{
    return s->kept ? read_all(s, s->base_dtype, s->task_dtype, true, total)
                   : read_all(s, s->base_dtype, s->task_dtype, false, total);
}

static bool encode_read(const emr_encode_step *s, emr_magnitudes *total)
{
    if (!is_narrow(s->base_dtype) || !is_narrow(s->task_dtype))
        return emr_encode_c.read(s, total);
    if (s->base_dtype == EMR_DTYPE_F32 && s->task_dtype == EMR_DTYPE_F32)
        return read_f32(s, total);
    if (s->base_dtype == EMR_DTYPE_BF16 && s->task_dtype == EMR_DTYPE_BF16)
        return read_bf16(s, total);
    return read_mixed(s, total);
}

/* What levels add up to, in a block. */
typedef struct level_lanes {
    v16 q1, tq, qq;
} level_lanes;

/* Codes of 16 elements, of which n count. Levels ascend, so the one that is meant is the largest positive
 * one whose threshold is passed, or the negative one of largest magnitude whose threshold is not; the other
 * is 0. */
static INLINE v16 level_lane_codes(v16 x, size_t n, uint32_t n_levels, const float *levels,
                                   const float (*at)[16], level_lanes *sums)
{
    v16 positive = v_zero(), negative = v_zero(), code = v_zero();
    for (uint32_t k = 0; k + 1 < n_levels; k++) {
        m16 above = v_agree(v_sub(x, v_load_f32(at[k])), v_set(1));
        code = v_add(code, v_where(above, v_set(1)));
        if (k + 1 >= (n_levels + 1) / 2) /* the level above is positive */
            positive = v_max(positive, v_where(above, v_set(levels[k + 1])));
        if (k < n_levels / 2) { /* the level below is negative */
            v16 level = v_set(-levels[k]);
            negative = v_max(negative, v_sub(level, v_where(above, level)));
        }
    }
    v16 q = first_lanes(n, v_sub(positive, negative));
    sums->q1 = v_add(sums->q1, v_abs(q));
    sums->tq = v_add(sums->tq, v_mul(q, x));
    sums->qq = v_add(sums->qq, v_mul(q, q));
    return code;
}

static INLINE emr_level_sums level_blocks(float *tau, size_t n, bool odd, uint32_t n_levels,
                                          const emr_thresholds *t)
{
    emr_level_sums total = {0, 0, 0};
    float at[EMR_LEVELS_MAX - 1][16];
    for (uint32_t k = 0; k + 1 < n_levels; k++)
        v_store_f32(at[k], set_turns(t->at[odd][k], t->at[!odd][k]));
    for (size_t first = 0; first < n; first += EMR_BLOCK) {
        size_t end = n - first < EMR_BLOCK ? n : first + EMR_BLOCK, i = first;
        level_lanes sums = {v_zero(), v_zero(), v_zero()};
        for (; i + 16 <= end; i += 16)
            v_store_f32(tau + i, level_lane_codes(v_load_f32(tau + i), 16, n_levels, t->levels, at, &sums));
        if (i < end) {
            float codes[16];
            v_store_f32(codes, level_lane_codes(first_lanes(end - i, v_load_f32(tau + i)), end - i, n_levels,
                                                t->levels, at, &sums));
            memcpy(tau + i, codes, (end - i) * sizeof *tau);
        }
        total.q1 += (double)total_of(sums.q1);
        total.tq += (double)total_of(sums.tq);
        total.qq += (double)total_of(sums.qq);
    }
    return total;
}

static emr_level_sums encode_level_codes(float *tau, size_t n, bool odd, const emr_thresholds *t)
{
    return t->n_levels == 3   ? level_blocks(tau, n, odd, 3, t)
           : t->n_levels == 4 ? level_blocks(tau, n, odd, 4, t)
           : t->n_levels == 8 ? level_blocks(tau, n, odd, 8, t)
                              : level_blocks(tau, n, odd, EMR_LEVELS_MAX, t);
}

static void encode_column_sums(float *sums, const float *tau, size_t n, float scale)
{
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        v_store_f32(sums + i, v_add(v_load_f32(sums + i), v_mul(v_set(scale), v_abs(v_load_f32(tau + i)))));
    emr_encode_c.columns(sums + whole, tau + whole, n - whole, scale);
}

#define ENCODE_KERNELS                                                                                       \
    {                                                                                                        \
        .read = encode_read, .sums = encode_sums, .levels = encode_level_codes,                              \
        .columns = encode_column_sums                                                                        \
    }

#undef INLINE
#undef ALONE
