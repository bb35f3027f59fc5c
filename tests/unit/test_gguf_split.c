/* test_gguf_split.c - GGUF models in several files: read as the one model that they are, whichever file is
 * named; refused where the files do not belong together; written so. */
#include "gguf_craft.h"

#include <stdio.h>

/* What a file says of itself; -1: nothing. */
typedef struct claims {
    int no, count, total;
} claims;

static void put_claims(part *kv, claims c)
{
    if (c.no >= 0) {
        put_key(kv, "split.no", V_U16);
        put_number(kv, (uint64_t)c.no, 2);
    }
    if (c.count >= 0) {
        put_key(kv, "split.count", V_U16);
        put_number(kv, (uint64_t)c.count, 2);
    }
    if (c.total >= 0) {
        put_key(kv, "split.tensors.count", V_I32);
        put_number(kv, (uint64_t)c.total, 4);
    }
}

static const struct {
    const char *name;
    uint32_t type;
    uint64_t elements;
    size_t bytes;
} tensors[] = {{"a", T_F32, 9, 36},
               {"b", T_F16, 40, 80},
               {"c", T_Q8_0, 64, 68},
               {"d", T_F32, 1, 4},
               {"e", T_I32, 20, 80}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], N_PARTS = 3 };
static const size_t bounds[N_PARTS + 1] = {0, 2, 3, N_TENSORS};

/* Some of the tensors, each with bytes of its own; the metadata are those of a model where `alignment` is
 * given. */
static crafted file_of(size_t first, size_t end, uint32_t alignment, claims c)
{
    part kv = {0}, infos = {0};
    size_t step = alignment ? alignment : 32, at = 0;
    if (alignment) {
        put_key(&kv, "general.name", V_STRING);
        put_string(&kv, "a model", 7);
    }
    put_claims(&kv, c); /* in the middle, where nothing of it may stay */
    if (alignment) {
        put_key(&kv, "general.alignment", V_U32);
        put_number(&kv, alignment, 4);
    }
    for (size_t i = first; i < end; i++) {
        put_tensor(&infos, tensors[i].name, 1, &tensors[i].elements, tensors[i].type, at);
        at = (at + tensors[i].bytes + step - 1) / step * step;
    }
    crafted file = gguf_of(3, kv, infos, step, at, NULL);
    unsigned char *p = file.bytes + file.n - at;
    for (size_t i = first; i < end; i++) {
        size_t padded = (tensors[i].bytes + step - 1) / step * step;
        memset(p, 0, padded);
        memset(p, 'A' + (int)i, tensors[i].bytes);
        p += padded;
    }
    return file;
}

typedef struct split_files {
    char *directory, *paths[N_PARTS];
} split_files;

static void write_crafted(const char *path, crafted file)
{
    test_write_file(path, file.bytes, file.n);
    crafted_free(&file);
}

/* Three files in a directory; those after the first have the default alignment. */
static split_files split_make(uint32_t alignment)
{
    split_files f = {.directory = test_directory_make()};
    for (int i = 0; i < N_PARTS; i++) {
        char name[40];
        snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", i + 1, N_PARTS);
        f.paths[i] = test_path(f.directory, name);
        write_crafted(f.paths[i],
                      file_of(bounds[i], bounds[i + 1], i ? 0 : alignment, (claims){i, N_PARTS, N_TENSORS}));
    }
    return f;
}

static void split_free(split_files *f)
{
    for (size_t i = 0; i < N_PARTS; i++)
        free(f->paths[i]);
    test_directory_remove(f->directory);
}

static emr_model *opened_at(const char *path, uint32_t map, int line)
{
    emr_model *m;
    emr_error error = {.text = ""};
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.map = map;
    assert_ok_at(emr_checkpoint_open(&m, path, &options, &error), &error, __FILE__, line);
    return m;
}

