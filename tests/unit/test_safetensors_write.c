/* test_safetensors_write.c - one safetensors file written through a host's I/O. */
#include "craft.h"

#include <stdio.h>

/* A file that accepts nothing but the next bytes, as a pipe would. */
typedef struct pipe_end {
    emr_buffer buffer;
    bool out_of_order;
} pipe_end;

static int pipe_write(void *user, uint64_t offset, const void *source, size_t n)
{
    pipe_end *p = user;
    emr_io io = emr_buffer_io(&p->buffer);
    p->out_of_order = p->out_of_order || offset != p->buffer.bytes;
    return io.write(io.user, offset, source, n);
}

static emr_buffer write_model(const emr_model *model, const emr_checkpoint_options *options)
{
    pipe_end p = {{0}, false};
    emr_io io = {.size = sizeof io, .user = &p, .write = pipe_write};
    emr_error error;
    assert_ok(emr_safetensors_write(model, &io, options, &error), &error);
    assert_false(p.out_of_order);
    return p.buffer;
}

static emr_model *read_back(const emr_buffer *buffer, emr_memory *memory)
{
    emr_model *model;
    emr_error error;
    *memory = (emr_memory){buffer->data, buffer->bytes};
    emr_io io = emr_memory_io(memory);
    assert_ok(emr_safetensors_open(&model, &io, "written", NULL, &error), &error);
    return model;
}

/* Same names, dtypes, shapes and bytes, in the same order. */
static void check_same(const emr_model *model, const test_model *expected)
{
    assert_int_equal(emr_model_n_tensors(model), expected->n);
    for (size_t i = 0; i < expected->n; i++) {
        const test_tensor *e = &expected->tensors[i];
        const emr_tensor *t = emr_model_tensor(model, i);
        assert_string_equal(emr_tensor_name(t), e->name);
        assert_int_equal(emr_tensor_dtype(t), e->dtype);
        assert_int_equal(emr_tensor_rank(t), e->rank);
        for (uint32_t k = 0; k < e->rank; k++)
            assert_true(emr_tensor_shape(t)[k] == e->shape[k]);
        size_t n = (size_t)emr_tensor_bytes(t);
        unsigned char *got = malloc(n + 1);
        assert_int_equal(emr_tensor_read(t, 0, got, n, NULL), EMR_OK);
        assert_memory_equal(got, expected->data[i], n);
        free(got);
    }
}

static const test_tensor odd_tensors[] = {
    {"z last first", EMR_DTYPE_F16, 1, {3}},
    {"", EMR_DTYPE_U8, 0, {0}},
    {"a\"quote\\slash", EMR_DTYPE_F4, 2, {2, 3}},
    {"line\nbreak", EMR_DTYPE_BOOL, 1, {5}},
    {"\xe2\x82\xac", EMR_DTYPE_F64, 1, {2}},
    {"empty", EMR_DTYPE_I64, 2, {0, 7}},
    {"f6", EMR_DTYPE_F6_E3M2, 1, {4}},
    {"c", EMR_DTYPE_C64, 1, {2}},
};

static void what_is_written_is_read_back(void **state)
{
    rng r = {301};
    emr_memory memory;
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        test_model m = mixed ? test_model_create("m", mixed_tensors, n_mixed_tensors, SOURCE_READ)
                             : test_model_create("m", odd_tensors, 8, SOURCE_IO);
        test_model_randomise(&m, &r);
        assert_int_equal(emr_model_set_metadata(m.model, "format", "pt", NULL), EMR_OK);
        assert_int_equal(emr_model_set_metadata(m.model, "a\"\n", "\xe2\x82\xac", NULL), EMR_OK);
        emr_buffer written = write_model(m.model, NULL);
        emr_model *back = read_back(&written, &memory);
        check_same(back, &m);
        const char *key, *value;
        assert_int_equal(emr_model_n_metadata(back), 2);
        assert_int_equal(emr_model_get_metadata(back, 1, &key, &value), EMR_OK);
        assert_string_equal(key, "a\"\n");
        assert_string_equal(value, "\xe2\x82\xac");
        emr_model_destroy(&back);
        emr_buffer_free(&written);
        test_model_destroy(&m);
    }
}

