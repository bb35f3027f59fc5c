/* test_reasons.c - why a call failed, when a callback of the host's did: whichever callback it was, in
 * whichever call, its words end the sentence and its system error comes along; the status is what the headers
 * say; and where it has no words, the library has some. The sentence names the file, task and tensor. */
#include "property.h"

#include <stdio.h>

enum { N_MODELS = 3 }; /* the base and two tasks */

/* What a callback that fails returns and says. */
typedef struct voice {
    emr_status status;
    int32_t system;
    const char *file, *words; /* words NULL: it says nothing */
} voice;

/* Which kind of callback failed: they differ in what is passed on. */
typedef enum speaker { NOBODY, IO, PROGRESS, COMPUTATION } speaker;

/* From its k-th call on every callback fails; and what the first of them was about. */
typedef struct fault {
    voice says;
    size_t calls, fail_at;
    speaker who;
    const char *file, *task, *tensor; /* NULL: none, or it is not known */
} fault;

static emr_status fail_in_turn(fault *f, speaker who, const char *file, const char *task, const char *tensor,
                               emr_error *error)
{
    if (f->calls++ < f->fail_at)
        return EMR_OK;
    if (!f->who) {
        f->who = who;
        f->file = file;
        f->task = task;
        f->tensor = tensor;
    }
    return f->says.words ? emr_error_set(error, f->says.status, f->says.system, f->says.file, f->says.words)
                         : f->says.status;
}

/* An object whose every callback may fail. */
typedef struct object {
    const emr_io *inner;
    fault *fault;
    const char *name, *task; /* NULL: messages have none */
} object;

static emr_status object_read(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const object *o = user;
    emr_status status = fail_in_turn(o->fault, IO, o->name, o->task, NULL, error);
    return status ? status : o->inner->read(o->inner->user, offset, destination, n, error);
}

static emr_status object_write(void *user, uint64_t offset, const void *source, size_t n, emr_error *error)
{
    const object *o = user;
    emr_status status = fail_in_turn(o->fault, IO, o->name, o->task, NULL, error);
    return status ? status : o->inner->write(o->inner->user, offset, source, n, error);
}

static emr_status object_length(void *user, uint64_t *bytes, emr_error *error)
{
    const object *o = user;
    emr_status status = fail_in_turn(o->fault, IO, o->name, o->task, NULL, error);
    return status ? status : o->inner->length(o->inner->user, bytes, error);
}

static emr_status object_map(void *user, uint64_t offset, size_t n, const void **window, emr_error *error)
{
    const object *o = user;
    emr_status status = fail_in_turn(o->fault, IO, o->name, o->task, NULL, error);
    return status ? status : o->inner->map(o->inner->user, offset, n, window, error);
}

static emr_status object_sync(void *user, emr_error *error)
{
    const object *o = user;
    return fail_in_turn(o->fault, IO, o->name, o->task, NULL, error);
}

static emr_io object_io(object *o)
{
    emr_io io = EMR_INIT(emr_io);
    io.user = o;
    io.read = object_read;
    io.length = object_length;
    io.write = o->inner->write ? object_write : NULL;
    io.map = o->inner->map ? object_map : NULL;
    io.sync = o->inner->write ? object_sync : NULL;
    return io;
}

static emr_status object_progress(void *user, const emr_progress *progress, emr_error *error)
{
    (void)progress;
    return fail_in_turn(user, PROGRESS, NULL, NULL, NULL, error);
}

/* What the works are done with; made once. */
static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {30, 300}},
                                      {"b.head", EMR_DTYPE_F32, 1, {70}},
                                      {"c", EMR_DTYPE_BF16, 1, {5000}},
                                      {"d", EMR_DTYPE_I64, 1, {20}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };
static const char *const model_names[N_MODELS] = {"base.safetensors", "first.safetensors",
                                                  "second.safetensors"};
static const char *const task_names[N_MODELS] = {NULL, "t0", "t1"};

