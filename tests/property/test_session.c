/* test_session.c - a session gives what the task's model gives, bit for bit, whatever its memory, executor,
 * base and bundle are like; products are what the header says, added up in the order that it says; and what
 * fails leaves a session that works. */
#include "property.h"

#include <math.h>
#include <stdio.h>

enum { N_TASKS = 3, LANES = 32 };

/* How a session comes by what it needs. */
typedef struct setting {
    emr_rescale_per per;
    emr_dtype unified_dtype;
    int32_t compression;
    bool embedded; /* the base is the bundle's own */
    bool mapped;
    test_source source;
    uint32_t threads; /* 0: no executor; 99: an odd one */
    uint64_t mask_bytes;
} setting;

typedef struct fixture {
    test_set set;
    emr_buffer *buffer, *mapped; /* the bundle, as it was written and to be mapped */
    emr_bundle *bundle;
    emr_pool *pool;
    odd_executor odd;
    emr_executor odd_table;
    const emr_executor *executor; /* NULL: none */
    test_allocator counts;
    emr_allocator allocator;
    test_io input;
    emr_session *session;
    emr_error error;
} fixture;

static const test_tensor tensors[] = {
    {"wide", EMR_DTYPE_F32, 2, {13, 1031}}, {"tall", EMR_DTYPE_BF16, 2, {900, 31}},
    {"square", EMR_DTYPE_F16, 2, {64, 96}}, {"conv", EMR_DTYPE_F32, 3, {5, 7, 9}},
    {"one", EMR_DTYPE_F32, 1, {5000}},      {"scalar", EMR_DTYPE_F32, 0, {0}},
    {"none", EMR_DTYPE_F32, 2, {0, 7}},     {"no_columns", EMR_DTYPE_F32, 2, {7, 0}},
    {"double", EMR_DTYPE_F64, 2, {3, 40}},  {"head.a", EMR_DTYPE_F32, 2, {3, 11000}},
    {"head.b", EMR_DTYPE_BF16, 1, {4099}},  {"ids", EMR_DTYPE_I32, 1, {1000}},
    {"steps", EMR_DTYPE_I64, 1, {20}},      {"small", EMR_DTYPE_F8_E4M3, 2, {17, 33}},
    {"ends", EMR_DTYPE_F32, 2, {40, 512}},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };

static emr_merge_options merge_options(const setting *s)
{
    static const char *const globs[] = {"head.*"};
    static const emr_policy policy = {.size = sizeof policy, .private_globs = globs, .n_private_globs = 1};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.policy = &policy;
    o.rescale_per = s->per;
    o.unified_dtype = s->unified_dtype;
    o.compression = s->compression;
    o.embed_base = s->embedded;
    o.block_params = 4096;
    return o;
}

