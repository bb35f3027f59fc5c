/* test_null.c - the one rule about NULL: every call that returns a status returns EMR_EINVAL where a handle
 * or an output is NULL, whatever else it was given, and sets the other output, if there is a handle, to NULL.
 */
#include "fixture.h"
#include "refused.h"

#include <stdio.h>

static fixture f;

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

static const char *const nowhere = "/tmp/emr-test-null/none.safetensors"; /* is never made */

static void refuse_files(void)
{
    emr_file *file;
    emr_buffer *buffer;
    emr_pool *pool = NULL;
    float value = 1;
    REFUSED(emr_file_open(NULL, nowhere, NULL, e));
    NO_HANDLE(file, emr_file_open(&file, NULL, NULL, e));
    REFUSED(emr_file_create(NULL, nowhere, NULL, e));
    NO_HANDLE(file, emr_file_create(&file, NULL, NULL, e));
    REFUSED(emr_file_resume(NULL, nowhere, NULL, e));
    NO_HANDLE(file, emr_file_resume(&file, NULL, NULL, e));
    REFUSED(emr_file_commit(NULL, e));
    REFUSED(emr_buffer_create(NULL, NULL, e));
    REFUSED(emr_buffer_open(NULL, "x", 1, NULL, e));
    NO_HANDLE(buffer, emr_buffer_open(&buffer, NULL, 1, NULL, e));
    REFUSED(emr_pool_create(NULL, NULL, e));
    emr_file_close(NULL), emr_file_discard(NULL), emr_buffer_destroy(NULL), emr_pool_destroy(NULL);
    file = NULL, buffer = NULL;
    emr_file_close(&file), emr_file_discard(&file), emr_buffer_destroy(&buffer), emr_pool_destroy(&pool);
    QUIET(emr_get_features(NULL));
    QUIET(emr_convert(EMR_DTYPE_F32, NULL, EMR_DTYPE_F32, &value, 1));
    QUIET(emr_convert(EMR_DTYPE_F32, &value, EMR_DTYPE_F32, NULL, 1));
}

static void refuse_models(void)
{
    emr_model *model, *zeros = NULL;
    const char *key, *value;
    unsigned char byte;
    const emr_tensor_desc desc = {.size = sizeof desc, .name = "x", .dtype = EMR_DTYPE_U8, .data = &byte};
    REFUSED(emr_model_create(NULL, NULL, e));
    REFUSED(emr_model_create_zeros(NULL, f.set.base.model, NULL, e));
    NO_HANDLE(zeros, emr_model_create_zeros(&zeros, NULL, NULL, e));
    model = test_model_new("m");
    REFUSED(emr_model_add(NULL, &desc, e));
    REFUSED(emr_model_add(model, NULL, e));
    assert_int_equal(emr_model_add(model, &desc, NULL), EMR_OK);
    REFUSED(emr_model_set_metadata(NULL, "k", "v", e));
    REFUSED(emr_model_set_metadata(model, NULL, "v", e));
    REFUSED(emr_model_set_metadata(model, "k", NULL, e));
    assert_int_equal(emr_model_set_metadata(model, "k", "v", NULL), EMR_OK);
    QUIET(emr_model_remove_metadata(NULL, "k"));
    QUIET(emr_model_remove_metadata(model, NULL));
    QUIET(emr_model_get_metadata(NULL, 0, &key, &value));
    QUIET(emr_model_get_metadata(model, 0, NULL, &value));
    QUIET(emr_model_get_metadata(model, 0, &key, NULL));
    REFUSED(emr_tensor_read(NULL, 0, &byte, 1, e));
    REFUSED(emr_tensor_read(emr_model_tensor(model, 0), 0, NULL, 1, e));
    emr_model_destroy(&model), emr_model_destroy(&model), emr_model_destroy(NULL);
}

