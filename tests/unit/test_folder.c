/* test_folder.c - models written to folders: the files beside the weights, what must not get out of a hostile
 * model, what is in the way, and that there is a whole model in the end or none. */
#define _XOPEN_SOURCE 700

#include "gguf_craft.h"
#include "own_directory.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_file(const char *name, const char *text)
{
    char *path = test_path(directory, name);
    test_write_file(path, text, strlen(text));
    free(path);
}

static void check_file(const char *name, const char *text)
{
    size_t n;
    char *path = test_path(directory, name);
    unsigned char *bytes = test_read_file(path, &n);
    if (n != strlen(text) || memcmp(bytes, text, n) != 0)
        fail_msg("%s: '%.*s', not '%s'", name, (int)n, (char *)bytes, text);
    free(bytes);
    free(path);
}

static void add_file(emr_model *m, const char *name, const char *text)
{
    char tensor[200];
    const uint64_t n = strlen(text);
    snprintf(tensor, sizeof tensor, EMR_FILE_PREFIX "%s", name);
    const emr_tensor_desc d = {
        .size = sizeof d, .name = tensor, .dtype = EMR_DTYPE_U8, .rank = 1, .shape = &n, .data = text};
    assert_int_equal(emr_model_add(m, &d, NULL), EMR_OK);
}

static const float values[4] = {1, 2, 3, 4};

static void add_weights(emr_model *m, const char *name)
{
    const uint64_t n = 4;
    const emr_tensor_desc d = {
        .size = sizeof d, .name = name, .dtype = EMR_DTYPE_F32, .rank = 1, .shape = &n, .data = values};
    assert_int_equal(emr_model_add(m, &d, NULL), EMR_OK);
}

static const char config[] = "{\"torch_dtype\": \"float32\"}";

/* Two tensors, with files before, between and behind them. */
static emr_model *make_model(void)
{
    emr_model *m = test_model_new("made");
    add_file(m, "1_Pooling/config.json", "{\"p\": 1}");
    add_weights(m, "a");
    add_file(m, "config.json", config);
    add_weights(m, "b");
    add_file(m, "tokenizer_config.json", "{}");
    add_file(m, "empty.txt", "");
    assert_int_equal(emr_model_set_metadata(m, "format", "pt", NULL), EMR_OK);
    return m;
}

static emr_status write_to(emr_model *m, const char *name, const emr_checkpoint_write_options *options,
                           emr_error *error)
{
    char *path = test_path(directory, name);
    emr_status status = emr_checkpoint_write(m, path, options, error);
    free(path);
    return status;
}

static emr_status write_made(const char *name, const emr_checkpoint_write_options *options, emr_error *error)
{
    emr_model *m = make_model();
    emr_status status = write_to(m, name, options, error);
    emr_model_destroy(&m);
    return status;
}

static void check_opens(const char *name, uint32_t n_tensors)
{
    emr_model *m;
    emr_error error;
    char *path = test_path(directory, name);
    assert_ok(emr_checkpoint_open(&m, path, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(m), n_tensors);
    assert_non_null(emr_model_find_tensor(m, "a"));
    assert_string_equal(emr_model_find_metadata(m, "format"), "pt");
    emr_model_destroy(&m);
    free(path);
}

static void check_folder(const char *name, const char *expected_config)
{
    char path[100];
    check_opens(name, 2);
    snprintf(path, sizeof path, "%s/1_Pooling/config.json", name);
    check_file(path, "{\"p\": 1}");
    snprintf(path, sizeof path, "%s/config.json", name);
    check_file(path, expected_config);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", name);
    check_file(path, "{}");
    snprintf(path, sizeof path, "%s/empty.txt", name);
    check_file(path, "");
}

static void a_folder_gets_everything(void **state)
{
    static const char *const names[] = {"made/", "made", "made///", "."};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_ok(write_made(names[i], NULL, &error), &error);
        check_folder("made", config);
        assert_true(exists("made/model.safetensors"));
        char *made = test_path(directory, "made");
        assert_int_equal(test_directory_entries(made), 5);
        test_directory_remove(made);
    }
    assert_ok(write_made(names[3], NULL, &error), &error); /* one that is there */
    check_folder(".", config);
}

