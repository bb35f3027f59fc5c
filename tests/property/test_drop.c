/* test_drop.c - dropping tasks: what stays is the same to the last bit, what goes is gone, and the report
 * counts right. */
#include "property.h"

#include <stdio.h>

static emr_buffer drop_tasks(const emr_bundle *b, const size_t *tasks, size_t n, emr_drop_report *report)
{
    emr_error error = {{0}};
    emr_buffer out = {0};
    emr_io io = emr_buffer_io(&out);
    *report = EMR_INIT(emr_drop_report);
    assert_ok(emr_bundle_drop(b, tasks, n, &io, NULL, report, &error), &error);
    return out;
}

/* Every tensor of two models, in order. */
static void assert_same_models(const emr_model *a, const emr_model *b)
{
    const char *key_a, *value_a, *key_b, *value_b;
    assert_int_equal(emr_model_n_tensors(a), emr_model_n_tensors(b));
    for (size_t i = 0; i < emr_model_n_tensors(a); i++) {
        const emr_tensor *x = emr_model_tensor(a, i), *y = emr_model_tensor(b, i);
        assert_string_equal(emr_tensor_name(x), emr_tensor_name(y));
        assert_int_equal(emr_tensor_bytes(x), emr_tensor_bytes(y));
        unsigned char *bytes_x = tensor_bytes_of(x), *bytes_y = tensor_bytes_of(y);
        assert_memory_equal(bytes_x, bytes_y, emr_tensor_bytes(x));
        free(bytes_x);
        free(bytes_y);
    }
    assert_int_equal(emr_model_n_metadata(a), emr_model_n_metadata(b));
    for (size_t i = 0; i < emr_model_n_metadata(a); i++) {
        emr_model_get_metadata(a, i, &key_a, &value_a);
        emr_model_get_metadata(b, i, &key_b, &value_b);
        assert_string_equal(key_a, key_b);
        assert_string_equal(value_a, value_b);
    }
}

/* Of a task: weights, mask, rescalers. */
static void assert_same_task(const emr_bundle *a, size_t task_a, const emr_bundle *b, size_t task_b,
                             const emr_model *base)
{
    emr_error error = {{0}};
    emr_model *x, *y;
    emr_task_info info_a = EMR_INIT(emr_task_info), info_b = EMR_INIT(emr_task_info);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_bundle_get_info(a, &info);
    const emr_model *given = info.has_base ? NULL : base;
    assert_ok(emr_bundle_open_task(&x, a, task_a, given, NULL, &error), &error);
    assert_ok(emr_bundle_open_task(&y, b, task_b, given, NULL, &error), &error);
    assert_same_models(x, y);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
    assert_ok(emr_bundle_open_mask(&x, a, task_a, NULL, &error), &error);
    assert_ok(emr_bundle_open_mask(&y, b, task_b, NULL, &error), &error);
    assert_same_models(x, y);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
    emr_bundle_get_task(a, task_a, &info_a);
    emr_bundle_get_task(b, task_b, &info_b);
    assert_string_equal(info_a.name, info_b.name);
    assert_int_equal(info_a.mask_ones, info_b.mask_ones);
    assert_int_equal(info_a.mask_bytes, info_b.mask_bytes);
    for (size_t i = 0; i < info.n_merged; i++) {
        uint64_t n = emr_bundle_n_rescalers(a, i);
        float *r = malloc((size_t)n * 4 + 1), *q = malloc((size_t)n * 4 + 1);
        assert_int_equal(emr_bundle_n_rescalers(b, i), n);
        assert_ok(emr_bundle_rescalers(a, task_a, i, 0, (size_t)n, r, &error), &error);
        assert_ok(emr_bundle_rescalers(b, task_b, i, 0, (size_t)n, q, &error), &error);
        assert_memory_equal(r, q, (size_t)n * 4);
        free(r);
        free(q);
    }
}

