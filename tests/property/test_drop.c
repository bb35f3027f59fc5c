/* test_drop.c - dropping tasks: what stays is the same to the last bit, what goes is gone, and the report
 * counts right. */
#include "property.h"

#include <stdio.h>

static emr_task_selection select_tasks(const uint32_t *tasks, uint32_t n)
{
    return (emr_task_selection){.size = sizeof(emr_task_selection), .tasks = tasks, .n_tasks = n};
}

static emr_buffer *drop_tasks(const emr_bundle *b, const uint32_t *tasks, uint32_t n, emr_drop_report *report)
{
    emr_error error = {0};
    emr_buffer *out = test_buffer_new();
    emr_task_selection gone = select_tasks(tasks, n);
    *report = EMR_INIT(emr_drop_report);
    assert_ok(emr_bundle_drop(b, &gone, emr_buffer_io(out), report, &error), &error);
    return out;
}

static emr_buffer *extract_tasks(const emr_bundle *b, const uint32_t *tasks, uint32_t n,
                                 emr_drop_report *report)
{
    emr_error error = {0};
    emr_buffer *out = test_buffer_new();
    emr_task_selection kept = select_tasks(tasks, n);
    *report = EMR_INIT(emr_drop_report);
    assert_ok(emr_bundle_extract(b, &kept, emr_buffer_io(out), report, &error), &error);
    return out;
}

/* Every tensor of two models, in order. */
static void assert_same_models(const emr_model *a, const emr_model *b)
{
    const char *key_a, *value_a, *key_b, *value_b;
    assert_int_equal(emr_model_n_tensors(a), emr_model_n_tensors(b));
    for (uint32_t i = 0; i < emr_model_n_tensors(a); i++) {
        const emr_tensor *x = emr_model_tensor(a, i), *y = emr_model_tensor(b, i);
        assert_string_equal(emr_tensor_name(x), emr_tensor_name(y));
        assert_int_equal(emr_tensor_bytes(x), emr_tensor_bytes(y));
        unsigned char *bytes_x = tensor_bytes_of(x), *bytes_y = tensor_bytes_of(y);
        assert_memory_equal(bytes_x, bytes_y, emr_tensor_bytes(x));
        free(bytes_x);
        free(bytes_y);
    }
    assert_int_equal(emr_model_n_metadata(a), emr_model_n_metadata(b));
    for (uint32_t i = 0; i < emr_model_n_metadata(a); i++) {
        emr_model_get_metadata(a, i, &key_a, &value_a);
        emr_model_get_metadata(b, i, &key_b, &value_b);
        assert_string_equal(key_a, key_b);
        assert_string_equal(value_a, value_b);
    }
}

/* Of a task: weights, mask, rescalers. */
static void assert_same_task(const emr_bundle *a, uint32_t task_a, const emr_bundle *b, uint32_t task_b,
                             const emr_model *base)
{
    emr_error error = {0};
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
    for (uint32_t i = 0; i < info.n_merged; i++) {
        size_t n, n_other;
        float *r = rescalers_of(a, task_a, i, &n), *q = rescalers_of(b, task_b, i, &n_other);
        assert_int_equal(n, n_other);
        assert_memory_equal(r, q, n * sizeof *r);
        free(r);
        free(q);
    }
}

