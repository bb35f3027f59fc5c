/* test_io.c - the stock backends: files that appear whole or not at all, memory, and buffers that grow. */
#define _XOPEN_SOURCE 700

#include "support.h"

#include <errno.h>
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

/* The callbacks of an emr_io, as the library calls them: where they fail, they have said something about it.
 */
static emr_status settle(emr_status status, const emr_error *why)
{
    assert_true(status == EMR_OK || (why->status == status && why->text[0]));
    return status;
}

static emr_status read_io(const emr_io *io, uint64_t offset, void *destination, size_t n, emr_error *why)
{
    memset(why, 0, sizeof *why);
    return settle(io->read(io->user, offset, destination, n, why), why);
}

static emr_status write_io(const emr_io *io, uint64_t offset, const void *source, size_t n)
{
    emr_error why = {.text = ""};
    return settle(io->write(io->user, offset, source, n, &why), &why);
}

static emr_status map_io(const emr_io *io, uint64_t offset, size_t n, const void **window)
{
    emr_error why = {.text = ""};
    return settle(io->map(io->user, offset, n, window, &why), &why);
}

static uint64_t length_of(const emr_io *io)
{
    emr_error why = {.text = ""};
    uint64_t bytes;
    assert_ok(io->length(io->user, &bytes, &why), &why);
    return bytes;
}

static emr_status open_file(emr_file **file, const char *path, uint32_t map, emr_error *error)
{
    emr_file_options options = EMR_INIT(emr_file_options);
    options.map = map;
    return emr_file_open(file, path, &options, error);
}

static emr_status create_file(emr_file **file, const char *path, uint32_t replace, emr_error *error)
{
    emr_file_options options = EMR_INIT(emr_file_options);
    options.replace = replace;
    return emr_file_create(file, path, &options, error);
}

/* Creates a file and writes into it in two pieces. */
static emr_file *create(const char *path, uint32_t replace, const char *text)
{
    emr_file *file;
    emr_error error;
    size_t n = strlen(text), half = n / 2;
    assert_ok(create_file(&file, path, replace, &error), &error);
    const emr_io *io = emr_file_io(file);
    assert_int_equal(write_io(io, 0, text, half), EMR_OK);
    assert_int_equal(write_io(io, half, text + half, n - half), EMR_OK);
    assert_ok(io->sync(io->user, &error), &error);
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
    emr_error error, why;
    (void)state;
    test_write_file(p.path, "0123456789", 10);
    for (uint32_t map = 0; map < 2; map++) {
        emr_file *file;
        char got[11];
        const void *window;
        assert_ok(open_file(&file, p.path, map, &error), &error);
        const emr_io *io = emr_file_io(file);
        assert_int_equal(length_of(io), 10);
        for (size_t first = 0; first <= 10; first++) {
            for (size_t n = 0; n <= 10 - first; n++) {
                memset(got, '.', sizeof got);
                assert_int_equal(read_io(io, first, got, n, &why), EMR_OK);
                assert_memory_equal(got, digits + first, n);
                assert_int_equal(got[n], '.');
                if (map) {
                    assert_int_equal(map_io(io, first, n, &window), EMR_OK);
                    assert_memory_equal(window, digits + first, n);
                }
            }
            /* exactly n, or an error */
            assert_int_equal(read_io(io, first, got, 11 - first, &why), EMR_EIO);
            assert_int_equal(why.system, 0); /* whose fault it is not */
            if (map)
                assert_int_equal(map_io(io, first, 11 - first, &window), EMR_EIO);
        }
        assert_int_equal(read_io(io, 1000, got, 1, &why), EMR_EIO);
        assert_true(map ? io->map != NULL : io->map == NULL);
        if (map)
            assert_int_equal(map_io(io, UINT64_MAX, 2, &window), EMR_EIO);
        assert_ptr_equal(emr_file_io(file), io); /* which the file owns */
        emr_file_close(&file);
        assert_null(file);
    }
    remove_place(&p);
}

static void a_file_that_gets_shorter_fails_to_read(void **state)
{
    place p = make_place();
    emr_file *file;
    emr_error why;
    char got[10];
    (void)state;
    test_write_file(p.path, "0123456789", 10);
    assert_int_equal(emr_file_open(&file, p.path, NULL, NULL), EMR_OK);
    const emr_io *io = emr_file_io(file);
    assert_int_equal(truncate(p.path, 5), 0);
    assert_int_equal(read_io(io, 0, got, 5, &why), EMR_OK);
    assert_int_equal(read_io(io, 0, got, 6, &why), EMR_EIO);
    assert_int_equal(length_of(io), 5);
    emr_file_close(&file);
    remove_place(&p);
}

