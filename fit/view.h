/* view.h - a tensor with its axes in another order: out[x_0][x_1]... = source[index_0[x_0]][index_1[x_1]]... */
#ifndef EMR_FIT_VIEW_H
#define EMR_FIT_VIEW_H

#include "permutation.h"

typedef struct fit_view {
    const emr_tensor *source;
    const fit_host *host;
    uint32_t *index[SPEC_RANK_MAX]; /* of each axis; NULL: as it is */
    uint32_t n_axes;                /* up to the last that is not; 0: none */
    uint64_t inner;                 /* elements behind that one, which lie together */
    size_t bytes;                   /* of an element */
} fit_view;

/* A tensor of a model as `permutation` orders it, but for the axis `without`, an entry of the spec (NULL: none). A NULL
 * permutation orders nothing. */
emr_status fit_view_create(fit_view *view, const fit_host *host, const emr_permutation *permutation,
                           const emr_tensor *tensor, const spec_axis *without, emr_error *error);
void fit_view_destroy(fit_view *view);

/* Memory that fit_view_read works in. */
size_t fit_view_scratch(const fit_view *view);

/* Elements [first, first + n), as they are stored. */
emr_status fit_view_read(const fit_view *view, uint64_t first, size_t n, void *out, void *scratch,
                         emr_error *error);

#endif
