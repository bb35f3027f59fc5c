/* test_softmax.c - logits into probabilities: each group on its own, against libm in f64. */
#include "support.h"

#include <math.h>

enum { N_COLUMNS = 12, N_ROWS = 5 };

static const emr_head_group groups[] = {
    {.size = sizeof groups[0], .task = "three", .first = 0, .count = 3},
    {.size = sizeof groups[0], .task = "one", .first = 3, .count = 1},
    {.size = sizeof groups[0], .task = "two", .first = 4, .count = 2},
    {.size = sizeof groups[0], .task = "several", .first = 6, .count = 3, .kind = EMR_HEAD_KIND_SIGMOID},
    {.size = sizeof groups[0], .task = "number", .first = 10, .count = 1, .kind = EMR_HEAD_KIND_IDENTITY},
};
enum { N_GROUPS = sizeof groups / sizeof groups[0] };

static void fill_logits(float *z, size_t n, float spread)
{
    rng r = {7};
    for (size_t i = 0; i < n; i++)
        z[i] = spread * rng_normal(&r);
}

static double expected_value(const float *z, size_t group, size_t i)
{
    const emr_head_group *g = &groups[group];
    double sum = 0, most = (double)z[g->first];
    if (g->kind == EMR_HEAD_KIND_IDENTITY)
        return (double)z[i];
    if (g->kind == EMR_HEAD_KIND_SIGMOID || g->count == 1)
        return 1 / (1 + exp(-(double)z[i]));
    for (uint64_t k = g->first; k < g->first + g->count; k++)
        most = fmax(most, (double)z[k]);
    for (uint64_t k = g->first; k < g->first + g->count; k++)
        sum += exp((double)z[k] - most);
    return exp((double)z[i] - most) / sum;
}

static void compare_row(const float *z, const float *p)
{
    for (size_t g = 0; g < N_GROUPS; g++)
        for (size_t i = (size_t)groups[g].first; i < groups[g].first + groups[g].count; i++) {
            double expected = expected_value(z, g, i);
            if (fabs((double)p[i] - expected) > 1.2e-7 * fabs(expected) + 1e-45)
                fail_msg("column %zu: %.9g, not %.9g", i, (double)p[i], expected);
        }
}

/* Also where exp of a logit itself would overflow; and nothing between groups is written. */
static void each_group_has_its_own_softmax(void **state)
{
    float z[N_ROWS * N_COLUMNS], p[N_ROWS * N_COLUMNS];
    (void)state;
    for (float spread = 0.01f; spread < 2e4f; spread *= 10) {
        fill_logits(z, N_ROWS * N_COLUMNS, spread);
        for (size_t i = 0; i < N_ROWS * N_COLUMNS; i++)
            p[i] = -7;
        assert_int_equal(emr_group_softmax(z, N_ROWS, N_COLUMNS, groups, N_GROUPS, p), EMR_OK);
        for (size_t row = 0; row < N_ROWS; row++) {
            compare_row(z + row * N_COLUMNS, p + row * N_COLUMNS);
            assert_true(p[row * N_COLUMNS + 9] == -7 && p[row * N_COLUMNS + 11] == -7);
        }
    }
}

static void foreign_logits_do_not_count(void **state)
{
    float z[N_COLUMNS], other[N_COLUMNS], p[N_COLUMNS], q[N_COLUMNS];
    (void)state;
    fill_logits(z, N_COLUMNS, 1);
    memcpy(other, z, sizeof z);
    other[0] = 1000, other[7] = -1000, other[3] = NAN;
    assert_int_equal(emr_group_softmax(z, 1, N_COLUMNS, groups, N_GROUPS, p), EMR_OK);
    assert_int_equal(emr_group_softmax(other, 1, N_COLUMNS, groups, N_GROUPS, q), EMR_OK);
    assert_memory_equal(p + 4, q + 4, 2 * sizeof *p);
    assert_memory_equal(p + 10, q + 10, sizeof *p);
    assert_true(isnan(q[3]) && q[0] == 1 && q[1] == 0 && q[7] == 0);
}

