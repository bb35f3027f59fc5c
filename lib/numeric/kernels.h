/* kernels.h - the arithmetic of EMR-Merging on one chunk of parameters, behind a table of variants.
 *
 * Parameters of all merged tensors form one flat space (docs/bundle-format.md); a chunk is the part of one
 * tensor that lies in [k * EMR_CHUNK, (k+1) * EMR_CHUNK) of it. Tensors begin at multiples of EMR_GROUP, so a
 * chunk begins at one too. Everything that a kernel computes depends on the chunk's values and positions
 * alone.
 *
 * Sums are taken in this order, fixed here once for every instruction set and dtype (x[i] is element i of a
 * block of 256 parameters counted from the chunk's first, +0 where the chunk has none; a product is one
 * rounding before it is a term):
 *
 *     pair    p[k][j] = x[32k+j] + x[32k+16+j]                             for k < 8, j < 16
 *     half    l[m][j] = ((p[4m][j] + p[4m+1][j]) + p[4m+2][j]) + p[4m+3][j]   for m < 2
 *     fold    b[j] = l[0][j] + l[1][j],  h[j] = b[j] + b[j+8] for j < 8,  q[j] = h[j] + h[j+4] for j < 4
 *     chunk   a[j] = a[j] + (double)q[j], over the blocks in order;  total = (a[0] + a[2]) + (a[1] + a[3])
 *
 * with everything to the left of a in f32, or in f64 for EMR_SUM_L2 (the products are exact there). At most
 * seven roundings in f32 meet each term (1 in its pair, 3 in its half, 3 in the fold), each of at most 2^-24,
 * and terms of one sum have one sign: a total of magnitudes is within 7 * 2^-24 of the exact one, one of
 * products within 8 * 2^-24, and a ratio of two within 16 * 2^-24 < 9.6e-7; what f64 adds is below 1e-12. (With
 * EMR_SIDE_ZEROS and `nearest` the terms of tq have either sign: there the bound is of the sum of their
 * magnitudes.) An f32 total that emr_sum_holds() is not true of is replaced by that of the same tree in f64.
 *
 * Every variant gives the same bits as kernels_c.c, which is the specification. */
#ifndef EMR_NUMERIC_KERNELS_H
#define EMR_NUMERIC_KERNELS_H

#include "emr/blocks.h"
#include "emr/dtype.h"
#include "numeric/pairs.h"
#include "numeric/votes.h"

#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EMR_GROUP = 64,    /* parameters in one 64-bit word of a mask */
    EMR_BLOCK = 256,   /* parameters whose sums are folded together */
    EMR_CHUNK = 16384, /* parameters at most that one kernel call sees */

    EMR_LANES = 32, /* accumulators of a product, see emr/product.h */
/* Of a product, at most that one call of dot or dot_steps sees: what it needs stays in level 1, or on a
 * small stack. */
#ifdef EMR_FREESTANDING
    EMR_DOT_COLUMNS = 128,
    EMR_DOT_ROWS = 2,
#else
    EMR_DOT_COLUMNS = 512,
    EMR_DOT_ROWS = 8,
#endif
    EMR_DOT_VECTORS = 8,
    EMR_STEP_AHEAD = 4, /* bytes that come from memory while one column of such rows is added up */
    EMR_DOT_WORDS = EMR_DOT_COLUMNS / 32, /* of codes of one bit */

    EMR_CODE_UNIT = 512, /* parameters whose codes take whole bytes, as many as those of a group take bits */
    EMR_CODE_BITS_MAX = 4,
    EMR_LEVELS_MAX = 1 << EMR_CODE_BITS_MAX,
    EMR_SCALES_MAX = 2,

    EMR_NAN_F32 = 0x7fc00000, /* the bits of the only NaN that apply computes: quiet, positive, no payload */
};

