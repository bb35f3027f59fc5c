/* elementary.h - exponential, logarithm, sine and arc cosine, without a library of mathematics: made of additions,
 * multiplications, divisions and square roots alone, in a fixed order, so that they are the same on every machine.
 * Within two units of the last place. */
#ifndef EMR_NUMERIC_ELEMENTARY_H
#define EMR_NUMERIC_ELEMENTARY_H

/* Infinity above 709.78, 0 below -745.13; NaN of NaN. */
double emr_exp(double x);

/* The natural one. -infinity of 0, NaN below and of NaN. */
double emr_log(double x);

/* Of radians, for |x| <= 2^20; NaN beyond. */
double emr_sin(double x);

/* In [0, pi], for -1 <= x <= 1; NaN beyond. */
double emr_acos(double x);

#endif
