/* test_statistics_edges.c - statistics where models do not quite fit together, hold what is no number, or cannot be read;
 * many tasks; exact quantiles; progress, and what is refused. */
#include "support.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 6, COLUMNS = 50, COUNT = ROWS * COLUMNS };

/* A model of `w` and `v`, F32; n_rows of w, and v if it is there. Free with destroy_own(). */
typedef struct own_model {
    emr_model *model;
    float *w, *v;
} own_model;

static own_model make_own(const char *name, uint64_t n_rows, bool has_v, uint64_t seed)
{
    const uint64_t shape[2] = {n_rows, COLUMNS};
    own_model m = {test_model_new(name), calloc((size_t)n_rows * COLUMNS, sizeof(float)),
                   calloc(COLUMNS, sizeof(float))};
    emr_tensor_desc w = {
        .size = sizeof w, .name = "w", .dtype = EMR_DTYPE_F32, .rank = 2, .shape = shape, .data = m.w};
    emr_tensor_desc v = {
        .size = sizeof v, .name = "v", .dtype = EMR_DTYPE_F32, .rank = 1, .shape = shape + 1, .data = m.v};
    emr_error error;
    rng r = {seed};
    for (size_t i = 0; i < n_rows * COLUMNS; i++)
        m.w[i] = rng_normal(&r);
    for (size_t i = 0; i < COLUMNS; i++)
        m.v[i] = rng_normal(&r);
    assert_ok(emr_model_add(m.model, &w, &error), &error);
    if (has_v)
        assert_ok(emr_model_add(m.model, &v, &error), &error);
    return m;
}

static void destroy_own(own_model *m)
{
    emr_model_destroy(&m->model);
    free(m->w);
    free(m->v);
}

static emr_statistics *begin_two(const emr_statistics_options *options, const own_model *base,
                                 const own_model *a, const own_model *b)
{
    emr_statistics *st;
    emr_error error;
    assert_ok(emr_statistics_create(&st, options, &error), &error);
    assert_ok(emr_statistics_set_base(st, base->model, &error), &error);
    assert_ok(emr_statistics_add_task(st, "a", a->model, &error), &error);
    assert_ok(emr_statistics_add_task(st, "b", b->model, &error), &error);
    return st;
}

static emr_statistics_group group_at(const emr_statistics *st, emr_statistics_scope scope, uint32_t i)
{
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    assert_int_equal(emr_statistics_get_group(st, scope, i, &g), EMR_OK);
    return g;
}

static long double square_of(const float *x, const float *y, size_t n)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (long double)(float)(x[i] - y[i]) * (float)(x[i] - y[i]);
    return sum;
}

static void assert_close(double got, long double want)
{
    assert_true(fabsl((long double)got - want) <= 1e-13L * fabsl(want));
}

static void test_a_tensor_that_a_task_lacks(void **state)
{
    (void)state;
    emr_error error;
    emr_policy policy = EMR_INIT(emr_policy);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    own_model base = make_own("base", ROWS, true, 1), a = make_own("a", ROWS, true, 2),
              b = make_own("b", ROWS, false, 3);
    emr_statistics *st = begin_two(&o, &base, &a, &b);
    assert_int_equal(emr_statistics_run(st, &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "'v'"));
    emr_statistics_destroy(&st);
    o.policy = &policy;
    for (policy.on_missing = EMR_ON_MISSING_BASE; policy.on_missing <= EMR_ON_MISSING_ABSENT;
         policy.on_missing++) {
        st = begin_two(&o, &base, &a, &b);
        assert_ok(emr_statistics_run(st, &error), &error);
        emr_statistics_group v = group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 1);
        assert_close(v.products[0], square_of(a.v, base.v, COLUMNS));
        assert_true(v.products[1] == 0 && v.products[3] == 0 && v.zeros[1] == COLUMNS);
        assert_close(v.distances[1], square_of(a.v, base.v, COLUMNS));
        emr_statistics_destroy(&st);
    }
    policy.on_missing = EMR_ON_MISSING_ERROR;
    o.skip_missing = 1;
    st = begin_two(&o, &base, &a, &b);
    emr_statistics_plan plan = EMR_INIT(emr_statistics_plan);
    assert_ok(emr_statistics_get_plan(st, &plan, &error), &error);
    assert_true(plan.n_tensors == 1 && plan.n_left_out == 1 && plan.params == COUNT);
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_TENSOR), 1);
    assert_int_equal(group_at(st, EMR_STATISTICS_SCOPE_MODEL, 0).count, COUNT);
    emr_statistics_destroy(&st);
    destroy_own(&base), destroy_own(&a), destroy_own(&b);
}

