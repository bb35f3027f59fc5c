/* growth_calls.c - the calls that structs go into, and the callbacks that they are handed to: a call with each, whose
 * `future` has a value or none. */
#include "growth.h"

/* ---- structs that the library hands to callbacks ---- */

void handed_over(const char *type, size_t size, size_t known, bool right)
{
    static char seen[16][32];
    size_t i = 0;
    if (size != known + GROWTH)
        fail(type, "does not have the library's size");
    if (!right)
        fail(type, "has other members than it should");
    while (i < 16 && seen[i][0] && strcmp(seen[i], type) != 0)
        i++;
    if (i < 16 && !seen[i][0]) {
        strcpy(seen[i], type);
        printf("handed over %s\n", type);
    }
}

emr_status on_progress(void *user, const emr_progress *progress, emr_error *error)
{
    (void)user, (void)error;
    handed_over("emr_progress", progress->size, sizeof *progress, progress->done <= progress->total);
    return EMR_OK;
}

static emr_status on_part(void *user, const emr_sink_part *part, emr_error *error)
{
    (void)user, (void)error;
    handed_over("emr_sink_part", part->size, sizeof *part, part->n && part->tensor < 2);
    return EMR_OK;
}

static void on_difference(void *user, const emr_base_difference *difference)
{
    (void)user;
    handed_over("emr_base_difference", difference->size, sizeof *difference, strlen(difference->tensor) > 0);
}

static emr_status compute_ones(const emr_computation *c, emr_error *error)
{
    float *out = c->out;
    (void)error;
    handed_over("emr_computation", c->size, sizeof *c, c->first + c->count <= COUNT);
    for (size_t i = 0; i < c->count; i++)
        out[i] = 1;
    return EMR_OK;
}

static emr_status take_weights(const emr_weights_part *part, emr_error *error)
{
    (void)error;
    handed_over("emr_weights_part", part->size, sizeof *part, part->count == COUNT && part->data != NULL);
    memcpy(part->user, part->data, COUNT * sizeof(float));
    return EMR_OK;
}

emr_status on_merge(void *user, const emr_search_candidate *candidate, emr_error *error)
{
    (void)user, (void)error;
    handed_over("emr_search_candidate", candidate->size, sizeof *candidate,
                candidate->first < candidate->number);
    return EMR_OK;
}

emr_status on_evaluate(void *user, const emr_search_candidate *candidate, double *score, emr_error *error)
{
    (void)user, (void)error;
    *score = candidate->number;
    return EMR_OK;
}

emr_status on_trial(void *user, const emr_trial *trial, double *score, emr_error *error)
{
    (void)user, (void)error;
    handed_over("emr_trial", trial->size, sizeof *trial, trial->n_values == 2 && trial->values[1] > 0);
    *score = trial->number;
    return EMR_OK;
}

/* ---- structs that go in: each of these makes one call with one, whose `future` has a value ---- */

static void *allocate_some(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void free_some(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static emr_status with_allocator(world *w, uint64_t future, emr_error *error)
{
    emr_buffer *buffer;
    NEW(emr_allocator, allocator, future);
    (void)w;
    allocator.alloc = allocate_some;
    allocator.free = free_some;
    emr_status status = emr_buffer_create(&buffer, &allocator, error);
    emr_buffer_destroy(&buffer);
    return status;
}

static void run_in_turn(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    (void)user;
    for (size_t i = 0; i < n; i++)
        fn(arg, i);
}

static emr_status with_executor(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_executor, executor, future);
    NEW(emr_resources, resources, 0);
    executor.parallel_for = run_in_turn;
    executor.concurrency = 2;
    resources.executor = &executor;
    return emr_bundle_verify(w->bundle, &resources, error);
}

static emr_status with_resources(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_resources, resources, future);
    resources.executor = emr_pool_executor(w->pool);
    resources.progress = on_progress;
    return emr_bundle_verify(w->bundle, &resources, error);
}