static void refuse_heads(void)
{
    emr_heads *heads = NULL;
    emr_model *view;
    const emr_model *tasks[] = {f.set.tasks[0].model};
    const char *const globs[] = {"head.bias"}, *const names[] = {"one"};
    emr_heads_options options = {
        .size = sizeof options, .globs = globs, .names = names, .tasks = tasks, .n_globs = 1, .n_tasks = 1};
    emr_head_group group = {.size = sizeof group, .count = 1};
    float value = 0;
    REFUSED(emr_heads_create(NULL, &options, e));
    NO_HANDLE(heads, emr_heads_create(&heads, NULL, e));
    assert_int_equal(emr_heads_create(&heads, &options, NULL), EMR_OK);
    QUIET(emr_heads_get_group(NULL, 0, &group));
    QUIET(emr_heads_get_group(heads, 0, NULL));
    REFUSED(emr_heads_open_task(heads, 0, NULL, e));
    NO_HANDLE(view, emr_heads_open_task(NULL, 0, &view, e));
    REFUSED(emr_heads_open_base(heads, tasks[0], NULL, e));
    NO_HANDLE(view, emr_heads_open_base(NULL, tasks[0], &view, e));
    NO_HANDLE(view, emr_heads_open_base(heads, NULL, &view, e));
    REFUSED(emr_heads_open_joined(heads, 0, NULL, e));
    NO_HANDLE(view, emr_heads_open_joined(NULL, 0, &view, e));
    REFUSED(emr_heads_set_metadata(heads, NULL, e));
    REFUSED(emr_heads_set_metadata(NULL, f.set.tasks[0].model, e));
    QUIET(emr_group_softmax(NULL, 1, 1, &group, 1, &value));
    QUIET(emr_group_softmax(&value, 1, 1, NULL, 1, &value));
    QUIET(emr_group_softmax(&value, 1, 1, &group, 1, NULL));
    emr_heads_destroy(&heads), emr_heads_destroy(&heads), emr_heads_destroy(NULL);
}

static void refuse_checkpoints(void)
{
    emr_model *model;
    const emr_model *models[2] = {f.set.base.model, NULL};
    const char *const names[2] = {"a", "b"};
    const emr_io *io = emr_buffer_io(f.buffer);
    REFUSED(emr_checkpoint_open(NULL, nowhere, NULL, e));
    NO_HANDLE(model, emr_checkpoint_open(&model, NULL, NULL, e));
    REFUSED(emr_safetensors_open(NULL, io, NULL, NULL, e));
    NO_HANDLE(model, emr_safetensors_open(&model, NULL, NULL, NULL, e));
    REFUSED(emr_gguf_open(NULL, io, NULL, NULL, e));
    NO_HANDLE(model, emr_gguf_open(&model, NULL, NULL, NULL, e));
    assert_null(emr_gguf_blocks(NULL, NULL));
    assert_null(emr_gguf_blocks(emr_model_tensor(f.set.base.model, 0), NULL));
    REFUSED(emr_checkpoint_write(NULL, nowhere, NULL, e));
    REFUSED(emr_checkpoint_write(f.set.base.model, NULL, NULL, e));
    REFUSED(emr_safetensors_write(NULL, io, NULL, e));
    REFUSED(emr_safetensors_write(f.set.base.model, NULL, NULL, e));
    REFUSED(emr_gguf_write(NULL, io, NULL, e));
    REFUSED(emr_gguf_write(f.set.base.model, NULL, NULL, e));
    REFUSED(emr_adapters_agree(NULL, names, 2, NULL, e));
    REFUSED(emr_adapters_agree(models, NULL, 2, NULL, e));
    REFUSED(emr_adapters_agree(models, names, 2, NULL, e)); /* one of the models */
    const emr_agree_options no_keys = {.size = sizeof no_keys, .n_differ = 1};
    REFUSED(emr_adapters_agree(models, names, 1, &no_keys, e));
    REFUSED(emr_adapter_apply(NULL, f.set.base.model, f.set.base.model, NULL, e));
    NO_HANDLE(model, emr_adapter_apply(&model, NULL, f.set.base.model, NULL, e));
    NO_HANDLE(model, emr_adapter_apply(&model, f.set.base.model, NULL, NULL, e));
    REFUSED(emr_adapter_create_ones(NULL, f.set.base.model, NULL, e));
    NO_HANDLE(model, emr_adapter_create_ones(&model, NULL, NULL, e));
}

