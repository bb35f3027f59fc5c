/* test_adapter.c - adapters as the PEFT library saves them: two files in a directory, read together, carried
 * byte for byte, and written together or not at all. */
#define _XOPEN_SOURCE 700

#include "craft.h"
#include "own_directory.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEIGHTS "adapter_model.safetensors"
#define CONFIG  "adapter_config.json"

/* As PEFT writes it, but for one character beyond ASCII, an escape and an odd end. */
static const char config[] = "{\n  \"peft_type\": \"LORA\",\n  \"r\": 8,\n  \"base_model_name_or_path\": "
                             "\"\xe2\x82\xac\\n\\/\"\n}\r\n\t ";

static void put_bytes(const char *name, const void *bytes, size_t n)
{
    char *path = test_path(directory, name);
    test_write_file(path, bytes, n);
    free(path);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* Weights with one tensor, called after the file; and metadata. */
static void put_weights(const char *name, const char *metadata)
{
    char header[500];
    snprintf(header, sizeof header,
             "{\"__metadata__\":{%s},\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
             metadata, name);
    crafted file = craft(header, 8);
    put_bytes(name, file.bytes, file.n);
    crafted_free(&file);
}

static void assert_holds(const char *name, const char *text)
{
    size_t n;
    char *path = test_path(directory, name);
    unsigned char *bytes = test_read_file(path, &n);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, n);
    free(bytes);
    free(path);
}

static emr_status open_entry(const char *name, emr_model **model, emr_error *error)
{
    char *path = *name ? test_path(directory, name) : strdup(directory);
    emr_status status = emr_checkpoint_open(model, path, NULL, error);
    free(path);
    return status;
}

static const char *carried(const emr_model *m)
{
    const char *key, *value, *found = NULL;
    for (uint32_t i = 0; emr_model_get_metadata(m, i, &key, &value) == EMR_OK; i++) {
        if (strcmp(key, EMR_ADAPTER_CONFIG) == 0) {
            assert_null(found);
            found = value;
        }
    }
    assert_ptr_equal(emr_model_find_metadata(m, EMR_ADAPTER_CONFIG), found);
    return found;
}

/* What is opened at `name` has the tensor, and carries the text or NULL. */
static void check_opens(const char *name, const char *tensor, const char *text)
{
    emr_model *m;
    emr_error error;
    assert_ok(open_entry(name, &m, &error), &error);
    assert_non_null(emr_model_find_tensor(m, tensor));
    if (text)
        assert_string_equal(carried(m), text);
    else
        assert_null(carried(m));
    emr_model_destroy(&m);
}

static void check_refused(const char *name, emr_status expected, const char *why)
{
    emr_model *m = (emr_model *)&expected;
    emr_error error = {.text = ""};
    emr_status status = open_entry(name, &m, &error);
    if (status != expected || m || !is_sentence(&error, CONFIG, why))
        fail_msg("%s: %s: %s", why, emr_status_name(status), error.text);
}

static void the_configuration_is_carried_as_it_stands(void **state)
{
    (void)state;
    put_weights(WEIGHTS, "\"format\":\"pt\"");
    check_opens("", WEIGHTS, NULL); /* weights alone are a checkpoint like any other */
    put(CONFIG, config);
    check_opens("", WEIGHTS, config);
    check_opens(WEIGHTS, WEIGHTS, config);
    put(CONFIG, "{}");
    check_opens("", WEIGHTS, "{}");
}

/* The file beside the weights is what PEFT reads. */
static void the_file_counts_more_than_metadata(void **state)
{
    (void)state;
    put_weights(WEIGHTS, "\"" CONFIG "\":\"{ }\"");
    check_opens(WEIGHTS, WEIGHTS, "{ }");
    put(CONFIG, config);
    check_opens(WEIGHTS, WEIGHTS, config);
}