static void open_session(fixture *f, const setting *s)
{
    emr_bundle_options o = EMR_INIT(emr_bundle_options);
    emr_session_options so = EMR_INIT(emr_session_options);
    f->mapped = test_buffer_of(emr_buffer_data(f->buffer), emr_buffer_bytes(f->buffer));
    f->input = (test_io){.inner = *emr_buffer_io(f->mapped), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->counts = (test_allocator){.fail_at = SIZE_MAX};
    f->allocator = test_allocator_make(&f->counts);
    o.allocator = &f->allocator;
    emr_io io = s->mapped ? f->input.inner : test_io_make(&f->input);
    assert_ok(emr_bundle_open(&f->bundle, &io, "test.emr", &o, &f->error), &f->error);
    if (s->threads == 99) {
        f->odd = (odd_executor){.order = {5}, .reverse = false};
        f->odd_table = odd_executor_make(&f->odd, 3);
        f->executor = &f->odd_table;
    } else if (s->threads) {
        f->pool = create_pool(s->threads);
        f->executor = emr_pool_executor(f->pool);
    }
    const emr_resources resources = test_resources(NULL, f->executor);
    so.resources = &resources;
    so.mask_bytes = s->mask_bytes;
    assert_ok(
        emr_session_create(&f->session, f->bundle, s->embedded ? NULL : f->set.base.model, &so, &f->error),
        &f->error);
}

static fixture create_fixture(const setting *s, uint64_t seed)
{
    fixture f = {0};
    emr_merge_options o = merge_options(s);
    f.set = test_set_create(tensors, N_TENSORS, N_TASKS, seed, s->source);
    f.set.tasks[1].data[11][3] ^= 1;                                   /* its own copy of `ids` */
    memcpy(f.set.tasks[2].data[0], f.set.base.data[0], 13 * 1031 * 4); /* nothing of `wide` */
    f.buffer = test_merge_bundle(&f.set, &o);
    return f;
}

static void destroy_fixture(fixture *f)
{
    emr_session_destroy(&f->session);
    emr_bundle_destroy(&f->bundle);
    assert_int_equal(f->counts.alive, 0);
    emr_pool_destroy(&f->pool);
    emr_buffer_destroy(&f->mapped);
    emr_buffer_destroy(&f->buffer);
    test_set_destroy(&f->set);
}

static const setting settings[] = {
    {.source = SOURCE_MEMORY},
    {.per = EMR_RESCALE_PER_ROW, .compression = EMR_COMPRESSION_NONE, .mapped = true, .threads = 3},
    {.per = EMR_RESCALE_PER_TENSOR,
     .unified_dtype = EMR_DTYPE_BF16,
     .source = SOURCE_IO,
     .mask_bytes = 1,
     .threads = 2},
    {.per = EMR_RESCALE_PER_ROW,
     .unified_dtype = EMR_DTYPE_F16,
     .source = SOURCE_READ,
     .mask_bytes = 3,
     .threads = 99},
    {.embedded = true, .compression = EMR_COMPRESSION_NONE, .mask_bytes = 17, .threads = 99},
    {.embedded = true, .mapped = true, .per = EMR_RESCALE_PER_ROW, .mask_bytes = 40},
};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

/* Of a setting: mask_bytes in blocks, of 512 bytes each. */
static setting setting_at(size_t i)
{
    setting s = settings[i];
    s.mask_bytes *= 512;
    return s;
}

static size_t bytes_of(emr_dtype dtype)
{
    return emr_dtype_bits(dtype) / 8;
}

static emr_weights all_of(const char *name, void *data, emr_dtype dtype)
{
    return (emr_weights){.size = sizeof(emr_weights), .name = name, .data = data, .dtype = dtype};
}

/* Some of a task's tensors at once, in random order and ranges, against the task's model. */
static void check_apply(fixture *f, uint32_t task, emr_dtype dtype, rng *r)
{
    emr_weights weights[8];
    unsigned char *room[8], *want[8];
    emr_view_options o = EMR_INIT(emr_view_options);
    emr_model *model;
    o.dtype = dtype;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_int_equal(emr_bundle_get_info(f->bundle, &info), EMR_OK);
    assert_ok(emr_bundle_open_task(&model, f->bundle, task, info.has_base ? NULL : f->set.base.model, &o,
                                   &f->error),
              &f->error);
    for (size_t i = 0; i < 8; i++) {
        const emr_tensor *t = emr_model_tensor(model, (uint32_t)rng_below(r, emr_model_n_tensors(model)));
        uint64_t count = emr_tensor_count(t), first = rng_below(r, count + 1),
                 n = rng_below(r, count - first + 1);
        if (rng_below(r, 3) == 0)
            first = n = 0; /* all */
        size_t size = bytes_of(emr_tensor_dtype(t));
        uint64_t expected = n ? n : count - first;
        want[i] = malloc(expected * size + 1);
        room[i] = malloc(expected * size + 8);
        memset(room[i], 0xa5, expected * size + 8);
        assert_ok(emr_tensor_read(t, first * size, want[i], expected * size, &f->error), &f->error);
        weights[i] = (emr_weights){.size = sizeof weights[i],
                                   .name = emr_tensor_name(t),
                                   .data = room[i],
                                   .first = first,
                                   .count = n,
                                   .dtype = emr_dtype_is_float(emr_tensor_dtype(t)) ? dtype : EMR_DTYPE_NONE};
    }
    assert_ok(emr_session_apply(f->session, task, weights, 8, &f->error), &f->error);
    for (size_t i = 0; i < 8; i++) {
        const emr_tensor *t = emr_model_find_tensor(model, weights[i].name);
        uint64_t n = weights[i].count ? weights[i].count : emr_tensor_count(t) - weights[i].first;
        size_t bytes = (size_t)n * bytes_of(emr_tensor_dtype(t));
        assert_memory_equal(room[i], want[i], bytes);
        for (size_t k = 0; k < 8; k++)
            assert_int_equal(room[i][bytes + k], 0xa5);
        free(room[i]);
        free(want[i]);
    }
    emr_model_destroy(&model);
}

static void weights_are_those_of_the_tasks_model(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F16};
    rng r = {31};
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        open_session(&f, &s);
        for (int k = 0; k < 60; k++)
            check_apply(&f, (uint32_t)rng_below(&r, N_TASKS), dtypes[k % 4], &r);
        destroy_fixture(&f);
    }
}

