/* test_method_ties.c - TIES, per tensor and over the whole model, and Breadcrumbs against their formulas, an element at a
 * time, bit for bit; any chunks. */
#include "method_driver.h"

#include <math.h>

enum { N_MAX = 700, TASKS_MAX = 9 };

static const uint64_t counts[] = {1, 2, 7, 99, 100, N_MAX};
enum { N_COUNTS = sizeof counts / sizeof *counts };

/* Task vectors of one tensor. */
typedef struct vectors {
    float tau[TASKS_MAX][N_MAX], base[N_MAX], out[N_MAX];
    uint64_t count;
    uint32_t n;
} vectors;

/* Coarse ones are full of ties and zeros. */
static void draw_vectors(vectors *v, uint64_t count, uint32_t n, bool coarse, rng *r)
{
    v->count = count;
    v->n = n;
    for (uint32_t t = 0; t < n; t++)
        for (uint64_t i = 0; i < count; i++) {
            float x = rng_normal(r);
            v->tau[t][i] = coarse ? roundf(2 * x) / 2 : 1e-3F * x;
        }
}

static driven_tensor tensor_of(vectors *v, const char *name)
{
    driven_tensor t = {.name = name, .shape = {v->count}, .rank = 1, .base = v->base, .out = v->out};
    for (uint32_t i = 0; i < v->n; i++)
        t.inputs[i] = v->tau[i];
    return t;
}

/* How many of a task's values come before element i, from the largest to the smallest. */
static uint64_t rank_of(const float *tau, uint64_t count, uint64_t i)
{
    uint64_t before = 0;
    for (uint64_t k = 0; k < count; k++)
        before += fabsf(tau[k]) > fabsf(tau[i]) || (k < i && fabsf(tau[k]) == fabsf(tau[i]));
    return before;
}

typedef struct settings {
    double weight[TASKS_MAX], density[TASKS_MAX], gamma, lambda;
    bool elects, normalizes, is_ties, rescales;
    float factor[TASKS_MAX]; /* of what stays */
} settings;

static float sparse_value(const vectors *v, const settings *s, uint32_t t, uint64_t i)
{
    uint64_t n = v->count, rank = rank_of(v->tau[t], n, i), stay = (uint64_t)(s->density[t] * (double)n);
    if (s->density[t] >= 1)
        return v->tau[t][i];
    if (s->is_ties) {
        stay = s->density[t] > 0 && stay == 0 ? 1 : stay;
        return rank < stay ? v->tau[t][i] : 0;
    }
    uint64_t go = (uint64_t)(s->gamma * (double)n);
    go = go + stay > n ? n - stay : go;
    return rank >= go && rank < go + stay ? v->tau[t][i] : 0;
}

/* What restores the L1 norm, if that is asked. */
static float factor_of(const vectors *v, const settings *s, uint32_t t)
{
    double whole = 0, kept = 0;
    for (uint64_t i = 0; i < v->count; i++) {
        whole += fabs((double)v->tau[t][i]);
        kept += fabs((double)sparse_value(v, s, t, i));
    }
    return s->rescales && whole >= 1e-7 && kept >= 1e-7 ? (float)(whole / kept) : 1;
}

/* agreement.h's formula. */
static float mixed_value(const vectors *v, const settings *s, uint64_t i)
{
    float d[TASKS_MAX], total = 0, mixed = 0, divisor = 0;
    for (uint32_t t = 0; t < v->n; t++)
        total += d[t] = sparse_value(v, s, t, i) * s->factor[t] * (float)s->weight[t];
    for (uint32_t t = 0; t < v->n; t++) {
        bool agrees = total >= 0 ? d[t] > 0 : d[t] < 0;
        mixed += agrees || !s->elects ? d[t] : 0;
        divisor += agrees || !s->elects ? (float)s->weight[t] : 0;
    }
    if (s->elects ? divisor == 0 : fabsf(divisor) < 1e-8F)
        divisor = 1;
    return (s->normalizes ? mixed / divisor : mixed) * (float)s->lambda;
}

static void check_mix(const char *name, vectors *v, const settings *asked, size_t chunk)
{
    settings of_tensor = *asked, *s = &of_tensor;
    driven_method d = driven_method_of(name, v->n);
    driven_tensor t = tensor_of(v, "x");
    d.chunk = chunk;
    driven_set_all(&d, "lambda", s->lambda);
    driven_set_all(&d, "normalize", s->normalizes);
    driven_set_all(&d, "rescale", s->rescales);
    if (!s->is_ties)
        driven_set_all(&d, "gamma", s->gamma);
    for (uint32_t i = 0; i < v->n; i++) {
        driven_set(&d, "weight", i, s->weight[i]);
        driven_set(&d, "density", i, s->density[i]);
        s->factor[i] = factor_of(v, s, i);
    }
    drive_method(&d, &t, 1);
    for (uint64_t i = 0; i < v->count; i++)
        if (v->out[i] != mixed_value(v, s, i))
            fail_msg("%s, element %llu of %llu: %.9g, not %.9g", name, (unsigned long long)i,
                     (unsigned long long)v->count, (double)v->out[i], (double)mixed_value(v, s, i));
}

