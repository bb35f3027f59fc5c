/* slices.h - the weights of each unit of a group, one entry of the spec at a time: as panels, so that units can be compared. */
#ifndef EMR_FIT_SLICES_H
#define EMR_FIT_SLICES_H

#include "tiles.h"
#include "view.h"

/* Number k of unit u is panels[u / FIT_TILE][k][u % FIT_TILE], with FIT_SLICE_ROWS rows of each panel. */
enum { FIT_SLICE_ROWS = 128 };

typedef struct fit_slices {
    fit_view view;
    const spec_group *group;
    const spec_axis *axis;
    uint64_t before, after; /* elements that the tensor's axes before this one, and behind, have */
    uint64_t run;           /* numbers of a unit that lie together */
    uint64_t n_rows;        /* numbers that each unit has */
    size_t n_units;
} fit_slices;

/* An entry of a group, of a tensor as `permutation` orders all its other axes; NULL: as it is. */
emr_status fit_slices_create(fit_slices *slices, const fit_host *host, const emr_permutation *permutation,
                             const emr_tensor *tensor, const spec_group *group, const spec_axis *axis,
                             emr_error *error);
void fit_slices_destroy(fit_slices *slices);

/* Numbers [first, first + n) of all units, n at most FIT_SLICE_ROWS; with the executor's threads. */
emr_status fit_slices_read(const fit_slices *slices, uint64_t first, size_t n, fit_panel *panels,
                           emr_error *error);

#endif