/* Switching and multiplying allocate nothing, whatever has to be read. */
static void nothing_is_allocated_after_creation(void **state)
{
    static float room[13 * 1031], head[3 * 11000], narrow[13 * 1031], x[3 * 1031], y[3 * 13];
    static int32_t ids[1000];
    const uint32_t tasks[] = {2, 0, 1};
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        s.mask_bytes = s.mask_bytes && s.mask_bytes < 9 * 512 ? 9 * 512 : s.mask_bytes;
        open_session(&f, &s);
        size_t before = f.counts.requests;
        const emr_weights weights[] = {
            all_of("wide", room, EMR_DTYPE_F32), all_of("head.b", head, EMR_DTYPE_F32),
            all_of("ids", ids, EMR_DTYPE_NONE), all_of("wide", narrow, EMR_DTYPE_BF16)};
        emr_product p = {.size = sizeof p, .n_rows = 13, .x = x, .y = y, .batch = 3};
        assert_int_equal(emr_bundle_find_tensor(f.bundle, "wide", &p.tensor, NULL), EMR_OK);
        for (uint32_t t = 0; t < N_TASKS; t++)
            assert_ok(emr_session_apply(f.session, t, weights, 4, &f.error), &f.error);
        assert_ok(emr_session_multiply(f.session, tasks, &p, &f.error), &f.error);
        assert_int_equal(f.counts.requests, before);
        destroy_fixture(&f);
    }
}

/* Output larger than the caches, which goes past them where it is aligned, beside output that is not. */
static void large_output_is_the_same(void **state)
{
    enum { SIDE = 1200, COUNT = SIDE * SIDE };
    static const test_tensor large[] = {{"a", EMR_DTYPE_F32, 2, {SIDE, SIDE}},
                                        {"b", EMR_DTYPE_BF16, 2, {SIDE, SIDE}}};
    static _Alignas(64) unsigned char a[COUNT * 4 + 64], b[COUNT * 4 + 64], want[COUNT * 4];
    emr_error error;
    emr_merge_options options = {.size = sizeof options, .rescale_per = EMR_RESCALE_PER_ROW};
    emr_session *session;
    emr_session_options o = EMR_INIT(emr_session_options);
    (void)state;
    test_set set = test_set_create(large, 2, 2, 8, SOURCE_MEMORY);
    emr_buffer *buffer = test_merge_bundle(&set, &options);
    emr_bundle *bundle = test_bundle_open(buffer);
    emr_pool *pool = create_pool(2);
    const emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    o.resources = &resources;
    assert_ok(emr_session_create(&session, bundle, set.base.model, &o, &error), &error);
    for (uint32_t task = 0; task < 2; task++)
        for (size_t off = 0; off < 3; off++) {
            const emr_dtype dtype = task ? EMR_DTYPE_F32 : EMR_DTYPE_NONE;
            const emr_weights weights[] = {all_of("a", a + off % 2, dtype), all_of("b", b + off * 32, dtype)};
            emr_view_options view = {.size = sizeof view, .dtype = dtype};
            emr_model *model;
            memset(a, 0xa5, sizeof a);
            memset(b, 0xa5, sizeof b);
            assert_ok(emr_session_apply(session, task, weights, 2, &error), &error);
            assert_ok(emr_bundle_open_task(&model, bundle, task, set.base.model, &view, &error), &error);
            for (size_t i = 0; i < 2; i++) {
                const emr_tensor *t = emr_model_find_tensor(model, weights[i].name);
                size_t bytes = (size_t)emr_tensor_bytes(t);
                assert_ok(emr_tensor_read(t, 0, want, bytes, &error), &error);
                assert_true(memcmp(weights[i].data, want, bytes) == 0);
                assert_true(i ? off == 2 || b[off * 32 + bytes] == 0xa5 : a[off % 2 + bytes] == 0xa5);
            }
            emr_model_destroy(&model);
        }
    emr_session_destroy(&session);
    emr_pool_destroy(&pool);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&set);
}

/* The base's own weights come out bit for bit. */
static void the_base_is_a_task_too(void **state)
{
    static unsigned char room[200000];
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        open_session(&f, &s);
        for (size_t t = 0; t < N_TENSORS; t++) {
            emr_weights w = all_of(tensors[t].name, room, EMR_DTYPE_NONE);
            size_t bytes = (size_t)test_tensor_count(&tensors[t]) * bytes_of(tensors[t].dtype);
            uint32_t n;
            assert_true(bytes <= sizeof room);
            emr_status status = emr_session_apply(f.session, EMR_BASE, &w, 1, &f.error);
            if (emr_bundle_find_tensor(f.bundle, tensors[t].name, &n, NULL)) {
                assert_int_equal(status, EMR_ENOTFOUND); /* private to tasks */
                continue;
            }
            assert_ok(status, &f.error);
            assert_memory_equal(room, f.set.base.data[t], bytes);
        }
        destroy_fixture(&f);
    }
}

