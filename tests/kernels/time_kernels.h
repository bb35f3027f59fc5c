/* time_kernels.h - how long a kernel variant takes, to read beside the C reference. */
#ifndef TIME_KERNELS_H
#define TIME_KERNELS_H

#include "numeric/kernels.h"

/* Prints the time of merge, sum_range, apply and convert per parameter; the data stay in the caches. */
void time_kernels(const emr_kernels *k);

#endif
