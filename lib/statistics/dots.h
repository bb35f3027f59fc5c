/* dots.h - products of float vectors, in f64 and in a fixed order: the same to the last bit on every CPU.
 *
 * Of two vectors of n floats, products are exact in f64; 8 accumulators take every 8th of them each, from the
 * first on, and are added up as ((0+4)+(2+6))+((1+5)+(3+7)). Longer vectors are cut into chunks by whoever
 * calls, whose sums are added in order. */
#ifndef EMR_STATISTICS_DOTS_H
#define EMR_STATISTICS_DOTS_H

#include <stddef.h>
#include <stdint.h>

enum { EMR_DOT_STRIPES = 8 };

static inline double emr_stripes_total(const double s[EMR_DOT_STRIPES])
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* <a, b>. */
double emr_dot_floats(const float *a, const float *b, size_t n);

/* Adds the Gram matrix, <vectors[i], vectors[j]> in row i and column j, to `matrix`, which is symmetric. */
void emr_dots_add(const float *const *vectors, uint32_t n_vectors, size_t n, double *matrix);

#endif
