/* faults.c - see faults.h. */
#include "faults.h"

/* Everything that a bundle can hold, in little space; private tensors and kept ones included. */
static const test_tensor tensors[] = {
    {"a", EMR_DTYPE_F32, 2, {9, 70}}, {"b", EMR_DTYPE_BF16, 1, {65}},      {"c.head", EMR_DTYPE_F32, 1, {40}},
    {"d", EMR_DTYPE_F32, 1, {0}},     {"e.steps", EMR_DTYPE_I64, 1, {20}},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], MEMORY = 4 << 20, GROWING_MEMORY = 16 << 20 };

const char *const model_names[N_MODELS] = {"base.safetensors", "first.safetensors", "second.safetensors"};

static emr_resources trial_resources(fixture *f, uint64_t memory_bytes)
{
    emr_resources r = resources_within(memory_bytes);
    r.allocator = f ? &f->allocator : NULL;
    r.progress = f ? f->progress : NULL;
    r.progress_user = f ? f->progress_user : NULL;
    return r;
}

static emr_merge_options merge_options(const fixture *f, const emr_resources *resources)
{
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    o.resources = resources;
    o.modulation = f->modulation;
    return o;
}

static test_io sound_io(const emr_buffer *buffer)
{
    return (test_io){.inner = *emr_buffer_io(buffer), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
}

void reset(fixture *f)
{
    emr_buffer_destroy(&f->result);
    f->result = test_buffer_new();
    f->counts = (test_allocator){.fail_at = SIZE_MAX};
    f->allocator = test_allocator_make(&f->counts);
    for (size_t i = 0; i < N_MODELS; i++)
        f->inputs[i] = sound_io(f->files[i]);
    f->output = sound_io(f->result);
    if (f->bundle)
        f->bundle_input = sound_io(f->bundle);
    if (f->growable)
        f->growable_input = sound_io(f->growable);
    f->progress = NULL;
    memset(&f->error, 0, sizeof f->error);
}

static emr_status open_model(fixture *f, size_t i, emr_model **model)
{
    emr_checkpoint_read_options o = {.size = sizeof o, .allocator = &f->allocator};
    emr_io io = test_io_make(&f->inputs[i]);
    return emr_safetensors_open(model, &io, model_names[i], &o, &f->error);
}

static emr_status open_bundle(fixture *f, test_io *input, const char *name, emr_bundle **bundle)
{
    emr_bundle_options o = {.size = sizeof o, .allocator = &f->allocator};
    emr_io io = test_io_make(input);
    return emr_bundle_open(bundle, &io, name, &o, &f->error);
}

/* Opens the checkpoints and merges them by pull; a bundle with `to_sink` 0. */
static emr_status merge_files(fixture *f, bool to_sink)
{
    emr_model *models[N_MODELS] = {NULL};
    emr_merge *merge = NULL;
    emr_status status = EMR_OK;
    emr_resources resources = trial_resources(f, MEMORY);
    emr_merge_options o = merge_options(f, &resources);
    emr_sink sink = EMR_INIT(emr_sink);
    emr_io output = test_io_make(&f->output);
    for (size_t i = 0; !status && i < N_MODELS; i++)
        status = open_model(f, i, &models[i]);
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
    emr_resources resources = trial_resources(f, MEMORY);
    emr_merge_options o = merge_options(f, &resources);
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
    emr_merge_destroy(&merge);
    return status;
}

/* Opens the bundle, views task 1 over the embedded base or over the base's file, and writes it out. */
static emr_status rebuild_over(fixture *f, bool from_file)
{
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *view = NULL;
    emr_resources resources = trial_resources(f, 0);
    emr_view_options o = {.size = sizeof o, .resources = &resources};
    emr_checkpoint_write_options w = {.size = sizeof w, .resources = &resources};
    emr_io output = test_io_make(&f->output);
    emr_status status = open_bundle(f, &f->bundle_input, BUNDLE_NAME, &bundle);
    if (!status)
        status = emr_bundle_verify(bundle, &resources, &f->error);
    if (!status && from_file)
        status = open_model(f, 0, &base);
    if (!status)
        status = emr_bundle_open_task(&view, bundle, 1, base, &o, &f->error);
    if (!status)
        status = emr_safetensors_write(view, &output, &w, &f->error);
    emr_model_destroy(&view);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

emr_status rebuild_over_embedded_base(fixture *f)
{
    return rebuild_over(f, false);
}

emr_status rebuild_over_file(fixture *f)
{
    return rebuild_over(f, true);
}

emr_status switch_tasks(fixture *f)
{
    static float a[9 * 70], head[40];
    static const emr_weights weights[] = {
        {.size = sizeof *weights, .name = "a", .data = a, .dtype = EMR_DTYPE_F32},
        {.size = sizeof *weights, .name = "c.head", .data = head, .dtype = EMR_DTYPE_F32}};
    emr_bundle *bundle = NULL;
    emr_model *base = NULL;
    emr_session *session = NULL;
    emr_resources resources = trial_resources(f, 0);
    emr_session_options o = {.size = sizeof o, .resources = &resources};
    emr_status status = open_bundle(f, &f->bundle_input, BUNDLE_NAME, &bundle);
    if (!status)
        status = open_model(f, 0, &base);
    if (!status)
        status = emr_session_create(&session, bundle, base, &o, &f->error);
    for (uint32_t task = 0; !status && task < 2; task++)
        status = emr_session_apply(session, task, weights, 2, &f->error);
    emr_session_destroy(&session);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

emr_status grow(fixture *f)
{
    emr_bundle *bundle = NULL;
    emr_model *base = NULL, *task = NULL;
    emr_merge *merge = NULL;
    emr_resources resources = trial_resources(f, GROWING_MEMORY);
    emr_merge_options o = merge_options(f, &resources);
    emr_io output = test_io_make(&f->output);
    emr_status status = open_bundle(f, &f->growable_input, GROWABLE_NAME, &bundle);
    if (!status)
        status = open_model(f, 0, &base);
    if (!status)
        status = open_model(f, 2, &task);
    if (!status)
        status = emr_merge_create(&merge, &o, &f->error);
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

typedef emr_status (*select_fn)(const emr_bundle *bundle, const emr_task_selection *tasks, const emr_io *io,
                                emr_drop_report *report, emr_error *error);

static emr_status select_one(fixture *f, select_fn select, uint32_t task)
{
    emr_bundle *bundle = NULL;
    emr_resources resources = trial_resources(f, 0);
    emr_task_selection selection = {
        .size = sizeof selection, .resources = &resources, .tasks = &task, .n_tasks = 1};
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_io output = test_io_make(&f->output);
    emr_status status = open_bundle(f, &f->bundle_input, BUNDLE_NAME, &bundle);
    if (!status)
        status = select(bundle, &selection, &output, &report, &f->error);
    emr_bundle_destroy(&bundle);
    return status;
}

emr_status drop_one(fixture *f)
{
    return select_one(f, emr_bundle_drop, 0);
}

emr_status extract_other(fixture *f)
{
    return select_one(f, emr_bundle_extract, 1);
}

/* What a work gives where nothing fails. */
static emr_buffer *result_of(fixture *f, work_fn work)
{
    reset(f);
    assert_ok(work(f), &f->error);
    emr_buffer *result = f->result;
    f->result = NULL;
    return result;
}

int make_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    emr_resources resources = trial_resources(NULL, MEMORY);
    emr_merge_options o = merge_options(f, &resources);
    *state = f;
    f->set = test_set_create(tensors, N_TENSORS, 2, 12, SOURCE_MEMORY);
    f->set.tasks[1].data[4][3] ^= 1;
    f->pushed = test_set_copy(&f->set, SOURCE_PUSHED);
    for (size_t i = 0; i < N_MODELS; i++) { /* what is compared is not pushed */
        test_model *m = i ? &f->pushed.tasks[i - 1] : &f->pushed.base;
        emr_model_destroy(&m->model);
        m->model = test_model_new("pushed");
        for (size_t k = 0; k < N_TENSORS; k++) {
            emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
            d.name = tensors[k].name;
            d.dtype = tensors[k].dtype;
            d.rank = tensors[k].rank;
            d.shape = tensors[k].shape;
            d.data = emr_dtype_is_float(tensors[k].dtype) ? NULL : m->data[k];
            assert_ok(emr_model_add(m->model, &d, &f->error), &f->error);
        }
    }
    for (size_t i = 0; i < N_MODELS; i++) {
        const emr_model *model = i ? f->set.tasks[i - 1].model : f->set.base.model;
        f->files[i] = test_buffer_new();
        assert_ok(emr_safetensors_write(model, emr_buffer_io(f->files[i]), NULL, &f->error), &f->error);
    }
    f->bundle = test_merge_bundle(&f->set, &o);
    test_set first = f->set;
    first.n = 1;
    o.extendable = 1;
    resources.memory_bytes = GROWING_MEMORY;
    f->growable = test_merge_bundle(&first, &o);
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
        emr_buffer_destroy(&f->files[i]);
    emr_buffer_destroy(&f->bundle);
    emr_buffer_destroy(&f->rebuilt);
    emr_buffer_destroy(&f->growable);
    emr_buffer_destroy(&f->grown);
    emr_buffer_destroy(&f->dropped);
    emr_buffer_destroy(&f->result);
    free(f);
    return 0;
}