static void the_header_is_aligned_and_padded_with_spaces(void **state)
{
    char name[40] = "";
    (void)state;
    for (size_t n = 0; n < 20; n++) {
        const test_tensor tensor = {name, EMR_DTYPE_F32, 1, {1}};
        test_model m = test_model_create("m", &tensor, 1, SOURCE_MEMORY);
        emr_buffer written = write_model(m.model, NULL);
        const unsigned char *bytes = written.data;
        size_t length = bytes[0] | (size_t)bytes[1] << 8;
        for (int i = 2; i < 8; i++)
            assert_int_equal(bytes[i], 0);
        assert_int_equal(length % 8, 0);
        assert_int_equal(written.bytes, 8 + length + 4);
        assert_int_equal(bytes[8], '{');
        size_t end = 8 + length;
        while (bytes[end - 1] == ' ')
            end--;
        assert_int_equal(bytes[end - 1], '}');
        assert_true(8 + length - end < 8);
        emr_buffer_free(&written);
        test_model_destroy(&m);
        name[n] = 'n';
    }
}

static void a_model_without_tensors_is_a_file_too(void **state)
{
    test_model m = test_model_create("m", NULL, 0, SOURCE_MEMORY);
    emr_memory memory;
    emr_buffer written = write_model(m.model, NULL);
    emr_model *back = read_back(&written, &memory);
    (void)state;
    assert_int_equal(emr_model_n_tensors(back), 0);
    emr_model_destroy(&back);
    emr_buffer_free(&written);
    test_model_destroy(&m);
}

/* Neither the executor nor the memory that writing may use changes a byte. */
static void threads_and_memory_change_nothing(void **state)
{
    static const size_t sizes[] = {0, 64 << 10, 300000, 1 << 20, 100 << 20};
    rng r = {307};
    emr_pool *pool;
    test_model m = test_model_create("m", mixed_tensors, n_mixed_tensors, SOURCE_READ);
    test_model_randomise(&m, &r);
    emr_buffer expected = write_model(m.model, NULL);
    (void)state;
    assert_int_equal(emr_pool_create(&pool, 3, NULL, NULL), EMR_OK);
    emr_executor executor = emr_pool_executor(pool);
    for (size_t i = 0; i < 10; i++) {
        emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
        options.memory_bytes = sizes[i / 2];
        options.executor = i % 2 ? &executor : NULL;
        pipe_end p = {{0}, false};
        emr_io io = {.size = sizeof io, .user = &p, .write = pipe_write};
        emr_error error = {""};
        emr_status status = emr_safetensors_write(m.model, &io, &options, &error);
        assert_true(status == EMR_OK || (status == EMR_ELIMIT && options.memory_bytes == 64 << 10));
        if (!status) {
            assert_int_equal(p.buffer.bytes, expected.bytes);
            assert_memory_equal(p.buffer.data, expected.data, expected.bytes);
        }
        emr_buffer_free(&p.buffer);
    }
    emr_pool_destroy(&pool);
    emr_buffer_free(&expected);
    test_model_destroy(&m);
}

static void check_not_written(const emr_model *model, const emr_io *io, const emr_checkpoint_options *options,
                              emr_status expected, const char *word)
{
    emr_error error = {""};
    assert_int_equal(emr_safetensors_write(model, io, options, &error), expected);
    assert_true(is_sentence(&error, word, ""));
}

