/* test_gguf_write.c - models written as GGUF: the same bytes where nothing changed, and what cannot be
 * written.
 */
#include "gguf_craft.h"

#include <stdio.h>

/* Takes writes front to back only. */
static emr_status pipe_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    emr_buffer *buffer = user;
    const emr_io *io = emr_buffer_io(buffer);
    return offset == emr_buffer_bytes(buffer) && n ? io->write(io->user, offset, source, n, error) : EMR_EIO;
}

/* The buffer is new; destroy it. */
static emr_status write_to(emr_buffer **buffer, const emr_model *m,
                           const emr_checkpoint_write_options *options, emr_error *error)
{
    *buffer = test_buffer_new();
    const emr_io io = {.size = sizeof io, .user = *buffer, .write = pipe_write};
    return emr_gguf_write(m, &io, options, error);
}

static void check_unchanged(crafted *file, const emr_checkpoint_write_options *options)
{
    emr_model *m = assert_gguf(file);
    emr_buffer *written;
    emr_error error;
    assert_ok(write_to(&written, m, options, &error), &error);
    assert_int_equal(emr_buffer_bytes(written), file->n);
    assert_memory_equal(emr_buffer_data(written), file->bytes, file->n);
    emr_buffer_destroy(&written);
    emr_model_destroy(&m);
}

/* A file with that alignment whose tensors are longer than a window. */
static crafted wide(uint32_t alignment)
{
    part kv = {0}, infos = {0};
    size_t at = 0;
    put_key(&kv, "general.alignment", V_U32);
    put_number(&kv, alignment, 4);
    for (unsigned i = 0; i < 40; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%u", i);
        put_tensor(&infos, name, 1, (uint64_t[]){1 + 777 * i}, T_F16, at);
        at = (at + 2 * (1 + 777 * i) + alignment - 1) / alignment * alignment;
    }
    crafted file = gguf_of(3, kv, infos, alignment, at, NULL);
    for (size_t i = 0, begin = file.n - at; i < 40; i++) {
        size_t end = begin + 2 * (1 + 777 * i), next = file.n - at;
        while (next < end)
            next += alignment;
        memset(file.bytes + end, 0, next - end);
        begin = next;
    }
    return file;
}

static void what_is_not_changed_is_written_as_it_was(void **state)
{
    static const uint32_t alignments[] = {32, 8, 1, 24, 4096};
    static const size_t sizes[] = {0, 64 << 10, 300000};
    emr_pool *pool = test_pool_new(3);
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        crafted file = i < 5 ? wide(alignments[i]) : gguf_rich();
        for (size_t k = 0; k < 6; k++) {
            emr_resources resources = test_resources(NULL, k % 2 ? emr_pool_executor(pool) : NULL);
            const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
            resources.memory_bytes = sizes[k / 2];
            check_unchanged(&file, &options);
        }
        file.bytes[4] = 2; /* the version stays too */
        check_unchanged(&file, NULL);
        crafted_free(&file);
    }
    crafted empty = gguf_of(3, (part){0}, (part){0}, 32, 0, NULL);
    emr_model *m = assert_gguf(&empty);
    emr_buffer *written;
    assert_int_equal(write_to(&written, m, NULL, NULL), EMR_OK);
    assert_int_equal(emr_buffer_bytes(written), 32); /* padded where the data would begin */
    assert_memory_equal(emr_buffer_data(written), empty.bytes, empty.n);
    emr_buffer_destroy(&written);
    emr_model_destroy(&m);
    crafted_free(&empty);
    emr_pool_destroy(&pool);
}

/* The bytes of a file's header. */
static size_t header_bytes(crafted *file)
{
    emr_model *m = assert_gguf(file);
    size_t n = (size_t)emr_tensor_bytes(emr_model_find_tensor(m, EMR_GGUF_HEADER));
    emr_model_destroy(&m);
    return n;
}

static void add(emr_model *m, const char *name, emr_dtype dtype, uint32_t rank, const uint64_t *shape,
                const void *data)
{
    emr_error error;
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = name;
    d.dtype = dtype;
    d.rank = rank;
    d.shape = shape;
    d.data = data;
    assert_ok(emr_model_add(m, &d, &error), &error);
}

/* A model with these bytes as its header. */
static emr_model *model_with(const void *header, size_t n)
{
    emr_model *m = test_model_new("made");
    uint64_t shape = n;
    if (header)
        add(m, EMR_GGUF_HEADER, EMR_DTYPE_U8, 1, &shape, header);
    return m;
}