static void check_same_bytes(const emr_tensor *t, const void *bytes, size_t n)
{
    unsigned char *got = malloc(n + 1);
    assert_true(emr_tensor_bytes(t) == n);
    assert_int_equal(emr_tensor_read(t, 0, got, n, NULL), EMR_OK);
    assert_memory_equal(got, bytes, n);
    free(got);
}

/* The tensors in their order, then the header of the file that was split. */
static void check_joined(const emr_model *m, uint32_t alignment)
{
    crafted whole = file_of(0, N_TENSORS, alignment, (claims){-1, -1, -1});
    emr_model *one = assert_gguf(&whole);
    assert_int_equal(emr_model_n_tensors(m), N_TENSORS + 1);
    for (uint32_t i = 0; i <= N_TENSORS; i++) {
        const emr_tensor *t = emr_model_tensor(one, i), *got = emr_model_tensor(m, i);
        size_t n = (size_t)emr_tensor_bytes(t);
        unsigned char *bytes = malloc(n);
        assert_int_equal(emr_tensor_read(t, 0, bytes, n, NULL), EMR_OK);
        assert_string_equal(emr_tensor_name(got), emr_tensor_name(t));
        assert_int_equal(emr_tensor_dtype(got), emr_tensor_dtype(t));
        check_same_bytes(got, bytes, n);
        free(bytes);
    }
    emr_model_destroy(&one);
    crafted_free(&whole);
}

static void any_file_or_the_directory_is_the_model(void **state)
{
    static const uint32_t alignments[] = {32, 8, 64};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        split_files f = split_make(alignments[i]);
        for (size_t k = 0; k <= N_PARTS; k++) {
            emr_model *m = opened_at(k < N_PARTS ? f.paths[k] : f.directory, k % 2, __LINE__);
            check_joined(m, alignments[i]);
            emr_model_destroy(&m);
        }
        split_free(&f);
    }
}

static void check_split_refused(const char *path, emr_status expected, const char *file, const char *word,
                                int line)
{
    emr_model *m;
    emr_error error = {.text = ""};
    emr_status status = emr_checkpoint_open(&m, path, NULL, &error);
    if (status != expected || m || !is_sentence(&error, file, word) ||
        !test_span_is(&error, error.file, file)) {
        print_error("line %d: %s, \"%s\" without '%s' or '%s'\n", line, emr_status_name(status), error.text,
                    file, word);
        fail();
    }
}

static void a_file_that_is_absent_is_named(void **state)
{
    (void)state;
    for (size_t gone = 0; gone < N_PARTS; gone++) {
        split_files f = split_make(32);
        char number[40];
        snprintf(number, sizeof number, "absent: it is number %zu of the 3 files", gone + 1);
        assert_int_equal(remove(f.paths[gone]), 0);
        check_split_refused(f.paths[(gone + 1) % 3], EMR_EIO, f.paths[gone], number, __LINE__);
        snprintf(number, sizeof number, "but shard %zu of 3 is absent", gone + 1);
        check_split_refused(f.directory, EMR_EFORMAT, f.directory, number, __LINE__);
        split_free(&f);
    }
}

/* The second file of three says something else of itself than is true, or has tensors that another one has.
 */
