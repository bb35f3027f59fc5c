/* test_bundle_verify.c - verifying a bundle and its base, and I/O or memory that fails at every turn. */
#include "fixture.h"

#include <stdio.h>

static fixture f; /* rescalers per row, the base embedded: every kind of stream */

static int set_up(void **state)
{
    (void)state;
    fixture_create_rich(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

static emr_status verify(const emr_executor *executor, test_progress *progress, emr_error *error)
{
    emr_resources resources = test_resources(NULL, executor);
    resources.progress = test_progress_note;
    resources.progress_user = progress;
    return emr_bundle_verify(f.bundle, &resources, error);
}

static void whole_bundles_verify_whatever_the_threads(void **state)
{
    emr_error error;
    (void)state;
    assert_ok(emr_bundle_verify(f.bundle, NULL, &error), &error);
    for (uint32_t threads = 1; threads <= 4; threads++) {
        emr_pool *pool = test_pool_new(threads);
        test_progress m = {.stop_at = SIZE_MAX};
        assert_ok(verify(emr_pool_executor(pool), &m, &error), &error);
        assert_true(m.calls > 0 && m.done > 0 && !m.backwards);
        emr_pool_destroy(&pool);
    }
    assert_int_equal(emr_bundle_verify(NULL, NULL, &error), EMR_EINVAL);
    const emr_executor wrong = {.size = sizeof wrong, .concurrency = 1};
    const emr_resources resources = test_resources(NULL, &wrong);
    assert_int_equal(emr_bundle_verify(f.bundle, &resources, &error), EMR_EINVAL);
}

static void verifying_can_be_stopped_at_every_call(void **state)
{
    test_progress all = {.stop_at = SIZE_MAX};
    emr_error error;
    (void)state;
    assert_ok(verify(NULL, &all, &error), &error);
    for (size_t k = 0; k < all.calls; k++) {
        test_progress m = {.stop_at = k, .why = k % 2 ? "the window was closed" : NULL};
        assert_int_equal(verify(NULL, &m, &error), EMR_ECANCELED);
        assert_int_equal(error.status, EMR_ECANCELED);
        assert_int_equal(m.calls, k + 1);
        assert_true((k % 2 != 0) == (strstr(error.text, ": the window was closed") != NULL));
    }
}

typedef struct differences {
    char text[400];
} differences;

static void note(void *user, const emr_base_difference *difference)
{
    differences *d = user;
    assert_int_equal(difference->size, sizeof *difference);
    assert_true(strlen(difference->why) > 5);
    strcat(strcat(d->text, difference->tensor), " ");
}

/* Checks a base, by the way noting what differs. */
static emr_status check_base(const emr_model *base, const emr_executor *executor, differences *d,
                             emr_error *error)
{
    const emr_resources resources = test_resources(NULL, executor);
    emr_base_check_options options = EMR_INIT(emr_base_check_options);
    options.resources = &resources;
    options.differs = note;
    options.user = d;
    memset(d, 0, sizeof *d);
    return emr_bundle_check_base(f.bundle, base, &options, error);
}

static void the_right_base_is_recognised_however_it_comes(void **state)
{
    static const test_source sources[] = {SOURCE_MEMORY, SOURCE_IO, SOURCE_READ};
    emr_error error;
    emr_pool *pool = test_pool_new(3);
    differences d;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        test_set copy = test_set_copy(&f.set, sources[i]);
        assert_ok(check_base(copy.base.model, i ? emr_pool_executor(pool) : NULL, &d, &error), &error);
        assert_string_equal(d.text, "");
        assert_ok(emr_bundle_check_base(f.bundle, copy.base.model, NULL, &error), &error);
        test_set_destroy(&copy);
    }
    emr_pool_destroy(&pool);
    assert_int_equal(emr_bundle_check_base(f.bundle, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_check_base(NULL, f.set.base.model, NULL, &error), EMR_EINVAL);
}

/* One changed bit in any tensor that the bundle takes from the base, and only there, is another base. */
static void one_bit_makes_another_base(void **state)
{
    emr_error error;
    (void)state;
    for (size_t i = 0; i < FIXTURE_TENSORS; i++) {
        const test_tensor *t = &f.set.base.tensors[i];
        size_t n = (size_t)emr_tensor_bytes(emr_model_tensor(f.set.base.model, (uint32_t)i));
        if (!n)
            continue;
        f.set.base.data[i][n - 1] ^= 1;
        differences d;
        emr_model *model;
        emr_status status = check_base(f.set.base.model, NULL, &d, &error);
        if (strcmp(t->name, FIXTURE_PRIVATE) == 0) {
            assert_int_equal(status, EMR_OK);
        } else {
            char named[40];
            snprintf(named, sizeof named, "'%s'", t->name);
            assert_int_equal(status, EMR_EMISMATCH);
            assert_non_null(strstr(error.text, named));
            assert_non_null(strstr(error.text, "test.emr"));
            assert_true(test_span_is(&error, error.tensor, t->name));
            assert_true(strncmp(d.text, t->name, strlen(t->name)) == 0 &&
                        strlen(d.text) == strlen(t->name) + 1);
            status = emr_bundle_open_task(&model, f.bundle, 0, f.set.base.model, NULL, &error);
            assert_int_equal(status, EMR_EMISMATCH);
            assert_null(model);
        }
        f.set.base.data[i][n - 1] ^= 1;
    }
}

/* A base that lacks a tensor, and others of another dtype, shape and bytes: all are told, the first is named.
 */
static void every_difference_is_told(void **state)
{
    test_tensor tensors[FIXTURE_TENSORS];
    size_t n = 0;
    emr_error error;
    differences d;
    (void)state;
    for (size_t i = 0; i < FIXTURE_TENSORS; i++) {
        const test_tensor *t = &f.set.base.tensors[i];
        if (strcmp(t->name, "w") == 0)
            continue;
        tensors[n] = *t;
        if (strcmp(t->name, "bias") == 0)
            tensors[n].dtype = EMR_DTYPE_F16;
        if (strcmp(t->name, "half") == 0)
            tensors[n].rank = 2, tensors[n].shape[1] = 55;
        n++;
    }
    test_model other = test_model_create("other", tensors, n, SOURCE_MEMORY);
    assert_int_equal(check_base(other.model, NULL, &d, &error), EMR_EMISMATCH);
    assert_non_null(strstr(error.text, "'w'"));
    assert_non_null(strstr(error.text, "absent"));
    assert_string_equal(d.text, "w bias scalar half wide big ids ");
    emr_model *model;
    emr_view_options trust = EMR_INIT(emr_view_options);
    trust.check = EMR_BASE_CHECK_NONE; /* what does not even fit is refused in any case */
    assert_int_equal(emr_bundle_open_task(&model, f.bundle, 0, other.model, &trust, &error), EMR_EMISMATCH);
    assert_null(model);
    test_model_destroy(&other);
}

static void a_base_that_cannot_be_read_is_no_mismatch(void **state)
{
    test_io broken = {.fail_write = SIZE_MAX, .why = "the connection was lost", .system = 104};
    emr_error error;
    (void)state;
    broken.inner = *emr_buffer_io(f.set.base.buffers[fixture_index(&f, "half")]);
    const emr_io io = test_io_make(&broken);
    emr_model *base = test_model_new("base");
    for (size_t i = 0; i < FIXTURE_TENSORS; i++) {
        const test_tensor *t = &f.set.base.tensors[i];
        bool half = strcmp(t->name, "half") == 0;
        emr_tensor_desc d = {.size = sizeof d, .name = t->name, .dtype = t->dtype, .rank = t->rank};
        d.shape = t->shape;
        d.data = half ? NULL : f.set.base.data[i];
        d.io = half ? &io : NULL;
        assert_ok(emr_model_add(base, &d, &error), &error);
    }
    assert_int_equal(emr_bundle_check_base(f.bundle, base, NULL, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "'half'"));
    assert_non_null(strstr(error.text, ": the connection was lost"));
    assert_int_equal(error.system, 104);
    emr_model_destroy(&base);
}

/* Opens, verifies, reads every view of task 1 and all its rescalers. */
static emr_status do_everything(const emr_io *io, const emr_allocator *allocator, emr_error *error)
{
    emr_bundle_options options = EMR_INIT(emr_bundle_options);
    emr_bundle *bundle;
    options.allocator = allocator;
    emr_status status = emr_bundle_open(&bundle, io, "test.emr", &options, error);
    if (status)
        assert_null(bundle);
    if (!status)
        status = emr_bundle_verify(bundle, NULL, error);
    for (int kind = 0; !status && kind < 4; kind++) {
        emr_model *model;
        status = kind == 0   ? emr_bundle_open_task(&model, bundle, 1, NULL, NULL, error)
                 : kind == 1 ? emr_bundle_open_base(&model, bundle, NULL, error)
                 : kind == 2 ? emr_bundle_open_unified(&model, bundle, NULL, error)
                             : emr_bundle_open_mask(&model, bundle, 1, NULL, error);
        if (status)
            assert_null(model);
        for (uint32_t i = 0; !status && i < emr_model_n_tensors(model); i++) {
            const emr_tensor *t = emr_model_tensor(model, i);
            unsigned char *bytes = malloc((size_t)emr_tensor_bytes(t) + 1);
            status = emr_tensor_read(t, 0, bytes, (size_t)emr_tensor_bytes(t), error);
            free(bytes);
        }
        emr_model_destroy(&model);
    }
    emr_modulator *modulator = NULL;
    if (!status)
        status = emr_bundle_open_modulator(&modulator, bundle, 1, NULL, error);
    for (uint32_t i = 0; !status && i < FIXTURE_MERGED; i++) {
        float rescalers[16];
        status = emr_modulator_read_rescalers(
            modulator, i, 0, (size_t)emr_modulator_n_rescalers(modulator, i), rescalers, error);
    }
    emr_modulator_destroy(&modulator);
    emr_bundle_destroy(&bundle);
    return status;
}

static void every_read_that_fails_is_an_io_error(void **state)
{
    size_t k = 0;
    emr_error error;
    (void)state;
    for (bool failed = true; failed; k++) {
        test_io counts = {.inner = *emr_buffer_io(f.buffer), .fail_read = k, .fail_write = SIZE_MAX};
        counts.why = "the connection was lost";
        counts.system = 104;
        emr_io io = test_io_make(&counts);
        emr_status status = do_everything(&io, NULL, &error);
        failed = status != EMR_OK;
        if (failed) {
            assert_int_equal(status, EMR_EIO);
            assert_non_null(strstr(error.text, "test.emr"));
            assert_int_equal(counts.reads, k + 1); /* nothing is tried again */
            assert_non_null(strstr(error.text, ": the connection was lost"));
            assert_int_equal(error.system, 104);
        }
    }
    assert_true(k > 30);
}

static void every_allocation_that_fails_is_out_of_memory(void **state)
{
    size_t k = 0;
    emr_error error;
    (void)state;
    for (bool failed = true; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_status status = do_everything(emr_buffer_io(f.buffer), &allocator, &error);
        failed = status != EMR_OK;
        assert_true(!failed || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_bundles_verify_whatever_the_threads),
        cmocka_unit_test(verifying_can_be_stopped_at_every_call),
        cmocka_unit_test(the_right_base_is_recognised_however_it_comes),
        cmocka_unit_test(one_bit_makes_another_base),
        cmocka_unit_test(every_difference_is_told),
        cmocka_unit_test(a_base_that_cannot_be_read_is_no_mismatch),
        cmocka_unit_test(every_read_that_fails_is_an_io_error),
        cmocka_unit_test(every_allocation_that_fails_is_out_of_memory),
    };
    return cmocka_run_group_tests_name("bundle verification", tests, set_up, tear_down);
}
