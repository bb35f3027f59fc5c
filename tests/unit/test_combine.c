/* test_combine.c - combined models: the method's formula, element by element, whatever the range, the threads, the
 * memory and the way in which inputs are given; and what happens where something fails. */
#define _XOPEN_SOURCE 700

#include "combined_world.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

/* A task vector as it is defined: in f32, or where base or task is F64 in f64, rounded. */
static float task_vector(const test_set *s, size_t task, size_t tensor, uint64_t i)
{
    double own = world_value(&s->tasks[task], tensor, i), base = world_value(&s->base, tensor, i);
    bool wide = s->base.tensors[tensor].dtype == EMR_DTYPE_F64 ||
                s->tasks[task].tensors[tensor].dtype == EMR_DTYPE_F64;
    return wide ? (float)(own - base) : (float)own - (float)base;
}

/* Whether an element is base + sum of weights[t] * task vector, as the combined tensor stores it. */
static void check_element(const test_set *s, const emr_tensor *t, size_t tensor, uint64_t i,
                          const unsigned char *got, const double *weights)
{
    const size_t size = emr_dtype_bits(emr_tensor_dtype(t)) / 8;
    unsigned char stored[8];
    float sum = 0;
    double wanted, base = world_value(&s->base, tensor, i);
    bool wide = s->base.tensors[tensor].dtype == EMR_DTYPE_F64 || emr_tensor_dtype(t) == EMR_DTYPE_F64;
    for (size_t task = 0; task < s->n; task++) {
        wide = wide || s->tasks[task].tensors[tensor].dtype == EMR_DTYPE_F64;
        sum += task_vector(s, task, tensor, i) * (float)weights[task];
    }
    wanted = wide ? base + (double)sum : (double)((float)base + sum);
    assert_int_equal(emr_convert(emr_tensor_dtype(t), stored, EMR_DTYPE_F64, &wanted, 1), EMR_OK);
    if (memcmp(stored, got + i * size, size) != 0)
        fail_msg("%s[%zu] is %g, not %g", emr_tensor_name(t), (size_t)i, world_element(t, got, i), wanted);
}

static void check_arithmetic(const test_set *s, const emr_model *m, const double *weights)
{
    for (size_t k = 0; k < s->base.n; k++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)k);
        unsigned char *got = world_read(t);
        for (uint64_t i = 0; i < emr_tensor_count(t); i++)
            check_element(s, t, k, i, got, weights);
        free(got);
    }
}

static const double some_weights[] = {0.5, -0.25, 1.5, 0.125};

static const emr_method *arithmetic(void)
{
    return emr_method_find("task_arithmetic");
}

static void task_arithmetic_is_its_formula(void **state)
{
    static const test_source sources[] = {SOURCE_MEMORY, SOURCE_IO, SOURCE_READ};
    rng r = {77};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 1 + k, 31, sources[k]);
        emr_model *m = world_combine(&s, arithmetic(), some_weights);
        check_arithmetic(&s, m, some_weights);
        for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
            world_check_ranges(emr_model_tensor(m, i), &r);
        emr_model_destroy(&m);
        test_set_destroy(&s);
    }
}

