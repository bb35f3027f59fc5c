/* test_safetensors_io.c - opening checkpoints: through a host's I/O that fails, damaged, and by path. */
#include "craft.h"

static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                             "\"y\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[24,32]}}";
enum { DATA = 32 };

static void reads_that_fail_are_said(void **state)
{
    crafted file = craft(header, DATA);
    emr_model *model;
    emr_error error;
    size_t k = 0;
    (void)state;
    for (;; k++) {
        test_io counts = {.inner = *crafted_io(&file), .fail_read = k, .fail_write = SIZE_MAX};
        counts.why = "the connection was lost";
        counts.system = 104;
        emr_io io = test_io_make(&counts);
        emr_status status = emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error);
        if (!status)
            break;
        assert_int_equal(status, EMR_EIO);
        assert_null(model);
        assert_true(is_sentence(&error, CRAFTED_NAME, "read"));
        assert_true(is_sentence(&error, CRAFTED_NAME, ": the connection was lost"));
        assert_true(test_span_is(&error, error.file, CRAFTED_NAME));
        assert_int_equal(error.system, 104);
    }
    assert_true(k >= 1);
    emr_model_destroy(&model);
    crafted_free(&file);
}

static emr_status no_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)user, (void)bytes;
    return emr_error_set(error, 5, 3, NULL, "a stream has none");
}

static void incomplete_tables_are_refused(void **state)
{
    crafted file = craft(header, DATA);
    const emr_io good = *crafted_io(&file);
    emr_io io = good;
    emr_model *model = (emr_model *)&io;
    emr_error error;
    (void)state;
    io.read = NULL;
    assert_int_equal(emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error), EMR_EINVAL);
    assert_null(model);
    assert_true(is_sentence(&error, CRAFTED_NAME, "read"));
    io = good;
    io.length = NULL;
    assert_int_equal(emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error), EMR_EINVAL);
    io = good;
    io.size = offsetof(emr_io, will_need); /* smaller than in version 1 */
    assert_int_equal(emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_safetensors_open(&model, &good, NULL, NULL, &error), EMR_OK);
    assert_string_equal(emr_model_name(model), "model");
    emr_model_destroy(&model);
    io = good;
    io.length = no_length;
    assert_int_equal(emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error), EMR_EIO);
    assert_true(is_sentence(&error, CRAFTED_NAME, "length"));
    assert_true(is_sentence(&error, CRAFTED_NAME, ": a stream has none"));
    assert_int_equal(error.system, 3);
    assert_int_equal(emr_safetensors_open(&model, NULL, CRAFTED_NAME, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_safetensors_open(NULL, &good, CRAFTED_NAME, NULL, &error), EMR_EINVAL);
    emr_checkpoint_read_options small = {
        .size = offsetof(emr_checkpoint_read_options, reserved)}; /* than in version 1 */
    assert_int_equal(emr_safetensors_open(&model, &good, CRAFTED_NAME, &small, &error), EMR_EINVAL);
    crafted_free(&file);
}

/* The file shrinks after it was opened: the tensor that is gone says so, the other can be read. */
static void files_that_get_shorter_fail_where_they_end(void **state)
{
    crafted file = craft(header, DATA);
    emr_buffer *shorter = test_buffer_of(file.bytes, file.n - 1);
    test_io shrinks = {.inner = *crafted_io(&file), .other = *emr_buffer_io(shorter)};
    shrinks.fail_read = shrinks.fail_write = shrinks.other_at = SIZE_MAX;
    const emr_io io = test_io_make(&shrinks);
    unsigned char got[24];
    emr_error error;
    emr_model *model;
    (void)state;
    assert_ok(emr_safetensors_open(&model, &io, CRAFTED_NAME, NULL, &error), &error);
    shrinks.other_at = 0;
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "x"), 0, got, 24, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "y"), 0, got, 8, &error), EMR_EIO);
    assert_true(is_sentence(&error, CRAFTED_NAME, "'y'"));
    emr_model_destroy(&model);
    emr_buffer_destroy(&shorter);
    crafted_free(&file);
}

