/* check_encode.h - codes and scales of items by a variant and by the reference, bit for bit. */
#ifndef CHECK_ENCODE_H
#define CHECK_ENCODE_H

#include "values.h"

#include "numeric/kernels.h"

/* Random items; a line of output for each that differs. */
void check_encode(const emr_kernels *kernels, counts *n);

#endif
