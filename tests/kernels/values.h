/* values.h - random and nasty data for comparing kernel variants. */
#ifndef VALUES_H
#define VALUES_H

#include "emr/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kind of values a case has. */
typedef enum flavour { ORDINARY, SPREAD, TIES, TINY, HUGE_VALUES, ANY_BITS, N_FLAVOURS } flavour;

extern const emr_dtype narrow_dtypes[3], all_dtypes[6];

/* How many comparisons there were. */
typedef struct counts {
    size_t passed, failed;
} counts;
void count(counts *n, bool passed);

/* The seed may be any number but 0. */
void begin_values(uint64_t seed);
uint64_t next_bits(void);
size_t below(size_t n);
bool chance(unsigned one_in);
/* Between -1 and 1. */
float ordinary(void);
float value_of(flavour f);

void fill_values(uint8_t *to, emr_dtype dtype, size_t n, flavour f);
/* Values that seldom have a sum: NaNs of either sign with any payload, quiet or not; infinities; numbers. */
void fill_nonfinite(uint8_t *to, emr_dtype dtype, size_t n);

#endif