static void refuse_combinations(void)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination_plan plan = EMR_INIT(emr_combination_plan);
    emr_combined_tensor tensor = EMR_INIT(emr_combined_tensor);
    emr_combination *c;
    emr_model *model;
    REFUSED(emr_combination_create(NULL, &options, e));
    NO_HANDLE(c, emr_combination_create(&c, NULL, e));
    NO_HANDLE(c, emr_combination_create(&c, &options, e)); /* no method */
    options.method = emr_method_find("task_arithmetic");
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_OK);
    REFUSED(emr_combination_set_base(NULL, f.set.base.model, e));
    REFUSED(emr_combination_set_base(c, NULL, e));
    REFUSED(emr_combination_add_task(NULL, "x", f.set.base.model, e));
    REFUSED(emr_combination_add_task(c, NULL, f.set.base.model, e));
    REFUSED(emr_combination_add_task(c, "x", NULL, e));
    REFUSED(emr_combination_set_parameter(NULL, "weight", EMR_EVERY_TASK, NULL, 1, e));
    REFUSED(emr_combination_set_parameter(c, NULL, EMR_EVERY_TASK, NULL, 1, e));
    REFUSED(emr_combination_get_plan(NULL, &plan, e));
    REFUSED(emr_combination_get_plan(c, NULL, e));
    QUIET(emr_combination_get_tensor(NULL, 0, &tensor));
    QUIET(emr_combination_get_tensor(c, 0, NULL));
    REFUSED(emr_combination_open_model(c, NULL, e));
    NO_HANDLE(model, emr_combination_open_model(NULL, &model, e));
    emr_combination_destroy(&c), emr_combination_destroy(&c), emr_combination_destroy(NULL);
    assert_null(emr_method_find(NULL));
    REFUSED(emr_model_prepare(NULL, NULL, e));
    REFUSED(emr_model_add_tensor_as(NULL, emr_model_tensor(f.set.base.model, 0), "x", e));
}

static void refuse_merges(void)
{
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    emr_plan_tensor tensor = EMR_INIT(emr_plan_tensor);
    emr_task_report report = EMR_INIT(emr_task_report);
    const emr_sink sink = EMR_INIT(emr_sink);
    const emr_tensor *expected;
    emr_buffer *out = test_buffer_new();
    const emr_io *io = emr_buffer_io(out);
    const char byte = 0;
    uint64_t bytes;
    size_t taken;
    REFUSED(emr_merge_create(NULL, NULL, e));
    emr_merge *merge = test_merge_create(&f.set, NULL), *done = test_merge_create(&f.set, NULL);
    assert_int_equal(emr_merge_set_output(done, io, NULL), EMR_OK);
    assert_int_equal(emr_merge_run(done, NULL), EMR_OK);
    REFUSED(emr_merge_set_base(NULL, f.set.base.model, e));
    REFUSED(emr_merge_set_base(merge, NULL, e));
    REFUSED(emr_merge_add_task(NULL, "x", f.set.base.model, e));
    REFUSED(emr_merge_add_task(merge, NULL, f.set.base.model, e));
    REFUSED(emr_merge_add_task(merge, "x", NULL, e));
    REFUSED(emr_merge_extend(NULL, f.bundle, e));
    REFUSED(emr_merge_extend(merge, NULL, e));
    REFUSED(emr_merge_get_plan(NULL, &summary, e));
    REFUSED(emr_merge_get_plan(merge, NULL, e));
    QUIET(emr_merge_get_plan_tensor(NULL, 0, &tensor));
    QUIET(emr_merge_get_plan_tensor(done, 0, NULL));
    REFUSED(emr_merge_set_output(NULL, io, e));
    REFUSED(emr_merge_set_output(merge, NULL, e));
    REFUSED(emr_merge_set_sink(NULL, &sink, e));
    REFUSED(emr_merge_set_sink(merge, NULL, e));
    REFUSED(emr_merge_set_journal(NULL, io, 0, e));
    REFUSED(emr_merge_set_journal(merge, NULL, 0, e));
    REFUSED(emr_merge_run(NULL, e));
    REFUSED(emr_merge_begin(NULL, e));
    REFUSED(emr_merge_push(NULL, 0, &byte, 1, &taken, e));
    REFUSED(emr_merge_push(merge, 0, NULL, 1, &taken, e));
    REFUSED(emr_merge_push(merge, 0, &byte, 1, NULL, e));
    REFUSED(emr_merge_get_expected(NULL, 0, &expected, &bytes, e));
    REFUSED(emr_merge_get_expected(merge, 0, NULL, &bytes, e));
    REFUSED(emr_merge_get_expected(merge, 0, &expected, NULL, e));
    REFUSED(emr_merge_finish(NULL, e));
    QUIET(emr_merge_get_task_report(NULL, 0, &report));
    QUIET(emr_merge_get_task_report(done, 0, NULL));
    emr_merge_destroy(&done);
    emr_merge_destroy(&merge), emr_merge_destroy(&merge), emr_merge_destroy(NULL);
    emr_buffer_destroy(&out);
}

