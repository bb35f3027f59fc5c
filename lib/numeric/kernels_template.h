/* kernels_template.h - the kernels for one instruction set. Included once by each variant's file, which first
 * defines a vector of 16 floats, `v16`, a truth for each of its lanes, `m16`, and the operations on them that
 * are used here and in codes_template.h, which is a part of this. Bit for bit the same as kernels_c.c, which
 * also does what is rare: F64 and F8 sources, values that are not finite, sums that overflow f32. */

#include "core/bytes.h"
#include "numeric/convert.h"

#include <stdbool.h>

/* Each kind of chunk gets code of its own, in which `kind` is a constant. */
#define INLINE inline __attribute__((always_inline))
#define ALONE  __attribute__((noinline)) /* registers are for it alone */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)") /* arrays of vectors become registers */
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    BLOCK = EMR_BLOCK,
    BATCH = 8,        /* tasks read side by side */
    KEPT = 16,        /* tasks whose task vectors are kept between the passes, a multiple of BATCH */
    NEAR = 64,        /* parameters ahead */
    ROW = BLOCK + 16, /* of what is kept: rows a power of two apart would share few lines of a cache */
};

static bool is_narrow(unsigned dtype)
{
    return dtype == EMR_DTYPE_F32 || dtype == EMR_DTYPE_F16 || dtype == EMR_DTYPE_BF16;
}

static INLINE v16 load16(unsigned dtype, const uint8_t *p)
{
    return dtype == EMR_DTYPE_F32 ? v_load_f32(p) : dtype == EMR_DTYPE_BF16 ? v_load_bf16(p) : v_load_f16(p);
}

/* Rounds to the dtype and stores. */
static INLINE void v_store_rounded(unsigned dtype, uint8_t *p, v16 x)
{
    if (dtype == EMR_DTYPE_F32)
        v_store_f32(p, x);
    else
        v_store_narrow(dtype, p, x);
}

/* x rounded to the dtype. */
static INLINE v16 v_round(unsigned dtype, v16 x)
{
    uint8_t p[32];
    if (dtype == EMR_DTYPE_F32)
        return x;
    v_store_narrow(dtype, p, x);
    return load16(dtype, p);
}

/* What blocks are merged with. */
typedef struct kind {
    unsigned dtype; /* of the base and all tasks */
    bool mixed;     /* each has its own */
    bool nearest;   /* the chunk's */
    bool even_odd;  /* vectors hold their elements in the order that v_load_even_odd leaves them in */
    bool partial;   /* the block has fewer than BLOCK parameters */
} kind;

/* Where a block lies in its chunk. Handed on by value: what is stored cannot change it then, as the compiler
 * sees. */
typedef struct place {
    size_t first, n;
} place;

/* One block's state between its passes. Everything is turned round: d = W_0 - W_t is -tau exactly, and a
 * processor subtracts what it finds in memory without loading it first. */
typedef struct block {
    _Alignas(64) float base[BLOCK];
    _Alignas(64) float elected[BLOCK];                      /* -1 times the unified value as stored */
    _Alignas(64) float magnitude[BLOCK];                    /* and its magnitude */
    _Alignas(64) float sum[BLOCK], high[BLOCK], low[BLOCK]; /* between batches */
    _Alignas(64) float most[16];     /* with `nearest`, magnitudes of all blocks: the largest of each lane */
    _Alignas(64) float d[KEPT][ROW]; /* of the first tasks; the others' is computed twice */
    place at;
} block;

/* Elements i to i + 15 of a block; those past its end are 0. */
static INLINE v16 load_slice(kind k, unsigned dtype, place at, const uint8_t *values, size_t i)
{
    unsigned type = k.mixed ? dtype : k.dtype;
    size_t size = emr_float_size(type);
    const uint8_t *from = values + (at.first + i) * size;
    uint8_t padded[64] = {0};
    if (k.partial && i + 16 > at.n) {
        if (i < at.n)
            memcpy(padded, from, (at.n - i) * size);
        from = padded;
    }
    return k.even_odd ? v_load_even_odd(from) : load16(type, from);
}

