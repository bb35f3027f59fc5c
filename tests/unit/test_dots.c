/* test_dots.c - products of float vectors against the order of sums that dots.h writes down, an element at a
 * time, and against long double. */
#include "statistics/dots.h"

#include "support.h"

#include <math.h>

enum { N_VECTORS = 18, LONGEST = 16384 + 5 };

typedef struct vectors {
    float *values;
    const float *each[N_VECTORS];
} vectors;

static vectors draw_vectors(void)
{
    vectors v = {.values = malloc(sizeof(float) * N_VECTORS * LONGEST)};
    uint64_t state = 99;
    for (size_t i = 0; i < N_VECTORS * (size_t)LONGEST; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        v.values[i] = (float)((double)(state >> 11) * 0x1p-53 - 0.4) * (i % 7 ? 1e-4f : 3e5f);
    }
    for (size_t i = 0; i < N_VECTORS; i++)
        v.each[i] = v.values + i * LONGEST;
    return v;
}

static double in_written_order(const float *a, const float *b, size_t n)
{
    double s[8] = {0};
    for (size_t i = 0; i < n; i++)
        s[i % 8] += (double)a[i] * (double)b[i];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static const size_t lengths[] = {0, 1, 7, 8, 9, 63, 1000, 16384, LONGEST};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

static void test_sums_are_in_the_order_that_is_written_down(void **state)
{
    vectors v = draw_vectors();
    (void)state;
    for (size_t k = 0; k < N_LENGTHS; k++)
        for (uint32_t n = 1; n <= N_VECTORS; n++) {
            double matrix[N_VECTORS * N_VECTORS] = {0}, fast[N_VECTORS * N_VECTORS] = {0};
            emr_dots_add(NULL, v.each, n, lengths[k], matrix);
            emr_dots_add(emr_kernels_select(), v.each, n, lengths[k], fast);
            assert_memory_equal(matrix, fast, sizeof fast);
            for (uint32_t i = 0; i < n * n; i++) {
                double want = in_written_order(v.each[i / n], v.each[i % n], lengths[k]);
                assert_memory_equal(&matrix[i], &want, sizeof want);
                assert_true(emr_dot_floats(NULL, v.each[i / n], v.each[i % n], lengths[k]) == want);
            }
        }
    free(v.values);
}

static void test_products_are_the_vectors_own(void **state)
{
    vectors v = draw_vectors();
    (void)state;
    for (size_t j = 0; j < N_VECTORS; j++) {
        long double want = 0, scale = 0;
        for (size_t i = 0; i < LONGEST; i++) {
            long double product = (long double)v.each[2][i] * v.each[j][i];
            want += product;
            scale += fabsl(product);
        }
        assert_true(fabsl(emr_dot_floats(NULL, v.each[2], v.each[j], LONGEST) - want) <= 1e-13L * scale);
    }
    free(v.values);
}

static void test_sums_are_added_to_those_that_are_there(void **state)
{
    vectors v = draw_vectors();
    double once[4] = {0}, twice[4] = {0};
    (void)state;
    emr_dots_add(NULL, v.each, 2, 100, once);
    emr_dots_add(NULL, v.each, 2, 100, twice);
    emr_dots_add(NULL, v.each, 2, 100, twice);
    for (size_t i = 0; i < 4; i++)
        assert_true(twice[i] == once[i] + once[i]);
    free(v.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_in_the_order_that_is_written_down),
        cmocka_unit_test(test_products_are_the_vectors_own),
        cmocka_unit_test(test_sums_are_added_to_those_that_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