static void refuse_bundles(void)
{
    emr_bundle *bundle;
    emr_model *model;
    emr_modulator *modulator;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_task_info task_info = EMR_INIT(emr_task_info);
    emr_tensor_info tensor_info = EMR_INIT(emr_tensor_info);
    emr_private_info private_info = EMR_INIT(emr_private_info);
    const char *key, *value;
    const emr_bundle *b = f.bundle;
    const emr_io *io = emr_buffer_io(f.buffer);
    uint32_t number;
    REFUSED(emr_bundle_open(NULL, io, NULL, NULL, e));
    NO_HANDLE(bundle, emr_bundle_open(&bundle, NULL, NULL, NULL, e));
    REFUSED(emr_bundle_open_file(NULL, nowhere, NULL, e));
    NO_HANDLE(bundle, emr_bundle_open_file(&bundle, NULL, NULL, e));
    QUIET(emr_bundle_get_info(NULL, &info));
    QUIET(emr_bundle_get_info(b, NULL));
    QUIET(emr_bundle_get_task(NULL, 0, &task_info));
    QUIET(emr_bundle_get_task(b, 0, NULL));
    QUIET(emr_bundle_get_tensor(NULL, 0, &tensor_info));
    QUIET(emr_bundle_get_tensor(b, 0, NULL));
    QUIET(emr_bundle_get_private(NULL, 0, 0, &private_info));
    QUIET(emr_bundle_get_private(b, 0, 0, NULL));
    REFUSED(emr_bundle_find_task(NULL, "t0", &number, e));
    REFUSED(emr_bundle_find_task(b, NULL, &number, e));
    REFUSED(emr_bundle_find_task(b, "t0", NULL, e));
    REFUSED(emr_bundle_find_tensor(NULL, "w", &number, e));
    REFUSED(emr_bundle_find_tensor(b, NULL, &number, e));
    REFUSED(emr_bundle_find_tensor(b, "w", NULL, e));
    QUIET(emr_bundle_get_metadata(NULL, 0, 0, &key, &value));
    QUIET(emr_bundle_get_metadata(b, 0, 0, NULL, &value));
    QUIET(emr_bundle_get_metadata(b, 0, 0, &key, NULL));
    REFUSED(emr_bundle_open_modulator(NULL, b, 0, NULL, e));
    NO_HANDLE(modulator, emr_bundle_open_modulator(&modulator, NULL, 0, NULL, e));
    REFUSED(emr_bundle_open_task(NULL, b, 0, NULL, NULL, e));
    NO_HANDLE(model, emr_bundle_open_task(&model, NULL, 0, NULL, NULL, e));
    REFUSED(emr_bundle_open_base(NULL, b, NULL, e));
    NO_HANDLE(model, emr_bundle_open_base(&model, NULL, NULL, e));
    REFUSED(emr_bundle_open_unified(NULL, b, NULL, e));
    NO_HANDLE(model, emr_bundle_open_unified(&model, NULL, NULL, e));
    REFUSED(emr_bundle_open_mask(NULL, b, 0, NULL, e));
    NO_HANDLE(model, emr_bundle_open_mask(&model, NULL, 0, NULL, e));
    REFUSED(emr_bundle_verify(NULL, NULL, e));
    REFUSED(emr_bundle_check_base(NULL, f.set.base.model, NULL, e));
    REFUSED(emr_bundle_check_base(b, NULL, NULL, e));
}