/* Any damage to the header gives a status, never a crash; a model that opens is whole. */
static void damaged_headers_are_refused_or_harmless(void **state)
{
    crafted file = craft(header, DATA);
    rng r = {211};
    size_t n_refused = 0;
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        crafted damaged = {.bytes = malloc(file.n), .n = file.n};
        emr_model *model;
        emr_error error;
        memcpy(damaged.bytes, file.bytes, file.n);
        for (uint64_t k = 0; k <= rng_below(&r, 3); k++) {
            size_t at =
                rng_below(&r, 20) ? 8 + (size_t)rng_below(&r, file.n - DATA - 8) : (size_t)rng_below(&r, 8);
            static const char likely[] = "{}[]\",:0123456789-.eF ";
            damaged.bytes[at] =
                (unsigned char)(rng_below(&r, 2) ? likely[rng_below(&r, sizeof likely)] : (char)rng_next(&r));
        }
        emr_status status = crafted_open(&damaged, &model, &error);
        assert_true(status == EMR_OK || status == EMR_EFORMAT || status == EMR_EUNSUPPORTED);
        assert_true(status ? !model && is_sentence(&error, CRAFTED_NAME, "") : model != NULL);
        n_refused += status != EMR_OK;
        for (uint32_t i = 0; model && i < emr_model_n_tensors(model); i++) {
            unsigned char got[DATA];
            const emr_tensor *t = emr_model_tensor(model, i);
            assert_true(emr_tensor_bytes(t) <= DATA);
            assert_int_equal(emr_tensor_read(t, 0, got, (size_t)emr_tensor_bytes(t), NULL), EMR_OK);
        }
        emr_model_destroy(&model);
        crafted_free(&damaged);
    }
    assert_true(n_refused > 10000);
    crafted_free(&file);
}

static void running_out_of_memory_is_said_and_leaks_nothing(void **state)
{
    crafted file = craft(header, DATA);
    bool failed = true;
    size_t k = 0;
    (void)state;
    for (; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *model;
        emr_status status = emr_safetensors_open(&model, crafted_io(&file), CRAFTED_NAME, &options, NULL);
        failed = status != EMR_OK;
        assert_true(failed ? status == EMR_ENOMEM && !model : model != NULL);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 5);
    crafted_free(&file);
}

static void files_open_by_path_read_or_mapped(void **state)
{
    char *directory = test_directory_make(), *path = test_path(directory, "any name at all");
    crafted file = craft(header, DATA);
    (void)state;
    test_write_file(path, file.bytes, file.n);
    for (uint32_t map = 0; map < 2; map++) {
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.map = map;
        emr_model *model;
        emr_error error;
        unsigned char got[24];
        assert_ok(emr_checkpoint_open(&model, path, &options, &error), &error);
        assert_string_equal(emr_model_name(model), path);
        assert_ok(emr_tensor_read(emr_model_find_tensor(model, "x"), 0, got, 24, &error), &error);
        assert_memory_equal(got, file.bytes + file.n - DATA, 24);
        emr_model_destroy(&model);
    }
    crafted_free(&file);
    free(path);
    test_directory_remove(directory);
}

static void check_path(const char *directory, const char *name, const void *bytes, size_t n,
                       emr_status expected, const char *word)
{
    char *path = test_path(directory, name);
    emr_model *model = (emr_model *)path;
    emr_error error = {.text = ""};
    if (bytes)
        test_write_file(path, bytes, n);
    assert_int_equal(emr_checkpoint_open(&model, path, NULL, &error), expected);
    assert_null(model);
    assert_true(is_sentence(&error, path, word));
    free(path);
}

static void other_files_are_refused_by_name(void **state)
{
    char *directory = test_directory_make();
    crafted file = craft(header, DATA - 1);
    emr_model *model;
    (void)state;
    static const char *const pickles[] = {"pytorch_model.bin", "a.pt", "b.pth", "c.ckpt"};
    for (size_t i = 0; i < 4; i++) {
        check_path(directory, pickles[i], "\x80\x02", 2, EMR_EUNSUPPORTED, "convert");
        check_path(directory, pickles[i], NULL, 0, EMR_EUNSUPPORTED, "convert");
    }
    check_path(directory, "zip.safetensors", "PK\3\4\0\0\x08\x08\0\0\0\0", 12, EMR_EUNSUPPORTED, "convert");
    check_path(directory, "absent.safetensors", NULL, 0, EMR_EIO, "");
    check_path(directory, "cut.safetensors", file.bytes, file.n, EMR_EFORMAT, "'y'");
    check_path(directory, "empty.safetensors", "", 0, EMR_EFORMAT, "empty");
    assert_int_equal(emr_checkpoint_open(&model, NULL, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_checkpoint_open(NULL, "x", NULL, NULL), EMR_EINVAL);
    crafted_free(&file);
    test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_that_fail_are_said),
        cmocka_unit_test(incomplete_tables_are_refused),
        cmocka_unit_test(files_that_get_shorter_fail_where_they_end),
        cmocka_unit_test(damaged_headers_are_refused_or_harmless),
        cmocka_unit_test(running_out_of_memory_is_said_and_leaks_nothing),
        cmocka_unit_test(files_open_by_path_read_or_mapped),
        cmocka_unit_test(other_files_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("safetensors I/O", tests, NULL, NULL);
}