static void a_folder_takes_its_sign(void **state)
{
    emr_model *m = test_model_new("plain");
    emr_error error;
    (void)state;
    add_weights(m, "a");
    assert_int_equal(write_to(m, "made", NULL, &error),
                     EMR_EINVAL); /* it carries nothing that makes a folder */
    assert_true(is_sentence(&error, "made", "for a folder, in '/'"));
    assert_int_equal(write_made("made.bin", NULL, &error), EMR_EINVAL);
    assert_int_equal(test_directory_entries(directory), 0);
    assert_ok(write_to(m, "made.bin/", NULL, &error), &error);
    assert_true(exists("made.bin/model.safetensors"));
    put_file("file", "");
    assert_int_equal(write_to(m, "file/", NULL, &error), EMR_EIO);
    assert_int_equal(write_to(m, "none/made/", NULL, &error), EMR_EIO);
    assert_true(is_sentence(&error, "none/made", "cannot be made"));
    emr_model_destroy(&m);
}

static void a_file_gets_weights_alone(void **state)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_model *m = make_model(), *again;
    (void)state;
    assert_ok(write_to(m, "m.safetensors", NULL, &error), &error);
    assert_int_equal(test_directory_entries(directory), 1);
    check_opens("m.safetensors", 2);
    assert_ok(emr_safetensors_write(m, emr_buffer_io(buffer), NULL, &error), &error);
    assert_ok(emr_safetensors_open(&again, emr_buffer_io(buffer), NULL, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(again), 2);
    emr_model_destroy(&again);
    emr_model_destroy(&m);
    emr_buffer_destroy(&buffer);
}

/* In a header, its names alone stand for files. */
static void no_other_tensor_has_such_a_name(void **state)
{
    emr_model *m = test_model_new("odd");
    emr_error error;
    (void)state;
    add_weights(m, "file:config.json");
    assert_int_equal(write_to(m, "m.safetensors", NULL, &error), EMR_EINVAL);
    assert_true(is_sentence(&error, "file:config.json", "cannot be written"));
    assert_int_equal(test_directory_entries(directory), 0);
    emr_model_destroy(&m);
}

static void shards_lie_beside_their_files(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .shard_bytes = 16};
    emr_error error;
    (void)state;
    assert_ok(write_made("made/", &options, &error), &error);
    check_folder("made", config);
    check_file("made/model.safetensors.index.json",
               "{\n  \"metadata\": {\n    \"total_size\": 32\n  },\n  \"weight_map\": {\n"
               "    \"a\": \"model-00001-of-00002.safetensors\",\n"
               "    \"b\": \"model-00002-of-00002.safetensors\"\n  }\n}\n");
}

static void the_config_follows_the_dtype(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .dtype = EMR_DTYPE_BF16};
    emr_error error;
    (void)state;
    assert_ok(write_made("made/", &options, &error), &error);
    check_folder("made", "{\"torch_dtype\": \"bfloat16\"}");
    options.dtype = EMR_DTYPE_I8;
    assert_int_equal(write_made("other/", &options, &error), EMR_EINVAL);
    options.dtype = EMR_DTYPE_F16;
    emr_model *m = test_model_new("broken");
    add_file(m, "config.json", "{\"dtype\": \"float32\"");
    assert_int_equal(write_to(m, "other/", &options, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "file:config.json", "which has to change"));
    assert_false(exists("other"));
    options.dtype = 0;
    assert_ok(write_to(m, "other/", &options, &error), &error);
    check_file("other/config.json", "{\"dtype\": \"float32\"");
    emr_model_destroy(&m);
}

