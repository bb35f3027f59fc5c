/* test_checkpoint_write.c - checkpoints written to paths: whole or not at all, in one file or in shards. */
#define _XOPEN_SOURCE 700

#include "craft.h"
#include "own_directory.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t file_bytes(const char *name)
{
    struct stat s;
    char *path = test_path(directory, name);
    assert_int_equal(stat(path, &s), 0);
    free(path);
    return (size_t)s.st_size;
}

/* Six tensors of 1000 bytes and a seventh of 5000; the read of one may fail. */
enum { N = 7, SMALL = 1000, LARGE = 5000 };

/* SIZE_MAX: none */
static size_t failing_tensor;

static emr_status compute_number(const emr_computation *c, emr_error *error)
{
    size_t number = *(size_t *)c->user;
    if (number == failing_tensor) {
        char why[40];
        snprintf(why, sizeof why, "tensor %zu is out of reach", number);
        return emr_error_set(error, EMR_ECORRUPT, 0, NULL, why);
    }
    for (size_t i = 0; i < c->count; i++)
        ((unsigned char *)c->out)[i] = (unsigned char)(number * 31 + (c->first + i) * 7);
    return EMR_OK;
}

static emr_model *make_model(size_t failing)
{
    static size_t numbers[N];
    emr_model *model = test_model_new("numbers");
    failing_tensor = failing;
    for (size_t i = 0; i < N; i++) {
        char name[8];
        uint64_t shape = i == 6 ? LARGE : SMALL;
        numbers[i] = i;
        snprintf(name, sizeof name, "t%zu", i);
        emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
        d.name = name;
        d.dtype = EMR_DTYPE_U8;
        d.rank = 1;
        d.shape = &shape;
        d.compute = compute_number;
        d.user = &numbers[i];
        assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    }
    assert_int_equal(emr_model_set_metadata(model, "format", "pt", NULL), EMR_OK);
    return model;
}

static emr_status write_with(const char *name, size_t failing, const emr_checkpoint_write_options *options,
                             emr_error *error)
{
    char *path = test_path(directory, name);
    emr_model *model = make_model(failing);
    emr_status status = emr_checkpoint_write(model, path, options, error);
    emr_model_destroy(&model);
    free(path);
    return status;
}

/* The checkpoint at `name` holds the seven tensors, in order where it is one file. */
static void check_written(const char *name)
{
    char *path = test_path(directory, name);
    emr_model *model;
    emr_error error;
    assert_ok(emr_checkpoint_open(&model, path, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), N);
    for (uint32_t i = 0; i < N; i++) {
        unsigned char got[LARGE];
        const emr_tensor *t = emr_model_tensor(model, i);
        const char expected[] = {'t', (char)('0' + i), '\0'};
        assert_string_equal(emr_tensor_name(t), expected);
        size_t n = (size_t)emr_tensor_bytes(t);
        assert_int_equal(n, i == 6 ? LARGE : SMALL);
        assert_ok(emr_tensor_read(t, 0, got, n, &error), &error);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(got[k], (unsigned char)(i * 31 + k * 7));
    }
    const char *key, *value;
    assert_int_equal(emr_model_get_metadata(model, 0, &key, &value), EMR_OK);
    assert_string_equal(value, "pt");
    emr_model_destroy(&model);
    free(path);
}

static emr_checkpoint_write_options shards_of(uint64_t bytes)
{
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    options.shard_bytes = bytes;
    return options;
}

static void one_file_is_written_and_read(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(write_with("m.safetensors", SIZE_MAX, NULL, &error), &error);
    check_written("m.safetensors");
    assert_int_equal(test_directory_entries(directory), 1);
}

static void existing_files_are_kept_unless_replaced(void **state)
{
    emr_error error;
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    char *path = test_path(directory, "m.safetensors");
    (void)state;
    test_write_file(path, "old", 3);
    assert_int_equal(write_with("m.safetensors", SIZE_MAX, NULL, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, path, "exists"));
    assert_int_equal(file_bytes("m.safetensors"), 3);
    options.replace = 1;
    assert_int_equal(write_with("m.safetensors", 3, &options, &error), EMR_ECORRUPT);
    assert_int_equal(file_bytes("m.safetensors"), 3);
    assert_int_equal(test_directory_entries(directory), 1);
    assert_ok(write_with("m.safetensors", SIZE_MAX, &options, &error), &error);
    check_written("m.safetensors");
    free(path);
}

