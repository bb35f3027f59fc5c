/* session_world.c - see session_world.h. */
#include "session_world.h"

/* The last one is lacked by a task. */
static const test_tensor world_tensors[] = {
    {"embed", EMR_DTYPE_F32, 2, {97, 24}},
    {"tall", EMR_DTYPE_BF16, 2, {900, 31}},
    {"norm", EMR_DTYPE_F32, 1, {48}},
    {"scale", EMR_DTYPE_F32, 0, {0}},
    {"experts", EMR_DTYPE_F16, 3, {3, 8, 40}},
    {"double", EMR_DTYPE_F64, 2, {5, 12}},
    {"none", EMR_DTYPE_F32, 2, {0, 7}},
    {"hollow", EMR_DTYPE_F32, 2, {7, 0}},
    {"ids", EMR_DTYPE_I32, 2, {6, 9}},
    {"steps", EMR_DTYPE_I64, 1, {20}},
    {"head.a", EMR_DTYPE_F32, 2, {3, 11000}},
    {"head.b", EMR_DTYPE_BF16, 1, {4099}},
    {"bn.running_mean", EMR_DTYPE_F32, 1, {48}},
    {"bn.running_var", EMR_DTYPE_F32, 1, {48}},
    {"late", EMR_DTYPE_F32, 2, {11, 13}},
};
enum { N_TENSORS = sizeof world_tensors / sizeof *world_tensors };

const world_setting world_settings[] = {
    {.source = SOURCE_MEMORY},
    {.source = SOURCE_MEMORY, .threads = 4, .mask_blocks = 1},
    {.source = SOURCE_READ, .threads = 4, .mask_blocks = 3},
    {.embedded = true, .threads = 4},
    {.embedded = true, .mask_blocks = 2},
};
const size_t n_world_settings = sizeof world_settings / sizeof *world_settings;

static bool is_statistic(const char *name)
{
    return strncmp(name, "bn.", 3) == 0;
}

static test_set world_set(test_source source)
{
    rng r = {47};
    test_set s = {.n = WORLD_TASKS, .tasks = calloc(WORLD_TASKS, sizeof *s.tasks)};
    s.base = test_model_create("base", world_tensors, N_TENSORS, source);
    test_model_randomise(&s.base, &r);
    for (size_t t = 0; t < WORLD_TASKS; t++) {
        s.tasks[t] =
            test_model_create("task", world_tensors, N_TENSORS - (t == WORLD_LACKING), SOURCE_MEMORY);
        test_model_perturb(&s.tasks[t], &s.base, 0.1f, &r);
        for (size_t i = 0; i < s.tasks[t].n; i++)
            if (is_statistic(world_tensors[i].name))
                memcpy(s.tasks[t].data[i], s.base.data[i], (size_t)test_tensor_count(&world_tensors[i]) * 4);
    }
    return s;
}

void world_create(session_world *w, const world_setting *setting)
{
    static const char *const globs[] = {"head.*"};
    const emr_policy policy = {.size = sizeof policy,
                               .private_globs = globs,
                               .n_private_globs = 1,
                               .on_missing = EMR_ON_MISSING_ABSENT};
    const emr_merge_options merge = {.size = sizeof merge,
                                     .policy = &policy,
                                     .rescale_per = EMR_RESCALE_PER_ROW,
                                     .block_params = 4096,
                                     .embed_base = setting->embedded};
    emr_session_options options = EMR_INIT(emr_session_options);
    *w = (session_world){.counts = {.fail_at = SIZE_MAX}};
    w->set = world_set(setting->source);
    w->buffer = test_merge_bundle(&w->set, &merge);
    w->input = (test_io){.inner = *emr_buffer_io(w->buffer), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    emr_io io = test_io_make(&w->input);
    assert_ok(emr_bundle_open(&w->bundle, &io, "test.emr", NULL, &w->error), &w->error);
    w->info = EMR_INIT(emr_bundle_info);
    assert_int_equal(emr_bundle_get_info(w->bundle, &w->info), EMR_OK);
    w->pool = setting->threads ? test_pool_new(setting->threads) : NULL;
    emr_allocator allocator = test_allocator_make(&w->counts);
    const emr_resources resources = test_resources(&allocator, w->pool ? emr_pool_executor(w->pool) : NULL);
    options.resources = &resources;
    options.mask_bytes = setting->mask_blocks * 512;
    assert_ok(emr_session_create(&w->session, w->bundle, setting->embedded ? NULL : w->set.base.model,
                                 &options, &w->error),
              &w->error);
}

void world_destroy(session_world *w)
{
    emr_session_destroy(&w->session);
    assert_int_equal(w->counts.alive, 0);
    emr_bundle_destroy(&w->bundle);
    emr_pool_destroy(&w->pool);
    emr_buffer_destroy(&w->buffer);
    test_set_destroy(&w->set);
}

emr_tensor_info world_tensor(const session_world *w, uint32_t tensor)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    assert_int_equal(emr_bundle_get_tensor(w->bundle, tensor, &info), EMR_OK);
    return info;
}

uint32_t world_number(const session_world *w, const char *name)
{
    uint32_t tensor = 0;
    assert_int_equal(emr_bundle_find_tensor(w->bundle, name, &tensor, NULL), EMR_OK);
    return tensor;
}

unsigned char *world_weights(session_world *w, uint32_t task, const char *name, emr_dtype dtype, uint64_t *n)
{
    enum { MOST = 3 * 11000 };
    emr_weights to = EMR_INIT(emr_weights);
    to.name = name;
    to.data = calloc(MOST, 8);
    to.dtype = dtype;
    assert_ok(emr_session_apply(w->session, task, &to, 1, &w->error), &w->error);
    for (size_t i = 0; i < N_TENSORS; i++)
        if (strcmp(world_tensors[i].name, name) == 0)
            *n = test_tensor_count(&world_tensors[i]);
    assert_true(*n <= MOST);
    return to.data;
}

void assert_told(session_world *w, emr_status status, emr_status want, const char *says)
{
    assert_int_equal(status, want);
    if (!strstr(w->error.text, says))
        fail_msg("'%s' does not say '%s'", w->error.text, says);
    memset(&w->error, 0, sizeof w->error);
}
