/* root.h - the square root, without a library of mathematics. */
#ifndef EMR_NUMERIC_ROOT_H
#define EMR_NUMERIC_ROOT_H

/* The square root of x >= 0, the same on every machine. */
double emr_square_root(double x);

#endif
