/* dots.h - Gram matrices of float vectors, in f64 and in the fixed order of numeric/dots.h: the same to the
 * last bit on every CPU. Vectors of more than a chunk are cut by whoever calls, whose sums are added in
 * order. */
#ifndef EMR_STATISTICS_DOTS_H
#define EMR_STATISTICS_DOTS_H

#include "numeric/kernels.h"

/* <a, b>. kernels: this processor's; NULL: the reference, which gives the same, slowly. */
double emr_dot_floats(const emr_kernels *kernels, const float *a, const float *b, size_t n);

/* Adds <vectors[i], vectors[j]> to row i and column j of `matrix`, which is symmetric. */
void emr_dots_add(const emr_kernels *kernels, const float *const *vectors, uint32_t n_vectors, size_t n,
                  double *matrix);

#endif
