/* test_side_files.c - the files beside a model's weights: which are taken, how they are read, and that they come
 * through a bundle to the task that had them. */
#define _XOPEN_SOURCE 700

#include "gguf_craft.h"
#include "own_directory.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_file(const char *name, const char *text)
{
    char *path = test_path(directory, name);
    test_write_file(path, text, strlen(text));
    free(path);
}

/* A file that takes no room, of so many zero bytes. */
static void put_sparse(const char *name, off_t bytes)
{
    char *path = test_path(directory, name);
    put_file(name, "");
    assert_int_equal(truncate(path, bytes), 0);
    free(path);
}

static void put_folder(const char *name)
{
    char *path = test_path(directory, name);
    assert_int_equal(mkdir(path, 0777), 0);
    free(path);
}

static void put_weights(const char *name, const char *dtype, int bytes)
{
    char header[200];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,%d]}}", dtype,
             bytes);
    crafted file = craft(header, (size_t)bytes);
    char *path = test_path(directory, name);
    test_write_file(path, file.bytes, file.n);
    free(path);
    crafted_free(&file);
}

static emr_status open_with(const char *name, const emr_checkpoint_read_options *options, emr_model **m,
                            emr_error *error)
{
    char *path = test_path(directory, name);
    emr_status status = emr_checkpoint_open(m, path, options, error);
    free(path);
    return status;
}

static const emr_checkpoint_read_options with_files = {.size = sizeof with_files, .side_files = 1};

static emr_model *opened(const char *name)
{
    emr_model *m;
    emr_error error;
    assert_ok(open_with(name, &with_files, &m, &error), &error);
    return m;
}

static void check_refused(const char *name, emr_status expected, const char *word, const char *other)
{
    emr_model *m;
    emr_error error = {.text = ""};
    emr_status status = open_with(name, &with_files, &m, &error);
    if (status != expected || m || !is_sentence(&error, word, other))
        fail_msg("%s: %s", emr_status_name(status), error.text);
}

/* The model's files are these, which end with NULL, in this order, behind the one tensor. */
static void check_files(const char *name, const char *const *expected)
{
    emr_model *m = opened(name);
    uint32_t n = 1;
    for (; expected[n - 1]; n++) {
        const emr_tensor *t = emr_model_tensor(m, n);
        assert_non_null(t);
        assert_true(strncmp(emr_tensor_name(t), EMR_FILE_PREFIX, strlen(EMR_FILE_PREFIX)) == 0);
        assert_string_equal(emr_tensor_name(t) + strlen(EMR_FILE_PREFIX), expected[n - 1]);
        assert_int_equal(emr_tensor_dtype(t), EMR_DTYPE_U8);
        assert_int_equal(emr_tensor_rank(t), 1);
    }
    assert_int_equal(emr_model_n_tensors(m), n);
    emr_model_destroy(&m);
}

static void check_bytes(const emr_model *m, const char *tensor, const char *text)
{
    char got[200];
    emr_error error;
    const emr_tensor *t = emr_model_find_tensor(m, tensor);
    assert_non_null(t);
    assert_int_equal(emr_tensor_bytes(t), strlen(text));
    assert_ok(emr_tensor_read(t, 0, got, strlen(text), &error), &error);
    assert_memory_equal(got, text, strlen(text));
    if (*text) {
        assert_ok(emr_tensor_read(t, 1, got, strlen(text) - 1, &error), &error);
        assert_memory_equal(got, text + 1, strlen(text) - 1);
    }
}

static void the_rule_of_names(void **state)
{
    static const char *const taken[] = {"1_Pooling/config.json",
                                        "added_tokens.json",
                                        "additional_chat_templates/tool_use.jinja",
                                        "bpe.codes",
                                        "chat template+x.jinja",
                                        "config.json",
                                        "merges.txt",
                                        "qwen.tiktoken",
                                        "source.spm",
                                        "tokenizer.model",
                                        NULL};
    static const char *const left[] = {"adapter_config.json",
                                       "Adapter_Config.json",
                                       "README.json",
                                       "readme.txt",
                                       "LICENSE.txt",
                                       "Notice.txt",
                                       "requirements.txt",
                                       "trainer_state.json",
                                       "all_results.json",
                                       "model.safetensors.index.json.bak",
                                       "x.index.json",
                                       "pytorch_model.bin.index.json",
                                       ".hidden.json",
                                       ".json",
                                       "modeling.py",
                                       "config.JSON",
                                       "a:b.json",
                                       "a\\b.json",
                                       "a\nb.json",
                                       "\xc3\xa4.json",
                                       "1_Pooling/model.py",
                                       "1_Pooling/x.index.json",
                                       "eval/config.json",
                                       "optimizer.pt",
                                       "1_Pooling/.x.json"};
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_folder("1_Pooling");
    put_folder("2_");
    put_folder("eval");
    put_folder("additional_chat_templates");
    put_folder("directory.json");
    for (size_t i = 0; taken[i]; i++)
        put_file(taken[i], "{}");
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        put_file(left[i], "{}");
    put_file("2_/config.json", "{}");
    check_files("", taken);
}

