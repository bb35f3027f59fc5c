/* test_tiles.c - every variant of the kernel against its specification, bit for bit; systems that are solved against sums in
 * long double. */
#include "solve.h"

#include "support.h"

#include <math.h>

static fit_panel *test_panels(size_t n)
{
    fit_panel *panels = calloc(n + 1, sizeof *panels);
    assert_non_null(panels);
    return panels;
}

static void fill_panels(rng *r, fit_panel *panel, size_t n, bool exact)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < FIT_TILE; i++) {
            double x = (double)rng_normal(r); /* of 24 bits: products are exact */
            panel[k][i] = exact ? x : x * 1.0000000123456789 + 1e-9;
        }
}

static void check_variant(const fit_kernels *kernels, size_t n)
{
    rng r = {n + 1};
    fit_panel *a = test_panels(n), *b = test_panels(n), *tile = test_panels(FIT_TILE),
              *wanted = test_panels(FIT_TILE);
    for (int how = 0; how < 3; how++) {
        fill_panels(&r, a, n, how == 0);
        fill_panels(&r, b, n, how == 0);
        fill_panels(&r, tile, FIT_TILE, false);
        memcpy(wanted, tile, FIT_TILE * sizeof *tile);
        if (how == 0) {
            kernels->add_exact(tile, (const fit_panel *)a, (const fit_panel *)b, n);
            fit_kernels_c.add_exact(wanted, (const fit_panel *)a, (const fit_panel *)b, n);
        } else if (how == 1) {
            kernels->add(tile, (const fit_panel *)a, (const fit_panel *)b, n);
            fit_kernels_c.add(wanted, (const fit_panel *)a, (const fit_panel *)b, n);
        } else {
            kernels->subtract(tile, (const fit_panel *)a, (const fit_panel *)b, n);
            fit_kernels_c.subtract(wanted, (const fit_panel *)a, (const fit_panel *)b, n);
        }
        assert_memory_equal(tile, wanted, FIT_TILE * sizeof *tile);
    }
    free(a);
    free(b);
    free(tile);
    free(wanted);
}

static void variants_are_the_specification(void **state)
{
    static const size_t counts[] = {0, 1, 2, 7, 24, 129, 1000};
    size_t n_variants = 0;
    (void)state;
    for (; fit_kernels_at(n_variants); n_variants++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            check_variant(fit_kernels_at(n_variants), counts[i]);
    print_message("%zu variants\n", n_variants);
    assert_true(n_variants >= 1);
}

/* A = B B^T + 0.1 I, of columns at very different scales. */
typedef struct matrix {
    size_t n;
    double *of;
} matrix;

static matrix make_matrix(size_t n, size_t rank, rng *r)
{
    matrix m = {n, calloc(n * n + 1, sizeof *m.of)};
    double *b = calloc(n * rank + 1, sizeof *b);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < rank; k++)
            b[i * rank + k] = (double)rng_normal(r) * pow(10, (double)(i % 7) - 3);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < rank; k++)
                m.of[i * n + j] += b[i * rank + k] * b[j * rank + k];
    free(b);
    return m;
}

static void fill_of(void *user, size_t p, fit_panel *row)
{
    const matrix *m = user;
    for (size_t k = 0; k < (p + 1) * FIT_TILE; k++)
        for (size_t r = 0; r < FIT_TILE; r++) {
            size_t i = p * FIT_TILE + r;
            row[k][r] = i < m->n && k < m->n ? m->of[i * m->n + k] : 0;
        }
}

/* Solves A x = A t for a random t, in `sides` panels; the largest relative error of A x, and of x. */
static void solve_random(const fit_host *host, const matrix *m, double ridge, double errors[2])
{
    enum { SIDES = 2 };
    rng r = {99};
    fit_system s;
    emr_error error;
    size_t rows = fit_n_panels(m->n) * FIT_TILE;
    fit_panel *sides[SIDES], *wanted[SIDES], *right[SIDES];
    errors[0] = errors[1] = 0;
    assert_ok(fit_system_create(&s, host, m->n, &error), &error);
    assert_true(fit_system_factor(&s, fill_of, (void *)(uintptr_t)m, ridge));
    for (size_t side = 0; side < SIDES; side++) {
        sides[side] = test_panels(rows);
        wanted[side] = test_panels(rows);
        right[side] = test_panels(rows);
        for (size_t i = 0; i < m->n; i++)
            for (size_t j = 0; j < FIT_TILE; j++)
                wanted[side][i][j] = (double)rng_normal(&r) * pow(10, 3 - (double)(i % 7));
        for (size_t i = 0; i < m->n; i++)
            for (size_t k = 0; k < m->n; k++)
                for (size_t j = 0; j < FIT_TILE; j++)
                    right[side][i][j] += m->of[i * m->n + k] * wanted[side][k][j];
        memcpy(sides[side], right[side], rows * sizeof(fit_panel));
    }
    fit_system_solve(&s, sides, SIDES);
    for (size_t side = 0; side < SIDES; side++) {
        for (size_t i = 0; i < m->n; i++)
            for (size_t j = 0; j < FIT_TILE; j++) {
                double sum = 0, scale = pow(10, (double)(i % 7) - 3) * (double)m->n;
                for (size_t k = 0; k < m->n; k++)
                    sum += m->of[i * m->n + k] * sides[side][k][j];
                errors[0] = fmax(errors[0], fabs(sum - right[side][i][j]) / scale);
                errors[1] = fmax(errors[1],
                                 fabs(sides[side][i][j] - wanted[side][i][j]) * pow(10, (double)(i % 7) - 3));
            }
        free(sides[side]);
        free(wanted[side]);
        free(right[side]);
    }
    fit_system_destroy(&s);
}

static void systems_are_solved(void **state)
{
    static const size_t orders[] = {1, 2, 23, 24, 25, 48, 100};
    rng r = {5};
    fit_host host;
    (void)state;
    assert_int_equal(fit_host_take(&host, NULL, NULL), EMR_OK);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        double errors[2];
        matrix m = make_matrix(orders[i], orders[i] + 30, &r);
        solve_random(&host, &m, 0, errors);
        if (errors[0] > 1e-12 || errors[1] > 1e-9)
            fail_msg("order %zu: residual %g, error %g", orders[i], errors[0], errors[1]);
        free(m.of);
    }
}

/* Of half the rank: no more than the residual can be asked for. */
static void singular_systems_have_small_residuals(void **state)
{
    rng r = {6};
    fit_host host;
    double errors[2];
    matrix m = make_matrix(60, 30, &r);
    (void)state;
    assert_int_equal(fit_host_take(&host, NULL, NULL), EMR_OK);
    solve_random(&host, &m, 0, errors);
    if (errors[0] > 1e-6)
        fail_msg("residual %g", errors[0]);
    free(m.of);
}

static void what_is_not_finite_is_told(void **state)
{
    fit_host host;
    fit_system s;
    emr_error error;
    double values[4] = {1, NAN, NAN, 1};
    matrix m = {2, values};
    (void)state;
    assert_int_equal(fit_host_take(&host, NULL, NULL), EMR_OK);
    assert_ok(fit_system_create(&s, &host, 2, &error), &error);
    assert_false(fit_system_factor(&s, fill_of, &m, 0));
    fit_system_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_are_the_specification),
        cmocka_unit_test(systems_are_solved),
        cmocka_unit_test(singular_systems_have_small_residuals),
        cmocka_unit_test(what_is_not_finite_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
