/* dots.c - see dots.h. */
#include "statistics/dots.h"

enum { STRIPES = EMR_DOT_STRIPES, SIDE_BY_SIDE = 4 /* products with the same vector */ };

/* What does not fill all stripes. */
static void add_rest(double stripes[STRIPES], const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        stripes[i] += (double)a[i] * (double)b[i];
}

double emr_dot_floats(const float *a, const float *b, size_t n)
{
    double stripes[STRIPES] = {0};
    size_t whole = n - n % STRIPES;
    for (size_t i = 0; i < whole; i += STRIPES)
        for (size_t s = 0; s < STRIPES; s++)
            stripes[s] += (double)a[i + s] * (double)b[i + s];
    add_rest(stripes, a + whole, b + whole, n - whole);
    return emr_stripes_total(stripes);
}

/* <a, b[0]> to <a, b[3]>: a is read and widened once. */
static void dot_four(const float *a, const float *const b[SIDE_BY_SIDE], size_t n, double dots[SIDE_BY_SIDE])
{
    double stripes[SIDE_BY_SIDE][STRIPES] = {{0}};
    size_t whole = n - n % STRIPES;
    for (size_t i = 0; i < whole; i += STRIPES)
        for (size_t k = 0; k < SIDE_BY_SIDE; k++)
            for (size_t s = 0; s < STRIPES; s++)
                stripes[k][s] += (double)a[i + s] * (double)b[k][i + s];
    for (size_t k = 0; k < SIDE_BY_SIDE; k++) {
        add_rest(stripes[k], a + whole, b[k] + whole, n - whole);
        dots[k] = emr_stripes_total(stripes[k]);
    }
}

static void add_product(double *matrix, uint32_t n_vectors, uint32_t i, uint32_t j, double product)
{
    matrix[(size_t)i * n_vectors + j] += product;
    if (i != j)
        matrix[(size_t)j * n_vectors + i] = matrix[(size_t)i * n_vectors + j];
}

void emr_dots_add(const float *const *vectors, uint32_t n_vectors, size_t n, double *matrix)
{
    for (uint32_t i = 0; i < n_vectors; i++) {
        uint32_t j = i;
        for (; n_vectors - j >= SIDE_BY_SIDE; j += SIDE_BY_SIDE) {
            double dots[SIDE_BY_SIDE];
            dot_four(vectors[i], vectors + j, n, dots);
            for (uint32_t k = 0; k < SIDE_BY_SIDE; k++)
                add_product(matrix, n_vectors, i, j + k, dots[k]);
        }
        for (; j < n_vectors; j++)
            add_product(matrix, n_vectors, i, j, emr_dot_floats(vectors[i], vectors[j], n));
    }
}
