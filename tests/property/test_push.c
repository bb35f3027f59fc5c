/* test_push.c - pushed bytes give the bundle that pulled ones give, in whatever chunks and order they come;
 * emr_merge_get_expected tells the truth; too much, too little and the wrong source are refused. */
#include "property.h"

#include <stdio.h>

/* A merge of the set in which each tensor of each model is either pushed or readable. */
typedef struct pushing {
    emr_model **models; /* the base, then the tasks */
    size_t n_sources;
    const test_set *set;
    emr_merge *merge;
    emr_buffer *buffer;
    struct stream {
        unsigned char *bytes; /* all that the source pushes, in the order of emr_merge_get_expected */
        size_t n, at;
    } * streams;
} pushing;

typedef bool (*is_pushed_fn)(const test_tensor *t, size_t source, uint64_t seed);

/* What is compared or kept must be readable; everything else may be pushed. */
static bool push_all(const test_tensor *t, size_t source, uint64_t seed)
{
    (void)source, (void)seed;
    return emr_dtype_is_float(t->dtype);
}

static bool push_some(const test_tensor *t, size_t source, uint64_t seed)
{
    return push_all(t, source, seed) && (seed * 31 + source * 7 + (unsigned char)t->name[0]) % 3 != 0;
}

static const test_model *source_model(const test_set *s, size_t source)
{
    return source ? &s->tasks[source - 1] : &s->base;
}

static uint32_t source_number(size_t source)
{
    return source ? (uint32_t)(source - 1) : EMR_BASE;
}

static size_t bytes_of(const test_tensor *t)
{
    return (size_t)(test_tensor_count(t) * emr_dtype_bits(t->dtype) / 8);
}

static pushing pushing_create(const test_set *s, const emr_merge_options *o, is_pushed_fn is_pushed,
                              uint64_t seed)
{
    emr_error error;
    pushing p = {.n_sources = s->n + 1, .set = s, .buffer = test_buffer_new()};
    p.models = calloc(p.n_sources, sizeof(emr_model *));
    p.streams = calloc(p.n_sources, sizeof *p.streams);
    assert_ok(emr_merge_create(&p.merge, o, &error), &error);
    for (size_t k = 0; k < p.n_sources; k++) {
        const test_model *m = source_model(s, k);
        char name[32];
        snprintf(name, sizeof name, "t%zu", k - 1);
        p.models[k] = test_model_new(k ? "task" : "base");
        for (size_t i = 0; i < m->n; i++) {
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            d.name = m->tensors[i].name;
            d.dtype = m->tensors[i].dtype;
            d.rank = m->tensors[i].rank;
            d.shape = m->tensors[i].shape;
            d.data = is_pushed(&m->tensors[i], k, seed) ? NULL : m->data[i];
            assert_ok(emr_model_add(p.models[k], &d, &error), &error);
        }
        if (k == 0)
            assert_ok(emr_merge_set_base(p.merge, p.models[k], &error), &error);
        else
            assert_ok(emr_merge_add_task(p.merge, name, p.models[k], &error), &error);
    }
    return p;
}

static void pushing_destroy(pushing *p)
{
    emr_merge_destroy(&p->merge);
    for (size_t k = 0; k < p->n_sources; k++) {
        emr_model_destroy(&p->models[k]);
        free(p->streams[k].bytes);
    }
    free(p->models);
    free(p->streams);
    emr_buffer_destroy(&p->buffer);
}

static void begin_bundle(pushing *p)
{
    emr_error error;
    assert_ok(emr_merge_set_output(p->merge, emr_buffer_io(p->buffer), &error), &error);
    assert_ok(emr_merge_begin(p->merge, &error), &error);
}

/* The source's own tensor, and never one that has bytes already. */
static const char *expected_name(pushing *p, size_t source, uint64_t *bytes)
{
    emr_error error;
    const emr_tensor *tensor;
    assert_ok(emr_merge_get_expected(p->merge, source_number(source), &tensor, bytes, &error), &error);
    if (!tensor)
        return NULL;
    assert_ptr_equal(tensor, emr_model_find_tensor(p->models[source], emr_tensor_name(tensor)));
    return emr_tensor_name(tensor);
}

static size_t push_bytes(pushing *p, size_t source, const void *data, size_t n)
{
    emr_error error;
    size_t taken = SIZE_MAX;
    assert_ok(emr_merge_push(p->merge, source_number(source), data, n, &taken, &error), &error);
    assert_in_range(taken, 0, n);
    return taken;
}

static size_t find_tensor(const test_model *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return i;
    fail_msg("'%s' is expected, which the source does not have", name);
    return 0;
}

static size_t pick_size(rng *r, size_t most)
{
    return 1 + (size_t)rng_below(r, (uint64_t)2 << rng_below(r, most));
}

