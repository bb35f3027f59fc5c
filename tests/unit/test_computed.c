/* test_computed.c - models whose tensors are computed as they are read: any range out of whole granules,
 * scratch for each reader, and what a computation says when it fails. */
#define _XOPEN_SOURCE 700

#include "support.h"

#include <pthread.h>
#include <stdio.h>

/* Scratch as it lies before every computation. */
typedef struct notes {
    uint64_t opened;  /* OPENED once it was */
    atomic_uint busy; /* readers in it: one */
    unsigned char rest[100];
} notes;
#define OPENED 0x0123456789abcdefu

/* What a model's functions count, and what they are to do. */
typedef struct events {
    atomic_size_t opens, closes, destroys, computations;
    atomic_bool wrong; /* a promise was broken */
    size_t fail_open;  /* this one, from 0; SIZE_MAX: none */
    const char *why;   /* NULL: without a word */
} events;

static void expect(events *e, bool promise)
{
    if (!promise)
        atomic_store(&e->wrong, true);
}

static emr_status open_notes(void *user, void *scratch, emr_error *error)
{
    events *e = user;
    notes *n = scratch;
    static const notes zeros;
    expect(e, error != NULL && (uintptr_t)scratch % 64 == 0);
    expect(e, memcmp(n, &zeros, sizeof zeros) == 0);
    if (atomic_fetch_add(&e->opens, 1) == e->fail_open)
        return e->why ? emr_error_set(error, EMR_EUNSUPPORTED, 7, NULL, e->why) : EMR_EUNSUPPORTED;
    n->opened = OPENED;
    return EMR_OK;
}

static void close_notes(void *user, void *scratch)
{
    events *e = user;
    notes *n = scratch;
    expect(e, n->opened == OPENED && n->busy == 0 && e->destroys == 0);
    n->opened = 0;
    atomic_fetch_add(&e->closes, 1);
}

static void destroy_user(void *user)
{
    atomic_fetch_add(&((events *)user)->destroys, 1);
}

static const emr_model_options with_notes = {.size = sizeof with_notes,
                                             .name = "made",
                                             .destroy = destroy_user,
                                             .scratch_bytes = sizeof(notes),
                                             .open_scratch = open_notes,
                                             .close_scratch = close_notes};

static emr_model *make_model(events *e, const emr_allocator *allocator)
{
    emr_model_options options = with_notes;
    emr_model *model;
    emr_error error;
    options.user = e;
    options.allocator = allocator;
    assert_ok(emr_model_create(&model, &options, &error), &error);
    return model;
}

/* Byte k of every tensor here, whatever its elements. */
static unsigned char byte_at(uint64_t k)
{
    return (unsigned char)((k * 0x9e3779b97f4a7c15u) >> 56);
}

/* A tensor of these, and what is promised of each computation. */
typedef struct pattern {
    events *events;
    uint64_t count;
    uint32_t bits, granule, max_count;
    void (*meanwhile)(struct pattern *p); /* called while it computes; NULL: nothing */
} pattern;

static emr_status compute_pattern(const emr_computation *c, emr_error *error)
{
    pattern *p = c->user;
    events *e = p->events;
    notes *n = c->scratch;
    uint64_t begin = c->first * p->bits / 8, bytes = c->count * p->bits / 8;
    expect(e, error != NULL && c->size == sizeof *c && (uintptr_t)c->scratch % 64 == 0);
    expect(e, c->count > 0 && c->count <= p->max_count && c->count <= p->count - c->first);
    expect(e, c->first % p->granule == 0);
    expect(e, c->count % p->granule == 0 || c->first + c->count == p->count);
    expect(e, n->opened == OPENED && atomic_fetch_add(&n->busy, 1) == 0);
    for (uint64_t i = 0; i < bytes; i++)
        ((unsigned char *)c->out)[i] = byte_at(begin + i);
    if (p->meanwhile)
        p->meanwhile(p);
    atomic_fetch_add(&e->computations, 1);
    atomic_fetch_sub(&n->busy, 1);
    return EMR_OK;
}