/* One product by the words of product.h: lanes, then halves. */
static float in_order(const float *w, const float *x, uint64_t n)
{
    volatile float lanes[LANES] = {0};
    for (uint64_t c = 0; c < n; c++) {
        volatile float term = w[c] * x[c];
        lanes[c % LANES] = lanes[c % LANES] + term;
    }
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

static double exact_product(const float *w, const float *x, uint64_t n, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (uint64_t c = 0; c < n; c++) {
        sum += (double)w[c] * (double)x[c];
        *magnitude += fabs((double)w[c] * (double)x[c]);
    }
    return sum;
}

/* All weights of a merged tensor in F32, of each task and the base. */
typedef struct all_weights {
    float *of[N_TASKS + 1];
    uint64_t rows, columns;
} all_weights;

static all_weights weights_of(fixture *f, uint32_t tensor)
{
    all_weights all = {.rows = 1, .columns = 0};
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    assert_int_equal(emr_bundle_get_tensor(f->bundle, tensor, &info), EMR_OK);
    all.rows = info.count == 0 ? 0 : info.rank < 2 ? 1 : info.shape[0];
    all.columns = all.rows ? info.count / all.rows : 0;
    for (uint32_t t = 0; t <= N_TASKS; t++) {
        all.of[t] = calloc(info.count + 1, sizeof(float));
        emr_weights w = all_of(info.name, all.of[t], EMR_DTYPE_F32);
        assert_ok(emr_session_apply(f->session, t < N_TASKS ? t : EMR_BASE, &w, 1, &f->error), &f->error);
    }
    return all;
}

static void free_weights(all_weights *all)
{
    for (size_t t = 0; t <= N_TASKS; t++)
        free(all->of[t]);
}

/* A batch of a random size, with random tasks, rows and strides. */
static void check_product(fixture *f, uint32_t tensor, const all_weights *all, size_t batch_most, rng *r)
{
    enum { MOST = 80 };
    uint32_t tasks[MOST];
    size_t batch = (size_t)rng_below(r, batch_most + 1);
    bool one_task = rng_below(r, 3) == 0;
    emr_product p = {.size = sizeof p, .tensor = tensor, .batch = batch};
    p.first_row = rng_below(r, all->rows + 1);
    p.n_rows = rng_below(r, all->rows - p.first_row + 1);
    p.x_stride = (size_t)(all->columns + rng_below(r, 3) * 5);
    p.y_stride = (size_t)(p.n_rows + rng_below(r, 2) * 3);
    float *x = malloc((MOST * p.x_stride + 1) * sizeof *x), *y = malloc((MOST * p.y_stride + 1) * sizeof *y);
    for (size_t i = 0; i < MOST * p.x_stride; i++)
        x[i] = rng_normal(r);
    for (size_t i = 0; i < MOST * p.y_stride; i++)
        y[i] = 777;
    for (size_t b = 0; b < batch; b++)
        tasks[b] = one_task ? 1 : (uint32_t)rng_below(r, N_TASKS + 1);
    for (size_t b = 0; b < batch; b++)
        tasks[b] = tasks[b] == N_TASKS ? EMR_BASE : tasks[b];
    p.x = x;
    p.y = y;
    if (p.x_stride == all->columns)
        p.x_stride = 0;
    assert_ok(emr_session_multiply(f->session, tasks, &p, &f->error), &f->error);
    p.x_stride = p.x_stride ? p.x_stride : (size_t)all->columns;
    for (size_t b = 0; b < batch; b++) {
        const float *w = all->of[tasks[b] == EMR_BASE ? N_TASKS : tasks[b]], *v = x + b * p.x_stride;
        for (uint64_t row = 0; row < p.n_rows; row++) {
            const float *wr = w + (p.first_row + row) * all->columns;
            float got = y[b * p.y_stride + row], want = in_order(wr, v, all->columns);
            double magnitude, exact = exact_product(wr, v, all->columns, &magnitude);
            double bound = ((double)((all->columns + 31) / 32) + 6) * 0x1p-24 * magnitude * 1.001 + 1e-40;
            if (memcmp(&got, &want, sizeof got) != 0)
                fail_msg("tensor %u, vector %zu of %zu, row %u: %.9g, not %.9g", tensor, b, batch,
                         (unsigned)row, (double)got, (double)want);
            assert_true(fabs((double)got - exact) <= bound);
        }
        for (size_t i = (size_t)p.n_rows; i < p.y_stride; i++)
            assert_true(y[b * p.y_stride + i] == 777.0f);
    }
    free(x);
    free(y);
}

static void products_are_those_of_the_weights(void **state)
{
    rng r = {77};
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        if (s.mask_bytes && s.mask_bytes < 12 * 512)
            s.mask_bytes = 12 * 512; /* three tasks, a row across four blocks at most */
        open_session(&f, &s);
        emr_bundle_info info = EMR_INIT(emr_bundle_info);
        assert_int_equal(emr_bundle_get_info(f.bundle, &info), EMR_OK);
        for (uint32_t t = 0; t < info.n_merged; t++) {
            all_weights all = weights_of(&f, t);
            for (int k = 0; k < 6; k++)
                check_product(&f, t, &all, k < 4 ? 10 : 80, &r);
            free_weights(&all);
        }
        destroy_fixture(&f);
    }
}

