/* test_files.c - models of many files under a low limit of open ones: few are open at a time, whoever
 * reads, and a file that changed between two openings is an error. */
#define _XOPEN_SOURCE 700

#include "craft.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SHARDS = 40, OPEN_MOST = 8 /* of a model, while nobody reads */, THREADS = 4 };

static char *directory;

static char *shard_path(unsigned i)
{
    char name[60];
    snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", i + 1, (unsigned)SHARDS);
    return test_path(directory, name);
}

/* The i-th has the tensor "t<i>" of 16 bytes, all i. */
static void put_shard(unsigned i, unsigned char value)
{
    char header[200], *path = shard_path(i);
    snprintf(header, sizeof header, "{\"t%u\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}", i);
    crafted file = craft(header, 16);
    memset(file.bytes + file.n - 16, value, 16);
    test_write_file(path, file.bytes, file.n);
    crafted_free(&file);
    free(path);
}

static int set_up(void **state)
{
    (void)state;
    directory = test_directory_make();
    for (unsigned i = 0; i < SHARDS; i++)
        put_shard(i, (unsigned char)i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_directory_remove(directory);
    return 0;
}

static emr_model *open_model(uint32_t map)
{
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.map = map;
    emr_model *model;
    emr_error error;
    assert_ok(emr_checkpoint_open(&model, directory, &options, &error), &error);
    assert_int_equal(emr_model_n_tensors(model), SHARDS);
    return model;
}

static emr_status read_shard(const emr_model *model, unsigned i, emr_error *error)
{
    char name[20];
    unsigned char got[16], wanted[16];
    snprintf(name, sizeof name, "t%u", i);
    memset(wanted, (int)i, sizeof wanted);
    emr_status status = emr_tensor_read(emr_model_find_tensor(model, name), 0, got, 16, error);
    if (!status && memcmp(got, wanted, 16) != 0)
        abort();
    return status;
}

static void assert_reads(const emr_model *model, unsigned i)
{
    emr_error error;
    assert_ok(read_shard(model, i, &error), &error);
}

static int open_descriptors(void)
{
    int n = 0;
    for (int i = 0; i < 1024; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

/* The old limit. */
static rlim_t set_limit(rlim_t soft)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t old = limit.rlim_cur;
    limit.rlim_cur = soft;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return old;
}

static void few_files_are_open(void **state)
{
    int before = open_descriptors();
    rlim_t old = set_limit((rlim_t)before + 3 * OPEN_MOST + 2);
    emr_model *models[3];
    (void)state;
    for (int i = 0; i < 3; i++)
        models[i] = open_model(0);
    assert_true(open_descriptors() <= before + 3 * OPEN_MOST);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < SHARDS; i++)
            for (int k = 0; k < 3; k++)
                assert_reads(models[k], (i * 7 + round) % SHARDS);
    assert_true(open_descriptors() <= before + 3 * OPEN_MOST);
    for (int i = 0; i < 3; i++)
        emr_model_destroy(&models[i]);
    assert_int_equal(open_descriptors(), before);
    set_limit(old);
}

static void *read_in_disorder(void *user)
{
    emr_error error;
    rng r = {(uint64_t)(uintptr_t)&error | 1};
    for (int i = 0; i < 2000; i++)
        if (read_shard(user, (unsigned)rng_below(&r, SHARDS), &error))
            return user;
    return NULL;
}

static void threads_share_them(void **state)
{
    int before = open_descriptors();
    rlim_t old = set_limit((rlim_t)before + OPEN_MOST + THREADS + 1);
    emr_model *model = open_model(0);
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_disorder, model), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_true(open_descriptors() <= before + OPEN_MOST);
    emr_model_destroy(&model);
    set_limit(old);
}

/* Whatever was open when it was replaced is read on. */
static void what_changed_is_not_read(void **state)
{
    emr_error error = {.text = ""};
    emr_model *model = open_model(0);
    char *first = shard_path(0), *last = shard_path(SHARDS - 1);
    (void)state;
    assert_int_equal(remove(first), 0);
    assert_int_equal(read_shard(model, 0, &error), EMR_EIO);
    assert_true(is_sentence(&error, first, "cannot be opened"));
    put_shard(0, 0); /* the same bytes, at another time */
    assert_int_equal(read_shard(model, 0, &error), EMR_EIO);
    assert_true(is_sentence(&error, first, "changed"));
    assert_int_equal(read_shard(model, 0, &error), EMR_EIO);
    assert_int_equal(remove(last), 0);
    assert_reads(model, SHARDS - 1);
    assert_reads(model, 1);
    emr_model_destroy(&model);
    free(first), free(last);
}

static void too_few_descriptors_are_said_and_pass(void **state)
{
    emr_error error = {.text = ""};
    emr_model *model = open_model(0), *other = NULL;
    (void)state;
    rlim_t old = set_limit(3);
    emr_status status = emr_checkpoint_open(&other, directory, NULL, &error);
    set_limit(old);
    assert_int_equal(status, EMR_EIO);
    assert_true(is_sentence(&error, directory, "ulimit -n"));
    set_limit(3);
    status = read_shard(model, 0, &error);
    set_limit(old);
    assert_int_equal(status, EMR_EIO);
    assert_true(is_sentence(&error, "model-00001", "ulimit -n"));
    assert_reads(model, 0);
    emr_model_destroy(&model);
}

static void mapped_files_stay(void **state)
{
    emr_model *model = open_model(1);
    char *first = shard_path(0);
    (void)state;
    assert_int_equal(remove(first), 0);
    for (unsigned i = 0; i < SHARDS; i++)
        assert_reads(model, i);
    emr_model_destroy(&model);
    free(first);
}

#define with_shards(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_shards(few_files_are_open),       with_shards(threads_share_them),
        with_shards(what_changed_is_not_read), with_shards(too_few_descriptors_are_said_and_pass),
        with_shards(mapped_files_stay),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
