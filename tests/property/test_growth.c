/* test_growth.c - adding tasks to a bundle gives, to the last byte, what merging all of them at once gives;
 * and what cannot be added is refused with a sentence. */
#include "property.h"

#include <stdio.h>

enum { MOST = 6 };

/* The first `n` tasks of a set; nothing is copied. */
static test_set first_tasks(const test_set *s, size_t n)
{
    test_set part = *s;
    part.n = n;
    return part;
}

typedef struct way {
    uint64_t memory_bytes;
    test_source source;
    uint32_t concurrency; /* of a pool; 0: none, 99: an executor that shuffles */
    size_t at_once;       /* tasks added by one merge */
} way;

static const way ways[] = {{0, SOURCE_MEMORY, 0, MOST},
                           {20 << 20, SOURCE_IO, 2, 1},
                           {24 << 20, SOURCE_READ, 99, 2},
                           {40 << 20, SOURCE_PUSHED, 3, 1},
                           {18 << 20, SOURCE_IO, 7, MOST}};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

/* Adds tasks [from, to) of the set to a bundle. */
static emr_status add_tasks(const emr_bundle *before, const test_set *s, size_t from, size_t to, const way *w,
                            const emr_buffer *out, emr_error *error)
{
    emr_pool *pool = NULL;
    odd_executor odd = {.order = {7}};
    emr_executor executor = odd_executor_make(&odd, 5);
    emr_merge *merge;
    emr_resources resources = resources_within(w->memory_bytes);
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &resources;
    if (w->concurrency == 99)
        resources.executor = &executor;
    else if (w->concurrency)
        resources.executor = emr_pool_executor(pool = create_pool(w->concurrency));
    assert_ok(emr_merge_create(&merge, &o, error), error);
    emr_status status = emr_merge_extend(merge, before, error);
    if (!status)
        status = emr_merge_set_base(merge, s->base.model, error);
    for (size_t t = from; !status && t < to; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        status = emr_merge_add_task(merge, name, s->tasks[t].model, error);
    }
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(out), error);
    if (!status && w->source != SOURCE_PUSHED)
        status = emr_merge_run(merge, error);
    if (!status && w->source == SOURCE_PUSHED) {
        test_set added = {s->base, s->tasks + from, to - from};
        status = push_tasks(merge, &added, from, 5001, error);
    }
    emr_merge_destroy(&merge);
    emr_pool_destroy(&pool);
    return status;
}

/* From the first n_old tasks to all of them. */
static emr_buffer *grow_bundle(const test_set *s, const emr_merge_options *o, size_t n_old, const way *w)
{
    emr_error error = {0};
    test_set part = first_tasks(s, n_old), given = test_set_copy(s, w->source);
    emr_buffer *buffer = test_merge_bundle(&part, o);
    for (size_t n = n_old, step; n < s->n; n += step) {
        emr_buffer *more = test_buffer_new();
        emr_bundle *before = test_bundle_open(buffer);
        step = w->at_once < s->n - n ? w->at_once : s->n - n;
        assert_ok(add_tasks(before, &given, n, n + step, w, more, &error), &error);
        emr_bundle_destroy(&before);
        emr_buffer_destroy(&buffer);
        buffer = more;
    }
    test_set_destroy(&given);
    return buffer;
}

static void assert_grows(const test_set *s, emr_merge_options o, size_t first_way)
{
    o.extendable = 1;
    emr_buffer *want = test_merge_bundle(s, &o);
    for (size_t n_old = 1; n_old < s->n; n_old++) {
        const way *w = &ways[(first_way + n_old) % N_WAYS];
        char what[64];
        snprintf(what, sizeof what, "%zu of %zu tasks", n_old, s->n);
        emr_buffer *got = grow_bundle(s, &o, n_old, w->source == SOURCE_PUSHED && o.policy ? &ways[1] : w);
        assert_same_buffer(got, want, what);
        emr_buffer_destroy(&got);
    }
    emr_buffer_destroy(&want);
}

