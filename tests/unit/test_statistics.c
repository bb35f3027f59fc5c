/* test_statistics.c - statistics of task vectors against a direct computation: sums in long double, counts exactly;
 * and the same bits for any threads, memory and way of giving tensors. */
#include "support.h"

#include <math.h>
#include <stdio.h>

static const test_tensor tensors[] = {
    {"model.embed_tokens.weight", EMR_DTYPE_BF16, 2, {40, 17}},
    {"model.layers.10.mlp.up_proj.weight", EMR_DTYPE_F32, 2, {3, 20000}},
    {"model.layers.2.self_attn.q_proj.weight", EMR_DTYPE_F16, 2, {9, 37}},
    {"model.layers.2.input_layernorm.weight", EMR_DTYPE_F32, 1, {333}},
    {"model.layers.10.self_attn.q_proj.weight", EMR_DTYPE_F64, 2, {5, 13}},
    {"scalar", EMR_DTYPE_F32, 0, {0}},
    {"position_ids", EMR_DTYPE_I64, 1, {9}},
    {"empty", EMR_DTYPE_F32, 2, {0, 5}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors, N_TASKS = 5, N_COUNTED = N_TENSORS - 1 };

/* Some elements become the base's, some a negative change. */
static void make_zeros(test_set *s, rng *r)
{
    for (size_t t = 0; t < s->n; t++)
        for (size_t k = 0; k < N_TENSORS; k++) {
            size_t n = (size_t)test_tensor_count(&tensors[k]), size = n ? 1 : 0;
            size = tensors[k].dtype == EMR_DTYPE_F64 || tensors[k].dtype == EMR_DTYPE_I64 ? 8
                   : tensors[k].dtype == EMR_DTYPE_F32                                    ? 4
                                                                                          : 2;
            for (size_t i = 0; i < n; i++)
                if (rng_below(r, 4) == 0)
                    memcpy(s->tasks[t].data[k] + i * size, s->base.data[k] + i * size, size);
        }
}

static test_set world(uint64_t seed)
{
    rng r = {seed};
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, seed, SOURCE_MEMORY);
    make_zeros(&s, &r);
    return s;
}

static emr_statistics *statistics_of(const test_set *s, const emr_statistics_options *options)
{
    static char names[64][24];
    emr_statistics *statistics;
    emr_error error;
    assert_ok(emr_statistics_create(&statistics, options, &error), &error);
    assert_ok(emr_statistics_set_base(statistics, s->base.model, &error), &error);
    for (size_t t = 0; t < s->n; t++) {
        snprintf(names[t], sizeof names[t], "t%zu", t);
        assert_ok(emr_statistics_add_task(statistics, names[t], s->tasks[t].model, &error), &error);
    }
    return statistics;
}

static emr_statistics *run_statistics(const test_set *s, const emr_statistics_options *options)
{
    emr_error error;
    emr_statistics *statistics = statistics_of(s, options);
    assert_ok(emr_statistics_run(statistics, &error), &error);
    return statistics;
}

static emr_statistics_group group_of(const emr_statistics *s, emr_statistics_scope scope, uint32_t i)
{
    emr_statistics_group group = EMR_INIT(emr_statistics_group);
    assert_int_equal(emr_statistics_get_group(s, scope, i, &group), EMR_OK);
    return group;
}

/* A task vector of one tensor as the definition has it: free it. */
static float *task_vector(const test_set *s, size_t tensor, size_t task)
{
    size_t n = (size_t)test_tensor_count(&tensors[tensor]);
    float *tau = calloc(n + 1, sizeof *tau), *base = calloc(n + 1, sizeof *base);
    emr_error error;
    if (tensors[tensor].dtype == EMR_DTYPE_F64) {
        const double *w0 = (const void *)s->base.data[tensor], *w = (const void *)s->tasks[task].data[tensor];
        for (size_t i = 0; i < n; i++)
            tau[i] = (float)(w[i] - w0[i]);
    } else {
        assert_ok(emr_tensor_read_floats(emr_model_find_tensor(s->base.model, tensors[tensor].name), 0, n,
                                         base, &error),
                  &error);
        assert_ok(emr_tensor_read_floats(emr_model_find_tensor(s->tasks[task].model, tensors[tensor].name), 0,
                                         n, tau, &error),
                  &error);
        for (size_t i = 0; i < n; i++)
            tau[i] -= base[i];
    }
    free(base);
    return tau;
}