static INLINE void store_slice(kind k, unsigned dtype, place at, uint8_t *values, size_t i, v16 x)
{
    size_t size = emr_float_size(dtype);
    uint8_t *to = values + (at.first + i) * size, padded[64];
    if (k.even_odd)
        x = v_in_order(x);
    if (!k.partial || i + 16 <= at.n) {
        v_store_rounded(dtype, to, x);
    } else if (i < at.n) {
        v_store_rounded(dtype, padded, x);
        memcpy(to, padded, (at.n - i) * size);
    }
}

/* Asks for memory that is needed soon; past the end of a buffer nothing happens. Two kinds, and both are
 * needed: with eight F32 tasks far larger than the caches, 0.63 of plain reading without, 0.72 with the far
 * one alone, 0.74 with the near one alone, 0.85 with both.
 *
 * Near, while the first pass reads a slice: many streams side by side are more than processors follow on
 * their own. */
static INLINE void prefetch_near(kind k, place at, const uint8_t *values, size_t i)
{
    size_t size = emr_float_size(k.dtype);
    if (!k.mixed && (size == 4 || i % 32 == 0)) /* once a line */
        __builtin_prefetch(values + (at.first + i + NEAR) * size);
}

/* Far, while the second pass reads nothing: the same group of the next block. Into level 2, because streams
 * that begin at multiples of a page share too few lines of level 1. */
static INLINE void prefetch_far(kind k, place at, const uint8_t *values, size_t i)
{
    size_t size = emr_float_size(k.dtype);
    for (size_t line = 0; line < EMR_GROUP * size && !k.mixed; line += 64)
        __builtin_prefetch(values + (at.first + BLOCK + i) * size + line, 0, 2);
}

/* What equations 1 to 3 need of one slice of 16 parameters. */
typedef struct slice {
    v16 sum, high, low;
} slice;

static INLINE void accumulate(slice *s, v16 d)
{
    s->sum = v_add(s->sum, d);
    s->high = v_max(d, s->high);
    s->low = v_min(d, s->low);
}

/* Equations 1 and 2 over some tasks. */
static INLINE void accumulate_tasks(kind k, const emr_chunk *c, block *b, size_t i, size_t from, size_t to,
                                    v16 base, slice *s)
{
    const place at = b->at;
    const emr_chunk_task *r = c->results + from, *end = c->results + to;
    if (from < KEPT) {
        float *kept = b->d[from] + i;
        for (; r < end; r++, kept += ROW) {
            prefetch_near(k, at, r->source, i);
            v16 d = v_sub(base, load_slice(k, r->dtype, at, r->source, i));
            v_store_f32(kept, d);
            accumulate(s, d);
        }
    } else {
        for (; r < end; r++) {
            prefetch_near(k, at, r->source, i);
            accumulate(s, v_sub(base, load_slice(k, r->dtype, at, r->source, i)));
        }
    }
}

/* Equation 3, rounded to the unified dtype and stored. */
static INLINE void elect_slice(kind k, const emr_chunk *c, block *b, size_t i, v16 base, const slice *s)
{
    v16 elected = v_plus_zero(v_round(c->unified_dtype, v_elect(s->sum, s->high, s->low, c->tie_negative)));
    v16 unified = v_sub(v_zero(), elected); /* either zero becomes +0 */
    store_slice(k, c->unified_dtype, b->at, (uint8_t *)c->unified, i, unified);
    v_store_f32(b->base + i, base);
    v_store_f32(b->elected + i, elected);
    v_store_f32(b->magnitude + i, v_abs(elected));
    if (k.nearest)
        v_store_f32(b->most, v_max(v_load_f32(b->most), v_abs(elected)));
}

/* The first pass over tasks [from, to): the sums and extremes so far come from memory and go there again, or
 * end in what is elected. Few tasks at a time, because a processor follows only so many streams, and those
 * that begin at multiples of a page share the same few lines of its cache. */