/* Private tensors, kept ones that one task has changed, an embedded base, several dtypes. */
static void rich_sets_grow(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        for (size_t n = 2; n <= 4; n++) {
            test_set s = rich_set(n * 10 + per, n, SOURCE_MEMORY);
            emr_merge_options o = rich_options(per);
            o.rescale = per == EMR_RESCALE_PER_MODEL && n == 3 ? EMR_RESCALE_L1_MEANS : EMR_RESCALE_L1;
            o.unified_dtype = n == 2 ? EMR_DTYPE_F16 : n == 3 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
            o.compression = n == 4 ? EMR_COMPRESSION_NONE : 0;
            o.embed_base = n != 3;
            assert_grows(&s, o, 1 + (n & 1) * 3);
            test_set_destroy(&s);
        }
    }
}

/* Ties, where nothing or the negative side is elected, and whose signs are kept apart. */
static void ties_grow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        test_set s = random_set(40 + i, 2 + i % 4, i % 3 == 2);
        emr_merge_options o = small_options();
        test_set_on_grid(&s, i + 5);
        o.tie = i & 1;
        o.rescale_per = 1 + i % 3;
        o.block_params = 4096;
        o.unified_dtype = i == 4 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
        assert_grows(&s, o, i);
        test_set_destroy(&s);
    }
}

static void random_sets_grow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        test_set s = random_set(70 + i, 2 + i % 5, i & 1);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.rescale_per = 1 + i % 3;
        o.on_nonfinite = EMR_ON_NONFINITE_ZERO;
        if (i > 3)
            for (size_t t = 0; t < s.n; t++)
                for (size_t k = 0; k < s.tasks[t].n; k++)
                    if (s.tasks[t].tensors[k].dtype == EMR_DTYPE_F32 &&
                        test_tensor_count(&s.tasks[t].tensors[k]) > 9)
                        memset(s.tasks[t].data[k] + 4 * t, 0xff, 4); /* NaN */
        assert_grows(&s, o, i);
        test_set_destroy(&s);
    }
}

/* Being extendable changes nothing but that. */
static void the_rest_is_the_same(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        test_set s = random_set(200 + per, 4, true);
        emr_merge_options o = EMR_INIT(emr_merge_options);
        o.rescale_per = per;
        o.extendable = 1;
        assert_merge_is_formula(&s, &o);
        test_set_destroy(&s);
    }
}

static const test_tensor tensors[] = {
    {"a", EMR_DTYPE_F32, 2, {20, 30}}, {"b", EMR_DTYPE_BF16, 1, {90}}, {"i", EMR_DTYPE_I32, 1, {4}}};
static const test_tensor other_shape[] = {
    {"a", EMR_DTYPE_F32, 2, {30, 20}}, {"b", EMR_DTYPE_BF16, 1, {90}}, {"i", EMR_DTYPE_I32, 1, {4}}};
static const test_tensor other_order[] = {
    {"b", EMR_DTYPE_BF16, 1, {90}}, {"a", EMR_DTYPE_F32, 2, {20, 30}}, {"i", EMR_DTYPE_I32, 1, {4}}};
static const test_tensor other_integers[] = {
    {"a", EMR_DTYPE_F32, 2, {20, 30}}, {"b", EMR_DTYPE_BF16, 1, {90}}, {"i", EMR_DTYPE_F32, 1, {2}}};
static const test_tensor fewer[] = {{"a", EMR_DTYPE_F32, 2, {20, 30}}, {"i", EMR_DTYPE_I32, 1, {4}}};

static emr_bundle *small_bundle(const test_set *s, const emr_merge_options *o, emr_buffer **buffer)
{
    *buffer = test_merge_bundle(s, o);
    return test_bundle_open(*buffer);
}

static void assert_refused(const emr_bundle *b, const test_set *s, size_t from, emr_status want,
                           const char *says)
{
    emr_error error = {0};
    emr_buffer *out = test_buffer_new();
    assert_int_equal(add_tasks(b, s, from, s->n, &ways[0], out, &error), want);
    assert_says(&error, says);
    emr_buffer_destroy(&out);
}

