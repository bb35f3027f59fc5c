/* force.h - for tests and benchmarks: a merge with kernels of the caller's choice, not the fastest ones. */
#ifndef EMR_MERGE_FORCE_H
#define EMR_MERGE_FORCE_H

#include "emr/merge.h"
#include "numeric/kernels.h"

/* Before the run. */
void emr_merge_force_kernels(emr_merge *merge, const emr_kernels *kernels);

#endif