/* Every dtype of the base with every other of the tasks, and into every one that a combination writes. */
static void dtypes_may_differ(void **state)
{
    static const emr_dtype all[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                    EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    static const emr_dtype outs[] = {0, EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    rng r = {3};
    (void)state;
    for (size_t a = 0; a < 6; a++)
        for (size_t b = 0; b < 6; b++)
            for (size_t o = 0; o < 5; o++) {
                const test_tensor of_base[] = {{"w", all[a], 2, {37, 119}}, {"s", all[a], 0, {0}}};
                const test_tensor of_task[] = {{"w", all[b], 2, {37, 119}}, {"s", all[b], 0, {0}}};
                emr_combination_options options = EMR_INIT(emr_combination_options);
                test_set s = test_set_create(of_base, 2, 2, 1 + a, SOURCE_IO);
                test_model_destroy(&s.tasks[1]);
                s.tasks[1] = test_model_create("other", of_task, 2, SOURCE_MEMORY);
                test_model_perturb(&s.tasks[1], &s.base, 0.5f, &r);
                options.method = arithmetic();
                options.dtype = outs[o];
                emr_combination *c = world_combination(&s, &options, false);
                world_set(c, "weight", 0, NULL, 0.75);
                world_set(c, "weight", 1, NULL, -1);
                emr_model *m = world_open(c);
                assert_int_equal(emr_tensor_dtype(emr_model_tensor(m, 0)), outs[o] ? outs[o] : all[a]);
                check_arithmetic(&s, m, (const double[]){0.75, -1});
                emr_model_destroy(&m);
                test_set_destroy(&s);
            }
}

/* Readers of one model that nobody has prepared. */
typedef struct reader {
    const emr_model *model;
    const emr_model *expected;
    uint64_t seed;
    bool right;
} reader;

static void *read_at_random(void *arg)
{
    reader *r = arg;
    rng numbers = {r->seed};
    unsigned char *part = malloc(1 << 20);
    r->right = true;
    for (int k = 0; k < 40; k++) {
        const emr_tensor *t =
            emr_model_tensor(r->model, (uint32_t)rng_below(&numbers, emr_model_n_tensors(r->model)));
        uint64_t first = rng_below(&numbers, emr_tensor_bytes(t) + 1), most = emr_tensor_bytes(t) - first;
        size_t n = (size_t)rng_below(&numbers, (most < 100000 ? most : 100000) + 1);
        unsigned char *whole = part + 500000;
        if (emr_tensor_read(t, first, part, n, NULL) ||
            emr_tensor_read(emr_model_find_tensor(r->expected, emr_tensor_name(t)), first, whole, n, NULL) ||
            memcmp(part, whole, n) != 0)
            r->right = false;
    }
    free(part);
    return NULL;
}

static uint32_t one_number(const emr_method_tensor *t)
{
    (void)t;
    return 1;
}

static void add_first(const emr_method_chunk *c, double *sums)
{
    for (size_t i = 0; i < c->n; i++)
        sums[0] += (double)c->inputs[0][i] / 7;
}

static emr_status give_first(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = c->inputs[0][i] * (float)c->tensor->found[0];
    return EMR_OK;
}

static const emr_method_stage first_sum = {
    .size = sizeof first_sum, .n_found = one_number, .add_sums = add_first};
static const emr_method scaled = {.size = sizeof scaled,
                                  .name = "scaled",
                                  .base = EMR_METHOD_BASE_REQUIRED,
                                  .stages = {&first_sum},
                                  .combine = give_first};

static void readers_need_no_preparation(void **state)
{
    enum { READERS = 8 };
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 3, 5, SOURCE_IO);
    emr_model *expected = world_combine(&s, &scaled, NULL), *m = world_combine(&s, &scaled, NULL);
    reader readers[READERS];
    pthread_t threads[READERS];
    emr_error error;
    (void)state;
    assert_ok(emr_model_prepare(expected, NULL, &error), &error);
    for (int i = 0; i < READERS; i++) {
        readers[i] = (reader){m, expected, (uint64_t)i + 1, false};
        assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readers[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(readers[i].right);
    }
    emr_model_destroy(&m);
    emr_model_destroy(&expected);
    test_set_destroy(&s);
}

/* A model may be opened twice, and outlives its combination; a borrowed tensor is prepared where it comes from. */
static void models_outlive_their_combination(void **state)
{
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 2, 8, SOURCE_MEMORY);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_model *one, *two, *borrower = test_model_new("borrower");
    emr_error error;
    (void)state;
    options.method = &scaled;
    emr_combination *c = world_combination(&s, &options, false);
    assert_ok(emr_combination_open_model(c, &one, &error), &error);
    assert_ok(emr_combination_open_model(c, &two, &error), &error);
    assert_int_equal(emr_combination_add_task(c, "late", s.base.model, &error), EMR_ESTATE);
    assert_int_equal(emr_combination_set_base(c, s.base.model, &error), EMR_ESTATE);
    assert_int_equal(emr_combination_set_parameter(c, "x", 0, NULL, 1, &error), EMR_ESTATE);
    emr_combination_destroy(&c);
    world_check_same(one, two);
    assert_ok(emr_model_add_tensor_as(borrower, emr_model_tensor(one, 0), "other name", &error), &error);
    assert_ok(emr_model_prepare(borrower, NULL, &error), &error);
    unsigned char *p = world_read(emr_model_tensor(one, 0)), *q = world_read(emr_model_tensor(borrower, 0));
    assert_memory_equal(p, q, (size_t)emr_tensor_bytes(emr_model_tensor(one, 0)));
    free(p);
    free(q);
    emr_model_destroy(&borrower);
    emr_model_destroy(&one);
    emr_model_destroy(&two);
    test_set_destroy(&s);
}

/* Plans are made anew until a model is opened. */
static void plans_follow_what_is_set(void **state)
{
    test_set s = test_set_create(mixed_tensors, 2, 2, 8, SOURCE_MEMORY);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    emr_combined_tensor tensor = EMR_INIT(emr_combined_tensor);
    emr_error error;
    (void)state;
    options.method = &scaled;
    emr_combination *c = world_combination(&s, &options, false);
    assert_int_equal(emr_combination_get_tensor(c, 0, &tensor), EMR_ESTATE);
    assert_ok(emr_combination_get_plan(c, &plan, &error), &error);
    assert_int_equal(plan.n_tensors, 2);
    assert_int_equal(plan.n_combined, 2);
    assert_int_equal(plan.combined_params, 48 * 33 + 7);
    assert_int_equal(plan.bytes_out, 4 * plan.combined_params);
    assert_int_equal(plan.bytes_in, 2 * 3 * 4 * plan.combined_params);
    assert_true(plan.peak_memory > 0);
    assert_int_equal(emr_combination_get_tensor(c, 1, &tensor), EMR_OK);
    assert_string_equal(tensor.name, "b.bias");
    assert_string_equal(tensor.reason, "float in the base and every task");
    assert_int_equal(tensor.count, 7);
    assert_int_equal(tensor.rank, 1);
    assert_int_equal(tensor.shape[0], 7);
    assert_int_equal(tensor.dtype, EMR_DTYPE_F32);
    assert_int_equal(tensor.action, EMR_COMBINED_ACTION_COMBINE);
    assert_int_equal(tensor.n_reads, 2);
    assert_int_equal(tensor.n_inputs, 2);
    assert_int_equal(emr_combination_get_tensor(c, 2, &tensor), EMR_ENOTFOUND);
    assert_ok(emr_combination_add_task(c, "third", s.tasks[0].model, &error), &error);
    assert_int_equal(emr_combination_get_tensor(c, 0, &tensor), EMR_ESTATE);
    assert_ok(emr_combination_get_plan(c, &plan, &error), &error);
    assert_int_equal(plan.bytes_in, 2 * 4 * 4 * plan.combined_params);
    emr_combination_destroy(&c);
    test_set_destroy(&s);
}

/* Everything, with an allocator that fails at its k-th request. */
static emr_status combine_with(const emr_allocator *allocator, const test_set *s, const emr_pool *pool)
{
    emr_resources resources = test_resources(allocator, pool ? emr_pool_executor(pool) : NULL);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    static const char *const globs[] = {"nothing*"};
    emr_policy policy = EMR_INIT(emr_policy);
    emr_combination *c = NULL;
    emr_model *m = NULL;
    float values[100];
    policy.private_globs = globs;
    policy.n_private_globs = 1;
    options.method = &scaled;
    options.resources = &resources;
    options.policy = &policy;
    emr_status status = emr_combination_create(&c, &options, NULL);
    assert_true(!status == (c != NULL));
    if (!status)
        status = emr_combination_set_base(c, s->base.model, NULL);
    for (size_t t = 0; !status && t < s->n; t++)
        status = emr_combination_add_task(c, t ? "b" : "a", s->tasks[t].model, NULL);
    if (!status)
        status = emr_combination_open_model(c, &m, NULL);
    if (!status && pool)
        status = emr_model_prepare(m, &resources, NULL);
    if (!status)
        status = emr_tensor_read_floats(emr_model_tensor(m, 0), 0, 100, values, NULL);
    emr_combination_destroy(&c);
    emr_model_destroy(&m);
    return status;
}

static void nothing_leaks_without_memory(void **state)
{
    test_set s = test_set_create(mixed_tensors, 3, 2, 8, SOURCE_MEMORY);
    emr_pool *pool = test_pool_new(2);
    (void)state;
    for (int parallel = 0; parallel < 2; parallel++) {
        size_t k = 0;
        for (bool failed = true; failed; k++) {
            test_allocator counts = {0, 0, k};
            const emr_allocator allocator = test_allocator_make(&counts);
            emr_status status = combine_with(&allocator, &s, parallel ? pool : NULL);
            failed = status != EMR_OK;
            assert_true(!failed || status == EMR_ENOMEM);
            assert_int_equal(counts.alive, 0);
        }
        assert_true(k > 20);
    }
    emr_pool_destroy(&pool);
    test_set_destroy(&s);
}

/* A task whose bytes cannot be read from the k-th read on. */
static void reads_that_fail_name_task_and_tensor(void **state)
{
    static const test_tensor one[] = {{"w.weight", EMR_DTYPE_F32, 1, {40000}}};
    static const uint64_t shape[] = {40000};
    static const emr_method *const methods[2] = {&scaled, NULL};
    test_set s = test_set_create(one, 1, 2, 8, SOURCE_MEMORY);
    emr_buffer *bytes = test_buffer_of(s.tasks[1].data[0], 160000);
    float *values = malloc(160000);
    (void)state;
    for (int which = 0; which < 2; which++)
        for (size_t k = 0; k < 3; k++) {
            test_io io = {.inner = *emr_buffer_io(bytes),
                          .fail_read = k,
                          .fail_write = SIZE_MAX,
                          .other_at = SIZE_MAX,
                          .why = "the disk is gone"};
            const emr_io failing = test_io_make(&io);
            emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
            emr_model *task = test_model_new("far away");
            emr_error error;
            desc.name = "w.weight";
            desc.dtype = EMR_DTYPE_F32;
            desc.rank = 1;
            desc.shape = shape;
            desc.io = &failing;
            assert_ok(emr_model_add(task, &desc, &error), &error);
            emr_combination_options options = EMR_INIT(emr_combination_options);
            options.method = methods[which] ? methods[which] : arithmetic();
            emr_combination *c;
            assert_ok(emr_combination_create(&c, &options, &error), &error);
            assert_ok(emr_combination_set_base(c, s.base.model, &error), &error);
            assert_ok(emr_combination_add_task(c, "near", s.tasks[0].model, &error), &error);
            assert_ok(emr_combination_add_task(c, "far", task, &error), &error);
            if (!methods[which])
                world_set(c, "weight", EMR_EVERY_TASK, NULL, 1);
            emr_model *m = world_open(c);
            emr_status status = emr_tensor_read_floats(emr_model_tensor(m, 0), 0, 40000, values, &error);
            assert_int_equal(status, EMR_EIO);
            assert_true(test_span_is(&error, error.task, "far"));
            assert_true(test_span_is(&error, error.tensor, "w.weight"));
            assert_true(test_span_is(&error, error.file, "far away"));
            assert_non_null(strstr(error.text, "the disk is gone"));
            assert_int_equal(emr_model_prepare(m, NULL, &error), which ? EMR_OK : EMR_EIO);
            emr_model_destroy(&m);
            emr_model_destroy(&task);
        }
    free(values);
    emr_buffer_destroy(&bytes);
    test_set_destroy(&s);
}

/* NaN and infinity, in a task, in the base, and as a difference of finite weights. */
typedef struct oddity {
    size_t model; /* 0: the base */
    float value;
    const char *words;
} oddity;

static const oddity oddities[] = {
    {1, NAN, "NaN or infinity at index 5"},
    {2, INFINITY, "NaN or infinity at index 5"},
    {0, NAN, "the base (base): tensor 'w': NaN or infinity at index 5"},
    {2, -3e38f, "the difference from the base overflows f32 at index 5"},
};

static test_set odd_set(const oddity *o, emr_dtype dtype)
{
    const test_tensor tensors[] = {{"w", dtype, 1, {50}}};
    test_set s = test_set_create(tensors, 1, 2, 4, SOURCE_MEMORY);
    test_model *m = o->model ? &s.tasks[o->model - 1] : &s.base;
    size_t size = emr_dtype_bits(dtype) / 8;
    float large = 3e38f;
    if (o->value == -3e38f)
        assert_int_equal(emr_convert(dtype, s.base.data[0] + 5 * size, EMR_DTYPE_F32, &large, 1), EMR_OK);
    assert_int_equal(emr_convert(dtype, m->data[0] + 5 * size, EMR_DTYPE_F32, &o->value, 1), EMR_OK);
    return s;
}

static void nonfinite_values_are_refused_or_count_as_the_base(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    (void)state;
    for (size_t k = 0; k < 4 * 3; k++) {
        const oddity *o = &oddities[k % 4];
        test_set s = odd_set(o, dtypes[k / 4]);
        emr_combination_options options = EMR_INIT(emr_combination_options);
        float got[50];
        emr_error error;
        options.method = arithmetic();
        for (uint32_t zero = 0; zero < 2; zero++) {
            options.on_nonfinite = zero;
            emr_combination *c = world_combination(&s, &options, false);
            world_set(c, "weight", EMR_EVERY_TASK, NULL, 0.5);
            emr_model *m = world_open(c);
            emr_status status = emr_tensor_read_floats(emr_model_tensor(m, 0), 0, 50, got, &error);
            assert_int_equal(status, zero ? EMR_OK : EMR_ENONFINITE);
            if (!zero) {
                assert_non_null(strstr(error.text, o->words));
                assert_true(test_span_is(&error, error.tensor, "w"));
                if (o->model)
                    assert_true(test_span_is(&error, error.task, o->model == 1 ? "t0" : "t1"));
            }
            emr_model_destroy(&m);
        }
        if (k == 0) /* f32: the task with the NaN adds nothing there */
            assert_true(got[5] == (float)world_value(&s.base, 0, 5) + 0.5f * task_vector(&s, 1, 0, 5));
        if (k == 2) /* a base that is NaN counts as 0 */
            assert_true(got[5] == 0.5f * (float)world_value(&s.tasks[0], 0, 5) +
                                      0.5f * (float)world_value(&s.tasks[1], 0, 5));
        for (int i = 0; i < 50; i++)
            assert_true(isfinite(got[i]));
        test_set_destroy(&s);
    }
}

/* As much memory as was said, and what the tensors' names take, however many tasks there are. */
static void memory_is_bounded(void **state)
{
    enum { TASKS = 64, MEMORY = 24 << 20 };
    static const test_tensor large[] = {{"w", EMR_DTYPE_F32, 2, {500, 1000}},
                                        {"b", EMR_DTYPE_BF16, 1, {30011}}};
    static const emr_method *const methods[] = {&scaled, NULL};
    test_set s = test_set_create(large, 2, TASKS, 4, SOURCE_IO);
    emr_pool *pool = test_pool_new(4);
    (void)state;
    for (int which = 0; which < 2; which++) {
        test_meter meter = {0, 0};
        const emr_allocator allocator = test_meter_make(&meter);
        emr_resources resources = test_resources(&allocator, emr_pool_executor(pool));
        emr_combination_options options = EMR_INIT(emr_combination_options);
        emr_checkpoint_write_options writing = EMR_INIT(emr_checkpoint_write_options);
        emr_buffer *out = test_buffer_new();
        emr_error error;
        resources.memory_bytes = MEMORY;
        options.method = methods[which] ? methods[which] : arithmetic();
        options.resources = &resources;
        writing.resources = &resources;
        emr_combination *c = world_combination(&s, &options, false);
        if (!methods[which])
            world_set(c, "weight", EMR_EVERY_TASK, NULL, 1);
        emr_combination_plan plan = EMR_INIT(emr_combination_plan);
        assert_ok(emr_combination_get_plan(c, &plan, &error), &error);
        emr_model *m = world_open(c);
        assert_ok(emr_safetensors_write(m, emr_buffer_io(out), &writing, &error), &error);
        assert_true(plan.peak_memory <= MEMORY);
        if (meter.peak > MEMORY + (MEMORY / 2) + (1 << 20)) /* the writer has half of its own */
            fail_msg("%zu bytes", meter.peak);
        emr_model_destroy(&m);
        emr_buffer_destroy(&out);
    }
    emr_pool_destroy(&pool);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_arithmetic_is_its_formula),
        cmocka_unit_test(dtypes_may_differ),
        cmocka_unit_test(readers_need_no_preparation),
        cmocka_unit_test(models_outlive_their_combination),
        cmocka_unit_test(plans_follow_what_is_set),
        cmocka_unit_test(nothing_leaks_without_memory),
        cmocka_unit_test(reads_that_fail_name_task_and_tensor),
        cmocka_unit_test(nonfinite_values_are_refused_or_count_as_the_base),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