static void files_that_do_not_belong_together_are_refused(void **state)
{
    static const struct {
        size_t first, end;
        claims claims;
        const char *word;
    } wrong[] = {
        {2, 3, {0, 3, 5}, "split.no is 0, not 1"},
        {2, 3, {2, 3, 5}, "split.no is 2, not 1"},
        {2, 3, {65535, 3, 5}, "split.no is 65535"},
        {2, 3, {-1, 3, 5}, "split.no is 0, not 1"},
        {2, 3, {1, 2, 5}, "split.count is 2, not 3"},
        {2, 3, {1, 65535, 5}, "split.count is 65535"},
        {2, 3, {1, 1, 5}, "split.count is 1, not 3"},
        {2, 3, {1, -1, 5}, "split.count is 0, not 3"},
        {2, 3, {1, 3, 4}, "split.tensors.count"},
        {2, 3, {1, 3, -1}, "split.tensors.count"},
        {1, 3, {1, 3, 5}, "tensor 'b' is in another file of the split GGUF model"},
        {0, 1, {1, 3, 5}, "tensor 'a' is in another file of the split GGUF model"},
    };
    split_files f = split_make(32);
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_crafted(f.paths[1], file_of(wrong[i].first, wrong[i].end, 0, wrong[i].claims));
        check_split_refused(f.paths[0], EMR_EFORMAT, f.paths[1], wrong[i].word, __LINE__);
    }
    write_crafted(f.paths[1], file_of(2, 2, 0, (claims){1, 3, 5})); /* a tensor is missing */
    check_split_refused(f.paths[0], EMR_EFORMAT, f.paths[0], "split.tensors.count is 5, and its files have 4",
                        __LINE__);
    test_write_file(f.paths[1], "no GGUF file, but a text", 24);
    check_split_refused(f.paths[0], EMR_EFORMAT, f.paths[1], "'GGUF'", __LINE__);
    split_free(&f);
}

static void check_alone(const char *directory, const char *name, crafted file, const char *word, int line)
{
    char *path = test_path(directory, name);
    write_crafted(path, file);
    check_split_refused(path, EMR_EFORMAT, path, word, line);
    assert_int_equal(remove(path), 0);
    free(path);
}

/* The files' names are what leads to the others. */
static void names_say_which_file_it_is(void **state)
{
    static const char *const names[] = {
        "m.gguf",          "m-00001-of-00004.gguf",          "m-00002-of-00003.gguf",
        "m-1-of-3.gguf",   "m-00001-of-00003.bak",           "00001-of-00003.gguf",
        "-00001-of-.gguf", "m-9999900001-of-9999900003.gguf"};
    char *directory = test_directory_make();
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_alone(directory, names[i], file_of(0, 2, 32, (claims){0, 3, 5}), "NAME-00001-of-00003.gguf",
                    __LINE__);
    check_alone(directory, "m-00004-of-00003.gguf", file_of(0, 2, 32, (claims){3, 3, 5}), "split.no is 3",
                __LINE__);
    check_alone(directory, "m-65536-of-00002.gguf", file_of(0, 2, 32, (claims){65535, 2, 5}),
                "split.no is 65535", __LINE__);
    test_directory_remove(directory);
}

