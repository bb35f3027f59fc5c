/* test_session_blocks.c - sessions and ggml's blocks: over a base that lies in them everything is, to the bit, as over
 * the values that they stand for; and weights written in them are emr_quantise of those written in F32. */
#include "support.h"

enum { N_TASKS = 5, BATCH = 11, MOST = 41984, MOST_BYTES = MOST / 32 * 34 };

/* Rows of whole blocks: shorter than a stripe, longer than a chunk, of three dimensions, a vector; kept and private
 * ones; and one that is in no blocks. */
static const test_tensor tensors[] = {
    {"proj", EMR_DTYPE_F32, 2, {70, 96}},      {"wide", EMR_DTYPE_F32, 2, {2, 20992}},
    {"experts", EMR_DTYPE_F32, 3, {3, 8, 64}}, {"norm", EMR_DTYPE_F32, 1, {96}},
    {"odd", EMR_DTYPE_F32, 2, {9, 40}},        {"bn.running_mean", EMR_DTYPE_F32, 1, {64}},
    {"head.a", EMR_DTYPE_F32, 2, {3, 64}},     {"head.b", EMR_DTYPE_BF16, 2, {5, 2048}},
    {"head.c", EMR_DTYPE_F32, 2, {4, 33}},     {"ids", EMR_DTYPE_I32, 2, {2, 32}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors, N_MERGED = 5 };

static const emr_block_type types[] = {EMR_BLOCK_TYPE_Q8_0, EMR_BLOCK_TYPE_Q4_0, EMR_BLOCK_TYPE_Q5_1,
                                       EMR_BLOCK_TYPE_Q4_1, EMR_BLOCK_TYPE_Q5_0};
enum { N_TYPES = sizeof types / sizeof *types };

/* Where a base lies. */
typedef enum place { IN_MEMORY, IN_WINDOWS, IN_A_FILE, N_PLACES } place;

typedef struct block_world {
    test_set set; /* its base has the values */
    uint8_t *blocks[N_TENSORS];
    emr_buffer *files[N_TENSORS];
    emr_block_type type[N_TENSORS];
    emr_buffer *buffer;
    emr_bundle *bundle;
} block_world;

static uint64_t block_bytes_of(const block_world *w, size_t i)
{
    return test_tensor_count(&tensors[i]) / 32 * emr_block_bytes(w->type[i]);
}

static void put_base_into_blocks(block_world *w, size_t i, emr_block_type type)
{
    size_t n = (size_t)test_tensor_count(&tensors[i]);
    float *values = (float *)(void *)w->set.base.data[i];
    w->type[i] = type;
    w->blocks[i] = malloc(MOST_BYTES + 1);
    assert_int_equal(emr_quantise(type, w->blocks[i] + 1, values, n), EMR_OK);
    assert_int_equal(emr_dequantise(type, values, w->blocks[i] + 1, n), EMR_OK);
    w->files[i] = test_buffer_of(w->blocks[i], 1 + (size_t)block_bytes_of(w, i));
}

static void create_world(block_world *w, size_t turn)
{
    static const emr_modulator_kind kinds[N_TASKS] = {EMR_MODULATOR_KIND_MASK, EMR_MODULATOR_KIND_SIGN,
                                                      EMR_MODULATOR_KIND_MASK, EMR_MODULATOR_KIND_LEVELS,
                                                      EMR_MODULATOR_KIND_THIN};
    static const char *const globs[] = {"head.*"};
    const emr_policy policy = {.size = sizeof policy, .private_globs = globs, .n_private_globs = 1};
    const emr_merge_options options = {.size = sizeof options, .policy = &policy, .block_params = 4096};
    rng r = {83 + turn};
    emr_error error;
    *w = (block_world){.set = {.n = N_TASKS, .tasks = calloc(N_TASKS, sizeof *w->set.tasks)}};
    w->set.base = test_model_create("base", tensors, N_TENSORS, SOURCE_MEMORY);
    test_model_randomise(&w->set.base, &r);
    for (size_t i = 0; i < 6; i++)
        if (strcmp(tensors[i].name, "odd") != 0)
            put_base_into_blocks(w, i, types[(i + turn) % N_TYPES]);
    for (size_t t = 0; t < N_TASKS; t++) {
        w->set.tasks[t] = test_model_create("task", tensors, N_TENSORS, SOURCE_MEMORY);
        test_model_perturb(&w->set.tasks[t], &w->set.base, 0.1f, &r);
        memcpy(w->set.tasks[t].data[5], w->set.base.data[5], 64 * 4);
    }
    emr_merge *merge = test_merge_create(&w->set, &options);
    for (uint32_t t = 0; t < N_TASKS; t++) {
        const emr_modulation_spec spec = {.size = sizeof spec, .kind = kinds[t]};
        assert_ok(emr_merge_set_modulation(merge, t, &spec, &error), &error);
    }
    w->buffer = test_buffer_new();
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(w->buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    w->bundle = test_bundle_open(w->buffer);
}

static void destroy_world(block_world *w)
{
    emr_bundle_destroy(&w->bundle);
    emr_buffer_destroy(&w->buffer);
    test_set_destroy(&w->set);
    for (size_t i = 0; i < N_TENSORS; i++) {
        emr_buffer_destroy(&w->files[i]);
        free(w->blocks[i]);
    }
}

/* The same base, where it is in blocks. */
static emr_model *model_in_blocks(const block_world *w, place where)
{
    emr_model *model = test_model_new("blocks.gguf");
    for (size_t i = 0; i < N_TENSORS; i++) {
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        emr_error error;
        emr_io io;
        d.name = tensors[i].name;
        d.dtype = tensors[i].dtype;
        d.rank = tensors[i].rank;
        d.shape = tensors[i].shape;
        d.blocks = w->type[i];
        d.data = w->set.base.data[i];
        if (d.blocks) {
            io = *emr_buffer_io(w->files[i]);
            if (where == IN_A_FILE)
                io.map = NULL, io.unmap = NULL;
            d.data = where == IN_MEMORY ? w->blocks[i] + 1 : NULL;
            d.io = where == IN_MEMORY ? NULL : &io;
            d.offset = where == IN_MEMORY ? 0 : 1;
        }
        assert_ok(emr_model_add(model, &d, &error), &error);
    }
    return model;
}

/* A session, and what it takes. */
typedef struct block_session {
    emr_session *session;
    emr_pool *pool;
    test_meter meter;
} block_session;

static void open_block_session(block_session *s, const block_world *w, const emr_model *base,
                               uint32_t threads, uint64_t mask_bytes)
{
    emr_session_options options = EMR_INIT(emr_session_options);
    emr_session_info info = EMR_INIT(emr_session_info);
    emr_error error;
    *s = (block_session){.pool = threads ? test_pool_new(threads) : NULL};
    emr_allocator allocator = test_meter_make(&s->meter);
    emr_resources resources = test_resources(&allocator, s->pool ? emr_pool_executor(s->pool) : NULL);
    options.resources = &resources;
    options.mask_bytes = mask_bytes;
    assert_ok(emr_session_create(&s->session, w->bundle, base, &options, &error), &error);
    assert_int_equal(emr_session_get_info(s->session, &info), EMR_OK);
    assert_true(s->meter.peak <= info.memory_bytes);
}

static void close_block_session(block_session *s)
{
    emr_session_destroy(&s->session);
    assert_int_equal(s->meter.now, 0);
    emr_pool_destroy(&s->pool);
}

static void write_weights(block_session *s, uint32_t task, const emr_weights *to)
{
    emr_error error;
    assert_ok(emr_session_apply(s->session, task, to, 1, &error), &error);
}

/* Any range in any dtype, at any alignment. */
static void check_same_weights(block_session *blocks, block_session *values, rng *r)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F16, EMR_DTYPE_F64,
                                       EMR_DTYPE_NONE};
    static uint8_t a[MOST * 8 + 8], b[MOST * 8 + 8];
    for (size_t i = 0; i < N_TENSORS; i++)
        for (uint32_t task = 0; task <= N_TASKS; task++) {
            bool own = strncmp(tensors[i].name, "head", 4) == 0 || !emr_dtype_is_float(tensors[i].dtype);
            if (own && task == N_TASKS)
                continue;
            uint64_t n = test_tensor_count(&tensors[i]), at = rng_below(r, 5);
            emr_weights to = {.size = sizeof to, .name = tensors[i].name, .data = a + at};
            to.dtype = own ? EMR_DTYPE_NONE : dtypes[rng_below(r, 5)];
            to.first = rng_below(r, 2) ? rng_below(r, n) : 0;
            to.count = rng_below(r, n - to.first) + 1;
            memset(a, 0x5a, sizeof a);
            memset(b, 0x5a, sizeof b);
            write_weights(blocks, task < N_TASKS ? task : EMR_BASE, &to);
            to.data = b + at;
            write_weights(values, task < N_TASKS ? task : EMR_BASE, &to);
            assert_memory_equal(a, b, sizeof a);
        }
}

