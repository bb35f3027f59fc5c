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

/* Adding with a journal, which the k-th write of the bundle cuts off; in memory that is enough for small windows. */
static emr_status add_with_journal(const emr_bundle *before, const test_set *s, const emr_buffer *out,
                                   const emr_buffer *log, size_t fail_write, size_t *n_writes)
{
    emr_error error = {0};
    emr_merge *merge;
    emr_resources resources = resources_within(8 << 20);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_modulation_spec spec = spec_at(1);
    test_io failing = {.inner = *emr_buffer_io(out), .fail_read = SIZE_MAX, .fail_write = fail_write};
    emr_io output = test_io_make(&failing);
    o.resources = &resources;
    o.modulation = &spec;
    assert_ok(emr_merge_create(&merge, &o, &error), &error);
    assert_ok(emr_merge_extend(merge, before, &error), &error);
    assert_ok(emr_merge_set_base(merge, s->base.model, &error), &error);
    assert_ok(emr_merge_add_task(merge, "new", s->tasks[1].model, &error), &error);
    assert_ok(emr_merge_set_output(merge, &output, &error), &error);
    assert_ok(emr_merge_set_journal(merge, emr_buffer_io(log), 50000, &error), &error);
    emr_status status = emr_merge_run(merge, &error);
    *n_writes = failing.writes;
    emr_merge_destroy(&merge);
    return status;
}

static void adding_goes_on(void **state)
{
    (void)state;
    test_set s = rich_set(31, 2, SOURCE_MEMORY), one = s;
    one.n = 1;
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_buffer *old = test_merge_bundle(&one, &o), *want = test_buffer_new(), *log = test_buffer_new();
    emr_bundle *before = test_bundle_open(old);
    size_t n_writes, n;
    assert_int_equal(add_with_journal(before, &s, want, log, SIZE_MAX, &n_writes), EMR_OK);
    for (size_t k = 0; k < n_writes; k += 1 + n_writes / 40) {
        emr_buffer *got = test_buffer_new(), *journal = test_buffer_new();
        assert_int_equal(add_with_journal(before, &s, got, journal, k, &n), EMR_EIO);
        assert_int_equal(add_with_journal(before, &s, got, journal, SIZE_MAX, &n), EMR_OK);
        emr_buffer *whole = test_buffer_of(emr_buffer_data(got), emr_buffer_bytes(want));
        assert_same_buffer(whole, want, "the bundle");
        emr_buffer_destroy(&whole);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&journal);
    }
    emr_bundle_destroy(&before);
    emr_buffer_destroy(&old);
    emr_buffer_destroy(&want);
    emr_buffer_destroy(&log);
    test_set_destroy(&s);
}

static emr_status add_one(const emr_bundle *before, const emr_model *base, const emr_model *task,
                          const char *name, const emr_merge_options *o, emr_error *error)
{
    emr_merge *merge;
    emr_buffer *out = test_buffer_new();
    assert_ok(emr_merge_create(&merge, o, error), error);
    emr_status status = emr_merge_extend(merge, before, error);
    if (!status)
        status = emr_merge_set_base(merge, base, error);
    if (!status)
        status = emr_merge_add_task(merge, name, task, error);
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(out), error);
    if (!status)
        status = emr_merge_run(merge, error);
    if (!status) {
        emr_bundle *b = test_bundle_open(out);
        assert_ok(emr_bundle_verify(b, NULL, error), error);
        emr_bundle_destroy(&b);
    }
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&out);
    return status;
}

static void plans_of_adding_are_kept(void **state)
{
    (void)state;
    enum { INDEX_BYTES = 256 << 10 };
    test_set s = rich_set(8, 3, SOURCE_IO), two = s;
    two.n = 2;
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_buffer *old = test_merge_bundle(&two, &o);
    emr_bundle *before = test_bundle_open(old);
    for (size_t i = 0; i < 3; i++) {
        emr_error error = {0};
        test_meter m = {0, 0};
        emr_allocator allocator = test_meter_make(&m);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_modulation_spec spec = spec_at(i);
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        emr_merge *merge;
        emr_merge_options adding = EMR_INIT(emr_merge_options);
        adding.resources = &resources;
        adding.modulation = &spec;
        adding.compression = EMR_COMPRESSION_NONE;
        resources.memory_bytes = (uint64_t)5 << 20;
        emr_buffer *out = test_buffer_new();
        assert_ok(emr_merge_create(&merge, &adding, &error), &error);
        assert_ok(emr_merge_extend(merge, before, &error), &error);
        assert_ok(emr_merge_set_base(merge, s.base.model, &error), &error);
        assert_ok(emr_merge_add_task(merge, "new", s.tasks[2].model, &error), &error);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &error), &error);
        assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        if (m.peak > plan.peak_memory + INDEX_BYTES)
            fail_msg("spec %zu: %zu bytes were taken, planned were %zu", i, m.peak, (size_t)plan.peak_memory);
        if (emr_buffer_bytes(out) > plan.bytes_out)
            fail_msg("spec %zu: %zu bytes were written, planned were at most %zu", i, emr_buffer_bytes(out),
                     (size_t)plan.bytes_out);
        emr_merge_destroy(&merge);
        assert_int_equal(m.now, 0);
        emr_buffer_destroy(&out);
    }
    emr_bundle_destroy(&before);
    emr_buffer_destroy(&old);
    test_set_destroy(&s);
}