static void what_cannot_be_added_is_refused(void **state)
{
    (void)state;
    emr_buffer *buffer;
    emr_error error = {0};
    emr_policy policy = {.size = sizeof policy, .on_mismatch = EMR_ON_MISMATCH_PRIVATE};
    emr_merge_options o = small_options();
    test_set s = test_set_create(tensors, 3, 3, 3, SOURCE_MEMORY), two = first_tasks(&s, 2);
    emr_bundle *b = small_bundle(&two, &o, &buffer);
    assert_refused(b, &s, 2, EMR_EUNSUPPORTED, "was not made extendable");
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);

    o.extendable = 1;
    o.rescale = EMR_RESCALE_L2;
    emr_merge *merge = NULL;
    assert_int_equal(emr_merge_create(&merge, &o, &error), EMR_EINVAL);
    assert_says(&error, "l2");
    o.rescale = EMR_RESCALE_L1;
    o.policy = &policy;
    b = small_bundle(&two, &o, &buffer);

    assert_refused(b, &s, 1, EMR_EEXIST,
                   "test bundle: has a task 't1' already: give the new one another name");
    assert_refused(b, &two, 2, EMR_ESTATE, "no task to add");
    s.base.data[1][7] ^= 1; /* of tensor b; then of a, which comes first */
    assert_refused(b, &s, 2, EMR_EMISMATCH, "tensor 'b': its values differ");
    s.base.data[0][1999] ^= 1;
    assert_refused(b, &s, 2, EMR_EMISMATCH, "tensor 'a': its values differ");
    s.base.data[0][1999] ^= 1;
    s.base.data[1][7] ^= 1;
    s.base.data[2][0] ^= 1; /* kept, where tasks have what the base had */
    assert_refused(b, &s, 2, EMR_EMISMATCH, "tensor 'i': its values differ");
    s.base.data[2][0] ^= 1;

    const test_tensor *const lists[] = {other_shape, other_order, fewer};
    for (size_t i = 0; i < 3; i++) {
        test_model model = test_model_create("other", lists[i], lists[i] == fewer ? 2 : 3, SOURCE_MEMORY),
                   kept = s.base;
        s.base = model;
        assert_refused(b, &s, 2, EMR_EMISMATCH, i == 2 ? "'b'" : "'a'");
        s.base = kept;
        test_model_destroy(&model);
    }
    test_model model = test_model_create("other", other_shape, 3, SOURCE_MEMORY), kept = s.tasks[2];
    s.tasks[2] = model;
    assert_refused(b, &s, 2, EMR_EMISMATCH, "private to every task");
    s.tasks[2] = kept;
    test_model_destroy(&model);
    model = test_model_create("other", other_integers, 3,
                              SOURCE_MEMORY); /* kept, and no bundle's tensor is that */
    s.tasks[2] = model;
    assert_refused(b, &s, 2, EMR_EMISMATCH, "private to every task");
    s.tasks[2] = kept;
    test_model_destroy(&model);
    model = test_model_create("other", fewer, 2, SOURCE_MEMORY);
    s.tasks[2] = model;
    assert_refused(b, &s, 2, EMR_EMISMATCH, "tensor 'b' of the base is absent");
    s.tasks[2] = kept;
    test_model_destroy(&model);

    assert_ok(emr_merge_create(&merge, NULL, &error), &error);
    assert_ok(emr_merge_extend(merge, b, &error), &error);
    assert_int_equal(emr_merge_extend(merge, b, &error), EMR_ESTATE);
    emr_merge_destroy(&merge);
    assert_ok(emr_merge_create(&merge, NULL, &error), &error);
    assert_ok(emr_merge_add_task(merge, "x", s.tasks[0].model, &error), &error);
    assert_int_equal(emr_merge_extend(merge, b, &error), EMR_ESTATE);
    emr_merge_destroy(&merge);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

/* Tensors that tasks lack, and shapes that differ: what is private, and what is taken from the base, stays
 * so. */
