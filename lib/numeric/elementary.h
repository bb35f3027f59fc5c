/* elementary.h - beside the public exponential and logarithm, sine and arc cosine: likewise without a library of
 * mathematics, made of additions, multiplications, divisions and square roots alone, in a fixed order, so that they are
 * the same on every machine. Within two units of the last place. */
#ifndef EMR_NUMERIC_ELEMENTARY_H
#define EMR_NUMERIC_ELEMENTARY_H

#include "emr/elementary.h"

/* Of radians, for |x| <= 2^20; NaN beyond. */
double emr_sin(double x);

/* In [0, pi], for -1 <= x <= 1; NaN beyond. */
double emr_acos(double x);

#endif
