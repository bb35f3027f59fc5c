/* elementary.h - the exponential and the logarithm, for methods (method.h) and losses of the host's own: made of
 * additions, subtractions, multiplications and divisions alone, in a fixed order, so that they are the same bits
 * on every machine, which those of a C library are not. Within two units of the last place.
 *
 *     double softplus = x > 0 ? x + emr_log(1 + emr_exp(-x)) : emr_log(1 + emr_exp(x));
 *
 * A host keeps the bits by compiling its own sums without contraction (-ffp-contract=off). */
#ifndef EMR_ELEMENTARY_H
#define EMR_ELEMENTARY_H

#include "emr/export.h"

EMR_BEGIN_DECLS

/* e to the power of x. Infinity above 709.78, 0 below -745.13; NaN of NaN. */
EMR_API double emr_exp(double x);

/* The natural logarithm. -infinity of 0, NaN below and of NaN. */
EMR_API double emr_log(double x);

EMR_END_DECLS

#endif