/* A tensor of a model that is computed, if nothing is the matter. */
typedef struct computed {
    fault *fault;
    const char *model, *name;
    const unsigned char *bytes;
    uint64_t element;
} computed;

typedef struct fixture {
    test_set set, pushed;
    emr_buffer *files[N_MODELS], *mapped_file; /* of the models; of the base */
    emr_buffer *raw, *grown; /* a bundle with raw blocks, to be mapped; one that is extendable */
    emr_buffer *mapped;
    /* a trial */
    fault fault;
    object inputs[N_MODELS], bundle, output, journal;
    emr_buffer *result, *log;
    computed elements[N_TENSORS];
    emr_resources resources;
    emr_error error;
} fixture;

static emr_merge_options merge_options(const fixture *f)
{
    emr_merge_options o = rich_options(EMR_RESCALE_PER_ROW);
    o.block_params = 4096;
    o.extendable = 1;
    o.resources = f ? &f->resources : NULL;
    return o;
}

static int make_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    emr_merge_options o = merge_options(NULL);
    emr_error error;
    *state = f;
    f->set = test_set_create(tensors, N_TENSORS, 2, 31, SOURCE_MEMORY);
    f->set.tasks[1].data[3][5] ^= 1;
    f->pushed = test_set_create(tensors, N_TENSORS - 1, 2, 31, SOURCE_PUSHED);
    for (size_t i = 0; i < N_MODELS; i++) {
        f->files[i] = test_buffer_new();
        assert_ok(emr_safetensors_write(i ? f->set.tasks[i - 1].model : f->set.base.model,
                                        emr_buffer_io(f->files[i]), NULL, &error),
                  &error);
    }
    f->grown = test_merge_bundle(&f->set, &o);
    o.compression = EMR_COMPRESSION_NONE;
    o.embed_base = o.extendable = 0;
    f->raw = test_merge_bundle(&f->set, &o);
    f->mapped = test_buffer_of(emr_buffer_data(f->raw), emr_buffer_bytes(f->raw));
    f->mapped_file = test_buffer_of(emr_buffer_data(f->files[0]), emr_buffer_bytes(f->files[0]));
    return 0;
}

static int free_fixture(void **state)
{
    fixture *f = *state;
    emr_buffer_destroy(&f->mapped);
    emr_buffer_destroy(&f->mapped_file);
    emr_buffer_destroy(&f->raw);
    emr_buffer_destroy(&f->grown);
    emr_buffer_destroy(&f->result);
    emr_buffer_destroy(&f->log);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_buffer_destroy(&f->files[i]);
    test_set_destroy(&f->set);
    test_set_destroy(&f->pushed);
    free(f);
    return 0;
}

static void begin_trial(fixture *f, const voice *says, size_t fail_at)
{
    emr_buffer_destroy(&f->result);
    emr_buffer_destroy(&f->log);
    f->result = test_buffer_new();
    f->log = test_buffer_new();
    f->fault = (fault){.says = *says, .fail_at = fail_at};
    f->resources = resources_within(16 << 20);
    f->resources.progress = object_progress;
    f->resources.progress_user = &f->fault;
    for (size_t i = 0; i < N_MODELS; i++)
        f->inputs[i] = (object){emr_buffer_io(f->files[i]), &f->fault, model_names[i], NULL};
    f->bundle = (object){emr_buffer_io(f->raw), &f->fault, "all.emr", NULL};
    f->output = (object){emr_buffer_io(f->result), &f->fault, NULL, NULL};
    f->journal = (object){emr_buffer_io(f->log), &f->fault, NULL, NULL};
    memset(&f->error, 0, sizeof f->error);
}

static emr_status open_input(fixture *f, size_t i, emr_model **model)
{
    emr_io io = object_io(&f->inputs[i]);
    return emr_safetensors_open(model, &io, model_names[i], NULL, &f->error);
}

