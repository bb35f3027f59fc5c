/* test_faults.c - every allocation, read, length and write of each of the library's works fails once: each
 * time the status says which it was, nothing leaks, and what succeeds is right. */
#include "faults.h"

/* Puts `at` into the counter that fails. */
typedef size_t *(*fault_fn)(fixture *f);

static size_t *fail_alloc(fixture *f)
{
    return &f->counts.fail_at;
}

static size_t *fail_read_base(fixture *f)
{
    return &f->inputs[0].fail_read;
}

static size_t *fail_read_task(fixture *f)
{
    return &f->inputs[2].fail_read;
}

static size_t *fail_read_bundle(fixture *f)
{
    return &f->bundle_input.fail_read;
}

static size_t *fail_read_growable(fixture *f)
{
    return &f->growable_input.fail_read;
}

static size_t *fail_write(fixture *f)
{
    return &f->output.fail_write;
}

/* How often the thing that fails was asked for. */
static size_t times_asked(const fixture *f, const size_t *fault)
{
    return fault == &f->counts.fail_at             ? f->counts.requests
           : fault == &f->output.fail_write        ? f->output.writes
           : fault == &f->bundle_input.fail_read   ? f->bundle_input.reads
           : fault == &f->growable_input.fail_read ? f->growable_input.reads
           : fault == &f->inputs[0].fail_read      ? f->inputs[0].reads
                                                   : f->inputs[2].reads;
}

static void assert_each_fault(fixture *f, work_fn work, fault_fn fault, emr_status want,
                              const emr_buffer *result)
{
    size_t n_failed = 0;
    for (size_t k = 0;; k++) {
        reset(f);
        *fault(f) = k;
        emr_status status = work(f);
        if (f->counts.alive)
            fail_msg("fault %zu: %zu allocations are still alive", k, f->counts.alive);
        if (!status && result)
            assert_same_buffer(f->result, result, "result");
        if (times_asked(f, fault(f)) <= k) {
            assert_ok(status, &f->error);
            break;
        }
        n_failed++;
        if (status != want)
            fail_msg("fault %zu: %s (%s), not %s", k, emr_status_name(status), f->error.text,
                     emr_status_name(want));
        assert_says(&f->error, want == EMR_ENOMEM ? "out of memory" : "");
        assert_int_equal(f->error.status, want);
    }
    assert_int_not_equal(n_failed, 0);
}

static void merging_without_memory(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_alloc, EMR_ENOMEM, f->bundle);
    assert_each_fault(f, push_to_bundle, fail_alloc, EMR_ENOMEM, f->bundle);
    assert_each_fault(f, pull_to_sink, fail_alloc, EMR_ENOMEM, NULL);
}

static void merging_with_failing_reads(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_read_base, EMR_EIO, f->bundle);
    assert_each_fault(f, pull_to_bundle, fail_read_task, EMR_EIO, f->bundle);
    assert_each_fault(f, pull_to_sink, fail_read_base, EMR_EIO, NULL);
    assert_each_fault(f, pull_to_sink, fail_read_task, EMR_EIO, NULL);
}

static void merging_with_failing_writes(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_write, EMR_EIO, f->bundle);
    assert_each_fault(f, push_to_bundle, fail_write, EMR_EIO, f->bundle);
}

static void rebuilding_without_memory(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, rebuild_over_embedded_base, fail_alloc, EMR_ENOMEM, f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_alloc, EMR_ENOMEM, f->rebuilt);
}

static void rebuilding_with_failing_reads_and_writes(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, rebuild_over_embedded_base, fail_read_bundle, EMR_EIO, f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_read_bundle, EMR_EIO, f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_read_base, EMR_EIO, f->rebuilt);
    assert_each_fault(f, rebuild_over_embedded_base, fail_write, EMR_EIO, f->rebuilt);
}

