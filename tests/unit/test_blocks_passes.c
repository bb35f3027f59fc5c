/* test_blocks_passes.c - whatever is done with a model whose tensors lie in ggml's blocks gives, byte for byte, what it
 * gives with the values that they stand for: merging, checking, views, other names, adapters, conversion, files. */
#include "support.h"

static const test_tensor tensors[] = {
    {"layers.0.q.weight", EMR_DTYPE_F32, 2, {48, 64}},  {"layers.0.k.weight", EMR_DTYPE_F32, 2, {33, 96}},
    {"experts.weight", EMR_DTYPE_F32, 3, {3, 40, 160}}, {"norm.weight", EMR_DTYPE_F32, 1, {64}},
    {"none.weight", EMR_DTYPE_F32, 2, {0, 32}},         {"bias", EMR_DTYPE_F32, 1, {7}}, /* in none */
};
enum { N = sizeof tensors / sizeof *tensors, N_TASKS = 2 };

/* Models of one set of values, and the same in blocks, in memory or in files. */
typedef struct two_ways {
    test_set values;
    emr_model *blocks[1 + N_TASKS]; /* the base last */
    uint8_t *memory[1 + N_TASKS][N];
    emr_buffer *files[1 + N_TASKS][N];
} two_ways;

static void add_in_blocks(two_ways *w, size_t k, const test_model *m, size_t i, emr_block_type type,
                          bool in_file)
{
    size_t n = (size_t)test_tensor_count(&tensors[i]), bytes = n / 32 * emr_block_bytes(type);
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    emr_error error;
    d.name = tensors[i].name;
    d.dtype = tensors[i].dtype;
    d.rank = tensors[i].rank;
    d.shape = tensors[i].shape;
    d.data = m->data[i];
    if (type) {
        uint8_t *b = w->memory[k][i] =
            malloc(bytes + 1); /* at an odd address; what lies behind it is not read */
        float *values = (float *)(void *)m->data[i];
        assert_int_equal(emr_quantise(type, b + 1, values, n), EMR_OK);
        assert_int_equal(emr_dequantise(type, values, b + 1, n), EMR_OK);
        w->files[k][i] = test_buffer_of(b, bytes + 1);
        d.blocks = type;
        d.data = in_file ? NULL : b + 1;
        d.io = in_file ? emr_buffer_io(w->files[k][i]) : NULL;
        d.offset = in_file ? 1 : 0;
    }
    assert_ok(emr_model_add(w->blocks[k], &d, &error), &error);
}

static two_ways make_two_ways(bool in_files)
{
    static const emr_block_type types[] = {EMR_BLOCK_TYPE_Q8_0, EMR_BLOCK_TYPE_Q4_1, EMR_BLOCK_TYPE_Q5_0,
                                           EMR_BLOCK_TYPE_Q5_1, EMR_BLOCK_TYPE_Q4_0};
    two_ways w = {.values = test_set_create(tensors, N, N_TASKS, 11, SOURCE_MEMORY)};
    for (size_t k = 0; k <= N_TASKS; k++) {
        const test_model *m = k < N_TASKS ? &w.values.tasks[k] : &w.values.base;
        w.blocks[k] = test_model_new(emr_model_name(m->model));
        for (size_t i = 0; i < N; i++)
            add_in_blocks(&w, k, m, i, i + 1 < N ? types[(i + k) % 5] : EMR_BLOCK_TYPE_NONE, in_files);
    }
    return w;
}

static void free_two_ways(two_ways *w)
{
    for (size_t k = 0; k <= N_TASKS; k++) {
        emr_model_destroy(&w->blocks[k]);
        for (size_t i = 0; i < N; i++) {
            emr_buffer_destroy(&w->files[k][i]);
            free(w->memory[k][i]);
        }
    }
    test_set_destroy(&w->values);
}