static void it_belongs_to_weights_of_that_name_alone(void **state)
{
    (void)state;
    put(CONFIG, config);
    put_weights("other.safetensors", "");
    check_opens("", "other.safetensors", NULL);
    check_opens("other.safetensors", "other.safetensors", NULL);
    put_weights(WEIGHTS, "");
    check_opens("", WEIGHTS, config); /* the preferred name among several */
    check_opens("other.safetensors", "other.safetensors", NULL);
    put_weights("model.safetensors", "");
    check_opens("model.safetensors", "model.safetensors", NULL);
    check_opens(WEIGHTS, WEIGHTS, config);
}

/* An index that lists the one file, as some tools leave it, does not hide what the adapter is. */
static void it_is_found_through_an_index_too(void **state)
{
    (void)state;
    put_weights(WEIGHTS, "\"" CONFIG "\":\"{ }\"");
    put_weights("z.safetensors", "\"" CONFIG "\":\"{  }\"");
    put("a.safetensors.index.json",
        "{\"weight_map\":{\"" WEIGHTS "\":\"" WEIGHTS "\",\"z.safetensors\":\"z.safetensors\"}}");
    put(CONFIG, config);
    check_opens("a.safetensors.index.json", WEIGHTS, config);
    check_opens("", WEIGHTS, config);
    put(CONFIG, "[]");
    check_refused("", EMR_EFORMAT, "no JSON object");
}

static void what_is_no_configuration_is_refused(void **state)
{
    static const char zero_within[] = "{\"r\":\"a\0b\"}", zero_behind[] = "{}\0";
    (void)state;
    put_weights(WEIGHTS, "");
    put(CONFIG, "");
    check_refused("", EMR_EFORMAT, "it ends too early");
    put(CONFIG, "{\"r\":8");
    check_refused("", EMR_EFORMAT, "not valid JSON");
    put(CONFIG, "{\"r\":8}{");
    check_refused(WEIGHTS, EMR_EFORMAT, "something after the end");
    put(CONFIG, "{\"r\":8,\"r\":8}");
    check_refused("", EMR_EFORMAT, "duplicate key 'r'");
    put(CONFIG, "[8]");
    check_refused("", EMR_EFORMAT, "no JSON object");
    put(CONFIG, "{\"r\":\"\xff\"}");
    check_refused("", EMR_EFORMAT, "not valid UTF-8");
    put_bytes(CONFIG, zero_within, sizeof zero_within - 1);
    check_refused("", EMR_EFORMAT, "control character");
    put_bytes(CONFIG, zero_behind, sizeof zero_behind - 1);
    check_refused("", EMR_EFORMAT, "something after the end");
}

static void the_cap_is_what_it_says(void **state)
{
    char *text = malloc(EMR_ADAPTER_CONFIG_MAX + 2);
    (void)state;
    memset(text, ' ', EMR_ADAPTER_CONFIG_MAX + 1);
    memcpy(text, "{}", 2);
    text[EMR_ADAPTER_CONFIG_MAX] = '\0';
    put_weights(WEIGHTS, "");
    put(CONFIG, text);
    check_opens("", WEIGHTS, text);
    strcat(text, " ");
    put(CONFIG, text);
    check_refused("", EMR_EFORMAT, "at most 1048576 bytes");
    free(text);
}

/* What opening takes for the longest configuration, of as many keys as fit. */
static void memory_is_bounded(void **state)
{
    char *text = malloc(EMR_ADAPTER_CONFIG_MAX + 20), *path = test_path(directory, WEIGHTS);
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    emr_error error;
    emr_model *m;
    (void)state;
    size_t n = (size_t)snprintf(text, 20, "{\"\":1");
    for (unsigned i = 0; n < EMR_ADAPTER_CONFIG_MAX - 20; i++)
        n += (size_t)snprintf(text + n, 20, ",\"%x\":1", i);
    snprintf(text + n, 20, "}");
    put_weights(WEIGHTS, "");
    put(CONFIG, text);
    options.allocator = &allocator;
    assert_ok(emr_checkpoint_open(&m, path, &options, &error), &error);
    assert_string_equal(carried(m), text);
    assert_true(meter.peak <= 24 * strlen(text) + 65536);
    emr_model_destroy(&m);
    assert_int_equal(meter.now, 0);
    free(path);
    free(text);
}