/* What rescalers are computed from: sums of tau and of q, which stands for it before it is scaled. */
typedef struct emr_sums {
    double t1, q1;     /* magnitudes of each */
    double tt, tq, qq; /* products */
    double rest;       /* with EMR_SIDE_ONES: of tau with itself on no side, where the unified value is 0 */
} emr_sums;

/* Which of them, the others being 0; and in what. */
typedef enum emr_summation {
    EMR_SUM_L1, /* t1 and q1, in f32 */
    EMR_SUM_L2, /* the others, in f64 */
    EMR_SUM_ALL /* all, in f32 */
} emr_summation;

/* Over which parameters, and of which q. */
typedef enum emr_side {
    EMR_SIDE_BOTH, /* all; q is the unified value where the mask is 1, and 0 elsewhere */
    EMR_SIDE_ONES, /* where the mask is 1; q is the unified value */
    EMR_SIDE_ZEROS /* where it is 0 and the unified value is not; q is that value's negative */
} emr_side;

/* Parameters [from, to) of a chunk, of one task. */
typedef struct emr_range {
    size_t task, from, to;
    emr_side side;
} emr_range;

/* Whether f32 was wide enough for a total: it is finite; and it is so large that what its products lost to
 * underflow counts for nothing, unless `some` says that all its terms are 0. */
static inline bool emr_sum_holds(double total, bool some)
{
    double magnitude = total < 0 ? -total : total;
    return magnitude <= DBL_MAX && (magnitude >= 0x1p-80 || !some);
}

/* A chunk's total of its four accumulators: the last step of the order above. */
static inline double emr_chunk_total(const double a[4])
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* What one task had in one chunk. */
typedef struct emr_chunk_task {
    emr_sums sums;
    uint64_t ones;    /* mask bits set */
    uint64_t zeroed;  /* task vector entries that were not finite and counted as 0 */
    uint64_t nonzero; /* 1 if any entry of the task vector is not zero */
    /* work memory of the kernel */
    double lanes[8];
    const uint8_t *source;
    emr_dtype dtype;
} emr_chunk_task;

/* One chunk, all tasks side by side. Sources may have any alignment. */
typedef struct emr_chunk {
    size_t n; /* parameters, 1 to EMR_CHUNK */
    size_t n_tasks;
    const void *base;
    const void *const *tasks; /* NULL: the task does not have this tensor, its task vector is 0 */
    const emr_dtype *task_dtypes;
    emr_dtype base_dtype;
    emr_dtype unified_dtype;
    bool tie_negative;
    bool zero_nonfinite;
    bool nearest;            /* masks are 1 only where tau is nearer to the unified value than to 0, too */
    bool skip_sums;          /* results[].sums stay 0: the caller uses sum_range */
    emr_summation summation; /* of results[].sums, with EMR_SIDE_BOTH, and of sum_range */
    void *unified;           /* out: n elements of unified_dtype */
    uint8_t *const *masks;   /* out: (n + 7) / 8 bytes a task */
    emr_chunk_task *results; /* out: one a task */
    size_t bad;              /* out: the first parameter that is not finite, or n */
    size_t
        bad_task; /* out: the first task that is not finite there; n_tasks: `unified` overflows its dtype */
} emr_chunk;

/* How the codes of a tensor lie, and what they stand for. Codes of a stream are packed without gaps, the
 * lowest bit first, those of EMR_CODE_UNIT parameters in `rate` whole bytes. */
typedef struct emr_coding {
    uint32_t rate;       /* bits of a group's codes: 64 for a bit a parameter, 2 for one of 32 */
    uint32_t seed;       /* of positions that are drawn (thin.h) */
    const float *levels; /* what each of the 4, 8 or 16 codes stands for, where codes have 2 to 4 bits */
} emr_coding;

/* A run of parameters with the same scales. What its codes mean, how many scales there are and whether
 * unified values are used depends on the kind of modulator (modulator/kind.h). */
