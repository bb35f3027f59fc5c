/* test_coded.c - tasks that share nothing with the others (signs, thinned signs, levels): a bundle's bytes do not
 * depend on memory, threads or chunks, nor on the other tasks; what is told of nearness is so. */
#include "property.h"

#include <math.h>
#include <stdio.h>

enum { N_SPECS = 8 };

/* One of each, and of some more. */
static emr_modulation_spec spec_at(size_t i)
{
    static const emr_modulation_spec specs[N_SPECS] = {
        {.kind = EMR_MODULATOR_KIND_SIGN},
        {.kind = EMR_MODULATOR_KIND_THIN, .thinning = 32},
        {.kind = EMR_MODULATOR_KIND_LEVELS},
        {.kind = EMR_MODULATOR_KIND_MASK},
        {.kind = EMR_MODULATOR_KIND_SIGN,
         .without_columns = 1,
         .vectors_dtype = EMR_DTYPE_F32,
         .rescale = EMR_RESCALE_L1},
        {.kind = EMR_MODULATOR_KIND_THIN, .thinning = 16, .seed = 7, .rescale = EMR_RESCALE_NORM},
        {.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 8, .rescale = EMR_RESCALE_L2},
        {.kind = EMR_MODULATOR_KIND_THIN, .thinning = 2},
    };
    emr_modulation_spec spec = specs[i % N_SPECS];
    spec.size = sizeof spec;
    return spec;
}

/* A merge of the set whose task t is of the spec first + t. */
static emr_merge *create_coded(const test_set *s, const emr_merge_options *o, size_t first)
{
    emr_error error = {0};
    emr_merge *merge = test_merge_create(s, o);
    for (size_t t = 0; t < s->n; t++) {
        emr_modulation_spec spec = spec_at(first + t);
        assert_ok(emr_merge_set_modulation(merge, (uint32_t)t, &spec, &error), &error);
    }
    return merge;
}

static emr_buffer *merge_coded(const test_set *s, const emr_merge_options *o, size_t first)
{
    emr_error error = {0};
    emr_buffer *buffer = test_buffer_new();
    emr_merge *merge = create_coded(s, o, first);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

typedef struct way {
    uint64_t memory_bytes;
    test_source source;
    uint32_t concurrency; /* of a pool; 0: none, 99: an executor that shuffles */
} way;

static const way ways[] = {
    {6 << 20, SOURCE_MEMORY, 0}, {8 << 20, SOURCE_IO, 2},      {9999999, SOURCE_READ, 99},
    {24 << 20, SOURCE_IO, 7},    {64 << 20, SOURCE_MEMORY, 3}, {0, SOURCE_READ, 99},
};

static emr_buffer *merge_in_way(const way *w, const test_set *s, emr_merge_options o, size_t first)
{
    emr_pool *pool = w->concurrency % 99 ? create_pool(w->concurrency) : NULL;
    odd_executor odd = {.order = {w->memory_bytes + 1}};
    emr_executor executor = odd_executor_make(&odd, 5);
    emr_resources resources = resources_within(w->memory_bytes);
    if (w->concurrency)
        resources.executor = pool ? emr_pool_executor(pool) : &executor;
    o.resources = &resources;
    test_set given = test_set_copy(s, w->source);
    emr_buffer *buffer = merge_coded(&given, &o, first);
    test_set_destroy(&given);
    emr_pool_destroy(&pool);
    return buffer;
}

static void bytes_are_the_same_in_any_way(void **state)
{
    (void)state;
    for (size_t first = 0; first < N_SPECS; first += 2) {
        test_set s = rich_set(first + 1, 4, SOURCE_MEMORY);
        emr_merge_options o = rich_options(EMR_RESCALE_PER_DEFAULT);
        o.block_params = first ? 4096 : 0;
        emr_buffer *want = merge_coded(&s, &o, first);
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            char what[64];
            snprintf(what, sizeof what, "specs from %zu, way %zu", first, i);
            emr_buffer *got = merge_in_way(&ways[i], &s, o, first);
            assert_same_buffer(got, want, what);
            emr_buffer_destroy(&got);
        }
        emr_buffer_destroy(&want);
        test_set_destroy(&s);
    }
}