/* A link that leads nowhere is a mistake, not an absent file. */
static void a_dangling_link_is_refused(void **state)
{
    char *path = test_path(directory, CONFIG);
    (void)state;
    put_weights(WEIGHTS, "");
    assert_int_equal(symlink("nowhere", path), 0);
    check_refused("", EMR_EIO, "cannot be opened");
    free(path);
}

/* Both files of an opened adapter, or one without configuration, or with what is given instead. */
static emr_model *make_adapter(const char *text)
{
    emr_model *m = test_model_new("made");
    static const float values[2] = {1, 2};
    const uint64_t shape = 2;
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = "lora_A";
    d.dtype = EMR_DTYPE_F32;
    d.rank = 1;
    d.shape = &shape;
    d.data = values;
    assert_int_equal(emr_model_add(m, &d, NULL), EMR_OK);
    d.name = "lora_B";
    assert_int_equal(emr_model_add(m, &d, NULL), EMR_OK);
    if (text)
        assert_int_equal(emr_model_set_metadata(m, EMR_ADAPTER_CONFIG, text, NULL), EMR_OK);
    return m;
}

static emr_status write_adapter(const char *name, const char *text,
                                const emr_checkpoint_write_options *options, emr_error *error)
{
    emr_model *m = make_adapter(text);
    char *path = *name ? test_path(directory, name) : strdup(directory);
    emr_status status = emr_checkpoint_write(m, path, options, error);
    emr_model_destroy(&m);
    free(path);
    return status;
}

static void a_directory_gets_both_files(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(write_adapter("", config, NULL, &error), &error); /* one that is there */
    assert_int_equal(test_directory_entries(directory), 2);
    assert_holds(CONFIG, config);
    check_opens("", "lora_B", config);
    assert_ok(write_adapter("made", config, NULL, &error), &error); /* and one that is not */
    assert_holds("made/" CONFIG, config);
    check_opens("made", "lora_A", config);
    check_opens("made/" WEIGHTS, "lora_A", config);
}

static void a_file_of_that_name_gets_the_other_beside_it(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(write_adapter(WEIGHTS, config, NULL, &error), &error);
    assert_holds(CONFIG, config);
    assert_int_equal(test_directory_entries(directory), 2);
}

/* It is in the metadata there, which is not lost either. */
static void another_file_comes_alone(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(write_adapter("m.safetensors", config, NULL, &error), &error);
    assert_int_equal(test_directory_entries(directory), 1);
    check_opens("m.safetensors", "lora_A", config);
}

static void a_model_without_configuration_is_written_as_ever(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(write_adapter(WEIGHTS, NULL, NULL, &error), &error);
    assert_int_equal(test_directory_entries(directory), 1);
    assert_ok(write_adapter("folder/", NULL, NULL, &error), &error);
    assert_true(exists("folder/model.safetensors"));
    assert_int_equal(write_adapter("made", NULL, NULL, &error), EMR_EINVAL);
    assert_false(exists("made"));
}

static void existing_files_are_kept_unless_replaced(void **state)
{
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    emr_error error;
    (void)state;
    put(CONFIG, "old");
    assert_int_equal(write_adapter("", config, &options, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, CONFIG, "already exists"));
    assert_holds(CONFIG, "old");
    assert_false(exists(WEIGHTS));
    char *path = test_path(directory, CONFIG);
    assert_int_equal(remove(path), 0);
    free(path);
    put(WEIGHTS, "old");
    assert_int_equal(write_adapter(WEIGHTS, config, &options, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, WEIGHTS, "already exists"));
    assert_holds(WEIGHTS, "old");
    assert_int_equal(test_directory_entries(directory), 1);
    put(CONFIG, "old");
    options.replace = 1;
    assert_ok(write_adapter("", config, &options, &error), &error);
    check_opens("", "lora_A", config);
}