static INLINE void elect_batch(kind k, const emr_chunk *c, block *b, size_t from, size_t to)
{
    size_t end = k.partial ? (b->at.n + EMR_GROUP - 1) / EMR_GROUP * EMR_GROUP : BLOCK;
    for (size_t i = 0; i < end; i += 16) {
        slice s = {v_zero(), v_zero(), v_zero()};
        if (from > 0)
            s = (slice){v_load_f32(b->sum + i), v_load_f32(b->high + i), v_load_f32(b->low + i)};
        v16 base = from > 0 ? v_load_f32(b->base + i)
                            : load_slice(k, c->base_dtype, b->at, (const uint8_t *)c->base, i);
        accumulate_tasks(k, c, b, i, from, to, base, &s);
        if (to == c->n_tasks) {
            elect_slice(k, c, b, i, base, &s);
            continue;
        }
        v_store_f32(b->base + i, base);
        v_store_f32(b->sum + i, s.sum);
        v_store_f32(b->high + i, s.high);
        v_store_f32(b->low + i, s.low);
    }
}

/* Lanes of both sums. */
typedef struct lanes {
    v16 top, bottom;
} lanes;

/* Equation 5's terms of 32 parameters. */
static INLINE void add_top(lanes *l, v16 d0, v16 d1)
{
    l->top = v_once(v_add(l->top, v_add(v_abs(d0), v_abs(d1))));
}

static INLINE void add_bottom(lanes *l, v16 kept0, v16 kept1)
{
    l->bottom = v_once(v_add(l->bottom, v_add(kept0, kept1)));
}

/* Elements i to i + 15 of W_0 - W_t: those kept, or computed again. */
static INLINE v16 difference(kind k, const block *b, const emr_chunk_task *r, const float *kept, size_t i)
{
    v16 d = kept ? v_load_f32(kept + i)
                 : v_sub(v_load_f32(b->base + i), load_slice(k, r->dtype, b->at, r->source, i));
    return v_once(d);
}

/* Equation 4: where the mask is 1. With `nearest`, a constant, d has to be more than half of what is elected. */
static INLINE m16 masked(bool nearest, v16 d, v16 elected, v16 magnitude)
{
    if (nearest)
        d = v_where(v_greater(v_abs(d), v_mul(v_set(0.5f), magnitude)), d);
    return v_agree(d, elected);
}

/* Equations 4 and 5 in 32 parameters from i on; returns the bits of the mask. */
static INLINE uint32_t mask_pair(kind k, const block *b, const emr_chunk_task *r, const float *kept, size_t i,
                                 lanes *l)
{
    v16 d0 = difference(k, b, r, kept, i), d1 = difference(k, b, r, kept, i + 16);
    add_top(l, d0, d1);
    const float *elected = b->elected + i, *magnitude = b->magnitude + i;
    m16 mask0 = masked(k.nearest, d0, v_load_f32(elected), v_load_f32(magnitude));
    m16 mask1 = masked(k.nearest, d1, v_load_f32(elected + 16), v_load_f32(magnitude + 16));
    add_bottom(l, v_where(mask0, v_load_f32(magnitude)), v_where(mask1, v_load_f32(magnitude + 16)));
    return k.even_odd ? v_bits_even_odd(mask0, mask1) : v_bits(mask0, mask1);
}

/* One group; stores its word of the mask. Returns the number of bits set. */
static INLINE uint64_t mask_group(kind k, const block *b, const emr_chunk_task *r, const float *kept,
                                  uint8_t *masks, size_t i, lanes *l)
{
    if (k.partial && i >= b->at.n)
        return 0;
    prefetch_far(k, b->at, r->source, i);
    uint64_t mask = mask_pair(k, b, r, kept, i, l);
    mask |= (uint64_t)mask_pair(k, b, r, kept, i + 32, l) << 32;
    if (!k.partial || i + EMR_GROUP <= b->at.n) {
        emr_store64(masks + i / 8, mask);
    } else {
        for (size_t j = i; j < b->at.n; j += 8)
            masks[j / 8] = (uint8_t)(mask >> (j - i));
    }
    return v_popcount(mask);
}

/* The second pass: equations 4 and 5 for one task. */
static INLINE void mask_and_sum(kind k, const emr_chunk *c, const block *b, size_t task, const float *kept)
{
    emr_chunk_task *r = &c->results[task];
    uint8_t *masks = c->masks[task] + b->at.first / 8;
    lanes low = {v_zero(), v_zero()}, high = low;
    uint64_t ones = mask_group(k, b, r, kept, masks, 0, &low);
    ones += mask_group(k, b, r, kept, masks, EMR_GROUP, &low);
    ones += mask_group(k, b, r, kept, masks, 2 * EMR_GROUP, &high);
    ones += mask_group(k, b, r, kept, masks, 3 * EMR_GROUP, &high);
    v16 top = v_add(low.top, high.top), bottom = v_add(low.bottom, high.bottom);
    if (k.even_odd) {
        top = v_in_order(top);
        bottom = v_in_order(bottom);
    }
    v_fold_add(r->lanes, top, bottom);
    r->ones += ones;
}

