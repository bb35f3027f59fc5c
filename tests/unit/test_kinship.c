/* test_kinship.c - how kin tasks are, from sums that are made by hand or of models of a few elements, against the
 * definitions: Model Kinship (arXiv 2410.12613), and what its authors' program does otherwise. */
#include "support.h"

#include <math.h>

enum { N = 6 };

/* A base of zeros and tasks of two tensors: w of four elements, b of two. */
typedef struct small_world {
    emr_model *base, *tasks[3];
    float zeros[N], values[3][N];
} small_world;

static emr_model *small_model(const float *values)
{
    emr_model *model = test_model_new("small");
    emr_error error;
    const uint64_t four = 4, two = 2;
    emr_tensor_desc w = {
        .size = sizeof w, .name = "w", .dtype = EMR_DTYPE_F32, .rank = 1, .shape = &four, .data = values};
    emr_tensor_desc b = {
        .size = sizeof b, .name = "b", .dtype = EMR_DTYPE_F32, .rank = 1, .shape = &two, .data = values + 4};
    assert_ok(emr_model_add(model, &w, &error), &error);
    assert_ok(emr_model_add(model, &b, &error), &error);
    return model;
}

static void make_small_world(small_world *s)
{
    const float values[3][N] = {{1, 2, 3, 4, 0, 0}, {-2, -4, -6, -8, 1, 1}, {0, 0, 0, 0, 5, 7}};
    *s = (small_world){.base = NULL};
    memcpy(s->values, values, sizeof values);
    s->base = small_model(s->zeros);
    for (int t = 0; t < 3; t++)
        s->tasks[t] = small_model(s->values[t]);
}

static void destroy_small_world(small_world *s)
{
    emr_model_destroy(&s->base);
    for (int t = 0; t < 3; t++)
        emr_model_destroy(&s->tasks[t]);
}

static emr_statistics *gather(const small_world *s, const emr_statistics_options *options)
{
    static const char *const names[] = {"a", "b", "c"};
    emr_statistics *st;
    emr_error error;
    assert_ok(emr_statistics_create(&st, options, &error), &error);
    assert_ok(emr_statistics_set_base(st, s->base, &error), &error);
    for (int t = 0; t < 3; t++)
        assert_ok(emr_statistics_add_task(st, names[t], s->tasks[t], &error), &error);
    assert_ok(emr_statistics_run(st, &error), &error);
    return st;
}

static void kinship_of(const emr_statistics *st, emr_statistics_scope scope, uint32_t i,
                       emr_kinship_metric metric, double matrix[9])
{
    emr_error error;
    const emr_kinship_options options = {.size = sizeof options, .metric = metric};
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    assert_int_equal(emr_statistics_get_group(st, scope, i, &g), EMR_OK);
    assert_ok(emr_kinship(&g, &options, matrix, &error), &error);
}

static void assert_number(double got, double want)
{
    assert_true(fabs(got - want) <= 1e-14 * (fabs(want) > 1 ? fabs(want) : 1));
}

static void test_metrics_are_their_definitions(void **state)
{
    (void)state;
    small_world s;
    double m[9];
    make_small_world(&s);
    emr_statistics *st = gather(&s, NULL);
    kinship_of(st, EMR_STATISTICS_SCOPE_MODEL, 0, EMR_KINSHIP_METRIC_COSINE, m);
    assert_number(m[0 * 3 + 1], -60 / sqrt(30.0 * 122));
    assert_number(m[1 * 3 + 2], 12 / sqrt(122.0 * 74));
    assert_true(m[0 * 3 + 2] == 0 && m[0] == 1 && m[4] == 1 && m[8] == 1);
    kinship_of(st, EMR_STATISTICS_SCOPE_MODEL, 0, EMR_KINSHIP_METRIC_EUCLID, m);
    assert_number(m[0 * 3 + 1], sqrt(9 + 36 + 81 + 144 + 1 + 1));
    assert_true(m[0] == 0 && m[3] == m[1]);
    kinship_of(st, EMR_STATISTICS_SCOPE_MODEL, 0, EMR_KINSHIP_METRIC_PEARSON, m);
    double xy = -60 - 10 * -18 / 6.0, xx = 30 - 100 / 6.0, yy = 122 - 324 / 6.0;
    assert_number(m[0 * 3 + 1], xy / sqrt(xx * yy));
    assert_number(emr_kinship_mean(m, 3), (m[1] + m[2] + m[5]) / 3);
    emr_statistics_destroy(&st);
    destroy_small_world(&s);
}