static uint32_t merged_number(const block_world *w, size_t i)
{
    uint32_t tensor = UINT32_MAX;
    assert_int_equal(emr_bundle_find_tensor(w->bundle, tensors[i].name, &tensor, NULL), EMR_OK);
    return tensor;
}

/* Tasks of one family, or of both, and the base. */
static void check_same_products(const block_world *w, block_session *blocks, block_session *values, rng *r)
{
    static float x[BATCH * 20992], a[BATCH * 560], b[BATCH * 560];
    static const uint64_t rows[] = {70, 2, 3, 1, 9}, columns[] = {96, 20992, 512, 96, 40};
    for (uint32_t i = 0; i < N_MERGED; i++)
        for (int turn = 0; turn < 4; turn++) {
            emr_product p = EMR_INIT(emr_product);
            uint32_t tasks[BATCH];
            emr_error error;
            for (size_t k = 0; k < BATCH * columns[i]; k++)
                x[k] = rng_normal(r);
            for (size_t k = 0; k < BATCH; k++) {
                uint32_t any = (uint32_t)rng_below(r, N_TASKS + 1);
                tasks[k] = turn == 0 ? 0 : turn == 1 ? 1 : any < N_TASKS ? any : EMR_BASE;
            }
            p.tensor = merged_number(w, i);
            uint64_t parts = turn == 2 ? 8 : 1; /* rows that begin within a block, too */
            p.n_columns = columns[i] / parts;
            p.first_row = rng_below(r, rows[i] * parts);
            p.n_rows = rows[i] * parts - p.first_row;
            p.x = x;
            p.batch = turn == 3 ? 1 : BATCH;
            p.y = a;
            assert_ok(emr_session_multiply(blocks->session, tasks, &p, &error), &error);
            p.y = b;
            assert_ok(emr_session_multiply(values->session, tasks, &p, &error), &error);
            assert_memory_equal(a, b, p.batch * p.n_rows * sizeof *a);
        }
}

