/* random_template.h - random words and what thinning does with them, for one instruction set, bit for bit as philox.c
 * has them. Included by each variant's file behind kernels_template.h. Beside its operations, and a vector of
 * V_COUNTERS numbers of 32 bits, `counters`, which may have room for products between them, these are used here
 * alone:
 *
 *     c_set(x)                    all x
 *     c_count(x)                  x, x + 1, ... (mod 2^32), in the order that c_words expects
 *     c_xor(x, y)
 *     c_multiply(x, times, &low)  the upper halves of products of 64 bits; and the lower
 *     c_words(words, out)         the four words of each counter side by side, in V_COUNTERS / 4 vectors
 *     v_below(words, limit)       where a word, bits of a float, is below one
 *     v_divide(x, y)
 *     v_add_wide(lanes, x)        lanes[j] = (lanes[j] + x[j]) + x[j + 8] in f64, for j < 8 */
#include "numeric/philox.h"

#include <string.h>

#define INLINE inline __attribute__((always_inline))
#define ALONE  __attribute__((noinline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* Rounds wait for their products: groups of counters are drawn side by side, so that there is always another one to go on
 * with. */
enum {
    DRAWN_GROUPS = 2,
    GROUP_VECTORS = V_COUNTERS / 4, /* of 16 words */
    VECTORS_AT_A_TIME = DRAWN_GROUPS * GROUP_VECTORS,
    AT_A_TIME = 16 * VECTORS_AT_A_TIME /* words at a time */
};

/* What is the same for all counters (q, q_high, 0, 0) that have one q_high: the products with its zeros in the first
 * two rounds, and the keys. */
typedef struct rounds {
    counters first_key, second_key, second_high, second_low;
    counters keys[EMR_PHILOX_ROUNDS - 2][2];
    uint32_t q_high;
} rounds;

static INLINE void begin_rounds(rounds *r, uint64_t key, uint32_t q_high)
{
    uint32_t key_0 = (uint32_t)key, key_1 = (uint32_t)(key >> 32);
    uint64_t product = (uint64_t)(q_high ^ key_0) * EMR_PHILOX_TIMES_0;
    r->q_high = q_high;
    r->first_key = c_set(key_1);
    key_0 += EMR_PHILOX_STEP_0;
    key_1 += EMR_PHILOX_STEP_1;
    r->second_key = c_set(key_0);
    r->second_high = c_set((uint32_t)(product >> 32) ^ key_1);
    r->second_low = c_set((uint32_t)product);
    for (size_t i = 0; i < EMR_PHILOX_ROUNDS - 2; i++) {
        key_0 += EMR_PHILOX_STEP_0;
        key_1 += EMR_PHILOX_STEP_1;
        r->keys[i][0] = c_set(key_0);
        r->keys[i][1] = c_set(key_1);
    }
}

/* The counters q, q + 1, ... after two rounds. */
static INLINE void begin_words(const rounds *r, uint32_t q, counters c[4])
{
    const counters times_0 = c_set(EMR_PHILOX_TIMES_0), times_1 = c_set(EMR_PHILOX_TIMES_1);
    counters low_0, low_1;
    c[2] = c_xor(c_multiply(c_count(q), times_0, &low_0), r->first_key);
    c[0] = c_xor(c_multiply(c[2], times_1, &low_1), r->second_key);
    c[1] = low_1;
    c[2] = c_xor(low_0, r->second_high);
    c[3] = r->second_low;
}

static INLINE void mix_words(const counters keys[2], counters c[4])
{
    const counters times_0 = c_set(EMR_PHILOX_TIMES_0), times_1 = c_set(EMR_PHILOX_TIMES_1);
    counters low_0, low_1;
    counters high_0 = c_multiply(c[0], times_0, &low_0), high_1 = c_multiply(c[2], times_1, &low_1);
    c[0] = c_xor(high_1, c_xor(c[1], keys[0]));
    c[1] = low_1;
    c[2] = c_xor(high_0, c_xor(c[3], keys[1]));
    c[3] = low_0;
}

/* The words of counters q, q + 1, ... */
static INLINE void draw_words(const rounds *r, uint32_t q, v16 words[VECTORS_AT_A_TIME])
{
    counters c[DRAWN_GROUPS][4];
    UNROLL
    for (size_t g = 0; g < DRAWN_GROUPS; g++)
        begin_words(r, q + (uint32_t)g * V_COUNTERS, c[g]);
    UNROLL
    for (size_t i = 0; i < EMR_PHILOX_ROUNDS - 2; i++) {
        UNROLL
        for (size_t g = 0; g < DRAWN_GROUPS; g++)
            mix_words(r->keys[i], c[g]);
    }
    UNROLL
    for (size_t g = 0; g < DRAWN_GROUPS; g++)
        c_words(c[g], words + g * GROUP_VECTORS);
}

/* What is done with the words. */
typedef enum drawing { DRAW_WORDS, DRAW_TO_KEEP, DRAW_TO_ADD, DRAW_TO_SUM } drawing;

typedef struct drawn_lanes {
    double all[8], kept[8];
} drawn_lanes;

static INLINE v16 keep_vector(const emr_random_draw *d, m16 is_kept, v16 value)
{
    v16 scale = v_set(d->scale);
    return v_where(is_kept, d->divides ? v_divide(value, scale) : v_mul(value, scale));
}

