/* check_random.h - random words, and what is kept by them, of a kernel variant against the C reference. */
#ifndef CHECK_RANDOM_H
#define CHECK_RANDOM_H

#include "values.h"

#include "numeric/kernels.h"

void check_random(const emr_kernels *kernels, counts *n);

#endif