/* Modulators of the bundle, multiplied by together, give what the session gives. */
static void modulators_multiply_too(void **state)
{
    rng r = {78};
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        enum { BATCH = 5 };
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        s.mask_bytes = 0;
        open_session(&f, &s);
        emr_modulator *of[N_TASKS], *batch[BATCH];
        const uint32_t tasks[BATCH] = {1, 0, 1, 2, 0};
        for (uint32_t t = 0; t < N_TASKS; t++)
            assert_ok(emr_bundle_open_modulator(&of[t], f.bundle, t, NULL, &f.error), &f.error);
        for (size_t b = 0; b < BATCH; b++)
            batch[b] = of[tasks[b]];
        for (uint32_t t = 0; t < emr_modulator_n_tensors(of[0]); t++) {
            all_weights all = weights_of(&f, t);
            size_t k = 0;
            while (strcmp(tensors[k].name, emr_modulator_tensor_name(of[0], t)) != 0)
                k++;
            float *x = malloc((BATCH * all.columns + 1) * sizeof *x);
            float *y = calloc(BATCH * all.rows + 1, sizeof *y), *z = calloc(BATCH * all.rows + 1, sizeof *z);
            for (size_t c = 0; c < BATCH * all.columns; c++)
                x[c] = rng_normal(&r);
            emr_product p = {
                .size = sizeof p, .tensor = t, .n_rows = all.rows, .x = x, .y = y, .batch = BATCH};
            assert_ok(emr_session_multiply(f.session, tasks, &p, &f.error), &f.error);
            p.y = z;
            p.n_columns = all.columns ? all.columns : 1; /* without elements any length will do */
            assert_ok(emr_modulator_multiply(batch, &p, tensors[k].dtype, f.set.base.data[k], &f.error),
                      &f.error);
            assert_memory_equal(y, z, BATCH * all.rows * sizeof *y);
            free(x);
            free(y);
            free(z);
            free_weights(&all);
        }
        for (size_t t = 0; t < N_TASKS; t++)
            emr_modulator_destroy(&of[t]);
        destroy_fixture(&f);
    }
}

/* What is in memory is not read again, and what was used longest ago goes first. */
static void masks_are_kept_by_use(void **state)
{
    static float room[5000];
    setting s = {.mask_bytes = 512 * 4};
    emr_session_info info = EMR_INIT(emr_session_info);
    (void)state;
    fixture f = create_fixture(&s, 9);
    open_session(&f, &s);
    emr_weights one = all_of("one", room, EMR_DTYPE_F32); /* lies in two blocks of a mask, or in three */
    uint64_t read[7];
    const uint32_t order[7] = {0, 1, 0, 0, 2, 0, 1};
    for (size_t i = 0; i < 7; i++) {
        assert_ok(emr_session_apply(f.session, order[i], &one, 1, &f.error), &f.error);
        assert_int_equal(emr_session_get_info(f.session, &info), EMR_OK);
        read[i] = info.masks_read;
    }
    assert_int_equal(info.mask_bytes, 512 * 4);
    assert_true(read[0] == 2 && read[1] == 4); /* both fit */
    assert_true(read[3] == 4);                 /* and are used again */
    assert_true(read[4] == 6);                 /* a third takes the place of 1, */
    assert_true(read[5] == 6);                 /* not of 0, which was used since, */
    assert_true(read[6] == 8);                 /* so that 1 has to be read */
    destroy_fixture(&f);
}