static INLINE void use_words(drawing what, const emr_random_draw *d, v16 words, const float *x, void *to,
                             drawn_lanes *to_sum)
{
    if (what == DRAW_WORDS) {
        v_store_f32(to, words);
        return;
    }
    v16 value = v_load_f32(x);
    m16 is_kept = v_below(words, (uint32_t)d->threshold);
    if (what == DRAW_TO_SUM) {
        v_add_wide(to_sum->all, v_abs(value));
        v_add_wide(to_sum->kept, v_where(is_kept, v_abs(value)));
        return;
    }
    v16 kept = keep_vector(d, is_kept, value);
    v_store_f32(to, what == DRAW_TO_KEEP ? kept : v_add(v_load_f32(to), v_mul(kept, v_set(d->weight))));
}

/* AT_A_TIME positions from `at`, a multiple, on. */
static INLINE void draw_whole(drawing what, const emr_random_draw *d, rounds *r, uint64_t at, const float *x,
                              void *to, drawn_lanes *to_sum)
{
    v16 words[VECTORS_AT_A_TIME];
    uint64_t q = at / 4;
    if ((uint32_t)(q >> 32) != r->q_high)
        begin_rounds(r, d->key, (uint32_t)(q >> 32));
    draw_words(r, (uint32_t)q, words);
    for (size_t v = 0; v < VECTORS_AT_A_TIME; v++)
        use_words(what, d, words[v], x + 16 * v, (uint32_t *)to + 16 * v, to_sum);
}

/* Positions [skip, skip + n) of those. */
static INLINE void draw_part(drawing what, const emr_random_draw *d, rounds *r, uint64_t at, size_t skip,
                             size_t n, const float *x, void *to, drawn_lanes *to_sum)
{
    float values[AT_A_TIME] = {0}, out[AT_A_TIME] = {0};
    if (what != DRAW_WORDS)
        memcpy(values + skip, x, n * sizeof *values);
    if (what == DRAW_TO_ADD)
        memcpy(out + skip, to, n * sizeof *out);
    draw_whole(what, d, r, at, values, out, to_sum);
    if (what != DRAW_TO_SUM)
        memcpy(to, out + skip, n * sizeof *out);
}

/* Where `what` reads no values, or writes none, both are the one array that there is. */
static INLINE void draw_all(drawing what, const emr_random_draw *d, const float *x, float *to,
                            drawn_lanes *to_sum)
{
    size_t done = 0, skip = (size_t)(d->first % AT_A_TIME);
    rounds r;
    begin_rounds(&r, d->key, (uint32_t)(d->first / 4 >> 32));
    if (skip && d->n) {
        done = d->n < AT_A_TIME - skip ? d->n : AT_A_TIME - skip;
        draw_part(what, d, &r, d->first - skip, skip, done, x, to, to_sum);
    }
    for (; done + AT_A_TIME <= d->n; done += AT_A_TIME)
        draw_whole(what, d, &r, d->first + done, x + done, to + done, to_sum);
    if (done < d->n)
        draw_part(what, d, &r, d->first + done, 0, d->n - done, x + done, to + done, to_sum);
}

/* Nothing is drawn where all are kept: there is no such threshold of 32 bits. */
static bool keeps_all(const emr_random_draw *d)
{
    return d->threshold > 0xffffffffu;
}

static ALONE void random_words(uint64_t key, uint64_t first, size_t n, uint32_t *words)
{
    const emr_random_draw d = {.key = key, .first = first, .n = n};
    float *to = (float *)(void *)words;
    draw_all(DRAW_WORDS, &d, to, to, NULL);
}

/* How they are scaled is a constant to each loop. */
static INLINE void keep_all(drawing what, const emr_random_draw *d, const float *values, float *to)
{
    emr_random_draw divided = *d, multiplied = *d;
    divided.divides = true;
    multiplied.divides = false;
    if (d->divides)
        draw_all(what, &divided, values, to, NULL);
    else
        draw_all(what, &multiplied, values, to, NULL);
}

static ALONE void random_keep(const emr_random_draw *d, const float *values, float *kept)
{
    if (keeps_all(d))
        emr_random_c.keep(d, values, kept);
    else
        keep_all(DRAW_TO_KEEP, d, values, kept);
}

static ALONE void random_add(const emr_random_draw *d, const float *values, float *totals)
{
    if (keeps_all(d))
        emr_random_c.add(d, values, totals);
    else
        keep_all(DRAW_TO_ADD, d, values, totals);
}

static ALONE void random_sums(const emr_random_draw *d, const float *values, double sums[2])
{
    drawn_lanes drawn = {{0}, {0}};
    if (keeps_all(d)) {
        emr_random_c.sums(d, values, sums);
        return;
    }
    draw_all(DRAW_TO_SUM, d, values, (float *)(uintptr_t)values, &drawn);
    sums[0] += emr_random_fold(drawn.all);
    sums[1] += emr_random_fold(drawn.kept);
}

#define RANDOM_KERNELS                                                                                       \
    {                                                                                                        \
        .words = random_words, .keep = random_keep, .add = random_add, .sums = random_sums                   \
    }

#undef INLINE
#undef ALONE
#undef UNROLL
