/* rescale.h - a scale from sums, by the rules of emr/modulator.h. */
#ifndef EMR_NUMERIC_RESCALE_H
#define EMR_NUMERIC_RESCALE_H

#include "emr/modulator.h"
#include "numeric/root.h"

#include <float.h>

/* UNBIASED is at most this many times L2: where tau and q have little to do with each other, the one grows
 * without bound. */
#define EMR_UNBIASED_MOST 4

static inline double emr_magnitude(double x)
{
    return x < 0 ? -x : x;
}

/* What q is multiplied with so that it stands for tau. t1, q1: sums of magnitudes; tt, tq, qq: of products.
 * */
static inline double emr_rescale_of(emr_rescale rule, double t1, double q1, double tt, double tq, double qq)
{
    double scale = 0;
    if (rule == EMR_RESCALE_L1 || rule == EMR_RESCALE_L1_MEANS)
        scale = q1 > 0 ? t1 / q1 : 0;
    else if (!(qq > 0) || (rule != EMR_RESCALE_NORM && !(tq > 0)))
        scale = 0;
    else if (rule == EMR_RESCALE_NORM)
        scale = emr_square_root(tt / qq);
    else if (rule == EMR_RESCALE_L2 || tt / tq > EMR_UNBIASED_MOST * (tq / qq))
        scale = (rule == EMR_RESCALE_L2 ? 1 : EMR_UNBIASED_MOST) * (tq / qq);
    else
        scale = tt / tq;
    return scale < FLT_MAX ? scale : FLT_MAX;
}

#endif