/* Somebody else makes the second file while the first is written. */
static emr_status make_config(void *user, const emr_progress *progress, emr_error *error)
{
    (void)user, (void)progress, (void)error;
    put(CONFIG, "theirs");
    return EMR_OK;
}

static void both_appear_or_neither(void **state)
{
    const emr_resources resources = {.size = sizeof resources, .progress = make_config};
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    emr_error error;
    (void)state;
    assert_int_equal(write_adapter(WEIGHTS, config, &options, &error), EMR_EEXIST);
    assert_holds(CONFIG, "theirs");
    assert_int_equal(test_directory_entries(directory), 1);
}

static void failures_leave_nothing_behind(void **state)
{
    test_progress at_once = {.stop_at = 0, .why = "the window was closed"};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &at_once;
    assert_int_equal(write_adapter("made", config, &options, &error), EMR_ECANCELED);
    assert_true(is_sentence(&error, ": the window was closed", ""));
    options.resources = NULL;
    assert_int_equal(write_adapter("made", "[]", &options, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "made", "no JSON object"));
    assert_int_equal(write_adapter(WEIGHTS, "{", &options, &error), EMR_EFORMAT);
    options.shard_bytes = 8;
    assert_int_equal(write_adapter("made", config, &options, &error), EMR_EINVAL);
    assert_true(is_sentence(&error, WEIGHTS, "2 shards"));
    assert_int_equal(test_directory_entries(directory), 0);
    options.shard_bytes = 16; /* enough for one file */
    assert_ok(write_adapter("made", config, &options, &error), &error);
    check_opens("made", "lora_A", config);
}

/* Wherever memory ends, reading and writing say so, keep none of it, and leave nothing behind. */
static void memory_may_end_anywhere(void **state)
{
    test_allocator counts = {.fail_at = SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    const emr_checkpoint_read_options reading = {.size = sizeof reading, .allocator = &allocator};
    const emr_resources resources = test_resources(&allocator, NULL);
    const emr_checkpoint_write_options writing = {.size = sizeof writing, .resources = &resources};
    emr_status status = EMR_ENOMEM;
    emr_error error;
    (void)state;
    size_t k = 0;
    for (; status; k++) {
        counts = (test_allocator){.fail_at = k};
        status = write_adapter("made", config, &writing, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
        assert_int_equal(exists("made"), status == EMR_OK);
    }
    assert_true(k > 8);
    char *path = test_path(directory, "made");
    status = EMR_ENOMEM;
    for (k = 0; status; k++) {
        emr_model *m;
        counts = (test_allocator){.fail_at = k};
        status = emr_checkpoint_open(&m, path, &reading, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        if (!status)
            assert_string_equal(carried(m), config);
        emr_model_destroy(&m);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 8);
    free(path);
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(the_configuration_is_carried_as_it_stands),
        with_directory(the_file_counts_more_than_metadata),
        with_directory(it_belongs_to_weights_of_that_name_alone),
        with_directory(it_is_found_through_an_index_too),
        with_directory(what_is_no_configuration_is_refused),
        with_directory(the_cap_is_what_it_says),
        with_directory(memory_is_bounded),
        with_directory(a_dangling_link_is_refused),
        with_directory(a_directory_gets_both_files),
        with_directory(a_file_of_that_name_gets_the_other_beside_it),
        with_directory(another_file_comes_alone),
        with_directory(a_model_without_configuration_is_written_as_ever),
        with_directory(existing_files_are_kept_unless_replaced),
        with_directory(both_appear_or_neither),
        with_directory(failures_leave_nothing_behind),
        with_directory(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests_name("adapters", tests, NULL, NULL);
}