static const test_tensor whole[] = {
    {"a", EMR_DTYPE_F32, 2, {20, 30}}, {"b", EMR_DTYPE_BF16, 1, {90}}, {"i", EMR_DTYPE_I32, 1, {4}}};
static const test_tensor reshaped[] = {
    {"a", EMR_DTYPE_F32, 2, {30, 20}}, {"b", EMR_DTYPE_BF16, 1, {90}}, {"i", EMR_DTYPE_I32, 1, {4}}};
static const test_tensor lacking[] = {{"a", EMR_DTYPE_F32, 2, {20, 30}}, {"i", EMR_DTYPE_I32, 1, {7}}};
static const test_tensor integral[] = {
    {"a", EMR_DTYPE_F32, 2, {20, 30}}, {"b", EMR_DTYPE_I16, 1, {90}}, {"i", EMR_DTYPE_I32, 1, {4}}};

static void what_cannot_be_added_is_refused(void **state)
{
    (void)state;
    emr_error error = {0};
    emr_modulation_spec spec = spec_at(0);
    emr_merge_options plain = EMR_INIT(emr_merge_options), coded = plain, absent;
    emr_policy policy = {.size = sizeof policy, .on_missing = EMR_ON_MISSING_ABSENT};
    coded.modulation = &spec;
    absent = coded;
    absent.policy = &policy;
    test_set s = test_set_create(whole, 3, 1, 3, SOURCE_MEMORY);
    test_model other = test_model_create("other", reshaped, 3, SOURCE_MEMORY),
               fewer = test_model_create("fewer", lacking, 2, SOURCE_MEMORY),
               whole_numbers = test_model_create("numbers", integral, 3, SOURCE_MEMORY);
    emr_buffer *buffer = test_merge_bundle(&s, NULL);
    emr_bundle *b = test_bundle_open(buffer);
    const emr_model *base = s.base.model, *task = s.tasks[0].model;
    assert_ok(add_one(b, base, task, "new", &coded, &error), &error);
    assert_int_equal(add_one(b, base, task, "new", &plain, &error), EMR_EUNSUPPORTED);
    assert_says(&error, "was not made extendable");
    assert_int_equal(add_one(b, base, task, "t0", &coded, &error), EMR_EEXIST);
    assert_int_equal(add_one(b, base, other.model, "new", &coded, &error), EMR_EMISMATCH);
    assert_names_tensor(&error, "a");
    assert_int_equal(add_one(b, other.model, task, "new", &coded, &error), EMR_EMISMATCH);
    assert_int_equal(add_one(b, whole_numbers.model, task, "new", &coded, &error), EMR_EMISMATCH);
    assert_int_equal(add_one(b, fewer.model, task, "new", &coded, &error), EMR_EMISMATCH);
    assert_int_equal(add_one(b, base, fewer.model, "new", &coded, &error), EMR_EMISMATCH);
    assert_names_tensor(&error, "b");
    assert_ok(add_one(b, base, fewer.model, "new", &absent, &error), &error);
    s.base.data[0][8] ^= 1;
    assert_int_equal(add_one(b, base, task, "new", &coded, &error), EMR_EMISMATCH);
    assert_says(&error, "its values differ");
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    test_model_destroy(&other);
    test_model_destroy(&fewer);
    test_model_destroy(&whole_numbers);
    test_set_destroy(&s);
}

