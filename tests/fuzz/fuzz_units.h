/* fuzz_units.h - a small model and the spec of its units: groups with blocks, with inner elements, of heads, with a stride. */
#ifndef EMR_TESTS_FUZZ_UNITS_H
#define EMR_TESTS_FUZZ_UNITS_H

#include "fuzz.h"

#include <emr/fit/permutation.h>

emr_model *units_model(void);
extern const char units_spec[];

/* A permutation of every group at random, but where that is too large. */
emr_permutation *units_permutation(const emr_permutation_spec *spec, fuzz_random *random);

/* The model in the order of a permutation, whose spec fits, reads the same in whatever pieces; put back it is what it was. */
void units_check_order(const emr_permutation *permutation, const emr_model *model, fuzz_random *random);

#endif