static void check_not_written(emr_model *m, emr_status expected, const char *word, int line)
{
    emr_buffer *written;
    emr_error error = {.text = ""};
    emr_status status = write_to(&written, m, NULL, &error);
    if (status != expected || !is_sentence(&error, "made", word) ||
        !test_span_is(&error, error.file, "made")) {
        print_error("line %d: %s, \"%s\" without '%s'\n", line, emr_status_name(status), error.text, word);
        fail();
    }
    emr_buffer_destroy(&written);
    emr_model_destroy(&m);
}

static const unsigned char bytes[4096];

/* Tensors in another order, of other types and new ones: what is read back is what was written. */
static void changed_models_are_described_anew(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64,
                                       EMR_DTYPE_I8,  EMR_DTYPE_I16, EMR_DTYPE_I32,  EMR_DTYPE_I64};
    crafted file = gguf_rich();
    emr_model *m = model_with(file.bytes, header_bytes(&file)), *back;
    emr_buffer *written;
    emr_error error;
    char long_name[128] = "";
    (void)state;
    memset(long_name, 'n', 127);
    add(m, "q4_k", EMR_DTYPE_U8, 1, (uint64_t[]){144}, bytes + 7);
    add(m, long_name, EMR_DTYPE_F32, 1, (uint64_t[]){3}, bytes);
    add(m, "f32", EMR_DTYPE_BF16, 2, (uint64_t[]){3, 2}, bytes);
    add(m, "q8_0", EMR_DTYPE_F32, 2, (uint64_t[]){2, 64}, bytes);
    for (size_t i = 0; i < 8; i++)
        add(m, emr_dtype_name(dtypes[i]), dtypes[i], 4, (uint64_t[]){2, 3, i, 5}, bytes + i);
    assert_ok(write_to(&written, m, NULL, &error), &error);
    assert_ok(emr_gguf_open(&back, emr_buffer_io(written), GGUF_NAME, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(back), emr_model_n_tensors(m));
    assert_string_equal(emr_tensor_name(emr_model_tensor(back, 0)), "q4_k");
    for (uint32_t i = 1; i < emr_model_n_tensors(m); i++) {
        const emr_tensor *a = emr_model_tensor(m, i), *b = emr_model_tensor(back, i - 1);
        assert_string_equal(emr_tensor_name(a), emr_tensor_name(b));
        assert_int_equal(emr_tensor_dtype(a), emr_tensor_dtype(b));
        assert_int_equal(emr_tensor_rank(a), emr_tensor_rank(b));
        for (uint32_t d = 0; d < emr_tensor_rank(a); d++)
            assert_true(emr_tensor_shape(a)[d] == emr_tensor_shape(b)[d]);
    }
    emr_model_destroy(&back);
    emr_buffer_destroy(&written);
    emr_model_destroy(&m);
    crafted_free(&file);
}

/* general.file_type of a model written with these tensors, which were Q8_0 [2, 32], I32 [2, 2] and F32 [4]:
 * it was 7. */
static uint32_t file_type_with(uint32_t value_type, emr_dtype weight, emr_dtype other, emr_dtype vector)
{
    static const char key[] = "general.file_type";
    part kv = {0}, infos = {0};
    put_key(&kv, key, value_type);
    put_number(&kv, 7, value_type == V_U32 ? 4 : 8);
    put_tensor(&infos, "w", 2, (uint64_t[]){32, 2}, T_Q8_0, 0);
    put_tensor(&infos, "ids", 2, (uint64_t[]){2, 2}, T_I32, 96);
    put_tensor(&infos, "norm", 1, (uint64_t[]){4}, T_F32, 128);
    size_t n = 24 + kv.n + infos.n, at = 0;
    crafted file = gguf_of(3, kv, infos, 32, 160, NULL);
    emr_model *m = model_with(file.bytes, n);
    add(m, "w", weight, 2, (uint64_t[]){2, weight == EMR_DTYPE_U8 ? 34 : 32}, bytes);
    add(m, "ids", EMR_DTYPE_I32, 2, (uint64_t[]){2, 2}, bytes);
    add(m, "norm", vector, 1, (uint64_t[]){4}, bytes);
    if (other)
        add(m, "other", other, 2, (uint64_t[]){2, 32}, bytes);
    emr_buffer *written;
    emr_error error;
    assert_ok(write_to(&written, m, NULL, &error), &error);
    const unsigned char *p = emr_buffer_data(written);
    while (memcmp(p + at, key, sizeof key - 1) != 0)
        at++;
    p += at + sizeof key - 1 + 4;
    uint32_t found = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    emr_buffer_destroy(&written);
    emr_model_destroy(&m);
    crafted_free(&file);
    return found;
}

