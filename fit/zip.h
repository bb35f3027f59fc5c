/* zip.h - which units of several models go together, and tensors whose axes follow that. */
#ifndef EMR_FIT_ZIP_INSIDE_H
#define EMR_FIT_ZIP_INSIDE_H

#include "emr/fit/zip.h"

#include "spec.h"
#include "tiles.h"

/* The n_models * n_units units of a group, model by model, and which of the n_units merged ones each goes into. */
typedef struct zip_group {
    uint32_t *member; /* NULL: the group stays as it is */
    uint32_t *sizes;  /* how many go into each */
} zip_group;

/* Puts together `total` units, of n_models models, until total / n_models are left; `similarity` is total x total, symmetric, and
 * is written over. *value: the mean similarity of what was put together. */
emr_status fit_zip_units(const fit_host *host, double *similarity, size_t total, uint32_t n_models,
                         double shrink, double within, zip_group *group, double *value, emr_error *error);

/* All elements of model m's tensor, in f64, with every axis as the groups say, but for `without`; `values` and `room` have its
 * elements. Where axes are compared (`compares`) units that are made are summed and those that are read averaged, otherwise the
 * other way round. */
emr_status fit_zip_tensor(const emr_permutation_spec *spec, const zip_group *groups, uint32_t n_models,
                          uint32_t m, const emr_tensor *tensor, const spec_axis *without, bool compares,
                          double *values, double *room, emr_error *error);

static inline bool can_zip(const spec_group *g)
{
    return !g->is_heads && g->n_blocks == 1;
}

#endif
