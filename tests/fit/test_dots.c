/* test_dots.c - every variant of the kernels for task vectors against its specification, bit for bit; and the specification's sums
 * against the formula, element by element. */
#include "dots.h"

#include "support.h"

#include <math.h>

enum { BLOCKS = 5, N = BLOCKS * FIT_DOT_BLOCK };

static void fill(rng *r, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = rng_normal(r) * powf(2, (float)rng_below(r, 60) - 30);
}

/* q[j] of a block, as the formula of dots.h has it. */
static double q_at(const double *g, const float *tau, int j)
{
    double b[4]; /* of j, j + 8, j + 4, j + 12 */
    for (int part = 0; part < 4; part++) {
        int column = j + (part & 1) * 8 + (part >> 1) * 4;
        double halves[2];
        for (int m = 0; m < 2; m++)
            for (int k = 4 * m; k < 4 * m + 4; k++) {
                int i = 32 * k + column;
                double x = g[i] * (double)tau[i], y = g[i + 16] * (double)tau[i + 16];
                halves[m] = k == 4 * m ? x + y : halves[m] + (x + y);
            }
        b[part] = halves[0] + halves[1];
    }
    return (b[0] + b[1]) + (b[2] + b[3]);
}

static void sums_are_the_formula(void **state)
{
    float values[N], tau[N];
    double g[N], lanes[4] = {1, -2, 0, 3}, wanted[4] = {1, -2, 0, 3}, exact = 0, scale = 0;
    rng r = {3};
    (void)state;
    fill(&r, values, N);
    fill(&r, tau, N);
    for (size_t i = 0; i < N; i++) {
        g[i] = (double)values[i];
        exact += g[i] * (double)tau[i];
        scale += fabs(g[i] * (double)tau[i]);
    }
    fit_dots_c.add_products(lanes, g, &(fit_source){.floats = tau}, BLOCKS);
    for (size_t block = 0; block < BLOCKS; block++)
        for (int j = 0; j < 4; j++)
            wanted[j] += q_at(g + block * FIT_DOT_BLOCK, tau + block * FIT_DOT_BLOCK, j);
    assert_memory_equal(lanes, wanted, sizeof lanes);
    assert_true(fabs(fit_dot_total(lanes) - 2 - exact) <= 1e-14 * scale);
}

static void check_variant(const fit_dots *dots, size_t n, uint64_t seed)
{
    float values[N + 1], tau[N + 1], base[N + 1], made[2][N + 1];
    double g[N], lanes[2][4] = {{0}};
    uint16_t halves[N + 1];
    rng r = {seed};
    fill(&r, values, N + 1);
    fill(&r, tau, N + 1);
    fill(&r, base, N + 1);
    assert_int_equal(emr_convert(EMR_DTYPE_BF16, halves, EMR_DTYPE_F32, tau, N + 1), EMR_OK);
    for (size_t i = 0; i < N; i++)
        g[i] = (double)values[i];
    const fit_dots *both[2] = {dots, &fit_dots_c};
    for (int form = 0; form < 4; form++) { /* at any alignment of an element */
        const fit_source source = {form & 1 ? NULL : tau + 1, form & 1 ? halves + 1 : NULL,
                                   form & 2 ? base + 1 : NULL};
        for (int k = 0; k < 2; k++) {
            both[k]->add_products(lanes[k], g, &source, n / FIT_DOT_BLOCK);
            memcpy(made[k], values, sizeof values);
            both[k]->add_scaled(made[k] + 1, 0.3f, &source, n);
        }
        assert_memory_equal(lanes[0], lanes[1], sizeof lanes[0]);
        assert_memory_equal(made[0], made[1], sizeof made[0]);
    }
}

static void sources_are_differences(void **state)
{
    static const uint16_t halves[] = {0x3f80, 0xc000}; /* 1, -2 */
    static const float floats[] = {0.5f, 3}, base[] = {0.25f, 1};
    (void)state;
    assert_true(fit_source_at(&(fit_source){floats, NULL, NULL}, 1) == 3);
    assert_true(fit_source_at(&(fit_source){floats, NULL, base}, 1) == 2);
    assert_true(fit_source_at(&(fit_source){NULL, halves, NULL}, 1) == -2);
    assert_true(fit_source_at(&(fit_source){NULL, halves, base}, 0) == 0.75f);
}

static void variants_are_the_specification(void **state)
{
    size_t n_variants = 0;
    (void)state;
    for (; fit_dots_at(n_variants); n_variants++)
        for (size_t n = 0; n <= N; n = n * 2 + 1)
            for (uint64_t seed = 1; seed < 5; seed++)
                check_variant(fit_dots_at(n_variants), n < 600 ? n : N, seed);
    print_message("%zu variants\n", n_variants);
    assert_true(n_variants >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_formula),
        cmocka_unit_test(sources_are_differences),
        cmocka_unit_test(variants_are_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