static void names_end_in_safetensors(void **state)
{
    static const char *const names[] = {"m", "m.bin", "m.safetensors.tmp", "m.json"};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(write_with(names[i], SIZE_MAX, NULL, &error), EMR_EINVAL);
        assert_true(is_sentence(&error, names[i], ".safetensors"));
    }
    assert_int_equal(write_with("none/m.safetensors", SIZE_MAX, NULL, &error), EMR_EIO);
    assert_true(is_sentence(&error, "none/m.safetensors", ""));
    assert_int_equal(test_directory_entries(directory), 0);
    emr_model *model = make_model(SIZE_MAX);
    assert_int_equal(emr_checkpoint_write(NULL, "x.safetensors", NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_checkpoint_write(model, NULL, NULL, &error), EMR_EINVAL);
    emr_model_destroy(&model);
}

/* Whichever tensor fails, in one file or in shards: no file appears, and no directory that was not there. */
static void failures_leave_nothing_behind(void **state)
{
    static const char *const names[] = {"m.safetensors", "m.safetensors.index.json", "made"};
    emr_error error;
    (void)state;
    for (size_t failing = 0; failing < N; failing++) {
        for (uint64_t shard = 0; shard <= 8000; shard += 2000) {
            for (size_t i = 0; i < 3; i++) {
                emr_checkpoint_write_options options = shards_of(shard);
                if (shard == 0 && i > 0)
                    continue;
                assert_int_equal(write_with(names[i], failing, &options, &error), EMR_ECORRUPT);
                assert_non_null(strstr(error.text, "out of reach"));
                const char name[] = {'t', (char)('0' + failing), '\0'};
                assert_true(test_span_is(&error, error.tensor, name));
                assert_int_equal(test_directory_entries(directory), 0);
            }
        }
    }
}

static void shards_hold_whole_tensors_up_to_their_size(void **state)
{
    emr_checkpoint_write_options options = shards_of(2500);
    emr_error error;
    size_t n;
    (void)state;
    assert_ok(write_with("m.safetensors", SIZE_MAX, &options, &error), &error);
    /* two and two and two, and the large one alone */
    assert_int_equal(test_directory_entries(directory), 5);
    for (int i = 1; i <= 4; i++) {
        char name[40];
        snprintf(name, sizeof name, "m-%05d-of-00004.safetensors", i);
        assert_true(file_bytes(name) > (i == 4 ? LARGE : 2 * SMALL));
        assert_true(file_bytes(name) < (i == 4 ? LARGE : 2 * SMALL) + 500);
    }
    check_written("m.safetensors.index.json");
    char *path = test_path(directory, "m.safetensors.index.json");
    char *text = (char *)test_read_file(path, &n);
    text[n] = '\0';
    assert_non_null(strstr(text, "\"total_size\": 11000"));
    assert_non_null(strstr(text, "\"t6\": \"m-00004-of-00004.safetensors\""));
    free(text);
    free(path);
}

static void every_shard_size_gives_the_same_model(void **state)
{
    emr_error error;
    (void)state;
    for (uint64_t shard = 1; shard < 13000; shard += 700) {
        emr_checkpoint_write_options options = shards_of(shard);
        char *made = test_path(directory, "made");
        assert_ok(write_with("made", SIZE_MAX, &options, &error), &error);
        check_written("made");
        assert_int_equal(exists("made/model.safetensors"), shard >= 11000);
        assert_int_equal(exists("made/model.safetensors.index.json"), shard < 11000);
        test_directory_remove(made);
    }
}

static void one_shard_is_one_file(void **state)
{
    emr_checkpoint_write_options options = shards_of(11000);
    emr_error error;
    (void)state;
    assert_ok(write_with("m.safetensors", SIZE_MAX, &options, &error), &error);
    assert_int_equal(test_directory_entries(directory), 1);
    check_written("m.safetensors");
}

static void existing_directories_are_written_into(void **state)
{
    emr_checkpoint_write_options options = shards_of(4000);
    emr_error error;
    char *other = test_path(directory, "other.txt");
    (void)state;
    test_write_file(other, "kept", 4);
    assert_int_equal(write_with("", 6, &options, &error), EMR_ECORRUPT);
    assert_int_equal(test_directory_entries(directory), 1);
    assert_ok(write_with("", SIZE_MAX, &options, &error), &error);
    check_written("");
    assert_true(exists("model-00001-of-00003.safetensors") && exists("other.txt"));
    assert_int_equal(write_with("", SIZE_MAX, &options, &error), EMR_EEXIST);
    check_written("");
    options.replace = 1;
    assert_ok(write_with("", SIZE_MAX, &options, &error), &error);
    check_written("");
    free(other);
}