/* In place, and where the stride is left out: as far as the groups reach. */
static void results_may_replace_the_logits(void **state)
{
    float z[N_ROWS * 11], p[N_ROWS * 11] = {0};
    (void)state;
    fill_logits(z, N_ROWS * 11, 3);
    assert_int_equal(emr_group_softmax(z, N_ROWS, 0, groups, N_GROUPS, p), EMR_OK);
    for (size_t row = 0; row < N_ROWS; row++)
        compare_row(z + row * 11, p + row * 11);
    assert_int_equal(emr_group_softmax(z, N_ROWS, 11, groups, N_GROUPS, z), EMR_OK);
    for (size_t row = 0; row < N_ROWS; row++)
        for (size_t g = 0; g < N_GROUPS; g++)
            assert_memory_equal(z + row * 11 + groups[g].first, p + row * 11 + groups[g].first,
                                (size_t)groups[g].count * sizeof *z);
}

static void nan_and_infinity(void **state)
{
    const emr_head_group group = {.size = sizeof group, .count = 3};
    float p[3];
    (void)state;
    assert_int_equal(emr_group_softmax((const float[]){1, NAN, 2}, 1, 0, &group, 1, p), EMR_OK);
    assert_true(isnan(p[0]) && isnan(p[1]) && isnan(p[2]));
    assert_int_equal(emr_group_softmax((const float[]){1, -INFINITY, 1}, 1, 0, &group, 1, p), EMR_OK);
    assert_true(p[0] == 0.5f && p[1] == 0 && p[2] == 0.5f);
    assert_int_equal(emr_group_softmax((const float[]){1, INFINITY, 1}, 1, 0, &group, 1, p), EMR_OK);
    assert_true(isnan(p[1]));
    const emr_head_group single = {.size = sizeof single, .count = 1};
    assert_int_equal(emr_group_softmax((const float[]){INFINITY, -INFINITY}, 2, 0, &single, 1, p), EMR_OK);
    assert_true(p[0] == 1 && p[1] == 0);
}

/* As a program that was built against a later header has them. */
static void larger_groups_are_stepped_through(void **state)
{
    struct {
        emr_head_group group;
        unsigned char more[8];
    } large[N_GROUPS];
    float z[N_COLUMNS], p[N_COLUMNS] = {0}, q[N_COLUMNS] = {0};
    (void)state;
    memset(large, 0, sizeof large);
    for (size_t g = 0; g < N_GROUPS; g++) {
        large[g].group = groups[g];
        large[g].group.size = sizeof large[g];
    }
    fill_logits(z, N_COLUMNS, 1);
    assert_int_equal(emr_group_softmax(z, 1, N_COLUMNS, groups, N_GROUPS, p), EMR_OK);
    assert_int_equal(emr_group_softmax(z, 1, N_COLUMNS, &large[0].group, N_GROUPS, q), EMR_OK);
    assert_memory_equal(p, q, sizeof p);
    large[2].more[7] = 1;
    assert_int_equal(emr_group_softmax(z, 1, N_COLUMNS, &large[0].group, N_GROUPS, q), EMR_EVERSION);
}

static void wrong_groups_are_refused(void **state)
{
    float z[4] = {0}, p[4];
    emr_head_group g = {.size = sizeof g, .first = 2, .count = 2};
    (void)state;
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, p), EMR_OK);
    assert_int_equal(emr_group_softmax(z, 1, 3, &g, 1, p), EMR_EINVAL);
    assert_int_equal(emr_group_softmax(NULL, 1, 4, &g, 1, p), EMR_EINVAL);
    assert_int_equal(emr_group_softmax(z, 1, 4, NULL, 1, p), EMR_EINVAL);
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, NULL), EMR_EINVAL);
    g.kind = 3;
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, p), EMR_EINVAL);
    g.kind = 0, g.count = 0;
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, p), EMR_EINVAL);
    g.count = UINT64_MAX;
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, p), EMR_EINVAL);
    g.count = 2, g.size = 8;
    assert_int_equal(emr_group_softmax(z, 1, 4, &g, 1, p), EMR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_group_has_its_own_softmax),    cmocka_unit_test(foreign_logits_do_not_count),
        cmocka_unit_test(results_may_replace_the_logits),    cmocka_unit_test(nan_and_infinity),
        cmocka_unit_test(larger_groups_are_stepped_through), cmocka_unit_test(wrong_groups_are_refused),
    };
    return cmocka_run_group_tests_name("softmax", tests, NULL, NULL);
}