static void diffusers_names_its_weights_otherwise(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .shard_bytes = 16};
    emr_model *m = test_model_new("unet");
    emr_error error;
    (void)state;
    add_weights(m, "a");
    add_weights(m, "b");
    add_file(m, "config.json", "{\"_class_name\": \"UNet\", \"_diffusers_version\": \"0.30.0\"}");
    assert_ok(write_to(m, "one/", NULL, &error), &error);
    assert_true(exists("one/diffusion_pytorch_model.safetensors"));
    assert_ok(write_to(m, "two/", &options, &error), &error);
    assert_true(exists("two/diffusion_pytorch_model-00002-of-00002.safetensors"));
    assert_true(exists("two/diffusion_pytorch_model.safetensors.index.json"));
    emr_model_destroy(&m);
}

/* A LoRA without a configuration is known by its names: each library looks for its own. */
static void a_lora_is_named_as_its_library_names_it(void **state)
{
    static const struct {
        const char *tensor, *file;
    } loras[] = {
        {"unet.down.0.to_q.lora.down.weight", "pytorch_lora_weights.safetensors"},
        {"unet.down.0.to_q.lora_A.weight", "pytorch_lora_weights.safetensors"},
        {"lora_unet_down_0_to_q.alpha", "pytorch_lora_weights.safetensors"},
        {"base_model.model.a.lora_A.weight", "adapter_model.safetensors"},
        {"model.a.weight", "model.safetensors"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof loras / sizeof loras[0]; i++) {
        emr_model *m = test_model_new("lora");
        emr_error error;
        char name[100];
        add_weights(m, loras[i].tensor);
        assert_ok(write_to(m, "made/", NULL, &error), &error);
        snprintf(name, sizeof name, "made/%s", loras[i].file);
        assert_true(exists(name));
        add_weights(m, "other");
        assert_ok(write_to(m, "mixed/", NULL, &error), &error);
        assert_true(exists("mixed/model.safetensors"));
        emr_model_destroy(&m);
        tear_down(NULL);
        set_up(NULL);
    }
}

static void gguf_stays_gguf(void **state)
{
    crafted file = gguf_rich();
    emr_model *m = assert_gguf(&file);
    emr_error error;
    size_t n;
    (void)state;
    add_file(m, "params", "");
    assert_int_equal(write_to(m, "made/", NULL, &error), EMR_EFORMAT); /* no name for a file */
    assert_int_equal(test_directory_entries(directory), 0);
    emr_model_destroy(&m);
    m = assert_gguf(&file);
    add_file(m, "config.json", "{}");
    assert_ok(write_to(m, "made/", NULL, &error), &error);
    check_file("made/config.json", "{}");
    char *path = test_path(directory, "made/model.gguf");
    unsigned char *bytes = test_read_file(path, &n);
    assert_int_equal(n, file.n);
    assert_memory_equal(bytes, file.bytes, n);
    free(bytes);
    free(path);
    emr_model_destroy(&m);
    crafted_free(&file);
}

/* Whoever made the model, nothing gets out of the folder, hides there, is code, or is taken for weights. */
static void hostile_names_are_refused(void **state)
{
    static const char *const names[] = {"",
                                        "../config.json",
                                        "/tmp/config.json",
                                        "a/config.json",
                                        "1_a/../config.json",
                                        "1_a/b/config.json",
                                        "1_../x.json",
                                        "..\\config.json",
                                        "C:config.json",
                                        ".config.json",
                                        "1_a/.config.json",
                                        "model.py",
                                        "config.json.py",
                                        "config.json\n",
                                        "config.json/",
                                        "1_a/",
                                        "model.safetensors",
                                        "model.safetensors.index.json",
                                        "Model.Safetensors.Index.JSON",
                                        "MODEL.SAFETENSORS.INDEX.json",
                                        "pytorch_model.bin",
                                        "adapter_config.json",
                                        "ADAPTER_config.json",
                                        "1_a/adapter_model.safetensors",
                                        "x.pkl",
                                        "x\xc3\xa4.json"};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        emr_model *m = make_model();
        add_file(m, names[i], "x");
        emr_status status = write_to(m, "made/", NULL, &error);
        if (status != EMR_EFORMAT || !is_sentence(&error, "no name of a file", EMR_FILE_PREFIX))
            fail_msg("'%s': %s: %s", names[i], emr_status_name(status), error.text);
        assert_int_equal(test_directory_entries(directory), 0);
        assert_ok(write_to(m, "m.safetensors", NULL, &error), &error); /* where it does not get out anyway */
        char *path = test_path(directory, "m.safetensors");
        assert_int_equal(remove(path), 0);
        free(path);
        emr_model_destroy(&m);
    }
}

