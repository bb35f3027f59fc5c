/* grow.h - merging one chunk so that tasks can be added later: beside what the merge kernels give, the
 * running sums, extremes and signs that docs/bundle-format.md describes under "Growth"; and going on from
 * those of earlier tasks. Plain C: what is written beside it costs more time than computing it. */
#ifndef EMR_NUMERIC_GROW_H
#define EMR_NUMERIC_GROW_H

#include "numeric/kernels.h"

/* The state of a chunk's parameters after some tasks, as the streams of a bundle have it. Planes of bits
 * follow one another, one a task, `plane_bytes` apart; each pointer is to the chunk's first parameter. Bits
 * are read and written in words of 64. */
typedef struct emr_state {
    const void *unified;               /* of the chunk's unified dtype; `before` alone */
    void *sums, *opposites, *extremes; /* F32 */
    uint8_t *masks, *nonzeros, *undecided;
    size_t plane_bytes;
} emr_state;

typedef struct emr_growth {
    emr_chunk *chunk; /* as for merge, but tasks[] count from n_old on, and masks[t] are planes of `after` */
    size_t n_old;     /* tasks that `before` knows */
    emr_state before; /* in; read where n_old > 0 */
    emr_state after;  /* out, all of it */
    const emr_kernels *kernels;
} emr_growth;

/* Does what kernels->merge does for masks by signs. Of old tasks' sums only q1 is known: the others are what they
 * were. */
void emr_growth_merge(emr_growth *growth);

/* What kernels->sum_range does, likewise, with EMR_SIDE_BOTH. */
emr_sums emr_growth_sum_range(const emr_growth *growth, emr_range range);

#endif
