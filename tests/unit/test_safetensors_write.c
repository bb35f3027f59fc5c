/* test_safetensors_write.c - one safetensors file written through a host's I/O. */
#include "craft.h"

#include <stdio.h>

/* A file that accepts nothing but the next bytes, as a pipe would. */
typedef struct pipe_end {
    emr_buffer *buffer;
    bool out_of_order;
} pipe_end;

static emr_status pipe_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    pipe_end *p = user;
    const emr_io *io = emr_buffer_io(p->buffer);
    p->out_of_order = p->out_of_order || offset != emr_buffer_bytes(p->buffer);
    return io->write(io->user, offset, source, n, error);
}

/* The buffer is new; destroy it. */
static emr_status write_to(emr_buffer **buffer, const emr_model *model,
                           const emr_checkpoint_write_options *options, emr_error *error)
{
    pipe_end p = {test_buffer_new(), false};
    const emr_io io = {.size = sizeof io, .user = &p, .write = pipe_write};
    emr_status status = emr_safetensors_write(model, &io, options, error);
    assert_false(p.out_of_order);
    *buffer = p.buffer;
    return status;
}

static emr_buffer *write_model(const emr_model *model, const emr_checkpoint_write_options *options)
{
    emr_buffer *buffer;
    emr_error error;
    assert_ok(write_to(&buffer, model, options, &error), &error);
    return buffer;
}

static emr_model *read_back(const emr_buffer *buffer)
{
    emr_model *model;
    emr_error error;
    assert_ok(emr_safetensors_open(&model, emr_buffer_io(buffer), "written", NULL, &error), &error);
    return model;
}

/* Same names, dtypes, shapes and bytes, in the same order. */
static void check_same(const emr_model *model, const test_model *expected)
{
    assert_int_equal(emr_model_n_tensors(model), expected->n);
    for (uint32_t i = 0; i < expected->n; i++) {
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
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        test_model m = mixed ? test_model_create("m", mixed_tensors, n_mixed_tensors, SOURCE_READ)
                             : test_model_create("m", odd_tensors, 8, SOURCE_IO);
        test_model_randomise(&m, &r);
        assert_int_equal(emr_model_set_metadata(m.model, "format", "pt", NULL), EMR_OK);
        assert_int_equal(emr_model_set_metadata(m.model, "a\"\n", "\xe2\x82\xac", NULL), EMR_OK);
        emr_buffer *written = write_model(m.model, NULL);
        emr_model *back = read_back(written);
        check_same(back, &m);
        const char *key, *value;
        assert_int_equal(emr_model_n_metadata(back), 2);
        assert_int_equal(emr_model_get_metadata(back, 1, &key, &value), EMR_OK);
        assert_string_equal(key, "a\"\n");
        assert_string_equal(value, "\xe2\x82\xac");
        emr_model_destroy(&back);
        emr_buffer_destroy(&written);
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
        emr_buffer *written = write_model(m.model, NULL);
        const unsigned char *bytes = emr_buffer_data(written);
        size_t length = bytes[0] | (size_t)bytes[1] << 8;
        for (int i = 2; i < 8; i++)
            assert_int_equal(bytes[i], 0);
        assert_int_equal(length % 8, 0);
        assert_int_equal(emr_buffer_bytes(written), 8 + length + 4);
        assert_int_equal(bytes[8], '{');
        size_t end = 8 + length;
        while (bytes[end - 1] == ' ')
            end--;
        assert_int_equal(bytes[end - 1], '}');
        assert_true(8 + length - end < 8);
        emr_buffer_destroy(&written);
        test_model_destroy(&m);
        name[n] = 'n';
    }
}

static void a_model_without_tensors_is_a_file_too(void **state)
{
    test_model m = test_model_create("m", NULL, 0, SOURCE_MEMORY);
    emr_buffer *written = write_model(m.model, NULL);
    emr_model *back = read_back(written);
    (void)state;
    assert_int_equal(emr_model_n_tensors(back), 0);
    emr_model_destroy(&back);
    emr_buffer_destroy(&written);
    test_model_destroy(&m);
}

/* Neither the executor nor the memory that writing may use changes a byte. */
static void threads_and_memory_change_nothing(void **state)
{
    static const size_t sizes[] = {0, 64 << 10, 300000, 1 << 20, 100 << 20};
    rng r = {307};
    emr_pool *pool = test_pool_new(3);
    test_model m = test_model_create("m", mixed_tensors, n_mixed_tensors, SOURCE_READ);
    test_model_randomise(&m, &r);
    emr_buffer *expected = write_model(m.model, NULL), *got;
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        emr_resources resources = test_resources(NULL, i % 2 ? emr_pool_executor(pool) : NULL);
        const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
        resources.memory_bytes = sizes[i / 2];
        emr_status status = write_to(&got, m.model, &options, NULL);
        assert_true(status == EMR_OK || (status == EMR_ELIMIT && resources.memory_bytes == 64 << 10));
        assert_true(status || test_same_buffers(got, expected));
        emr_buffer_destroy(&got);
    }
    emr_pool_destroy(&pool);
    emr_buffer_destroy(&expected);
    test_model_destroy(&m);
}

