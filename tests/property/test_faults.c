/* test_faults.c - every allocation, read and write of a merge and of taking a model out of a bundle fails
 * once: each time the status says which it was, nothing leaks, and what succeeds is right. */
#include "property.h"

enum { N_MODELS = 3 }; /* the base and two tasks */

/* What may fail, and what it is done with. */
typedef struct fixture {
    test_set set, pushed;       /* the models in memory, and to be pushed */
    emr_buffer files[N_MODELS]; /* the same models as safetensors files */
    emr_memory memories[N_MODELS];
    emr_buffer bundle;  /* what a merge must give */
    emr_buffer rebuilt; /* what taking task 1 out must give */
    emr_memory bundle_memory;
    /* the trial */
    test_allocator counts;
    emr_allocator allocator;
    test_io inputs[N_MODELS], output, bundle_input;
    emr_error error;
    emr_buffer result;
} fixture;

/* Everything that a bundle can hold, in little space; private tensors and kept ones included. */
static const test_tensor tensors[] = {
    {"a", EMR_F32, 2, {9, 70}}, {"b", EMR_BF16, 1, {65}},      {"c.head", EMR_F32, 1, {40}},
    {"d", EMR_F32, 1, {0}},     {"e.steps", EMR_I64, 1, {20}},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };

static emr_merge_options merge_options(const fixture *f)
{
    emr_merge_options o = rich_options(EMR_PER_TENSOR);
    o.memory_bytes = 4 << 20;
    o.allocator = f ? &f->allocator : NULL;
    return o;
}

