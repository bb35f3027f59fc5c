/* sweep.h - what a method must know of a whole tensor, or of all of them, before it can combine: its stages, each a
 * reading of the inputs. */
#ifndef EMR_COMBINE_SWEEP_H
#define EMR_COMBINE_SWEEP_H

#include "combine/combination.h"

/* What the stages have found for a tensor, or NULL where that is not known yet. */
const double *emr_combined_found(const emr_combined *tensor);

/* Finds it, unless it is known, with these threads and this memory, and makes it known to all readers. If several do so at
 * a time, the first one's is kept; all find the same. Nothing to do where the method has no stages. */
emr_status emr_combined_find(const emr_combined *tensor, const emr_env *env, emr_error *error);

#endif
