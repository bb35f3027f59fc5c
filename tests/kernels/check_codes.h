/* check_codes.h - what computes weights of every kind of modulator, and multiplies by them. */
#ifndef CHECK_CODES_H
#define CHECK_CODES_H

#include "values.h"

#include "numeric/kernels.h"

/* A variant against the C reference. */
void check_codes(const emr_kernels *k, counts *n);

#endif
