/* test_method_random.c - DARE and DELLA against their formulas, an element at a time and bit for bit; what they draw, against
 * an independent computation; and that it depends on names and positions alone. */
#include "method_driver.h"

#include <math.h>

enum { N_MAX = 4000, TASKS_MAX = 5 };

static const char *const task_names[TASKS_MAX] = {"a", "b", "c", "d", "e"}; /* the driver's */

static emr_method_tensor drawn_tensor(const char *name, const char *const *inputs, uint32_t n, uint64_t seed)
{
    return (emr_method_tensor){
        .size = sizeof(emr_method_tensor), .name = name, .inputs = inputs, .n_inputs = n, .seed = seed};
}

/* Computed in numpy from the papers' definitions. */
static void test_known_words(void **unused)
{
    static const struct {
        uint64_t seed;
        const char *task, *tensor;
        uint64_t first;
        uint32_t words[5];
    } known[] = {
        {0, "a", "x", 0, {0x279d2d6b, 0xf9b65e6c, 0xe6806668, 0x0ab1bd82, 0xe00f1add}},
        {5,
         "math",
         "model.layers.0.mlp.up_proj.weight",
         3,
         {0x086059ae, 0xd4930ade, 0x1ee24d4c, 0x5c7316df, 0xec974319}},
        {0xfedcba9876543210,
         "code",
         "lm_head.weight",
         ((uint64_t)1 << 34) - 2,
         {0x8664ef6a, 0x094e8479, 0x5a54c0cb, 0x8de095ca, 0x7fb83d3a}},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        emr_method_tensor t = drawn_tensor(known[i].tensor, &known[i].task, 1, known[i].seed);
        uint32_t words[5];
        emr_method_draw(&t, 0, known[i].first, 5, words);
        assert_memory_equal(words, known[i].words, sizeof words);
    }
}

static void test_names_and_positions_decide(void **unused)
{
    static const char *const turned[] = {"z", "b", "a"};
    static uint32_t whole[1000], part[1000], other[1000];
    emr_method_tensor t = drawn_tensor("x", task_names, 3, 9), u = drawn_tensor("x", turned, 3, 9),
                      v = drawn_tensor("y", task_names, 3, 9), w = drawn_tensor("x", task_names, 3, 10);
    rng r = {1};
    (void)unused;
    emr_method_draw(&t, 0, 0, 1000, whole);
    for (size_t at = 0, n; at < 1000; at += n) {
        n = 1 + rng_below(&r, 1000 - at < 90 ? 1000 - at : 90);
        emr_method_draw(&t, 0, at, n, part + at);
    }
    assert_memory_equal(whole, part, sizeof whole);
    emr_method_draw(&u, 2, 0, 1000, other); /* "a" in another place, among others */
    assert_memory_equal(whole, other, sizeof whole);
    emr_method_draw(&t, 1, 0, 1000, other);
    assert_memory_not_equal(whole, other, sizeof whole);
    emr_method_draw(&v, 0, 0, 1000, other);
    assert_memory_not_equal(whole, other, sizeof whole);
    emr_method_draw(&w, 0, 0, 1000, other);
    assert_memory_not_equal(whole, other, sizeof whole);
}

/* Task vectors of one tensor. */
typedef struct vectors {
    float tau[TASKS_MAX][N_MAX], base[N_MAX], out[N_MAX];
    uint32_t words[TASKS_MAX][N_MAX];
    uint64_t rows, columns; /* rows 0: a vector */
    uint64_t count;
    uint32_t n;
} vectors;

typedef struct settings {
    double weight[TASKS_MAX], density[TASKS_MAX], epsilon[TASKS_MAX], lambda;
    int rescale;
    bool elects, normalizes, is_della;
} settings;

/* Coarse ones are full of equal magnitudes and zeros. */
static void draw_vectors(vectors *v, uint64_t rows, uint64_t columns, uint32_t n, bool coarse, rng *r)
{
    emr_method_tensor seen = drawn_tensor("x", task_names, n, 0);
    v->rows = rows;
    v->columns = columns;
    v->count = rows ? rows * columns : columns;
    v->n = n;
    for (uint32_t t = 0; t < n; t++) {
        for (uint64_t i = 0; i < v->count; i++) {
            float x = rng_normal(r);
            v->tau[t][i] = coarse ? roundf(2 * x) / 2 : 1e-3F * x;
        }
        emr_method_draw(&seen, t, 0, (size_t)v->count, v->words[t]);
    }
}

/* How many of a row's values come before element i, from the smallest to the largest. */
static uint64_t rank_in_row(const vectors *v, uint32_t t, uint64_t i)
{
    uint64_t first = i / v->columns * v->columns, before = 0;
    const float *tau = v->tau[t];
    for (uint64_t k = first; k < first + v->columns; k++)
        before += fabsf(tau[k]) < fabsf(tau[i]) || (k < i && fabsf(tau[k]) == fabsf(tau[i]));
    return before;
}

