/* test_io.c - the stock backends: files that appear whole or not at all, memory, and buffers that grow. */
#define _XOPEN_SOURCE 700

#include "support.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char digits[] = "0123456789";

static void check_file(const char *path, const char *expected)
{
    size_t n;
    unsigned char *bytes = test_read_file(path, &n);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(bytes, expected, n);
    free(bytes);
}

/* Creates a file and writes into it in two pieces. */
static emr_file *create(const char *path, int replace, const char *text)
{
    emr_file *file;
    emr_error error;
    size_t n = strlen(text), half = n / 2;
    assert_ok(emr_file_create(&file, path, replace, NULL, &error), &error);
    emr_io io = emr_file_io(file);
    assert_int_equal(io.write(io.user, 0, text, half), 0);
    assert_int_equal(io.write(io.user, half, text + half, n - half), 0);
    assert_int_equal(io.sync(io.user), 0);
    return file;
}

typedef struct place {
    char *directory, *path;
} place;

static place make_place(void)
{
    place p;
    p.directory = test_directory_make();
    p.path = test_path(p.directory, "file");
    return p;
}

static void remove_place(place *p)
{
    test_directory_remove(p->directory);
    free(p->path);
}

static void files_are_read_at_any_position(void **state)
{
    place p = make_place();
    emr_error error;
    (void)state;
    test_write_file(p.path, "0123456789", 10);
    for (int map = 0; map < 2; map++) {
        emr_file *file;
        uint64_t bytes;
        char got[11];
        const void *window;
        assert_ok(emr_file_open(&file, p.path, map, NULL, &error), &error);
        emr_io io = emr_file_io(file);
        assert_int_equal(io.length(io.user, &bytes), 0);
        assert_int_equal(bytes, 10);
        for (size_t first = 0; first <= 10; first++) {
            for (size_t n = 0; n <= 10 - first; n++) {
                memset(got, '.', sizeof got);
                assert_int_equal(io.read(io.user, first, got, n), 0);
                assert_memory_equal(got, digits + first, n);
                assert_int_equal(got[n], '.');
                if (map) {
                    assert_int_equal(io.map(io.user, first, n, &window), 0);
                    assert_memory_equal(window, digits + first, n);
                }
            }
            assert_int_not_equal(io.read(io.user, first, got, 11 - first), 0); /* exactly n, or an error */
            if (map)
                assert_int_not_equal(io.map(io.user, first, 11 - first, &window), 0);
        }
        assert_int_not_equal(io.read(io.user, 1000, got, 1), 0);
        assert_true(map ? io.map != NULL : io.map == NULL);
        if (map)
            assert_int_not_equal(io.map(io.user, UINT64_MAX, 2, &window), 0);
        emr_file_close(&file);
        assert_null(file);
    }
    remove_place(&p);
}

static void a_file_that_gets_shorter_fails_to_read(void **state)
{
    place p = make_place();
    emr_file *file;
    char got[10];
    uint64_t bytes;
    (void)state;
    test_write_file(p.path, "0123456789", 10);
    assert_int_equal(emr_file_open(&file, p.path, 0, NULL, NULL), EMR_OK);
    emr_io io = emr_file_io(file);
    assert_int_equal(truncate(p.path, 5), 0);
    assert_int_equal(io.read(io.user, 0, got, 5), 0);
    assert_int_not_equal(io.read(io.user, 0, got, 6), 0);
    assert_int_equal(io.length(io.user, &bytes), 0);
    assert_int_equal(bytes, 5);
    emr_file_close(&file);
    remove_place(&p);
}

static void empty_files_can_be_opened_either_way(void **state)
{
    place p = make_place();
    (void)state;
    test_write_file(p.path, "", 0);
    for (int map = 0; map < 2; map++) {
        emr_file *file;
        uint64_t bytes = 1;
        assert_int_equal(emr_file_open(&file, p.path, map, NULL, NULL), EMR_OK);
        emr_io io = emr_file_io(file);
        assert_int_equal(io.length(io.user, &bytes), 0);
        assert_int_equal(bytes, 0);
        emr_file_close(&file);
    }
    remove_place(&p);
}