typedef struct emr_run {
    size_t n;
    const void *base;       /* NULL: none is read, its values count as +0, base_dtype is F32 */
    const void *unified;    /* NULL where the kind has none */
    const uint8_t *codes;   /* of a flat parameter that is a multiple of EMR_CODE_UNIT, and on */
    size_t first_code;      /* how many parameters after that one the run begins */
    uint64_t group;         /* of that parameter: its number in flat space, by EMR_GROUP */
    const uint8_t *columns; /* BF16, one for each parameter of the run; NULL: all 1 */
    void *out;              /* may equal `base` if the dtypes are equal */
    float scales[EMR_SCALES_MAX];
    emr_coding coding;
    emr_dtype base_dtype, unified_dtype, out_dtype;
    bool stream; /* the output is larger than the caches, keep it out of them */
} emr_run;

/* Some columns of one row of W, times some vectors: adds W[c] * x[c] to accumulator c mod EMR_LANES of each
 * vector, in order of c, where W is what apply() gives in F32. A vector's codes are EMR_DOT_WORDS words, of a
 * bit a column. */
typedef struct emr_dot {
    size_t n;         /* columns, a multiple of EMR_LANES, at most EMR_DOT_COLUMNS */
    size_t n_vectors; /* 1 to EMR_DOT_VECTORS */
    const void *base; /* NULL: as emr_run's; not of dot_base */
    const void *unified;
    const void *ahead;     /* as much as of the base that is needed soon; NULL: that is what lies behind it */
    const uint32_t *codes; /* one vector's after the other's */
    const float *scales;   /* likewise, the kind's number of them */
    const float *x;        /* vector b begins at x + b * stride */
    size_t stride;
    float (*lanes)[EMR_LANES]; /* in and out, one row a vector */
    emr_dtype base_dtype, unified_dtype;
    bool shared; /* codes and scales are there once, for all vectors */
} emr_dot;

/* The same for what a kind without unified values adds to the base, for a scale of 1: adds v[c] * x[c] to
 * accumulator c mod EMR_LANES, in order of c, where
 *     signs        v[c] = the code's bit ? 1 : -1; with columns v[c] * x[c] is that times (columns[c] * x[c])
 *     levels       v[c] = levels[code]
 *     differences  v[c] = the number
 * and nothing where `kept` is 0. All vectors are of one task; and all of them are multiplied by each of some
 * rows. */
typedef struct emr_step_dot {
    size_t n;               /* columns, a multiple of EMR_LANES */
    size_t n_rows;          /* 1 to EMR_DOT_ROWS */
    size_t n_vectors;       /* as emr_dot's */
    const uint32_t *codes;  /* signs: a bit a column; else `rate` / EMR_GROUP, packed, the lowest first */
    const uint32_t *kept;   /* thin: a bit a column; else NULL */
    size_t code_stride;     /* words from one row's codes to the next's, and of `kept` */
    const uint8_t *columns; /* BF16, one for each column; NULL: all 1 */
    emr_coding coding;
    const float *x;
    size_t stride;
    const uint8_t *ahead; /* EMR_STEP_AHEAD bytes a column are needed soon; NULL: nothing is known to be */
    float (*lanes)[EMR_LANES]; /* row r of vector b has those number b * lane_stride + r */
    size_t lane_stride;
} emr_step_dot;

/* Asks for a line of memory that is needed soon, into level 2 of the caches. Anything may lie there. */
static inline void emr_ask_ahead(const void *at)
{
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(at, 0, 2);
#else
    (void)at;
#endif
}

/* What computes weights of one kind of modulator, and multiplies without materialising them. */
typedef struct emr_code_kernels {
    void (*apply)(const emr_run *run);
    void (*dot)(const emr_dot *dot);            /* kinds with unified values */
    void (*dot_steps)(const emr_step_dot *dot); /* kinds without */
} emr_code_kernels;