/* Tables and caps: what is said to be needed is what is taken, about, and enough. */
static void memory_is_capped(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        emr_session_info info = EMR_INIT(emr_session_info);
        open_session(&f, &s);
        assert_int_equal(emr_session_get_info(f.session, &info), EMR_OK);
        assert_true(!s.mask_bytes || info.mask_bytes <= s.mask_bytes);
        emr_session_destroy(&f.session);
        test_meter meter = {0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_session_options o = EMR_INIT(emr_session_options);
        const emr_model *base = s.embedded ? NULL : f.set.base.model;
        o.resources = &resources;
        o.mask_bytes = s.mask_bytes;
        o.check = EMR_BASE_CHECK_NONE;
        for (resources.memory_bytes = 1 << 12;
             emr_session_create(&f.session, f.bundle, base, &o, &f.error) == EMR_ELIMIT;
             resources.memory_bytes += 1 << 12) {
            assert_null(f.session);
            assert_says(&f.error, "memory_bytes");
        }
        assert_non_null(f.session);
        if (meter.peak > resources.memory_bytes)
            fail_msg("setting %zu: %zu bytes, not %zu", i, meter.peak, (size_t)resources.memory_bytes);
        destroy_fixture(&f);
    }
}

/* Every allocation of a creation fails once. */
static void creation_without_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        open_session(&f, &s);
        emr_session_destroy(&f.session);
        emr_session_options o = EMR_INIT(emr_session_options);
        test_allocator counts = {.fail_at = 0};
        emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, f.executor);
        o.resources = &resources;
        emr_status status;
        while ((status = emr_session_create(&f.session, f.bundle, s.embedded ? NULL : f.set.base.model, &o,
                                            &f.error)) == EMR_ENOMEM) {
            assert_null(f.session);
            assert_int_equal(counts.alive, 0);
            assert_says(&f.error, "memory");
            counts = (test_allocator){.fail_at = counts.fail_at + 1};
        }
        assert_ok(status, &f.error);
        assert_true(counts.fail_at > 10);
        emr_session_destroy(&f.session);
        assert_int_equal(counts.alive, 0);
        destroy_fixture(&f);
    }
}

/* Every read fails once: of a creation, and of a call, after which the same call succeeds. */
static void failing_reads_can_be_tried_again(void **state)
{
    static float room[13 * 1031], want[13 * 1031];
    rng r = {5};
    (void)state;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        setting s = setting_at(i);
        fixture f = create_fixture(&s, i + 1);
        if (s.mapped) {
            destroy_fixture(&f);
            continue;
        }
        open_session(&f, &s);
        emr_session_options o = EMR_INIT(emr_session_options);
        const emr_model *base = s.embedded ? NULL : f.set.base.model;
        const emr_resources resources = test_resources(NULL, f.executor);
        o.resources = &resources;
        o.mask_bytes = s.mask_bytes;
        emr_weights w = all_of("wide", want, EMR_DTYPE_F32);
        assert_ok(emr_session_apply(f.session, 1, &w, 1, &f.error), &f.error);
        emr_session_destroy(&f.session);
        size_t n_failed = 0;
        emr_status status;
        f.input.reads = 0;
        f.input.fail_read = 0;
        while ((status = emr_session_create(&f.session, f.bundle, base, &o, &f.error)) == EMR_EIO) {
            assert_null(f.session);
            assert_names_file(&f.error, "test.emr");
            f.input.reads = 0;
            f.input.fail_read++;
            n_failed++;
        }
        assert_ok(status, &f.error);
        assert_true(n_failed > 0);
        w.data = room;
        f.input.fail_read = f.input.reads;
        assert_int_equal(emr_session_apply(f.session, 1, &w, 1, &f.error), EMR_EIO);
        assert_names_task(&f.error, "t1");
        f.input.fail_read = SIZE_MAX;
        assert_ok(emr_session_apply(f.session, 1, &w, 1, &f.error), &f.error);
        assert_memory_equal(room, want, sizeof want);
        check_apply(&f, 2, EMR_DTYPE_F32, &r);
        destroy_fixture(&f);
    }
}

