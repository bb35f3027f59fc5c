/* kernels.h - the arithmetic of EMR-Merging on one chunk of parameters, behind a table of variants.
 *
 * Parameters of all merged tensors form one flat space (docs/bundle-format.md); a chunk is the part of one
 * tensor that lies in [k * EMR_CHUNK, (k+1) * EMR_CHUNK) of it. Tensors begin at multiples of EMR_GROUP, so a
 * chunk begins at one too. Everything that a kernel computes depends on the chunk's values and positions
 * alone.
 *
 * Sums are taken in this order, fixed here once for every instruction set (x[i] is element i of a group, +0
 * where the group has none, and all terms are >= +0):
 *
 *     lane    l[j] = ((x[j] + x[16+j]) + x[32+j]) + x[48+j]    for j < 16
 *     fold    h[j] = l[j] + l[j+8] for j < 8,  q[j] = h[j] + h[j+4] for j < 4
 *     chunk   a[j] = a[j] + (double)q[j], over the groups in order;  total = (a[0] + a[2]) + (a[1] + a[3])
 *
 * with x, l, h and q in f32 for the L1 sums, and in f64 for the L2 sums (the products are exact there). At
 * most five roundings in f32 meet each term, so that a ratio of two totals is within 6e-7 of the exact one.
 * Where the f32 total overflows, it is replaced by that of the same tree in f64.
 *
 * Every variant gives the same bits as kernels_c.c, which is the specification. */
#ifndef EMR_NUMERIC_KERNELS_H
#define EMR_NUMERIC_KERNELS_H

#include "emr/dtype.h"

#include <stddef.h>
#include <stdint.h>

enum {
    EMR_GROUP = 64,    /* parameters in one 64-bit word of a mask */
    EMR_CHUNK = 16384, /* parameters at most that one kernel call sees */
};

/* The two sums that a rescaler is the ratio of: numerator and denominator. */
typedef struct emr_sums {
    double top, bottom;
} emr_sums;

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
    double lanes[8];  /* work memory of the kernel */
} emr_chunk_task;

/* One chunk, all tasks side by side. Sources may have any alignment. */
typedef struct emr_chunk {
    size_t n; /* parameters, 1 to EMR_CHUNK */
    size_t n_tasks;
    const void *base;
    const void *const *tasks; /* NULL: the task does not have this tensor, its task vector is 0 */
    const uint8_t *task_dtypes;
    uint8_t base_dtype;
    uint8_t unified_dtype;
    uint8_t tie_negative;
    uint8_t zero_nonfinite;
    uint8_t l2;
    uint8_t skip_sums;       /* results[].sums stay 0: the caller uses sum_range */
    void *unified;           /* out: n elements of unified_dtype */
    uint8_t *const *masks;   /* out: (n + 7) / 8 bytes a task */
    emr_chunk_task *results; /* out: one a task */
    size_t bad;              /* out: the first parameter that is not finite, or n */
    size_t
        bad_task; /* out: the first task that is not finite there; n_tasks: `unified` overflows its dtype */
} emr_chunk;

/* A run of parameters that share one rescaler. */
typedef struct emr_run {
    size_t n;
    const void *base;
    const void *unified;
    const uint8_t *mask; /* bit `bit` of it belongs to parameter 0 */
    size_t bit;
    float rescaler;
    uint8_t base_dtype, unified_dtype, out_dtype;
    void *out; /* may equal `base` if the dtypes are equal */
} emr_run;

typedef struct emr_kernels {
    const char *name;
    /* Elects, masks and sums one chunk. */
    void (*merge)(emr_chunk *chunk);
    /* Sums of one task over parameters [from, to) of a chunk that was merged: for rescalers per row. Group
     * and lane positions are those of the chunk; what lies outside the range counts as +0. */
    emr_sums (*sum_range)(const emr_chunk *chunk, size_t task, size_t from, size_t to);
    /* W = base + rescaler * (mask ? unified : 0). */
    void (*apply)(const emr_run *run);
} emr_kernels;

extern const emr_kernels emr_kernels_c;
extern const emr_kernels emr_kernels_avx2; /* in builds for x86-64 */
extern const emr_kernels emr_kernels_neon; /* in builds for 64-bit ARM */

/* Every variant that this build has and this processor can run, the reference first; NULL ends the list. For
 * the tests that compare them. */
const emr_kernels *const *emr_kernels_available(void);

/* The fastest variant for the processor that asks. */
const emr_kernels *emr_kernels_select(void);

#endif
