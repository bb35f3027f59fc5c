/* dots.c - see dots.h. */
#include "statistics/dots.h"

#include "numeric/dots.h"

enum { AT_ONCE = 16 /* products of one vector */ };

static void dot_others(const emr_kernels *kernels, const float *a, const float *const *others,
                       size_t n_others, size_t n, double *products)
{
    (kernels && kernels->dots ? kernels->dots : emr_dots_c)(a, others, n_others, n, products);
}

double emr_dot_floats(const emr_kernels *kernels, const float *a, const float *b, size_t n)
{
    double product;
    dot_others(kernels, a, &b, 1, n, &product);
    return product;
}

static void add_gram_product(double *matrix, uint32_t n_vectors, uint32_t i, uint32_t j, double product)
{
    matrix[(size_t)i * n_vectors + j] += product;
    if (i != j)
        matrix[(size_t)j * n_vectors + i] = matrix[(size_t)i * n_vectors + j];
}

void emr_dots_add(const emr_kernels *kernels, const float *const *vectors, uint32_t n_vectors, size_t n,
                  double *matrix)
{
    double products[AT_ONCE];
    for (uint32_t i = 0; i < n_vectors; i++)
        for (uint32_t j = i, some; j < n_vectors; j += some) {
            some = n_vectors - j < AT_ONCE ? n_vectors - j : AT_ONCE;
            dot_others(kernels, vectors[i], vectors + j, some, n, products);
            for (uint32_t k = 0; k < some; k++)
                add_gram_product(matrix, n_vectors, i, j + k, products[k]);
        }
}