static void check_same_rows(block_session *blocks, block_session *values, rng *r)
{
    static float a[40 * 96], b[40 * 96];
    uint32_t tasks[40];
    uint64_t rows[40];
    for (size_t i = 0; i < 40; i++) {
        uint32_t any = (uint32_t)rng_below(r, N_TASKS + 1);
        tasks[i] = any < N_TASKS ? any : EMR_BASE;
        rows[i] = rng_below(r, 70);
    }
    emr_gather g = {.size = sizeof g, .name = "proj", .tasks = tasks, .rows = rows, .n = 40, .out = a};
    emr_error error;
    assert_ok(emr_session_gather(blocks->session, &g, &error), &error);
    g.out = b;
    assert_ok(emr_session_gather(values->session, &g, &error), &error);
    assert_memory_equal(a, b, sizeof a);
}

static void a_base_in_blocks_is_as_its_values(void **state)
{
    static const uint64_t caches[] = {0, 64 * 1024};
    rng r = {89};
    (void)state;
    for (size_t turn = 0; turn < N_TYPES; turn++) {
        block_world w;
        create_world(&w, turn);
        for (place where = IN_MEMORY; where < N_PLACES; where++)
            for (uint32_t threads = 0; threads < 4; threads += 3) {
                emr_model *base = model_in_blocks(&w, where);
                block_session blocks, values;
                open_block_session(&blocks, &w, base, threads, caches[where % 2]);
                open_block_session(&values, &w, w.set.base.model, 0, 0);
                check_same_weights(&blocks, &values, &r);
                check_same_products(&w, &blocks, &values, &r);
                check_same_rows(&blocks, &values, &r);
                close_block_session(&blocks);
                close_block_session(&values);
                emr_model_destroy(&base);
            }
        destroy_world(&w);
    }
}