static void test_shapes_that_differ(void **state)
{
    (void)state;
    emr_error error;
    emr_policy policy = EMR_INIT(emr_policy);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    own_model base = make_own("base", ROWS, true, 4), a = make_own("a", ROWS + 2, true, 5),
              b = make_own("b", ROWS, true, 6);
    o.policy = &policy;
    emr_statistics *st = begin_two(&o, &base, &a, &b);
    assert_int_equal(emr_statistics_run(st, &error), EMR_EMISMATCH);
    emr_statistics_destroy(&st);
    policy.on_mismatch = EMR_ON_MISMATCH_ROWS;
    st = begin_two(&o, &base, &a, &b);
    emr_statistics_plan plan = EMR_INIT(emr_statistics_plan);
    assert_ok(emr_statistics_get_plan(st, &plan, &error), &error);
    assert_true(plan.n_tensors == 2 && plan.n_left_out == 0);
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_close(group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 0).products[0], square_of(a.w, base.w, COUNT));
    emr_statistics_destroy(&st);
    policy.on_mismatch = EMR_ON_MISMATCH_PRIVATE;
    st = begin_two(&o, &base, &a, &b);
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_TENSOR), 1);
    assert_string_equal(group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 0).name, "v");
    emr_statistics_destroy(&st);
    destroy_own(&base), destroy_own(&a), destroy_own(&b);
}

static void test_what_is_no_number_is_named_or_counts_as_unchanged(void **state)
{
    (void)state;
    emr_error error;
    const double most = 1;
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    own_model base = make_own("base", ROWS, true, 7), a = make_own("a", ROWS, true, 8),
              b = make_own("b", ROWS, true, 9);
    a.w[70] = NAN;
    a.w[131] = INFINITY;
    b.w[131] = base.w[131];
    emr_statistics *st = begin_two(&o, &base, &a, &b);
    assert_int_equal(emr_statistics_run(st, &error), EMR_ENONFINITE);
    assert_non_null(strstr(error.text, "task 'a'"));
    assert_non_null(strstr(error.text, "'w': NaN or infinity at index 70"));
    emr_statistics_destroy(&st);
    o.on_nonfinite = EMR_ON_NONFINITE_ZERO;
    o.quantiles = &most;
    o.n_quantiles = 1;
    st = begin_two(&o, &base, &a, &b);
    assert_ok(emr_statistics_run(st, &error), &error);
    a.w[70] = base.w[70];
    a.w[131] = base.w[131];
    emr_statistics_group g = group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 0);
    assert_true(g.nonfinite[0] == 2 && g.nonfinite[1] == 0 && g.zeros[0] == 2 && g.zeros[1] == 1 &&
                g.unchanged == 1);
    assert_close(g.products[0], square_of(a.w, base.w, COUNT));
    assert_true(g.quantiles[0] == g.largest[0]);
    emr_statistics_destroy(&st);
    destroy_own(&base), destroy_own(&a), destroy_own(&b);
}