static void refuse_dropping(void)
{
    const uint32_t task = 0;
    const emr_task_selection some = {.size = sizeof some, .tasks = &task, .n_tasks = 1};
    const emr_task_selection none = {.size = sizeof none, .tasks = NULL, .n_tasks = 1};
    emr_buffer *out = test_buffer_new();
    const emr_io *io = emr_buffer_io(out);
    REFUSED(emr_bundle_drop(NULL, &some, io, NULL, e));
    REFUSED(emr_bundle_drop(f.bundle, NULL, io, NULL, e));
    REFUSED(emr_bundle_drop(f.bundle, &none, io, NULL, e));
    REFUSED(emr_bundle_drop(f.bundle, &some, NULL, NULL, e));
    REFUSED(emr_bundle_extract(NULL, &some, io, NULL, e));
    REFUSED(emr_bundle_extract(f.bundle, NULL, io, NULL, e));
    REFUSED(emr_bundle_extract(f.bundle, &none, io, NULL, e));
    REFUSED(emr_bundle_extract(f.bundle, &some, NULL, NULL, e));
    assert_int_equal(emr_buffer_bytes(out), 0);
    emr_buffer_destroy(&out);
}

static void refuse_modulators(void)
{
    emr_modulator *m, *absent[1] = {NULL};
    emr_modulation modulation = EMR_INIT(emr_modulation);
    emr_application application = EMR_INIT(emr_application);
    emr_modulator_stats stats = EMR_INIT(emr_modulator_stats);
    float x[40] = {0}, y[6], base[240] = {0};
    emr_product product = {.size = sizeof product, .x = x, .y = y, .batch = 1, .n_rows = 6, .n_columns = 40};
    uint32_t number;
    REFUSED(emr_modulator_create(NULL, NULL, e));
    assert_int_equal(emr_bundle_open_modulator(&m, f.bundle, 0, NULL, NULL), EMR_OK);
    assert_int_equal(emr_modulator_find_tensor(m, "w", &number), EMR_OK);
    product.tensor = application.tensor = number;
    application.base = base;
    application.out = base;
    application.count = 1;
    application.base_dtype = application.out_dtype = EMR_DTYPE_F32;
    REFUSED(emr_modulator_add(NULL, &modulation, e));
    QUIET(emr_modulator_find_tensor(NULL, "w", &number));
    QUIET(emr_modulator_find_tensor(m, NULL, &number));
    QUIET(emr_modulator_find_tensor(m, "w", NULL));
    REFUSED(emr_modulator_read_rescalers(NULL, number, 0, 1, x, e));
    REFUSED(emr_modulator_read_rescalers(m, number, 0, 1, NULL, e));
    REFUSED(emr_modulator_apply(NULL, &application, e));
    REFUSED(emr_modulator_apply(m, NULL, e));
    application.out = NULL;
    REFUSED(emr_modulator_apply(m, &application, e));
    REFUSED(emr_modulator_multiply(NULL, &product, EMR_DTYPE_F32, base, e));
    REFUSED(emr_modulator_multiply(absent, &product, EMR_DTYPE_F32, base, e));
    REFUSED(emr_modulator_multiply(&m, NULL, EMR_DTYPE_F32, base, e));
    REFUSED(emr_modulator_multiply(&m, &product, EMR_DTYPE_F32, NULL, e));
    product.x = NULL;
    REFUSED(emr_modulator_multiply(&m, &product, EMR_DTYPE_F32, base, e));
    product.x = x, product.y = NULL;
    REFUSED(emr_modulator_multiply(&m, &product, EMR_DTYPE_F32, base, e));
    REFUSED(emr_modulator_get_stats(NULL, number, &stats, e));
    REFUSED(emr_modulator_get_stats(m, number, NULL, e));
    emr_modulator_destroy(&m), emr_modulator_destroy(&m), emr_modulator_destroy(NULL);
    assert_int_equal(emr_modulator_create(&m, NULL, NULL), EMR_OK);
    REFUSED(emr_modulator_add(m, NULL, e));
    emr_modulator_destroy(&m);
}