/* What is not in memory and has no windows is read as it is: blocks, not floats. */
static void memory_is_that_of_the_blocks(void **state)
{
    (void)state;
    for (place where = IN_MEMORY; where < N_PLACES; where++) {
        block_world w;
        block_session s;
        emr_session_info info = EMR_INIT(emr_session_info);
        uint64_t want = 0;
        create_world(&w, 0);
        emr_model *base = model_in_blocks(&w, where);
        for (size_t i = 0; where == IN_A_FILE && i < N_MERGED; i++)
            want += w.type[i] ? block_bytes_of(&w, i) : 0;
        open_block_session(&s, &w, base, 0, 0);
        assert_int_equal(emr_session_get_info(s.session, &info), EMR_OK);
        assert_in_range(info.base_bytes, want, want ? want + N_MERGED * 128 : 0);
        close_block_session(&s);
        emr_model_destroy(&base);
        destroy_world(&w);
    }
}

/* A base with one other code is not the base: values are what is hashed. */
static void another_base_is_told(void **state)
{
    block_world w;
    emr_session *session;
    emr_error error;
    (void)state;
    create_world(&w, 0);
    w.blocks[0][1 + 34 + 5] ^= 1;
    emr_model *base = model_in_blocks(&w, IN_MEMORY);
    assert_int_equal(emr_session_create(&session, w.bundle, base, NULL, &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "proj"));
    emr_model_destroy(&base);
    destroy_world(&w);
}

/* A host that collects parts. */
typedef struct part_collector {
    uint8_t *to;
    uint64_t next, staging, end;
    emr_block_type type;
} part_collector;

static emr_status collect_part(const emr_weights_part *part, emr_error *error)
{
    part_collector *c = part->user;
    uint64_t left = c->end - c->next, bytes = part->count / 32 * emr_block_bytes(c->type);
    (void)error;
    assert_int_equal(part->first, c->next);
    assert_int_equal(part->count, left < c->staging ? left : c->staging);
    assert_int_equal(part->dtype, EMR_DTYPE_F32);
    assert_int_equal(part->blocks, c->type);
    memcpy(c->to, part->data, (size_t)bytes);
    c->to += bytes;
    c->next += part->count;
    return EMR_OK;
}

/* Some blocks of a tensor, directly and part by part. */
static void check_written_blocks(block_session *s, size_t i, uint32_t task, rng *r)
{
    static float values[MOST];
    static uint8_t want[MOST_BYTES + 64], got[MOST_BYTES + 64], staged[MOST_BYTES];
    emr_block_type type = types[rng_below(r, N_TYPES)];
    uint64_t n = test_tensor_count(&tensors[i]) / 32, first = rng_below(r, 2) ? rng_below(r, n) : 0;
    uint64_t count = rng_below(r, 2) ? 1 + rng_below(r, n - first) : n - first, at = rng_below(r, 9);
    bool merged = i < N_MERGED;
    emr_weights to = {.size = sizeof to, .name = tensors[i].name, .data = values, .dtype = EMR_DTYPE_F32};
    to.first = 32 * first;
    to.count = 32 * count;
    to.without_base = merged && rng_below(r, 3) == 0;
    write_weights(s, task, &to);
    memset(want, 0x5a, sizeof want);
    memset(got, 0x5a, sizeof got);
    emr_quantise(type, want + at, values, (size_t)to.count);
    to.blocks = type;
    to.dtype = rng_below(r, 2) ? EMR_DTYPE_F32 : EMR_DTYPE_NONE;
    to.count = to.first + to.count == n * 32 && rng_below(r, 2) ? 0 : to.count;
    to.data = got + at;
    write_weights(s, task, &to);
    assert_memory_equal(want, got, sizeof got);
    memset(got, 0x5a, sizeof got);
    part_collector c = {.to = got + at,
                        .next = to.first,
                        .end = 32 * (first + count),
                        .staging = 32 * (1 + rng_below(r, rng_below(r, 2) ? 4 : 700)),
                        .type = type};
    to.write = collect_part;
    to.user = &c;
    to.data = staged;
    to.staging = c.staging;
    write_weights(s, task, &to);
    assert_memory_equal(want, got, sizeof got);
}