/* What a group should have. */
typedef struct direct_sums {
    long double products[N_TASKS][N_TASKS], distances[N_TASKS][N_TASKS], scale[N_TASKS][N_TASKS],
        sums[N_TASKS], magnitudes[N_TASKS], fourths[N_TASKS], largest[N_TASKS];
    uint64_t same[N_TASKS][N_TASKS], both[N_TASKS][N_TASKS], zeros[N_TASKS], conflicts, unchanged, count;
} direct_sums;

static void add_element(direct_sums *d, const long double x[N_TASKS])
{
    bool above = false, below = false;
    for (size_t i = 0; i < N_TASKS; i++) {
        d->sums[i] += x[i];
        d->magnitudes[i] += fabsl(x[i]);
        d->fourths[i] += x[i] * x[i] * x[i] * x[i];
        d->largest[i] = fmaxl(d->largest[i], fabsl(x[i]));
        d->zeros[i] += x[i] == 0;
        above = above || x[i] > 0;
        below = below || x[i] < 0;
        for (size_t j = 0; j < N_TASKS; j++) {
            d->products[i][j] += x[i] * x[j];
            d->scale[i][j] += fabsl(x[i] * x[j]);
            d->distances[i][j] += (x[i] - x[j]) * (x[i] - x[j]);
            d->same[i][j] += (x[i] > 0 && x[j] > 0) || (x[i] < 0 && x[j] < 0);
            d->both[i][j] += x[i] != 0 && x[j] != 0;
        }
    }
    d->conflicts += above && below;
    d->unchanged += !above && !below;
    d->count++;
}

/* Adds a tensor's first rows; 0: all. */
static void add_tensor(direct_sums *d, const test_set *s, size_t tensor, uint64_t max_rows)
{
    float *tau[N_TASKS];
    const test_tensor *t = &tensors[tensor];
    uint64_t n = test_tensor_count(t);
    if (max_rows && t->rank && t->shape[0] > max_rows)
        n = n / t->shape[0] * max_rows;
    for (size_t k = 0; k < N_TASKS; k++)
        tau[k] = task_vector(s, tensor, k);
    for (size_t i = 0; i < n; i++) {
        long double x[N_TASKS];
        for (size_t k = 0; k < N_TASKS; k++)
            x[k] = (long double)tau[k][i];
        add_element(d, x);
    }
    for (size_t k = 0; k < N_TASKS; k++)
        free(tau[k]);
}

/* 2^-53 for each of at most 16,384 / 8 additions to a lane, and of the chunks; far less in truth. */
static void assert_near(double got, long double want, long double scale)
{
    assert_true(fabsl((long double)got - want) <= 1e-12L * scale);
}

static void assert_group(const emr_statistics_group *g, const direct_sums *d)
{
    assert_int_equal(g->n_tasks, N_TASKS);
    assert_int_equal(g->count, d->count);
    assert_int_equal(g->conflicts, d->conflicts);
    assert_int_equal(g->unchanged, d->unchanged);
    for (size_t i = 0; i < N_TASKS; i++) {
        assert_near(g->sums[i], d->sums[i], d->magnitudes[i]);
        assert_near(g->magnitudes[i], d->magnitudes[i], d->magnitudes[i]);
        assert_near(g->fourths[i], d->fourths[i], d->fourths[i]);
        assert_true(g->largest[i] == (double)d->largest[i]);
        assert_int_equal(g->zeros[i], d->zeros[i]);
        assert_int_equal(g->nonfinite[i], 0);
        for (size_t j = 0; j < N_TASKS; j++) {
            assert_near(g->products[i * N_TASKS + j], d->products[i][j], d->scale[i][j]);
            assert_near(g->distances[i * N_TASKS + j], d->distances[i][j], d->distances[i][j]);
            assert_int_equal(g->same_signs[i * N_TASKS + j], d->same[i][j]);
            assert_int_equal(g->both[i * N_TASKS + j], d->both[i][j]);
        }
    }
}