/* The difference of finite numbers may be none. */
static void test_a_difference_may_overflow(void **state)
{
    (void)state;
    emr_error error;
    own_model base = make_own("base", ROWS, true, 10), a = make_own("a", ROWS, true, 11),
              b = make_own("b", ROWS, true, 12);
    base.w[5] = -3e38f;
    b.w[5] = 3e38f;
    emr_statistics *st = begin_two(NULL, &base, &a, &b);
    assert_int_equal(emr_statistics_run(st, &error), EMR_ENONFINITE);
    assert_non_null(strstr(error.text, "task 'b'"));
    assert_non_null(strstr(error.text, "the difference from the base overflows f32 at index 5"));
    emr_statistics_destroy(&st);
    destroy_own(&base), destroy_own(&a), destroy_own(&b);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The smallest magnitude that a part of all is not above. */
static double direct_quantile(float *sorted, size_t n, double part)
{
    size_t rank = (size_t)ceil(part * (double)n);
    return (double)sorted[rank ? rank - 1 : 0];
}

static const test_tensor quantile_tensors[] = {{"one", EMR_DTYPE_F32, 2, {90, 1000}},
                                               {"two", EMR_DTYPE_BF16, 1, {301}},
                                               {"none", EMR_DTYPE_F32, 1, {0}}};

static float *magnitudes_of(const test_set *s, size_t task, size_t tensor, size_t *n)
{
    emr_error error;
    *n = (size_t)test_tensor_count(&quantile_tensors[tensor]);
    float *x = calloc(*n + 1, sizeof *x), *base = calloc(*n + 1, sizeof *base);
    const emr_tensor *t = emr_model_find_tensor(s->tasks[task].model, quantile_tensors[tensor].name);
    assert_ok(emr_tensor_read_floats(t, 0, *n, x, &error), &error);
    t = emr_model_find_tensor(s->base.model, quantile_tensors[tensor].name);
    assert_ok(emr_tensor_read_floats(t, 0, *n, base, &error), &error);
    for (size_t i = 0; i < *n; i++)
        x[i] = fabsf(x[i] - base[i]);
    free(base);
    return x;
}

static void check_quantiles(const test_set *s, const emr_statistics_options *o)
{
    emr_error error;
    emr_statistics *st;
    assert_ok(emr_statistics_create(&st, o, &error), &error);
    assert_ok(emr_statistics_set_base(st, s->base.model, &error), &error);
    assert_ok(emr_statistics_add_task(st, "a", s->tasks[0].model, &error), &error);
    assert_ok(emr_statistics_add_task(st, "b", s->tasks[1].model, &error), &error);
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_null(group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 2).quantiles);
    assert_null(group_at(st, EMR_STATISTICS_SCOPE_KIND, 0).quantiles);
    for (size_t task = 0; task < 2; task++) {
        size_t n, more;
        float *one = magnitudes_of(s, task, 0, &n), *two = magnitudes_of(s, task, 1, &more);
        float *all = calloc(n + more, sizeof *all);
        memcpy(all, one, n * sizeof *all);
        memcpy(all + n, two, more * sizeof *all);
        qsort(one, n, sizeof *one, by_size);
        qsort(two, more, sizeof *two, by_size);
        qsort(all, n + more, sizeof *all, by_size);
        for (uint32_t k = 0; k < o->n_quantiles; k++) {
            size_t at = task * o->n_quantiles + k;
            assert_true(group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 0).quantiles[at] ==
                        direct_quantile(one, n, o->quantiles[k]));
            assert_true(group_at(st, EMR_STATISTICS_SCOPE_TENSOR, 1).quantiles[at] ==
                        direct_quantile(two, more, o->quantiles[k]));
            assert_true(group_at(st, EMR_STATISTICS_SCOPE_MODEL, 0).quantiles[at] ==
                        direct_quantile(all, n + more, o->quantiles[k]));
        }
        free(one), free(two), free(all);
    }
    emr_statistics_destroy(&st);
}

static void test_quantiles_are_exact(void **state)
{
    (void)state;
    const double parts[] = {0, 0.5, 0.25, 0.999, 1, 1.0 / 3, 0.5};
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    test_set s = test_set_create(quantile_tensors, 3, 2, 20, SOURCE_IO);
    emr_pool *pool = test_pool_new(3);
    emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    o.quantiles = parts;
    o.n_quantiles = sizeof parts / sizeof *parts;
    o.resources = &resources;
    for (uint64_t memory = 0; memory <= 3 << 20; memory += 3 << 20) {
        resources.memory_bytes = memory;
        check_quantiles(&s, &o);
    }
    o.resources = NULL;
    check_quantiles(&s, &o);
    emr_pool_destroy(&pool);
    test_set_destroy(&s);
}

