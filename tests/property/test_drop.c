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
        emr_model_metadata(a, i, &key_a, &value_a);
        emr_model_metadata(b, i, &key_b, &value_b);
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
    assert_ok(emr_bundle_task_model(&x, a, task_a, given, NULL, &error), &error);
    assert_ok(emr_bundle_task_model(&y, b, task_b, given, NULL, &error), &error);
    assert_same_models(x, y);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
    assert_ok(emr_bundle_mask_model(&x, a, task_a, NULL, &error), &error);
    assert_ok(emr_bundle_mask_model(&y, b, task_b, NULL, &error), &error);
    assert_same_models(x, y);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
    emr_bundle_task(a, task_a, &info_a);
    emr_bundle_task(b, task_b, &info_b);
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
    assert_ok(emr_bundle_unified_model(&unified, b, NULL, &error), &error);
    for (size_t t = 0; t < n_tasks; t++)
        assert_ok(emr_bundle_mask_model(&masks[t], b, t, NULL, &error), &error);
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
        emr_bundle_task(b, t, &task);
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
    for (int per = EMR_PER_MODEL; per <= EMR_PER_ROW; per++) {
        for (int way = 0; way < 4; way++) {
            test_set s = rich_set((uint64_t)(1 + per), N_TASKS, SOURCE_MEMORY);
            emr_merge_options o = rich_options(per);
            o.compression = way & 1 ? EMR_COMPRESSION_NONE : 0;
            o.extendable = way >> 1;
            o.embed_base = way == 1;
            o.unified_dtype = way == 2 ? EMR_BF16 : EMR_F32;
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

static void one_after_another_is_both_at_once(void **state)
{
    (void)state;
    test_set s = rich_set(9, N_TASKS, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_PER_TENSOR);
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

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    test_set s = rich_set(9, 2, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_PER_MODEL);
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
    assert_int_equal(out.bytes, 0);
    assert_ok(emr_bundle_drop(b, tasks, 1, &io, NULL, NULL, &error), &error);
    emr_bundle_destroy(&b);
    emr_buffer_free(&buffer);
    emr_buffer_free(&out);
    test_set_destroy(&s);
}

/* Each allocation, read and write fails once; and each byte of the blocks is damaged once. */
static void failures_are_told(void **state)
{
    (void)state;
    test_set s = rich_set(9, 3, SOURCE_MEMORY);
    emr_merge_options o = rich_options(EMR_PER_ROW);
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
            emr_status status = emr_bundle_drop(b, &task, 1, &output, &options, NULL, &error);
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
        bytes[at] ^= 4;
        emr_bundle_destroy(&b);
        emr_buffer_free(&out);
    }
    emr_buffer_free(&buffer);
    emr_buffer_free(&want);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_else_stays),
        cmocka_unit_test(one_after_another_is_both_at_once),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(failures_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
