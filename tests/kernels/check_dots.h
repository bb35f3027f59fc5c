/* check_dots.h - products of float vectors by a variant and by the reference, bit for bit. */
#ifndef CHECK_DOTS_H
#define CHECK_DOTS_H

#include "values.h"

#include "numeric/kernels.h"

void check_dots(const emr_kernels *kernels, counts *n);

#endif