static void test_progress_is_told_and_can_stop_it(void **state)
{
    (void)state;
    emr_error error;
    const double half = 0.5;
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    test_set s = test_set_create(quantile_tensors, 3, 2, 21, SOURCE_IO);
    size_t n_calls = 1;
    for (size_t stop = 0; stop <= n_calls; stop++) {
        test_progress progress = {.stop_at = stop < n_calls ? stop : SIZE_MAX, .why = "enough"};
        const emr_resources resources = {
            .size = sizeof resources, .progress = test_progress_note, .progress_user = &progress};
        emr_statistics *st;
        o.resources = &resources;
        o.quantiles = &half;
        o.n_quantiles = 1;
        assert_ok(emr_statistics_create(&st, &o, &error), &error);
        assert_ok(emr_statistics_set_base(st, s.base.model, &error), &error);
        assert_ok(emr_statistics_add_task(st, "a", s.tasks[0].model, &error), &error);
        emr_status status = emr_statistics_run(st, &error);
        assert_int_equal(status, progress.calls > stop ? EMR_ECANCELED : EMR_OK);
        assert_false(progress.backwards);
        if (status == EMR_OK) {
            assert_true(progress.done == progress.total);
        } else {
            assert_non_null(strstr(error.text, "gathering statistics was canceled: enough"));
            assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_MODEL), 0);
            n_calls = stop + 2;
            progress.stop_at = SIZE_MAX; /* once more */
            progress.done = 0;
            assert_ok(emr_statistics_run(st, &error), &error);
        }
        emr_statistics_destroy(&st);
    }
    test_set_destroy(&s);
}

static void test_a_failed_read_names_the_task(void **state)
{
    (void)state;
    emr_error error;
    const double half = 0.5;
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    static const float numbers[COUNT];
    o.quantiles = &half;
    o.n_quantiles = 1;
    for (size_t fail_at = 0; fail_at < 2; fail_at++) { /* while sums are taken, and in the search */
        own_model base = make_own("base", ROWS, false, 30), a = make_own("a", ROWS, false, 31);
        const uint64_t shape[2] = {ROWS, COLUMNS};
        emr_buffer *buffer = test_buffer_of(numbers, sizeof numbers);
        test_io io = {.inner = *emr_buffer_io(buffer),
                      .fail_read = fail_at,
                      .fail_write = SIZE_MAX,
                      .other_at = SIZE_MAX};
        const emr_io failing = test_io_make(&io);
        emr_tensor_desc w = {
            .size = sizeof w, .name = "w", .dtype = EMR_DTYPE_F32, .rank = 2, .shape = shape, .io = &failing};
        emr_model *bad = test_model_new("bad");
        assert_ok(emr_model_add(bad, &w, &error), &error);
        emr_statistics *st;
        assert_ok(emr_statistics_create(&st, &o, &error), &error);
        assert_ok(emr_statistics_set_base(st, base.model, &error), &error);
        assert_ok(emr_statistics_add_task(st, "a", a.model, &error), &error);
        assert_ok(emr_statistics_add_task(st, "unlucky", bad, &error), &error);
        assert_int_equal(emr_statistics_run(st, &error), EMR_EIO);
        assert_true(test_span_is(&error, error.task, "unlucky"));
        assert_int_equal(emr_statistics_n_groups(st, EMR_STATISTICS_SCOPE_MODEL), 0);
        emr_statistics_destroy(&st);
        emr_model_destroy(&bad);
        emr_buffer_destroy(&buffer);
        destroy_own(&base), destroy_own(&a);
    }
}

/* Of two task vectors. */
static long double square_of_difference(const float *base, const float *x, const float *y, size_t n)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++) {
        long double d = (long double)(x[i] - base[i]) - (long double)(y[i] - base[i]);
        sum += d * d;
    }
    return sum;
}

static void test_many_tasks_in_little_memory(void **state)
{
    (void)state;
    enum { MANY = 70 };
    emr_error error;
    emr_statistics *st[2];
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    emr_resources resources = EMR_INIT(emr_resources);
    own_model base = make_own("base", ROWS, true, 40), tasks[MANY];
    resources.memory_bytes = 16 << 20;
    for (size_t k = 0; k < MANY; k++)
        tasks[k] = make_own("task", ROWS, true, 41 + k);
    for (int round = 0; round < 2; round++) {
        o.resources = round ? &resources : NULL;
        o.without_tensors = round != 0;
        assert_ok(emr_statistics_create(&st[round], &o, &error), &error);
        assert_ok(emr_statistics_set_base(st[round], base.model, &error), &error);
        for (size_t k = 0; k < MANY; k++) {
            char name[8];
            snprintf(name, sizeof name, "%u", (unsigned)k % 1000);
            assert_ok(emr_statistics_add_task(st[round], name, tasks[k].model, &error), &error);
        }
        assert_ok(emr_statistics_run(st[round], &error), &error);
    }
    emr_statistics_group x = group_at(st[0], EMR_STATISTICS_SCOPE_MODEL, 0),
                         y = group_at(st[1], EMR_STATISTICS_SCOPE_MODEL, 0);
    assert_memory_equal(x.products, y.products, MANY * MANY * sizeof(double));
    assert_memory_equal(x.both, y.both, MANY * MANY * sizeof(uint64_t));
    for (size_t i = 0; i < MANY; i += 7)
        for (size_t j = 0; j < MANY; j += 5)
            assert_close(x.distances[i * MANY + j],
                         square_of_difference(base.w, tasks[i].w, tasks[j].w, COUNT) +
                             square_of_difference(base.v, tasks[i].v, tasks[j].v, COLUMNS));
    for (int round = 0; round < 2; round++)
        emr_statistics_destroy(&st[round]);
    destroy_own(&base);
    for (size_t k = 0; k < MANY; k++)
        destroy_own(&tasks[k]);
}