static emr_status add_tensor(emr_model *model, const char *name, emr_dtype dtype, uint64_t count,
                             emr_compute_fn compute, void *user, uint32_t granule, uint32_t max_count,
                             emr_error *error)
{
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = name;
    d.dtype = dtype;
    d.rank = 1;
    d.shape = &count;
    d.compute = compute;
    d.user = user;
    d.granule = granule;
    d.max_count = max_count;
    return emr_model_add(model, &d, error);
}

/* Adds a tensor of the pattern; its granule and max_count become those that must be kept. */
static const emr_tensor *add_pattern(emr_model *model, emr_dtype dtype, pattern *p)
{
    emr_error error;
    char name[16];
    snprintf(name, sizeof name, "p%u", emr_model_n_tensors(model));
    p->bits = emr_dtype_bits(dtype);
    assert_ok(add_tensor(model, name, dtype, p->count, compute_pattern, p, p->granule, p->max_count, &error),
              &error);
    p->granule = p->granule ? p->granule : p->bits == 4 ? 2 : p->bits == 6 ? 4 : 1;
    p->max_count = p->max_count ? p->max_count : 8192;
    return emr_model_find_tensor(model, name);
}

static void check_range(const emr_tensor *t, uint64_t first, size_t n)
{
    static _Thread_local unsigned char got[200002];
    emr_error error;
    assert_true(n <= sizeof got - 2);
    memset(got, 0xee, n + 2);
    assert_ok(emr_tensor_read(t, first, got + 1, n, &error), &error);
    for (size_t i = 0; i < n; i++)
        if (got[1 + i] != byte_at(first + i))
            fail_msg("byte %zu of [%zu, +%zu) is wrong", (size_t)first + i, (size_t)first, n);
    assert_true(got[0] == 0xee && got[n + 1] == 0xee);
}

/* Ranges of a tensor: the whole, short ones wherever they fall, some that end with it, and any. */
static void check_ranges(const emr_tensor *t, rng *r)
{
    uint64_t bytes = emr_tensor_bytes(t);
    check_range(t, 0, (size_t)bytes);
    for (int k = 0; k < 24; k++) {
        uint64_t first = rng_below(r, bytes + 1), most = bytes - first;
        most = k % 3 == 1 && most > 20 ? 20 : most;
        check_range(t, first, (size_t)(k % 3 == 2 ? most : rng_below(r, most + 1)));
    }
    check_range(t, bytes, 0);
}

/* Elements of whole bytes and of less, in granules of one and of many, of tensors that end within one. */
static void every_range_is_made_of_whole_granules(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_U8, EMR_DTYPE_F16, EMR_DTYPE_F32,     EMR_DTYPE_F64,
                                       EMR_DTYPE_F4, EMR_DTYPE_C64, EMR_DTYPE_F6_E2M3, EMR_DTYPE_BOOL};
    static const uint32_t granules[] = {0, 4, 32, 100, 512}, more[] = {0, 1, 3, 1000};
    static const uint64_t counts[] = {0, 4, 32, 36, 400, 3332, 17004, 24000};
    events e = {.fail_open = SIZE_MAX};
    emr_model *model = make_model(&e, NULL);
    pattern *all = calloc(8 * 5 * 4 * 8, sizeof *all), *p = all;
    rng r = {601};
    (void)state;
    for (size_t d = 0; d < 8; d++) {
        for (size_t k = 0; k < 5 * 4 * 8; k++, p++) {
            uint32_t granule = granules[k % 5], add = more[k / 5 % 4];
            *p = (pattern){.events = &e, .count = counts[k / 20], .granule = granule};
            p->max_count =
                add ? (granule ? granule : 4) * (add > 3 ? 1 : add) + (add > 3 ? 1000 : add - 1) : 0;
            check_ranges(add_pattern(model, dtypes[d], p), &r);
        }
    }
    assert_false(e.wrong);
    assert_int_equal(e.opens, 1); /* one reader, however many tensors */
    assert_int_equal(e.closes, 0);
    emr_model_destroy(&model);
    assert_int_equal(e.closes, 1);
    assert_int_equal(e.destroys, 1);
    assert_false(e.wrong);
    free(all);
}

