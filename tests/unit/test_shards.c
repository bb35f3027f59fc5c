/* test_shards.c - shard indexes: what they lead to, and where they may not lead. */
#define _XOPEN_SOURCE 700

#include "craft.h"
#include "own_directory.h"

#include <stdio.h>
#include <sys/stat.h>

static void put(const char *name, const char *text)
{
    char *path = test_path(directory, name);
    test_write_file(path, text, strlen(text));
    free(path);
}

/* A shard with tensors of 4 bytes, one a letter; the bytes are those of the letter. */
static void put_shard(const char *name, const char *tensors)
{
    char header[1000] = "{\"__metadata__\":{\"format\":\"pt\"}", *path = test_path(directory, name);
    size_t n = strlen(tensors), used = strlen(header);
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 ",\"%c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                                 tensors[i], 4 * i, 4 * i + 4);
    strcat(header, "}");
    crafted file = craft(header, 4 * n);
    for (size_t i = 0; i < n; i++)
        memset(file.bytes + file.n - 4 * n + 4 * i, tensors[i], 4);
    test_write_file(path, file.bytes, file.n);
    crafted_free(&file);
    free(path);
}

static emr_status open_entry(const char *name, emr_model **model, emr_error *error)
{
    char *path = *name ? test_path(directory, name) : strdup(directory);
    emr_status status = emr_checkpoint_open(model, path, NULL, error);
    free(path);
    return status;
}

static void check_opens(const char *name, const char *tensors)
{
    emr_model *model;
    emr_error error;
    assert_ok(open_entry(name, &model, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), strlen(tensors));
    for (const char *t = tensors; *t; t++) {
        const char letter[] = {*t, '\0'};
        unsigned char got[4];
        const emr_tensor *tensor = emr_model_find_tensor(model, letter);
        assert_non_null(tensor);
        assert_ok(emr_tensor_read(tensor, 0, got, 4, &error), &error);
        assert_true(got[0] == *t && got[3] == *t);
    }
    emr_model_destroy(&model);
}

static void check_refused(const char *name, emr_status expected, const char *word, const char *other)
{
    emr_model *model = (emr_model *)&expected;
    emr_error error = {.text = ""};
    emr_status got = open_entry(name, &model, &error);
    if (got != expected || model || !is_sentence(&error, word, other))
        fail_msg("%s: \"%s\" without '%s' and '%s'", emr_status_name(got), error.text, word, other);
}

#define INDEX "model.safetensors.index.json"

static void put_index(const char *map)
{
    char text[1000];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":12},\"weight_map\":%s}", map);
    put(INDEX, text);
}

static void shards_make_one_model(void **state)
{
    (void)state;
    put_shard("one.safetensors", "ca");
    put_shard("two.safetensors", "b");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"one.safetensors\"}");
    check_opens(INDEX, "abc");
    check_opens("", "abc");
}

/* Every shard repeats the metadata; the model has each key once. */
static void metadata_of_shards_is_one(void **state)
{
    emr_model *model;
    emr_error error;
    const char *key, *value;
    (void)state;
    put_shard("one.safetensors", "a");
    put_shard("two.safetensors", "b");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
    assert_ok(open_entry(INDEX, &model, &error), &error);
    size_t n = emr_model_n_metadata(model);
    assert_int_equal(emr_model_get_metadata(model, 0, &key, &value), EMR_OK);
    assert_string_equal(key, "format");
    assert_string_equal(value, "pt");
    emr_model_destroy(&model);
    assert_int_equal(n, 1);
}

static void total_size_is_not_believed(void **state)
{
    static const char *const beginnings[] = {"",
                                             "\"metadata\":{\"total_size\":99999999999},",
                                             "\"metadata\":{\"total_size\":-1.5e3},",
                                             "\"metadata\":{},",
                                             "\"metadata\":null,",
                                             "\"more\":[1,2],"};
    (void)state;
    put_shard("one.safetensors", "a");
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "{%s\"weight_map\":{\"a\":\"one.safetensors\"}}", beginnings[i]);
        put(INDEX, text);
        check_opens(INDEX, "a");
    }
}

static void shard_names_stay_in_the_directory(void **state)
{
    static const struct {
        const char *name, *why;
    } names[] = {{"../one.safetensors", "leads out"},
                 {"/etc/passwd", "absolute"},
                 {"..", "leads out"},
                 {".", "not that of a file"},
                 {"", "not that of a file"},
                 {"./", "not that of a file"},
                 {"sub/../one.safetensors", "leads out"},
                 {"./../one.safetensors", "leads out"},
                 {"sub/..", "leads out"},
                 {".//etc/..", "leads out"},
                 {"sub\\\\one.safetensors", "'\\'"},
                 {"C:one.safetensors", "':'"},
                 {"..\\\\one.safetensors", "'\\'"},
                 {"one.safetensors/", "not that of a file"},
                 {"one.safetensors/.", "not that of a file"}};
    (void)state;
    put_shard("one.safetensors", "a");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char map[200];
        snprintf(map, sizeof map, "{\"a\":\"%s\"}", names[i].name);
        put_index(map);
        check_refused(INDEX, EMR_EFORMAT, "tensor 'a'", names[i].why);
    }
}