static void what_a_file_says_of_itself_is_of_a_type(void **state)
{
    static const struct {
        const char *key;
        uint32_t type;
        size_t width;
    } wrong[] = {{"split.no", V_U32, 4},
                 {"split.count", V_I16, 2},
                 {"split.count", V_U64, 8},
                 {"split.tensors.count", V_U32, 4},
                 {"split.tensors.count", V_U16, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        part kv = {0};
        put_key(&kv, wrong[i].key, wrong[i].type);
        put_number(&kv, 1, wrong[i].width);
        assert_no_gguf(gguf_of(3, kv, (part){0}, 32, 0, NULL), EMR_EFORMAT, wrong[i].key);
    }
    part negative = {0};
    put_key(&negative, "split.tensors.count", V_I32);
    put_number(&negative, UINT32_MAX, 4);
    assert_no_gguf(gguf_of(3, negative, (part){0}, 32, 0, NULL), EMR_EFORMAT, "split.tensors.count");
}

/* Two models' files, or a file beside them, are no one model. */
static void a_directory_with_more_than_one_model_is_refused(void **state)
{
    split_files f = split_make(32);
    char *others[] = {test_path(f.directory, "n-00001-of-00003.gguf"),
                      test_path(f.directory, "m-00001-of-00002.gguf"), test_path(f.directory, "m.gguf")};
    static const char *const words[] = {"several", "two models", "two models"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        write_crafted(others[i], file_of(0, 2, 32, (claims){-1, -1, -1}));
        check_split_refused(f.directory, EMR_EFORMAT, f.directory, words[i], __LINE__);
        assert_int_equal(remove(others[i]), 0);
        free(others[i]);
    }
    split_free(&f);
}

/* Every allocation fails once; and the most that is promised, 24 times the headers and 64 KiB, is not
 * reached. */
static void memory_that_runs_out_is_said(void **state)
{
    split_files f = split_make(32);
    size_t k = 0;
    (void)state;
    for (bool failed = true; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_checkpoint_read_options options = {.size = sizeof options, .allocator = &allocator};
        emr_model *m;
        emr_error error = {.text = ""};
        emr_status status = emr_checkpoint_open(&m, f.paths[1], &options, &error);
        failed = status != EMR_OK;
        assert_true(failed ? status == EMR_ENOMEM && !m && error.text[0] : m != NULL);
        emr_model_destroy(&m);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 20);
    split_free(&f);
}

static void memory_is_bounded_by_the_headers(void **state)
{
    char *directory = test_directory_make(), *path = NULL;
    size_t headers = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        part kv = {0}, infos = {0};
        put_claims(&kv, (claims){i, 2, 20000});
        put_key(&kv, "general.alignment", V_U32); /* one byte each, without padding */
        put_number(&kv, 1, 4);
        for (unsigned k = 0; k < 10000; k++) {
            unsigned n = k + 10000 * (unsigned)i;
            char name[4] = {(char)('0' + n % 64), (char)('0' + n / 64 % 64), (char)('0' + n / 4096), 0};
            put_tensor(&infos, name, 0, NULL, T_I8, k);
        }
        headers += 24 + kv.n + infos.n;
        free(path);
        path = test_path(directory, i ? "m-00002-of-00002.gguf" : "m-00001-of-00002.gguf");
        write_crafted(path, gguf_of(3, kv, infos, 1, 10000, NULL));
    }
    test_meter meter = {0, 0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_checkpoint_read_options options = {.size = sizeof options, .allocator = &allocator};
    emr_model *m;
    emr_error error;
    assert_ok(emr_checkpoint_open(&m, path, &options, &error), &error);
    assert_true(meter.peak <= 24 * headers + (64 << 10));
    emr_model_destroy(&m);
    free(path);
    test_directory_remove(directory);
}

/* The number behind a key in a file that has it; -1: it does not. */
static int claim_in(const char *path, const char *key, size_t width)
{
    size_t n;
    unsigned char *bytes = test_read_file(path, &n), *end = bytes + n;
    int found = -1;
    for (unsigned char *p = bytes; found < 0 && p + strlen(key) + 8 < end; p++)
        if (memcmp(p, key, strlen(key)) == 0)
            for (size_t i = 0, at = strlen(key) + 4; i < width; i++)
                found = (i ? found : 0) | p[at + i] << 8 * i;
    free(bytes);
    return found;
}

static emr_status write_split(const emr_model *m, const char *path, uint64_t shard_bytes, emr_error *error)
{
    const emr_checkpoint_write_options options = {.size = sizeof options, .shard_bytes = shard_bytes};
    return emr_checkpoint_write(m, path, &options, error);
}

/* Tensors with their padding count; the header does not. Each file says which it is; the metadata are in the
 * first. */
static void models_are_written_in_several_files(void **state)
{
    static const struct {
        uint64_t shard_bytes;
        int n;
    } cases[] = {{1, 5}, {130, 4}, {160, 3}, {192, 3}, {288, 2}, {416, 1}, {1 << 20, 1}};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        uint32_t alignment = i % 2 ? 32 : 64;
        split_files from = split_make(alignment);
        char *directory = test_directory_make(), *out = test_path(directory, "out.gguf");
        emr_model *m = opened_at(from.paths[0], 0, __LINE__);
        emr_error error;
        int n = cases[i / 2].n;
        assert_ok(write_split(m, out, cases[i / 2].shard_bytes, &error), &error);
        assert_int_equal(test_directory_entries(directory), n);
        for (int k = 0; k < n; k++) {
            char name[40];
            snprintf(name, sizeof name, n > 1 ? "out-%05d-of-%05d.gguf" : "out.gguf", k + 1, n);
            char *path = test_path(directory, name);
            assert_int_equal(claim_in(path, "split.no", 2), n > 1 ? k : -1);
            assert_int_equal(claim_in(path, "split.count", 2), n > 1 ? n : -1);
            assert_int_equal(claim_in(path, "split.tensors.count", 4), n > 1 ? N_TENSORS : -1);
            assert_int_equal(claim_in(path, "general.alignment", 4),
                             k && alignment == 32 ? -1 : (int)alignment);
            assert_int_equal(claim_in(path, "general.name", 4) == 7, k == 0);
            emr_model *again = opened_at(path, 0, __LINE__);
            check_joined(again, alignment);
            emr_model_destroy(&again);
            free(path);
        }
        emr_model_destroy(&m);
        free(out);
        test_directory_remove(directory);
        split_free(&from);
    }
}

