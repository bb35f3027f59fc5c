/* test_structs.c - the size rule, struct by struct, each through a call that takes or fills it: a caller
 * built against another version of libemr gets what was promised. */
#include "fixture.h"

#include "core/structs.h"

/* What the calls below are about; made once. */
static fixture f;
static emr_modulator *modulator;
static emr_session *session;
static emr_merge *merged; /* after its run */
static float weights[300], result[300];

static int set_up(void **state)
{
    emr_error error;
    (void)state;
    fixture_create_rich(&f);
    assert_ok(emr_bundle_open_modulator(&modulator, f.bundle, 0, NULL, &error), &error);
    assert_ok(emr_session_create(&session, f.bundle, NULL, NULL, &error), &error);
    emr_buffer *out = test_buffer_new();
    merged = test_merge_create(&f.set, NULL);
    assert_ok(emr_merge_set_output(merged, emr_buffer_io(out), &error), &error);
    assert_ok(emr_merge_run(merged, &error), &error);
    emr_buffer_destroy(&out);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    emr_merge_destroy(&merged);
    emr_session_destroy(&session);
    emr_modulator_destroy(&modulator);
    fixture_destroy(&f);
    return 0;
}

/* Structs that come in: each function hands one to a call, and undoes what that did. */

static emr_status give_agree_options(void *given, emr_error *error)
{
    return emr_adapters_agree(NULL, NULL, 0, given, error);
}

static emr_status give_allocator(void *given, emr_error *error)
{
    emr_buffer *buffer;
    emr_status status = emr_buffer_create(&buffer, given, error);
    emr_buffer_destroy(&buffer);
    return status;
}

static emr_status give_application(void *given, emr_error *error)
{
    return emr_modulator_apply(modulator, given, error);
}

static emr_status give_base_check_options(void *given, emr_error *error)
{
    return emr_bundle_check_base(f.bundle, f.set.base.model, given, error);
}