/* As planned: working memory, but for the bundle's index; and what is written without compression. */
static void plans_are_kept(void **state)
{
    (void)state;
    enum { INDEX_BYTES = 128 << 10 };
    test_set s = rich_set(4, 4, SOURCE_IO);
    for (size_t first = 0; first < N_SPECS; first++) {
        emr_error error = {0};
        test_meter m = {0, 0};
        emr_allocator allocator = test_meter_make(&m);
        odd_executor odd = {.reverse = true};
        emr_executor executor = odd_executor_make(&odd, 4);
        emr_resources resources = test_resources(&allocator, first % 2 ? &executor : NULL);
        emr_merge_options o = rich_options(EMR_RESCALE_PER_DEFAULT);
        resources.memory_bytes = (uint64_t)(first % 3 == 0 ? 7 : first % 3 == 1 ? 16 : 64) << 20;
        o.resources = &resources;
        o.block_params = first % 4 == 1 ? 4096 : 0;
        o.compression = first < 4 ? 0 : EMR_COMPRESSION_NONE;
        emr_buffer *buffer = test_buffer_new();
        emr_merge *merge = create_coded(&s, &o, first);
        emr_plan_summary plan = EMR_INIT(emr_plan_summary);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
        assert_ok(emr_merge_get_plan(merge, &plan, &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        assert_in_range(plan.peak_memory, 1, resources.memory_bytes);
        if (m.peak > plan.peak_memory + INDEX_BYTES)
            fail_msg("specs from %zu: %zu bytes were taken, planned were %zu", first, m.peak,
                     (size_t)plan.peak_memory);
        if (emr_buffer_bytes(buffer) > plan.bytes_out)
            fail_msg("specs from %zu: %zu bytes were written, planned were at most %zu", first,
                     emr_buffer_bytes(buffer), (size_t)plan.bytes_out);
        emr_merge_destroy(&merge);
        assert_int_equal(m.now, 0);
        emr_buffer_destroy(&buffer);
    }
    test_set_destroy(&s);
}

/* Tasks 0 and 2 are masks, 1 and 3 are not: what masks are does not depend on these. */
static void masks_take_no_notice(void **state)
{
    (void)state;
    for (uint32_t per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        emr_error error = {0};
        test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 4, 70 + per, SOURCE_MEMORY), two = s;
        test_model models[2] = {s.tasks[0], s.tasks[2]};
        two.tasks = models;
        two.n = 2;
        emr_merge_options o = small_options();
        o.rescale_per = per;
        emr_buffer *want = test_merge_bundle(&two, &o), *got = test_buffer_new();
        emr_merge *merge = test_merge_create(&s, &o);
        for (uint32_t t = 1; t < 4; t += 2) {
            emr_modulation_spec spec = spec_at(t);
            spec.kind = t == 1 ? EMR_MODULATOR_KIND_THIN : EMR_MODULATOR_KIND_LEVELS;
            assert_ok(emr_merge_set_modulation(merge, t, &spec, &error), &error);
        }
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_merge_destroy(&merge);
        emr_bundle *a = test_bundle_open(got), *b = test_bundle_open(want);
        for (uint32_t t = 0; t < 2; t++)
            assert_same_task(a, 2 * t, b, t, &s);
        emr_bundle_destroy(&a);
        emr_bundle_destroy(&b);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
        test_set_destroy(&s);
    }
}

static emr_status run_with(const test_set *s, emr_merge_options o, const emr_modulation_spec *spec,
                           emr_error *error, uint64_t *zeroed)
{
    emr_merge *merge;
    emr_buffer *buffer = test_buffer_new();
    o.modulation = spec;
    merge = test_merge_create(s, &o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), error), error);
    emr_status status = emr_merge_run(merge, error);
    emr_task_report report = EMR_INIT(emr_task_report);
    if (!status)
        assert_int_equal(emr_merge_get_task_report(merge, 1, &report), EMR_OK);
    *zeroed = report.zeroed;
    assert_int_equal(report.mask_ones, 0);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&buffer);
    return status;
}