static void empty_files_can_be_opened_either_way(void **state)
{
    place p = make_place();
    (void)state;
    test_write_file(p.path, "", 0);
    for (uint32_t map = 0; map < 2; map++) {
        emr_file *file;
        assert_int_equal(open_file(&file, p.path, map, NULL), EMR_OK);
        assert_int_equal(length_of(emr_file_io(file)), 0);
        emr_file_close(&file);
    }
    remove_place(&p);
}

static void assert_file_named(const emr_error *error, const char *path)
{
    assert_true(test_span_is(error, error->file, path));
}

static void what_cannot_be_opened_is_named(void **state)
{
    place p = make_place();
    emr_file *file = (emr_file *)1;
    emr_error error;
    (void)state;
    assert_int_equal(emr_file_open(&file, p.path, NULL, &error), EMR_EIO);
    assert_null(file);
    assert_file_named(&error, p.path);
    assert_int_equal(error.system, ENOENT);
    assert_int_equal(emr_file_open(&file, p.directory, NULL, &error), EMR_EIO);
    assert_null(file);
    assert_file_named(&error, p.directory);
    assert_int_equal(emr_file_open(&file, NULL, NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_file_open(NULL, p.path, NULL, NULL), EMR_EINVAL);
    remove_place(&p);
}

/* The reason of a file's callback names the file, for who does not, and says what the system said. */
static void callbacks_of_files_say_why(void **state)
{
    place p = make_place();
    emr_file *file;
    emr_error why;
    char byte;
    (void)state;
    emr_file *created = create(p.path, 0, "text");
    assert_int_equal(read_io(emr_file_io(created), 3, &byte, 2, &why), EMR_EIO);
    assert_file_named(&why, p.path);
    assert_int_equal(why.file.offset, 0);
    assert_memory_equal(why.text + strlen(p.path), ": ", 2);
    assert_int_equal(emr_file_commit(created, NULL), EMR_OK);
    emr_file_close(&created);
    assert_int_equal(emr_file_open(&file, p.path, NULL, NULL), EMR_OK);
    const emr_io *io = emr_file_io(file);
    if (io->write) { /* it was opened for reading */
        memset(&why, 0, sizeof why);
        assert_int_equal(io->write(io->user, 0, "x", 1, &why), EMR_EIO);
        assert_file_named(&why, p.path);
        assert_int_equal(why.system, EBADF);
    }
    emr_file_close(&file);
    check_file(p.path, "text");
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
    assert_int_equal(create_file(&file, p.path, 0, &error), EMR_EEXIST);
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
    for (uint32_t replace = 0; replace < 2; replace++) {
        assert_int_equal(create_file(&file, p.path, replace, &error), EMR_EIO);
        assert_null(file);
        assert_non_null(strstr(error.text, p.path));
        assert_int_equal(create_file(&file, nowhere, replace, &error), EMR_EIO);
        assert_non_null(strstr(error.text, nowhere));
    }
    assert_int_equal(create_file(&file, NULL, 0, NULL), EMR_EINVAL);
    assert_int_equal(create_file(NULL, p.path, 0, NULL), EMR_EINVAL);
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
    assert_int_equal(create_file(&file, p.path, 1, &error), EMR_EIO);
    assert_non_null(strstr(error.text, p.path));
    assert_int_equal(create_file(&file, long_path, 1, &error), EMR_EIO);
    assert_int_equal(unlink(p.path), 0);
    assert_int_equal(mkfifo(p.path, 0666), 0);
    assert_int_equal(create_file(&file, p.path, 1, &error), EMR_EIO);
    assert_int_equal(emr_file_open(&file, p.path, NULL, &error),
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
    assert_int_equal(emr_file_open(&file, p.path, NULL, NULL), EMR_OK);
    assert_int_equal(emr_file_commit(file, NULL), EMR_ESTATE);
    emr_file_close(&file);
    assert_int_equal(emr_file_commit(NULL, NULL), EMR_EINVAL);
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
    emr_buffer *memory = test_buffer_of(digits, 10);
    const emr_io *io = emr_buffer_io(memory);
    char got[10];
    const void *window;
    emr_error why;
    (void)state;
    assert_ptr_equal(emr_buffer_data(memory), digits);
    assert_int_equal(emr_buffer_bytes(memory), 10);
    assert_int_equal(length_of(io), 10);
    assert_int_equal(read_io(io, 3, got, 7, &why), EMR_OK);
    assert_memory_equal(got, "3456789", 7);
    assert_int_equal(read_io(io, 10, got, 0, &why), EMR_OK);
    assert_int_equal(read_io(io, 3, got, 8, &why), EMR_EIO);
    assert_int_equal(read_io(io, UINT64_MAX, got, 2, &why), EMR_EIO);
    assert_int_equal(map_io(io, 3, 7, &window), EMR_OK);
    assert_ptr_equal(window, digits + 3);
    assert_int_equal(map_io(io, 11, 0, &window), EMR_EIO);
    assert_null(io->write);
    emr_buffer_destroy(&memory);
    assert_null(memory);
    emr_buffer_destroy(&memory);
    emr_buffer_destroy(NULL);
    assert_int_equal(emr_buffer_open(&memory, NULL, 1, NULL, &why), EMR_EINVAL);
    assert_int_equal(emr_buffer_open(NULL, digits, 1, NULL, &why), EMR_EINVAL);
    assert_int_equal(emr_buffer_create(NULL, NULL, &why), EMR_EINVAL);
    memory = test_buffer_of(NULL, 0);
    assert_int_equal(length_of(emr_buffer_io(memory)), 0);
    emr_buffer_destroy(&memory);
}

static void buffers_grow_as_they_are_written(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    static unsigned char expected[20000];
    emr_buffer *buffer;
    emr_error error, why;
    rng r = {131};
    (void)state;
    assert_ok(emr_buffer_create(&buffer, &allocator, &error), &error);
    assert_int_equal(emr_buffer_bytes(buffer), 0);
    const emr_io *io = emr_buffer_io(buffer);
    for (size_t at = 0, n; at < sizeof expected; at += n) {
        n = 1 + (size_t)rng_below(&r, 300);
        n = n < sizeof expected - at ? n : sizeof expected - at;
        for (size_t i = 0; i < n; i++)
            expected[at + i] = (unsigned char)rng_next(&r);
        assert_int_equal(write_io(io, at, expected + at, n), EMR_OK);
        assert_int_equal(emr_buffer_bytes(buffer), at + n);
    }
    assert_memory_equal(emr_buffer_data(buffer), expected, sizeof expected);
    unsigned char got[100];
    assert_int_equal(read_io(io, 777, got, 100, &why), EMR_OK);
    assert_memory_equal(got, expected + 777, 100);
    assert_int_equal(read_io(io, sizeof expected - 99, got, 100, &why), EMR_EIO);
    assert_int_not_equal(write_io(io, UINT64_MAX, got, 2), EMR_OK);
    assert_int_equal(length_of(io), sizeof expected);
    assert_int_equal(write_io(io, 777, "over", 4), EMR_OK); /* in the middle: nothing else changes */
    assert_int_equal(emr_buffer_bytes(buffer), sizeof expected);
    memcpy(expected + 777, "over", 4);
    assert_memory_equal(emr_buffer_data(buffer), expected, sizeof expected);
    emr_buffer_destroy(&buffer);
    assert_null(buffer);
    assert_int_equal(counts.alive, 0);
}

static void a_buffer_without_memory_fails_and_keeps_its_bytes(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    static char text[10000] = "text";
    emr_buffer *buffer;
    (void)state;
    assert_int_equal(emr_buffer_create(&buffer, &allocator, NULL), EMR_OK);
    const emr_io *io = emr_buffer_io(buffer);
    assert_int_equal(write_io(io, 0, text, 4), EMR_OK);
    counts.fail_at = counts.requests;
    assert_int_equal(write_io(io, 4, text, sizeof text), EMR_ENOMEM);
    assert_int_equal(emr_buffer_bytes(buffer), 4);
    assert_memory_equal(emr_buffer_data(buffer), "text", 4);
    emr_buffer_destroy(&buffer);
    assert_int_equal(counts.alive, 0);
    counts = (test_allocator){0, 0, 0};
    buffer = (emr_buffer *)&counts;
    assert_int_equal(emr_buffer_create(&buffer, &allocator, NULL), EMR_ENOMEM);
    assert_null(buffer);
    counts = (test_allocator){0, 0, 0};
    buffer = (emr_buffer *)&counts;
    assert_int_equal(emr_buffer_open(&buffer, text, 4, &allocator, NULL), EMR_ENOMEM);
    assert_null(buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_at_any_position),
        cmocka_unit_test(a_file_that_gets_shorter_fails_to_read),
        cmocka_unit_test(empty_files_can_be_opened_either_way),
        cmocka_unit_test(what_cannot_be_opened_is_named),
        cmocka_unit_test(callbacks_of_files_say_why),
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
