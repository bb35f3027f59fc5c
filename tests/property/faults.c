/* faults.c - see faults.h. */
#include "faults.h"

/* Everything that a bundle can hold, in little space; private tensors and kept ones included. */
static const test_tensor tensors[] = {
    {"a", EMR_DTYPE_F32, 2, {9, 70}}, {"b", EMR_DTYPE_BF16, 1, {65}},      {"c.head", EMR_DTYPE_F32, 1, {40}},
    {"d", EMR_DTYPE_F32, 1, {0}},     {"e.steps", EMR_DTYPE_I64, 1, {20}},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], GROWING_MEMORY = 16 << 20 };

static emr_merge_options merge_options(const fixture *f)
{
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    o.memory_bytes = 4 << 20;
    o.allocator = f ? &f->allocator : NULL;
    return o;
}

void reset(fixture *f)
{
    emr_io result = emr_buffer_io(&f->result), bundle = emr_memory_io(&f->bundle_memory);
    f->counts = (test_allocator){.fail_at = SIZE_MAX};
    f->allocator = test_allocator_make(&f->counts);
    for (size_t i = 0; i < N_MODELS; i++)
        f->inputs[i] =
            (test_io){.inner = emr_memory_io(&f->memories[i]), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->output = (test_io){.inner = result, .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->bundle_input = (test_io){.inner = bundle, .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    f->growable_input =
        (test_io){.inner = emr_memory_io(&f->growable_memory), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    memset(&f->error, 0, sizeof f->error);
    emr_buffer_free(&f->result);
}

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
        status = to_sink ? emr_merge_set_sink(merge, &sink, &f->error)
                         : emr_merge_set_output(merge, &output, &f->error);
    if (!status)
        status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    return status;
}

emr_status pull_to_bundle(fixture *f)
{
    return merge_files(f, false);
}

emr_status pull_to_sink(fixture *f)
{
    return merge_files(f, true);
}

emr_status push_to_bundle(fixture *f)
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
        status = emr_merge_set_output(merge, &output, &f->error);
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
        status = emr_bundle_open_task(&view, bundle, 1, base, NULL, &f->error);
    if (!status)
        status = emr_safetensors_write(view, &output, &c, &f->error);
    emr_model_destroy(&view);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

emr_status rebuild_over_embedded_base(fixture *f)
{
    return rebuild(f, false);
}

emr_status rebuild_over_file(fixture *f)
{
    return rebuild(f, true);
}

emr_status grow(fixture *f)
{
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *task = NULL;
    emr_merge *merge = NULL;
    emr_merge_options m = merge_options(f);
    emr_bundle_options o = EMR_INIT(emr_bundle_options);
    emr_checkpoint_options c = EMR_INIT(emr_checkpoint_options);
    m.memory_bytes = GROWING_MEMORY;
    emr_io input = test_io_make(&f->growable_input), output = test_io_make(&f->output);
    emr_io base_io = test_io_make(&f->inputs[0]), task_io = test_io_make(&f->inputs[2]);
    o.allocator = c.allocator = &f->allocator;
    emr_status status = emr_bundle_open(&bundle, &input, "test.emr", &o, &f->error);
    if (!status)
        status = emr_safetensors_open(&base, &base_io, "base.safetensors", &c, &f->error);
    if (!status)
        status = emr_safetensors_open(&task, &task_io, "task.safetensors", &c, &f->error);
    if (!status)
        status = emr_merge_create(&merge, &m, &f->error);
    if (!status)
        status = emr_merge_set_base(merge, base, &f->error);
    if (!status)
        status = emr_merge_extend(merge, bundle, &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "t1", task, &f->error);
    if (!status)
        status = emr_merge_set_output(merge, &output, &f->error);
    if (!status)
        status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    emr_model_destroy(&task);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

emr_status drop_one(fixture *f)
{
    emr_bundle *bundle = NULL;
    emr_bundle_options o = EMR_INIT(emr_bundle_options);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_io input = test_io_make(&f->bundle_input), output = test_io_make(&f->output);
    const size_t task = 0;
    o.allocator = &f->allocator;
    emr_status status = emr_bundle_open(&bundle, &input, "test.emr", &o, &f->error);
    if (!status)
        status = emr_bundle_drop(bundle, &task, 1, &output, NULL, &report, &f->error);
    emr_bundle_destroy(&bundle);
    return status;
}

/* What a work gives where nothing fails. */
static emr_buffer result_of(fixture *f, work_fn work)
{
    reset(f);
    assert_ok(work(f), &f->error);
    emr_buffer result = f->result;
    f->result = (emr_buffer){0};
    return result;
}

int make_fixture(void **state)
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
    test_set first = f->set;
    first.n = 1;
    o.extendable = 1;
    o.memory_bytes = GROWING_MEMORY;
    f->growable = test_merge_bundle(&first, &o);
    f->growable_memory = (emr_memory){f->growable.data, f->growable.bytes};
    f->grown = test_merge_bundle(&f->set, &o);
    f->rebuilt = result_of(f, rebuild_over_file);
    f->dropped = result_of(f, drop_one);
    return 0;
}

int free_fixture(void **state)
{
    fixture *f = *state;
    test_set_destroy(&f->set);
    test_set_destroy(&f->pushed);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_buffer_free(&f->files[i]);
    emr_buffer_free(&f->bundle);
    emr_buffer_free(&f->rebuilt);
    emr_buffer_free(&f->growable);
    emr_buffer_free(&f->grown);
    emr_buffer_free(&f->dropped);
    emr_buffer_free(&f->result);
    free(f);
    return 0;
}