static emr_status take_nothing(const emr_weights_part *part, emr_error *given)
{
    (void)part, (void)given;
    return EMR_OK;
}

static void refuse_sessions(void)
{
    emr_session *s;
    emr_session_info info = EMR_INIT(emr_session_info);
    float x[40] = {0}, y[6], w[240];
    const uint32_t task = 0;
    emr_product product = {.size = sizeof product, .x = x, .y = y, .batch = 1, .n_rows = 6, .n_columns = 40};
    emr_weights weights = {.size = sizeof weights, .name = "w", .data = w};
    emr_gather gather = {.size = sizeof gather, .name = "w", .tasks = &task, .out = w, .n = 1};
    assert_int_equal(emr_bundle_find_tensor(f.bundle, "w", &product.tensor, NULL), EMR_OK);
    REFUSED(emr_session_create(NULL, f.bundle, NULL, NULL, e));
    NO_HANDLE(s, emr_session_create(&s, NULL, NULL, NULL, e));
    assert_int_equal(emr_session_create(&s, f.bundle, NULL, NULL, NULL), EMR_OK);
    REFUSED(emr_session_apply(NULL, 0, &weights, 1, e));
    REFUSED(emr_session_apply(s, 0, NULL, 1, e));
    weights.data = NULL;
    REFUSED(emr_session_apply(s, 0, &weights, 1, e));
    weights.write = take_nothing, weights.staging = 5;
    REFUSED(emr_session_apply(s, 0, &weights, 1, e));
    REFUSED(emr_session_gather(NULL, &gather, e));
    REFUSED(emr_session_gather(s, NULL, e));
    gather.out = NULL;
    REFUSED(emr_session_gather(s, &gather, e));
    gather.out = w, gather.tasks = NULL;
    REFUSED(emr_session_gather(s, &gather, e));
    REFUSED(emr_session_multiply(NULL, &task, &product, e));
    REFUSED(emr_session_multiply(s, NULL, &product, e));
    REFUSED(emr_session_multiply(s, &task, NULL, e));
    product.x = NULL;
    REFUSED(emr_session_multiply(s, &task, &product, e));
    product.x = x, product.y = NULL;
    REFUSED(emr_session_multiply(s, &task, &product, e));
    emr_session *thread;
    REFUSED(emr_session_open_thread(NULL, s, e));
    NO_HANDLE(thread, emr_session_open_thread(&thread, NULL, e));
    QUIET(emr_session_get_info(NULL, &info));
    QUIET(emr_session_get_info(s, NULL));
    emr_session_destroy(&s), emr_session_destroy(&s), emr_session_destroy(NULL), emr_session_destroy(&thread);
}

static emr_status merge_nothing(void *user, const emr_search_candidate *candidate, emr_error *given)
{
    (void)user, (void)candidate, (void)given;
    return EMR_OK;
}

static emr_status score_same(void *user, const emr_search_candidate *candidate, double *score,
                             emr_error *given)
{
    (void)user, (void)candidate, (void)given;
    *score = 1;
    return EMR_OK;
}

static emr_status try_nothing(void *user, const emr_trial *trial, double *score, emr_error *given)
{
    (void)user, (void)trial, (void)given;
    *score = 1;
    return EMR_OK;
}