static emr_status open_all(fixture *f, emr_model *models[N_MODELS])
{
    emr_status status = EMR_OK;
    for (size_t i = 0; i < N_MODELS; i++)
        models[i] = NULL;
    for (size_t i = 0; !status && i < N_MODELS; i++)
        status = open_input(f, i, &models[i]);
    for (size_t i = 0; !status && i < N_MODELS; i++) /* from now on it is a task's */
        f->inputs[i].task = task_names[i];
    return status;
}

static emr_status open_bundle(fixture *f, emr_bundle **bundle)
{
    emr_io io = object_io(&f->bundle);
    return emr_bundle_open(bundle, &io, "all.emr", NULL, &f->error);
}

/* Works: each does something that the library is for, and destroys what it made. */
typedef emr_status (*work_fn)(fixture *f);

static emr_status run_merge(fixture *f, bool to_journal)
{
    emr_model *models[N_MODELS];
    emr_merge *merge = NULL;
    emr_merge_options o = merge_options(f);
    emr_io output = object_io(&f->output), journal = object_io(&f->journal);
    emr_status status = open_all(f, models);
    if (!status)
        status = emr_merge_create(&merge, &o, &f->error);
    if (!status)
        status = emr_merge_set_base(merge, models[0], &f->error);
    for (size_t i = 1; !status && i < N_MODELS; i++)
        status = emr_merge_add_task(merge, task_names[i], models[i], &f->error);
    if (!status)
        status = emr_merge_set_output(merge, &output, &f->error);
    if (!status && to_journal)
        status = emr_merge_set_journal(merge, &journal, 20000, &f->error);
    if (!status)
        status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    return status;
}

static emr_status merge_files(fixture *f)
{
    return run_merge(f, false);
}

static emr_status merge_with_journal(fixture *f)
{
    return run_merge(f, true);
}

