/* test_foreign.c - files that are given as checkpoints and are none: what they are is said, whatever they
 * are called, and what to do. */
#include "craft.h"

#include <stdio.h>

typedef struct foreign_file {
    const char *name, *bytes;
    size_t n;
    emr_status status;
    const char *word;
} foreign_file;

#define BYTES(text) text, sizeof(text) - 1
#define LFS         "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4997504\n"

static const foreign_file files[] = {
    {"a.safetensors", BYTES(LFS), EMR_EFORMAT, "git-lfs pointer"},
    {"a.gguf", BYTES(LFS), EMR_EFORMAT, "git-lfs pointer"},
    {"pytorch_model.bin", BYTES(LFS), EMR_EFORMAT, "git-lfs pointer"},
    {"model.safetensors.index.json", BYTES(LFS), EMR_EFORMAT, "git lfs pull"},
    {"a.safetensors", BYTES("<!DOCTYPE html>\n<html></html>\n"), EMR_EFORMAT, "HTML"},
    {"a.gguf", BYTES(" \n<?xml version='1.0'?><Error/>"), EMR_EFORMAT, "HTML"},
    {"a.safetensors", BYTES("{\"error\":\"Repository not found\"}"), EMR_EFORMAT, "JSON"},
    {"a.safetensors", BYTES("Entry not found"), EMR_EFORMAT,
     "a text and no weights, it begins 'Entry not found'"},
    {"a.safetensors", BYTES("na\xc3\xafve\nsecond line"), EMR_EFORMAT, "'na\xc3\xafve'"},
    {"a.safetensors", BYTES(""), EMR_EFORMAT, "empty"},
    {"a.gguf", BYTES(""), EMR_EFORMAT, "empty"},
    {"a.safetensors", BYTES("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl"),
     EMR_EUNSUPPORTED, "a pickle"},
    {"b", BYTES("PK\3\4\0\0\x08\x08\0\0"), EMR_EUNSUPPORTED, "a pickle"},
    {"c.gguf", BYTES("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"), EMR_EUNSUPPORTED, "a pickle"},
    {"adapter_model.bin", BYTES("\x80\x04}q"), EMR_EUNSUPPORTED, "'adapter_model.safetensors'"},
    {"no-dot", BYTES("\x80\x02}q"), EMR_EUNSUPPORTED, "'no-dot.safetensors'"},
    {".bin", BYTES("\x80\x02}q"), EMR_EUNSUPPORTED, "'model.safetensors'"},
    {"a.npz", BYTES("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0w.npy"), EMR_EUNSUPPORTED,
     "NumPy"},
    {"a.npy", BYTES("\x93NUMPY\1\0\x46\0"), EMR_EUNSUPPORTED, "NumPy"},
    {"tf_model.h5", BYTES("\x89HDF\r\n\x1a\n\0\0\0\0"), EMR_EUNSUPPORTED, "HDF5"},
    {"model.onnx",
     BYTES("\x08\x08\x12\x07pytorch\x1a\x05"
           "2.1.0\x3a"),
     EMR_EUNSUPPORTED, "ONNX"},
    {"m.tflite", BYTES("\x1c\0\0\0TFL3\0\0\0\0"), EMR_EUNSUPPORTED, "TensorFlow Lite"},
    {"old.bin", BYTES("tjgg\3\0\0\0\0\x7d\0\0"), EMR_EUNSUPPORTED, "GGML"},
    {"m.safetensors.gz", BYTES("\x1f\x8b\x08\0\0\0\0\0\0\3"), EMR_EUNSUPPORTED, "unpack"},
    {"m.zst", BYTES("\x28\xb5\x2f\xfd\x04\0\0\0\0"), EMR_EUNSUPPORTED, "unpack"},
    {"all.emr",
     BYTES("\x89"
           "EMR\r\n\x1a\n\1\0\0\0\0\0\0\0"),
     EMR_EUNSUPPORTED, "bundle"},
    {"all.gguf",
     BYTES("\x89"
           "EMR\r\n\x1a\n\1\0\0\0\0\0\0\0"),
     EMR_EUNSUPPORTED, "emr apply"},
    {"all.safetensors",
     BYTES("\x89"
           "EMR\r\n\x1a\n\1\0\0\0\0\0\0\0"),
     EMR_EUNSUPPORTED, "bundle"},
    /* damaged, but of a kind that is read */
    {"cut.safetensors", BYTES("\x1f\x8b\x08\0\0\0\0\0{\"a\":"), EMR_EFORMAT, "truncated"},
    {"cut.gguf", BYTES("GGUF\3\0\0\0"), EMR_EFORMAT, "truncated"},
    {"short", BYTES("x"), EMR_EFORMAT, "shorter than 8"},
    {"config.json", BYTES("{\"model_type\":\"bert\"}"), EMR_EFORMAT, "weight_map"},
};

static void check_file(const char *directory, const foreign_file *f)
{
    char *path = test_path(directory, f->name);
    emr_model *model = (emr_model *)path;
    emr_error error = {.text = ""};
    test_write_file(path, f->bytes, f->n);
    emr_status status = emr_checkpoint_open(&model, path, NULL, &error);
    if (status != f->status || model || !is_sentence(&error, path, f->word))
        fail_msg("%s: %s \"%s\" without '%s'", f->name, emr_status_name(status), error.text, f->word);
    assert_int_equal(remove(path), 0);
    free(path);
}

static void each_kind_has_its_sentence(void **state)
{
    char *directory = test_directory_make();
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        check_file(directory, &files[i]);
    test_directory_remove(directory);
}

/* Every beginning of each: a status and a sentence, and no byte is read that is not there. */
static void beginnings_are_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (size_t n = 0; n < files[i].n; n++) {
            emr_model *model;
            crafted file = {.bytes = malloc(n + 1), .n = n};
            emr_error error = {.text = ""};
            memcpy(file.bytes, files[i].bytes, n);
            assert_int_not_equal(crafted_open(&file, &model, &error), EMR_OK);
            assert_true(is_sentence(&error, CRAFTED_NAME, ""));
            crafted_free(&file);
        }
}

static void long_ones_are_known_by_their_beginnings(void **state)
{
    char *directory = test_directory_make(), bytes[2000];
    (void)state;
    memset(bytes, 0, sizeof bytes);
    check_file(directory, &(foreign_file){"zeros", bytes, sizeof bytes, EMR_EFORMAT, "begins with zeros"});
    memcpy(bytes + 257, "ustar", 5);
    check_file(directory, &(foreign_file){"m.tar", bytes, sizeof bytes, EMR_EUNSUPPORTED, "unpack"});
    memset(bytes, 'x', sizeof bytes);
    check_file(directory, &(foreign_file){"text", bytes, sizeof bytes, EMR_EFORMAT, "a text"});
    for (size_t i = 0; i + 3 <= sizeof bytes;
         i += 3) /* cut inside a character, wherever a line or a look ends */
        memcpy(bytes + i, "\xe2\x82\xac", 3);
    for (size_t i = 0; i < 3; i++)
        check_file(directory, &(foreign_file){"euros", bytes, 3 * 300 + i, EMR_EFORMAT, "'\xe2\x82\xac"});
    test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_sentence),
        cmocka_unit_test(beginnings_are_harmless),
        cmocka_unit_test(long_ones_are_known_by_their_beginnings),
    };
    return cmocka_run_group_tests_name("foreign files", tests, NULL, NULL);
}