/* The report once more, from models of masks and of the unified vector, a byte or a float a parameter. */
static void assert_report(const emr_bundle *b, const bool *gone, size_t n_tasks, const emr_drop_report *r)
{
    emr_error error = {{0}};
    emr_model *unified, *masks[8];
    uint64_t nonzero = 0, alone = 0, shared = 0;
    assert_ok(emr_bundle_open_unified(&unified, b, NULL, &error), &error);
    for (size_t t = 0; t < n_tasks; t++)
        assert_ok(emr_bundle_open_mask(&masks[t], b, t, NULL, &error), &error);
    for (size_t i = 0; i < emr_model_n_tensors(unified); i++) {
        const emr_tensor *u = emr_model_tensor(unified, i);
        float *values = (float *)(void *)tensor_bytes_of(u);
        unsigned char *bits[8];
        for (size_t t = 0; t < n_tasks; t++)
            bits[t] = tensor_bytes_of(emr_model_tensor(masks[t], i));
        for (size_t k = 0; k < emr_tensor_count(u); k++) {
            bool by_gone = false, by_left = false;
            for (size_t t = 0; t < n_tasks; t++) {
                by_gone = by_gone || (gone[t] && bits[t][k]);
                by_left = by_left || (!gone[t] && bits[t][k]);
            }
            nonzero += values[k] != 0;
            alone += by_gone && !by_left;
            shared += by_gone && by_left;
        }
        free(values);
        for (size_t t = 0; t < n_tasks; t++)
            free(bits[t]);
    }
    assert_int_equal(r->unified, nonzero);
    assert_int_equal(r->alone, alone);
    assert_int_equal(r->shared, shared);
    emr_model_destroy(&unified);
    for (size_t t = 0; t < n_tasks; t++)
        emr_model_destroy(&masks[t]);
}

enum { N_TASKS = 4 };

static void assert_drop(const test_set *s, const emr_bundle *b, unsigned which, bool extendable)
{
    emr_error error = {{0}};
    size_t tasks[N_TASKS], n = 0, left = 0;
    bool gone[N_TASKS];
    emr_drop_report report;
    emr_memory memory;
    for (size_t t = 0; t < N_TASKS; t++)
        if ((gone[t] = which >> t & 1))
            tasks[n++] = t;
    emr_buffer buffer = drop_tasks(b, tasks, n, &report);
    emr_bundle *dropped = test_bundle_open(&buffer, &memory);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_ok(emr_bundle_verify(dropped, NULL, NULL, NULL, &error), &error);
    emr_bundle_get_info(dropped, &info);
    assert_int_equal(info.n_tasks, N_TASKS - n);
    assert_false(info.extendable);
    assert_int_equal(report.lost_growth, extendable);
    assert_report(b, gone, N_TASKS, &report);
    for (size_t t = 0; t < N_TASKS; t++) {
        size_t at;
        emr_task_info task = EMR_INIT(emr_task_info);
        emr_bundle_get_task(b, t, &task);
        emr_status found = emr_bundle_find_task(dropped, task.name, &at);
        assert_int_equal(found, gone[t] ? EMR_ENOTFOUND : EMR_OK);
        if (!gone[t]) {
            assert_int_equal(at, left++);
            assert_same_task(b, t, dropped, at, s->base.model);
        }
    }
    emr_bundle_destroy(&dropped);
    emr_buffer_free(&buffer);
}

static void everything_else_stays(void **state)
{
    (void)state;
    for (int per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        for (int way = 0; way < 4; way++) {
            test_set s = rich_set((uint64_t)(1 + per), N_TASKS, SOURCE_MEMORY);
            emr_merge_options o = rich_options(per);
            o.compression = way & 1 ? EMR_COMPRESSION_NONE : 0;
            o.extendable = way >> 1;
            o.embed_base = way == 1;
            o.unified_dtype = way == 2 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
            emr_memory memory;
            emr_buffer buffer = test_merge_bundle(&s, &o);
            emr_bundle *b = test_bundle_open(&buffer, &memory);
            for (unsigned which = 1; which < (1u << N_TASKS) - 1; which += way == 0 ? 1 : 3)
                assert_drop(&s, b, which, o.extendable != 0);
            emr_bundle_destroy(&b);
            emr_buffer_free(&buffer);
            test_set_destroy(&s);
        }
    }
}

/* Four tasks over a base of zeros; in each run of blocks, each task has one value. */
static test_set filled_set(void)
{
    static const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 2, {40, 4096}}};
    static const float values[N_TASKS][5] = {
        {1, 2, 0, 0.0115f, -1}, {0.5f, -0.25f, 0, 0, 3}, {-0.25f, -0.25f, 0, 0, 2}, {0, 1, 0, 0, -1}};
    test_set s = test_set_create(tensors, 1, N_TASKS, 5, SOURCE_MEMORY);
    const uint64_t run = 8 * 4096;
    for (uint64_t i = 0; i < 5 * run; i++) {
        test_store(&s.base, 0, i, 0);
        for (size_t t = 0; t < N_TASKS; t++)
            test_store(&s.tasks[t], 0, i, values[t][i / run]);
        if (i / run == 3) /* a unified value whose bytes are equal; and masks that are not filled */
            memset(s.tasks[0].data[0] + 4 * i, 0x3c, 4);
    }
    test_store(&s.tasks[1], 0, 3 * run + 77, 0.001f);
    return s;
}