/* A damaged mask is told, with its task; the other tasks are as they were. */
static void a_damaged_mask_is_told(void **state)
{
    static float room[13 * 1031];
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        setting s = {.compression = EMR_COMPRESSION_NONE, .mapped = mapped};
        fixture f = create_fixture(&s, 3);
        open_session(&f, &s);
        emr_weights w = all_of("wide", room, EMR_DTYPE_F32);
        size_t n_told = 0;
        for (size_t at = 64; at < emr_buffer_bytes(f.buffer) / 2;
             at += 300) { /* the blocks' half of the file */
            unsigned char *byte = test_buffer_bytes(f.buffer) + at;
            emr_session *damaged = NULL;
            *byte ^= 4;
            emr_status status = emr_session_create(&damaged, f.bundle, f.set.base.model, NULL, &f.error);
            for (uint32_t t = 0; !status && t < N_TASKS; t++) {
                status = emr_session_apply(damaged, t, &w, 1, &f.error);
                if (status) {
                    char task[8];
                    snprintf(task, sizeof task, "t%u", t);
                    assert_int_equal(status, EMR_ECORRUPT);
                    assert_names_task(&f.error, task);
                    *byte ^= 4; /* the file is whole again, and so is what it gives */
                    assert_ok(emr_session_apply(damaged, t, &w, 1, &f.error), &f.error);
                    *byte ^= 4;
                    n_told++;
                }
            }
            emr_session_destroy(&damaged);
            *byte ^= 4;
        }
        assert_true(n_told > 0);
        destroy_fixture(&f);
    }
}

static void assert_refused(fixture *f, emr_status status, emr_status want, const char *says)
{
    assert_int_equal(status, want);
    assert_says(&f->error, says);
    memset(&f->error, 0, sizeof f->error);
}

static void wrong_calls_are_refused(void **state)
{
    static float room[13 * 1031], x[4 * 1031], y[13 * 4];
    setting s = {.compression = 0};
    (void)state;
    fixture f = create_fixture(&s, 4);
    open_session(&f, &s);
    emr_error *e = &f.error;
    const emr_weights good = all_of("wide", room, EMR_DTYPE_F32);
    emr_weights w = good;
    w.name = "absent";
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_ENOTFOUND, "'absent'");
    w.name = NULL; /* it goes by its number, then */
    w.tensor = 1000;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_ENOTFOUND, "no tensor 1000");
    w = good;
    assert_refused(&f, emr_session_apply(f.session, N_TASKS, &w, 1, e), EMR_ENOTFOUND, "task 3");
    w.first = 13 * 1031;
    w.count = 1;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "13403");
    w.first = UINT64_MAX;
    w.count = 2;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "'wide'");
    w = good;
    w.data = NULL;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "'wide'");
    w.data = f.set.base.data[0] + 13 * 1031 * 4 - 1;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "base");
    w = good;
    w.dtype = EMR_DTYPE_I32;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "dtype");
    w.name = "ids";
    w.dtype = EMR_DTYPE_F32;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "'ids'");
    w = good;
    w.size = 8;
    assert_refused(&f, emr_session_apply(f.session, 0, &w, 1, e), EMR_EINVAL, "emr_weights");
    emr_weights two[2] = {good, good};
    two[1].size = sizeof *two + 8;
    assert_refused(&f, emr_session_apply(f.session, 0, two, 2, e), EMR_EINVAL, "size");
    assert_refused(&f, emr_session_apply(f.session, 0, NULL, 1, e), EMR_EINVAL, "NULL");
    assert_refused(&f, emr_session_apply(NULL, 0, &good, 1, e), EMR_EINVAL, "NULL");
    assert_ok(emr_session_apply(f.session, 0, NULL, 0, e), e);

    const uint32_t tasks[4] = {0, 1, 2, EMR_BASE}, bad[1] = {3};
    const emr_product fine = {.size = sizeof fine, .n_rows = 13, .x = x, .y = y, .batch = 4};
    emr_product p = fine;
    assert_int_equal(emr_bundle_find_tensor(f.bundle, "wide", &p.tensor, NULL), EMR_OK);
    const uint32_t wide = p.tensor;
    assert_ok(emr_session_multiply(f.session, tasks, &p, e), e);
    p.tensor = 1000;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_ENOTFOUND, "1000");
    p.tensor = wide;
    p.first_row = 1;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_EINVAL, "'wide' has 13 rows");
    p.first_row = UINT64_MAX / 1031 / 2;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_EINVAL, "'wide' has 13 rows");
    p.first_row = 0;
    p.x = NULL;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_EINVAL, "needs x and y");
    p.x = x;
    p.x_stride = 100;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_EINVAL, "overlap");
    p.x_stride = 0;
    assert_refused(&f, emr_session_multiply(f.session, NULL, &p, e), EMR_EINVAL, "NULL");
    p.size = sizeof p - 1;
    assert_refused(&f, emr_session_multiply(f.session, tasks, &p, e), EMR_EINVAL, "emr_product");
    p.size = sizeof p;
    p.batch = 1;
    assert_refused(&f, emr_session_multiply(f.session, bad, &p, e), EMR_ENOTFOUND, "task 3");
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_session *other;
    o.check = EMR_BASE_CHECK_WRITE; /* which a session is not */
    assert_refused(&f, emr_session_create(&other, f.bundle, f.set.base.model, &o, e), EMR_EINVAL, "check");
    assert_null(other);
    o.check = EMR_BASE_CHECK_FIRST;
    o.mask_bytes = 100;
    assert_refused(&f, emr_session_create(&other, f.bundle, f.set.base.model, &o, e), EMR_ELIMIT, "512");
    assert_null(other);
    o.mask_bytes = 1024; /* two blocks are too few for three tasks */
    assert_ok(emr_session_create(&other, f.bundle, f.set.base.model, &o, e), e);
    p.batch = 4;
    assert_refused(&f, emr_session_multiply(other, tasks, &p, e), EMR_ELIMIT, "3 tasks");
    assert_ok(emr_session_apply(other, 1, &good, 1, e), e); /* and it goes on */
    emr_session_destroy(&other);
    assert_refused(&f, emr_session_create(&other, f.bundle, NULL, NULL, e), EMR_ENOTFOUND, "not embedded");
    f.set.base.data[1][5] ^= 1;
    assert_refused(&f, emr_session_create(&other, f.bundle, f.set.base.model, NULL, e), EMR_EMISMATCH,
                   "'tall'");
    destroy_fixture(&f);
}

