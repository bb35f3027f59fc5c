/* weighted_sum.c - see weighted_sum.h. */
#include "method/weighted_sum.h"

#include "numeric/root.h"
#include "statistics/dots.h"

#include <string.h>

enum { STEP = 256 /* elements whose sums are kept at a time */ };

static void add_weighed(double *restrict sums, const float *restrict input, size_t n, double coefficient)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += coefficient * (double)input[i];
}

/* Coefficients lie `apart` numbers from each other; 0: there is one for all. */
static void weigh_step(const emr_method_chunk *c, size_t at, size_t n, const double *coefficients,
                       size_t apart)
{
    double sums[STEP];
    memset(sums, 0, n * sizeof *sums);
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
        add_weighed(sums, c->inputs[t] + at, n, coefficients[t * apart]);
    for (size_t i = 0; i < n; i++)
        c->out[at + i] = (float)sums[i];
}

static void weigh_steps(const emr_method_chunk *c, size_t at, size_t n, const double *coefficients,
                        size_t apart)
{
    for (size_t step; n > 0; at += step, n -= step) {
        step = n < STEP ? n : STEP;
        weigh_step(c, at, step, coefficients, apart);
    }
}

void emr_weigh_inputs(const emr_method_chunk *c, size_t at, size_t n, const double *coefficients)
{
    weigh_steps(c, at, n, coefficients, 1);
}

void emr_weigh_alike(const emr_method_chunk *c, size_t at, size_t n, double coefficient)
{
    weigh_steps(c, at, n, &coefficient, 0);
}

emr_status emr_combine_weighed(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_weigh_inputs(c, 0, c->n, c->tensor->found);
    return EMR_OK;
}

uint32_t emr_gram_numbers(const emr_method_tensor *tensor)
{
    return tensor->n_inputs * tensor->n_inputs;
}

void emr_gram_sums(const emr_method_chunk *c, double *sums)
{
    emr_dots_add(c->tensor->library, c->inputs, c->tensor->n_inputs, c->n, sums);
}

double emr_gram_length(const double *gram, uint32_t n_inputs, uint32_t i)
{
    return emr_square_root(gram[(size_t)i * n_inputs + i]);
}

double emr_gram_square(const double *gram, uint32_t n_inputs, const double *weights)
{
    double square = 0;
    for (uint32_t i = 0; i < n_inputs; i++) {
        double row = 0;
        for (uint32_t j = 0; j < n_inputs; j++)
            row += gram[(size_t)i * n_inputs + j] * weights[j];
        square += weights[i] * row;
    }
    return square;
}