static double probability(const vectors *v, const settings *s, uint32_t t, uint64_t i)
{
    if (!s->is_della)
        return s->density[t];
    double last = v->columns > 1 ? (double)(v->columns - 1) : 1;
    return (s->density[t] - s->epsilon[t]) + (double)rank_in_row(v, t, i) / last * 2 * s->epsilon[t];
}

/* DARE has one probability for a whole tensor. */
static float unbiased(const settings *s, float value, double p)
{
    return s->is_della ? value / (float)p : value * (float)(1 / p);
}

/* What stays of a task vector, rescaled. */
static void thin_vector(const vectors *v, const settings *s, uint32_t t, float *kept)
{
    double all = 0, some = 0;
    for (uint64_t i = 0; i < v->count; i++) {
        double p = probability(v, s, t, i);
        kept[i] = v->tau[t][i];
        if (s->density[t] >= 1)
            continue;
        bool stays = (double)v->words[t][i] < floor(p * 4294967296.0);
        all += fabs((double)kept[i]);
        some += stays ? fabs((double)kept[i]) : 0;
        kept[i] = !stays ? 0 : s->rescale == 2 ? unbiased(s, kept[i], p) : kept[i];
    }
    for (uint64_t i = 0; i < v->count && s->density[t] < 1 && s->rescale == 1; i++)
        kept[i] *= all < 1e-7 || some < 1e-7 ? 1 : (float)(all / some);
}

/* agreement.h's formula. */
static float mixed_value(const settings *s, uint32_t n, float kept[TASKS_MAX][N_MAX], uint64_t i)
{
    float d[TASKS_MAX], total = 0, mixed = 0, divisor = 0;
    for (uint32_t t = 0; t < n; t++)
        total += d[t] = kept[t][i] * (float)s->weight[t];
    for (uint32_t t = 0; t < n; t++) {
        bool agrees = total >= 0 ? d[t] > 0 : d[t] < 0;
        mixed += agrees || !s->elects ? d[t] : 0;
        divisor += agrees || !s->elects ? (float)s->weight[t] : 0;
    }
    if (s->elects ? divisor == 0 : fabsf(divisor) < 1e-8F)
        divisor = 1;
    return (s->normalizes ? mixed / divisor : mixed) * (float)s->lambda;
}

/* With rescale 1 a factor may be another float where the sums' orders differ. */
static void assert_mixed(const char *name, const vectors *v, const settings *s)
{
    static float kept[TASKS_MAX][N_MAX];
    for (uint32_t t = 0; t < v->n; t++)
        thin_vector(v, s, t, kept[t]);
    for (uint64_t i = 0; i < v->count; i++) {
        float wanted = mixed_value(s, v->n, kept, i), scale = 0;
        for (uint32_t t = 0; t < v->n; t++)
            scale += fabsf(kept[t][i]);
        if (!(fabsf(v->out[i] - wanted) <= (s->rescale == 1 ? 4e-7F * scale : 0)))
            fail_msg("%s, element %llu of %llu: %.9g, not %.9g", name, (unsigned long long)i,
                     (unsigned long long)v->count, (double)v->out[i], (double)wanted);
    }
}

static void mix_vectors(const char *name, vectors *v, const settings *s, size_t chunk)
{
    driven_method d = driven_method_of(name, v->n);
    driven_tensor t = {.name = "x", .shape = {v->columns}, .rank = 1, .base = v->base, .out = v->out};
    if (v->rows) {
        t.rank = 2;
        t.shape[0] = v->rows;
        t.shape[1] = v->columns;
    }
    d.chunk = chunk;
    driven_set_all(&d, "lambda", s->lambda);
    driven_set_all(&d, "normalize", s->normalizes);
    driven_set_all(&d, "rescale", s->rescale);
    for (uint32_t i = 0; i < v->n; i++) {
        t.inputs[i] = v->tau[i];
        driven_set(&d, "weight", i, s->weight[i]);
        driven_set(&d, "density", i, s->density[i]);
        if (s->is_della)
            driven_set(&d, "epsilon", i, s->epsilon[i]);
    }
    drive_method(&d, &t, 1);
}

static settings draw_settings(uint32_t n, rng *r)
{
    static const double densities[] = {0, 0.001, 0.1, 0.29, 0.5, 0.9, 1};
    static const double weights[] = {1, 0.5, 0.3, -0.25, 0};
    settings s = {.lambda = rng_below(r, 2) ? 1 : 0.7, .normalizes = rng_below(r, 2)};
    s.rescale = (int)rng_below(r, 3);
    for (uint32_t t = 0; t < n; t++) {
        s.density[t] = densities[rng_below(r, 7)];
        s.weight[t] = weights[rng_below(r, 5)];
    }
    return s;
}