static void they_are_taken_where_a_folder_is_meant(void **state)
{
    static const char *const config[] = {"config.json", NULL}, *const none[] = {NULL};
    emr_model *m;
    emr_error error;
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_weights("other.safetensors", "F32", 16);
    put_file("config.json", "{}");
    check_files("", config);
    check_files("model.safetensors", config);
    check_files("other.safetensors", none);
    put_file("z.safetensors.index.json", "{\"weight_map\":{\"w\":\"other.safetensors\"}}");
    check_files("z.safetensors.index.json", config);
    assert_ok(open_with("", NULL, &m, &error), &error); /* not unless they are asked for */
    assert_int_equal(emr_model_n_tensors(m), 1);
    emr_model_destroy(&m);
}

static void they_are_read_byte_for_byte(void **state)
{
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_file("config.json", "no JSON at all\r\n\xff");
    put_file("empty.txt", "");
    emr_model *m = opened("");
    check_bytes(m, "file:config.json", "no JSON at all\r\n\xff");
    check_bytes(m, "file:empty.txt", "");
    emr_model_destroy(&m);
}

static void a_file_that_changes_meanwhile_is_noticed(void **state)
{
    char byte, *path = test_path(directory, "config.json");
    emr_error error;
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_file("config.json", "{\"a\":1}");
    emr_model *m = opened("");
    const emr_tensor *t = emr_model_find_tensor(m, "file:config.json");
    put_file("config.json", "{\"a\": 2}");
    assert_int_equal(emr_tensor_read(t, 0, &byte, 1, &error), EMR_EIO);
    assert_true(is_sentence(&error, "config.json", "it has changed"));
    assert_int_equal(remove(path), 0);
    assert_int_equal(emr_tensor_read(t, 0, &byte, 1, &error), EMR_EIO);
    assert_true(is_sentence(&error, "config.json", ""));
    emr_model_destroy(&m);
    assert_int_equal(symlink("nowhere", path), 0);
    check_refused("", EMR_EIO, "config.json", "cannot be opened");
    free(path);
}

static void caps_are_what_they_say(void **state)
{
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_sparse("a.json", EMR_FILE_BYTES_MAX);
    emr_model *m = opened("");
    emr_model_destroy(&m);
    put_sparse("a.json", EMR_FILE_BYTES_MAX + 1);
    check_refused("", EMR_ELIMIT, "a.json", "--no-side-files");
    for (char name[] = "a.json"; *name <= 'h'; ++*name)
        put_sparse(name, EMR_FILE_BYTES_MAX); /* 8 of 64 MiB */
    m = opened("");
    emr_model_destroy(&m);
    put_file("i.json", "{");
    check_refused("", EMR_ELIMIT, "536870912", "--no-side-files");
}

static void their_number_has_a_cap(void **state)
{
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    for (int i = 0; i < EMR_FILE_COUNT_MAX; i++) {
        char name[20];
        snprintf(name, sizeof name, "%d.txt", i);
        put_file(name, "");
    }
    emr_model *m = opened("");
    assert_int_equal(emr_model_n_tensors(m), 1 + EMR_FILE_COUNT_MAX);
    emr_model_destroy(&m);
    put_file("one_more.txt", "");
    check_refused("", EMR_ELIMIT, "256", "--no-side-files");
}

/* Without its weights the module, and so the model, would not load. */
static void weights_of_a_module_are_not_lost(void **state)
{
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_folder("2_Dense");
    put_file("2_Dense/config.json", "{}");
    emr_model *m = opened("");
    emr_model_destroy(&m);
    put_weights("2_Dense/model.safetensors", "F32", 16);
    check_refused("", EMR_EUNSUPPORTED, "2_Dense/model.safetensors", "--no-side-files");
}