static INLINE void merge_block(kind k, const emr_chunk *c, block *b)
{
    size_t n_first = c->n_tasks < BATCH ? c->n_tasks : BATCH, task = 0;
    for (size_t i = 0; i < BLOCK; i += EMR_GROUP)
        prefetch_far(k, b->at, c->base, i);
    elect_batch(k, c, b, 0, n_first);
    for (size_t done = BATCH; done < c->n_tasks; done += BATCH)
        elect_batch(k, c, b, done, c->n_tasks - done < BATCH ? c->n_tasks : done + BATCH);
    for (; task < c->n_tasks && task < KEPT; task++)
        mask_and_sum(k, c, b, task, b->d[task]);
    for (; task < c->n_tasks; task++)
        mask_and_sum(k, c, b, task, NULL);
}

static INLINE void merge_blocks(kind k, const emr_chunk *c, block *b)
{
    for (b->at.n = BLOCK; b->at.first + BLOCK <= c->n; b->at.first += BLOCK)
        merge_block(k, c, b);
}

/* A kind of chunk, once for each rule of masks. */
#define MERGE_KIND(name, ...)                                                                                \
    static ALONE void name(const emr_chunk *c, block *b)                                                     \
    {                                                                                                        \
        merge_blocks((kind){__VA_ARGS__}, c, b);                                                             \
    }                                                                                                        \
    static ALONE void name##_nearest(const emr_chunk *c, block *b)                                           \
    {                                                                                                        \
        merge_blocks((kind){__VA_ARGS__, .nearest = true}, c, b);                                            \
    }
MERGE_KIND(merge_f32, .dtype = EMR_DTYPE_F32)
MERGE_KIND(merge_f16, .dtype = EMR_DTYPE_F16)
MERGE_KIND(merge_bf16, .dtype = EMR_DTYPE_BF16, .even_odd = true)
MERGE_KIND(merge_mixed, .mixed = true)
#undef MERGE_KIND

/* What is left of a chunk after its whole blocks. */
static ALONE void merge_rest(const emr_chunk *c, block *b)
{
    b->at.n = c->n - b->at.first;
    if (b->at.n && c->nearest)
        merge_block((kind){.mixed = true, .partial = true, .nearest = true}, c, b);
    else if (b->at.n)
        merge_block((kind){.mixed = true, .partial = true}, c, b);
}

static bool are_magnitudes_held(const emr_sums *s)
{
    return emr_sum_holds(s->t1, false) && emr_sum_holds(s->q1, false);
}

static bool are_products_held(const emr_sums *s)
{
    return emr_sum_holds(s->tt, s->t1 > 0) && emr_sum_holds(s->tq, s->t1 > 0 && s->q1 > 0) &&
           emr_sum_holds(s->qq, s->q1 > 0) && emr_sum_holds(s->rest, false);
}

/* All tasks' results from their lanes; false if a sum is not finite. */
static bool finish(emr_chunk *c)
{
    bool finite = true;
    for (size_t t = 0; t < c->n_tasks; t++) {
        emr_chunk_task *r = &c->results[t];
        r->sums = (emr_sums){.t1 = emr_chunk_total(r->lanes), .q1 = emr_chunk_total(r->lanes + 4)};
        r->nonzero = r->sums.t1 > 0;
        finite = finite && are_magnitudes_held(&r->sums);
        if (c->skip_sums)
            r->sums = (emr_sums){0};
    }
    return finite;
}

/* Whether a unified value overflows its dtype though no mask is 1 there, so that q1 does not tell. */
static bool has_overflow(const block *b)
{
    for (size_t j = 0; j < 16; j++)
        if (b->most[j] > FLT_MAX)
            return true;
    return false;
}