/* Densities that leave room on both sides; now and then 1, which turns all of it off. */
static void draw_epsilons(settings *s, uint32_t n, rng *r)
{
    static const double densities[] = {0.2, 0.29, 0.5, 0.8}, epsilons[] = {0, 0.05, 0.15, 0.19};
    s->is_della = true;
    for (uint32_t t = 0; t < n; t++) {
        s->density[t] = rng_below(r, 5) ? densities[rng_below(r, 4)] : 1;
        s->epsilon[t] = epsilons[rng_below(r, 4)];
    }
}

static void check_formula(const char *name, bool elects, bool is_della)
{
    static const struct {
        uint64_t rows, columns;
    } shapes[] = {{0, 1}, {0, 7}, {0, N_MAX}, {3, 1}, {40, 100}, {13, 257}};
    static vectors v;
    rng r = {19};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int k = 0; k < 12; k++) {
            uint32_t n = 1 + (uint32_t)rng_below(&r, TASKS_MAX);
            settings s = draw_settings(n, &r);
            s.elects = elects;
            if (is_della)
                draw_epsilons(&s, n, &r);
            if (is_della && v.count > 1000 && k % 3) /* ranks are counted here, which takes long */
                continue;
            draw_vectors(&v, shapes[i].rows, shapes[i].columns, n, k % 2, &r);
            mix_vectors(name, &v, &s, 1 + rng_below(&r, 1500));
            assert_mixed(name, &v, &s);
        }
}

static void test_dare(void **unused)
{
    (void)unused;
    check_formula("dare_linear", false, false);
    check_formula("dare_ties", true, false);
}

static void test_della(void **unused)
{
    (void)unused;
    check_formula("della_linear", false, true);
    check_formula("della", true, true);
}

/* As many stay as the density says, within five standard deviations; and with 1/p the sum is kept. */
static void test_densities(void **unused)
{
    static const double densities[] = {0.01, 0.1, 0.3, 0.5, 0.9};
    static uint32_t words[200000];
    emr_method_tensor t = drawn_tensor("some.weight", task_names, 2, 3);
    (void)unused;
    for (size_t i = 0; i < sizeof densities / sizeof *densities; i++)
        for (uint32_t input = 0; input < 2; input++) {
            const double n = 200000, p = densities[i];
            double stay = 0;
            emr_method_draw(&t, input, i * 200000, 200000, words);
            for (size_t k = 0; k < 200000; k++)
                stay += (double)words[k] < floor(p * 4294967296.0);
            assert_true(fabs(stay - n * p) < 5 * sqrt(n * p * (1 - p)));
        }
}

/* Of equal values in a row, those at its end stay more often: their rank is higher. */
static void test_della_prefers_the_larger(void **unused)
{
    enum { ROWS = 40, COLUMNS = 100 };
    static vectors v;
    settings s = {.weight = {1}, .density = {0.5}, .epsilon = {0.4}, .lambda = 1, .is_della = true};
    double low = 0, high = 0;
    rng r = {2};
    (void)unused;
    draw_vectors(&v, ROWS, COLUMNS, 1, false, &r);
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        v.tau[0][i] = 1;
    mix_vectors("della_linear", &v, &s, 1000);
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        *(i % COLUMNS < COLUMNS / 2 ? &low : &high) += (double)v.out[i];
    assert_true(fabs(low - 0.3 * ROWS * COLUMNS / 2) < 100);  /* about 600, deviation 20 */
    assert_true(fabs(high - 0.7 * ROWS * COLUMNS / 2) < 100); /* about 1400 */
}

static void check_refused(double density, double epsilon, bool is_fine)
{
    driven_method d = driven_method_of("della", 2);
    emr_method_tensor t = drawn_tensor("x", task_names, 2, 0);
    const uint64_t shape[] = {4, 5};
    emr_error error = {0};
    driven_set_all(&d, "weight", 1);
    driven_set_all(&d, "density", 1);
    driven_set(&d, "density", 1, density);
    driven_set_all(&d, "epsilon", epsilon);
    t.shape = shape;
    t.rank = 2;
    t.count = 20;
    t.parameters = d.parameters;
    t.n_parameters = d.method->n_parameters;
    assert_int_equal(d.method->check(&t, &error), is_fine ? EMR_OK : EMR_EINVAL);
    if (!is_fine)
        assert_non_null(strstr(error.text, "task 'b'"));
}

static void test_probabilities_are_checked(void **unused)
{
    (void)unused;
    check_refused(0.5, 0.15, true);
    check_refused(1, 0.15, true); /* off */
    check_refused(0.5, 0.5, false);
    check_refused(0.1, 0.15, false);
    check_refused(0.15, 0.15, false);
    check_refused(0.9, 0.15, false);
    check_refused(0, 0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_words),
        cmocka_unit_test(test_names_and_positions_decide),
        cmocka_unit_test(test_dare),
        cmocka_unit_test(test_della),
        cmocka_unit_test(test_densities),
        cmocka_unit_test(test_della_prefers_the_larger),
        cmocka_unit_test(test_probabilities_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