static void growing_and_dropping_with_failures(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, grow, fail_alloc, EMR_ENOMEM, f->grown);
    assert_each_fault(f, grow, fail_read_growable, EMR_EIO, f->grown);
    assert_each_fault(f, grow, fail_read_base, EMR_EIO, f->grown);
    assert_each_fault(f, grow, fail_read_task, EMR_EIO, f->grown);
    assert_each_fault(f, grow, fail_write, EMR_EIO, f->grown);
    assert_each_fault(f, drop_one, fail_alloc, EMR_ENOMEM, f->dropped);
    assert_each_fault(f, drop_one, fail_read_bundle, EMR_EIO, f->dropped);
    assert_each_fault(f, drop_one, fail_write, EMR_EIO, f->dropped);
    assert_each_fault(f, extract_other, fail_alloc, EMR_ENOMEM, f->dropped);
    assert_each_fault(f, extract_other, fail_read_bundle, EMR_EIO, f->dropped);
    assert_each_fault(f, extract_other, fail_write, EMR_EIO, f->dropped);
}

/* What a work gives where nothing fails. */
static emr_buffer *sound_result(fixture *f, work_fn work)
{
    reset(f);
    assert_ok(work(f), &f->error);
    emr_buffer *result = f->result;
    f->result = test_buffer_new();
    return result;
}

static void coded_tasks_with_failures(void **state)
{
    static const emr_modulation_spec sign = {.size = sizeof sign, .kind = EMR_MODULATOR_KIND_SIGN},
                                     thin = {.size = sizeof thin,
                                             .kind = EMR_MODULATOR_KIND_THIN,
                                             .thinning = 32};
    fixture *f = *state;
    f->modulation = &sign;
    emr_buffer *merged = sound_result(f, pull_to_bundle), *added = sound_result(f, grow);
    assert_each_fault(f, pull_to_bundle, fail_alloc, EMR_ENOMEM, merged);
    assert_each_fault(f, push_to_bundle, fail_alloc, EMR_ENOMEM, merged);
    assert_each_fault(f, pull_to_bundle, fail_read_base, EMR_EIO, merged);
    assert_each_fault(f, pull_to_bundle, fail_read_task, EMR_EIO, merged);
    assert_each_fault(f, pull_to_bundle, fail_write, EMR_EIO, merged);
    assert_each_fault(f, grow, fail_alloc, EMR_ENOMEM, added);
    assert_each_fault(f, grow, fail_read_growable, EMR_EIO, added);
    assert_each_fault(f, grow, fail_read_base, EMR_EIO, added);
    assert_each_fault(f, grow, fail_read_task, EMR_EIO, added);
    assert_each_fault(f, grow, fail_write, EMR_EIO, added);
    emr_buffer_destroy(&merged);
    emr_buffer_destroy(&added);
    f->modulation = &thin;
    merged = sound_result(f, pull_to_bundle);
    assert_each_fault(f, pull_to_bundle, fail_alloc, EMR_ENOMEM, merged);
    emr_buffer_destroy(&merged);
    f->modulation = NULL;
}

static void sessions_with_failures(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, switch_tasks, fail_alloc, EMR_ENOMEM, NULL);
    assert_each_fault(f, switch_tasks, fail_read_bundle, EMR_EIO, NULL);
    assert_each_fault(f, switch_tasks, fail_read_base, EMR_EIO, NULL);
}

/* A failed read says which file and tensor it was, and whose. */
static void a_failed_read_is_named(void **state)
{
    fixture *f = *state;
    reset(f);
    assert_ok(pull_to_bundle(f), &f->error);
    size_t last = f->inputs[2].reads - 1;
    reset(f);
    f->inputs[2].fail_read = last;
    assert_int_equal(pull_to_bundle(f), EMR_EIO);
    assert_names_file(&f->error, "second.safetensors");
    assert_names_task(&f->error, "t1");
    assert_says(&f->error, "tensor '");
    assert_int_not_equal(f->error.tensor.length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_without_memory),
        cmocka_unit_test(merging_with_failing_reads),
        cmocka_unit_test(merging_with_failing_writes),
        cmocka_unit_test(rebuilding_without_memory),
        cmocka_unit_test(rebuilding_with_failing_reads_and_writes),
        cmocka_unit_test(growing_and_dropping_with_failures),
        cmocka_unit_test(coded_tasks_with_failures),
        cmocka_unit_test(sessions_with_failures),
        cmocka_unit_test(a_failed_read_is_named),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