static settings draw_settings(uint32_t n, rng *r)
{
    static const double densities[] = {0, 0.001, 0.2, 0.29, 0.5, 0.9, 1};
    static const double weights[] = {1, 0.5, 0.3, -0.25, 0};
    static const double gammas[] = {0, 0.01, 0.1, 0.6, 1};
    settings s = {
        .gamma = gammas[rng_below(r, 5)], .lambda = rng_below(r, 2) ? 1 : 0.7, .normalizes = rng_below(r, 2)};
    for (uint32_t t = 0; t < n; t++) {
        s.density[t] = densities[rng_below(r, 7)];
        s.weight[t] = weights[rng_below(r, 5)];
    }
    return s;
}

static void check_family(const char *name, bool elects, bool is_ties)
{
    rng r = {11};
    static vectors v;
    for (size_t i = 0; i < N_COUNTS; i++)
        for (uint32_t n = 1; n <= TASKS_MAX; n += 4)
            for (int coarse = 0; coarse < 2; coarse++) {
                settings s = draw_settings(n, &r);
                s.elects = elects;
                s.is_ties = is_ties;
                s.rescales = rng_below(&r, 2);
                draw_vectors(&v, counts[i], n, coarse, &r);
                check_mix(name, &v, &s, 0);
                check_mix(name, &v, &s, 37);
            }
}

static void ties_equals_its_formula(void **state)
{
    (void)state;
    check_family("ties", true, true);
}

static void breadcrumbs_equals_its_formula(void **state)
{
    (void)state;
    check_family("breadcrumbs", false, false);
    check_family("breadcrumbs_ties", true, false);
}

/* int(0.29 * 100) is 28, and a tensor of so few elements that gamma takes none is kept. */
static void numbers_are_mergekits(void **state)
{
    static vectors v;
    rng r = {5};
    const settings kept = {.weight = {1}, .density = {0.29}, .lambda = 1, .is_ties = true, .elects = true};
    const settings crumbs = {.weight = {1}, .density = {0.5}, .gamma = 0.01, .lambda = 1};
    size_t n_kept = 0;
    (void)state;
    draw_vectors(&v, 100, 1, false, &r);
    check_mix("ties", &v, &kept, 0);
    for (size_t i = 0; i < 100; i++)
        n_kept += v.out[i] != 0;
    assert_int_equal(n_kept, 28);
    draw_vectors(&v, 50, 1, false, &r);
    check_mix("breadcrumbs", &v, &crumbs, 0);
    n_kept = 0;
    for (size_t i = 0; i < 50; i++)
        n_kept += v.out[i] != 0;
    assert_int_equal(n_kept, 25);
}

static void stages_are_left_out_where_everything_stays(void **state)
{
    const char *const names[] = {"ties", "breadcrumbs", "breadcrumbs_ties"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        driven_method d = driven_method_of(names[i], 2);
        emr_method_tensor t = {
            .parameters = d.parameters, .n_parameters = d.method->n_parameters, .n_inputs = 2, .count = 9};
        assert_int_equal(d.method->needed_stages(&t), 0);
        driven_set(&d, "density", 1, 0.5);
        assert_int_equal(d.method->needed_stages(&t), 1);
        driven_set_all(&d, "rescale", 1);
        assert_int_equal(d.method->needed_stages(&t), 3);
    }
}

/* ---- over the whole model */

enum { N_TENSORS = 3 };

typedef struct published {
    double density, lambda;
    int merge_func;
} published;

/* The magnitude that stays at least; -1: all of them. */
static float threshold_of(const vectors *tensors, uint32_t t, double density)
{
    uint64_t total = 0, k;
    for (size_t a = 0; a < N_TENSORS; a++)
        total += tensors[a].count;
    k = (uint64_t)(density * (double)total) + 1;
    for (size_t a = 0; a < N_TENSORS && k <= total; a++)
        for (uint64_t i = 0; i < tensors[a].count; i++) {
            float x = fabsf(tensors[a].tau[t][i]);
            uint64_t larger = 0, equal = 0;
            for (size_t b = 0; b < N_TENSORS; b++)
                for (uint64_t j = 0; j < tensors[b].count; j++) {
                    larger += fabsf(tensors[b].tau[t][j]) > x;
                    equal += fabsf(tensors[b].tau[t][j]) == x;
                }
            if (larger < k && k <= larger + equal)
                return x;
        }
    return -1;
}