/* Of the tensors whose names have these words in them, "" being in all. */
static direct_sums direct_of(const test_set *s, const char *word, uint64_t max_rows, uint32_t *n_tensors)
{
    direct_sums d = {.count = 0};
    *n_tensors = 0;
    for (size_t k = 0; k < N_TENSORS; k++) {
        if (tensors[k].dtype == EMR_DTYPE_I64 || !strstr(tensors[k].name, word))
            continue;
        add_tensor(&d, s, k, max_rows);
        ++*n_tensors;
    }
    return d;
}

static void assert_group_is(const emr_statistics *st, emr_statistics_scope scope, uint32_t i,
                            const char *name, const test_set *s, const char *word, uint64_t max_rows)
{
    uint32_t n_tensors;
    direct_sums d = direct_of(s, word, max_rows, &n_tensors);
    emr_statistics_group g = group_of(st, scope, i);
    assert_string_equal(g.name, name);
    assert_int_equal(g.n_tensors, n_tensors);
    assert_group(&g, &d);
}

static void test_sums_of_every_group_are_right(void **state)
{
    (void)state;
    test_set s = world(11);
    emr_statistics *st = run_statistics(&s, NULL);
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_MODEL), 1);
    assert_group_is(st, EMR_STATISTICS_SCOPE_MODEL, 0, "", &s, "", 0);
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_TENSOR), N_COUNTED);
    for (uint32_t i = 0, k = 0; k < N_TENSORS; k++) { /* in the base's order */
        if (tensors[k].dtype == EMR_DTYPE_I64)
            continue;
        assert_group_is(st, EMR_STATISTICS_SCOPE_TENSOR, i, tensors[k].name, &s, tensors[k].name, 0);
        assert_ptr_equal(group_of(st, EMR_STATISTICS_SCOPE_TENSOR, i).tensor,
                         emr_model_find_tensor(s.base.model, tensors[k].name));
        i++;
    }
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_LAYER), 3);
    assert_group_is(st, EMR_STATISTICS_SCOPE_LAYER, 0, "2", &s, "layers.2.", 0);
    assert_group_is(st, EMR_STATISTICS_SCOPE_LAYER, 1, "10", &s, "layers.10.", 0);
    assert_int_equal(group_of(st, EMR_STATISTICS_SCOPE_LAYER, 1).layer, 10);
    assert_int_equal(group_of(st, EMR_STATISTICS_SCOPE_LAYER, 2).layer, -1);
    assert_int_equal(group_of(st, EMR_STATISTICS_SCOPE_LAYER, 2).n_tensors, 3);
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_KIND), 5);
    assert_group_is(st, EMR_STATISTICS_SCOPE_KIND, 0, "q", &s, "q_proj", 0);
    assert_group_is(st, EMR_STATISTICS_SCOPE_KIND, 1, "up", &s, "up_proj", 0);
    assert_group_is(st, EMR_STATISTICS_SCOPE_KIND, 2, "norm", &s, "norm", 0);
    assert_group_is(st, EMR_STATISTICS_SCOPE_KIND, 3, "embed", &s, "embed", 0);
    assert_string_equal(group_of(st, EMR_STATISTICS_SCOPE_KIND, 4).name, "other");
    emr_statistics_destroy(&st);
    test_set_destroy(&s);
}

static void test_the_first_rows_alone_count_if_asked(void **state)
{
    (void)state;
    test_set s = world(12);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    o.max_rows = 7;
    emr_statistics *st = run_statistics(&s, &o);
    assert_group_is(st, EMR_STATISTICS_SCOPE_MODEL, 0, "", &s, "", 7);
    assert_group_is(st, EMR_STATISTICS_SCOPE_TENSOR, 0, tensors[0].name, &s, tensors[0].name, 7);
    emr_statistics_destroy(&st);
    test_set_destroy(&s);
}

