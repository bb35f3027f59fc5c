/* partial.h - groups of units that are merged in part, and tensors whose axes follow them. B is a model whose units are in A's
 * order already. */
#ifndef EMR_FIT_PARTIAL_H
#define EMR_FIT_PARTIAL_H

#include "spec.h"

/* New units: n_merged of both models, then the rest of A, then the rest of B. */
typedef struct fit_partial {
    const spec_group *group;
    size_t n_units, n_merged;
    uint32_t *merged, *apart; /* old units, in ascending order */
} fit_partial;

static inline size_t partial_size(const fit_partial *p)
{
    return 2 * p->n_units - p->n_merged;
}

/* Where a new element of an axis comes from; FIT_NOWHERE: not of that model. */
typedef struct fit_origin {
    uint32_t a, b;
} fit_origin;
#define FIT_NOWHERE UINT32_MAX

typedef struct fit_mixed_axis {
    fit_origin *origins; /* of each new element; NULL: the axis is as it was */
    uint64_t length;     /* the new one */
    bool makes_units;    /* an entry of the spec makes units here */
} fit_mixed_axis;

/* A tensor after merging: new = the mean of A and B where it is of both on all axes, else A's or B's; where no axis makes units,
 * half of that; 0 where it is of A on one axis and of B on another. */
typedef struct fit_mix {
    const fit_host *host;
    const emr_tensor *a, *b;
    fit_mixed_axis axes[SPEC_RANK_MAX];
    uint32_t n_axes; /* up to the last that has origins */
    uint64_t inner;  /* elements behind it */
    uint64_t count;  /* of the new tensor */
    bool makes_units;
} fit_mix;

/* Pairs are merged in the order of `nearness`, largest first, of equal ones the first; NULL: in that of their numbers. */
emr_status fit_partial_create(fit_partial *partial, const fit_host *host, const spec_group *group,
                              size_t n_merged, const double *nearness, emr_error *error);
void fit_partial_destroy(fit_partial *partial, const fit_host *host);

/* `partials` has one for each group of the spec; those of heads are not looked at. */
emr_status fit_mix_create(fit_mix *mix, const fit_host *host, const emr_permutation_spec *spec,
                          const fit_partial *partials, const emr_tensor *a, const emr_tensor *b,
                          emr_error *error);
void fit_mix_destroy(fit_mix *mix);

/* Elements [first, first + n) of the new tensor. */
emr_status fit_mix_read(const fit_mix *mix, uint64_t first, size_t n, double *values, emr_error *error);

/* Where element x of an axis comes from. */
static inline fit_origin mix_origin(const fit_mixed_axis *axis, uint64_t x)
{
    return axis->origins ? axis->origins[x] : (fit_origin){(uint32_t)x, (uint32_t)x};
}

#endif
