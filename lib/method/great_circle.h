/* great_circle.h - the way from one direction to another: coefficients of the two vectors at its part t. */
#ifndef EMR_METHOD_GREAT_CIRCLE_H
#define EMR_METHOD_GREAT_CIRCLE_H

/* Straight: 1 - t and t. */
void emr_straight_way(double t, double coefficients[2]);

/* sin((1 - t) a) / sin a and sin(t a) / sin a, with a the angle of this cosine, which is neither 0 nor pi. */
void emr_great_circle(double cosine, double t, double coefficients[2]);

/* x, or -1 or 1 where it is beyond. */
double emr_clamp_cosine(double x);

#endif
