/* surgery_apply.c - y = x - U relu(D x) in f32. Freestanding: it needs nothing but its arguments. */
#include "emr/fit/surgery.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = 32,   /* accumulators of a sum */
    ABREAST = 8,  /* sums whose accumulators are folded together */
    OUTPUTS = 64, /* features of y that are made at a time */
};

/* sums[o] = row o of `rows`, of n numbers each, times x. `lanes`, 4 to 32, is 32 or n: the accumulators beyond would stay 0. Both
 * are constants. */
INLINE void sum_products(const float *rows, const float *x, size_t n, float *sums, size_t abreast,
                         size_t lanes)
{
    float all[ABREAST][LANES];
    size_t whole = n - n % lanes;
    for (size_t o = 0; o < abreast; o++, rows += n) {
        float a[LANES] = {0};
        for (size_t i = 0; i < whole; i += lanes)
            for (size_t j = 0; j < lanes; j++)
                a[j] += rows[i + j] * x[i + j];
        for (size_t j = 0; j < n - whole; j++)
            a[j] += rows[whole + j] * x[whole + j];
        for (size_t j = 0; j < lanes; j++)
            all[o][j] = a[j];
    }
    for (size_t half = lanes / 2; half > 2; half /= 2)
        for (size_t o = 0; o < abreast; o++)
            for (size_t j = 0; j < half; j++)
                all[o][j] += all[o][j + half];
    for (size_t o = 0; o < abreast; o++)
        sums[o] = (all[o][0] + all[o][2]) + (all[o][1] + all[o][3]);
}

INLINE void multiply_rows(const float *rows, size_t n_rows, size_t n, const float *x, float *sums,
                          size_t lanes)
{
    for (; n_rows >= ABREAST; n_rows -= ABREAST, rows += ABREAST * n, sums += ABREAST)
        sum_products(rows, x, n, sums, ABREAST, lanes);
    for (; n_rows; n_rows--, rows += n, sums++)
        sum_products(rows, x, n, sums, 1, lanes);
}

/* The usual ranks are constants to the compiler. */
static void multiply_vector(const float *rows, size_t n_rows, size_t n, const float *x, float *sums)
{
    switch (n) {
    case 4:
        multiply_rows(rows, n_rows, 4, x, sums, 4);
        break;
    case 8:
        multiply_rows(rows, n_rows, 8, x, sums, 8);
        break;
    case 16:
        multiply_rows(rows, n_rows, 16, x, sums, 16);
        break;
    case 32:
        multiply_rows(rows, n_rows, 32, x, sums, LANES);
        break;
    case 64:
        multiply_rows(rows, n_rows, 64, x, sums, LANES);
        break;
    default:
        multiply_rows(rows, n_rows, n, x, sums, LANES);
    }
}

static void apply_row(const emr_surgery_weights *w, const float *x, float *y, float *hidden)
{
    multiply_vector(w->down, w->rank, w->width, x, hidden);
    for (size_t r = 0; r < w->rank; r++)
        hidden[r] = hidden[r] < 0 ? 0 : hidden[r];
    for (size_t i = 0; i < w->width; i += OUTPUTS) {
        float taken[OUTPUTS];
        size_t n = w->width - i < OUTPUTS ? w->width - i : OUTPUTS;
        multiply_vector(w->up + i * w->rank, n, w->rank, hidden, taken);
        for (size_t j = 0; j < n; j++)
            y[i + j] = x[i + j] - taken[j];
    }
}

emr_status emr_surgery_apply_weights(const emr_surgery_weights *weights, const float *x, float *y, size_t n,
                                     float *scratch)
{
    if (!weights || weights->size < sizeof *weights || !weights->down || !weights->up || !scratch ||
        (n && (!x || !y)))
        return EMR_EINVAL;
    for (size_t row = 0; row < n; row++)
        apply_row(weights, x + row * weights->width, y + row * weights->width, scratch);
    return EMR_OK;
}