static void pushed_bytes_give_the_same(void **state)
{
    (void)state;
    emr_error error = {0};
    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 4, 9, SOURCE_MEMORY),
             given = test_set_copy(&s, SOURCE_PUSHED);
    emr_merge_options o = small_options();
    emr_buffer *want = merge_coded(&s, &o, 0), *got = test_buffer_new();
    emr_merge *merge = create_coded(&given, &o, 0);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
    assert_ok(push_set(merge, &given, 4999, &error), &error);
    assert_same_buffer(got, want, "pushed");
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&got);
    emr_buffer_destroy(&want);
    test_set_destroy(&given);
    test_set_destroy(&s);
}

/* Sums over all merged tensors of a task, from its rebuilt weights. */
typedef struct nearness {
    double tt, tq, qq;
} nearness;

static void add_tensor(nearness *n, emr_modulator *modulator, uint32_t tensor, const emr_tensor *base,
                       const emr_tensor *task)
{
    emr_error error = {0};
    size_t count = (size_t)emr_tensor_count(base);
    float *w0 = malloc(4 * count + 4), *w = malloc(4 * count + 4), *v = malloc(4 * count + 4);
    assert_ok(emr_tensor_read_floats(base, 0, count, w0, &error), &error);
    assert_ok(emr_tensor_read_floats(task, 0, count, w, &error), &error);
    if (count)
        assert_ok(test_apply(modulator, tensor, 0, count, EMR_DTYPE_F32, w0, EMR_DTYPE_F32, v, &error),
                  &error);
    for (size_t i = 0; i < count; i++) {
        double t = (double)w[i] - w0[i], q = (double)v[i] - w0[i];
        n->tt += t * t;
        n->tq += t * q;
        n->qq += q * q;
    }
    free(w0);
    free(w);
    free(v);
}

static nearness measure_task(const emr_bundle *b, const test_set *s, uint32_t task)
{
    emr_error error = {0};
    nearness n = {0};
    emr_modulator *modulator;
    assert_ok(emr_bundle_open_modulator(&modulator, b, task, NULL, &error), &error);
    for (uint32_t i = 0; i < emr_modulator_n_tensors(modulator); i++) {
        const char *name = emr_modulator_tensor_name(modulator, i);
        add_tensor(&n, modulator, i, emr_model_find_tensor(s->base.model, name),
                   emr_model_find_tensor(s->tasks[task].model, name));
    }
    emr_modulator_destroy(&modulator);
    return n;
}

static void nearness_is_what_is_rebuilt(void **state)
{
    (void)state;
    for (size_t first = 0; first < N_SPECS; first += 4) {
        emr_error error = {0};
        test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 4, 5 + first, SOURCE_MEMORY);
        emr_buffer *buffer = test_buffer_new();
        emr_merge *merge = create_coded(&s, NULL, first);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_bundle *b = test_bundle_open(buffer);
        for (uint32_t t = 0; t < s.n; t++) {
            emr_fidelity f = EMR_INIT(emr_fidelity);
            assert_int_equal(emr_merge_get_fidelity(merge, t, &f), EMR_OK);
            if (spec_at(first + t).kind == EMR_MODULATOR_KIND_MASK)
                continue;
            nearness n = measure_task(b, &s, t);
            double cosine = n.tq / sqrt(n.tt * n.qq), coefficient = n.tq / n.tt;
            printf("spec %zu: cosine %.4f, coefficient %.4f, error %.4f\n", first + t, (double)f.cosine,
                   (double)f.coefficient, (double)f.error);
            assert_true(fabs(cosine - (double)f.cosine) < 1e-3);
            assert_true(fabs(coefficient - (double)f.coefficient) < 1e-3);
        }
        emr_bundle_destroy(&b);
        emr_merge_destroy(&merge);
        emr_buffer_destroy(&buffer);
        test_set_destroy(&s);
    }
}

/* Adds tasks [from, to) of the set to a bundle, task t being of the spec first + t. */
static emr_status add_coded(const emr_buffer *buffer, const test_set *s, size_t from, size_t first,
                            emr_buffer **out, emr_error *error)
{
    emr_merge *merge;
    emr_bundle *before = test_bundle_open(buffer);
    assert_ok(emr_merge_create(&merge, NULL, error), error);
    *out = test_buffer_new();
    emr_status status = emr_merge_extend(merge, before, error);
    if (!status)
        status = emr_merge_set_base(merge, s->base.model, error);
    for (size_t t = from; !status && t < s->n; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        emr_modulation_spec spec = spec_at(first + t);
        status = emr_merge_add_task(merge, name, s->tasks[t].model, error);
        if (!status)
            status = emr_merge_set_modulation(merge, (uint32_t)t, &spec, error);
    }
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(*out), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    emr_bundle_destroy(&before);
    return status;
}