static void check_not_written(const emr_model *model, const emr_io *io,
                              const emr_checkpoint_write_options *options, emr_status expected,
                              const char *word)
{
    emr_error error = {.text = ""};
    assert_int_equal(emr_safetensors_write(model, io, options, &error), expected);
    assert_true(is_sentence(&error, word, ""));
}

static void what_cannot_be_written_is_refused(void **state)
{
    const test_tensor tensor = {"x", EMR_DTYPE_F32, 1, {4}},
                      reserved = {"__metadata__", EMR_DTYPE_F32, 1, {4}};
    emr_buffer *buffer = test_buffer_new();
    const emr_io good = *emr_buffer_io(buffer);
    emr_io io = good;
    const emr_resources little = {.size = sizeof little, .memory_bytes = 1};
    emr_checkpoint_write_options options = {.size = sizeof options, .resources = &little};
    (void)state;
    test_model m = test_model_create("m", &tensor, 1, SOURCE_MEMORY);
    io.write = NULL;
    check_not_written(m.model, &io, NULL, EMR_EINVAL, "write");
    assert_int_equal(emr_safetensors_write(NULL, &good, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_safetensors_write(m.model, NULL, NULL, NULL), EMR_EINVAL);
    check_not_written(m.model, &good, &options, EMR_ELIMIT, "memory");
    options.size--;
    check_not_written(m.model, &good, &options, EMR_EINVAL, "emr_checkpoint_write_options");
    test_model_destroy(&m);
    m = test_model_create("m", &reserved, 1, SOURCE_MEMORY);
    check_not_written(m.model, &good, NULL, EMR_EINVAL, "'__metadata__'");
    test_model_destroy(&m);
    m = test_model_create("m", &tensor, 1, SOURCE_PUSHED);
    check_not_written(m.model, &good, NULL, EMR_ESTATE, "'x'");
    test_model_destroy(&m);
    emr_buffer_destroy(&buffer);
}

static void every_failing_write_is_said(void **state)
{
    rng r = {311};
    test_model m = test_model_create("m", odd_tensors, 8, SOURCE_IO);
    test_model_randomise(&m, &r);
    size_t k = 0;
    (void)state;
    for (bool failed = true; failed; k++) {
        emr_buffer *buffer = test_buffer_new();
        test_io counts = {.inner = *emr_buffer_io(buffer), .fail_read = SIZE_MAX, .fail_write = k};
        counts.why = "the disk is full";
        counts.system = 28;
        emr_io io = test_io_make(&counts);
        emr_error error;
        emr_status status = emr_safetensors_write(m.model, &io, NULL, &error);
        failed = status != EMR_OK;
        if (failed) {
            assert_int_equal(status, EMR_EIO);
            assert_true(is_sentence(&error, "writ", "failed"));
            assert_true(is_sentence(&error, ": the disk is full", ""));
            assert_int_equal(error.system, 28);
            assert_int_equal(counts.writes, k + 1); /* it stops there */
        }
        emr_buffer_destroy(&buffer);
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
        bytes += emr_tensor_bytes(emr_model_tensor(m.model, (uint32_t)i));
    test_progress counted = {.stop_at = SIZE_MAX};
    emr_resources resources = {.size = sizeof resources, .memory_bytes = 512 << 10};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    resources.progress = test_progress_note;
    resources.progress_user = &counted;
    emr_buffer *whole = write_model(m.model, &options);
    assert_true(counted.done == bytes && counted.total == bytes && !counted.backwards);
    assert_true(counted.calls > 2);
    emr_buffer_destroy(&whole);
    for (size_t k = 0; k < counted.calls; k++) {
        test_progress stopping = {.stop_at = k, .why = "the window was closed"};
        emr_buffer *buffer;
        emr_error error;
        resources.progress_user = &stopping;
        assert_int_equal(write_to(&buffer, m.model, &options, &error), EMR_ECANCELED);
        assert_true(is_sentence(&error, ": the window was closed", ""));
        assert_int_equal(stopping.calls, k + 1);
        emr_buffer_destroy(&buffer);
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
        const emr_resources resources = test_resources(&allocator, NULL);
        const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
        emr_buffer *buffer;
        emr_status status = write_to(&buffer, m.model, &options, NULL);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
        emr_buffer_destroy(&buffer);
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