/* Pushes what is asked for, never more, and keeps it as each source's stream for later merges. What is
 * promised is taken; a source that has to wait takes nothing. */
static void feed_as_expected(pushing *p, rng *r)
{
    size_t waiting = 0;
    size_t(*offsets)[64] = calloc(p->n_sources, sizeof *offsets);
    for (size_t done = 0; done < p->n_sources;) {
        done = 0;
        for (size_t k = 0; k < p->n_sources; k++) {
            uint64_t bytes;
            const char *name = expected_name(p, k, &bytes);
            if (!name) {
                assert_int_equal(bytes, 0);
                done++;
                continue;
            }
            const test_model *m = source_model(p->set, k);
            size_t i = find_tensor(m, name), left = bytes_of(&m->tensors[i]) - offsets[k][i];
            assert_in_range(bytes, 0, left);
            assert_int_not_equal(left, 0);
            waiting = bytes ? 0 : waiting + 1;
            assert_in_range(waiting, 0, p->n_sources); /* somebody can always go on */
            size_t n = bytes ? pick_size(r, 20) : 1;
            n = bytes && n > bytes ? (size_t)bytes : n;
            struct stream *s = &p->streams[k];
            assert_int_equal(push_bytes(p, k, m->data[i] + offsets[k][i], n), bytes ? n : 0);
            if (!bytes)
                continue;
            s->bytes = realloc(s->bytes, s->n + n);
            memcpy(s->bytes + s->n, m->data[i] + offsets[k][i], n);
            s->n += n;
            offsets[k][i] += n;
        }
    }
    free(offsets);
}

/* Pushes chunks of any size, over the ends of tensors, to sources in random order. */
static void feed_anyhow(pushing *p, rng *r, size_t most)
{
    size_t stuck = 0;
    for (size_t done = 0; done < p->n_sources;) {
        size_t k = (size_t)rng_below(r, p->n_sources);
        struct stream *s = &p->streams[k];
        size_t n = pick_size(r, most), left = s->n - s->at;
        size_t taken = left ? push_bytes(p, k, s->bytes + s->at, n < left ? n : left) : 0;
        s->at += taken;
        stuck = taken ? 0 : stuck + 1;
        assert_in_range(stuck, 0, 10000);
        done = 0;
        for (size_t i = 0; i < p->n_sources; i++)
            done += p->streams[i].at == p->streams[i].n;
    }
}

/* The streams that another merge of the same models found out. */
static void take_streams(pushing *p, pushing *from)
{
    for (size_t k = 0; k < p->n_sources; k++) {
        p->streams[k] = from->streams[k];
        p->streams[k].at = 0;
        from->streams[k].bytes = NULL;
    }
}

static void finish_as(pushing *p, const emr_buffer *want, const char *what)
{
    emr_error error;
    assert_ok(emr_merge_finish(p->merge, &error), &error);
    assert_same_buffer(p->buffer, want, what);
}

static void assert_push_is_pull(const test_set *s, const emr_merge_options *o, is_pushed_fn is_pushed,
                                uint64_t seed, size_t most)
{
    rng r = {seed + 1};
    emr_buffer *want = test_merge_bundle(s, o);
    pushing asked = pushing_create(s, o, is_pushed, seed), any = pushing_create(s, o, is_pushed, seed);
    begin_bundle(&asked);
    feed_as_expected(&asked, &r);
    finish_as(&asked, want, "pushed as expected");
    begin_bundle(&any);
    take_streams(&any, &asked);
    feed_anyhow(&any, &r, most);
    finish_as(&any, want, "pushed anyhow");
    pushing_destroy(&asked);
    pushing_destroy(&any);
    emr_buffer_destroy(&want);
}

static void rich_models(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        test_set s = rich_set(per + 1, 3, SOURCE_MEMORY);
        emr_merge_options o = rich_options(per);
        emr_resources resources = resources_within(per == EMR_RESCALE_PER_MODEL ? 4 << 20 : 0);
        o.resources = &resources;
        assert_push_is_pull(&s, &o, per == EMR_RESCALE_PER_MODEL ? push_all : push_some, per, 15 + 3 * per);
        test_set_destroy(&s);
    }
}

static void random_models_in_tiny_chunks(void **state)
{
    (void)state;
    for (uint64_t seed = 200; seed < 240; seed++) {
        test_set s = random_set(seed, 1 + seed % 4, true);
        emr_merge_options o = small_options();
        const char *glob = seed % 2 ? "p[13]" : NULL;
        emr_policy policy = private_policy(&glob);
        o.policy = &policy;
        o.rescale_per = (emr_rescale_per)(1 + seed % 3);
        o.embed_base = seed % 5 == 0;
        assert_push_is_pull(&s, &o, seed % 4 ? push_some : push_all, seed, seed % 2 ? 1 : 6);
        test_set_destroy(&s);
    }
}