/* Some groups of an item: what is read, and where what comes of it goes. Codes are of signs: without `kept`
 * a bit a parameter, 1 where tau > 0, and at odd places where it is 0; with it a bit for each run of a
 * group (numeric/thin.h), 1 where tau of the parameter that is kept is > 0, and in odd runs where it is 0.
 * Past the n parameters tau is +0, codes are 0, and nothing is kept. */
typedef struct emr_encode_step {
    size_t n;
    const void *base, *task;
    emr_dtype base_dtype, task_dtype;
    float *tau;     /* out */
    uint8_t *codes; /* out: of all groups of the item; NULL: none */
    uint64_t *kept; /* out: likewise, a bit a parameter; NULL: all are */
    size_t first;   /* the step's first group in the item */
    uint64_t group; /* and the item's in flat space */
    emr_coding coding;
} emr_encode_step;

/* Sums of magnitudes, of squares, and of the magnitudes of what is kept. */
typedef struct emr_magnitudes {
    double l1, l2, kept;
} emr_magnitudes;

/* Where one level ends and the next begins: the code is the number of thresholds that tau is above. Those of
 * parameters at even and at odd places in flat space differ in what they make of 0. */
typedef struct emr_thresholds {
    uint32_t n_levels;
    const float *levels;
    float at[2][EMR_LEVELS_MAX - 1];
} emr_thresholds;

/* Sums of magnitudes of levels, of their products with tau, and of their squares. */
typedef struct emr_level_sums {
    double q1, tq, qq;
} emr_level_sums;

/* What codes of kinds without unified values are made with, of one task's tau in f32 (numeric/encode.h).
 *
 * Sums are taken in this order: lane i mod 16 of 16 adds up element i, in f32 and in order of i, 256
 * elements from the first on; then lane j adds lane j + 8, then j + 4, j + 2, j + 1; and lane 0 is added to
 * the total, in f64. */
typedef struct emr_encode_kernels {
    /* tau as merge has it, its codes, and its sums added to the total. Returns false if one is not finite:
     * only tau means anything then. */
    bool (*read)(const emr_encode_step *step, emr_magnitudes *total);
    /* Codes of tau that is there. */
    void (*codes)(const emr_encode_step *step);
    /* Adds to the total; n is a multiple of 256, or ends what is added up. `kept`: a bit an element, from
     * bit `first` on; NULL: none counts. Up to 64 elements after those n can be read. */
    void (*sums)(emr_magnitudes *total, const float *tau, size_t n, const uint64_t *kept, size_t first);
    /* tau, the first of it at an odd place or not, becomes its codes. */
    emr_level_sums (*levels)(float *tau, size_t n, bool odd, const emr_thresholds *thresholds);
    /* sums[i] = sums[i] + scale * |tau[i]| */
    void (*columns)(float *sums, const float *tau, size_t n, float scale);
} emr_encode_kernels;

/* Positions [first, first + n) of something, each of which has a random word (numeric/philox.h). Those are kept whose word
 * is below the threshold, at most 2^32. */
typedef struct emr_random_draw {
    uint64_t key, threshold;
    uint64_t first;
    size_t n;
} emr_random_draw;

/* What thinning at random is done with. What is kept is a bit a position, 16 in a word, the lowest first. */
typedef struct emr_random_kernels {
    /* The words of n positions from the first on. */
    void (*words)(uint64_t key, uint64_t first, size_t n, uint32_t *words);
    /* Whether each is kept; past the last one a word has 0. */
    void (*choose)(const emr_random_draw *draw, uint16_t *kept);
    /* Adds to the sums: magnitudes of all values, and of those that are kept. In f64: lane i mod 16 of 16 adds up value i, in
     * order of i; and emr_random_fold() of them is added to the sum. */
    void (*sums)(const float *values, const uint16_t *kept, size_t n, double sums[2]);
} emr_random_kernels;

