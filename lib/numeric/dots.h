/* dots.h - products of float vectors, in f64 and in a fixed order: the same to the last bit on every CPU.
 *
 * Of two vectors of n floats, products are exact in f64; 8 accumulators take every 8th of them each, from the
 * first on, and are added up as ((0+4)+(2+6))+((1+5)+(3+7)). */
#ifndef EMR_NUMERIC_DOTS_H
#define EMR_NUMERIC_DOTS_H

#include <stddef.h>

enum { EMR_DOT_STRIPES = 8 };

static inline double emr_stripes_total(const double s[EMR_DOT_STRIPES])
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* Adds to the first stripes the products of fewer than 8 elements, which end the vectors. */
static inline void emr_stripes_end(double stripes[EMR_DOT_STRIPES], const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        stripes[i] += (double)a[i] * (double)b[i];
}

/* dots[k] = <a, others[k]> for each of n_others: what kernel variants (kernels.h, `dots`) give bit for bit.
 * */
void emr_dots_c(const float *a, const float *const *others, size_t n_others, size_t n, double *dots);

#endif
