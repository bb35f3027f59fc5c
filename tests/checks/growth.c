/* growth.c FOLDER - a program whose headers and library are of different versions: growth_of_structs.py has
 * given every growable struct of the one or the other one more member, `future`. GROWTH is by how many bytes
 * the library's structs are larger than the program's: -8, 0 or 8.
 *
 * Every struct goes through the calls that take, fill or hand it over, and is printed with its name, so that
 * the script sees when one was forgotten. Structs are as the headers ask for, on a stack that was full of
 * other bytes. */
#include "growth.h"

static int failures;

void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    failures++;
}

void must(emr_status status, const emr_error *error)
{
    if (status) {
        fprintf(stderr, "growth: %s: %s\n", emr_status_name(status), error->text);
        exit(1);
    }
}

void dirty_stack(void)
{
    volatile unsigned char bytes[32768];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = 0xff;
}

/* ---- structs that are filled ---- */

static bool is_filled_with(const unsigned char *bytes, size_t n, unsigned char value)
{
    while (n && bytes[n - 1] == value)
        n--;
    return n == 0;
}

/* `call` fills `out`, in which every byte but those of its size was set before, and nothing behind it. */
#define CHECK_FILLED(type, call, right)                                                                      \
    do {                                                                                                     \
        struct {                                                                                             \
            type out;                                                                                        \
            unsigned char behind[64];                                                                        \
        } place;                                                                                             \
        type *out = &place.out;                                                                              \
        memset(&place, 0xa5, sizeof place);                                                                  \
        out->size = sizeof *out;                                                                             \
        if ((call) != EMR_OK)                                                                                \
            fail(#type, "was not filled");                                                                   \
        else if (out->size != sizeof *out || FUTURE(out) != 0)                                               \
            fail(#type, "its size or what the library does not know is not as it should be");                \
        else if (!is_filled_with(place.behind, sizeof place.behind, 0xa5))                                   \
            fail(#type, "more was filled than the program has");                                             \
        else if (!(right))                                                                                   \
            fail(#type, "was filled with something else");                                                   \
        printf("filled %s\n", #type);                                                                        \
    } while (0)

/* A method of the host's that changes nothing. */
static emr_status combine_zeros(const emr_method_chunk *chunk, emr_error *error)
{
    (void)error;
    handed_over("emr_method_chunk", chunk->size, sizeof *chunk, chunk->n > 0 && chunk->base != NULL);
    handed_over("emr_method_tensor", chunk->tensor->size, sizeof *chunk->tensor,
                chunk->tensor->n_inputs == 1);
    memset(chunk->out, 0, chunk->n * sizeof *chunk->out);
    return EMR_OK;
}

static void check_own_method(world *w)
{
    emr_combination *c;
    emr_model *model;
    emr_error error;
    float first;
    NEW(emr_combination_options, options, 0);
    NEW(emr_method, method, 0);
    method.name = "nothing";
    method.base = EMR_METHOD_BASE_REQUIRED;
    method.combine = combine_zeros;
    options.method = &method;
    must(emr_combination_create(&c, &options, &error), &error);
    must(emr_combination_set_base(c, w->models[BASE], &error), &error);
    must(emr_combination_add_task(c, "french", w->models[FRENCH], &error), &error);
    must(emr_combination_open_model(c, &model, &error), &error);
    must(emr_tensor_read_floats(emr_model_tensor(model, 0), 1, 1, &first, &error), &error);
    if (first != w->weight[BASE][1])
        fail("emr_method_chunk", "what was computed is not what came out");
    emr_model_destroy(&model);
    emr_combination_destroy(&c);
}

static void check_combination(world *w)
{
    emr_combination *c;
    emr_error error;
    NEW(emr_combination_options, options, 0);
    options.method = library_method();
    must(emr_combination_create(&c, &options, &error), &error);
    must(emr_combination_set_base(c, w->models[BASE], &error), &error);
    must(emr_combination_add_task(c, "french", w->models[FRENCH], &error), &error);
    must(emr_combination_set_parameter(c, "weight", EMR_EVERY_TASK, NULL, 1, &error), &error);
    CHECK_FILLED(emr_combination_plan, emr_combination_get_plan(c, out, &error), out->n_tensors == 2);
    CHECK_FILLED(emr_combined_tensor, emr_combination_get_tensor(c, 0, out), out->rank == 2);
    emr_combination_destroy(&c);
}

static void check_heads(world *w)
{
    emr_heads *heads;
    emr_error error;
    NEW(emr_heads_options, options, 0);
    fill_heads_options(w, &options);
    must(emr_heads_create(&heads, &options, &error), &error);
    CHECK_FILLED(emr_head_group, emr_heads_get_group(heads, 1, out),
                 out->first == HEAD && out->count == HEAD);
    emr_heads_destroy(&heads);
}

static void check_filled_by_searches(void)
{
    emr_error error;
    emr_search *search = make_search(&error);
    NEW(emr_search_host, host, 0);
    NEW(emr_trials_options, trials, 0);
    host.merge = on_merge;
    host.evaluate = on_evaluate;
    trials.evaluate = on_trial;
    trials.n_values = 2;
    must(emr_search_run(search, &host, &error), &error);
    CHECK_FILLED(emr_search_candidate, emr_search_get_candidate(search, 2, out), out->second == 1);
    CHECK_FILLED(emr_search_result, emr_search_get_result(search, out), out->best == 2);
    CHECK_FILLED(emr_trial, emr_trials_run(&trials, out, &error), out->number == 500);
    emr_search_destroy(&search);
}

static void check_statistics(world *w)
{
    emr_statistics *s;
    emr_error error;
    NEW(emr_statistics_options, options, 0);
    NEW(emr_statistics_group, group, 0);
    must(emr_statistics_create(&s, &options, &error), &error);
    must(emr_statistics_set_base(s, w->models[BASE], &error), &error);
    must(emr_statistics_add_task(s, "french", w->models[FRENCH], &error), &error);
    CHECK_FILLED(emr_statistics_plan, emr_statistics_get_plan(s, out, &error), out->n_tensors == 2);
    must(emr_statistics_run(s, &error), &error);
    CHECK_FILLED(emr_statistics_group, emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, out),
                 out->layer == -1);
    must(emr_statistics_get_group(s, EMR_STATISTICS_SCOPE_MODEL, 0, &group), &error);
    CHECK_FILLED(emr_task_moments, emr_statistics_get_moments(&group, 0, out), out->norm > 0);
    emr_statistics_destroy(&s);
}

static void check_filled(world *w)
{
    const uint32_t dropped[] = {0};
    emr_buffer *buffer;
    emr_error error;
    NEW(emr_task_selection, selection, 0);
    selection.tasks = dropped;
    selection.n_tasks = 1;
    must(emr_buffer_create(&buffer, NULL, &error), &error);

    CHECK_FILLED(emr_features, emr_get_features(out), out->hosted == 1 && out->format_major == 1);
    CHECK_FILLED(emr_plan_summary, emr_merge_get_plan(w->merge, out, &error), out->n_merged == 1);
    CHECK_FILLED(emr_plan_tensor, emr_merge_get_plan_tensor(w->merge, 0, out), out->n_private == 0);
    CHECK_FILLED(emr_task_report, emr_merge_get_task_report(w->merge, 0, out), out->empty_mask == 0);
    CHECK_FILLED(emr_bundle_info, emr_bundle_get_info(w->bundle, out), out->n_tasks == 2);
    CHECK_FILLED(emr_task_info, emr_bundle_get_task(w->bundle, 0, out), out->n_private == 1);
    CHECK_FILLED(emr_tensor_info, emr_bundle_get_tensor(w->bundle, 0, out), out->merged == 1);
    CHECK_FILLED(emr_modulation_spec, emr_bundle_get_modulation(w->bundle, 0, out, NULL),
                 out->kind == EMR_MODULATOR_KIND_MASK);
    CHECK_FILLED(emr_fidelity, emr_bundle_get_modulation(w->bundle, 0, NULL, out), out->error != out->error);
    CHECK_FILLED(emr_private_info, emr_bundle_get_private(w->bundle, 0, 0, out), out->rank == 1);
    CHECK_FILLED(emr_drop_report, emr_bundle_drop(w->bundle, &selection, emr_buffer_io(buffer), out, &error),
                 out->unified > 0);
    CHECK_FILLED(emr_tensor_role, emr_tensor_get_role(emr_model_tensor(w->models[BASE], 0), out),
                 out->role == EMR_ROLE_WEIGHT);
    CHECK_FILLED(emr_session_info, emr_session_get_info(w->session, out), out->masks_read > 0);
    CHECK_FILLED(emr_modulator_stats, emr_modulator_get_stats(w->modulator, 0, out, &error), out->ones > 0);
    emr_buffer_destroy(&buffer);
    check_combination(w);
    check_own_method(w);
    check_heads(w);
    check_statistics(w);
    check_filled_by_searches();
}

/* ---- the world ---- */

static emr_model *make_model(world *w, int which)
{
    const uint64_t shape[] = {ROWS, COLUMNS}, head[] = {HEAD};
    emr_model *model;
    emr_error error;
    NEW(emr_model_options, options, 0);
    NEW(emr_tensor_desc, desc, 0);
    options.name = model_names[which];
    must(emr_model_create(&model, &options, &error), &error);
    desc.name = "weight";
    desc.dtype = EMR_DTYPE_F32;
    desc.rank = 2;
    desc.shape = shape;
    desc.data = w->weight[which];
    must(emr_model_add(model, &desc, &error), &error);
    desc.name = "head";
    desc.rank = 1;
    desc.shape = head;
    desc.data = w->head[which];
    must(emr_model_add(model, &desc, &error), &error);
    return model;
}

static void make_models(world *w)
{
    for (int m = 0; m < N_MODELS; m++) {
        for (int i = 0; i < COUNT; i++)
            w->weight[m][i] = (float)(i % 7) + (float)(m * (i % 5 - 2));
        for (int i = 0; i < HEAD; i++)
            w->head[m][i] = (float)(m + i);
        w->models[m] = make_model(w, m);
    }
}

static void run_merge(world *w)
{
    static const char *const heads[] = {"head"};
    emr_error error;
    NEW(emr_policy, policy, 0);
    NEW(emr_resources, resources, 0);
    NEW(emr_merge_options, options, 0);
    policy.private_globs = heads;
    policy.n_private_globs = 1;
    resources.executor = emr_pool_executor(w->pool);
    resources.progress = on_progress;
    options.policy = &policy;
    options.resources = &resources;
    must(emr_buffer_create(&w->bytes, NULL, &error), &error);
    must(emr_merge_create(&w->merge, &options, &error), &error);
    must(emr_merge_set_base(w->merge, w->models[BASE], &error), &error);
    for (int m = FRENCH; m < N_MODELS; m++)
        must(emr_merge_add_task(w->merge, model_names[m], w->models[m], &error), &error);
    must(emr_merge_set_output(w->merge, emr_buffer_io(w->bytes), &error), &error);
    must(emr_merge_run(w->merge, &error), &error);
}

static void make_world(world *w)
{
    emr_error error;
    make_models(w);
    snprintf(w->path, sizeof w->path, "%s/base.safetensors", w->folder);
    must(emr_pool_create(&w->pool, NULL, &error), &error);
    run_merge(w);
    must(emr_bundle_open(&w->bundle, emr_buffer_io(w->bytes), "bundle", NULL, &error), &error);
    must(emr_bundle_open_modulator(&w->modulator, w->bundle, 0, NULL, &error), &error);
    must(emr_session_create(&w->session, w->bundle, w->models[BASE], NULL, &error), &error);
}

static void destroy_world(world *w)
{
    emr_session_destroy(&w->session);
    emr_modulator_destroy(&w->modulator);
    emr_bundle_destroy(&w->bundle);
    emr_merge_destroy(&w->merge);
    emr_buffer_destroy(&w->bytes);
    emr_pool_destroy(&w->pool);
    for (int m = 0; m < N_MODELS; m++)
        emr_model_destroy(&w->models[m]);
}

int main(int argc, char **argv)
{
    static world w;
    if (argc != 2)
        return 2;
    w.folder = argv[1];
    dirty_stack();
    make_world(&w);
    check_going_in(&w);
    check_filled(&w);
    destroy_world(&w);
    return failures ? 1 : 0;
}
