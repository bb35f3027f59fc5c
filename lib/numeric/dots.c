/* dots.c - see dots.h. */
#include "numeric/dots.h"

static double dot_pair(const float *a, const float *b, size_t n)
{
    double stripes[EMR_DOT_STRIPES] = {0};
    size_t whole = n - n % EMR_DOT_STRIPES;
    for (size_t i = 0; i < whole; i += EMR_DOT_STRIPES)
        for (size_t s = 0; s < EMR_DOT_STRIPES; s++)
            stripes[s] += (double)a[i + s] * (double)b[i + s];
    emr_stripes_end(stripes, a + whole, b + whole, n - whole);
    return emr_stripes_total(stripes);
}

void emr_dots_c(const float *a, const float *const *others, size_t n_others, size_t n, double *dots)
{
    for (size_t k = 0; k < n_others; k++)
        dots[k] = dot_pair(a, others[k], n);
}