/* As loaders do, which join it with the directory. */
static void a_shard_may_lie_in_a_folder(void **state)
{
    char *sub = test_path(directory, "sub");
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    emr_model *model;
    emr_error error;
    (void)state;
    assert_int_equal(mkdir(sub, 0777), 0);
    put_shard("one.safetensors", "a");
    put_shard("sub/two.safetensors", "b");
    put_shard("..three.safetensors", "c");
    put("config.json", "{}");
    put("sub/config.json", "{\"of\": \"another\"}");
    put_index("{\"a\":\".//./one.safetensors\",\"b\":\"sub/two.safetensors\",\"c\":\"..three.safetensors\"}");
    check_opens("", "abc");
    options.side_files = true;
    assert_ok(emr_checkpoint_open(&model, directory, &options, &error), &error);
    assert_int_equal(emr_tensor_bytes(emr_model_find_tensor(model, EMR_FILE_PREFIX "config.json")), 2);
    emr_model_destroy(&model);
    put_shard("one.safetensors", "ab");
    put_index("{\"a\":\"./one.safetensors\",\"b\":\"one.safetensors\"}"); /* the same one */
    check_opens(INDEX, "ab");
    free(sub);
}

static void a_mark_before_the_text_is_passed_over(void **state)
{
    static const char wide[] = "\xff\xfe{\0}";
    char *path = test_path(directory, INDEX);
    (void)state;
    put_shard("one.safetensors", "a");
    put(INDEX, "\xef\xbb\xbf{\"weight_map\":{\"a\":\"one.safetensors\"}}");
    check_opens("", "a");
    put(INDEX, "\xef\xbb\xbf");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "JSON");
    test_write_file(path, wide, sizeof wide);
    check_refused(INDEX, EMR_EFORMAT, INDEX, "UTF-16");
    free(path);
}

static void indexes_are_strict_json(void **state)
{
    (void)state;
    put_shard("one.safetensors", "a");
    put_index("{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "duplicate");
    put(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "JSON");
    put(INDEX, "{\"weight_map\":{\"a\":\"one.safetensors\"}} x");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "JSON");
    put(INDEX, "");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "JSON");
    static const char *const maps[] = {"{}", "{\"weight_map\":null}", "{\"weight_map\":[\"a\"]}", "[]"};
    for (size_t i = 0; i < 4; i++) {
        put(INDEX, maps[i]);
        check_refused(INDEX, EMR_EFORMAT, INDEX, "weight_map");
    }
    put_index("{\"a\":1}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "'a'");
    put_index("{\"a\":[\"one.safetensors\"]}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "'a'");
}

static void index_and_shards_agree(void **state)
{
    (void)state;
    put_shard("one.safetensors", "ab");
    put_shard("two.safetensors", "bc");
    put_shard("three.safetensors", "c");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"z\":\"one.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "'z'"); /* listed, but not there */
    put_index("{\"a\":\"one.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "'b'"); /* there, but not listed */
    put_index("{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"two.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, "two.safetensors", "'b'"); /* in two shards */
    put_index("{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\",\"c\":\"three.safetensors\"}");
    check_refused(INDEX, EMR_EFORMAT, INDEX, "'b'"); /* in another shard than the index says */
}

static void broken_shards_are_named(void **state)
{
    (void)state;
    put_shard("one.safetensors", "a");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"gone.safetensors\"}");
    check_refused(INDEX, EMR_EIO, "gone.safetensors", "");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"bad.safetensors\"}");
    put("bad.safetensors", "not a checkpoint");
    check_refused(INDEX, EMR_EFORMAT, "bad.safetensors", "");
}

static void reading_names_the_shard(void **state)
{
    emr_model *model;
    emr_error error;
    unsigned char got[4];
    (void)state;
    put_shard("one.safetensors", "a");
    put_shard("two.safetensors", "b");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
    assert_ok(open_entry(INDEX, &model, &error), &error);
    char *path = test_path(directory, "two.safetensors");
    FILE *f = fopen(path, "wb"); /* emptied while it is open */
    fclose(f);
    free(path);
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "a"), 0, got, 4, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "b"), 0, got, 4, &error), EMR_EIO);
    assert_true(is_sentence(&error, "two.safetensors", "'b'"));
    emr_model_destroy(&model);
}

static void shards_leak_nothing_when_memory_runs_out(void **state)
{
    bool failed = true;
    (void)state;
    put_shard("one.safetensors", "a");
    put_shard("two.safetensors", "b");
    put_index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
    for (size_t k = 0; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *model;
        emr_status status = emr_checkpoint_open(&model, directory, &options, NULL);
        failed = status != EMR_OK;
        assert_true(failed ? status == EMR_ENOMEM && !model : model != NULL);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(shards_make_one_model),
        with_directory(metadata_of_shards_is_one),
        with_directory(total_size_is_not_believed),
        with_directory(shard_names_stay_in_the_directory),
        with_directory(a_shard_may_lie_in_a_folder),
        with_directory(a_mark_before_the_text_is_passed_over),
        with_directory(indexes_are_strict_json),
        with_directory(index_and_shards_agree),
        with_directory(broken_shards_are_named),
        with_directory(reading_names_the_shard),
        with_directory(shards_leak_nothing_when_memory_runs_out),
    };
    return cmocka_run_group_tests_name("shards", tests, NULL, NULL);
}