static void what_is_not_finite_is_found(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {30, 40}}, {"b", EMR_DTYPE_F32, 1, {90}}};
    for (size_t i = 0; i < 2 * N_SPECS; i++) {
        emr_error error = {0};
        uint64_t zeroed;
        size_t tensor = i / N_SPECS;
        test_set s = test_set_create(tensors, 2, 2, 3, SOURCE_MEMORY);
        emr_modulation_spec spec = spec_at(i);
        emr_merge_options o = small_options();
        if (spec.kind == EMR_MODULATOR_KIND_MASK) {
            test_set_destroy(&s);
            continue;
        }
        memset(s.tasks[1].data[tensor] + 4 * 77, 0xff, 4);
        assert_int_equal(run_with(&s, o, &spec, &error, &zeroed), EMR_ENONFINITE);
        assert_says(&error, "NaN or infinity at index 77");
        assert_names_task(&error, "t1");
        assert_names_tensor(&error, tensors[tensor].name);
        o.on_nonfinite = EMR_ON_NONFINITE_ZERO;
        assert_ok(run_with(&s, o, &spec, &error, &zeroed), &error);
        assert_int_equal(zeroed, 1);
        memset(s.base.data[tensor] + 4 * 5, 0xff, 4);
        o.on_nonfinite = EMR_ON_NONFINITE_ERROR;
        assert_int_equal(run_with(&s, o, &spec, &error, &zeroed), EMR_ENONFINITE);
        assert_says(&error, "the base");
        test_set_destroy(&s);
    }
}

static void assert_unfit(const emr_modulation_spec *spec, const char *says)
{
    emr_error error = {0};
    emr_merge *merge;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_modulation_spec sized = *spec;
    sized.size = sizeof sized;
    o.modulation = &sized;
    assert_int_equal(emr_merge_create(&merge, &o, &error), EMR_EINVAL);
    assert_says(&error, says);
}

static void what_no_task_can_be_is_refused(void **state)
{
    (void)state;
    emr_error error = {0};
    static const struct {
        emr_modulation_spec spec;
        const char *says;
    } unfit[] = {
        {{.kind = 9}, "kind 9"},
        {{.kind = EMR_MODULATOR_KIND_THIN, .thinning = 3}, "2, 4, 8, 16 or 32"},
        {{.kind = EMR_MODULATOR_KIND_THIN, .thinning = 64}, "2, 4, 8, 16 or 32"},
        {{.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 5}, "3, 4, 8 or 16"},
        {{.kind = EMR_MODULATOR_KIND_SIGN, .n_levels = 4}, "no n_levels"},
        {{.kind = EMR_MODULATOR_KIND_SIGN, .vectors_dtype = EMR_DTYPE_F16}, "BF16 or F32"},
        {{.kind = EMR_MODULATOR_KIND_SIGN, .rescale = EMR_RESCALE_MIXED}, "thin"},
        {{.kind = EMR_MODULATOR_KIND_SIGN, .mask_rule = EMR_MASK_RULE_NEAREST}, "mask_rule"},
        {{.kind = EMR_MODULATOR_KIND_LEVELS, .rescale = EMR_RESCALE_L1_MEANS}, "l1-means"},
        {{.kind = EMR_MODULATOR_KIND_MASK, .seed = 3}, "no seed"},
    };
    for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++)
        assert_unfit(&unfit[i].spec, unfit[i].says);

    test_set s = test_set_create(mixed_tensors, n_mixed_tensors, 2, 3, SOURCE_MEMORY);
    emr_modulation_spec spec = spec_at(0);
    emr_merge_options o = small_options();
    emr_sink sink = EMR_INIT(emr_sink);
    emr_merge *merge = test_merge_create(&s, &o);
    assert_int_equal(emr_merge_set_modulation(merge, 2, &spec, &error), EMR_EINVAL);
    assert_ok(emr_merge_set_modulation(merge, 1, &spec, &error), &error);
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_int_equal(emr_merge_run(merge, &error), EMR_EUNSUPPORTED);
    assert_says(&error, "a sink takes masks alone");
    emr_merge_destroy(&merge);
    o.extendable = 1;
    merge = test_merge_create(&s, &o);
    emr_plan_summary plan = EMR_INIT(emr_plan_summary);
    assert_ok(emr_merge_set_modulation(merge, 1, &spec, &error), &error);
    assert_int_equal(emr_merge_get_plan(merge, &plan, &error), EMR_EINVAL);
    assert_says(&error, "extendable");
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_the_same_in_any_way),
        cmocka_unit_test(pushed_bytes_give_the_same),
        cmocka_unit_test(nearness_is_what_is_rebuilt),
        cmocka_unit_test(adding_is_merging_at_once),
        cmocka_unit_test(adding_goes_on),
        cmocka_unit_test(plans_of_adding_are_kept),
        cmocka_unit_test(what_cannot_be_added_is_refused),
        cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(masks_take_no_notice),
        cmocka_unit_test(what_is_not_finite_is_found),
        cmocka_unit_test(what_no_task_can_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
