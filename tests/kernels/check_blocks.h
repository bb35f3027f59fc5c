/* check_blocks.h - ggml's blocks by a variant and by the reference, bit for bit, both ways. */
#ifndef CHECK_BLOCKS_H
#define CHECK_BLOCKS_H

#include "values.h"

#include "numeric/kernels.h"

/* Random blocks of every type; a line of output for each case that differs. */
void check_blocks(const emr_kernels *kernels, counts *n);

#endif