/* What an unsplit file says of files that it once came in is not written either. */
static void old_claims_are_not_written(void **state)
{
    crafted file = file_of(0, N_TENSORS, 32, (claims){0, 0, 7});
    char *directory = test_directory_make(), *out = test_path(directory, "out.gguf");
    emr_model *m = assert_gguf(&file);
    emr_error error;
    (void)state;
    assert_ok(emr_checkpoint_write(m, out, NULL, &error), &error);
    assert_int_equal(claim_in(out, "split.no", 2), -1);
    assert_int_equal(claim_in(out, "split.count", 2), -1);
    assert_int_equal(claim_in(out, "split.tensors.count", 4), -1);
    emr_model *again = opened_at(out, 0, __LINE__);
    check_joined(again, 32);
    emr_model_destroy(&again);
    emr_model_destroy(&m);
    crafted_free(&file);
    free(out);
    test_directory_remove(directory);
}

/* All of them appear, or none. */
static void files_that_cannot_all_be_written_are_not_there(void **state)
{
    split_files from = split_make(32);
    char *directory = test_directory_make(), *out = test_path(directory, "out.gguf"),
         *taken = test_path(directory, "out-00003-of-00005.gguf");
    emr_model *m = opened_at(from.paths[0], 0, __LINE__);
    emr_error error;
    size_t k = 0;
    (void)state;
    test_write_file(taken, "", 0);
    assert_int_equal(write_split(m, out, 1, &error), EMR_EEXIST);
    assert_true(is_sentence(&error, taken, "exists"));
    assert_int_equal(test_directory_entries(directory), 1);
    assert_int_equal(remove(taken), 0);
    for (bool failed = true; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = {.size = sizeof resources, .allocator = &allocator};
        const emr_checkpoint_write_options options = {
            .size = sizeof options, .resources = &resources, .shard_bytes = 1};
        emr_status status = emr_checkpoint_write(m, out, &options, &error);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        assert_int_equal(test_directory_entries(directory), failed ? 0 : 5);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 30);
    emr_model_destroy(&m);
    free(taken);
    free(out);
    test_directory_remove(directory);
    split_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_file_or_the_directory_is_the_model),
        cmocka_unit_test(a_file_that_is_absent_is_named),
        cmocka_unit_test(files_that_do_not_belong_together_are_refused),
        cmocka_unit_test(names_say_which_file_it_is),
        cmocka_unit_test(what_a_file_says_of_itself_is_of_a_type),
        cmocka_unit_test(a_directory_with_more_than_one_model_is_refused),
        cmocka_unit_test(memory_that_runs_out_is_said),
        cmocka_unit_test(memory_is_bounded_by_the_headers),
        cmocka_unit_test(models_are_written_in_several_files),
        cmocka_unit_test(old_claims_are_not_written),
        cmocka_unit_test(files_that_cannot_all_be_written_are_not_there),
    };
    return cmocka_run_group_tests_name("GGUF in several files", tests, NULL, NULL);
}
