/* random_template.h - random words and what thinning does with them, for one instruction set, bit for bit as philox.c
 * has them. Included by each variant's file behind kernels_template.h and dots_template.h. Beside their operations, and a
 * vector of V_COUNTERS numbers of 32 bits, `counters`, which may have room for products between them, these are used here
 * alone:
 *
 *     c_set(x)                    all x
 *     c_count(x)                  x, x + 1, ... (mod 2^32), in the order that c_words expects
 *     c_load(numbers)             the lower halves of V_COUNTERS numbers of 64 bits, likewise
 *     c_xor(x, y)
 *     c_multiply(x, times, &low)  the upper halves of products of 64 bits; and the lower
 *     c_words(words, out)         the four words of each counter side by side, in V_COUNTERS / 4 vectors
 *     v_bytes_below(bytes, x)     a bit for each of 64 bytes: those below x
 *     v_bytes_equal(bytes, x)     likewise
 *     d_abs(x), d_add(x, y)       of eight doubles
 *     d_add_where(bits, x, y)     x, plus y where the bit is 1 */
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
    WORDS_AT_A_TIME = 16 * VECTORS_AT_A_TIME,
    BYTES_AT_A_TIME = 4 * WORDS_AT_A_TIME
};

/* What is the same for all counters of a key: the keys of the rounds, but for the second one's. */
typedef struct rounds {
    counters first_key, keys[EMR_PHILOX_ROUNDS - 2][2];
} rounds;

/* And for those (q, q_high, purpose, 0) of one q_high and one purpose: what becomes of these in the first two rounds. */
typedef struct purpose {
    counters second_key, second_high, second_low;
} purpose;

static INLINE void begin_rounds(rounds *r, uint64_t key)
{
    uint32_t key_0 = (uint32_t)key + EMR_PHILOX_STEP_0, key_1 = (uint32_t)(key >> 32);
    r->first_key = c_set(key_1);
    key_1 += EMR_PHILOX_STEP_1;
    for (size_t i = 0; i < EMR_PHILOX_ROUNDS - 2; i++) {
        key_0 += EMR_PHILOX_STEP_0;
        key_1 += EMR_PHILOX_STEP_1;
        r->keys[i][0] = c_set(key_0);
        r->keys[i][1] = c_set(key_1);
    }
}

static INLINE purpose begin_purpose(uint64_t key, uint64_t number, uint32_t third)
{
    uint32_t key_0 = (uint32_t)key, key_1 = (uint32_t)(key >> 32) + EMR_PHILOX_STEP_1;
    uint64_t of_third = (uint64_t)third * EMR_PHILOX_TIMES_1;
    uint32_t mixed = (uint32_t)(of_third >> 32) ^ (uint32_t)(number >> 32) ^ key_0;
    uint64_t product = (uint64_t)mixed * EMR_PHILOX_TIMES_0;
    return (purpose){.second_key = c_set((key_0 + EMR_PHILOX_STEP_0) ^ (uint32_t)of_third),
                     .second_high = c_set((uint32_t)(product >> 32) ^ key_1),
                     .second_low = c_set((uint32_t)product)};
}