/* What lies in memory is not copied. */
static void memory_is_used_where_it_is(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        setting s = {.compression = EMR_COMPRESSION_NONE, .mapped = mapped};
        emr_session_info info = EMR_INIT(emr_session_info);
        s.source = mapped ? SOURCE_MEMORY : SOURCE_READ;
        fixture f = create_fixture(&s, 6);
        open_session(&f, &s);
        assert_int_equal(emr_session_get_info(f.session, &info), EMR_OK);
        assert_true((info.base_bytes == 0) == mapped);
        assert_true((info.unified_bytes == 0) == mapped);
        assert_true((info.mask_bytes == 0) == mapped);
        destroy_fixture(&f);
    }
}

/* Checking the base can be watched, canceled, and left out. */
static void the_base_is_checked_unless_trusted(void **state)
{
    static float room[13 * 1031];
    setting s = {.threads = 2};
    (void)state;
    fixture f = create_fixture(&s, 7);
    open_session(&f, &s);
    emr_session *other = NULL;
    test_progress progress = {.stop_at = SIZE_MAX};
    emr_session_options o = EMR_INIT(emr_session_options);
    emr_resources resources = test_resources(NULL, f.executor);
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    o.resources = &resources;
    assert_ok(emr_session_create(&other, f.bundle, f.set.base.model, &o, &f.error), &f.error);
    emr_session_destroy(&other);
    assert_true(progress.calls > 0 && progress.done == progress.total && !progress.backwards);
    progress = (test_progress){.stop_at = 0};
    assert_int_equal(emr_session_create(&other, f.bundle, f.set.base.model, &o, &f.error), EMR_ECANCELED);
    assert_null(other);

    f.set.base.data[0][2] ^= 1;
    progress = (test_progress){.stop_at = SIZE_MAX};
    assert_int_equal(emr_session_create(&other, f.bundle, f.set.base.model, &o, &f.error), EMR_EMISMATCH);
    assert_says(&f.error, "'wide'");
    progress = (test_progress){.stop_at = SIZE_MAX};
    o.check = EMR_BASE_CHECK_NONE;
    assert_ok(emr_session_create(&other, f.bundle, f.set.base.model, &o, &f.error), &f.error);
    assert_int_equal(progress.calls, 0);
    emr_weights w = all_of("wide", room, EMR_DTYPE_NONE);
    assert_ok(emr_session_apply(other, EMR_BASE, &w, 1, &f.error), &f.error);
    assert_memory_equal(room, f.set.base.data[0], sizeof room);
    emr_session_destroy(&other);
    destroy_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_tasks_model),
        cmocka_unit_test(large_output_is_the_same),
        cmocka_unit_test(the_base_is_a_task_too),
        cmocka_unit_test(products_are_those_of_the_weights),
        cmocka_unit_test(modulators_multiply_too),
        cmocka_unit_test(nothing_is_allocated_after_creation),
        cmocka_unit_test(masks_are_kept_by_use),
        cmocka_unit_test(memory_is_capped),
        cmocka_unit_test(memory_is_used_where_it_is),
        cmocka_unit_test(the_base_is_checked_unless_trusted),
        cmocka_unit_test(creation_without_memory),
        cmocka_unit_test(failing_reads_can_be_tried_again),
        cmocka_unit_test(a_damaged_mask_is_told),
        cmocka_unit_test(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