/* Blocks that are one byte over and over are counted without being decoded. */
static void filled_blocks_count(void **state)
{
    (void)state;
    test_set s = filled_set();
    emr_merge_options o = small_options();
    o.block_params = 4096;
    emr_memory memory;
    emr_buffer buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    for (unsigned which = 1; which < (1u << N_TASKS) - 1; which++)
        assert_drop(&s, b, which, false);
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    test_set_destroy(&s);
}

/* The most memory that dropping the first of some tasks takes. */
static size_t peak_with(size_t n_tasks)
{
    test_set s = rich_set(9, n_tasks, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_error error = {{0}};
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_drop_options options = EMR_INIT(emr_drop_options);
    emr_memory memory;
    emr_buffer buffer = test_merge_bundle(&s, &o), out = {0};
    emr_io io = emr_buffer_io(&out);
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    options.allocator = &allocator;
    assert_ok(emr_bundle_drop(b, &(size_t){0}, 1, &io, &options, &report, &error), &error);
    assert_int_equal(meter.now, 0);
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    emr_buffer_free(&out);
    test_set_destroy(&s);
    return meter.peak;
}

/* A task's share is its part of the index alone. */
static void memory_does_not_grow_with_tasks(void **state)
{
    (void)state;
    assert_true(peak_with(18) < peak_with(3) + 15 * 4096);
}

static void progress_is_told_and_cancels(void **state)
{
    (void)state;
    test_set s = rich_set(9, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_drop_options options = EMR_INIT(emr_drop_options);
    emr_memory memory;
    emr_buffer buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    emr_status status = EMR_ECANCELED;
    for (size_t k = 0; status; k++) {
        emr_error error = {{0}};
        emr_buffer out = {0};
        emr_io io = emr_buffer_io(&out);
        emr_drop_report report = EMR_INIT(emr_drop_report);
        test_progress progress = {.stop_at = k};
        options.progress = test_progress_note;
        options.progress_user = &progress;
        status = emr_bundle_drop(b, &(size_t){1}, 1, &io, &options, &report, &error);
        assert_false(progress.backwards);
        assert_int_equal(status, progress.calls > k ? EMR_ECANCELED : EMR_OK);
        if (!status) {
            assert_int_equal(progress.done, progress.total);
            assert_true(k > 10);
        } else if (k == 0) {
            assert_int_equal(out.bytes, 0); /* while it counts */
        }
        emr_buffer_free(&out);
    }
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    test_set_destroy(&s);
}

static void one_after_another_is_both_at_once(void **state)
{
    (void)state;
    test_set s = rich_set(9, N_TASKS, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    emr_memory memory, first_memory;
    emr_drop_report report;
    emr_buffer buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    emr_buffer both = drop_tasks(b, (const size_t[]){1, 3}, 2, &report);
    emr_buffer first = drop_tasks(b, (const size_t[]){3}, 1, &report);
    emr_bundle *one = test_bundle_open(&first, &first_memory);
    emr_buffer second = drop_tasks(one, (const size_t[]){1}, 1, &report);
    assert_same_buffer(&second, &both, "dropped one after another");
    emr_bundle_destroy(&one);
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    emr_buffer_free(&both);
    emr_buffer_free(&first);
    emr_buffer_free(&second);
    test_set_destroy(&s);
}

static int refuse_to_sync(void *user)
{
    (void)user;
    return -1;
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    test_set s = rich_set(9, 2, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_MODEL);
    emr_error error = {{0}};
    emr_memory memory;
    emr_buffer buffer = test_merge_bundle(&s, &o), out = {0};
    emr_io io = emr_buffer_io(&out), mute = io;
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    mute.write = NULL;
    const size_t tasks[] = {0, 1, 0, 2};
    assert_int_equal(emr_bundle_drop(b, tasks, 2, &io, NULL, NULL, &error), EMR_EINVAL);
    assert_says(&error, "at least one task must stay");
    assert_int_equal(emr_bundle_drop(b, tasks + 3, 1, &io, NULL, NULL, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_drop(b, tasks, 3, &io, NULL, NULL, &error), EMR_EINVAL);
    assert_says(&error, "twice");
    assert_int_equal(emr_bundle_drop(b, tasks, 0, &io, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_drop(b, tasks, 1, &mute, NULL, NULL, &error), EMR_EINVAL);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    report.size = sizeof report - 1;
    assert_int_equal(emr_bundle_drop(b, tasks, 1, &io, NULL, &report, &error), EMR_EINVAL);
    assert_says(&error, "emr_drop_report.size");
    assert_int_equal(out.bytes, 0);
    assert_ok(emr_bundle_drop(b, tasks, 1, &io, NULL, NULL, &error), &error);
    emr_buffer reported = drop_tasks(b, tasks, 1, &report);
    assert_same_buffer(&out, &reported, "without a report");
    emr_buffer_free(&reported);
    io.sync = refuse_to_sync;
    assert_int_equal(emr_bundle_drop(b, tasks, 1, &io, NULL, NULL, &error), EMR_EIO);
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    emr_buffer_free(&out);
    test_set_destroy(&s);
}

/* Each allocation, read and write fails once; and bytes of the blocks are damaged, here and there. */
static void failures_are_told(void **state)
{
    (void)state;
    test_set s = rich_set(9, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    const size_t task = 1;
    emr_buffer buffer = test_merge_bundle(&s, &o), want = {0};
    emr_memory memory;
    emr_bundle *b = test_bundle_open(&buffer, &memory);
    emr_drop_report report;
    want = drop_tasks(b, &task, 1, &report);
    emr_bundle_destroy(&b);
    for (int what = 0; what < 3; what++) {
        bool failed = true;
        for (size_t k = 0; failed; k++) {
            emr_error error = {{0}};
            emr_buffer out = {0};
            test_allocator counts = {.fail_at = SIZE_MAX};
            emr_allocator allocator = test_allocator_make(&counts);
            test_io in = {.inner = emr_memory_io(&memory), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            test_io to = {.inner = emr_buffer_io(&out), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            emr_io input = test_io_make(&in), output = test_io_make(&to);
            emr_drop_options options = EMR_INIT(emr_drop_options);
            options.allocator = &allocator;
            assert_ok(emr_bundle_open(&b, &input, "in.emr", NULL, &error), &error);
            counts.fail_at = what == 0 ? k : SIZE_MAX;
            in.fail_read = what == 1 ? in.reads + k : SIZE_MAX;
            to.fail_write = what == 2 ? k : SIZE_MAX;
            report = EMR_INIT(emr_drop_report);
            emr_status status = emr_bundle_drop(b, &task, 1, &output, &options, &report, &error);
            failed = status != EMR_OK;
            if (failed) {
                assert_int_equal(status, what == 0 ? EMR_ENOMEM : EMR_EIO);
                assert_true(error.text[0] != 0);
            } else {
                assert_true(k > 3);
                assert_same_buffer(&out, &want, "without a failure");
            }
            assert_int_equal(counts.alive, 0);
            emr_bundle_destroy(&b);
            emr_buffer_free(&out);
        }
    }
    unsigned char *bytes = buffer.data;
    rng r = {3};
    size_t n_found = 0;
    for (size_t i = 0; i < 300; i++) {
        emr_error error = {{0}};
        emr_buffer out = {0};
        emr_io io = emr_buffer_io(&out);
        size_t at = 64 + (size_t)rng_below(&r, buffer.bytes / 2);
        bytes[at] ^= 4;
        b = test_bundle_open(&buffer, &memory);
        emr_status status = emr_bundle_drop(b, &task, 1, &io, NULL, NULL, &error);
        assert_true(status == EMR_ECORRUPT || status == EMR_OK); /* gaps, and what was dropped */
        if (!status)
            assert_same_buffer(&out, &want, "with damage elsewhere");
        n_found += status != EMR_OK;
        bytes[at] ^= 4;
        emr_bundle_destroy(&b);
        emr_buffer_free(&out);
    }
    assert_true(n_found > 100);
    emr_buffer_free(&buffer);
    emr_buffer_free(&want);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_else_stays),
        cmocka_unit_test(filled_blocks_count),
        cmocka_unit_test(memory_does_not_grow_with_tasks),
        cmocka_unit_test(progress_is_told_and_cancels),
        cmocka_unit_test(one_after_another_is_both_at_once),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(failures_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