static void too_much_is_refused(void **state)
{
    (void)state;
    rng r = {77};
    emr_error error;
    size_t taken;
    test_set s = random_set(3, 2, false);
    emr_merge_options o = small_options();
    for (size_t k = 0; k < 3; k++) {
        pushing p = pushing_create(&s, &o, push_all, 0);
        begin_bundle(&p);
        feed_as_expected(&p, &r);
        assert_int_equal(emr_merge_push(p.merge, source_number(k), "x", 1, &taken, &error), EMR_EINVAL);
        assert_int_equal(taken, 0);
        assert_says(&error, k == 0 ? "base" : k == 1 ? "t0" : "t1");
        assert_names_task(&error, k == 0 ? NULL : k == 1 ? "t0" : "t1");
        assert_int_equal(emr_merge_finish(p.merge, &error), EMR_ESTATE); /* it has failed */
        pushing_destroy(&p);
    }
    test_set_destroy(&s);
}

/* The sentence names the one source that is behind, not one that waits for it. */
static void too_little_is_refused(void **state)
{
    (void)state;
    static const test_tensor tensors[] = {{"only", EMR_DTYPE_F32, 1, {10}}};
    test_set s = test_set_create(tensors, 1, 2, 5, SOURCE_MEMORY);
    emr_merge_options o = small_options();
    for (size_t i = 0; i < 6; i++) {
        emr_error error;
        size_t missing = i / 2;
        pushing p = pushing_create(&s, &o, push_all, 0);
        begin_bundle(&p);
        for (size_t k = 0; k < 3; k++)
            push_bytes(&p, k, source_model(&s, k)->data[0], k != missing ? 40 : i % 2 ? 39 : 0);
        assert_int_equal(emr_merge_finish(p.merge, &error), EMR_ESTATE);
        assert_says(&error, missing == 0 ? "base" : missing == 1 ? "'t0'" : "'t1'");
        assert_says(&error, "'only'");
        assert_names_tensor(&error, "only");
        assert_names_task(&error, missing == 0 ? NULL : missing == 1 ? "t0" : "t1");
        pushing_destroy(&p);
    }
    test_set_destroy(&s);
}

static void the_wrong_source_is_refused(void **state)
{
    (void)state;
    emr_error error;
    size_t taken;
    const emr_tensor *tensor;
    uint64_t bytes;
    test_set s = random_set(6, 2, false);
    pushing p = pushing_create(&s, NULL, push_all, 0);
    begin_bundle(&p);
    assert_int_equal(emr_merge_push(p.merge, 2, "x", 1, &taken, &error), EMR_EINVAL);
    assert_says(&error, "2");
    assert_int_equal(emr_merge_get_expected(p.merge, 2, &tensor, &bytes, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_push(p.merge, 0, NULL, 1, &taken, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_push(p.merge, 0, "x", 1, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_push(NULL, 0, "x", 1, &taken, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_expected(p.merge, 0, NULL, &bytes, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_get_expected(p.merge, 0, &tensor, NULL, &error), EMR_EINVAL);
    pushing_destroy(&p);
    test_set_destroy(&s);
}

static bool push_everything(const test_tensor *t, size_t source, uint64_t seed)
{
    (void)t, (void)source, (void)seed;
    return true;
}

static void what_is_compared_cannot_be_pushed(void **state)
{
    (void)state;
    emr_error error;
    test_set s = rich_set(7, 2, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_MODEL);
    pushing p = pushing_create(&s, &o, push_everything, 0);
    assert_ok(emr_merge_set_output(p.merge, emr_buffer_io(p.buffer), &error), &error);
    assert_int_equal(emr_merge_begin(p.merge, &error), EMR_EUNSUPPORTED);
    assert_names_tensor(&error, "m.steps");
    pushing_destroy(&p);
    test_set_destroy(&s);
}

/* A pull of models whose bytes are to be pushed says what is missing. */
static void running_without_the_bytes_is_refused(void **state)
{
    (void)state;
    emr_error error;
    test_set s = random_set(4, 2, false);
    pushing p = pushing_create(&s, NULL, push_all, 0);
    assert_ok(emr_merge_set_output(p.merge, emr_buffer_io(p.buffer), &error), &error);
    assert_int_equal(emr_merge_run(p.merge, &error), EMR_ESTATE);
    assert_says(&error, "pushed");
    pushing_destroy(&p);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rich_models),
        cmocka_unit_test(random_models_in_tiny_chunks),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(too_little_is_refused),
        cmocka_unit_test(the_wrong_source_is_refused),
        cmocka_unit_test(what_is_compared_cannot_be_pushed),
        cmocka_unit_test(running_without_the_bytes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