/* A whole read is computed in pieces as large as they may be, with no second look at any element. */
static void nothing_is_computed_twice_without_need(void **state)
{
    events e = {.fail_open = SIZE_MAX};
    emr_model *model = make_model(&e, NULL);
    pattern p = {.events = &e, .count = 10000, .granule = 32, .max_count = 1000};
    const emr_tensor *t = add_pattern(model, EMR_DTYPE_F32, &p);
    (void)state;
    check_range(t, 0, 40000);
    assert_int_equal(e.computations, 11); /* of 992 elements: the largest multiple of 32 */
    e.computations = 0;
    check_range(t, 32 * 4, 64 * 4);
    assert_int_equal(e.computations, 1);
    e.computations = 0;
    check_range(t, 32 * 4 - 1, 64 * 4 + 2); /* and two that are cut */
    assert_int_equal(e.computations, 3);
    e.computations = 0;
    check_range(t, 0, 0);
    assert_int_equal(e.computations, 0);
    emr_model_destroy(&model);
    assert_false(e.wrong);
}

static void impossible_granules_are_refused(void **state)
{
    static const struct {
        emr_dtype dtype;
        uint32_t granule, max_count;
        emr_status status;
    } cases[] = {
        {EMR_DTYPE_F4, 3, 0, EMR_EINVAL},      {EMR_DTYPE_F4, 1, 0, EMR_EINVAL},
        {EMR_DTYPE_F4, 6, 0, EMR_OK},          {EMR_DTYPE_F6_E2M3, 2, 0, EMR_EINVAL},
        {EMR_DTYPE_F6_E2M3, 8, 0, EMR_OK},     {EMR_DTYPE_F32, 1024, 0, EMR_OK},
        {EMR_DTYPE_F32, 1025, 0, EMR_EINVAL},  {EMR_DTYPE_U8, UINT32_MAX, 0, EMR_EINVAL},
        {EMR_DTYPE_U8, 4096, 4096, EMR_OK},    {EMR_DTYPE_U8, 4096, 4095, EMR_EINVAL},
        {EMR_DTYPE_F4, 0, 1, EMR_EINVAL},      {EMR_DTYPE_U8, 0, 1, EMR_OK},
        {EMR_DTYPE_U8, 7, UINT32_MAX, EMR_OK},
    };
    emr_model *model = test_model_new("made");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        emr_error error = {.text = ""};
        char name[8];
        snprintf(name, sizeof name, "t%zu", i);
        emr_status status = add_tensor(model, name, cases[i].dtype, 4096, compute_pattern, NULL,
                                       cases[i].granule, cases[i].max_count, &error);
        assert_int_equal(status, cases[i].status);
        assert_true(!status || strstr(error.text, name));
    }
    emr_model_destroy(&model);
}

/* Where the model has no scratch there is none; where it only opens one, that is a place of its own too. */
static emr_status remember_scratch(const emr_computation *c, emr_error *error)
{
    (void)error;
    *(void **)c->user = c->scratch;
    memset(c->out, 0, c->count);
    return EMR_OK;
}

static emr_status count_open(void *user, void *scratch, emr_error *error)
{
    (void)error;
    ++*(int *)user;
    return scratch ? EMR_OK : EMR_ENOMEM;
}

static void scratch_is_optional(void **state)
{
    emr_model_options options = EMR_INIT(emr_model_options);
    emr_model *model = test_model_new("made");
    void *scratch = &options;
    unsigned char byte;
    int opened = 0;
    (void)state;
    assert_int_equal(add_tensor(model, "t", EMR_DTYPE_U8, 1, remember_scratch, &scratch, 0, 0, NULL), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, &byte, 1, NULL), EMR_OK);
    assert_null(scratch);
    emr_model_destroy(&model);
    options.user = &opened;
    options.open_scratch = count_open;
    assert_int_equal(emr_model_create(&model, &options, NULL), EMR_OK);
    assert_int_equal(add_tensor(model, "t", EMR_DTYPE_U8, 1, remember_scratch, &scratch, 0, 0, NULL), EMR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, &byte, 1, NULL), EMR_OK);
    assert_non_null(scratch);
    assert_int_equal(opened, 1);
    emr_model_destroy(&model);
}