static void test_what_has_no_direction_is_none(void **state)
{
    (void)state;
    small_world s;
    double m[9];
    make_small_world(&s);
    emr_statistics *st = gather(&s, NULL);
    kinship_of(st, EMR_STATISTICS_SCOPE_TENSOR, 0, EMR_KINSHIP_METRIC_COSINE, m);
    assert_true(m[1] == -1 && isnan(m[2]) && isnan(m[8]) && isnan(emr_kinship_mean(m, 3)));
    kinship_of(st, EMR_STATISTICS_SCOPE_TENSOR, 1, EMR_KINSHIP_METRIC_PEARSON, m);
    assert_true(isnan(m[0]) && isnan(m[4]) && m[8] == 1); /* 1, 1 is constant */
    kinship_of(st, EMR_STATISTICS_SCOPE_TENSOR, 0, EMR_KINSHIP_METRIC_EUCLID, m);
    assert_number(m[2], sqrt(30));
    assert_true(isnan(emr_kinship_mean(m, 1)) && isnan(emr_kinship_mean(m, 0)));
    emr_statistics_destroy(&st);
    destroy_small_world(&s);
}

static void test_a_constant_task_vector_has_no_correlation(void **state)
{
    (void)state;
    enum { MANY = 40000 };
    static float zeros[MANY], constant[MANY], other[MANY];
    const uint64_t shape = MANY;
    const float *data[3] = {zeros, constant, other};
    emr_model *models[3];
    emr_error error;
    double m[4];
    rng r = {5};
    for (size_t i = 0; i < MANY; i++) {
        constant[i] = 0.1f;
        other[i] = rng_normal(&r);
    }
    for (int k = 0; k < 3; k++) {
        emr_tensor_desc w = {.size = sizeof w,
                             .name = "w",
                             .dtype = EMR_DTYPE_F32,
                             .rank = 1,
                             .shape = &shape,
                             .data = data[k]};
        models[k] = test_model_new("m");
        assert_ok(emr_model_add(models[k], &w, &error), &error);
    }
    emr_statistics *st;
    assert_ok(emr_statistics_create(&st, NULL, &error), &error);
    assert_ok(emr_statistics_set_base(st, models[0], &error), &error);
    assert_ok(emr_statistics_add_task(st, "constant", models[1], &error), &error);
    assert_ok(emr_statistics_add_task(st, "other", models[2], &error), &error);
    assert_ok(emr_statistics_run(st, &error), &error);
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    assert_int_equal(emr_statistics_get_group(st, EMR_STATISTICS_SCOPE_MODEL, 0, &g), EMR_OK);
    assert_ok(emr_kinship(&g, NULL, m, &error), &error);
    assert_true(isnan(m[0]) && isnan(m[1]) && m[3] == 1);
    emr_statistics_destroy(&st);
    for (int k = 0; k < 3; k++)
        emr_model_destroy(&models[k]);
}

static void test_the_published_cosine_has_no_sign(void **state)
{
    (void)state;
    small_world s;
    double m[9];
    emr_error error;
    const emr_kinship_options options = {
        .size = sizeof options, .metric = EMR_KINSHIP_METRIC_COSINE, .absolute = 1};
    const emr_kinship_options pearson = {.size = sizeof pearson, .absolute = 1};
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    make_small_world(&s);
    emr_statistics *st = gather(&s, NULL);
    assert_int_equal(emr_statistics_get_group(st, EMR_STATISTICS_SCOPE_TENSOR, 0, &g), EMR_OK);
    assert_ok(emr_kinship(&g, &options, m, &error), &error);
    assert_true(m[1] == 1);
    assert_ok(emr_kinship(&g, &pearson, m, &error), &error);
    assert_number(m[1], -1);
    emr_statistics_destroy(&st);
    destroy_small_world(&s);
}

static void test_the_split_mean_leaves_out_what_is_none(void **state)
{
    (void)state;
    small_world s;
    double m[9];
    emr_error error;
    const emr_kinship_options cosine = {.size = sizeof cosine, .metric = EMR_KINSHIP_METRIC_COSINE};
    const emr_kinship_options euclid = {.size = sizeof euclid, .metric = EMR_KINSHIP_METRIC_EUCLID};
    make_small_world(&s);
    emr_statistics *st = gather(&s, NULL);
    assert_ok(emr_statistics_split_kinship(st, &cosine, m, &error), &error);
    assert_true(m[0 * 3 + 1] == -1);                    /* b is 0 in a */
    assert_number(m[1 * 3 + 2], 12 / sqrt(2.0 * 74.0)); /* w is 0 in c */
    assert_true(isnan(m[0 * 3 + 2]));
    assert_ok(emr_statistics_split_kinship(st, &euclid, m, &error), &error);
    assert_number(m[0 * 3 + 1], (4 * sqrt(270) + 2 * sqrt(2)) / 6);
    emr_statistics_destroy(&st);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    o.without_tensors = 1;
    st = gather(&s, &o);
    assert_int_equal(emr_statistics_split_kinship(st, &cosine, m, &error), EMR_ESTATE);
    emr_statistics_destroy(&st);
    destroy_small_world(&s);
}