static float trimmed_sum(const vectors *v, const float *thresholds, uint64_t i)
{
    float sum = 0;
    for (uint32_t t = 0; t < v->n; t++)
        sum += fabsf(v->tau[t][i]) >= thresholds[t] ? v->tau[t][i] : 0;
    return sum;
}

static int sign_of(double x)
{
    return (x > 0) - (x < 0);
}

static float published_value(const vectors *v, const float *thresholds, const published *p, int majority,
                             uint64_t i)
{
    float total = trimmed_sum(v, thresholds, i), sum = 0, largest = 0, n = 0;
    int sign = total != 0 ? sign_of((double)total) : majority;
    for (uint32_t t = 0; t < v->n; t++) {
        float x = v->tau[t][i];
        if (fabsf(x) < thresholds[t] || !(sign > 0 ? x > 0 : x < 0))
            continue;
        sum += x;
        n++;
        largest = fmaxf(largest, fabsf(x));
    }
    float value = p->merge_func == 0 ? sum / fmaxf(n, 1) : p->merge_func == 1 ? sum : largest * (float)sign;
    return value * (float)p->lambda;
}

static void check_published(vectors *tensors, const published *p, size_t chunk)
{
    float thresholds[TASKS_MAX];
    driven_tensor t[N_TENSORS] = {tensor_of(&tensors[0], "a"), tensor_of(&tensors[1], "b"),
                                  tensor_of(&tensors[2], "c")};
    driven_method d = driven_method_of("ties_model", tensors[0].n);
    int64_t signs = 0;
    d.chunk = chunk;
    driven_set_all(&d, "density", p->density);
    driven_set_all(&d, "lambda", p->lambda);
    driven_set_all(&d, "merge_func", p->merge_func);
    drive_method(&d, t, N_TENSORS);
    for (uint32_t k = 0; k < tensors[0].n; k++)
        thresholds[k] = threshold_of(tensors, k, p->density);
    for (size_t a = 0; a < N_TENSORS; a++)
        for (uint64_t i = 0; i < tensors[a].count; i++)
            signs += sign_of((double)trimmed_sum(&tensors[a], thresholds, i));
    for (size_t a = 0; a < N_TENSORS; a++)
        for (uint64_t i = 0; i < tensors[a].count; i++) {
            float want = published_value(&tensors[a], thresholds, p, sign_of((double)signs), i);
            if (tensors[a].out[i] != want)
                fail_msg("tensor %zu, element %llu: %.9g, not %.9g", a, (unsigned long long)i,
                         (double)tensors[a].out[i], (double)want);
        }
}

static void published_ties_equals_its_formula(void **state)
{
    static vectors tensors[N_TENSORS];
    static const double densities[] = {0, 0.2, 0.7, 1};
    rng r = {17};
    (void)state;
    for (uint32_t n = 1; n <= TASKS_MAX; n += 4)
        for (int coarse = 0; coarse < 2; coarse++)
            for (int k = 0; k < 12; k++) {
                const published p = {densities[k % 4], k % 2 ? 1 : 0.3, k / 4};
                draw_vectors(&tensors[0], 130, n, coarse, &r);
                draw_vectors(&tensors[1], 1, n, coarse, &r);
                draw_vectors(&tensors[2], 77, n, coarse, &r);
                check_published(tensors, &p, k % 3 ? 0 : 23);
            }
}

/* What equals the threshold stays, also in a tensor in front of which there are as many as were asked for. */
static void all_that_equal_the_threshold_stay(void **state)
{
    static vectors tensors[N_TENSORS];
    const published p = {.density = 0.1, .lambda = 1, .merge_func = 1};
    (void)state;
    for (size_t a = 0; a < N_TENSORS; a++) {
        tensors[a].count = 10;
        tensors[a].n = 1;
        for (size_t i = 0; i < 10; i++)
            tensors[a].tau[0][i] = i % 2 ? 1 : -1;
    }
    check_published(tensors, &p, 0);
    for (size_t a = 0; a < N_TENSORS; a++)
        for (size_t i = 0; i < 10; i++)
            assert_true(tensors[a].out[i] == (i % 2 ? 1 : -1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_equals_its_formula),
        cmocka_unit_test(breadcrumbs_equals_its_formula),
        cmocka_unit_test(numbers_are_mergekits),
        cmocka_unit_test(stages_are_left_out_where_everything_stays),
        cmocka_unit_test(published_ties_equals_its_formula),
        cmocka_unit_test(all_that_equal_the_threshold_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