/* All bits of all groups. */
static void assert_same_statistics(const emr_statistics *a, const emr_statistics *b)
{
    for (emr_statistics_scope scope = 0; scope <= EMR_STATISTICS_SCOPE_KIND; scope++) {
        assert_int_equal(emr_statistics_n_groups(a, scope), emr_statistics_n_groups(b, scope));
        for (uint32_t i = 0; i < emr_statistics_n_groups(a, scope); i++) {
            emr_statistics_group x = group_of(a, scope, i), y = group_of(b, scope, i);
            size_t pairs = (size_t)x.n_tasks * x.n_tasks;
            assert_memory_equal(x.products, y.products, pairs * sizeof(double));
            assert_memory_equal(x.distances, y.distances, pairs * sizeof(double));
            assert_memory_equal(x.same_signs, y.same_signs, pairs * sizeof(uint64_t));
            assert_memory_equal(x.both, y.both, pairs * sizeof(uint64_t));
            assert_memory_equal(x.sums, y.sums, x.n_tasks * sizeof(double));
            assert_memory_equal(x.magnitudes, y.magnitudes, x.n_tasks * sizeof(double));
            assert_memory_equal(x.fourths, y.fourths, x.n_tasks * sizeof(double));
            assert_memory_equal(x.largest, y.largest, x.n_tasks * sizeof(double));
            assert_memory_equal(x.zeros, y.zeros, x.n_tasks * sizeof(uint64_t));
            assert_true(x.conflicts == y.conflicts && x.unchanged == y.unchanged && x.count == y.count);
        }
    }
}

static void test_same_bits_whatever_the_threads_and_memory(void **state)
{
    (void)state;
    const uint32_t threads[] = {1, 2, 5};
    const test_source sources[] = {SOURCE_MEMORY, SOURCE_IO, SOURCE_READ};
    test_set s = world(13);
    emr_statistics *first = run_statistics(&s, NULL);
    for (size_t i = 0; i < 3; i++) {
        emr_pool *pool = test_pool_new(threads[i]);
        test_set copy = test_set_copy(&s, sources[i]);
        for (uint64_t memory = 0; memory <= 2 << 20; memory += 2 << 20) {
            emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
            resources.memory_bytes = memory;
            emr_statistics_options o = EMR_INIT(emr_statistics_options);
            o.resources = &resources;
            emr_statistics *st = run_statistics(&copy, &o);
            assert_same_statistics(first, st);
            emr_statistics_destroy(&st);
        }
        test_set_destroy(&copy);
        emr_pool_destroy(&pool);
    }
    emr_statistics_destroy(&first);
    test_set_destroy(&s);
}

static void test_without_tensors_all_else_is_the_same(void **state)
{
    (void)state;
    test_set s = world(14);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    o.without_tensors = 1;
    emr_statistics *with = run_statistics(&s, NULL), *without = run_statistics(&s, &o);
    assert_int_equal(emr_statistics_n_groups(without, EMR_STATISTICS_SCOPE_TENSOR), 0);
    for (emr_statistics_scope scope = 0; scope <= EMR_STATISTICS_SCOPE_KIND; scope++)
        for (uint32_t i = 0; i < emr_statistics_n_groups(without, scope); i++) {
            emr_statistics_group x = group_of(with, scope, i), y = group_of(without, scope, i);
            assert_memory_equal(x.products, y.products, N_TASKS * N_TASKS * sizeof(double));
            assert_memory_equal(x.same_signs, y.same_signs, N_TASKS * N_TASKS * sizeof(uint64_t));
        }
    emr_statistics_destroy(&with);
    emr_statistics_destroy(&without);
    test_set_destroy(&s);
}

static void test_moments_follow_from_the_sums(void **state)
{
    (void)state;
    uint32_t n_tensors;
    test_set s = world(15);
    direct_sums d = direct_of(&s, "up_proj", 0, &n_tensors);
    emr_statistics *st = run_statistics(&s, NULL);
    emr_statistics_group g = group_of(st, EMR_STATISTICS_SCOPE_TENSOR, 1), other = g;
    emr_task_moments m = EMR_INIT(emr_task_moments);
    assert_int_equal(emr_statistics_get_moments(&g, 2, &m), EMR_OK);
    long double n = d.count, square = d.products[2][2], mean = d.sums[2] / n;
    assert_near(m.norm, sqrtl(square), sqrtl(square));
    assert_near(m.mean, mean, d.magnitudes[2] / n);
    assert_near(m.mean_magnitude, d.magnitudes[2] / n, d.magnitudes[2] / n);
    assert_near(m.deviation, sqrtl(square / n - mean * mean), sqrtl(square / n));
    assert_near(m.kurtosis, n * d.fourths[2] / (square * square), 10);
    assert_true(m.zero_share == (double)d.zeros[2] / (double)d.count);
    assert_int_equal(emr_statistics_get_moments(&g, N_TASKS, &m), EMR_ENOTFOUND);
    other.products = NULL;
    assert_int_equal(emr_statistics_get_moments(&other, 0, &m), EMR_EINVAL);
    g = group_of(st, EMR_STATISTICS_SCOPE_TENSOR, N_COUNTED - 1); /* empty */
    assert_int_equal(emr_statistics_get_moments(&g, 0, &m), EMR_OK);
    assert_true(m.norm == 0 && m.mean == 0 && isnan(m.kurtosis));
    emr_statistics_destroy(&st);
    test_set_destroy(&s);
}