static void missing_and_mismatching_tensors_grow(void **state)
{
    (void)state;
    emr_error error = {0};
    test_set s = test_set_create(tensors, 3, 4, 3, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    const char *const globs[] = {"b"};
    emr_policy policy = private_policy(globs);
    policy.on_missing = EMR_ON_MISSING_BASE;
    policy.on_mismatch = EMR_ON_MISMATCH_PRIVATE;
    o.policy = &policy;
    for (int way_of = 0; way_of < 3; way_of++) {
        rng r = {5};
        test_model odd =
            test_model_create("odd", way_of ? fewer : other_shape, way_of ? 2 : 3, SOURCE_MEMORY);
        test_model_randomise(&odd, &r);
        test_model kept = s.tasks[way_of == 1 ? 3 : 0];
        s.tasks[way_of == 1 ? 3 : 0] = odd;
        policy.n_private_globs = way_of == 2;
        o.extendable = 1;
        emr_buffer *want = test_merge_bundle(&s, &o);
        for (size_t n_old = 1; n_old < 4; n_old++) {
            emr_buffer *out = test_buffer_new(), *buffer;
            test_set part = first_tasks(&s, n_old);
            emr_bundle *b = small_bundle(&part, &o, &buffer);
            assert_ok(add_tasks(b, &s, n_old, 4, &ways[0], out, &error), &error);
            assert_same_buffer(out, want, "grown");
            emr_bundle_destroy(&b);
            emr_buffer_destroy(&buffer);
            emr_buffer_destroy(&out);
        }
        emr_buffer_destroy(&want);
        s.tasks[way_of == 1 ? 3 : 0] = kept;
        test_model_destroy(&odd);
    }
    test_set_destroy(&s);
}

/* Each allocation, and each read of the bundle, fails once. */
static void failures_are_told(void **state)
{
    (void)state;
    test_set s = rich_set(9, 3, SOURCE_MEMORY), two = first_tasks(&s, 2);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    o.extendable = 1;
    emr_buffer *buffer = test_merge_bundle(&two, &o), *want = test_merge_bundle(&s, &o);
    for (int what = 0; what < 3; what++) {
        bool failed = true;
        for (size_t k = 0; failed; k += 1 + k / 20) {
            emr_error error = {0};
            emr_buffer *out = test_buffer_new();
            emr_bundle *b = NULL;
            emr_merge *merge = NULL;
            test_allocator counts = {.fail_at = what == 0 ? k : SIZE_MAX};
            emr_allocator allocator = test_allocator_make(&counts);
            test_io in = {.inner = *emr_buffer_io(buffer),
                          .fail_read = what == 1 ? k : SIZE_MAX,
                          .fail_write = SIZE_MAX};
            test_io to = {
                .inner = *emr_buffer_io(out), .fail_read = SIZE_MAX, .fail_write = what == 2 ? k : SIZE_MAX};
            emr_io input = test_io_make(&in), output = test_io_make(&to);
            emr_bundle_options bundle_options = EMR_INIT(emr_bundle_options);
            emr_merge_options options = EMR_INIT(emr_merge_options);
            emr_resources resources = test_resources(&allocator, NULL);
            bundle_options.allocator = &allocator;
            options.resources = &resources;
            emr_status status = emr_bundle_open(&b, &input, "in.emr", &bundle_options, &error);
            if (!status)
                status = emr_merge_create(&merge, &options, &error);
            if (!status)
                status = emr_merge_extend(merge, b, &error);
            if (!status)
                status = emr_merge_set_base(merge, s.base.model, &error);
            if (!status)
                status = emr_merge_add_task(merge, "t2", s.tasks[2].model, &error);
            if (!status)
                status = emr_merge_set_output(merge, &output, &error);
            if (!status)
                status = emr_merge_run(merge, &error);
            failed = status != EMR_OK;
            if (failed) {
                assert_int_equal(status, what == 0 ? EMR_ENOMEM : EMR_EIO);
                assert_true(error.text[0] != 0);
            } else {
                assert_true(k > 10);
                assert_same_buffer(out, want, "without a failure");
            }
            emr_merge_destroy(&merge);
            emr_bundle_destroy(&b);
            emr_buffer_destroy(&out);
            assert_int_equal(counts.alive, 0);
        }
    }
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&want);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rich_sets_grow),
        cmocka_unit_test(ties_grow),
        cmocka_unit_test(random_sets_grow),
        cmocka_unit_test(the_rest_is_the_same),
        cmocka_unit_test(missing_and_mismatching_tensors_grow),
        cmocka_unit_test(what_cannot_be_added_is_refused),
        cmocka_unit_test(failures_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