static void hostile_numbers_are_refused(void **state)
{
    emr_model *m = make_model();
    emr_error error;
    char name[20];
    (void)state;
    for (int i = 4; i < EMR_FILE_COUNT_MAX + 1; i++) {
        snprintf(name, sizeof name, "%d.txt", i);
        add_file(m, name, "");
    }
    assert_int_equal(write_to(m, "made/", NULL, &error), EMR_EFORMAT);
    emr_model_destroy(&m);
    m = make_model();
    const uint64_t n = EMR_FILE_BYTES_MAX + 1;
    const emr_tensor_desc d = {.size = sizeof d,
                               .name = "file:x.json",
                               .dtype = EMR_DTYPE_U8,
                               .rank = 1,
                               .shape = &n,
                               .data = values}; /* never read */
    assert_int_equal(emr_model_add(m, &d, NULL), EMR_OK);
    assert_int_equal(write_to(m, "made/", NULL, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "file:x.json", "larger"));
    assert_int_equal(test_directory_entries(directory), 0);
    emr_model_destroy(&m);
}

static const char *const other_forms[] = {
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "model.gguf",
    "model-00001-of-00003.gguf",
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "tf_model.h5",
    "flax_model.msgpack",
    "consolidated.safetensors",
};
enum { N_OTHER_FORMS = sizeof other_forms / sizeof other_forms[0] };

static void another_form_is_in_the_way(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .replace = 1};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < N_OTHER_FORMS; i++) {
        put_file(other_forms[i], "old");
        assert_int_equal(write_made(".", NULL, &error), EMR_EEXIST);
        assert_true(is_sentence(&error, other_forms[i], "already exists"));
        assert_int_equal(test_directory_entries(directory), 1);
        check_file(other_forms[i], "old");
        assert_ok(write_made(".", &options, &error), &error);
        check_folder(".", config);
        assert_false(exists(other_forms[i]));
        assert_int_equal(test_directory_entries(directory), 5);
        test_directory_remove(directory);
        directory = test_directory_make();
    }
}

static void other_numbers_of_shards_go(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .replace = 1};
    emr_error error;
    (void)state;
    for (uint64_t k = 0; k < 6; k++) {
        options.shard_bytes = k % 2 ? 16 : 32 * (k / 2 % 2); /* one file, two shards, one file, two shards */
        assert_ok(write_made("made/", &options, &error), &error);
        check_folder("made", config);
        assert_int_equal(exists("made/model.safetensors"), k % 2 == 0);
        assert_int_equal(exists("made/model-00001-of-00002.safetensors"), k % 2 == 1);
        options.replace = 0;
        options.shard_bytes = k % 2 ? 0 : 16;
        assert_int_equal(write_made("made/", &options, &error), EMR_EEXIST);
        check_folder("made", config);
        options.replace = 1;
    }
}