static void what_cannot_be_written_is_refused(void **state)
{
    const test_tensor tensor = {"x", EMR_DTYPE_F32, 1, {4}}, reserved = {"__metadata__", EMR_DTYPE_F32, 1, {4}};
    emr_buffer buffer = {0};
    const emr_io good = emr_buffer_io(&buffer);
    emr_io io = good;
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    (void)state;
    test_model m = test_model_create("m", &tensor, 1, SOURCE_MEMORY);
    io.write = NULL;
    check_not_written(m.model, &io, NULL, EMR_EINVAL, "write");
    assert_int_equal(emr_safetensors_write(NULL, &good, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_safetensors_write(m.model, NULL, NULL, NULL), EMR_EINVAL);
    options.memory_bytes = 1;
    check_not_written(m.model, &good, &options, EMR_ELIMIT, "memory");
    options.size = offsetof(emr_checkpoint_options, dequantise) - 1;
    check_not_written(m.model, &good, &options, EMR_EINVAL, "emr_checkpoint_options");
    test_model_destroy(&m);
    m = test_model_create("m", &reserved, 1, SOURCE_MEMORY);
    check_not_written(m.model, &good, NULL, EMR_EINVAL, "'__metadata__'");
    test_model_destroy(&m);
    m = test_model_create("m", &tensor, 1, SOURCE_PUSHED);
    check_not_written(m.model, &good, NULL, EMR_ESTATE, "'x'");
    test_model_destroy(&m);
    emr_buffer_free(&buffer);
}

static void every_failing_write_is_said(void **state)
{
    rng r = {311};
    test_model m = test_model_create("m", odd_tensors, 8, SOURCE_IO);
    test_model_randomise(&m, &r);
    size_t k = 0;
    (void)state;
    for (bool failed = true; failed; k++) {
        emr_buffer buffer = {0};
        test_io counts = {.inner = emr_buffer_io(&buffer), .fail_read = SIZE_MAX, .fail_write = k};
        emr_io io = test_io_make(&counts);
        emr_error error;
        emr_status status = emr_safetensors_write(m.model, &io, NULL, &error);
        failed = status != EMR_OK;
        if (failed) {
            assert_int_equal(status, EMR_EIO);
            assert_true(is_sentence(&error, "writ", "failed"));
            assert_int_equal(counts.writes, k + 1); /* it stops there */
        }
        emr_buffer_free(&buffer);
    }
    assert_true(k > 2);
    test_model_destroy(&m);
}

static void progress_goes_up_to_the_total_and_can_stop(void **state)
{
    test_model m = test_model_create("m", mixed_tensors, n_mixed_tensors, SOURCE_MEMORY);
    uint64_t bytes = 0;
    (void)state;
    for (size_t i = 0; i < n_mixed_tensors; i++)
        bytes += emr_tensor_bytes(emr_model_tensor(m.model, i));
    test_progress counted = {0, 0, 0, SIZE_MAX, false};
    emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
    options.progress = test_progress_note;
    options.progress_user = &counted;
    options.memory_bytes = 512 << 10;
    emr_buffer whole = write_model(m.model, &options);
    assert_true(counted.done == bytes && counted.total == bytes && !counted.backwards);
    assert_true(counted.calls > 2);
    emr_buffer_free(&whole);
    for (size_t k = 0; k < counted.calls; k++) {
        test_progress stopping = {0, 0, 0, k, false};
        emr_buffer buffer = {0};
        emr_io io = emr_buffer_io(&buffer);
        emr_error error;
        options.progress_user = &stopping;
        assert_int_equal(emr_safetensors_write(m.model, &io, &options, &error), EMR_ECANCELED);
        assert_int_equal(stopping.calls, k + 1);
        emr_buffer_free(&buffer);
    }
    test_model_destroy(&m);
}

static void running_out_of_memory_is_said(void **state)
{
    test_model m = test_model_create("m", odd_tensors, 8, SOURCE_MEMORY);
    size_t k = 0;
    (void)state;
    for (bool failed = true; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_options options = EMR_INIT(emr_checkpoint_options);
        options.allocator = &allocator;
        emr_buffer buffer = {0};
        emr_io io = emr_buffer_io(&buffer);
        emr_status status = emr_safetensors_write(m.model, &io, &options, NULL);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
        emr_buffer_free(&buffer);
    }
    assert_true(k > 1);
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_header_is_aligned_and_padded_with_spaces),
        cmocka_unit_test(a_model_without_tensors_is_a_file_too),
        cmocka_unit_test(threads_and_memory_change_nothing),
        cmocka_unit_test(what_cannot_be_written_is_refused),
        cmocka_unit_test(every_failing_write_is_said),
        cmocka_unit_test(progress_goes_up_to_the_total_and_can_stop),
        cmocka_unit_test(running_out_of_memory_is_said),
    };
    return cmocka_run_group_tests_name("safetensors writer", tests, NULL, NULL);
}