static void what_cannot_be_opened_is_named(void **state)
{
    place p = make_place();
    emr_file *file = (emr_file *)1;
    emr_error error;
    (void)state;
    assert_int_equal(emr_file_open(&file, p.path, 0, NULL, &error), EMR_EIO);
    assert_null(file);
    assert_non_null(strstr(error.text, p.path));
    assert_int_equal(emr_file_open(&file, p.directory, 0, NULL, &error), EMR_EIO);
    assert_null(file);
    assert_non_null(strstr(error.text, p.directory));
    assert_int_equal(emr_file_open(&file, NULL, 0, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_file_open(NULL, p.path, 0, NULL, NULL), EMR_EINVAL);
    remove_place(&p);
}

static void a_file_appears_when_it_is_committed(void **state)
{
    place p = make_place();
    emr_error error;
    (void)state;
    emr_file *file = create(p.path, 0, "new text");
    assert_int_not_equal(access(p.path, F_OK), 0);
    assert_ok(emr_file_commit(file, &error), &error);
    check_file(p.path, "new text");
    emr_file_close(&file);
    check_file(p.path, "new text");
    assert_int_equal(test_directory_entries(p.directory), 1);
    remove_place(&p);
}

static void without_commit_it_vanishes(void **state)
{
    place p = make_place();
    (void)state;
    emr_file *file = create(p.path, 0, "new text");
    emr_file_close(&file);
    assert_int_equal(test_directory_entries(p.directory), 0);
    emr_file_close(&file);
    emr_file_close(NULL);
    remove_place(&p);
}

static void replacing_leaves_the_old_file_until_commit(void **state)
{
    place p = make_place();
    char got[8];
    (void)state;
    test_write_file(p.path, "old text", 8);
    emr_file *file = create(p.path, 1, "new");
    check_file(p.path, "old text");
    emr_file_close(&file);
    check_file(p.path, "old text");
    FILE *reader = fopen(p.path, "rb"); /* who has the old one open keeps it */
    file = create(p.path, 1, "new");
    assert_int_equal(emr_file_commit(file, NULL), EMR_OK);
    emr_file_close(&file);
    check_file(p.path, "new");
    assert_int_equal(fread(got, 1, 8, reader), 8);
    assert_memory_equal(got, "old text", 8);
    fclose(reader);
    assert_int_equal(test_directory_entries(p.directory), 1);
    remove_place(&p);
}

static void existing_files_are_not_replaced_unless_asked(void **state)
{
    place p = make_place();
    emr_file *file = (emr_file *)1;
    emr_error error;
    (void)state;
    test_write_file(p.path, "old", 3);
    assert_int_equal(emr_file_create(&file, p.path, 0, NULL, &error), EMR_EEXIST);
    assert_null(file);
    assert_non_null(strstr(error.text, p.path));
    remove(p.path);
    file = create(p.path, 0, "new"); /* and if one appears in between, it is left alone too */
    test_write_file(p.path, "old", 3);
    assert_int_equal(emr_file_commit(file, &error), EMR_EEXIST);
    assert_non_null(strstr(error.text, p.path));
    emr_file_close(&file);
    check_file(p.path, "old");
    assert_int_equal(test_directory_entries(p.directory), 1);
    remove_place(&p);
}

static void directories_are_not_written_over(void **state)
{
    place p = make_place();
    emr_file *file;
    emr_error error;
    char *nowhere = test_path(p.directory, "none/file");
    (void)state;
    assert_int_equal(mkdir(p.path, 0777), 0);
    for (int replace = 0; replace < 2; replace++) {
        assert_int_equal(emr_file_create(&file, p.path, replace, NULL, &error), EMR_EIO);
        assert_null(file);
        assert_non_null(strstr(error.text, p.path));
        assert_int_equal(emr_file_create(&file, nowhere, replace, NULL, &error), EMR_EIO);
        assert_non_null(strstr(error.text, nowhere));
    }
    assert_int_equal(emr_file_create(&file, NULL, 0, NULL, NULL), EMR_EINVAL);
    free(nowhere);
    remove_place(&p);
}

/* What cannot be in the end is refused before any work is done. */
static void impossible_targets_are_refused_at_once(void **state)
{
    place p = make_place();
    emr_file *file;
    emr_error error;
    char name[300];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    char *long_path = test_path(p.directory, name);
    (void)state;
    assert_int_equal(symlink("/dev/null", p.path), 0);
    assert_int_equal(emr_file_create(&file, p.path, 1, NULL, &error), EMR_EIO);
    assert_non_null(strstr(error.text, p.path));
    assert_int_equal(emr_file_create(&file, long_path, 1, NULL, &error), EMR_EIO);
    assert_int_equal(unlink(p.path), 0);
    assert_int_equal(mkfifo(p.path, 0666), 0);
    assert_int_equal(emr_file_create(&file, p.path, 1, NULL, &error), EMR_EIO);
    assert_int_equal(emr_file_open(&file, p.path, 0, NULL, &error),
                     EMR_EIO); /* and does not wait for a writer */
    free(long_path);
    remove_place(&p);
}

static void only_a_new_file_can_be_committed_and_once(void **state)
{
    place p = make_place();
    emr_file *file = create(p.path, 0, "text");
    (void)state;
    assert_int_equal(emr_file_commit(file, NULL), EMR_OK);
    assert_int_equal(emr_file_commit(file, NULL), EMR_ESTATE);
    emr_file_close(&file);
    assert_int_equal(emr_file_open(&file, p.path, 0, NULL, NULL), EMR_OK);
    assert_int_equal(emr_file_commit(file, NULL), EMR_ESTATE);
    emr_file_close(&file);
    assert_int_equal(emr_file_commit(NULL, NULL), EMR_ESTATE);
    remove_place(&p);
}

static void files_in_the_current_directory_work_too(void **state)
{
    place p = make_place();
    char *before = getcwd(NULL, 0);
    (void)state;
    assert_int_equal(chdir(p.directory), 0);
    emr_file *file = create("plain", 0, "text");
    assert_int_equal(emr_file_commit(file, NULL), EMR_OK);
    emr_file_close(&file);
    check_file("plain", "text");
    assert_int_equal(chdir(before), 0);
    free(before);
    remove_place(&p);
}

static void memory_is_read_within_its_bounds(void **state)
{
    emr_memory memory = {"0123456789", 10};
    emr_io io = emr_memory_io(&memory);
    char got[10];
    const void *window;
    uint64_t bytes;
    (void)state;
    assert_int_equal(io.length(io.user, &bytes), 0);
    assert_int_equal(bytes, 10);
    assert_int_equal(io.read(io.user, 3, got, 7), 0);
    assert_memory_equal(got, "3456789", 7);
    assert_int_equal(io.read(io.user, 10, got, 0), 0);
    assert_int_not_equal(io.read(io.user, 3, got, 8), 0);
    assert_int_not_equal(io.read(io.user, UINT64_MAX, got, 2), 0);
    assert_int_equal(io.map(io.user, 3, 7, &window), 0);
    assert_ptr_equal(window, (const char *)memory.data + 3);
    assert_int_not_equal(io.map(io.user, 11, 0, &window), 0);
    assert_null(io.write);
}

static void buffers_grow_as_they_are_written(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_buffer buffer = {.allocator = &allocator};
    emr_io io = emr_buffer_io(&buffer);
    static unsigned char expected[20000];
    rng r = {131};
    (void)state;
    for (size_t at = 0, n; at < sizeof expected; at += n) {
        n = 1 + (size_t)rng_below(&r, 300);
        n = n < sizeof expected - at ? n : sizeof expected - at;
        for (size_t i = 0; i < n; i++)
            expected[at + i] = (unsigned char)rng_next(&r);
        assert_int_equal(io.write(io.user, at, expected + at, n), 0);
        assert_int_equal(buffer.bytes, at + n);
    }
    assert_memory_equal(buffer.data, expected, sizeof expected);
    unsigned char got[100];
    assert_int_equal(io.read(io.user, 777, got, 100), 0);
    assert_memory_equal(got, expected + 777, 100);
    assert_int_not_equal(io.read(io.user, sizeof expected - 99, got, 100), 0);
    assert_int_not_equal(io.write(io.user, UINT64_MAX, got, 2), 0);
    emr_buffer_free(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.bytes, 0);
    assert_int_equal(counts.alive, 0);
}

static void a_buffer_without_memory_fails_and_keeps_its_bytes(void **state)
{
    test_allocator counts = {0, 0, 1};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_buffer buffer = {.allocator = &allocator};
    emr_io io = emr_buffer_io(&buffer);
    static char text[10000] = "text";
    (void)state;
    assert_int_equal(io.write(io.user, 0, text, 4), 0);
    assert_int_not_equal(io.write(io.user, 4, text, sizeof text), 0);
    assert_int_equal(buffer.bytes, 4);
    assert_memory_equal(buffer.data, "text", 4);
    emr_buffer_free(&buffer);
    emr_buffer_free(NULL);
    assert_int_equal(counts.alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_at_any_position),
        cmocka_unit_test(a_file_that_gets_shorter_fails_to_read),
        cmocka_unit_test(empty_files_can_be_opened_either_way),
        cmocka_unit_test(what_cannot_be_opened_is_named),
        cmocka_unit_test(a_file_appears_when_it_is_committed),
        cmocka_unit_test(without_commit_it_vanishes),
        cmocka_unit_test(replacing_leaves_the_old_file_until_commit),
        cmocka_unit_test(existing_files_are_not_replaced_unless_asked),
        cmocka_unit_test(directories_are_not_written_over),
        cmocka_unit_test(impossible_targets_are_refused_at_once),
        cmocka_unit_test(only_a_new_file_can_be_committed_and_once),
        cmocka_unit_test(files_in_the_current_directory_work_too),
        cmocka_unit_test(memory_is_read_within_its_bounds),
        cmocka_unit_test(buffers_grow_as_they_are_written),
        cmocka_unit_test(a_buffer_without_memory_fails_and_keeps_its_bytes),
    };
    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
