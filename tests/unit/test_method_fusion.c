/* test_method_fusion.c - SCE and Arcee Fusion against their formulas, an element at a time; any chunks. */
#include "method_driver.h"

#include <math.h>

enum { N_MAX = 600, TASKS_MAX = 8 };

typedef struct world {
    float values[TASKS_MAX][N_MAX], base[N_MAX], out[N_MAX];
    uint64_t count;
    uint32_t n;
} world;

static driven_tensor tensor_of(world *w, uint32_t rank, const uint64_t *shape)
{
    driven_tensor t = {.name = "x", .rank = rank, .base = w->base, .out = w->out};
    w->count = 1;
    for (uint32_t i = 0; i < rank; i++)
        w->count *= t.shape[i] = shape[i];
    for (uint32_t i = 0; i < w->n; i++)
        t.inputs[i] = w->values[i];
    return t;
}

/* ---- SCE: values are task vectors, a share of them 0 */

static void draw_vectors(world *w, float scale, rng *r)
{
    for (uint32_t t = 0; t < w->n; t++)
        for (uint64_t i = 0; i < N_MAX; i++)
            w->values[t][i] = rng_below(r, 3) ? scale * rng_normal(r) : 0;
}

static double variance_of(const world *w, uint64_t i)
{
    double mean = 0, sum = 0;
    for (uint32_t t = 0; t < w->n; t++)
        mean += (double)w->values[t][i] / w->n;
    for (uint32_t t = 0; t < w->n; t++)
        sum += pow((double)w->values[t][i] - mean, 2) / w->n;
    return sum;
}

static void select_positions(const world *w, double share, bool *selected)
{
    uint64_t n_spread = 0;
    for (uint64_t i = 0; i < w->count; i++)
        n_spread += variance_of(w, i) > 1e-30;
    for (uint64_t i = 0; i < w->count; i++) {
        uint64_t before = 0;
        for (uint64_t k = 0; k < w->count; k++)
            before +=
                variance_of(w, k) > variance_of(w, i) || (k < i && variance_of(w, k) == variance_of(w, i));
        selected[i] = share >= 1 || before < (uint64_t)((double)n_spread * share);
    }
}

static void calculate_weights(const world *w, const bool *selected, double uniform_below, double *weights)
{
    double sum = 0;
    for (uint32_t t = 0; t < w->n; t++) {
        weights[t] = 0;
        for (uint64_t i = 0; i < w->count; i++)
            weights[t] += selected[i] ? pow((double)w->values[t][i], 2) / (double)w->count : 0;
        sum += weights[t];
    }
    for (uint32_t t = 0; t < w->n; t++)
        weights[t] = sum < uniform_below || sum == 0 ? 1. / w->n : weights[t] / sum;
}

static double erased_value(const world *w, const double *weights, uint64_t i)
{
    double total = 0, sum = 0, divisor = 0;
    for (uint32_t t = 0; t < w->n; t++)
        total += (double)w->values[t][i];
    for (uint32_t t = 0; t < w->n; t++) {
        double v = (double)w->values[t][i];
        if (v == 0 || (v > 0) != (total >= 0))
            continue;
        sum += weights[t] * v;
        divisor += weights[t];
    }
    return sum / fmax(divisor, 1e-6);
}

static void check_sce(world *w, double share, double uniform_below, size_t chunk)
{
    static bool selected[N_MAX];
    double weights[TASKS_MAX];
    driven_method d = driven_method_of("sce", w->n);
    driven_tensor t = tensor_of(w, 2, (uint64_t[]){20, 23});
    d.chunk = chunk;
    driven_set_all(&d, "select_topk", share);
    driven_set_all(&d, "uniform_below", uniform_below);
    drive_method(&d, &t, 1);
    select_positions(w, share, selected);
    calculate_weights(w, selected, uniform_below, weights);
    for (uint64_t i = 0; i < w->count; i++) {
        double want = selected[i] ? erased_value(w, weights, i) : 0;
        if (!(fabs((double)w->out[i] - want) <= 1e-6 * fabs(want)))
            fail_msg("element %llu: %.9g, not %.9g", (unsigned long long)i, (double)w->out[i], want);
    }
}

static void sce_equals_its_formula(void **state)
{
    static world w;
    static const double shares[] = {1, 0.1, 0.5, 0};
    rng r = {23};
    (void)state;
    for (w.n = 1; w.n <= TASKS_MAX; w.n += 3)
        for (size_t i = 0; i < 4; i++)
            for (int small = 0; small < 2; small++) {
                draw_vectors(&w, small ? 1e-4F : 1, &r);
                check_sce(&w, shares[i], 1e-6, 0);
                check_sce(&w, shares[i], 0, 29);
            }
}