static void test_what_cannot_be_is_refused(void **state)
{
    (void)state;
    emr_error error;
    const double parts[] = {0.5, 1.5};
    emr_statistics *st;
    emr_statistics_group g = EMR_INIT(emr_statistics_group);
    emr_resources poor = EMR_INIT(emr_resources);
    emr_statistics_options o = EMR_INIT(emr_statistics_options);
    own_model base = make_own("base", ROWS, true, 50), a = make_own("a", ROWS, true, 51);
    o.quantiles = parts;
    o.n_quantiles = 2;
    assert_int_equal(emr_statistics_create(&st, &o, &error), EMR_EINVAL);
    o.n_quantiles = 1;
    o.rounding = EMR_STATISTICS_ROUNDING_PER_MODEL;
    assert_int_equal(emr_statistics_create(&st, &o, &error), EMR_EINVAL);
    o.n_quantiles = 0;
    o.rounding = EMR_STATISTICS_ROUNDING_PER_TENSOR;
    o.without_tensors = 1;
    assert_int_equal(emr_statistics_create(&st, &o, &error), EMR_EINVAL);
    o = (emr_statistics_options){.size = sizeof o, .on_nonfinite = 2};
    assert_int_equal(emr_statistics_create(&st, &o, &error), EMR_EINVAL);
    assert_ok(emr_statistics_create(&st, NULL, &error), &error);
    assert_int_equal(emr_statistics_run(st, &error), EMR_ESTATE); /* nothing to compare */
    assert_ok(emr_statistics_set_base(st, base.model, &error), &error);
    assert_int_equal(emr_statistics_add_task(st, "", a.model, &error), EMR_EINVAL);
    assert_ok(emr_statistics_add_task(st, "a", a.model, &error), &error);
    assert_int_equal(emr_statistics_add_task(st, "a", a.model, &error), EMR_EEXIST);
    assert_int_equal(emr_statistics_get_group(st, EMR_STATISTICS_SCOPE_MODEL, 0, &g), EMR_ESTATE);
    assert_ok(emr_statistics_run(st, &error), &error);
    assert_int_equal(emr_statistics_add_task(st, "b", a.model, &error), EMR_ESTATE);
    assert_int_equal(emr_statistics_set_base(st, base.model, &error), EMR_ESTATE);
    assert_int_equal(emr_statistics_get_group(st, EMR_STATISTICS_SCOPE_MODEL, 1, &g), EMR_ENOTFOUND);
    assert_int_equal(emr_statistics_get_group(st, 4, 0, &g), EMR_ENOTFOUND);
    emr_statistics_destroy(&st);
    poor.memory_bytes = 20000;
    o = (emr_statistics_options){.size = sizeof o, .resources = &poor};
    st = begin_two(&o, &base, &a, &base);
    assert_int_equal(emr_statistics_run(st, &error), EMR_ELIMIT);
    emr_statistics_destroy(&st);
    destroy_own(&base), destroy_own(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tensor_that_a_task_lacks),
        cmocka_unit_test(test_shapes_that_differ),
        cmocka_unit_test(test_what_is_no_number_is_named_or_counts_as_unchanged),
        cmocka_unit_test(test_a_difference_may_overflow),
        cmocka_unit_test(test_quantiles_are_exact),
        cmocka_unit_test(test_progress_is_told_and_can_stop_it),
        cmocka_unit_test(test_a_failed_read_names_the_task),
        cmocka_unit_test(test_many_tasks_in_little_memory),
        cmocka_unit_test(test_what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
