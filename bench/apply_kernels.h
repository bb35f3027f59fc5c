/* apply_kernels.h - the apply kernels in memory; a part of the group "kernels". */
#ifndef BENCH_APPLY_KERNELS_H
#define BENCH_APPLY_KERNELS_H

#include "measure.h"
#include "settings.h"

void bench_apply_kernels(const settings *s, const team *teams, size_t n_teams, emr_dtype dtype);

#endif