/* Where a language model's changes are small, mergekit's weights are all the same; uniform_below 0 is the paper. */
static void small_changes_have_equal_weights_unless_told(void **state)
{
    static world w;
    driven_method d = driven_method_of("sce", 2);
    (void)state;
    w.n = 2;
    driven_tensor t = tensor_of(&w, 1, (uint64_t[]){4});
    memcpy(w.values[0], (float[]){1e-4F, 1e-4F, 1e-4F, 1e-4F}, 16);
    memcpy(w.values[1], (float[]){3e-4F, 3e-4F, 3e-4F, 3e-4F}, 16);
    drive_method(&d, &t, 1);
    assert_true(fabsf(w.out[0] - 2e-4F) < 1e-9F);
    driven_set_all(&d, "uniform_below", 0);
    drive_method(&d, &t, 1);
    assert_true(fabsf(w.out[0] - 2.8e-4F) < 1e-9F); /* (1 + 9 * 3) / 10 */
}

/* ---- Arcee Fusion: values are one task's weights */

static void softmax_of(const float *row, uint64_t n, double *p)
{
    double largest = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < n; i++)
        largest = fmax(largest, (double)row[i]);
    for (uint64_t i = 0; i < n; i++)
        sum += exp((double)row[i] - largest);
    for (uint64_t i = 0; i < n; i++)
        p[i] = exp((double)row[i] - largest) / sum + 1e-8;
}

static void importances(const world *w, uint64_t length, double *importance)
{
    static double p[N_MAX], q[N_MAX];
    for (uint64_t row = 0; row < w->count; row += length) {
        double divergence = 0;
        softmax_of(w->values[0] + row, length, p);
        softmax_of(w->base + row, length, q);
        for (uint64_t i = 0; i < length; i++)
            divergence += p[i] * log(p[i] / q[i]);
        for (uint64_t i = row; i < row + length; i++)
            importance[i] = fabs((double)w->values[0][i] - (double)w->base[i]) * divergence;
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double fusion_threshold(const double *importance, uint64_t count)
{
    static double sorted[N_MAX];
    double quartiles[3];
    memcpy(sorted, importance, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    for (int i = 0; i < 3; i++)
        quartiles[i] = sorted[(uint64_t)(0.25F * (float)(i + 1) * (float)(count - 1))];
    return quartiles[1] + 1.5 * (quartiles[2] - quartiles[0]);
}

static size_t check_fusion(world *w, uint32_t rank, const uint64_t *shape, size_t chunk)
{
    static double importance[N_MAX];
    driven_method d = driven_method_of("arcee_fusion", 1);
    driven_tensor t = tensor_of(w, rank, shape);
    size_t n_taken = 0;
    d.chunk = chunk;
    drive_method(&d, &t, 1);
    importances(w, rank ? shape[rank - 1] : 1, importance);
    double threshold = fusion_threshold(importance, w->count);
    for (uint64_t i = 0; i < w->count; i++) {
        if (fabs(importance[i] - threshold) <= 1e-6 * threshold)
            continue; /* too near for rounding */
        float want = importance[i] >= threshold ? w->values[0][i] : w->base[i];
        assert_true(w->out[i] == want);
        n_taken += want != w->base[i];
    }
    return n_taken;
}

static void fusion_equals_its_formula(void **state)
{
    static world w;
    static const uint64_t shapes[][3] = {{20, 30}, {1, 600}, {600, 1}, {5, 6, 7}, {77}};
    static const uint32_t ranks[] = {2, 2, 2, 3, 1};
    rng r = {29};
    (void)state;
    w.n = 1;
    for (size_t i = 0; i < N_MAX; i++) {
        w.base[i] = rng_normal(&r);
        w.values[0][i] = w.base[i] + 0.1F * rng_normal(&r) * rng_normal(&r);
    }
    for (size_t i = 0; i < 5; i++) {
        size_t n_taken = check_fusion(&w, ranks[i], shapes[i], 0);
        assert_int_equal(check_fusion(&w, ranks[i], shapes[i], 60), n_taken);
        assert_true(n_taken < w.count / 3 && (n_taken > 0 || shapes[i][ranks[i] - 1] == 1));
    }
}

/* Nothing differs, or there is one element: all is as large as the threshold, and so the task's. */
static void where_all_is_alike_the_task_is_taken(void **state)
{
    static world w;
    (void)state;
    w.n = 1;
    driven_tensor t = tensor_of(&w, 0, NULL);
    driven_method d = driven_method_of("arcee_fusion", 1);
    w.base[0] = 1;
    w.values[0][0] = 3;
    drive_method(&d, &t, 1);
    assert_true(w.out[0] == 3);
    w.values[0][0] = 1;
    drive_method(&d, &t, 1);
    assert_true(w.out[0] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sce_equals_its_formula),
        cmocka_unit_test(small_changes_have_equal_weights_unless_told),
        cmocka_unit_test(fusion_equals_its_formula),
        cmocka_unit_test(where_all_is_alike_the_task_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