static void no_tensor_of_a_file_has_such_a_name(void **state)
{
    const char name[] = "file:config.json";
    const uint64_t shape = 1;
    part kv = {0}, infos = {0};
    (void)state;
    assert_refused(craft("{\"file:config.json\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
                   EMR_EFORMAT, name);
    put_tensor(&infos, name, 1, &shape, T_F32, 0);
    assert_no_gguf(gguf_of(3, kv, infos, 32, 4, NULL), EMR_EFORMAT, name);
}

static void a_config_of_dequantised_weights_says_so(void **state)
{
    emr_checkpoint_read_options options = with_files;
    static const char config[] = "{\"a\":1,\"quantization_config\":{\"b\":2}}";
    emr_model *m;
    emr_error error;
    (void)state;
    options.dequantise = 1;
    put_file("config.json", config);
    put_weights("model.safetensors", "F32", 16);
    assert_ok(open_with("", &options, &m, &error), &error);
    check_bytes(m, "file:config.json", "{\"a\":1}");
    emr_model_destroy(&m);
    m = opened("");
    check_bytes(m, "file:config.json", config);
    emr_model_destroy(&m);
    put_weights("model.safetensors", "F8_E4M3", 4); /* still quantised */
    assert_ok(open_with("", &options, &m, &error), &error);
    check_bytes(m, "file:config.json", config);
    emr_model_destroy(&m);
    put_weights("model.safetensors", "F32", 16);
    put_file("config.json", "{");
    assert_int_equal(open_with("", &options, &m, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "config.json", "which has to change"));
}

static emr_buffer *merge_folders(emr_model *base, emr_model *const *tasks, emr_error *error)
{
    emr_merge *merge;
    emr_buffer *bundle = test_buffer_new();
    assert_ok(emr_merge_create(&merge, NULL, error), error);
    assert_ok(emr_merge_set_base(merge, base, error), error);
    assert_ok(emr_merge_add_task(merge, "one", tasks[0], error), error);
    assert_ok(emr_merge_add_task(merge, "two", tasks[1], error), error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(bundle), error), error);
    emr_plan_tensor t = EMR_INIT(emr_plan_tensor);
    for (uint32_t i = 0; emr_merge_get_plan_tensor(merge, i, &t) == EMR_OK; i++)
        if (strncmp(t.name, EMR_FILE_PREFIX, strlen(EMR_FILE_PREFIX)) == 0)
            assert_string_equal(t.reason, "a file of the task's folder");
    assert_ok(emr_merge_run(merge, error), error);
    emr_merge_destroy(&merge);
    return bundle;
}

/* Whether the base has files or not: they are each task's own. */
static void each_task_gets_its_own_back(void **state)
{
    emr_error error;
    emr_model *tasks[2], *bases[2];
    (void)state;
    put_folder("one");
    put_folder("two");
    put_weights("one/model.safetensors", "F32", 16);
    put_weights("two/model.safetensors", "F32", 16);
    put_weights("model.safetensors", "F32", 16);
    put_file("config.json", "the base's");
    put_file("vocab.txt", "the base's, too");
    put_file("one/config.json", "{\"one\":1}");
    put_file("one/tokenizer.json", "{}");
    put_file("two/config.json", "{\"two\":22}");
    put_file("two/merges.txt", "");
    tasks[0] = opened("one");
    tasks[1] = opened("two");
    assert_ok(open_with("", NULL, &bases[0], &error), &error);
    bases[1] = opened("");
    for (size_t b = 0; b < 2; b++) {
        emr_buffer *buffer = merge_folders(bases[b], tasks, &error);
        emr_bundle *bundle = test_bundle_open(buffer);
        for (uint32_t t = 0; t < 2; t++) {
            emr_model *m;
            assert_ok(emr_bundle_open_task(&m, bundle, t, bases[b], NULL, &error), &error);
            check_bytes(m, "file:config.json", t ? "{\"two\":22}" : "{\"one\":1}");
            check_bytes(m, t ? "file:merges.txt" : "file:tokenizer.json", t ? "" : "{}");
            assert_int_equal(emr_model_n_tensors(m), 3);
            emr_model_destroy(&m);
        }
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        emr_model_destroy(&tasks[0]);
        tasks[0] = opened("one");
    }
    for (size_t i = 0; i < 2; i++) {
        emr_model_destroy(&tasks[i]);
        emr_model_destroy(&bases[i]);
    }
}

static void memory_may_end_anywhere(void **state)
{
    test_allocator counts = {.fail_at = SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    const emr_checkpoint_read_options options = {
        .size = sizeof options, .allocator = &allocator, .side_files = 1, .dequantise = 1};
    emr_status status = EMR_ENOMEM;
    emr_error error;
    size_t k = 0;
    (void)state;
    put_weights("model.safetensors", "F32", 16);
    put_file("config.json", "{\"quantization_config\":{}}");
    put_file("tokenizer.json", "{}");
    put_folder("1_Pooling");
    put_file("1_Pooling/config.json", "{}");
    for (; status; k++) {
        emr_model *m;
        counts = (test_allocator){.fail_at = k};
        status = open_with("", &options, &m, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        if (!status)
            assert_int_equal(emr_model_n_tensors(m), 4);
        emr_model_destroy(&m);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 20);
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(the_rule_of_names),
        with_directory(they_are_taken_where_a_folder_is_meant),
        with_directory(they_are_read_byte_for_byte),
        with_directory(a_file_that_changes_meanwhile_is_noticed),
        with_directory(caps_are_what_they_say),
        with_directory(their_number_has_a_cap),
        with_directory(weights_of_a_module_are_not_lost),
        with_directory(no_tensor_of_a_file_has_such_a_name),
        with_directory(a_config_of_dequantised_weights_says_so),
        with_directory(each_task_gets_its_own_back),
        with_directory(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests_name("side files", tests, NULL, NULL);
}
