/* finite.h - rows of values that a host hands in are finite, or the sentence says where they are not. */
#ifndef EMR_FIT_FINITE_H
#define EMR_FIT_FINITE_H

#include "emr/status.h"

/* Rows of n_columns values, `stride` apart; those with 0 in `keep` (NULL: none) are not looked at. EMR_ENONFINITE: "WHAT: value 3 of
 * row 7 is NaN or infinite". */
emr_status fit_check_finite(const char *what, const float *values, size_t n_rows, size_t n_columns,
                            size_t stride, const uint8_t *keep, emr_error *error);

#endif