static void what_belongs_to_others_stays(void **state)
{
    static const char *const names[] = {"notes.txt",
                                        "README.md",
                                        "train.json",
                                        "model.py",
                                        "model-a.safetensors",
                                        "lora.safetensors",
                                        "llama.Q4.gguf",
                                        "model.safetensors.bak",
                                        "model-00001-of-0002.safetensors"};
    emr_checkpoint_write_options options = {.size = sizeof options, .replace = 1};
    emr_error error;
    (void)state;
    for (size_t i = 0; i < 9; i++)
        put_file(names[i], "mine");
    assert_ok(write_made(".", NULL, &error), &error);
    assert_ok(write_made(".", &options, &error), &error);
    for (size_t i = 0; i < 9; i++)
        check_file(names[i], "mine");
}

/* A model that is replaced takes its files along; in a folder without one they are the user's. */
static void files_of_an_earlier_model_are_not_mixed_in(void **state)
{
    emr_checkpoint_write_options options = {.size = sizeof options, .replace = 1};
    emr_error error;
    (void)state;
    put_file("chat_template.jinja", "mine");
    put_file("generation_config.json", "mine");
    assert_ok(write_made(".", &options, &error), &error);
    check_file("chat_template.jinja", "mine");
    check_file("generation_config.json", "mine");
    assert_ok(write_made(".", &options, &error), &error);
    assert_false(exists("chat_template.jinja"));
    assert_false(exists("generation_config.json"));
    put_file("chat_template.jinja", "mine");
    emr_model *m = test_model_new("plain"); /* brings no tokenizer */
    add_weights(m, "a");
    assert_ok(write_to(m, ".", &options, &error), &error);
    check_file("chat_template.jinja", "mine");
    check_file("tokenizer_config.json", "{}");
    emr_model_destroy(&m);
}

static void files_that_exist_are_kept(void **state)
{
    emr_error error;
    (void)state;
    put_file("config.json", "mine");
    assert_int_equal(write_made(".", NULL, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, "config.json", "already exists"));
    assert_int_equal(test_directory_entries(directory), 1);
    check_file("config.json", "mine");
}

static size_t entries_within(const char *path)
{
    char *whole = test_path(directory, path);
    size_t n = access(whole, F_OK) == 0 ? test_directory_entries(whole) : 0;
    free(whole);
    return n;
}

/* At the end of writing, and before anything is put in place, somebody makes a directory of a file's name. */
static emr_status take_a_name(void *user, const emr_progress *progress, emr_error *error)
{
    (void)error;
    if (progress->done == progress->total)
        (void)mkdir(user, 0777);
    return EMR_OK;
}

static void everything_appears_or_nothing(void **state)
{
    static const char *const names[] = {"made/1_Pooling/config.json",
                                        "made/config.json",
                                        "made/empty.txt",
                                        "made/model-00001-of-00002.safetensors",
                                        "made/model-00002-of-00002.safetensors",
                                        "made/model.safetensors.index.json"};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_checkpoint_write_options options = {
        .size = sizeof options, .resources = &resources, .shard_bytes = 16};
    emr_error error;
    (void)state;
    resources.progress = take_a_name;
    for (size_t i = 0; i < 6; i++) {
        char *taken = test_path(directory, names[i]);
        resources.progress_user = taken;
        emr_status status = write_made("made/", &options, &error);
        assert_true(status == EMR_EIO || status == EMR_EEXIST);
        assert_int_equal(rmdir(taken), 0);
        free(taken);
        assert_int_equal(entries_within("made"), i == 0); /* a folder that was not empty when it was to go */
        assert_int_equal(entries_within("made/1_Pooling"), 0);
        char *made = test_path(directory, "made");
        test_directory_remove(made);
    }
}