/* The numbers are llama.cpp's: F32 0, F16 1, BF16 32. */
static void the_file_type_is_that_of_all_weights(void **state)
{
    const emr_dtype none = EMR_DTYPE_NONE, f32 = EMR_DTYPE_F32, f16 = EMR_DTYPE_F16, bf16 = EMR_DTYPE_BF16;
    (void)state;
    assert_int_equal(file_type_with(V_U32, f32, none, f32), 0);
    assert_int_equal(file_type_with(V_U32, f16, none, f32), 1);
    assert_int_equal(file_type_with(V_U32, f16, f16, f16), 1);
    assert_int_equal(file_type_with(V_U32, bf16, none, f32), 32);
    assert_int_equal(file_type_with(V_U32, f16, f32, f32), 7); /* mixed: there is no number for it */
    assert_int_equal(file_type_with(V_U32, EMR_DTYPE_F64, none, f32), 7);
    assert_int_equal(file_type_with(V_U32, EMR_DTYPE_U8, none, f32), 7); /* nothing has changed; */
    assert_int_equal(file_type_with(V_U32, EMR_DTYPE_U8, none, f16), 7); /* no weight has */
    assert_int_equal(file_type_with(V_U64, f16, none, f32), 7);          /* it is no file type */
}

static void what_gguf_has_not_is_refused(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2, EMR_DTYPE_BOOL,
                                       EMR_DTYPE_U16,     EMR_DTYPE_U32,     EMR_DTYPE_U64,
                                       EMR_DTYPE_F8_E8M0, EMR_DTYPE_F4,      EMR_DTYPE_C64};
    crafted file = gguf_rich();
    size_t n = header_bytes(&file);
    char long_name[129] = "";
    emr_model *m;
    (void)state;
    check_not_written(model_with(NULL, 0), EMR_EUNSUPPORTED, EMR_GGUF_HEADER, __LINE__);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        m = model_with(file.bytes, n);
        add(m, "strange", dtypes[i], 1, (uint64_t[]){4}, bytes);
        check_not_written(m, EMR_EUNSUPPORTED, emr_dtype_name(dtypes[i]), __LINE__);
    }
    static const struct {
        const char *name;
        uint32_t rank;
        uint64_t shape[2];
    } wrong[] = {{"new", 1, {68, 0}}, {"q8_0", 1, {136, 0}}, {"q8_0", 2, {2, 34}}, {"f32", 2, {3, 2}}};
    for (size_t i = 0; i < 4; i++) {
        m = model_with(file.bytes, n);
        add(m, wrong[i].name, EMR_DTYPE_U8, wrong[i].rank, wrong[i].shape, bytes);
        check_not_written(m, EMR_EUNSUPPORTED, wrong[i].name, __LINE__);
    }
    memset(long_name, 'n', 128);
    m = model_with(file.bytes, n);
    add(m, long_name, EMR_DTYPE_F32, 1, (uint64_t[]){4}, bytes);
    check_not_written(m, EMR_EUNSUPPORTED, long_name, __LINE__);
    m = model_with(file.bytes, n);
    add(m, "", EMR_DTYPE_F32, 1, (uint64_t[]){4}, bytes);
    check_not_written(m, EMR_EUNSUPPORTED, "names", __LINE__);
    m = model_with(file.bytes, n);
    add(m, "deep", EMR_DTYPE_F32, 5, (uint64_t[]){1, 1, 1, 1, 1}, bytes);
    check_not_written(m, EMR_EUNSUPPORTED, "'deep'", __LINE__);
    crafted_free(&file);
}

/* The header may come out of a hostile bundle: cut anywhere, longer, or of another type. */
static void headers_are_checked_before_they_are_used(void **state)
{
    crafted file = gguf_rich();
    size_t n = header_bytes(&file);
    (void)state;
    for (size_t k = 0; k < n; k++)
        check_not_written(model_with(file.bytes, k), EMR_EFORMAT, EMR_GGUF_HEADER, __LINE__);
    check_not_written(model_with(file.bytes, n + 1), EMR_EFORMAT, "after its end", __LINE__);
    emr_model *m = model_with(NULL, 0);
    add(m, EMR_GGUF_HEADER, EMR_DTYPE_I8, 1, (uint64_t[]){n}, file.bytes);
    check_not_written(m, EMR_EFORMAT, EMR_GGUF_HEADER, __LINE__);
    m = model_with(NULL, 0);
    add(m, EMR_GGUF_HEADER, EMR_DTYPE_U8, 2, (uint64_t[]){1, n}, file.bytes);
    check_not_written(m, EMR_EFORMAT, EMR_GGUF_HEADER, __LINE__);
    crafted_free(&file);
}