static void test_a_plan_tells_what_a_run_takes(void **state)
{
    (void)state;
    emr_error error;
    test_meter meter = {0, 0};
    const emr_allocator allocator = test_meter_make(&meter);
    emr_resources resources = test_resources(&allocator, NULL);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    emr_statistics_plan plan = EMR_INIT(emr_statistics_plan);
    test_set s = world(16);
    o.resources = &resources;
    emr_statistics *st = statistics_of(&s, &o);
    assert_ok(emr_statistics_get_plan(st, &plan, &error), &error);
    assert_int_equal(plan.params, 40 * 17 + 60000 + 333 + 333 + 65 + 1);
    assert_int_equal(plan.n_tensors, N_COUNTED);
    assert_int_equal(plan.n_left_out, 1);
    assert_int_equal(plan.n_layers, 3);
    assert_int_equal(plan.n_kinds, 5);
    assert_int_equal(plan.bytes_in, (N_TASKS + 1) * (680 * 2 + 60000 * 4 + 333 * 2 + 333 * 4 + 65 * 8 + 4));
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_true(meter.peak <= plan.peak_memory + 100000); /* and what handles and names take */
    assert_int_equal(emr_statistics_run(st, &error), EMR_ESTATE);
    emr_statistics_destroy(&st);
    assert_int_equal(meter.now, 0);
    test_set_destroy(&s);
}

/* 0 with an allocator that never fails. */
static emr_status try_with_allocator(const test_set *s, test_allocator *allocator, emr_error *error)
{
    const emr_allocator a = test_allocator_make(allocator);
    const double half = 0.5;
    const emr_resources resources = test_resources(&a, NULL);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    emr_statistics *st = NULL;
    o.resources = &resources;
    o.quantiles = &half;
    o.n_quantiles = 1;
    emr_status status = emr_statistics_create(&st, &o, error);
    if (!status)
        status = emr_statistics_set_base(st, s->base.model, error);
    if (!status)
        status = emr_statistics_add_task(st, "a", s->tasks[0].model, error);
    if (!status)
        status = emr_statistics_add_task(st, "b", s->tasks[1].model, error);
    if (!status)
        status = emr_statistics_run(st, error);
    if (status == EMR_ENOMEM && st) { /* a run may be tried again */
        allocator->fail_at = SIZE_MAX;
        status = emr_statistics_run(st, error) ? EMR_EINVAL : EMR_ENOMEM;
    }
    emr_statistics_destroy(&st);
    return status;
}

static void test_nothing_leaks_when_memory_ends(void **state)
{
    (void)state;
    test_set s = world(17);
    emr_status status = EMR_ENOMEM;
    for (size_t k = 0; status; k++) {
        test_allocator allocator = {0, 0, k};
        emr_error error;
        status = try_with_allocator(&s, &allocator, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM || status == EMR_EINVAL);
        assert_int_equal(allocator.alive, 0);
    }
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_of_every_group_are_right),
        cmocka_unit_test(test_the_first_rows_alone_count_if_asked),
        cmocka_unit_test(test_same_bits_whatever_the_threads_and_memory),
        cmocka_unit_test(test_without_tensors_all_else_is_the_same),
        cmocka_unit_test(test_moments_follow_from_the_sums),
        cmocka_unit_test(test_a_plan_tells_what_a_run_takes),
        cmocka_unit_test(test_nothing_leaks_when_memory_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