static emr_status give_bundle_options(void *given, emr_error *error)
{
    emr_bundle *bundle;
    emr_status status = emr_bundle_open(&bundle, emr_buffer_io(f.buffer), NULL, given, error);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_buffer *write_base(void)
{
    emr_buffer *file = test_buffer_new();
    emr_error error;
    assert_ok(emr_safetensors_write(f.set.base.model, emr_buffer_io(file), NULL, &error), &error);
    return file;
}

static emr_status give_checkpoint_read_options(void *given, emr_error *error)
{
    emr_buffer *file = write_base();
    emr_model *model;
    emr_status status = emr_safetensors_open(&model, emr_buffer_io(file), NULL, given, error);
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
    return status;
}

static emr_status give_checkpoint_write_options(void *given, emr_error *error)
{
    emr_buffer *file = test_buffer_new();
    emr_status status = emr_safetensors_write(f.set.base.model, emr_buffer_io(file), given, error);
    emr_buffer_destroy(&file);
    return status;
}

static emr_status give_executor(void *given, emr_error *error)
{
    const emr_resources resources = test_resources(NULL, given);
    return emr_bundle_verify(f.bundle, &resources, error);
}

static char *path; /* of a file that is there */

static emr_status give_file_options(void *given, emr_error *error)
{
    emr_file *file;
    emr_status status = emr_file_open(&file, path, given, error);
    emr_file_close(&file);
    return status;
}

static emr_status give_io_to_read(void *given, emr_error *error)
{
    emr_bundle *bundle;
    emr_status status = emr_bundle_open(&bundle, given, NULL, NULL, error);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status give_io_to_write(void *given, emr_error *error)
{
    return emr_safetensors_write(f.set.base.model, given, NULL, error);
}

static emr_status give_io_to_merge(void *given, emr_error *error)
{
    emr_merge *merge = test_merge_create(&f.set, NULL);
    emr_status status = emr_merge_set_output(merge, given, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status give_io_to_tensor(void *given, emr_error *error)
{
    emr_tensor_desc d = {.size = sizeof d, .name = "x", .dtype = EMR_DTYPE_U8, .io = given};
    emr_model *model = test_model_new(NULL);
    emr_status status = emr_model_add(model, &d, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status give_io_to_drop(void *given, emr_error *error)
{
    const uint32_t task = 0;
    const emr_task_selection dropped = {.size = sizeof dropped, .tasks = &task, .n_tasks = 1};
    return emr_bundle_drop(f.bundle, &dropped, given, NULL, error);
}

static emr_status give_merge_options(void *given, emr_error *error)
{
    emr_merge *merge;
    emr_status status = emr_merge_create(&merge, given, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status give_model_options(void *given, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_model_create(&model, given, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status give_modulation(void *given, emr_error *error)
{
    emr_modulator *made;
    assert_int_equal(emr_modulator_create(&made, NULL, NULL), EMR_OK);
    emr_status status = emr_modulator_add(made, given, error);
    emr_modulator_destroy(&made);
    return status;
}

static emr_status give_modulation_to_task(void *given, emr_error *error)
{
    emr_merge *merge = test_merge_create(&f.set, NULL);
    emr_status status = emr_merge_set_modulation(merge, 1, given, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status give_modulation_to_merge(void *given, emr_error *error)
{
    const emr_merge_options options = {.size = sizeof options, .modulation = given};
    return give_merge_options((void *)(uintptr_t)&options, error);
}

static emr_status give_combination_options(void *given, emr_error *error)
{
    emr_combination *made;
    emr_status status = emr_combination_create(&made, given, error);
    emr_combination_destroy(&made);
    return status;
}

static emr_status give_method(void *given, emr_error *error)
{
    const emr_combination_options options = {.size = sizeof options, .method = given};
    return give_combination_options((void *)(uintptr_t)&options, error);
}

static emr_status give_method_stage(void *given, emr_error *error)
{
    emr_method method = *emr_method_find("task_arithmetic");
    method.stages[0] = given;
    return give_method(&method, error);
}

static emr_status give_policy_to_combination(void *given, emr_error *error)
{
    const emr_combination_options options = {
        .size = sizeof options, .method = emr_method_find("task_arithmetic"), .policy = given};
    return give_combination_options((void *)(uintptr_t)&options, error);
}

static emr_status give_resources_to_combination(void *given, emr_error *error)
{
    const emr_combination_options options = {
        .size = sizeof options, .method = emr_method_find("task_arithmetic"), .resources = given};
    return give_combination_options((void *)(uintptr_t)&options, error);
}

static emr_status give_resources_to_prepare(void *given, emr_error *error)
{
    return emr_model_prepare(f.set.base.model, given, error);
}

static uint32_t find_nothing(const emr_method_tensor *tensor)
{
    (void)tensor;
    return 0;
}

static void add_nothing(const emr_method_chunk *chunk, double *sums)
{
    (void)chunk, (void)sums;
}

/* Every task of the fixture has the same head. */
static const char *const head_globs[] = {"head.bias"}, *const head_names[] = {"one", "two"};

static emr_heads_options fixture_heads(const emr_model *tasks[2])
{
    tasks[0] = f.set.tasks[0].model;
    tasks[1] = f.set.tasks[1].model;
    return (emr_heads_options){
        .globs = head_globs, .n_globs = 1, .names = head_names, .tasks = tasks, .n_tasks = 2};
}

static emr_status give_heads_options(void *given, emr_error *error)
{
    emr_heads *heads;
    emr_status status = emr_heads_create(&heads, given, error);
    emr_heads_destroy(&heads);
    return status;
}

static emr_status get_head_group(void *out, emr_error *error)
{
    const emr_model *tasks[2];
    emr_heads_options options = fixture_heads(tasks);
    emr_heads *heads;
    options.size = sizeof options;
    assert_ok(emr_heads_create(&heads, &options, error), error);
    emr_status status = emr_heads_get_group(heads, 0, out);
    emr_heads_destroy(&heads);
    return status;
}

static emr_status give_policy(void *given, emr_error *error)
{
    const emr_merge_options options = {.size = sizeof options, .policy = given};
    return give_merge_options((void *)(uintptr_t)&options, error);
}

static emr_status give_pool_options(void *given, emr_error *error)
{
    emr_pool *pool;
    emr_status status = emr_pool_create(&pool, given, error);
    emr_pool_destroy(&pool);
    return status;
}

static emr_status give_product_to_session(void *given, emr_error *error)
{
    const uint32_t task = 0;
    return emr_session_multiply(session, &task, given, error);
}

static emr_status give_product_to_modulator(void *given, emr_error *error)
{
    return emr_modulator_multiply(&modulator, given, EMR_DTYPE_F32, weights, error);
}

static emr_status merge_nothing(void *user, const emr_search_candidate *candidate, emr_error *error)
{
    (void)user, (void)candidate, (void)error;
    return EMR_OK;
}

static emr_status score_same(void *user, const emr_search_candidate *candidate, double *score,
                             emr_error *error)
{
    (void)user, (void)candidate, (void)error;
    *score = 1;
    return EMR_OK;
}

static emr_status try_nothing(void *user, const emr_trial *trial, double *score, emr_error *error)
{
    (void)user, (void)trial, (void)error;
    *score = 1;
    return EMR_OK;
}

static emr_status give_search_options(void *given, emr_error *error)
{
    emr_search *search;
    emr_status status = emr_search_create(&search, given, error);
    emr_search_destroy(&search);
    return status;
}

static emr_search *small_search(void)
{
    emr_search *search;
    assert_int_equal(emr_search_create(&search, NULL, NULL), EMR_OK);
    assert_int_equal(emr_search_add_model(search, "a", NULL), EMR_OK);
    return search;
}

static emr_status give_search_host(void *given, emr_error *error)
{
    emr_search *search = small_search();
    emr_status status = emr_search_run(search, given, error);
    emr_search_destroy(&search);
    return status;
}

static emr_status give_trials_options(void *given, emr_error *error)
{
    emr_trial best = EMR_INIT(emr_trial);
    return emr_trials_run(given, &best, error);
}

static emr_status give_resources_to_verify(void *given, emr_error *error)
{
    return emr_bundle_verify(f.bundle, given, error);
}

static emr_status give_resources_to_merge(void *given, emr_error *error)
{
    const emr_merge_options options = {.size = sizeof options, .resources = given};
    return give_merge_options((void *)(uintptr_t)&options, error);
}

static emr_status give_resources_to_write(void *given, emr_error *error)
{
    const emr_checkpoint_write_options options = {.size = sizeof options, .resources = given};
    return give_checkpoint_write_options((void *)(uintptr_t)&options, error);
}

static emr_status give_session_options(void *given, emr_error *error)
{
    emr_session *made;
    emr_status status = emr_session_create(&made, f.bundle, NULL, given, error);
    emr_session_destroy(&made);
    return status;
}

static emr_status give_resources_to_session(void *given, emr_error *error)
{
    const emr_session_options options = {.size = sizeof options, .resources = given};
    return give_session_options((void *)(uintptr_t)&options, error);
}

static emr_status give_sink(void *given, emr_error *error)
{
    emr_merge *merge = test_merge_create(&f.set, NULL);
    emr_status status = emr_merge_set_sink(merge, given, error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status give_selection_to_drop(void *given, emr_error *error)
{
    emr_buffer *out = test_buffer_new();
    emr_status status = emr_bundle_drop(f.bundle, given, emr_buffer_io(out), NULL, error);
    emr_buffer_destroy(&out);
    return status;
}

static emr_status give_selection_to_extract(void *given, emr_error *error)
{
    emr_buffer *out = test_buffer_new();
    emr_status status = emr_bundle_extract(f.bundle, given, emr_buffer_io(out), NULL, error);
    emr_buffer_destroy(&out);
    return status;
}

static emr_status give_tensor_desc(void *given, emr_error *error)
{
    emr_model *model = test_model_new(NULL);
    emr_status status = emr_model_add(model, given, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status give_view_options(void *given, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_bundle_open_task(&model, f.bundle, 0, NULL, given, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status give_weights(void *given, emr_error *error)
{
    return emr_session_apply(session, 0, given, 1, error);
}

static emr_status give_gather(void *given, emr_error *error)
{
    return emr_session_gather(session, given, error);
}

/* Structs that go out. */

static emr_status get_bundle_info(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_info(f.bundle, out);
}

static emr_status give_statistics_options(void *given, emr_error *error)
{
    emr_statistics *made;
    emr_status status = emr_statistics_create(&made, given, error);
    emr_statistics_destroy(&made);
    return status;
}

static emr_statistics *fixture_statistics(void)
{
    emr_statistics *s;
    emr_error why;
    assert_ok(emr_statistics_create(&s, NULL, &why), &why);
    assert_ok(emr_statistics_set_base(s, f.set.base.model, &why), &why);
    assert_ok(emr_statistics_add_task(s, "one", f.set.tasks[0].model, &why), &why);
    return s;
}

static emr_status get_statistics_plan(void *out, emr_error *error)
{
    emr_statistics *s = fixture_statistics();
    emr_status status = emr_statistics_get_plan(s, out, error);
    emr_statistics_destroy(&s);
    return status;
}

static emr_status get_statistics_group(void *out, emr_error *error)
{
    emr_statistics *s = fixture_statistics();
    assert_ok(emr_statistics_run(s, error), error);
    emr_status status = emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, out);
    emr_statistics_destroy(&s);
    return status;
}

static const double some_numbers[4] = {4, 4, 4, 4};
static const uint64_t some_zeros[2] = {0, 0};

/* Filled by hand. */
static emr_statistics_group some_group(void)
{
    return (emr_statistics_group){.size = sizeof(emr_statistics_group),
                                  .products = some_numbers,
                                  .distances = some_numbers,
                                  .sums = some_numbers,
                                  .magnitudes = some_numbers,
                                  .fourths = some_numbers,
                                  .largest = some_numbers,
                                  .zeros = some_zeros,
                                  .count = 1,
                                  .n_tasks = 2};
}

static emr_status get_task_moments(void *out, emr_error *error)
{
    const emr_statistics_group group = some_group();
    (void)error;
    return emr_statistics_get_moments(&group, 0, out);
}

static emr_status give_statistics_group(void *given, emr_error *error)
{
    double matrix[4];
    return emr_kinship(given, NULL, matrix, error);
}

static emr_status give_kinship_options(void *given, emr_error *error)
{
    double matrix[4];
    const emr_statistics_group group = some_group();
    return emr_kinship(&group, given, matrix, error);
}

static emr_combination *combine_fixture(void)
{
    const emr_combination_options options = {.size = sizeof options,
                                             .method = emr_method_find("task_arithmetic")};
    emr_combination *c;
    emr_error why;
    assert_ok(emr_combination_create(&c, &options, &why), &why);
    assert_ok(emr_combination_set_base(c, f.set.base.model, &why), &why);
    assert_ok(emr_combination_add_task(c, "one", f.set.tasks[0].model, &why), &why);
    assert_ok(emr_combination_set_parameter(c, "weight", 0, NULL, 1, &why), &why);
    return c;
}

static emr_status get_combination_plan(void *out, emr_error *error)
{
    emr_combination *c = combine_fixture();
    emr_status status = emr_combination_get_plan(c, out, error);
    emr_combination_destroy(&c);
    return status;
}

static emr_status get_combined_tensor(void *out, emr_error *error)
{
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    emr_combination *c = combine_fixture();
    emr_status status = emr_combination_get_plan(c, &plan, error);
    if (!status)
        status = emr_combination_get_tensor(c, 0, out);
    emr_combination_destroy(&c);
    return status;
}

static emr_status get_drop_report(void *out, emr_error *error)
{
    const uint32_t task = 0;
    const emr_task_selection dropped = {.size = sizeof dropped, .tasks = &task, .n_tasks = 1};
    emr_buffer *to = test_buffer_new();
    emr_status status = emr_bundle_drop(f.bundle, &dropped, emr_buffer_io(to), out, error);
    emr_buffer_destroy(&to);
    return status;
}

static emr_status get_extract_report(void *out, emr_error *error)
{
    const uint32_t task = 0;
    const emr_task_selection kept = {.size = sizeof kept, .tasks = &task, .n_tasks = 1};
    emr_buffer *to = test_buffer_new();
    emr_status status = emr_bundle_extract(f.bundle, &kept, emr_buffer_io(to), out, error);
    emr_buffer_destroy(&to);
    return status;
}

static emr_status get_features(void *out, emr_error *error)
{
    (void)error;
    return emr_get_features(out);
}

static emr_status get_modulator_stats(void *out, emr_error *error)
{
    return emr_modulator_get_stats(modulator, 0, out, error);
}

static emr_status get_modulation(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_modulation(f.bundle, 0, out, NULL);
}

static emr_status get_fidelity(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_modulation(f.bundle, 0, NULL, out);
}

static emr_status get_merged_fidelity(void *out, emr_error *error)
{
    (void)error;
    return emr_merge_get_fidelity(merged, 0, out);
}

static emr_status get_plan_summary(void *out, emr_error *error)
{
    return emr_merge_get_plan(merged, out, error);
}

static emr_status get_search_candidate(void *out, emr_error *error)
{
    emr_search *search = small_search();
    (void)error;
    emr_status status = emr_search_get_candidate(search, 0, out);
    emr_search_destroy(&search);
    return status;
}

static emr_status get_search_result(void *out, emr_error *error)
{
    const emr_search_host host = {.size = sizeof host, .merge = merge_nothing, .evaluate = score_same};
    emr_search *search = small_search();
    emr_status status = emr_search_run(search, &host, error);
    if (!status)
        status = emr_search_get_result(search, out);
    emr_search_destroy(&search);
    return status;
}

static emr_status get_trial(void *out, emr_error *error)
{
    const emr_trials_options options = {.size = sizeof options, .evaluate = try_nothing, .n_values = 1};
    return emr_trials_run(&options, out, error);
}

static emr_status get_tensor_role(void *out, emr_error *error)
{
    (void)error;
    return emr_tensor_get_role(emr_model_tensor(f.set.base.model, 0), out);
}

static emr_status get_plan_tensor(void *out, emr_error *error)
{
    (void)error;
    return emr_merge_get_plan_tensor(merged, 0, out);
}

static emr_status get_private_info(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_private(f.bundle, 0, 0, out);
}

static emr_status get_session_info(void *out, emr_error *error)
{
    (void)error;
    return emr_session_get_info(session, out);
}

static emr_status get_task_info(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_task(f.bundle, 0, out);
}

static emr_status get_task_report(void *out, emr_error *error)
{
    (void)error;
    return emr_merge_get_task_report(merged, 0, out);
}

static emr_status get_tensor_info(void *out, emr_error *error)
{
    (void)error;
    return emr_bundle_get_tensor(f.bundle, 0, out);
}

enum { LARGEST = 256, TAIL = 24 };

typedef union sized {
    size_t size;
    unsigned char bytes[LARGEST + TAIL];
} sized;

typedef emr_status (*struct_call)(void *given, emr_error *error);

/* Whether a struct of that size is taken; if it is not, the sentence says which. */
static void check_taken(sized *given, size_t size, struct_call call, emr_status expected, const char *type)
{
    emr_error error = {.text = ""};
    sized before;
    given->size = size;
    before = *given;
    emr_status status = call(given, &error);
    if (status != expected || (status && !strstr(error.text, type)))
        fail_msg("%s of %zu bytes: %s instead of %s, \"%s\"", type, size, emr_status_name(status),
                 emr_status_name(expected), error.text);
    assert_memory_equal(&before, given, sizeof before);
    assert_int_equal(call(given, NULL), expected);
}

static void check_in(const char *type, size_t v1, size_t known, const void *good, struct_call call)
{
    sized given;
    assert_true(v1 <= known && known <= LARGEST);
    memset(&given, 0, sizeof given);
    memcpy(&given, good, known);
    check_taken(&given, known, call, EMR_OK, type);
    check_taken(&given, v1, call, EMR_OK, type);
    check_taken(&given, v1 - 1, call, EMR_EINVAL, type);
    check_taken(&given, sizeof(size_t) - 1, call, EMR_EINVAL, type);
    check_taken(&given, 0, call, EMR_EINVAL, type);
    check_taken(&given, known + TAIL, call, EMR_OK, type);
    for (size_t i = known; i < known + TAIL; i += i == known ? 1 : TAIL - 2) { /* the first two, the last */
        given.bytes[i] = 1;
        check_taken(&given, known + TAIL, call, EMR_EVERSION, type);
        check_taken(&given, known, call, EMR_OK, type); /* what is past its end is not looked at */
        given.bytes[i] = 0;
    }
}

static void check_out(const char *type, size_t v1, size_t known, struct_call call)
{
    assert_true(v1 <= known && known <= LARGEST);
    for (size_t size = v1 - 1; size <= known + TAIL - 1; size++) {
        sized got;
        memset(&got, 0xee, sizeof got);
        got.size = size;
        emr_status status = call(&got, NULL);
        if (status != (size < v1 ? EMR_EINVAL : EMR_OK))
            fail_msg("%s of %zu bytes: %s", type, size, emr_status_name(status));
        assert_int_equal(got.size, size);
        for (size_t i = known; i < size; i++)
            assert_int_equal(got.bytes[i], 0);
        for (size_t i = size < v1 ? sizeof(size_t) : size; i < sizeof got.bytes; i++)
            assert_int_equal(got.bytes[i], 0xee);
    }
}

static void serial_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    (void)user;
    for (size_t i = 0; i < n; i++)
        fn(arg, i);
}

/* One line for each call: the struct's type, one that is right, the function that hands it over. */
#define CHECK_IN(type, good, call) check_in(#type, EMR_V1(type), sizeof(type), (good), (call))
#define CHECK_OUT(type, call)      check_out(#type, EMR_V1(type), sizeof(type), (call))

static void structs_come_in_by_the_size_rule(void **state)
{
    const emr_allocator allocator = test_allocator_make(&(test_allocator){.fail_at = SIZE_MAX});
    uint32_t w, task = 1;
    (void)state;
    assert_int_equal(emr_bundle_find_tensor(f.bundle, "w", &w, NULL), EMR_OK);
    CHECK_IN(emr_agree_options, &(emr_agree_options){0}, give_agree_options);
    CHECK_IN(emr_allocator, &allocator, give_allocator);
    CHECK_IN(emr_application,
             &((emr_application){.base = weights,
                                 .out = result,
                                 .count = 240,
                                 .tensor = w,
                                 .base_dtype = EMR_DTYPE_F32,
                                 .out_dtype = EMR_DTYPE_F32}),
             give_application);
    CHECK_IN(emr_base_check_options, &(emr_base_check_options){0}, give_base_check_options);
    CHECK_IN(emr_bundle_options, &(emr_bundle_options){0}, give_bundle_options);
    CHECK_IN(emr_checkpoint_read_options, &(emr_checkpoint_read_options){0}, give_checkpoint_read_options);
    CHECK_IN(emr_checkpoint_write_options, &(emr_checkpoint_write_options){0}, give_checkpoint_write_options);
    CHECK_IN(emr_combination_options,
             &((emr_combination_options){.method = emr_method_find("task_arithmetic")}),
             give_combination_options);
    CHECK_IN(emr_method, emr_method_find("task_arithmetic"), give_method);
    CHECK_IN(emr_method_stage, &((emr_method_stage){.n_found = find_nothing, .add_sums = add_nothing}),
             give_method_stage);
    CHECK_IN(emr_policy, &(emr_policy){0}, give_policy_to_combination);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_combination);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_prepare);
    CHECK_IN(emr_executor, &((emr_executor){.parallel_for = serial_for, .concurrency = 2}), give_executor);
    CHECK_IN(emr_gather, &((emr_gather){.tasks = &task, .out = result, .n = 1, .tensor = w}), give_gather);
    const emr_model *tasks[2];
    const emr_heads_options heads = fixture_heads(tasks);
    CHECK_IN(emr_heads_options, &heads, give_heads_options);
    CHECK_IN(emr_merge_options, &(emr_merge_options){0}, give_merge_options);
    CHECK_IN(emr_model_options, &(emr_model_options){0}, give_model_options);
    CHECK_IN(emr_modulation,
             &((emr_modulation){.name = "x",
                                .unified = weights,
                                .mask = (const uint8_t *)result,
                                .rescalers = weights,
                                .count = 16,
                                .n_rescalers = 1,
                                .unified_dtype = EMR_DTYPE_F32}),
             give_modulation);
    CHECK_IN(emr_modulation_spec, &((emr_modulation_spec){.kind = EMR_MODULATOR_KIND_SIGN}),
             give_modulation_to_task);
    CHECK_IN(emr_modulation_spec, &((emr_modulation_spec){.kind = EMR_MODULATOR_KIND_THIN, .thinning = 8}),
             give_modulation_to_merge);
    CHECK_IN(emr_policy, &(emr_policy){0}, give_policy);
    CHECK_IN(emr_pool_options, &(emr_pool_options){.threads = 2}, give_pool_options);
    const emr_product product = {
        .x = weights, .y = result, .batch = 1, .n_rows = 6, .n_columns = 40, .tensor = w};
    CHECK_IN(emr_product, &product, give_product_to_session);
    CHECK_IN(emr_product, &product, give_product_to_modulator);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_verify);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_merge);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_write);
    CHECK_IN(emr_resources, &(emr_resources){0}, give_resources_to_session);
    CHECK_IN(emr_search_host, &((emr_search_host){.merge = merge_nothing, .evaluate = score_same}),
             give_search_host);
    const emr_statistics_group group = some_group();
    CHECK_IN(emr_statistics_group, &group, give_statistics_group);
    CHECK_IN(emr_statistics_options, &(emr_statistics_options){0}, give_statistics_options);
    CHECK_IN(emr_kinship_options, &(emr_kinship_options){0}, give_kinship_options);
    CHECK_IN(emr_search_options, &(emr_search_options){0}, give_search_options);
    CHECK_IN(emr_session_options, &(emr_session_options){0}, give_session_options);
    CHECK_IN(emr_sink, &(emr_sink){0}, give_sink);
    CHECK_IN(emr_task_selection, &((emr_task_selection){.tasks = &task, .n_tasks = 1}),
             give_selection_to_drop);
    CHECK_IN(emr_task_selection, &((emr_task_selection){.tasks = &task, .n_tasks = 1}),
             give_selection_to_extract);
    CHECK_IN(emr_tensor_desc, &((emr_tensor_desc){.name = "x", .dtype = EMR_DTYPE_U8}), give_tensor_desc);
    CHECK_IN(emr_trials_options, &((emr_trials_options){.evaluate = try_nothing, .n_values = 1}),
             give_trials_options);
    CHECK_IN(emr_view_options, &(emr_view_options){0}, give_view_options);
    CHECK_IN(emr_weights, &((emr_weights){.name = "w", .data = result}), give_weights);
}

static void tables_of_callbacks_come_in_by_the_size_rule(void **state)
{
    emr_buffer *out = test_buffer_new();
    (void)state;
    CHECK_IN(emr_io, emr_buffer_io(f.buffer), give_io_to_read);
    CHECK_IN(emr_io, emr_buffer_io(f.buffer), give_io_to_tensor);
    CHECK_IN(emr_io, emr_buffer_io(out), give_io_to_write);
    CHECK_IN(emr_io, emr_buffer_io(out), give_io_to_merge);
    CHECK_IN(emr_io, emr_buffer_io(out), give_io_to_drop);
    emr_buffer_destroy(&out);
}

static void options_of_files_come_in_by_the_size_rule(void **state)
{
    char *directory = test_directory_make();
    (void)state;
    path = test_path(directory, "file");
    test_write_file(path, "text", 4);
    CHECK_IN(emr_file_options, &(emr_file_options){0}, give_file_options);
    free(path);
    test_directory_remove(directory);
}

static void structs_go_out_by_the_size_rule(void **state)
{
    (void)state;
    CHECK_OUT(emr_bundle_info, get_bundle_info);
    CHECK_OUT(emr_combination_plan, get_combination_plan);
    CHECK_OUT(emr_combined_tensor, get_combined_tensor);
    CHECK_OUT(emr_drop_report, get_drop_report);
    CHECK_OUT(emr_drop_report, get_extract_report);
    CHECK_OUT(emr_features, get_features);
    CHECK_OUT(emr_fidelity, get_fidelity);
    CHECK_OUT(emr_fidelity, get_merged_fidelity);
    CHECK_OUT(emr_head_group, get_head_group);
    CHECK_OUT(emr_modulation_spec, get_modulation);
    CHECK_OUT(emr_modulator_stats, get_modulator_stats);
    CHECK_OUT(emr_plan_summary, get_plan_summary);
    CHECK_OUT(emr_plan_tensor, get_plan_tensor);
    CHECK_OUT(emr_private_info, get_private_info);
    CHECK_OUT(emr_search_candidate, get_search_candidate);
    CHECK_OUT(emr_search_result, get_search_result);
    CHECK_OUT(emr_session_info, get_session_info);
    CHECK_OUT(emr_statistics_group, get_statistics_group);
    CHECK_OUT(emr_statistics_plan, get_statistics_plan);
    CHECK_OUT(emr_task_moments, get_task_moments);
    CHECK_OUT(emr_task_info, get_task_info);
    CHECK_OUT(emr_task_report, get_task_report);
    CHECK_OUT(emr_tensor_info, get_tensor_info);
    CHECK_OUT(emr_tensor_role, get_tensor_role);
    CHECK_OUT(emr_trial, get_trial);
}

/* Their common size is also the step from one to the next: a later version's are further apart. */
static void arrays_of_larger_structs_are_stepped_through(void **state)
{
    struct later {
        emr_weights weights;
        unsigned char more[16];
    } two[2];
    static float w[240], bias[7], expected_w[240], expected_bias[7];
    emr_error error;
    (void)state;
    const emr_weights plain[] = {{.size = sizeof plain[0], .name = "w", .data = expected_w},
                                 {.size = sizeof plain[0], .name = "bias", .data = expected_bias}};
    assert_ok(emr_session_apply(session, 1, plain, 2, &error), &error);
    memset(two, 0, sizeof two);
    two[0].weights = (emr_weights){.size = sizeof two[0], .name = "w", .data = w};
    two[1].weights = (emr_weights){.size = sizeof two[0], .name = "bias", .data = bias};
    assert_ok(emr_session_apply(session, 1, &two[0].weights, 2, &error), &error);
    assert_memory_equal(w, expected_w, sizeof w);
    assert_memory_equal(bias, expected_bias, sizeof bias);
    two[1].more[15] = 1;
    assert_int_equal(emr_session_apply(session, 1, &two[0].weights, 2, &error), EMR_EVERSION);
    two[1].more[15] = 0;
    two[1].weights.size = sizeof(emr_weights); /* "the same for all in an array" */
    assert_int_equal(emr_session_apply(session, 1, &two[0].weights, 2, &error), EMR_EINVAL);
}

static emr_status see_part(void *user, const emr_sink_part *part, emr_error *error)
{
    ++*(size_t *)user;
    return part->size == sizeof *part && part->values && error ? EMR_OK : EMR_EIO;
}

static emr_status see_weights(const emr_weights_part *part, emr_error *error)
{
    ++*(size_t *)part->user;
    return part->size == sizeof *part && error ? EMR_OK : EMR_EIO;
}

/* Structs that callbacks get say how large the library's own are. */
static void parts_have_the_librarys_own_size(void **state)
{
    size_t calls = 0;
    const emr_sink sink = {sizeof sink, &calls, see_part, see_part, see_part};
    const emr_merge_options options = {.size = sizeof options, .rescale_per = EMR_RESCALE_PER_ROW};
    emr_merge *merge = test_merge_create(&f.set, &options);
    emr_error error;
    (void)state;
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    assert_true(calls > 3 * FIXTURE_MERGED);
    emr_merge_destroy(&merge);
    calls = 0;
    const emr_weights parts = {.size = sizeof parts,
                               .name = "w",
                               .data = result,
                               .write = see_weights,
                               .user = &calls,
                               .staging = 100};
    assert_ok(emr_session_apply(session, 1, &parts, 1, &error), &error);
    assert_int_equal(calls, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structs_come_in_by_the_size_rule),
        cmocka_unit_test(tables_of_callbacks_come_in_by_the_size_rule),
        cmocka_unit_test(options_of_files_come_in_by_the_size_rule),
        cmocka_unit_test(structs_go_out_by_the_size_rule),
        cmocka_unit_test(arrays_of_larger_structs_are_stepped_through),
        cmocka_unit_test(parts_have_the_librarys_own_size),
    };
    return cmocka_run_group_tests_name("structs", tests, set_up, tear_down);
}