static void calls_that_are_wrong_are_refused(void **state)
{
    crafted file = gguf_rich();
    emr_model *m = assert_gguf(&file);
    emr_buffer *buffer = test_buffer_new();
    const emr_io good = *emr_buffer_io(buffer);
    emr_io io = good;
    const emr_resources little = {.size = sizeof little, .memory_bytes = 1};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &little};
    (void)state;
    io.write = NULL;
    assert_int_equal(emr_gguf_write(m, &io, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_gguf_write(m, NULL, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_gguf_write(NULL, &good, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_gguf_write(m, &good, &options, NULL), EMR_ELIMIT);
    emr_model_destroy(&m);
    emr_buffer_destroy(&buffer);
    crafted_free(&file);
}

/* Every write, and every allocation, is made to fail once. */
static void failures_are_said_and_leak_nothing(void **state)
{
    crafted file = wide(64);
    emr_model *m = assert_gguf(&file);
    emr_resources resources = {.size = sizeof resources, .memory_bytes = 64 << 10};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    size_t writes = 0, requests = 0;
    (void)state;
    for (bool failed = true; failed; writes++) {
        emr_buffer *buffer = test_buffer_new();
        test_io counts = {.inner = *emr_buffer_io(buffer), .fail_read = SIZE_MAX, .fail_write = writes};
        counts.why = "the disk is full";
        counts.system = 28;
        emr_io io = test_io_make(&counts);
        emr_error error;
        emr_status status = emr_gguf_write(m, &io, &options, &error);
        failed = status != EMR_OK;
        assert_true(!failed || (status == EMR_EIO && is_sentence(&error, "writ", "failed")));
        assert_true(!failed || (is_sentence(&error, ": the disk is full", "") && error.system == 28));
        assert_true(!failed || counts.writes == writes + 1);
        emr_buffer_destroy(&buffer);
    }
    assert_true(writes > 10);
    for (bool failed = true; failed; requests++) {
        test_allocator counts = {0, 0, requests};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_buffer *buffer;
        resources.allocator = &allocator;
        emr_status status = write_to(&buffer, m, &options, NULL);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
        emr_buffer_destroy(&buffer);
    }
    assert_true(requests > 6);
    emr_model_destroy(&m);
    crafted_free(&file);
}

static void progress_goes_up_to_the_total_and_can_stop(void **state)
{
    crafted file = wide(64);
    emr_model *m = assert_gguf(&file);
    test_progress counted = {.stop_at = SIZE_MAX};
    emr_resources resources = {.size = sizeof resources, .memory_bytes = 64 << 10};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    emr_buffer *buffer;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &counted;
    assert_int_equal(write_to(&buffer, m, &options, NULL), EMR_OK);
    assert_true(counted.done == counted.total && counted.total > 0 && !counted.backwards);
    emr_buffer_destroy(&buffer);
    for (size_t k = 0; k < counted.calls; k++) {
        test_progress stopping = {.stop_at = k, .why = "the window was closed"};
        emr_error error;
        resources.progress_user = &stopping;
        assert_int_equal(write_to(&buffer, m, &options, &error), EMR_ECANCELED);
        assert_true(is_sentence(&error, ": the window was closed", ""));
        emr_buffer_destroy(&buffer);
    }
    emr_model_destroy(&m);
    crafted_free(&file);
}

static void files_appear_whole_or_not_at_all(void **state)
{
    char *directory = test_directory_make(), *path = test_path(directory, "out.gguf");
    crafted file = gguf_rich();
    emr_model *m = assert_gguf(&file), *other = model_with(NULL, 0);
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    emr_error error;
    size_t n;
    (void)state;
    assert_int_equal(emr_checkpoint_write(other, path, NULL, &error), EMR_EUNSUPPORTED);
    assert_int_equal(test_directory_entries(directory), 0);
    assert_ok(emr_checkpoint_write(m, path, &options, &error), &error);
    unsigned char *written = test_read_file(path, &n);
    assert_int_equal(n, file.n);
    assert_memory_equal(written, file.bytes, n);
    free(written);
    assert_int_equal(emr_checkpoint_write(m, path, &options, &error), EMR_EEXIST);
    options.replace = 1;
    assert_ok(emr_checkpoint_write(m, path, &options, &error), &error);
    assert_int_equal(test_directory_entries(directory), 1);
    emr_model_destroy(&m);
    emr_model_destroy(&other);
    crafted_free(&file);
    free(path);
    test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_changed_is_written_as_it_was),
        cmocka_unit_test(changed_models_are_described_anew),
        cmocka_unit_test(the_file_type_is_that_of_all_weights),
        cmocka_unit_test(what_gguf_has_not_is_refused),
        cmocka_unit_test(headers_are_checked_before_they_are_used),
        cmocka_unit_test(calls_that_are_wrong_are_refused),
        cmocka_unit_test(failures_are_said_and_leak_nothing),
        cmocka_unit_test(progress_goes_up_to_the_total_and_can_stop),
        cmocka_unit_test(files_appear_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("GGUF writer", tests, NULL, NULL);
}