/* Counters after two rounds. */
static INLINE void begin_words(const rounds *r, const purpose *p, counters q, counters c[4])
{
    const counters times_0 = c_set(EMR_PHILOX_TIMES_0), times_1 = c_set(EMR_PHILOX_TIMES_1);
    counters low_0, low_1;
    c[2] = c_xor(c_multiply(q, times_0, &low_0), r->first_key);
    c[0] = c_xor(c_multiply(c[2], times_1, &low_1), p->second_key);
    c[1] = low_1;
    c[2] = c_xor(low_0, p->second_high);
    c[3] = p->second_low;
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

/* The words of counters `number`, a multiple of how many they are, and on. */
static INLINE void draw_words(const rounds *r, const purpose *p, uint64_t number,
                              v16 words[VECTORS_AT_A_TIME])
{
    counters c[DRAWN_GROUPS][4];
    UNROLL
    for (size_t g = 0; g < DRAWN_GROUPS; g++)
        begin_words(r, p, c_count((uint32_t)number + (uint32_t)g * V_COUNTERS), c[g]);
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

/* Whether the lower halves of some positions' counters overflow: that is left to philox.c. */
static bool counters_overflow(uint64_t first, size_t n)
{
    return n > 0 && first / 4 >> 32 != (first + n - 1) / 4 >> 32;
}

/* ---- words */

typedef struct word_draw {
    rounds rounds;
    purpose bytes, words;
} word_draw;

static INLINE void begin_draw(word_draw *d, uint64_t key, uint64_t first)
{
    begin_rounds(&d->rounds, key);
    d->bytes = begin_purpose(key, first / 16, EMR_RANDOM_BYTES);
    d->words = begin_purpose(key, first / 4, EMR_RANDOM_WORDS);
}

/* Of BYTES_AT_A_TIME positions from `at`, a multiple, on. */
static INLINE void join_words(const word_draw *d, uint64_t at, uint32_t words[BYTES_AT_A_TIME])
{
    uint8_t bytes[BYTES_AT_A_TIME];
    v16 drawn[VECTORS_AT_A_TIME];
    draw_words(&d->rounds, &d->bytes, at / 16, drawn);
    memcpy(bytes, drawn, sizeof bytes);
    for (size_t i = 0; i < BYTES_AT_A_TIME; i += WORDS_AT_A_TIME) {
        draw_words(&d->rounds, &d->words, (at + i) / 4, drawn);
        memcpy(words + i, drawn, sizeof drawn);
    }
    for (size_t i = 0; i < BYTES_AT_A_TIME; i++)
        words[i] = (uint32_t)bytes[i] << 24 | words[i] >> 8;
}

static ALONE void random_words(uint64_t key, uint64_t first, size_t n, uint32_t *words)
{
    uint32_t some[BYTES_AT_A_TIME];
    word_draw d;
    if (counters_overflow(first, n)) {
        emr_random_c.words(key, first, n, words);
        return;
    }
    begin_draw(&d, key, first);
    for (size_t done = 0, here; done < n; done += here) {
        size_t skip = (size_t)((first + done) % BYTES_AT_A_TIME), rest = BYTES_AT_A_TIME - skip;
        here = n - done < rest ? n - done : rest;
        join_words(&d, first + done - skip, some);
        memcpy(words + done, some + skip, here * sizeof *words);
    }
}

/* ---- what is kept */

/* Positions that are open after their bytes, one of 256: their words are drawn side by side. */
typedef struct open_positions {
    size_t n;
    uint64_t at[V_COUNTERS + BYTES_AT_A_TIME +
                V_COUNTERS]; /* those left, a block's, and what fills up the last draw */
} open_positions;

static INLINE void note_lowest(open_positions *o, uint64_t open, uint64_t at)
{
    o->at[o->n] = at + (uint64_t)__builtin_ctzll(open | (uint64_t)1 << 63);
    o->n += open != 0;
}

/* Of 64 positions. Whether there is one is no branch, which nobody could predict; two are rare. */
static INLINE void note_open(open_positions *o, uint64_t open, uint64_t at)
{
    note_lowest(o, open, at);
    for (open &= open - 1; open; open &= open - 1)
        note_lowest(o, open, at);
}

/* The words' lower bits of as many open positions as there are counters. */
static INLINE void draw_open(const word_draw *d, const uint64_t at[V_COUNTERS], uint32_t lower[V_COUNTERS])
{
    uint64_t numbers[V_COUNTERS];
    uint32_t all[4 * V_COUNTERS];
    counters c[4];
    v16 words[GROUP_VECTORS];
    for (size_t i = 0; i < V_COUNTERS; i++)
        numbers[i] = at[i] / 4;
    begin_words(&d->rounds, &d->words, c_load(numbers), c);
    for (size_t i = 0; i < EMR_PHILOX_ROUNDS - 2; i++)
        mix_words(d->rounds.keys[i], c);
    c_words(c, words);
    memcpy(all, words, sizeof all);
    for (size_t i = 0; i < V_COUNTERS; i++)
        lower[i] = all[4 * i + at[i] % 4] >> 8;
}

/* Those outside of the draw are in blocks at its ends. */
static INLINE void settle_open(const emr_random_draw *d, const word_draw *w, open_positions *o,
                               uint16_t *kept)
{
    uint32_t lower[V_COUNTERS];
    memset(o->at + o->n, 0, V_COUNTERS * sizeof *o->at);
    for (size_t i = 0; i < o->n; i++) {
        size_t index = (size_t)(o->at[i] - d->first);
        if (i % V_COUNTERS == 0)
            draw_open(w, o->at + i, lower);
        if (o->at[i] - d->first < d->n && lower[i % V_COUNTERS] < (d->threshold & 0xffffff))
            kept[index / 16] |= (uint16_t)(1u << index % 16);
    }
    o->n = 0;
}

/* A bit for each of BYTES_AT_A_TIME positions from `at`, a multiple, on: 0 for those that are open. */
static INLINE void choose_by_bytes(const emr_random_draw *d, const word_draw *w, uint64_t at,
                                   uint64_t kept[VECTORS_AT_A_TIME], open_positions *o)
{
    const uint8_t limit = (uint8_t)(d->threshold >> 24);
    v16 bytes[VECTORS_AT_A_TIME];
    draw_words(&w->rounds, &w->bytes, at / 16, bytes);
    UNROLL
    for (size_t v = 0; v < VECTORS_AT_A_TIME; v++) {
        kept[v] = v_bytes_below(bytes[v], limit);
        note_open(o, v_bytes_equal(bytes[v], limit), at + 64 * v);
    }
}

/* From a multiple of 16 on. */
static ALONE void choose_vectors(const emr_random_draw *d, uint16_t *kept)
{
    uint64_t some[VECTORS_AT_A_TIME];
    word_draw w;
    open_positions o;
    o.n = 0;
    begin_draw(&w, d->key, d->first);
    for (size_t done = 0, here; done < d->n; done += here) {
        size_t skip = (size_t)((d->first + done) % BYTES_AT_A_TIME), rest = BYTES_AT_A_TIME - skip;
        here = d->n - done < rest ? d->n - done : rest;
        choose_by_bytes(d, &w, d->first + done - skip, some, &o);
        memcpy(kept + done / 16, (const uint8_t *)some + skip / 8, (here + 15) / 16 * sizeof *kept);
        if (o.n >= V_COUNTERS)
            settle_open(d, &w, &o, kept);
    }
    settle_open(d, &w, &o, kept);
    if (d->n % 16)
        kept[d->n / 16] &= (uint16_t)((1u << d->n % 16) - 1);
}

/* No threshold of 32 bits keeps all. */
static void random_choose(const emr_random_draw *d, uint16_t *kept)
{
    if (d->threshold > 0xffffffffu || d->first % 16 || counters_overflow(d->first, d->n))
        emr_random_c.choose(d, kept);
    else
        choose_vectors(d, kept);
}

/* ---- sums */

/* Of all magnitudes and of those that are kept: the first eight of 16 lanes, and the others. */
typedef struct norm_lanes {
    v8d all[2], kept[2];
} norm_lanes;

static INLINE void add_norms(norm_lanes *sums, const float values[16], unsigned kept)
{
    UNROLL
    for (size_t k = 0; k < 2; k++) {
        v8d size = d_abs(d_widen(values + 8 * k));
        sums->all[k] = d_add(sums->all[k], size);
        sums->kept[k] = d_add_where((uint8_t)(kept >> 8 * k), sums->kept[k], size);
    }
}

static INLINE double fold_norms(const v8d sums[2])
{
    double stored[16];
    d_store(stored, sums[0]);
    d_store(stored + 8, sums[1]);
    return emr_random_fold(stored);
}

static ALONE void random_sums(const float *values, const uint16_t *kept, size_t n, double sums[2])
{
    norm_lanes norms = {{d_zero(), d_zero()}, {d_zero(), d_zero()}};
    float rest[16] = {0};
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        add_norms(&norms, values + i, kept[i / 16]);
    if (whole < n) {
        memcpy(rest, values + whole, (n - whole) * sizeof *rest);
        add_norms(&norms, rest, kept[whole / 16]);
    }
    sums[0] += fold_norms(norms.all);
    sums[1] += fold_norms(norms.kept);
}

#define RANDOM_KERNELS                                                                                       \
    {                                                                                                        \
        .words = random_words, .choose = random_choose, .sums = random_sums                                  \
    }

#undef INLINE
#undef ALONE
#undef UNROLL