static emr_status with_pool_options(world *w, uint64_t future, emr_error *error)
{
    emr_pool *pool;
    NEW(emr_pool_options, options, future);
    (void)w;
    options.threads = 2;
    emr_status status = emr_pool_create(&pool, &options, error);
    if (!status && emr_pool_executor(pool)->concurrency != 2)
        fail("emr_pool_options", "threads was not heard");
    emr_pool_destroy(&pool);
    return status;
}

static emr_status read_buffer(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const emr_buffer *buffer = user;
    if (offset > emr_buffer_bytes(buffer) || n > emr_buffer_bytes(buffer) - offset)
        return emr_error_set(error, EMR_EIO, 0, "a buffer", "it ends before");
    memcpy(destination, (const char *)emr_buffer_data(buffer) + offset, n);
    return EMR_OK;
}

static emr_status buffer_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)error;
    *bytes = emr_buffer_bytes(user);
    return EMR_OK;
}

static emr_status with_io(world *w, uint64_t future, emr_error *error)
{
    emr_bundle *bundle;
    NEW(emr_io, io, future);
    io.user = w->bytes;
    io.read = read_buffer;
    io.length = buffer_length;
    emr_status status = emr_bundle_open(&bundle, &io, "the host's", NULL, error);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status with_file_options(world *w, uint64_t future, emr_error *error)
{
    char path[4200];
    emr_file *file;
    NEW(emr_file_options, options, future);
    options.replace = 1;
    snprintf(path, sizeof path, "%s/file", w->folder);
    emr_status status = emr_file_create(&file, path, &options, error);
    if (status)
        return status;
    const emr_io *io = emr_file_io(file);
    if (io->size != sizeof *io + GROWTH)
        fail("emr_io", "of a file does not have the library's size");
    status = io->write(io->user, 0, "abc", 3, error);
    if (!status)
        status = emr_file_commit(file, error);
    emr_file_close(&file);
    return status;
}

static emr_status with_model_options(world *w, uint64_t future, emr_error *error)
{
    emr_model *model;
    NEW(emr_model_options, options, future);
    (void)w;
    options.name = "ones";
    emr_status status = emr_model_create(&model, &options, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status with_tensor_desc(world *w, uint64_t future, emr_error *error)
{
    const uint64_t shape[] = {ROWS, COLUMNS};
    float value = 0;
    emr_model *model;
    NEW(emr_tensor_desc, desc, future);
    (void)w;
    must(emr_model_create(&model, NULL, error), error);
    desc.name = "ones";
    desc.dtype = EMR_DTYPE_F32;
    desc.rank = 2;
    desc.shape = shape;
    desc.compute = compute_ones;
    emr_status status = emr_model_add(model, &desc, error);
    if (!status)
        status = emr_tensor_read(emr_model_find_tensor(model, "ones"), 40, &value, sizeof value, error);
    if (!status && value != 1)
        fail("emr_tensor_desc", "the tensor was not computed");
    emr_model_destroy(&model);
    return status;
}

static emr_status with_read_options(world *w, uint64_t future, emr_error *error)
{
    emr_model *model;
    NEW(emr_checkpoint_read_options, options, future);
    emr_status status = emr_checkpoint_open(&model, w->path, &options, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status open_for_source(void *user, const char *name, emr_io *io, uint64_t *stamp, emr_error *error)
{
    emr_file **file = user;
    handed_over("emr_io", io->size, sizeof *io, !io->read);
    emr_status status = emr_file_open(file, name, NULL, error);
    if (!status) {
        io->user = emr_file_io(*file)->user;
        io->read = emr_file_io(*file)->read;
        io->length = emr_file_io(*file)->length;
    }
    *stamp = 1;
    return status;
}

static void close_for_source(void *user, emr_io *io)
{
    (void)io;
    emr_file_close(user);
}

static emr_source_kind kind_for_source(void *user, const char *name)
{
    (void)user, (void)name;
    return EMR_SOURCE_KIND_FILE;
}

static emr_status list_for_source(void *user, const char *folder, emr_found_fn found, void *found_user,
                                  emr_error *error)
{
    (void)user, (void)found, (void)found_user;
    return emr_error_set(error, EMR_EIO, 0, folder, "no folder");
}

static emr_status with_source(world *w, uint64_t future, emr_error *error)
{
    emr_file *file = NULL;
    emr_model *model;
    NEW(emr_source, source, future);
    source.user = &file;
    source.open = open_for_source;
    source.close = close_for_source;
    source.kind = kind_for_source;
    source.list = list_for_source;
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.source = &source;
    emr_status status = emr_checkpoint_open(&model, w->path, &options, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status with_agree_options(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_agree_options, options, future);
    (void)w;
    return emr_adapters_agree(NULL, NULL, 0, &options, error);
}

static emr_status with_write_options(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_checkpoint_write_options, options, future);
    options.replace = 1;
    return emr_checkpoint_write(w->models[BASE], w->path, &options, error);
}

static emr_status with_policy(world *w, uint64_t future, emr_error *error)
{
    emr_merge *merge;
    NEW(emr_policy, policy, future);
    NEW(emr_merge_options, options, 0);
    (void)w;
    options.policy = &policy;
    emr_status status = emr_merge_create(&merge, &options, error);
    emr_merge_destroy(&merge);
    return status;
}

const emr_method *library_method(void)
{
    return emr_method_find("task_arithmetic");
}

static emr_status combine_with(const emr_method *method, emr_error *error)
{
    emr_combination *combination;
    NEW(emr_combination_options, options, 0);
    options.method = method;
    emr_status status = emr_combination_create(&combination, &options, error);
    emr_combination_destroy(&combination);
    return status;
}

static emr_status combine_nothing(const emr_method_chunk *chunk, emr_error *error)
{
    (void)chunk, (void)error;
    return EMR_OK;
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

static emr_status with_method(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_method, method, future);
    (void)w;
    method.name = "nothing";
    method.combine = combine_nothing;
    return combine_with(&method, error);
}

static emr_status with_method_stage(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_method_stage, stage, future);
    NEW(emr_method, method, 0);
    (void)w;
    stage.n_found = find_nothing;
    stage.add_sums = add_nothing;
    method.name = "nothing";
    method.combine = combine_nothing;
    method.stages[0] = &stage;
    return combine_with(&method, error);
}

static emr_status with_combination_options(world *w, uint64_t future, emr_error *error)
{
    emr_combination *combination;
    NEW(emr_combination_options, options, future);
    (void)w;
    options.method = library_method();
    emr_status status = emr_combination_create(&combination, &options, error);
    emr_combination_destroy(&combination);
    return status;
}

void fill_heads_options(world *w, emr_heads_options *options)
{
    static const char *const globs[] = {"head"};
    options->globs = globs;
    options->n_globs = 1;
    options->names = &model_names[FRENCH];
    options->tasks = (const emr_model *const *)&w->models[FRENCH];
    options->n_tasks = N_MODELS - FRENCH;
}

static emr_status with_heads_options(world *w, uint64_t future, emr_error *error)
{
    emr_heads *heads;
    NEW(emr_heads_options, options, future);
    fill_heads_options(w, &options);
    emr_status status = emr_heads_create(&heads, &options, error);
    emr_heads_destroy(&heads);
    return status;
}

static emr_status with_statistics_options(world *w, uint64_t future, emr_error *error)
{
    emr_statistics *statistics;
    NEW(emr_statistics_options, options, future);
    (void)w;
    emr_status status = emr_statistics_create(&statistics, &options, error);
    emr_statistics_destroy(&statistics);
    return status;
}

/* Of one element that is 3 and 4. */
static emr_status compare_tasks(uint64_t group_future, uint64_t options_future, emr_error *error)
{
    const double products[] = {9, 12, 12, 16}, distances[] = {0, 1, 1, 0}, numbers[] = {3, 4};
    const uint64_t zeros[] = {0, 0};
    double matrix[4];
    NEW(emr_statistics_group, group, group_future);
    NEW(emr_kinship_options, options, options_future);
    options.metric = EMR_KINSHIP_METRIC_EUCLID;
    group.n_tasks = 2;
    group.count = 1;
    group.products = products;
    group.distances = distances;
    group.sums = group.magnitudes = group.fourths = group.largest = numbers;
    group.zeros = zeros;
    emr_status status = emr_kinship(&group, &options, matrix, error);
    if (!status && matrix[1] != 1)
        fail("emr_statistics_group", "the distance of 3 and 4 is not 1");
    return status;
}

static emr_status with_statistics_group(world *w, uint64_t future, emr_error *error)
{
    (void)w;
    return compare_tasks(future, 0, error);
}

static emr_status with_kinship_options(world *w, uint64_t future, emr_error *error)
{
    (void)w;
    return compare_tasks(0, future, error);
}

static emr_status with_merge_options(world *w, uint64_t future, emr_error *error)
{
    emr_merge *merge;
    NEW(emr_merge_options, options, future);
    (void)w;
    emr_status status = emr_merge_create(&merge, &options, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status with_modulation_spec(world *w, uint64_t future, emr_error *error)
{
    emr_merge *merge;
    NEW(emr_modulation_spec, spec, future);
    spec.kind = EMR_MODULATOR_KIND_SIGN;
    must(emr_merge_create(&merge, NULL, error), error);
    must(emr_merge_set_base(merge, w->models[BASE], error), error);
    must(emr_merge_add_task(merge, "french", w->models[FRENCH], error), error);
    emr_status status = emr_merge_set_modulation(merge, 0, &spec, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status with_sink(world *w, uint64_t future, emr_error *error)
{
    emr_merge *merge;
    NEW(emr_sink, sink, future);
    NEW(emr_merge_options, options, 0);
    options.rescale_per = EMR_RESCALE_PER_ROW;
    sink.unified = sink.mask = sink.rescalers = on_part;
    must(emr_merge_create(&merge, &options, error), error);
    must(emr_merge_set_base(merge, w->models[BASE], error), error);
    must(emr_merge_add_task(merge, "french", w->models[FRENCH], error), error);
    emr_status status = emr_merge_set_sink(merge, &sink, error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status with_bundle_options(world *w, uint64_t future, emr_error *error)
{
    emr_bundle *bundle;
    NEW(emr_bundle_options, options, future);
    emr_status status = emr_bundle_open(&bundle, emr_buffer_io(w->bytes), NULL, &options, error);
    emr_bundle_destroy(&bundle);
    return status;
}

static emr_status with_view_options(world *w, uint64_t future, emr_error *error)
{
    emr_model *model;
    NEW(emr_view_options, options, future);
    options.dtype = EMR_DTYPE_F32;
    emr_status status = emr_bundle_open_task(&model, w->bundle, 0, w->models[BASE], &options, error);
    emr_model_destroy(&model);
    return status;
}

static emr_status with_base_check_options(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_base_check_options, options, future);
    options.differs = on_difference;
    emr_status status = emr_bundle_check_base(w->bundle, w->models[BASE], &options, error);
    if (!status && emr_bundle_check_base(w->bundle, w->models[FRENCH], &options, error) != EMR_EMISMATCH)
        fail("emr_base_check_options", "another base was taken");
    return status;
}

static emr_status with_task_selection(world *w, uint64_t future, emr_error *error)
{
    const uint32_t tasks[] = {1};
    emr_buffer *buffer;
    NEW(emr_task_selection, selection, future);
    selection.tasks = tasks;
    selection.n_tasks = 1;
    must(emr_buffer_create(&buffer, NULL, error), error);
    emr_status status = emr_bundle_extract(w->bundle, &selection, emr_buffer_io(buffer), NULL, error);
    emr_buffer_destroy(&buffer);
    return status;
}

static emr_status with_session_options(world *w, uint64_t future, emr_error *error)
{
    emr_session *session;
    NEW(emr_session_options, options, future);
    emr_status status = emr_session_create(&session, w->bundle, w->models[BASE], &options, error);
    emr_session_destroy(&session);
    return status;
}

/* Structs lie side by side as the program's headers have them; the second one has the `future`. */
static emr_status with_weights(world *w, uint64_t future, emr_error *error)
{
    float weight[COUNT] = {0}, head[HEAD] = {0};
    emr_weights weights[] = {EMR_INIT(emr_weights), EMR_INIT(emr_weights)};
    weights[0].name = "weight";
    weights[0].data = weight;
    weights[1].name = "head";
    weights[1].data = head;
    SET_FUTURE(&weights[1], future);
    emr_status status = emr_session_apply(w->session, FRENCH - 1, weights, 2, error);
    if (!status && memcmp(head, w->head[FRENCH], sizeof head) != 0)
        fail("emr_weights", "the second one was not written");
    return status;
}

static emr_status with_weights_handed_over(world *w, uint64_t future, emr_error *error)
{
    float staging[COUNT], weight[COUNT] = {0};
    NEW(emr_weights, weights, future);
    weights.name = "weight";
    weights.data = staging;
    weights.staging = COUNT;
    weights.write = take_weights;
    weights.user = weight;
    emr_status status = emr_session_apply(w->session, EMR_BASE, &weights, 1, error);
    if (!status && memcmp(weight, w->weight[BASE], sizeof weight) != 0)
        fail("emr_weights", "other weights were handed over");
    return status;
}

static emr_status with_gather(world *w, uint64_t future, emr_error *error)
{
    const uint32_t tasks[] = {0, EMR_BASE};
    const uint64_t rows[] = {0, 2};
    float out[2 * COLUMNS];
    NEW(emr_gather, gather, future);
    gather.name = "weight";
    gather.tasks = tasks;
    gather.rows = rows;
    gather.out = out;
    gather.n = 2;
    emr_status status = emr_session_gather(w->session, &gather, error);
    if (!status && memcmp(out + COLUMNS, w->weight[BASE] + 2 * COLUMNS, COLUMNS * sizeof *out) != 0)
        fail("emr_gather", "a row is wrong");
    return status;
}

static emr_status with_product(world *w, uint64_t future, emr_error *error)
{
    const uint32_t tasks[] = {0, EMR_BASE};
    float x[2 * COLUMNS] = {0}, y[2 * ROWS];
    NEW(emr_product, product, future);
    x[0] = x[COLUMNS] = 1;
    product.x = x;
    product.y = y;
    product.batch = 2;
    product.n_rows = ROWS;
    emr_status status = emr_session_multiply(w->session, tasks, &product, error);
    if (!status && y[ROWS] != w->weight[BASE][0])
        fail("emr_product", "a session's product is wrong");
    return status;
}

static emr_status with_product_of_modulators(world *w, uint64_t future, emr_error *error)
{
    emr_modulator *modulators[] = {w->modulator};
    float x[COLUMNS] = {1}, y[ROWS];
    NEW(emr_product, product, future);
    product.x = x;
    product.y = y;
    product.batch = 1;
    product.n_rows = ROWS;
    product.n_columns = COLUMNS;
    return emr_modulator_multiply(modulators, &product, EMR_DTYPE_F32, w->weight[BASE], error);
}

static emr_status with_application(world *w, uint64_t future, emr_error *error)
{
    float out[COUNT];
    NEW(emr_application, application, future);
    application.base = w->weight[BASE];
    application.out = out;
    application.count = COUNT;
    application.base_dtype = application.out_dtype = EMR_DTYPE_F32;
    return emr_modulator_apply(w->modulator, &application, error);
}

static emr_status with_modulation(world *w, uint64_t future, emr_error *error)
{
    static const float unified[8] = {1}, rescaler[1] = {2};
    static const uint8_t mask[1] = {1};
    emr_modulator *modulator;
    NEW(emr_modulation, modulation, future);
    (void)w;
    modulation.name = "weight";
    modulation.unified = unified;
    modulation.unified_dtype = EMR_DTYPE_F32;
    modulation.mask = mask;
    modulation.rescalers = rescaler;
    modulation.count = 8;
    modulation.n_rescalers = 1;
    must(emr_modulator_create(&modulator, NULL, error), error);
    emr_status status = emr_modulator_add(modulator, &modulation, error);
    emr_modulator_destroy(&modulator);
    return status;
}

static emr_status with_search_options(world *w, uint64_t future, emr_error *error)
{
    emr_search *search;
    NEW(emr_search_options, options, future);
    (void)w;
    emr_status status = emr_search_create(&search, &options, error);
    emr_search_destroy(&search);
    return status;
}

emr_search *make_search(emr_error *error)
{
    emr_search *search;
    NEW(emr_search_options, options, 0);
    options.max_generations = 1;
    must(emr_search_create(&search, &options, error), error);
    must(emr_search_add_model(search, "french", error), error);
    must(emr_search_add_model(search, "german", error), error);
    return search;
}

static emr_status with_search_host(world *w, uint64_t future, emr_error *error)
{
    emr_search *search = make_search(error);
    NEW(emr_search_host, host, future);
    (void)w;
    host.merge = on_merge;
    host.evaluate = on_evaluate;
    emr_status status = emr_search_run(search, &host, error);
    emr_search_destroy(&search);
    return status;
}

static emr_status with_trials_options(world *w, uint64_t future, emr_error *error)
{
    NEW(emr_trials_options, options, future);
    NEW(emr_trial, best, 0);
    (void)w;
    options.evaluate = on_trial;
    options.n_trials = 3;
    options.n_values = 2;
    emr_status status = emr_trials_run(&options, &best, error);
    if (!status && best.number != 3)
        fail("emr_trials_options", "n_trials was not heard");
    return status;
}

static const struct {
    const char *type;
    emr_status (*call)(world *w, uint64_t future, emr_error *error);
} going_in[] = {
    {"emr_agree_options", with_agree_options},
    {"emr_allocator", with_allocator},
    {"emr_executor", with_executor},
    {"emr_resources", with_resources},
    {"emr_pool_options", with_pool_options},
    {"emr_io", with_io},
    {"emr_file_options", with_file_options},
    {"emr_model_options", with_model_options},
    {"emr_tensor_desc", with_tensor_desc},
    {"emr_checkpoint_write_options", with_write_options},
    {"emr_checkpoint_read_options", with_read_options},
    {"emr_source", with_source},
    {"emr_policy", with_policy},
    {"emr_heads_options", with_heads_options},
    {"emr_merge_options", with_merge_options},
    {"emr_combination_options", with_combination_options},
    {"emr_method", with_method},
    {"emr_method_stage", with_method_stage},
    {"emr_modulation_spec", with_modulation_spec},
    {"emr_sink", with_sink},
    {"emr_bundle_options", with_bundle_options},
    {"emr_view_options", with_view_options},
    {"emr_base_check_options", with_base_check_options},
    {"emr_task_selection", with_task_selection},
    {"emr_session_options", with_session_options},
    {"emr_weights", with_weights},
    {"emr_weights", with_weights_handed_over},
    {"emr_gather", with_gather},
    {"emr_product", with_product},
    {"emr_product", with_product_of_modulators},
    {"emr_application", with_application},
    {"emr_modulation", with_modulation},
    {"emr_statistics_options", with_statistics_options},
    {"emr_statistics_group", with_statistics_group},
    {"emr_kinship_options", with_kinship_options},
    {"emr_search_options", with_search_options},
    {"emr_search_host", with_search_host},
    {"emr_trials_options", with_trials_options},
};

void check_going_in(world *w)
{
    for (size_t i = 0; i < sizeof going_in / sizeof *going_in; i++) {
        emr_error error;
        dirty_stack();
        emr_status status = going_in[i].call(w, 0, &error);
        if (status)
            fail(going_in[i].type, error.text);
#if GROWTH < 0
        memset(&error, 0, sizeof error);
        status = going_in[i].call(w, 1, &error);
        if (status != EMR_EVERSION)
            fail(going_in[i].type, "a member that this library does not know was set, and not refused");
        else if (!strstr(error.text, going_in[i].type))
            fail(going_in[i].type, error.text);
#endif
        printf("went in %s\n", going_in[i].type);
    }
}