static void check_sentence(const emr_error *error, const char *text)
{
    assert_string_equal(error->text, text);
    assert_true(test_span_is(error, error->file, "made"));
    assert_true(test_span_is(error, error->tensor, "p0"));
}

/* One that did not open is not closed, and the next reader tries again. */
static void scratch_that_does_not_open_fails_the_read(void **state)
{
    static const char *const words[] = {"no device", NULL};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        events e = {.fail_open = 0, .why = words[i]};
        emr_model *model = make_model(&e, NULL);
        pattern p = {.events = &e, .count = 100};
        const emr_tensor *t = add_pattern(model, EMR_DTYPE_F32, &p);
        unsigned char got[4];
        emr_error error;
        memset(&error, 0xee, sizeof error);
        assert_int_equal(emr_tensor_read(t, 0, got, 4, &error), EMR_EUNSUPPORTED);
        check_sentence(&error,
                       i ? "made: tensor 'p0' could not be computed" : "made: tensor 'p0': no device");
        assert_int_equal(error.status, EMR_EUNSUPPORTED);
        assert_int_equal(error.system, i ? 0 : 7);
        assert_int_equal(e.computations, 0);
        check_range(t, 0, 400);
        assert_int_equal(e.opens, 2);
        emr_model_destroy(&model);
        assert_int_equal(e.closes, 1);
        assert_int_equal(e.destroys, 1);
        assert_false(e.wrong);
    }
}

static void models_without_memory_are_not_destroyed(void **state)
{
    size_t k = 0;
    (void)state;
    for (bool failed = true; failed; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        events e = {.fail_open = SIZE_MAX};
        emr_model_options options = with_notes;
        emr_model *model;
        unsigned char got[4];
        options.user = &e;
        options.allocator = &allocator;
        emr_status status = emr_model_create(&model, &options, NULL);
        assert_true(!status == (model != NULL));
        pattern p = {.events = &e, .count = 100, .bits = 32, .granule = 1, .max_count = 8192};
        if (!status)
            status = add_tensor(model, "t", EMR_DTYPE_F32, 100, compute_pattern, &p, 0, 0, NULL);
        if (!status)
            status = emr_tensor_read(emr_model_tensor(model, 0), 0, got, 4, NULL);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        bool made = model != NULL;
        emr_model_destroy(&model);
        assert_int_equal(e.destroys, made);
        assert_int_equal(e.opens, !failed);
        assert_int_equal(e.closes, e.opens);
        assert_int_equal(counts.alive, 0);
        assert_false(e.wrong);
    }
    assert_true(k > 5);
}

/* More readers than the library keeps scratch for, all of them inside a computation at the same time. */
enum { READERS = 80, KEPT = 64 };
static pthread_barrier_t all_inside;

static void wait_for_all(pattern *p)
{
    (void)p;
    pthread_barrier_wait(&all_inside);
}

static void *read_one(void *arg)
{
    unsigned char got;
    return emr_tensor_read(arg, 5, &got, 1, NULL) == EMR_OK && got == byte_at(5) ? arg : NULL;
}

static void every_reader_has_scratch_of_its_own(void **state)
{
    events e = {.fail_open = SIZE_MAX};
    emr_model *model = make_model(&e, NULL);
    pattern p = {.events = &e, .count = 100, .meanwhile = wait_for_all};
    const emr_tensor *t = add_pattern(model, EMR_DTYPE_U8, &p);
    pthread_t threads[READERS];
    void *result;
    (void)state;
    for (size_t round = 1; round <= 3; round++) {
        assert_int_equal(pthread_barrier_init(&all_inside, NULL, READERS), 0);
        for (size_t i = 0; i < READERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, read_one, (void *)(uintptr_t)t), 0);
        for (size_t i = 0; i < READERS; i++) {
            pthread_join(threads[i], &result);
            assert_non_null(result);
        }
        pthread_barrier_destroy(&all_inside);
        assert_true(e.opens >= READERS && e.opens - e.closes <= KEPT);
    }
    emr_model_destroy(&model);
    assert_int_equal(e.opens, e.closes);
    assert_int_equal(e.destroys, 1);
    assert_false(e.wrong);
}

typedef struct reader {
    const emr_model *model;
    uint64_t seed;
} reader;