/* The report once more, from models of masks and of the unified vector, a byte or a float a parameter. */
static void assert_report(const emr_bundle *b, const bool *gone, uint32_t n_tasks, const emr_drop_report *r)
{
    emr_error error = {0};
    emr_model *unified, *masks[8];
    uint64_t nonzero = 0, alone = 0, shared = 0;
    assert_ok(emr_bundle_open_unified(&unified, b, NULL, &error), &error);
    for (uint32_t t = 0; t < n_tasks; t++)
        assert_ok(emr_bundle_open_mask(&masks[t], b, t, NULL, &error), &error);
    for (uint32_t i = 0; i < emr_model_n_tensors(unified); i++) {
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

/* The tasks whose bits are set go. What is extracted by naming those that stay, last first, is the same. */
static void assert_drop(const test_set *s, const emr_bundle *b, unsigned which, bool extendable)
{
    emr_error error = {0};
    uint32_t tasks[N_TASKS], others[N_TASKS], n = 0, n_others = 0, left = 0;
    bool gone[N_TASKS];
    emr_drop_report report, extracted_report;
    for (uint32_t t = 0; t < N_TASKS; t++)
        if ((gone[t] = which >> t & 1))
            tasks[n++] = t;
    for (uint32_t t = N_TASKS; t-- > 0;)
        if (!gone[t])
            others[n_others++] = t;
    emr_buffer *buffer = drop_tasks(b, tasks, n, &report);
    emr_buffer *extracted = extract_tasks(b, others, n_others, &extracted_report);
    assert_same_buffer(extracted, buffer, "extracted");
    assert_memory_equal(&extracted_report, &report, sizeof report);
    emr_buffer_destroy(&extracted);
    emr_bundle *dropped = test_bundle_open(buffer);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_ok(emr_bundle_verify(dropped, NULL, &error), &error);
    emr_bundle_get_info(dropped, &info);
    assert_int_equal(info.n_tasks, N_TASKS - n);
    assert_false(info.extendable);
    assert_int_equal(report.lost_growth, extendable);
    assert_report(b, gone, N_TASKS, &report);
    for (uint32_t t = 0; t < N_TASKS; t++) {
        uint32_t at;
        emr_task_info task = EMR_INIT(emr_task_info);
        emr_bundle_get_task(b, t, &task);
        emr_status found = emr_bundle_find_task(dropped, task.name, &at, NULL);
        assert_int_equal(found, gone[t] ? EMR_ENOTFOUND : EMR_OK);
        if (!gone[t]) {
            assert_int_equal(at, left++);
            assert_same_task(b, t, dropped, at, s->base.model);
        }
    }
    emr_bundle_destroy(&dropped);
    emr_buffer_destroy(&buffer);
}

static void everything_else_stays(void **state)
{
    (void)state;
    for (emr_rescale_per per = EMR_RESCALE_PER_MODEL; per <= EMR_RESCALE_PER_ROW; per++) {
        for (uint32_t way = 0; way < 4; way++) {
            test_set s = rich_set(1 + per, N_TASKS, SOURCE_MEMORY);
            emr_merge_options o = rich_options(per);
            o.compression = way & 1 ? EMR_COMPRESSION_NONE : 0;
            o.extendable = way >> 1;
            o.embed_base = way == 1;
            o.unified_dtype = way == 2 ? EMR_DTYPE_BF16 : EMR_DTYPE_F32;
            emr_buffer *buffer = test_merge_bundle(&s, &o);
            emr_bundle *b = test_bundle_open(buffer);
            for (unsigned which = 1; which < (1u << N_TASKS) - 1; which += way == 0 ? 1 : 3)
                assert_drop(&s, b, which, o.extendable != 0);
            emr_bundle_destroy(&b);
            emr_buffer_destroy(&buffer);
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
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(buffer);
    for (unsigned which = 1; which < (1u << N_TASKS) - 1; which++)
        assert_drop(&s, b, which, false);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

/* The most memory that dropping the first of some tasks takes. */
static size_t peak_with(size_t n_tasks)
{
    test_set s = rich_set(9, n_tasks, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    emr_error error = {0};
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_task_selection first = select_tasks(&(uint32_t){0}, 1);
    emr_buffer *buffer = test_merge_bundle(&s, &o), *out = test_buffer_new();
    emr_bundle *b = test_bundle_open(buffer);
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_resources resources = test_resources(&allocator, NULL);
    first.resources = &resources;
    assert_ok(emr_bundle_drop(b, &first, emr_buffer_io(out), &report, &error), &error);
    assert_int_equal(meter.now, 0);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&out);
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
    emr_task_selection gone = select_tasks(&(uint32_t){1}, 1);
    emr_resources resources = EMR_INIT(emr_resources);
    gone.resources = &resources;
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(buffer);
    emr_status status = EMR_ECANCELED;
    for (size_t k = 0; status; k++) {
        emr_error error = {0};
        emr_buffer *out = test_buffer_new();
        emr_drop_report report = EMR_INIT(emr_drop_report);
        test_progress progress = {.stop_at = k};
        resources.progress = test_progress_note;
        resources.progress_user = &progress;
        status = emr_bundle_drop(b, &gone, emr_buffer_io(out), &report, &error);
        assert_false(progress.backwards);
        assert_int_equal(status, progress.calls > k ? EMR_ECANCELED : EMR_OK);
        if (!status) {
            assert_int_equal(progress.done, progress.total);
            assert_true(k > 10);
        } else if (k == 0) {
            assert_int_equal(emr_buffer_bytes(out), 0); /* while it counts */
        }
        emr_buffer_destroy(&out);
    }
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    test_set_destroy(&s);
}

static void one_after_another_is_both_at_once(void **state)
{
    (void)state;
    test_set s = rich_set(9, N_TASKS, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    emr_drop_report report;
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(buffer);
    emr_buffer *both = drop_tasks(b, (const uint32_t[]){1, 3}, 2, &report);
    emr_buffer *first = drop_tasks(b, (const uint32_t[]){3}, 1, &report);
    emr_bundle *one = test_bundle_open(first);
    emr_buffer *second = drop_tasks(one, (const uint32_t[]){1}, 1, &report);
    assert_same_buffer(second, both, "dropped one after another");
    emr_bundle_destroy(&one);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&both);
    emr_buffer_destroy(&first);
    emr_buffer_destroy(&second);
    test_set_destroy(&s);
}

static emr_status refuse_to_sync(void *user, emr_error *error)
{
    (void)user, (void)error;
    return EMR_EIO;
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    test_set s = rich_set(9, 2, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_MODEL);
    emr_error error = {0};
    emr_buffer *buffer = test_merge_bundle(&s, &o), *out = test_buffer_new();
    emr_io io = *emr_buffer_io(out), mute = io;
    emr_bundle *b = test_bundle_open(buffer);
    mute.write = NULL;
    static const uint32_t tasks[] = {0, 1, 0, 2};
    const emr_task_selection none = select_tasks(tasks, 0), one = select_tasks(tasks, 1),
                             both = select_tasks(tasks, 2), twice = select_tasks(tasks, 3),
                             absent = select_tasks(tasks + 3, 1), null = select_tasks(NULL, 1);
    assert_int_equal(emr_bundle_drop(b, &both, &io, NULL, &error), EMR_EINVAL);
    assert_says(&error, "at least one task must stay");
    assert_int_equal(emr_bundle_drop(b, &absent, &io, NULL, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_drop(b, &twice, &io, NULL, &error), EMR_EINVAL);
    assert_says(&error, "twice");
    assert_int_equal(emr_bundle_drop(b, &none, &io, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_drop(b, &null, &io, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_drop(b, &one, &mute, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_extract(b, &absent, &io, NULL, &error), EMR_ENOTFOUND);
    assert_int_equal(emr_bundle_extract(b, &twice, &io, NULL, &error), EMR_EINVAL);
    assert_says(&error, "twice");
    assert_int_equal(emr_bundle_extract(b, &none, &io, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_extract(b, &null, &io, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_extract(b, &one, &mute, NULL, &error), EMR_EINVAL);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    report.size = sizeof report - 1;
    assert_int_equal(emr_bundle_drop(b, &one, &io, &report, &error), EMR_EINVAL);
    assert_says(&error, "emr_drop_report.size");
    assert_int_equal(emr_buffer_bytes(out), 0);
    assert_ok(emr_bundle_drop(b, &one, &io, NULL, &error), &error);
    emr_buffer *reported = drop_tasks(b, tasks, 1, &report);
    assert_same_buffer(out, reported, "without a report");
    emr_buffer_destroy(&reported);
    io.sync = refuse_to_sync;
    assert_int_equal(emr_bundle_drop(b, &one, &io, NULL, &error), EMR_EIO);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&out);
    test_set_destroy(&s);
}

/* Each allocation, read and write fails once; and bytes of the blocks are damaged, here and there. */
static void failures_are_told(void **state)
{
    (void)state;
    test_set s = rich_set(9, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    const uint32_t task = 1;
    emr_buffer *buffer = test_merge_bundle(&s, &o);
    emr_bundle *b = test_bundle_open(buffer);
    emr_drop_report report;
    emr_buffer *want = drop_tasks(b, &task, 1, &report);
    emr_bundle_destroy(&b);
    for (int what = 0; what < 3; what++) {
        bool failed = true;
        for (size_t k = 0; failed; k++) {
            emr_error error = {0};
            emr_buffer *out = test_buffer_new();
            test_allocator counts = {.fail_at = SIZE_MAX};
            emr_allocator allocator = test_allocator_make(&counts);
            test_io in = {.inner = *emr_buffer_io(buffer), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            test_io to = {.inner = *emr_buffer_io(out), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            emr_io input = test_io_make(&in), output = test_io_make(&to);
            emr_resources resources = test_resources(&allocator, NULL);
            emr_task_selection gone = select_tasks(&task, 1);
            gone.resources = &resources;
            assert_ok(emr_bundle_open(&b, &input, "in.emr", NULL, &error), &error);
            counts.fail_at = what == 0 ? k : SIZE_MAX;
            in.fail_read = what == 1 ? in.reads + k : SIZE_MAX;
            to.fail_write = what == 2 ? k : SIZE_MAX;
            report = EMR_INIT(emr_drop_report);
            emr_status status = emr_bundle_drop(b, &gone, &output, &report, &error);
            failed = status != EMR_OK;
            if (failed) {
                assert_int_equal(status, what == 0 ? EMR_ENOMEM : EMR_EIO);
                assert_true(error.text[0] != 0);
            } else {
                assert_true(k > 3);
                assert_same_buffer(out, want, "without a failure");
            }
            assert_int_equal(counts.alive, 0);
            emr_bundle_destroy(&b);
            emr_buffer_destroy(&out);
        }
    }
    unsigned char *bytes = test_buffer_bytes(buffer);
    emr_task_selection gone = select_tasks(&task, 1);
    rng r = {3};
    size_t n_found = 0;
    for (size_t i = 0; i < 300; i++) {
        emr_error error = {0};
        emr_buffer *out = test_buffer_new();
        size_t at = 64 + (size_t)rng_below(&r, emr_buffer_bytes(buffer) / 2);
        bytes[at] ^= 4;
        b = test_bundle_open(buffer);
        emr_status status = emr_bundle_drop(b, &gone, emr_buffer_io(out), NULL, &error);
        assert_true(status == EMR_ECORRUPT || status == EMR_OK); /* gaps, and what was dropped */
        if (!status)
            assert_same_buffer(out, want, "with damage elsewhere");
        n_found += status != EMR_OK;
        bytes[at] ^= 4;
        emr_bundle_destroy(&b);
        emr_buffer_destroy(&out);
    }
    assert_true(n_found > 100);
    emr_buffer_destroy(&buffer);
    emr_buffer_destroy(&want);
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