static void weights_are_rounded_into_blocks(void **state)
{
    rng r = {97};
    (void)state;
    block_world w;
    create_world(&w, 1);
    for (place where = IN_MEMORY; where < N_PLACES; where++)
        for (uint32_t threads = 0; threads < 4; threads += 3) {
            emr_model *base = model_in_blocks(&w, where);
            block_session s;
            open_block_session(&s, &w, where == IN_A_FILE ? base : w.set.base.model, threads,
                               where ? 512 * 8 : 0);
            for (size_t i = 0; i < N_TENSORS; i++)
                for (uint32_t task = 0; task < N_TASKS && tensors[i].shape[tensors[i].rank - 1] % 32 == 0 &&
                                        emr_dtype_is_float(tensors[i].dtype);
                     task++)
                    check_written_blocks(&s, i, task, &r);
            check_written_blocks(&s, 0, EMR_BASE, &r);
            check_written_blocks(&s, 5, EMR_BASE, &r);
            close_block_session(&s);
            emr_model_destroy(&base);
        }
    destroy_world(&w);
}

static void expect_no_blocks(emr_session *s, uint32_t task, emr_weights to, const char *says)
{
    emr_error error;
    uint8_t *before = malloc(MOST_BYTES);
    memcpy(before, to.data, MOST_BYTES);
    to.size = sizeof to;
    assert_int_equal(emr_session_apply(s, task, &to, 1, &error), EMR_EINVAL);
    if (!strstr(error.text, says) || !strstr(error.text, to.name))
        fail_msg("'%s' does not say '%s'", error.text, says);
    assert_memory_equal(before, to.data, MOST_BYTES);
    free(before);
}

static void what_is_no_whole_block_is_refused(void **state)
{
    static uint8_t out[MOST_BYTES];
    const emr_weights good = {.name = "proj", .data = out, .blocks = EMR_BLOCK_TYPE_Q8_0};
    block_world w;
    block_session s;
    (void)state;
    create_world(&w, 0);
    emr_model *base = model_in_blocks(&w, IN_MEMORY);
    open_block_session(&s, &w, base, 0, 0);
    emr_weights to = good;
    to.blocks = 1;
    expect_no_blocks(s.session, 0, to, "no blocks of type 1");
    to.blocks = UINT32_MAX;
    expect_no_blocks(s.session, 0, to, "no blocks of type 4294967295");
    to = good;
    to.dtype = EMR_DTYPE_F16;
    expect_no_blocks(s.session, 0, to, "leave dtype 0");
    to = good;
    to.first = 16;
    expect_no_blocks(s.session, 0, to, "first must be a multiple of 32");
    to = good;
    to.count = 33;
    expect_no_blocks(s.session, 0, to, "count must be a multiple of 32");
    to = good;
    to.write = collect_part;
    to.staging = 48;
    expect_no_blocks(s.session, 0, to, "staging must be a multiple of 32");
    to = good;
    to.first = UINT64_MAX - 31;
    expect_no_blocks(s.session, 0, to, "elements");
    to = good;
    to.name = "odd";
    expect_no_blocks(s.session, 0, to, "last dimension must be a multiple of 32, not 40");
    to.name = "head.c";
    to.count = 32;
    expect_no_blocks(s.session, 0, to, "last dimension must be a multiple of 32, not 33");
    to = good;
    to.name = "ids";
    expect_no_blocks(s.session, 0, to, "cannot be given in Q8_0");
    to = good;
    to.data = w.blocks[0] + 1; /* over the base's own blocks, and a kept tensor's */
    expect_no_blocks(s.session, 0, to, "overwrite the base's");
    to.data = w.blocks[5] + 1;
    to.name = "bn.running_mean";
    expect_no_blocks(s.session, 0, to, "overwrite the base's");
    close_block_session(&s);
    emr_model_destroy(&base);
    destroy_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_base_in_blocks_is_as_its_values),
        cmocka_unit_test(memory_is_that_of_the_blocks),
        cmocka_unit_test(another_base_is_told),
        cmocka_unit_test(weights_are_rounded_into_blocks),
        cmocka_unit_test(what_is_no_whole_block_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