static emr_sums sum_range(const emr_chunk *c, emr_range range);

static void merge(emr_chunk *c)
{
    bool narrow = is_narrow(c->base_dtype), mixed = false;
    for (size_t t = 0; t < c->n_tasks; t++) {
        /* W_0 - W_0 is the task vector of a task that does not have the tensor */
        unsigned dtype = c->tasks[t] ? c->task_dtypes[t] : c->base_dtype;
        const uint8_t *source = c->tasks[t] ? c->tasks[t] : c->base;
        c->results[t] = (emr_chunk_task){.source = source, .dtype = dtype};
        narrow = narrow && is_narrow(dtype);
        mixed = mixed || dtype != c->base_dtype;
    }
    if (!narrow) {
        emr_kernels_c.merge(c);
        return;
    }
    block b;
    b.at.first = 0;
    if (c->nearest)
        memset(b.most, 0, sizeof b.most);
    c->bad = c->n;
    c->bad_task = 0;
    if (mixed)
        (c->nearest ? merge_mixed_nearest : merge_mixed)(c, &b);
    else if (c->base_dtype == EMR_DTYPE_F32)
        (c->nearest ? merge_f32_nearest : merge_f32)(c, &b);
    else if (c->base_dtype == EMR_DTYPE_BF16)
        (c->nearest ? merge_bf16_nearest : merge_bf16)(c, &b);
    else
        (c->nearest ? merge_f16_nearest : merge_f16)(c, &b);
    merge_rest(c, &b);
    if (!finish(c) ||
        (c->nearest && has_overflow(&b))) { /* bad input, or sums past f32: rare, and told apart there */
        emr_kernels_c.merge(c);
        return;
    }
    for (size_t t = 0; t < c->n_tasks && c->summation != EMR_SUM_L1 && !c->skip_sums; t++)
        c->results[t].sums = sum_range(c, (emr_range){.task = t, .to = c->n});
}

/* Parameters [from, to) of a chunk, which lie in one group, at their places in it; 0 elsewhere. */
static void load_part(float group[EMR_GROUP], unsigned dtype, const void *values, size_t from, size_t to)
{
    size_t size = emr_float_size(dtype), first = from / EMR_GROUP * EMR_GROUP;
    const uint8_t *p = (const uint8_t *)values + first * size;
    uint8_t padded[EMR_GROUP * 4] = {0};
    if (to - from < EMR_GROUP) {
        memcpy(padded + (from - first) * size, p + (from - first) * size, (to - from) * size);
        p = padded;
    }
    for (size_t i = 0; i < EMR_GROUP; i += 16)
        v_store_f32(group + i, load16(dtype, p + i * size));
}

/* Sums of magnitudes, of products, and all. */
enum { N_MAGNITUDES = 2, N_PRODUCTS = 4, N_SUMS = N_MAGNITUDES + N_PRODUCTS };

/* A range's sums as they grow, in the order of emr_sums: lanes of a block's halves, products in f32 or f64, and the
 * chunk's accumulators, four a sum. */
typedef struct running {
    v16 halves[2][N_SUMS];
    double wide_halves[2][N_PRODUCTS][16];
    double a[4 * N_SUMS];
} running;

/* What is summed of 16 parameters; tau and q turned round, as everything here. */
typedef struct terms {
    v16 d, q, rest;
} terms;

/* `plain`, a constant: EMR_SIDE_BOTH of masks by signs. */
static INLINE terms terms_of(const emr_chunk *c, emr_side side, bool plain, v16 d, v16 unified)
{
    v16 elected = v_sub(v_zero(), unified), size = v_abs(unified);
    m16 mask = c->nearest && !plain ? masked(true, d, elected, size) : masked(false, d, elected, size);
    v16 ones_d = v_where(mask, d), ones_q = v_where(mask, elected), none = v_zero();
    if (plain || side == EMR_SIDE_BOTH)
        return (terms){d, ones_q, none};
    m16 there = v_greater(size, none);
    v16 d_there = v_where(there, d); /* what is 0 or x, less 0 or the same x, is exact */
    if (side == EMR_SIDE_ONES)
        return (terms){ones_d, ones_q, v_sub(d, d_there)};
    return (terms){v_sub(d_there, ones_d), v_sub(ones_q, elected), none};
}