static emr_buffer *written(const emr_model *model)
{
    emr_buffer *buffer = test_buffer_new();
    emr_error error;
    assert_ok(emr_safetensors_write(model, emr_buffer_io(buffer), NULL, &error), &error);
    return buffer;
}

/* As files; and by reads that begin and end anywhere. */
static void expect_same_model(const emr_model *got, const emr_model *want)
{
    emr_buffer *a = written(got), *b = written(want);
    rng r = {5};
    assert_true(test_same_buffers(a, b));
    emr_buffer_destroy(&a);
    emr_buffer_destroy(&b);
    for (uint32_t i = 0; i < emr_model_n_tensors(want); i++) {
        const emr_tensor *t = emr_model_tensor(want, i), *u = emr_model_find_tensor(got, emr_tensor_name(t));
        for (size_t turn = 0; turn < 20; turn++) {
            uint64_t bytes = emr_tensor_bytes(t), at = rng_below(&r, bytes + 1);
            size_t n = (size_t)rng_below(&r, bytes - at + 1);
            uint8_t *x = malloc(n + 1), *y = malloc(n + 1);
            assert_int_equal(emr_tensor_read(t, at, x, n, NULL), EMR_OK);
            assert_int_equal(emr_tensor_read(u, at, y, n, NULL), EMR_OK);
            assert_memory_equal(x, y, n);
            free(x);
            free(y);
        }
    }
}