/* 127 * x / largest, halves to even. */
static void test_rounded_task_vectors_are_whole_numbers(void **state)
{
    (void)state;
    small_world s;
    double m[9];
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    make_small_world(&s);
    o.rounding = EMR_STATISTICS_ROUNDING_PER_MODEL;
    emr_statistics *st = gather(&s, &o);
    const double a[N] = {32, 64, 95, 127, 0, 0}, b[N] = {-32, -64, -95, -127, 16, 16},
                 c[N] = {0, 0, 0, 0, 91, 127};
    double ab = 0, bc = 0, aa = 0;
    for (int i = 0; i < N; i++) {
        ab += a[i] * b[i];
        bc += (b[i] - c[i]) * (b[i] - c[i]);
        aa += a[i] * a[i];
    }
    assert_int_equal(emr_statistics_get_group(st, EMR_STATISTICS_SCOPE_MODEL, 0, &g), EMR_OK);
    assert_true(g.is_rounded && g.products[1] == ab && g.distances[5] == bc && g.products[0] == aa);
    emr_statistics_destroy(&st);
    o.rounding = EMR_STATISTICS_ROUNDING_PER_TENSOR;
    st = gather(&s, &o);
    kinship_of(st, EMR_STATISTICS_SCOPE_TENSOR, 1, EMR_KINSHIP_METRIC_EUCLID, m);
    assert_true(isnan(m[1]) && isnan(m[0])); /* b of a is 0: it has no scale */
    assert_number(m[5], 36);                 /* 127, 127 and 91, 127 */
    emr_statistics_destroy(&st);
    destroy_small_world(&s);
}

static void test_a_group_may_be_the_hosts_own(void **state)
{
    (void)state;
    const double products[] = {9, 12, 12, 16}, numbers[] = {3, 4}, distances[] = {0, 1, 1, 0};
    const uint64_t zeros[] = {0, 0};
    double m[4];
    emr_error error;
    emr_kinship_options options = {.size = sizeof options, .metric = 3};
    emr_statistics_group g = {.size = sizeof g,
                              .products = products,
                              .distances = distances,
                              .sums = numbers,
                              .magnitudes = numbers,
                              .fourths = numbers,
                              .largest = numbers,
                              .zeros = zeros,
                              .count = 1,
                              .n_tasks = 2};
    assert_int_equal(emr_kinship(&g, &options, m, &error), EMR_EINVAL);
    options.metric = EMR_KINSHIP_METRIC_COSINE;
    assert_ok(emr_kinship(&g, &options, m, &error), &error);
    assert_true(m[1] == 1);
    g.count = 0;
    assert_ok(emr_kinship(&g, &options, m, &error), &error);
    assert_true(isnan(m[0]) && isnan(m[1]));
    g.products = NULL;
    assert_int_equal(emr_kinship(&g, &options, m, &error), EMR_EINVAL);
}

static void test_names_say_where_tensors_count(void **state)
{
    (void)state;
    assert_int_equal(emr_statistics_layer_of("model.layers.12.mlp.down_proj.weight"), 12);
    assert_string_equal(emr_statistics_kind_of("model.layers.12.mlp.down_proj.weight"), "down");
    assert_int_equal(emr_statistics_layer_of("lm_head.weight"), -1);
    assert_string_equal(emr_statistics_kind_of("lm_head.weight"), "head");
    assert_int_equal(emr_statistics_layer_of(NULL), -1);
    assert_string_equal(emr_statistics_kind_of(NULL), "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_are_their_definitions),
        cmocka_unit_test(test_what_has_no_direction_is_none),
        cmocka_unit_test(test_a_constant_task_vector_has_no_correlation),
        cmocka_unit_test(test_the_published_cosine_has_no_sign),
        cmocka_unit_test(test_the_split_mean_leaves_out_what_is_none),
        cmocka_unit_test(test_rounded_task_vectors_are_whole_numbers),
        cmocka_unit_test(test_a_group_may_be_the_hosts_own),
        cmocka_unit_test(test_names_say_where_tensors_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
