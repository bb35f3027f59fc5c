/* openblas.h - OpenBLAS, where this machine has it: what libemr-fit's sums are measured against. */
#ifndef BENCH_OPENBLAS_H
#define BENCH_OPENBLAS_H

#include <stdbool.h>

typedef struct openblas {
    void (*dsyrk)(int order, int triangle, int transpose, int n, int k, double alpha, const double *a,
                  int a_stride, double beta, double *c, int c_stride);
    void (*set_threads)(int n);
} openblas;

/* False: there is none here. */
bool openblas_load(openblas *b);

/* c += a a^T, of which the lower triangle is made: a is [k][n], c is [n][n]. */
void openblas_add_products(const openblas *b, unsigned threads, int n, int k, const double *a, double *c);

#endif
