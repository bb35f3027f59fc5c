/* check_votes.h - what methods that cut and elect do, by a variant and by the reference, bit for bit. */
#ifndef CHECK_VOTES_H
#define CHECK_VOTES_H

#include "values.h"

#include "numeric/kernels.h"

/* Random values; a line of output for each that differs. */
void check_votes(const emr_kernels *kernels, counts *n);

#endif