/* Everything that a task's model and its modulator are, in both bundles. */
static void assert_same_task(const emr_bundle *got, uint32_t i, const emr_bundle *want, uint32_t k,
                             const test_set *s)
{
    emr_error error = {0};
    emr_model *a, *b;
    emr_modulation_spec spec_a = EMR_INIT(emr_modulation_spec), spec_b = spec_a;
    assert_int_equal(emr_bundle_get_modulation(got, i, &spec_a, NULL), EMR_OK);
    assert_int_equal(emr_bundle_get_modulation(want, k, &spec_b, NULL), EMR_OK);
    assert_memory_equal(&spec_a, &spec_b, sizeof spec_a);
    assert_ok(emr_bundle_open_task(&a, got, i, s->base.model, NULL, &error), &error);
    assert_ok(emr_bundle_open_task(&b, want, k, s->base.model, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(a), emr_model_n_tensors(b));
    for (uint32_t t = 0; t < emr_model_n_tensors(a); t++) {
        const emr_tensor *x = emr_model_tensor(a, t), *y = emr_model_find_tensor(b, emr_tensor_name(x));
        assert_non_null(y);
        unsigned char *p = tensor_bytes_of(x), *q = tensor_bytes_of(y);
        assert_int_equal(emr_tensor_bytes(x), emr_tensor_bytes(y));
        assert_memory_equal(p, q, (size_t)emr_tensor_bytes(x));
        free(p);
        free(q);
    }
    emr_model_destroy(&a);
    emr_model_destroy(&b);
}

static void assert_same_tasks(const emr_buffer *got, const emr_buffer *want, const test_set *s, size_t n)
{
    emr_error error = {0};
    emr_bundle *a = test_bundle_open(got), *b = test_bundle_open(want);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_ok(emr_bundle_verify(a, NULL, &error), &error);
    assert_int_equal(emr_bundle_get_info(a, &info), EMR_OK);
    assert_int_equal(info.n_tasks, n);
    for (uint32_t t = 0; t < n; t++)
        assert_same_task(a, t, b, t, s);
    emr_bundle_destroy(&a);
    emr_bundle_destroy(&b);
}

/* The bundle without its last tasks. */
static emr_buffer *drop_from(const emr_buffer *buffer, uint32_t from, uint32_t to)
{
    emr_error error = {0};
    uint32_t numbers[8];
    emr_task_selection selection = EMR_INIT(emr_task_selection);
    selection.tasks = numbers;
    for (uint32_t t = from; t < to; t++)
        numbers[selection.n_tasks++] = t;
    emr_bundle *b = test_bundle_open(buffer);
    emr_buffer *out = test_buffer_new();
    assert_ok(emr_bundle_drop(b, &selection, emr_buffer_io(out), NULL, &error), &error);
    emr_bundle_destroy(&b);
    return out;
}

/* Masks, extendable or not, or coded tasks; then others are added, and dropped again. */
static void adding_is_merging_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        emr_error error = {0};
        bool masks = i < 4;
        test_set s = rich_set(i + 20, 4, SOURCE_MEMORY), part = s;
        emr_merge_options o = rich_options(EMR_RESCALE_PER_DEFAULT);
        o.rescale_per = masks ? EMR_RESCALE_PER_MODEL + (uint32_t)i % 3 : EMR_RESCALE_PER_DEFAULT;
        o.embed_base = i & 1;
        o.extendable = i == 2 || i == 3;
        part.n = 2;
        emr_buffer *old = masks ? test_merge_bundle(&part, &o) : merge_coded(&part, &o, i), *got;
        assert_ok(add_coded(old, &s, 2, masks ? i + 4 : i, &got, &error), &error);
        emr_buffer *less = drop_from(got, 2, 4);
        assert_same_tasks(less, old, &s, 2);
        emr_buffer_destroy(&less);
        if (!masks) {
            emr_buffer *want = merge_coded(&s, &o, i);
            assert_same_tasks(got, want, &s, 4);
            emr_buffer_destroy(&want);
        }
        emr_buffer_destroy(&old);
        emr_buffer_destroy(&got);
        test_set_destroy(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_the_same_in_any_way),
        cmocka_unit_test(pushed_bytes_give_the_same),
        cmocka_unit_test(nearness_is_what_is_rebuilt),
        cmocka_unit_test(adding_is_merging_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