/* Starts a trial in which nothing fails yet. */
static void reset(fixture *f)
{
    emr_io result = emr_buffer_io(&f->result), bundle = emr_memory_io(&f->bundle_memory);
    f->counts = (test_allocator){.fail_at = SIZE_MAX};
    f->allocator = test_allocator_make(&f->counts);
    for (size_t i = 0; i < N_MODELS; i++)
        f->inputs[i] =
            (test_io){.inner = emr_memory_io(&f->memories[i]), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->output = (test_io){.inner = result, .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->bundle_input = (test_io){.inner = bundle, .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    memset(&f->error, 0, sizeof f->error);
    emr_buffer_free(&f->result);
}

typedef emr_status (*work_fn)(fixture *f);

/* Opens the checkpoints and merges them by pull; a bundle with `to_sink` 0. */
static emr_status merge_files(fixture *f, bool to_sink)
{
    emr_model *models[N_MODELS] = {NULL};
    emr_merge *merge = NULL;
    emr_status status = EMR_OK;
    emr_checkpoint_options open = EMR_INIT(emr_checkpoint_options);
    emr_merge_options o = merge_options(f);
    emr_sink sink = EMR_INIT(emr_sink);
    emr_io output = test_io_make(&f->output);
    open.allocator = &f->allocator;
    for (size_t i = 0; !status && i < N_MODELS; i++) {
        emr_io io = test_io_make(&f->inputs[i]);
        status = emr_safetensors_open(&models[i], &io, i ? "task.safetensors" : "base.safetensors", &open,
                                      &f->error);
    }
    if (!status)
        status = emr_merge_create(&merge, &o, &f->error);
    if (!status)
        status = emr_merge_set_base(merge, models[0], &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "t0", models[1], &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "t1", models[2], &f->error);
    if (!status)
        status = to_sink ? emr_merge_to_sink(merge, &sink, &f->error)
                         : emr_merge_to_bundle(merge, &output, &f->error);
    if (!status)
        status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    return status;
}

static emr_status pull_to_bundle(fixture *f)
{
    return merge_files(f, false);
}

static emr_status pull_to_sink(fixture *f)
{
    return merge_files(f, true);
}

static emr_status push_to_bundle(fixture *f)
{
    emr_merge *merge = NULL;
    emr_merge_options o = merge_options(f);
    emr_io output = test_io_make(&f->output);
    emr_status status = emr_merge_create(&merge, &o, &f->error);
    if (!status)
        status = emr_merge_set_base(merge, f->pushed.base.model, &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "t0", f->pushed.tasks[0].model, &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "t1", f->pushed.tasks[1].model, &f->error);
    if (!status)
        status = emr_merge_to_bundle(merge, &output, &f->error);
    if (!status)
        status = push_set(merge, &f->pushed, 500, &f->error);
    if (!status)
        status = emr_merge_finish(merge, &f->error);
    emr_merge_destroy(&merge);
    return status;
}

/* Opens the bundle, views task 1 over the embedded base or over the base's file, and writes it out. */
static emr_status rebuild(fixture *f, bool from_file)
{
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *view = NULL;
    emr_bundle_options o = EMR_INIT(emr_bundle_options);
    emr_checkpoint_options c = EMR_INIT(emr_checkpoint_options);
    emr_io input = test_io_make(&f->bundle_input), file = test_io_make(&f->inputs[0]);
    emr_io output = test_io_make(&f->output);
    o.allocator = c.allocator = &f->allocator;
    emr_status status = emr_bundle_open(&bundle, &input, "test.emr", &o, &f->error);
    if (!status)
        status = emr_bundle_verify(bundle, NULL, NULL, NULL, &f->error);
    if (!status && from_file)
        status = emr_safetensors_open(&base, &file, "base.safetensors", &c, &f->error);
    if (!status)
        status = emr_bundle_task_model(&view, bundle, 1, base, NULL, &f->error);
    if (!status)
        status = emr_safetensors_write(view, &output, &c, &f->error);
    emr_model_destroy(&view);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status rebuild_over_embedded_base(fixture *f)
{
    return rebuild(f, false);
}

static emr_status rebuild_over_file(fixture *f)
{
    return rebuild(f, true);
}

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

static size_t *fail_write(fixture *f)
{
    return &f->output.fail_write;
}

/* How often the thing that fails was asked for. */
static size_t asked(const fixture *f, const size_t *fault)
{
    return fault == &f->counts.fail_at           ? f->counts.requests
           : fault == &f->output.fail_write      ? f->output.writes
           : fault == &f->bundle_input.fail_read ? f->bundle_input.reads
           : fault == &f->inputs[0].fail_read    ? f->inputs[0].reads
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
            assert_same_buffer(&f->result, result, "result");
        if (asked(f, fault(f)) <= k) {
            assert_ok(status, &f->error);
            break;
        }
        n_failed++;
        if (status != want)
            fail_msg("fault %zu: %s (%s), not %s", k, emr_status_name(status), f->error.text,
                     emr_status_name(want));
        assert_says(&f->error, "");
    }
    assert_int_not_equal(n_failed, 0);
}

static int make_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    emr_merge_options o = merge_options(NULL);
    *state = f;
    f->set = test_set_create(tensors, N_TENSORS, 2, 12, SOURCE_MEMORY);
    f->set.tasks[1].data[4][3] ^= 1;
    f->pushed = test_set_copy(&f->set, SOURCE_PUSHED);
    for (size_t i = 0; i < N_MODELS; i++) { /* what is compared is not pushed */
        test_model *m = i ? &f->pushed.tasks[i - 1] : &f->pushed.base;
        emr_model_destroy(&m->model);
        assert_ok(emr_model_create(&m->model, "pushed", NULL, &f->error), &f->error);
        for (size_t k = 0; k < N_TENSORS; k++) {
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            d.name = tensors[k].name;
            d.dtype = (uint32_t)tensors[k].dtype;
            d.rank = tensors[k].rank;
            d.shape = tensors[k].shape;
            d.data = emr_dtype_is_float(tensors[k].dtype) ? NULL : m->data[k];
            assert_ok(emr_model_add(m->model, &d, &f->error), &f->error);
        }
    }
    for (size_t i = 0; i < N_MODELS; i++) {
        emr_io io = emr_buffer_io(&f->files[i]);
        const emr_model *model = i ? f->set.tasks[i - 1].model : f->set.base.model;
        assert_ok(emr_safetensors_write(model, &io, NULL, &f->error), &f->error);
        f->memories[i] = (emr_memory){f->files[i].data, f->files[i].bytes};
    }
    f->bundle = test_merge_bundle(&f->set, &o);
    f->bundle_memory = (emr_memory){f->bundle.data, f->bundle.bytes};
    reset(f);
    assert_ok(rebuild_over_file(f), &f->error);
    f->rebuilt = f->result;
    f->result = (emr_buffer){0};
    return 0;
}

static int free_fixture(void **state)
{
    fixture *f = *state;
    test_set_destroy(&f->set);
    test_set_destroy(&f->pushed);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_buffer_free(&f->files[i]);
    emr_buffer_free(&f->bundle);
    emr_buffer_free(&f->rebuilt);
    emr_buffer_free(&f->result);
    free(f);
    return 0;
}

static void merging_without_memory(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_alloc, EMR_ENOMEM, &f->bundle);
    assert_each_fault(f, push_to_bundle, fail_alloc, EMR_ENOMEM, &f->bundle);
    assert_each_fault(f, pull_to_sink, fail_alloc, EMR_ENOMEM, NULL);
}

static void merging_with_failing_reads(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_read_base, EMR_EIO, &f->bundle);
    assert_each_fault(f, pull_to_bundle, fail_read_task, EMR_EIO, &f->bundle);
    assert_each_fault(f, pull_to_sink, fail_read_base, EMR_EIO, NULL);
    assert_each_fault(f, pull_to_sink, fail_read_task, EMR_EIO, NULL);
}

static void merging_with_failing_writes(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, pull_to_bundle, fail_write, EMR_EIO, &f->bundle);
    assert_each_fault(f, push_to_bundle, fail_write, EMR_EIO, &f->bundle);
}

static void rebuilding_without_memory(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, rebuild_over_embedded_base, fail_alloc, EMR_ENOMEM, &f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_alloc, EMR_ENOMEM, &f->rebuilt);
}

static void rebuilding_with_failing_reads_and_writes(void **state)
{
    fixture *f = *state;
    assert_each_fault(f, rebuild_over_embedded_base, fail_read_bundle, EMR_EIO, &f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_read_bundle, EMR_EIO, &f->rebuilt);
    assert_each_fault(f, rebuild_over_file, fail_read_base, EMR_EIO, &f->rebuilt);
    assert_each_fault(f, rebuild_over_embedded_base, fail_write, EMR_EIO, &f->rebuilt);
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
    assert_says(&f->error, "task.safetensors");
    assert_says(&f->error, "'t1'");
    assert_says(&f->error, "tensor '");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_without_memory),
        cmocka_unit_test(merging_with_failing_reads),
        cmocka_unit_test(merging_with_failing_writes),
        cmocka_unit_test(rebuilding_without_memory),
        cmocka_unit_test(rebuilding_with_failing_reads_and_writes),
        cmocka_unit_test(a_failed_read_is_named),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
