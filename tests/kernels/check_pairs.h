/* check_pairs.h - sums over vectors and over every two of them by a variant and by the reference, bit for bit. */
#ifndef CHECK_PAIRS_H
#define CHECK_PAIRS_H

#include "values.h"

#include "numeric/kernels.h"

/* Random blocks; a line of output for each that differs. */
void check_pairs(const emr_kernels *kernels, counts *n);

#endif