static emr_buffer *merged(const two_ways *w, bool blocks, bool embed)
{
    emr_error error;
    emr_merge_options o = EMR_INIT(emr_merge_options);
    emr_merge *merge;
    emr_buffer *buffer = test_buffer_new();
    o.embed_base = embed;
    assert_ok(emr_merge_create(&merge, &o, &error), &error);
    assert_ok(emr_merge_set_base(merge, blocks ? w->blocks[N_TASKS] : w->values.base.model, &error), &error);
    for (size_t k = 0; k < N_TASKS; k++)
        assert_ok(emr_merge_add_task(merge, k ? "german" : "french",
                                     blocks ? w->blocks[k] : w->values.tasks[k].model, &error),
                  &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

static void merges_checks_and_views(void **state)
{
    (void)state;
    for (int in_files = 0; in_files < 2; in_files++)
        for (int embed = 0; embed < 2; embed++) {
            two_ways w = make_two_ways(in_files);
            emr_buffer *a = merged(&w, true, embed), *b = merged(&w, false, embed);
            emr_error error;
            assert_true(test_same_buffers(a, b));
            emr_bundle *bundle = test_bundle_open(a);
            assert_ok(emr_bundle_check_base(bundle, w.blocks[N_TASKS], NULL, &error), &error);
            for (uint32_t task = 0; task < N_TASKS; task++) {
                emr_model *over_blocks, *over_values;
                assert_ok(emr_bundle_open_task(&over_blocks, bundle, task, w.blocks[N_TASKS], NULL, &error),
                          &error);
                assert_ok(emr_bundle_open_task(&over_values, bundle, task, w.values.base.model, NULL, &error),
                          &error);
                expect_same_model(over_blocks, over_values);
                emr_model_destroy(&over_blocks);
                emr_model_destroy(&over_values);
            }
            assert_int_equal(emr_bundle_check_base(bundle, w.blocks[0], NULL, NULL), EMR_EMISMATCH);
            emr_bundle_destroy(&bundle);
            emr_buffer_destroy(&a);
            emr_buffer_destroy(&b);
            free_two_ways(&w);
        }
}

/* Other names, and models made of another's tensors, of which some are in blocks again. */
static void models_of_models(void **state)
{
    static const emr_rename rules[] = {{"layers.*", "blk.*"}};
    (void)state;
    for (int in_files = 0; in_files < 2; in_files++) {
        two_ways w = make_two_ways(in_files);
        emr_model *a, *b, *some = test_model_new("base"), *zeros;
        emr_error error;
        expect_same_model(w.blocks[N_TASKS], w.values.base.model);
        assert_ok(emr_model_create_renamed(&a, w.blocks[N_TASKS], rules, 1, NULL, &error), &error);
        assert_ok(emr_model_create_renamed(&b, w.values.base.model, rules, 1, NULL, &error), &error);
        expect_same_model(a, b);
        for (uint32_t i = 0; i < N; i++)
            assert_ok(emr_model_add_tensor(some, emr_model_tensor(a, i), &error), &error);
        expect_same_model(some, b);
        assert_ok(emr_model_create_zeros(&zeros, some, NULL, &error), &error);
        assert_int_equal(emr_model_n_tensors(zeros), N);
        emr_model_destroy(&zeros);
        emr_model_destroy(&some);
        emr_model_destroy(&a);
        emr_model_destroy(&b);
        free_two_ways(&w);
    }
}

/* An adapter on top, as people fine-tune bases in blocks. */
static void adapters(void **state)
{
    static const test_tensor of_adapter[] = {{"layers.0.q.lora_A.weight", EMR_DTYPE_F32, 2, {4, 64}},
                                             {"layers.0.q.lora_B.weight", EMR_DTYPE_F32, 2, {48, 4}}};
    (void)state;
    for (int in_files = 0; in_files < 2; in_files++) {
        two_ways w = make_two_ways(in_files);
        test_model adapter = test_model_create("adapter", of_adapter, 2, SOURCE_MEMORY);
        emr_model *a, *b;
        emr_error error;
        rng r = {8};
        test_model_randomise(&adapter, &r);
        assert_int_equal(emr_model_set_metadata(adapter.model, EMR_ADAPTER_CONFIG,
                                                "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}",
                                                NULL),
                         EMR_OK);
        assert_ok(emr_adapter_apply(&a, w.blocks[N_TASKS], adapter.model, NULL, &error), &error);
        assert_ok(emr_adapter_apply(&b, w.values.base.model, adapter.model, NULL, &error), &error);
        expect_same_model(a, b);
        emr_model_destroy(&a);
        emr_model_destroy(&b);
        test_model_destroy(&adapter);
        free_two_ways(&w);
    }
}

/* Descriptions that cannot be. */
static void wrong_descriptions(void **state)
{
    static const struct {
        emr_block_type blocks;
        emr_dtype dtype;
        uint32_t rank;
        uint64_t shape[2];
        const char *says;
    } wrong[] = {
        {1, EMR_DTYPE_F32, 2, {2, 32}, "no blocks of type 1"},
        {UINT32_MAX, EMR_DTYPE_F32, 2, {2, 32}, "no blocks of type"},
        {EMR_BLOCK_TYPE_Q8_0, EMR_DTYPE_F16, 2, {2, 32}, "must be F32"},
        {EMR_BLOCK_TYPE_Q8_0, EMR_DTYPE_F32, 2, {32, 2}, "multiple of 32"},
        {EMR_BLOCK_TYPE_Q8_0, EMR_DTYPE_F32, 0, {0, 0}, "multiple of 32"},
        {EMR_BLOCK_TYPE_Q8_0, EMR_DTYPE_F32, 2, {UINT64_MAX / 64, 64}, "too large"},
    };
    uint8_t some[68] = {0};
    emr_model *m = test_model_new("m");
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        emr_error error;
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = "w";
        d.blocks = wrong[i].blocks;
        d.dtype = wrong[i].dtype;
        d.rank = wrong[i].rank;
        d.shape = wrong[i].shape;
        d.data = some;
        assert_int_equal(emr_model_add(m, &d, &error), EMR_EINVAL);
        if (!strstr(error.text, wrong[i].says) || !test_span_is(&error, error.tensor, "w"))
            fail_msg("%zu: %s", i, error.text);
    }
    assert_int_equal(emr_model_n_tensors(m), 0);
    emr_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_checks_and_views),
        cmocka_unit_test(models_of_models),
        cmocka_unit_test(adapters),
        cmocka_unit_test(wrong_descriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