static emr_status push_merge(fixture *f)
{
    emr_merge *merge;
    emr_merge_options o = merge_options(f);
    emr_io output = object_io(&f->output);
    assert_ok(emr_merge_create(&merge, &o, &f->error), &f->error);
    assert_ok(emr_merge_set_base(merge, f->pushed.base.model, &f->error), &f->error);
    for (size_t i = 1; i < N_MODELS; i++)
        assert_ok(emr_merge_add_task(merge, task_names[i], f->pushed.tasks[i - 1].model, &f->error),
                  &f->error);
    assert_ok(emr_merge_set_output(merge, &output, &f->error), &f->error);
    emr_status status = push_set(merge, &f->pushed, 3000, &f->error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status extend_bundle(fixture *f)
{
    emr_model *models[N_MODELS];
    emr_bundle *bundle = NULL;
    emr_merge *merge = NULL;
    emr_merge_options o = merge_options(f);
    emr_io output = object_io(&f->output);
    f->bundle.inner = emr_buffer_io(f->grown);
    emr_status status = open_all(f, models);
    f->inputs[1].task = "another";
    if (!status)
        status = open_bundle(f, &bundle);
    if (!status)
        status = emr_merge_create(&merge, &o, &f->error);
    if (!status)
        status = emr_merge_extend(merge, bundle, &f->error);
    if (!status)
        status = emr_merge_set_base(merge, models[0], &f->error);
    if (!status)
        status = emr_merge_add_task(merge, "another", models[1], &f->error);
    if (!status)
        status = emr_merge_set_output(merge, &output, &f->error);
    if (!status)
        status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    emr_bundle_destroy(&bundle);
    for (size_t i = 0; i < N_MODELS; i++)
        emr_model_destroy(&models[i]);
    return status;
}

static emr_status verify_bundle(fixture *f)
{
    emr_bundle *bundle = NULL;
    emr_status status = open_bundle(f, &bundle);
    if (!status)
        status = emr_bundle_verify(bundle, &f->resources, &f->error);
    emr_bundle_destroy(&bundle);
    return status;
}

/* The bundle in a mapping. */
static emr_status verify_mapped(fixture *f)
{
    f->bundle.inner = emr_buffer_io(f->mapped);
    return verify_bundle(f);
}

static emr_status check_base(fixture *f)
{
    emr_bundle *bundle = NULL;
    emr_model *base = NULL;
    const emr_base_check_options o = {.size = sizeof o, .resources = &f->resources};
    emr_status status = open_bundle(f, &bundle);
    if (!status)
        status = open_input(f, 0, &base);
    if (!status)
        status = emr_bundle_check_base(bundle, base, &o, &f->error);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status apply_checked(fixture *f, emr_base_check when, emr_model *base)
{
    emr_bundle *bundle = NULL;
    emr_model *model = NULL;
    emr_io output = object_io(&f->output);
    const emr_view_options o = {.size = sizeof o, .resources = &f->resources, .check = when};
    const emr_checkpoint_write_options w = {.size = sizeof w, .resources = &f->resources};
    emr_status status = open_bundle(f, &bundle);
    if (!status && !base)
        status = open_input(f, 0, &base);
    if (!status)
        status = emr_bundle_open_task(&model, bundle, 1, base, &o, &f->error);
    if (!status)
        status = emr_safetensors_write(model, &output, &w, &f->error);
    emr_model_destroy(&model);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status apply_first(fixture *f)
{
    return apply_checked(f, EMR_BASE_CHECK_FIRST, NULL);
}

static emr_status apply_in_one_pass(fixture *f)
{
    return apply_checked(f, EMR_BASE_CHECK_WRITE, NULL);
}

static emr_status select_tasks(fixture *f, bool extract)
{
    emr_bundle *bundle = NULL;
    emr_drop_report report = EMR_INIT(emr_drop_report);
    emr_io output = object_io(&f->output);
    const uint32_t task = 1;
    const emr_task_selection s = {.size = sizeof s, .resources = &f->resources, .tasks = &task, .n_tasks = 1};
    emr_status status = open_bundle(f, &bundle);
    if (!status)
        status = extract ? emr_bundle_extract(bundle, &s, &output, &report, &f->error)
                         : emr_bundle_drop(bundle, &s, &output, &report, &f->error);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status drop_task(fixture *f)
{
    return select_tasks(f, false);
}

static emr_status extract_task(fixture *f)
{
    return select_tasks(f, true);
}

/* A session; with `mapped`, whose base and bundle are used in place. */
static emr_status use_session(fixture *f)
{
    static float a[30 * 300], head[70], x[300], y[30];
    const emr_weights weights[] = {
        {.size = sizeof *weights, .name = "a", .data = a, .dtype = EMR_DTYPE_F32},
        {.size = sizeof *weights, .name = "b.head", .data = head, .dtype = EMR_DTYPE_F32}};
    const emr_product product = {.size = sizeof product, .n_rows = 30, .x = x, .y = y, .batch = 1};
    emr_bundle *bundle = NULL;
    emr_model *base = NULL;
    emr_session *session = NULL;
    emr_session_options o = {.size = sizeof o, .resources = &f->resources};
    f->resources.memory_bytes = 0;
    emr_status status = open_bundle(f, &bundle);
    if (!status)
        status = open_input(f, 0, &base);
    if (!status)
        status = emr_session_create(&session, bundle, base, &o, &f->error);
    for (uint32_t task = 0; !status && task < 2; task++)
        status = emr_session_apply(session, task, weights, 2, &f->error);
    if (!status)
        status = emr_session_multiply(session, (const uint32_t[]){1}, &product, &f->error);
    emr_session_destroy(&session);
    emr_model_destroy(&base);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status use_mapped_session(fixture *f)
{
    f->bundle.inner = emr_buffer_io(f->mapped);
    f->inputs[0].inner = emr_buffer_io(f->mapped_file);
    return use_session(f);
}

static emr_status compute_elements(const emr_computation *c, emr_error *error)
{
    const computed *t = c->user;
    emr_status status = fail_in_turn(t->fault, COMPUTATION, t->model, NULL, t->name, error);
    if (!status)
        memcpy(c->out, t->bytes + c->first * t->element, c->count * t->element);
    return status;
}

static emr_status open_scratch(void *user, void *scratch, emr_error *error)
{
    (void)scratch;
    return fail_in_turn(user, COMPUTATION, "computed base", NULL, NULL, error);
}

/* The base, computed as it is read. */
static emr_model *computed_base(fixture *f)
{
    emr_model *model;
    const emr_model_options o = {.size = sizeof o,
                                 .name = "computed base",
                                 .user = &f->fault,
                                 .scratch_bytes = 100,
                                 .open_scratch = open_scratch};
    assert_ok(emr_model_create(&model, &o, &f->error), &f->error);
    for (size_t i = 0; i < N_TENSORS; i++) {
        f->elements[i] = (computed){&f->fault, "computed base", tensors[i].name, f->set.base.data[i],
                                    emr_dtype_bits(tensors[i].dtype) / 8};
        const emr_tensor_desc d = {.size = sizeof d,
                                   .name = tensors[i].name,
                                   .shape = tensors[i].shape,
                                   .rank = tensors[i].rank,
                                   .dtype = tensors[i].dtype,
                                   .compute = compute_elements,
                                   .user = &f->elements[i]};
        assert_ok(emr_model_add(model, &d, &f->error), &f->error);
    }
    return model;
}

static emr_status merge_computed(fixture *f)
{
    emr_merge *merge;
    emr_merge_options o = merge_options(f);
    emr_io output = object_io(&f->output);
    emr_model *base = computed_base(f);
    assert_ok(emr_merge_create(&merge, &o, &f->error), &f->error);
    assert_ok(emr_merge_set_base(merge, base, &f->error), &f->error);
    for (size_t i = 1; i < N_MODELS; i++)
        assert_ok(emr_merge_add_task(merge, task_names[i], f->set.tasks[i - 1].model, &f->error), &f->error);
    assert_ok(emr_merge_set_output(merge, &output, &f->error), &f->error);
    emr_status status = emr_merge_run(merge, &f->error);
    emr_merge_destroy(&merge);
    emr_model_destroy(&base);
    return status;
}

static emr_status apply_computed_first(fixture *f)
{
    return apply_checked(f, EMR_BASE_CHECK_FIRST, computed_base(f));
}

static emr_status apply_computed_in_one_pass(fixture *f)
{
    return apply_checked(f, EMR_BASE_CHECK_WRITE, computed_base(f));
}

static emr_status read_computed(fixture *f)
{
    emr_model *base = computed_base(f);
    unsigned char bytes[1001];
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < N_TENSORS; i++) { /* elements in part, too */
        const emr_tensor *t = emr_model_tensor(base, i);
        size_t n = emr_tensor_bytes(t) < 1000 ? 7 : sizeof bytes;
        status = emr_tensor_read(t, 3, bytes, n, &f->error);
    }
    emr_model_destroy(&base);
    return status;
}

/* What the caller is to get for what the callback returned. */
static emr_status passed_on(const fault *f)
{
    if (f->who == PROGRESS)
        return EMR_ECANCELED;
    if (f->who == COMPUTATION)
        return f->says.status > 0 ? EMR_EIO : f->says.status;
    return f->says.status == EMR_ENOMEM || f->says.status == EMR_ECANCELED ? f->says.status : EMR_EIO;
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

/* Where it has words, they end the sentence; the library's own stand before them. */
static void check_sentence(const fixture *f)
{
    const char *text = f->error.text, *words = f->fault.says.words;
    size_t n = strlen(text), n_words = words ? strlen(words) : 0;
    assert_says(&f->error, "");
    assert_true(n > n_words + 10);
    assert_true(text[n - 1] != ':' && text[n - 1] != ' ');
    assert_null(strstr(text, "(null)"));
    if (words) {
        assert_string_equal(text + n - n_words, words);
        assert_int_equal(count_of(text, words), 1);
        assert_memory_equal(text + n - n_words - 2, ": ", 2);
    }
    assert_int_equal(f->error.system, words ? f->fault.says.system : 0);
}

/* Whatever the sentence calls a task or tensor, the span tells. */
static void check_quoted(const emr_error *error, const char *before, emr_error_span span)
{
    const char *at = strstr(error->text, before), *end = at ? strchr(at + strlen(before), '\'') : NULL;
    if (!at) {
        assert_int_equal(span.length, 0);
        return;
    }
    assert_non_null(end);
    size_t n = (size_t)(end - at) - strlen(before);
    if (span.length != n || memcmp(error->text + span.offset, at + strlen(before), n) != 0)
        fail_msg("'%s': the span says '%.*s'", error->text, (int)span.length, error->text + span.offset);
}

static void check_names(const fixture *f)
{
    const fault *t = &f->fault;
    if (t->file) {
        assert_names_file(&f->error, t->file);
        assert_int_equal(count_of(f->error.text, t->file), 1); /* though the callback may say it too */
    }
    if (t->task)
        assert_names_task(&f->error, t->task);
    if (t->tensor)
        assert_names_tensor(&f->error, t->tensor);
    check_quoted(&f->error, "task '", f->error.task);
    check_quoted(&f->error, "tensor '", f->error.tensor);
}

static const voice voices[] = {
    {EMR_EIO, 104, NULL, "Connection reset by peer"},
    {EMR_EIO, 0, NULL, NULL},
    {EMR_EFORMAT, 7, NULL, "the blob has another form"},
    {EMR_ENOMEM, 12, NULL, "no room for the answer"},
    {EMR_ENOMEM, 0, NULL, NULL},
    {EMR_ECANCELED, 0, NULL, "the user closed the window"},
    {12345, 5, NULL, "who knows"},
    {EMR_EIO, 2, "base.safetensors", "it went away"},
};
enum { N_VOICES = sizeof voices / sizeof voices[0] };

/* Every callback of a work fails, in the first two voices; in the others every third. */
static void assert_reasons(fixture *f, work_fn work, size_t least)
{
    for (size_t v = 0; v < N_VOICES; v++) {
        size_t n_failed = 0;
        for (size_t k = 0;; k += v < 2 ? 1 : 3) {
            begin_trial(f, &voices[v], k);
            emr_status status = work(f);
            if (!f->fault.who) { /* there are no more calls */
                assert_ok(status, &f->error);
                break;
            }
            if (!status) /* it could do without */
                continue;
            n_failed++;
            if (status != passed_on(&f->fault))
                fail_msg("voice %zu, call %zu: %s (%s), not %s", v, k, emr_status_name(status), f->error.text,
                         emr_status_name(passed_on(&f->fault)));
            assert_int_equal(f->error.status, status);
            check_sentence(f);
            check_names(f);
        }
        assert_in_range(n_failed, v < 2 ? least : least / 3, SIZE_MAX);
    }
}

static void merging_says_why(void **state)
{
    assert_reasons(*state, merge_files, 20);
    assert_reasons(*state, push_merge, 5);
    assert_reasons(*state, extend_bundle, 20);
}

static void journals_say_why(void **state)
{
    assert_reasons(*state, merge_with_journal, 20);
}

static void verifying_and_comparing_say_why(void **state)
{
    assert_reasons(*state, verify_bundle, 10);
    assert_reasons(*state, verify_mapped, 5);
    assert_reasons(*state, check_base, 5);
}

static void applying_says_why(void **state)
{
    assert_reasons(*state, apply_first, 10);
    assert_reasons(*state, apply_in_one_pass, 10);
}

static void dropping_and_extracting_say_why(void **state)
{
    assert_reasons(*state, drop_task, 10);
    assert_reasons(*state, extract_task, 10);
}

static void sessions_say_why(void **state)
{
    assert_reasons(*state, use_session, 10);
    assert_reasons(*state, use_mapped_session, 5);
}

static void computed_tensors_say_why(void **state)
{
    assert_reasons(*state, read_computed, 4);
    assert_reasons(*state, merge_computed, 5);
    assert_reasons(*state, apply_computed_first, 5);
    assert_reasons(*state, apply_computed_in_one_pass, 5);
}

/* What was cut off says why; what goes on from there fails in words of its own, or not at all. */
static void resuming_says_why(void **state)
{
    static const voice full = {EMR_EIO, 28, NULL, "No space left on device"};
    fixture *f = *state;
    begin_trial(f, &full, SIZE_MAX);
    assert_ok(merge_with_journal(f), &f->error);
    size_t calls = f->fault.calls, n_failed = 0;
    for (size_t first = calls / 3; first < calls; first += calls / 7) {
        for (size_t k = 0; k < calls; k += 3) {
            begin_trial(f, &full, first);
            assert_int_not_equal(merge_with_journal(f), EMR_OK);
            f->fault = (fault){.says = voices[0], .fail_at = k};
            for (size_t i = 0; i < N_MODELS; i++)
                f->inputs[i].task = NULL;
            emr_status status = merge_with_journal(f);
            if (!status)
                continue;
            n_failed++;
            assert_int_equal(status, passed_on(&f->fault));
            check_sentence(f);
            check_names(f);
        }
    }
    assert_in_range(n_failed, 50, SIZE_MAX);
}

/* Words that do not fit, or that are more than one line. */
static void words_of_any_kind(void **state)
{
    fixture *f = *state;
    char words[600];
    memset(words, 'x', sizeof words);
    words[599] = '\0';
    const voice endless = {EMR_EIO, 3, NULL, words}, lines = {EMR_EIO, 3, NULL, "one\nline\tand\x7f another"};
    begin_trial(f, &endless, 0);
    assert_int_equal(verify_bundle(f), EMR_EIO);
    assert_int_equal(strlen(f->error.text), EMR_ERROR_TEXT_SIZE - 1);
    assert_names_file(&f->error, "all.emr");
    assert_int_equal(f->error.system, 3);
    begin_trial(f, &lines, 0);
    assert_int_equal(verify_bundle(f), EMR_EIO);
    assert_says(&f->error, ": one?line?and? another");
}

/* A callback that fills its error without the terminating zero byte, as careless hosts will. */
static emr_status shout_without_end(void *user, uint64_t offset, void *destination, size_t n,
                                    emr_error *error)
{
    (void)user, (void)offset, (void)destination, (void)n;
    memset(error, '!', sizeof *error);
    return EMR_EIO;
}

static void careless_errors_do_no_harm(void **state)
{
    const fixture *f = *state;
    emr_error error;
    emr_bundle *bundle;
    emr_io io = *emr_buffer_io(f->raw);
    io.read = shout_without_end;
    assert_int_equal(emr_bundle_open(&bundle, &io, "all.emr", NULL, &error), EMR_EIO);
    assert_int_equal(strlen(error.text), EMR_ERROR_TEXT_SIZE - 1);
    assert_names_file(&error, "all.emr");
    const emr_error_span spans[] = {error.file, error.task, error.tensor};
    for (size_t i = 0; i < 3; i++)
        assert_true((size_t)spans[i].offset + spans[i].length < EMR_ERROR_TEXT_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_says_why),
        cmocka_unit_test(journals_say_why),
        cmocka_unit_test(verifying_and_comparing_say_why),
        cmocka_unit_test(applying_says_why),
        cmocka_unit_test(dropping_and_extracting_say_why),
        cmocka_unit_test(sessions_say_why),
        cmocka_unit_test(computed_tensors_say_why),
        cmocka_unit_test(resuming_says_why),
        cmocka_unit_test(words_of_any_kind),
        cmocka_unit_test(careless_errors_do_no_harm),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}
