/* great_circle.c - see great_circle.h. */
#include "method/great_circle.h"

#include "numeric/elementary.h"

void emr_straight_way(double t, double coefficients[2])
{
    coefficients[0] = 1 - t;
    coefficients[1] = t;
}

void emr_great_circle(double cosine, double t, double coefficients[2])
{
    double angle = emr_acos(cosine), sine = emr_sin(angle);
    coefficients[0] = emr_sin((1 - t) * angle) / sine;
    coefficients[1] = emr_sin(t * angle) / sine;
}

double emr_clamp_cosine(double x)
{
    return x < -1 ? -1 : x > 1 ? 1 : x;
}