static INLINE void add_magnitude_terms(v16 to[N_SUMS], const terms *x, const terms *y)
{
    to[0] = v_add(to[0], v_add(v_abs(x->d), v_abs(y->d)));
    to[1] = v_add(to[1], v_add(v_abs(x->q), v_abs(y->q)));
}

static INLINE void add_product_terms(v16 to[N_SUMS], const terms *x, const terms *y)
{
    to[2] = v_add(to[2], v_add(v_mul(x->d, x->d), v_mul(y->d, y->d)));
    to[3] = v_add(to[3], v_add(v_mul(x->d, x->q), v_mul(y->d, y->q)));
    to[4] = v_add(to[4], v_add(v_mul(x->q, x->q), v_mul(y->q, y->q)));
    to[5] = v_add(to[5], v_add(v_mul(x->rest, x->rest), v_mul(y->rest, y->rest)));
}

static INLINE void add_wide_terms(double to[N_PRODUCTS][16], const terms *x, const terms *y)
{
    v_add_products(to[0], x->d, x->d, y->d, y->d);
    v_add_products(to[1], x->d, x->q, y->d, y->q);
    v_add_products(to[2], x->q, x->q, y->q, y->q);
    v_add_products(to[3], x->rest, x->rest, y->rest, y->rest);
}

/* What lies in one group. */
static INLINE void add_part(running *s, const emr_chunk *c, emr_range part, emr_summation summation,
                            bool plain)
{
    float base[EMR_GROUP], weights[EMR_GROUP], unified[EMR_GROUP];
    size_t half = part.from % BLOCK >= BLOCK / 2;
    load_part(base, c->base_dtype, c->base, part.from, part.to);
    load_part(weights, c->task_dtypes[part.task], c->tasks[part.task], part.from, part.to);
    load_part(unified, c->unified_dtype, c->unified, part.from, part.to);
    for (size_t i = 0; i < EMR_GROUP; i += 32) {
        terms t[2];
        UNROLL
        for (size_t h = 0; h < 2; h++) {
            v16 d = v_sub(v_load_f32(base + i + 16 * h), v_load_f32(weights + i + 16 * h));
            t[h] = terms_of(c, part.side, plain, d, v_load_f32(unified + i + 16 * h));
        }
        if (summation != EMR_SUM_L2)
            add_magnitude_terms(s->halves[half], &t[0], &t[1]);
        if (summation == EMR_SUM_L2)
            add_wide_terms(s->wide_halves[half], &t[0], &t[1]);
        if (summation == EMR_SUM_ALL)
            add_product_terms(s->halves[half], &t[0], &t[1]);
    }
}

static void fold_wide(double a[4], const double low[16], const double high[16])
{
    double l[16], h[8];
    for (size_t j = 0; j < 16; j++)
        l[j] = low[j] + high[j];
    for (size_t j = 0; j < 8; j++)
        h[j] = l[j] + l[j + 8];
    for (size_t j = 0; j < 4; j++)
        a[j] = a[j] + (h[j] + h[j + 4]);
}

/* Begins a block; of the lanes those that are added to. */
static INLINE void clear_lanes(running *s, emr_summation summation)
{
    size_t n = summation == EMR_SUM_ALL ? N_SUMS : N_MAGNITUDES;
    if (summation == EMR_SUM_L2)
        memset(s->wide_halves, 0, sizeof s->wide_halves);
    for (size_t i = 0; summation != EMR_SUM_L2 && i < n; i++)
        s->halves[0][i] = s->halves[1][i] = v_zero();
}

/* Ends a block. */
static INLINE void fold_running(running *s, emr_summation summation)
{
    size_t n = summation == EMR_SUM_ALL ? N_SUMS : N_MAGNITUDES;
    for (size_t i = 0; summation == EMR_SUM_L2 && i < N_PRODUCTS; i++)
        fold_wide(s->a + 4 * (N_MAGNITUDES + i), s->wide_halves[0][i], s->wide_halves[1][i]);
    for (size_t i = 0; summation != EMR_SUM_L2 && i < n; i += 2)
        v_fold_add(s->a + 4 * i, v_add(s->halves[0][i], s->halves[1][i]),
                   v_add(s->halves[0][i + 1], s->halves[1][i + 1]));
}