static void refuse_statistics(void)
{
    const double number = 1;
    double matrix[1];
    emr_statistics *s;
    emr_statistics_plan plan = EMR_INIT(emr_statistics_plan);
    emr_statistics_group group = EMR_INIT(emr_statistics_group);
    emr_task_moments moments = EMR_INIT(emr_task_moments);
    emr_statistics_options options = {.size = sizeof options, .n_quantiles = 1};
    REFUSED(emr_statistics_create(NULL, NULL, e));
    NO_HANDLE(s, emr_statistics_create(&s, &options, e)); /* without quantiles */
    options.quantiles = &number;
    assert_int_equal(emr_statistics_create(&s, &options, NULL), EMR_OK);
    REFUSED(emr_statistics_set_base(NULL, f.set.base.model, e));
    REFUSED(emr_statistics_set_base(s, NULL, e));
    REFUSED(emr_statistics_add_task(NULL, "a", f.set.tasks[0].model, e));
    REFUSED(emr_statistics_add_task(s, NULL, f.set.tasks[0].model, e));
    REFUSED(emr_statistics_add_task(s, "a", NULL, e));
    REFUSED(emr_statistics_get_plan(NULL, &plan, e));
    REFUSED(emr_statistics_get_plan(s, NULL, e));
    REFUSED(emr_statistics_run(NULL, e));
    QUIET(emr_statistics_get_group(NULL, EMR_STATISTICS_SCOPE_MODEL, 0, &group));
    QUIET(emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, NULL));
    QUIET(emr_statistics_get_moments(NULL, 0, &moments));
    QUIET(emr_statistics_get_moments(&group, 0, &moments)); /* not filled */
    QUIET(emr_statistics_get_moments(&group, 0, NULL));
    REFUSED(emr_kinship(NULL, NULL, matrix, e));
    REFUSED(emr_kinship(&group, NULL, NULL, e));
    REFUSED(emr_kinship(&group, NULL, matrix, e));
    REFUSED(emr_statistics_split_kinship(NULL, NULL, matrix, e));
    REFUSED(emr_statistics_split_kinship(s, NULL, NULL, e));
    emr_statistics_destroy(&s), emr_statistics_destroy(&s), emr_statistics_destroy(NULL);
}

static void refuse_searches(void)
{
    emr_search *search;
    emr_search_candidate candidate = EMR_INIT(emr_search_candidate);
    emr_search_result found = EMR_INIT(emr_search_result);
    emr_trial best = EMR_INIT(emr_trial);
    const emr_trials_options options = {.size = sizeof options, .evaluate = try_nothing, .n_values = 1};
    emr_search_host host = {.size = sizeof host, .merge = merge_nothing, .evaluate = score_same};
    REFUSED(emr_search_create(NULL, NULL, e));
    assert_int_equal(emr_search_create(&search, NULL, NULL), EMR_OK);
    REFUSED(emr_search_add_model(NULL, "a", e));
    REFUSED(emr_search_add_model(search, NULL, e));
    assert_int_equal(emr_search_add_model(search, "a", NULL), EMR_OK);
    REFUSED(emr_search_run(NULL, &host, e));
    REFUSED(emr_search_run(search, NULL, e));
    host.merge = NULL;
    REFUSED(emr_search_run(search, &host, e));
    host.merge = merge_nothing;
    assert_int_equal(emr_search_run(search, &host, NULL), EMR_OK);
    QUIET(emr_search_get_candidate(NULL, 0, &candidate));
    QUIET(emr_search_get_candidate(search, 0, NULL));
    QUIET(emr_search_get_result(NULL, &found));
    QUIET(emr_search_get_result(search, NULL));
    REFUSED(emr_trials_run(NULL, &best, e));
    REFUSED(emr_trials_run(&options, NULL, e));
    emr_search_destroy(&search), emr_search_destroy(&search), emr_search_destroy(NULL);
}

static void null_is_refused_by_every_call(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        e = round ? &error : NULL;
        refuse_files();
        refuse_models();
        refuse_heads();
        refuse_checkpoints();
        refuse_merges();
        refuse_combinations();
        refuse_bundles();
        refuse_dropping();
        refuse_modulators();
        refuse_sessions();
        refuse_searches();
        refuse_statistics();
    }
    assert_int_equal(n_broken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(null_is_refused_by_every_call)};
    return cmocka_run_group_tests_name("NULL", tests, set_up, tear_down);
}