static void *read_ranges(void *arg)
{
    const reader *task = arg;
    rng r = {task->seed};
    for (int k = 0; k < 300; k++) {
        unsigned char got[3000];
        const emr_tensor *t = emr_model_tensor(task->model, (uint32_t)rng_below(&r, 3));
        uint64_t bytes = emr_tensor_bytes(t), first = rng_below(&r, bytes - sizeof got);
        size_t n = (size_t)rng_below(&r, sizeof got + 1);
        if (emr_tensor_read(t, first, got, n, NULL))
            return NULL;
        for (size_t i = 0; i < n; i++)
            if (got[i] != byte_at(first + i))
                return NULL;
    }
    return arg;
}

static void threads_read_at_the_same_time(void **state)
{
    events e = {.fail_open = SIZE_MAX};
    emr_model *model = make_model(&e, NULL);
    pattern p[3] = {{.events = &e, .count = 9000, .granule = 32},
                    {.events = &e, .count = 9000, .granule = 2, .max_count = 100},
                    {.events = &e, .count = 9000, .max_count = 7}};
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F4, EMR_DTYPE_F64};
    pthread_t threads[8];
    reader readers[8];
    void *result;
    (void)state;
    for (size_t i = 0; i < 3; i++)
        add_pattern(model, dtypes[i], &p[i]);
    for (size_t i = 0; i < 8; i++) {
        readers[i] = (reader){model, 700 + i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_ranges, &readers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    assert_true(e.opens <= 8);
    emr_model_destroy(&model);
    assert_int_equal(e.opens, e.closes);
    assert_false(e.wrong);
}

/* A computation that fails as it is told. */
typedef struct failure {
    emr_status status;
    int32_t system;
    const char *file, *why;
    const emr_tensor *other; /* which cannot be read */
    bool endless;            /* a text without an end */
} failure;

static emr_status compute_failure(const emr_computation *c, emr_error *error)
{
    const failure *f = c->user;
    if (f->other)
        return emr_tensor_read(f->other, 0, c->out, 1, error);
    if (f->endless)
        memset(error->text, 'x', sizeof error->text);
    return f->why ? emr_error_set(error, f->status, f->system, f->file, f->why) : f->status;
}

static emr_status read_failure(failure *f, emr_error *error)
{
    emr_model *model = test_model_new("made");
    unsigned char byte;
    assert_ok(add_tensor(model, "p0", EMR_DTYPE_U8, 8, compute_failure, f, 0, 0, error), error);
    emr_status status = emr_tensor_read(emr_model_tensor(model, 0), 3, &byte, 1, error);
    if (error)
        assert_int_equal(error->status, status);
    emr_model_destroy(&model);
    return status;
}

static void failures_name_model_and_tensor(void **state)
{
    static const struct {
        failure failure;
        const char *text;
    } cases[] = {
        {{.status = EMR_ECORRUPT, .why = "a checksum differs"}, "made: tensor 'p0': a checksum differs"},
        {{.status = EMR_EIO, .system = 5, .file = "a.bin", .why = "lost"}, "made: tensor 'p0': a.bin: lost"},
        {{.status = EMR_EIO, .system = 5, .file = "made", .why = "lost"}, "made: tensor 'p0': lost"},
        {{.status = EMR_ENOMEM}, "made: tensor 'p0' could not be computed"},
        {{.status = EMR_ECANCELED}, "made: tensor 'p0' could not be computed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        failure f = cases[i].failure;
        emr_error error;
        memset(&error, 0xee, sizeof error);
        assert_int_equal(read_failure(&f, &error), f.status);
        check_sentence(&error, cases[i].text);
        assert_int_equal(error.system, f.system);
        assert_int_equal(read_failure(&f, NULL), f.status);
    }
    failure endless = {.status = EMR_EIO, .endless = true};
    emr_error error;
    assert_int_equal(read_failure(&endless, &error), EMR_EIO);
    assert_true(memchr(error.text, 0, sizeof error.text));
    assert_memory_equal(error.text, "made: tensor 'p0': xxx", 22);
}

/* The tensor below is what is to blame. */
static void failures_below_are_passed_on(void **state)
{
    emr_model *below = test_model_new("below.bin");
    const uint64_t shape = 8;
    emr_tensor_desc d = {.size = sizeof d, .name = "deep", .dtype = EMR_DTYPE_U8, .rank = 1, .shape = &shape};
    test_io broken = {.why = "the connection was lost", .system = 104};
    emr_buffer *file = test_buffer_new();
    emr_error error;
    (void)state;
    broken.inner = *emr_buffer_io(file);
    const emr_io io = test_io_make(&broken);
    d.io = &io;
    assert_ok(emr_model_add(below, &d, &error), &error);
    failure f = {.other = emr_model_tensor(below, 0)};
    assert_int_equal(read_failure(&f, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "below.bin"));
    assert_non_null(strstr(error.text, ": the connection was lost"));
    assert_int_equal(error.system, 104);
    assert_true(test_span_is(&error, error.file, "below.bin"));
    assert_true(test_span_is(&error, error.tensor, "deep"));
    emr_model_destroy(&below);
    emr_buffer_destroy(&file);
}

/* Written with threads and windows of any size, a computed model is the file that its bytes in memory make.
 */
static void computed_models_are_written_like_others(void **state)
{
    static const uint64_t sizes[] = {0, 64 << 10, 300000, 100 << 20};
    events e = {.fail_open = SIZE_MAX};
    emr_model *model = make_model(&e, NULL), *plain = test_model_new("plain");
    pattern p[4] = {{.events = &e, .count = 70004, .granule = 32},
                    {.events = &e, .count = 3},
                    {.events = &e, .count = 60000, .granule = 1024, .max_count = 5000},
                    {.events = &e, .count = 20, .granule = 4}};
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F64, EMR_DTYPE_BF16, EMR_DTYPE_F6_E3M2};
    unsigned char *bytes = malloc(300000);
    emr_buffer *expected = test_buffer_new();
    emr_pool *pool = test_pool_new(3);
    emr_error error;
    (void)state;
    for (uint64_t k = 0; k < 300000; k++)
        bytes[k] = byte_at(k);
    for (size_t i = 0; i < 4; i++) {
        const emr_tensor *t = add_pattern(model, dtypes[i], &p[i]);
        emr_tensor_desc d = {.size = sizeof d, .name = emr_tensor_name(t), .dtype = dtypes[i], .rank = 1};
        d.shape = emr_tensor_shape(t);
        d.data = bytes;
        assert_ok(emr_model_add(plain, &d, &error), &error);
    }
    assert_ok(emr_safetensors_write(plain, emr_buffer_io(expected), NULL, &error), &error);
    for (size_t i = 0; i < 8; i++) {
        emr_resources resources = test_resources(NULL, i % 2 ? emr_pool_executor(pool) : NULL);
        const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
        emr_buffer *got = test_buffer_new();
        resources.memory_bytes = sizes[i / 2];
        emr_status status = emr_safetensors_write(model, emr_buffer_io(got), &options, &error);
        assert_true(status == EMR_OK || (status == EMR_ELIMIT && i / 2 == 1));
        assert_true(status || test_same_buffers(expected, got));
        emr_buffer_destroy(&got);
    }
    emr_model_destroy(&model);
    emr_model_destroy(&plain);
    emr_buffer_destroy(&expected);
    emr_pool_destroy(&pool);
    free(bytes);
    assert_int_equal(e.opens, e.closes);
    assert_false(e.wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_range_is_made_of_whole_granules),
        cmocka_unit_test(nothing_is_computed_twice_without_need),
        cmocka_unit_test(impossible_granules_are_refused),
        cmocka_unit_test(scratch_is_optional),
        cmocka_unit_test(scratch_that_does_not_open_fails_the_read),
        cmocka_unit_test(models_without_memory_are_not_destroyed),
        cmocka_unit_test(every_reader_has_scratch_of_its_own),
        cmocka_unit_test(threads_read_at_the_same_time),
        cmocka_unit_test(failures_name_model_and_tensor),
        cmocka_unit_test(failures_below_are_passed_on),
        cmocka_unit_test(computed_models_are_written_like_others),
    };
    return cmocka_run_group_tests_name("computed models", tests, NULL, NULL);
}