/* Readers prefer an index: one left beside a new single file would give back the old model. */
static void one_file_takes_the_place_of_shards(void **state)
{
    emr_error error;
    emr_checkpoint_write_options sharded = shards_of(2 * SMALL),
                                 single = EMR_INIT(emr_checkpoint_write_options);
    (void)state;
    assert_ok(write_with("m.safetensors", SIZE_MAX, &sharded, &error), &error);
    assert_true(exists("m.safetensors.index.json"));
    assert_int_equal(write_with("m.safetensors", SIZE_MAX, &single, &error), EMR_EEXIST);
    assert_false(exists("m.safetensors"));
    single.replace = 1;
    assert_int_equal(write_with("m.safetensors", 3, &single, &error), EMR_ECORRUPT);
    assert_true(exists("m.safetensors.index.json")); /* a failure keeps what was there */
    assert_ok(write_with("m.safetensors", SIZE_MAX, &single, &error), &error);
    assert_false(exists("m.safetensors.index.json"));
    check_written("m.safetensors");
}

/* Other readers prefer the single file. */
static void shards_take_the_place_of_one_file(void **state)
{
    emr_error error;
    emr_checkpoint_write_options sharded = shards_of(2 * SMALL);
    char *path = test_path(directory, "m.safetensors");
    (void)state;
    assert_ok(write_with("m.safetensors", SIZE_MAX, NULL, &error), &error);
    assert_int_equal(write_with("m.safetensors", SIZE_MAX, &sharded, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, path, "exists"));
    assert_int_equal(test_directory_entries(directory), 1);
    sharded.replace = 1;
    assert_int_equal(write_with("m.safetensors", 3, &sharded, &error), EMR_ECORRUPT);
    check_written("m.safetensors"); /* a failure keeps what was there */
    assert_ok(write_with("m.safetensors", SIZE_MAX, &sharded, &error), &error);
    assert_false(exists("m.safetensors"));
    check_written("m.safetensors.index.json");
    free(path);
}

static void canceling_leaves_nothing_behind(void **state)
{
    emr_checkpoint_write_options options = shards_of(2500);
    emr_resources resources = EMR_INIT(emr_resources);
    emr_error error;
    size_t k = 0;
    (void)state;
    options.resources = &resources;
    resources.progress = test_progress_note;
    for (emr_status status = EMR_ECANCELED; status; k++) {
        test_progress m = {.stop_at = k, .why = "the window was closed"};
        resources.progress_user = &m;
        status = write_with("made", SIZE_MAX, &options, &error);
        assert_true(status == EMR_OK || status == EMR_ECANCELED);
        if (status) {
            assert_int_equal(test_directory_entries(directory), 0);
            assert_non_null(strstr(error.text, ": the window was closed"));
        }
    }
    assert_true(k >= 4); /* at least once a shard */
    check_written("made");
}

/* At the end of writing, and before anything is put in place, somebody makes a directory of a shard's name. */
static emr_status take_a_name(void *user, const emr_progress *progress, emr_error *error)
{
    (void)error;
    if (progress->done == progress->total)
        (void)mkdir(user, 0777);
    return EMR_OK;
}

static void shards_that_cannot_all_be_put_in_place_go(void **state)
{
    emr_checkpoint_write_options options = shards_of(2500);
    emr_resources resources = EMR_INIT(emr_resources);
    emr_error error;
    char *taken = test_path(directory, "m-00003-of-00004.safetensors");
    (void)state;
    options.resources = &resources;
    options.replace = 1;
    resources.progress = take_a_name;
    resources.progress_user = taken;
    assert_int_equal(write_with("m.safetensors", SIZE_MAX, &options, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "m-00003-of-00004.safetensors: cannot be put in place"));
    assert_int_equal(test_directory_entries(directory), 1); /* the directory alone */
    assert_int_equal(rmdir(taken), 0);
    free(taken);
}

static void a_file_has_a_name(void **state)
{
    emr_file *file;
    emr_error error;
    char *path = test_path(directory, "");
    (void)state;
    assert_int_equal(emr_file_create(&file, "", NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_file_create(&file, path, NULL, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "names no file"));
    free(path);
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(one_file_is_written_and_read),
        with_directory(existing_files_are_kept_unless_replaced),
        with_directory(names_end_in_safetensors),
        with_directory(failures_leave_nothing_behind),
        with_directory(shards_hold_whole_tensors_up_to_their_size),
        with_directory(every_shard_size_gives_the_same_model),
        with_directory(one_shard_is_one_file),
        with_directory(existing_directories_are_written_into),
        with_directory(one_file_takes_the_place_of_shards),
        with_directory(shards_take_the_place_of_one_file),
        with_directory(canceling_leaves_nothing_behind),
        with_directory(shards_that_cannot_all_be_put_in_place_go),
        with_directory(a_file_has_a_name),
    };
    return cmocka_run_group_tests_name("checkpoint writer", tests, NULL, NULL);
}