/* The lanes' total. */
static inline double emr_random_fold(const double lanes[16])
{
    double l[8];
    for (int j = 0; j < 8; j++)
        l[j] = lanes[j] + lanes[j + 8];
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

typedef struct emr_kernels {
    const char *name;
    /* Elects, masks and sums one chunk. */
    void (*merge)(emr_chunk *chunk);
    /* Sums over a range of a chunk that was merged. Group and lane positions are those of the chunk; what
     * lies outside the range counts as +0. A task that does not have the tensor has no sums. */
    emr_sums (*sum_range)(const emr_chunk *chunk, emr_range range);
    /* emr_convert() of float dtypes; the buffers do not overlap. */
    void (*convert)(emr_dtype to, void *destination, emr_dtype from, const void *source, size_t n);
    /* out = values - base in f32; `values` may be `out`. Whether all that comes out is finite. */
    bool (*subtract)(float *out, const float *values, const float *base, size_t n);
    /* emr_quantise() and emr_dequantise() of whole blocks of a type that there is. */
    void (*quantise)(emr_block_type type, void *blocks, const float *values, size_t n);
    void (*dequantise)(emr_block_type type, float *values, const void *blocks, size_t n);
    /* W = base + rescaler * (mask ? unified : 0): codes of one bit, one scale. Where the mask is 1 a NaN is
     * EMR_NAN_F32 (or that in f64), rounded to the output's dtype: which bits a sum of two NaNs has is
     * otherwise up to the compiler. */
    emr_code_kernels mask;
    /* W = base + (mask ? scales[0] : -scales[1]) * unified, likewise; the base where unified or the scale
     * is 0. */
    emr_code_kernels two_sided;
    /* W = base + (bit ? 1 : -1) * scales[0] * column; at drawn positions alone; base + scales[0] *
     * levels[code]; base + what the codes are, numbers of 16 (BF16) or 32 bits, the first of them number
     * `first_code`. Where scales[0], or the number, is 0, or the position is not drawn, the base; where
     * scales[0] is 0, `codes` may be NULL. */
    emr_code_kernels sign, thin, levels, differences;
    /* Where a member is NULL, that of emr_encode_c. */
    emr_encode_kernels encode;
    /* dots[k] = <a, others[k]>, as numeric/dots.h says; where it is NULL, emr_dots_c. */
    void (*dots)(const float *a, const float *const *others, size_t n_others, size_t n, double *dots);
    /* Where a member is NULL, that of emr_pairs_c. */
    emr_pair_kernels pairs;
    /* NULL: those of emr_random_c. */
    emr_random_kernels random;
    /* Likewise, those of emr_votes_c. */
    emr_vote_kernels votes;
    /* The base's own part of a product: W is the base; unified, codes and scales are not looked at. */
    void (*dot_base)(const emr_dot *dot);
    /* What a run of codes of a thin task keeps in n groups from number `first` of its codes on, and the signs of
     * that: see thin.h. A bit a parameter, two words a group, the lower first. The run's codes, group and coding
     * are looked at. */
    void (*draw)(const emr_run *run, size_t first, size_t n, uint32_t *kept, uint32_t *signs);
} emr_kernels;

extern const emr_encode_kernels emr_encode_c; /* the specification of encoding; hosted */
extern const emr_random_kernels emr_random_c; /* of random words, likewise */

extern const emr_kernels emr_kernels_c;
extern const emr_kernels emr_kernels_avx2;   /* in builds for x86-64 */
extern const emr_kernels emr_kernels_avx512; /* likewise */
extern const emr_kernels emr_kernels_neon;   /* in builds for 64-bit ARM */

/* Every variant that this build has, whether or not this processor can run it, the reference first; NULL ends
 * the list. For tests, which say what they had to leave out. */
const emr_kernels *const *emr_kernels_built(void);

/* Those that this processor can run, slowest first; NULL ends the list. */
const emr_kernels *const *emr_kernels_available(void);

/* The fastest variant for the processor that asks. */
const emr_kernels *emr_kernels_select(void);

#endif