static INLINE emr_sums sum_by(const emr_chunk *c, emr_range range, emr_summation summation, bool plain)
{
    running s;
    memset(s.a, 0, sizeof s.a);
    clear_lanes(&s, summation);
    for (emr_range part = range; part.from < range.to; part.from = part.to) {
        part.to = (part.from / EMR_GROUP + 1) * EMR_GROUP;
        part.to = part.to < range.to ? part.to : range.to;
        add_part(&s, c, part, summation, plain);
        if (part.to % BLOCK && part.to != range.to)
            continue;
        fold_running(&s, summation);
        clear_lanes(&s, summation);
    }
    return (emr_sums){.t1 = emr_chunk_total(s.a),
                      .q1 = emr_chunk_total(s.a + 4),
                      .tt = emr_chunk_total(s.a + 8),
                      .tq = emr_chunk_total(s.a + 12),
                      .qq = emr_chunk_total(s.a + 16),
                      .rest = emr_chunk_total(s.a + 20)};
}

static ALONE emr_sums sum_plain_l1(const emr_chunk *c, emr_range range)
{
    return sum_by(c, range, EMR_SUM_L1, true);
}

static ALONE emr_sums sum_l1(const emr_chunk *c, emr_range range)
{
    return sum_by(c, range, EMR_SUM_L1, false);
}

static ALONE emr_sums sum_l2(const emr_chunk *c, emr_range range)
{
    return sum_by(c, range, EMR_SUM_L2, false);
}

static ALONE emr_sums sum_all(const emr_chunk *c, emr_range range)
{
    return sum_by(c, range, EMR_SUM_ALL, false);
}

static emr_sums sum_range(const emr_chunk *c, emr_range range)
{
    const emr_chunk_task *r = &c->results[range.task];
    bool plain = !c->nearest && range.side == EMR_SIDE_BOTH;
    if (!c->tasks[range.task])
        return (emr_sums){0};
    if (!is_narrow(c->base_dtype) || !is_narrow(c->task_dtypes[range.task]) || r->zeroed)
        return emr_kernels_c.sum_range(c, range);
    if (c->summation == EMR_SUM_L2)
        return sum_l2(c, range);
    emr_sums sums = c->summation == EMR_SUM_ALL ? sum_all(c, range)
                    : plain                     ? sum_plain_l1(c, range)
                                                : sum_l1(c, range);
    return are_magnitudes_held(&sums) && (c->summation == EMR_SUM_L1 || are_products_held(&sums))
               ? sums
               : emr_kernels_c.sum_range(c, range);
}

/* A number less itself is 0 where it is finite, and else NaN, which stays. */
static bool subtract(float *out, const float *values, const float *base, size_t n)
{
    float found[16];
    v16 wrong = v_zero();
    size_t i = 0;
    bool finite = true;
    for (; i + 16 <= n; i += 16) {
        v16 difference = v_sub(v_load_f32(values + i), v_load_f32(base + i));
        v_store_f32(out + i, difference);
        wrong = v_add(wrong, v_sub(difference, difference));
    }
    v_store_f32(found, wrong);
    for (size_t j = 0; j < 16; j++)
        finite = finite && found[j] == 0;
    return emr_kernels_c.subtract(out + i, values + i, base + i, n - i) && finite;
}

static void convert(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n)
{
    size_t to_size = emr_float_size(to), from_size = emr_float_size(from), whole = n / 16 * 16;
    uint8_t *d = destination, padded[64] = {0};
    const uint8_t *s = source;
    if (to == from || !is_narrow(to) || !is_narrow(from)) {
        emr_kernels_c.convert(to, destination, from, source, n);
        return;
    }
    for (size_t i = 0; i < whole; i += 16)
        v_store_rounded(to, d + i * to_size, load16(from, s + i * from_size));
    if (whole < n) {
        memcpy(padded, s + whole * from_size, (n - whole) * from_size);
        v_store_rounded(to, padded, load16(from, padded));
        memcpy(d + whole * to_size, padded, (n - whole) * to_size);
    }
}

#include "numeric/codes_template.h"

#undef INLINE
#undef ALONE
#undef UNROLL