static void canceling_leaves_nothing_behind(void **state)
{
    emr_resources resources = EMR_INIT(emr_resources);
    emr_checkpoint_write_options options = {.size = sizeof options, .resources = &resources};
    emr_error error;
    size_t k = 0;
    (void)state;
    resources.progress = test_progress_note;
    for (emr_status status = EMR_ECANCELED; status; k++) {
        test_progress m = {.stop_at = k};
        resources.progress_user = &m;
        options.shard_bytes = k % 2 ? 16 : 0;
        status = write_made("made/", &options, &error);
        assert_true(status == EMR_OK || status == EMR_ECANCELED);
        assert_false(m.backwards);
        if (status)
            assert_int_equal(test_directory_entries(directory), 0);
        else
            assert_int_equal(m.done, m.total);
    }
    assert_true(k >= 4);
    check_folder("made", config);
}

static void memory_may_end_anywhere(void **state)
{
    test_allocator counts;
    emr_allocator allocator = test_allocator_make(&counts);
    const emr_resources resources = test_resources(&allocator, NULL);
    const emr_checkpoint_write_options options = {.size = sizeof options,
                                                  .resources = &resources,
                                                  .shard_bytes = 16,
                                                  .replace = 1,
                                                  .dtype = EMR_DTYPE_F16};
    emr_status status = EMR_ENOMEM;
    emr_error error;
    size_t k = 0;
    (void)state;
    char *made = test_path(directory, "made");
    assert_int_equal(mkdir(made, 0777), 0);
    free(made);
    put_file("made/pytorch_model.bin", "old");
    put_file("made/generation_config.json", "old");
    for (; status; k++) {
        counts = (test_allocator){.fail_at = k};
        status = write_made("made/", &options, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
        assert_int_equal(exists("made/pytorch_model.bin"), status != EMR_OK);
        assert_int_equal(exists("made/config.json"), status == EMR_OK);
        assert_int_equal(exists("made/generation_config.json"), status != EMR_OK);
    }
    assert_true(k > 40);
    check_folder("made", "{\"torch_dtype\": \"float16\"}");
}

static void note_path(void *user, const char *path)
{
    strcat(strcat(user, path + strlen(directory) + 1), "\n");
}

static void what_was_written_is_told(void **state)
{
    char told[1000] = "";
    emr_checkpoint_write_options options = {.size = sizeof options, .written = note_path, .user = told};
    emr_error error;
    (void)state;
    assert_ok(write_made("made//", &options, &error), &error);
    assert_string_equal(told, "made/1_Pooling/config.json\nmade/config.json\nmade/tokenizer_config.json\n"
                              "made/empty.txt\nmade/model.safetensors\n");
    *told = '\0';
    assert_int_equal(write_made("made/", &options, &error), EMR_EEXIST);
    assert_string_equal(told, "");
    options.shard_bytes = 16;
    assert_ok(write_made("m.safetensors", &options, &error), &error);
    assert_string_equal(told, "m-00001-of-00002.safetensors\nm-00002-of-00002.safetensors\n"
                              "m.safetensors.index.json\n");
}

#define with_directory(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_directory(a_folder_gets_everything),
        with_directory(a_folder_takes_its_sign),
        with_directory(a_file_gets_weights_alone),
        with_directory(no_other_tensor_has_such_a_name),
        with_directory(shards_lie_beside_their_files),
        with_directory(the_config_follows_the_dtype),
        with_directory(diffusers_names_its_weights_otherwise),
        with_directory(a_lora_is_named_as_its_library_names_it),
        with_directory(gguf_stays_gguf),
        with_directory(hostile_names_are_refused),
        with_directory(hostile_numbers_are_refused),
        with_directory(another_form_is_in_the_way),
        with_directory(other_numbers_of_shards_go),
        with_directory(what_belongs_to_others_stays),
        with_directory(files_of_an_earlier_model_are_not_mixed_in),
        with_directory(files_that_exist_are_kept),
        with_directory(everything_appears_or_nothing),
        with_directory(canceling_leaves_nothing_behind),
        with_directory(memory_may_end_anywhere),
        with_directory(what_was_written_is_told),
    };
    return cmocka_run_group_tests_name("folders", tests, NULL, NULL);
}
