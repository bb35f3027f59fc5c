/* statistics.c - the public handle (emr/statistics.h): options, models, the plan, and the order of a run. */
#include "statistics/handle.h"

#include "core/structs.h"
#include "core/text.h"
#include "model/arranged.h"
#include "statistics/quantiles.h"
#include "statistics/sweep.h"

#include <string.h>

enum { QUANTILES_MAX = 1024 };

static emr_status check_statistics_options(const emr_statistics_options *o, emr_error *error)
{
    if (o->on_nonfinite > EMR_ON_NONFINITE_ZERO || o->rounding > EMR_STATISTICS_ROUNDING_PER_TENSOR)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_options: unknown on_nonfinite or rounding");
    if (o->n_quantiles && (!o->quantiles || o->n_quantiles > QUANTILES_MAX))
        return emr_fail(error, EMR_EINVAL,
                        "emr_statistics_options: quantiles is NULL, or there are more than %u",
                        (uint64_t)QUANTILES_MAX);
    for (uint32_t i = 0; i < o->n_quantiles; i++)
        if (!(o->quantiles[i] >= 0 && o->quantiles[i] <= 1))
            return emr_fail(error, EMR_EINVAL, "emr_statistics_options: a quantile is not between 0 and 1");
    if (o->rounding && o->n_quantiles)
        return emr_fail(error, EMR_EINVAL,
                        "emr_statistics_options: there are no quantiles of rounded task vectors");
    if (o->rounding == EMR_STATISTICS_ROUNDING_PER_TENSOR && o->without_tensors)
        return emr_fail(error, EMR_EINVAL,
                        "emr_statistics_options: rounding per tensor needs the groups of tensors");
    return EMR_OK;
}

/* The handle's own copies. */
static emr_status copy_options(emr_statistics *s, emr_error *error)
{
    emr_statistics_options *o = &s->options;
    emr_status status = emr_policy_take(&s->policy, o->policy, &s->env.allocator, error);
    s->fractions = emr_allocate_array(&s->env.allocator, o->n_quantiles, sizeof *s->fractions);
    if (!status && !s->fractions)
        return emr_no_memory(error, NULL);
    for (uint32_t i = 0; !status && i < o->n_quantiles; i++)
        s->fractions[i] = o->quantiles[i];
    o->quantiles = s->fractions;
    o->policy = NULL;
    o->resources = NULL;
    return status;
}

emr_status emr_statistics_create(emr_statistics **statistics, const emr_statistics_options *given,
                                 emr_error *error)
{
    emr_statistics_options options;
    emr_env env;
    if (!statistics)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_create: NULL");
    *statistics = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_statistics_options, error);
    if (!status)
        status = check_statistics_options(&options, error);
    if (!status)
        status = emr_env_take(&env, options.resources, NULL, error);
    if (status)
        return status;
    emr_statistics *s = emr_allocate_array(&env.allocator, 1, sizeof *s);
    if (!s)
        return emr_no_memory(error, NULL);
    s->env = env;
    s->options = options;
    status = copy_options(s, error);
    if (status)
        emr_statistics_destroy(&s);
    *statistics = s;
    return status;
}

static void free_results(emr_statistics *s)
{
    const emr_allocator *allocator = &s->env.allocator;
    emr_task_sums_free(&s->model, allocator);
    emr_task_sums_free(&s->tensors, allocator);
    emr_task_sums_free(&s->layers, allocator);
    emr_task_sums_free(&s->kinds, allocator);
    emr_release(allocator, s->tensor_quantiles);
    emr_release(allocator, s->model_quantiles);
    s->tensor_quantiles = s->model_quantiles = NULL;
}

void emr_statistics_destroy(emr_statistics **statistics)
{
    if (!statistics || !*statistics)
        return;
    emr_statistics *s = *statistics;
    const emr_allocator allocator = s->env.allocator;
    free_results(s);
    emr_groups_free(&s->groups, &allocator);
    if (s->state != STATISTICS_OPEN)
        emr_alignment_free(&s->alignment);
    emr_policy_free(&s->policy, &allocator);
    for (uint32_t t = 0; t < s->n_tasks; t++)
        emr_release(&allocator, s->tasks[t].name);
    emr_release(&allocator, s->tasks);
    emr_release(&allocator, s->fractions);
    emr_release(&allocator, s);
    *statistics = NULL;
}

emr_status emr_statistics_set_base(emr_statistics *s, const emr_model *base, emr_error *error)
{
    if (!s || !base)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_set_base: NULL");
    if (s->state != STATISTICS_OPEN)
        return emr_fail(error, EMR_ESTATE, "base and tasks are set before the plan");
    s->base = base;
    return EMR_OK;
}

static emr_status check_task_is_new(const emr_statistics *s, const char *name, emr_error *error)
{
    size_t length = strlen(name);
    if (length < 1 || length > 255)
        return emr_fail(error, EMR_EINVAL, "a task's name has 1 to 255 bytes, not %u", (uint64_t)length);
    if (!emr_is_utf8(name, length))
        return emr_fail(error, EMR_EINVAL, "the task name '%K' is not valid UTF-8", name);
    for (uint32_t t = 0; t < s->n_tasks; t++)
        if (strcmp(s->tasks[t].name, name) == 0)
            return emr_fail(error, EMR_EEXIST, "two tasks are named '%K'", name);
    return s->n_tasks < UINT16_MAX ? EMR_OK : emr_fail(error, EMR_ELIMIT, "too many tasks");
}

emr_status emr_statistics_add_task(emr_statistics *s, const char *name, const emr_model *model,
                                   emr_error *error)
{
    if (!s || !name || !model)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_add_task: NULL");
    if (s->state != STATISTICS_OPEN)
        return emr_fail(error, EMR_ESTATE, "base and tasks are set before the plan");
    emr_status status = check_task_is_new(s, name, error);
    if (status)
        return status;
    char *copy = emr_copy_string(&s->env.allocator, name);
    if (!copy || !emr_grow(&s->env.allocator, (void **)&s->tasks, &s->tasks_capacity, (size_t)s->n_tasks + 1,
                           sizeof *s->tasks)) {
        emr_release(&s->env.allocator, copy);
        return emr_no_memory(error, NULL);
    }
    s->tasks[s->n_tasks++] = (emr_task){.name = copy, .model = model};
    return EMR_OK;
}

/* ---- the plan ---- */

static emr_status align_models(emr_statistics *s, emr_error *error)
{
    emr_policy policy = s->policy; /* borrows the globs */
    if (s->options.skip_missing) {
        policy.on_missing = EMR_ON_MISSING_ABSENT;
        policy.n_absent_globs = policy.n_base_globs = 0;
    }
    emr_status status =
        emr_align(&s->alignment, &s->env.allocator, &policy, s->base, s->tasks, s->n_tasks, error);
    if (status)
        return status;
    status = emr_groups_find(&s->groups, &s->alignment, s->options.max_rows, s->options.skip_missing, error);
    if (status)
        emr_alignment_free(&s->alignment);
    return status;
}

static emr_status plan_statistics(emr_statistics *s, emr_error *error)
{
    if (s->state != STATISTICS_OPEN)
        return EMR_OK;
    if (!s->base || !s->n_tasks)
        return emr_fail(error, EMR_ESTATE, "statistics need a base and at least one task");
    emr_status status = align_models(s, error);
    if (!status)
        s->state = STATISTICS_PLANNED;
    return status;
}

static uint64_t n_tensor_records(const emr_statistics *s)
{
    return s->options.without_tensors ? 1 : s->groups.n_tensors;
}

/* Whether quantiles of tensors are kept. */
static uint64_t n_quantile_groups(const emr_statistics *s)
{
    return s->options.without_tensors ? 1 : (uint64_t)s->groups.n_tensors + 1;
}

/* Of what a run keeps. */
static uint64_t bytes_of_results(const emr_statistics *s)
{
    uint64_t records = n_tensor_records(s) + s->groups.n_layers + s->groups.n_kinds + 1;
    uint64_t sums = emr_task_sums_bytes(s->n_tasks, records), quantiles;
    bool fits = emr_mul((uint64_t)s->n_tasks * s->options.n_quantiles * sizeof(double), n_quantile_groups(s),
                        &quantiles) &&
                emr_add(sums, quantiles, &sums);
    return fits && sums < UINT64_MAX / 4 ? sums : UINT64_MAX / 4;
}

static emr_sweep sweep_of(emr_statistics *s, const emr_env *env)
{
    return (emr_sweep){.alignment = &s->alignment,
                       .groups = &s->groups,
                       .env = env,
                       .kernels = emr_kernels_select(),
                       .on_nonfinite = s->options.on_nonfinite,
                       .keeps_tensors = !s->options.without_tensors,
                       .besides = bytes_of_results(s),
                       .model = &s->model,
                       .tensors = &s->tensors,
                       .layers = &s->layers,
                       .kinds = &s->kinds};
}

/* Tensors of the base that a host knows of, and that do not count. */
static uint32_t n_left_out(const emr_statistics *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->alignment.n_base; i++) {
        const emr_tensor *base = s->alignment.entries[i].base;
        n += !(base->own && base->own->is_rest);
    }
    return n - s->groups.n_tensors;
}

/* What the sums take, and whether everything fits: quantiles first, which take more where there are some. */
static emr_status plan_memory(emr_statistics *s, emr_layout *layout, emr_error *error)
{
    const emr_sweep sweep = sweep_of(s, &s->env);
    emr_status status = emr_quantiles_check(s, sweep.besides, error);
    return status ? status : emr_sweep_plan(layout, &sweep, error);
}

emr_status emr_statistics_get_plan(emr_statistics *s, emr_statistics_plan *plan, emr_error *error)
{
    emr_layout layout;
    if (!s || !plan)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_get_plan: NULL");
    emr_status status = plan_statistics(s, error);
    if (!status)
        status = plan_memory(s, &layout, error);
    if (status)
        return status;
    const emr_statistics_plan known = {.params = s->groups.count,
                                       .bytes_in = s->alignment.merged_bytes,
                                       .peak_memory =
                                           emr_quantiles_memory(s, layout.memory, bytes_of_results(s)),
                                       .result_bytes = bytes_of_results(s),
                                       .n_tensors = s->groups.n_tensors,
                                       .n_left_out = n_left_out(s),
                                       .n_layers = s->groups.n_layers,
                                       .n_kinds = s->groups.n_kinds};
    status = EMR_GIVE(plan, &known, emr_statistics_plan);
    return status ? emr_fail(error, status, "emr_statistics_plan.size is too small (EMR_INIT sets it)")
                  : EMR_OK;
}

/* ---- the run ---- */

static emr_status tell_stage(void *user, const emr_progress *stage_progress, emr_error *error)
{
    const statistics_stage *stage = user;
    emr_progress progress = {.size = sizeof progress, .total = stage->total};
    progress.done = emr_min(stage->before + stage_progress->done, stage->total);
    return stage->env->progress(stage->env->progress_user, &progress, error);
}

emr_env emr_statistics_stage_env(const statistics_stage *stage)
{
    emr_env env = *stage->env;
    if (env.progress) {
        env.progress = tell_stage;
        env.progress_user = (void *)(uintptr_t)stage;
    }
    return env;
}

static bool create_results(emr_statistics *s)
{
    const emr_allocator *allocator = &s->env.allocator;
    const emr_groups *g = &s->groups;
    size_t n_numbers = (size_t)s->n_tasks * s->options.n_quantiles;
    free_results(s);
    bool complete = emr_task_sums_create(&s->model, allocator, s->n_tasks, 1);
    complete =
        emr_task_sums_create(&s->tensors, allocator, s->n_tasks, (size_t)n_tensor_records(s)) && complete;
    complete = emr_task_sums_create(&s->layers, allocator, s->n_tasks, g->n_layers) && complete;
    complete = emr_task_sums_create(&s->kinds, allocator, s->n_tasks, g->n_kinds) && complete;
    s->model_quantiles = emr_allocate_array(allocator, n_numbers, sizeof(double));
    s->tensor_quantiles =
        emr_allocate_array(allocator, (size_t)n_quantile_groups(s), n_numbers * sizeof(double));
    return complete && s->model_quantiles && s->tensor_quantiles;
}

static void clear_results(const emr_task_sums_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        emr_task_sums_clear(t, i);
}

/* The largest magnitudes of what was swept, as a table of its own. */
static bool copy_largest(const emr_statistics *s, emr_task_sums_table *kept)
{
    const emr_task_sums_table *of =
        s->options.rounding == EMR_STATISTICS_ROUNDING_PER_MODEL ? &s->model : &s->tensors;
    if (!emr_task_sums_create(kept, &s->env.allocator, s->n_tasks, of->n))
        return false;
    for (size_t i = 0; i < of->n; i++)
        memcpy(emr_task_sums_at(kept, i).largest, emr_task_sums_at(of, i).largest,
               s->n_tasks * sizeof(double));
    return true;
}

/* Reads once more, what was found before being the scales. */
static emr_status sweep_rounded(emr_statistics *s, statistics_stage *stage, emr_error *error)
{
    emr_task_sums_table largest = {0};
    emr_status status = copy_largest(s, &largest) ? EMR_OK : emr_no_memory(error, NULL);
    const emr_env env = emr_statistics_stage_env(stage);
    emr_sweep sweep = sweep_of(s, &env);
    sweep.largest_of = &largest;
    clear_results(&s->model);
    clear_results(&s->tensors);
    clear_results(&s->layers);
    clear_results(&s->kinds);
    if (!status)
        status = emr_sweep_run(&sweep, error);
    emr_task_sums_free(&largest, &s->env.allocator);
    return status;
}

static void complete_results(const emr_statistics *s)
{
    const emr_groups *g = &s->groups;
    const emr_task_sums model = emr_task_sums_at(&s->model, 0);
    emr_task_sums_complete(&model, s->n_tasks, g->count);
    for (size_t i = 0; !s->options.without_tensors && i < s->tensors.n; i++) {
        const emr_task_sums sums = emr_task_sums_at(&s->tensors, i);
        emr_task_sums_complete(&sums, s->n_tasks, g->tensors[g->entries[i]].count);
    }
    for (size_t i = 0; i < s->layers.n; i++) {
        const emr_task_sums sums = emr_task_sums_at(&s->layers, i);
        emr_task_sums_complete(&sums, s->n_tasks, g->layers[i].count);
    }
    for (size_t i = 0; i < s->kinds.n; i++) {
        const emr_task_sums sums = emr_task_sums_at(&s->kinds, i);
        emr_task_sums_complete(&sums, s->n_tasks, g->kinds[i].count);
    }
}

/* Stage by stage. */
static emr_status gather_in_stages(emr_statistics *s, emr_error *error)
{
    uint64_t bytes = s->alignment.merged_bytes;
    uint32_t n_readings = s->options.rounding ? 2 : 1;
    statistics_stage stage = {&s->env, 0, bytes * n_readings + emr_quantiles_bytes(s)};
    const emr_env env = emr_statistics_stage_env(&stage);
    const emr_sweep sweep = sweep_of(s, &env);
    emr_status status = emr_sweep_run(&sweep, error);
    stage.before = bytes;
    if (!status && s->options.rounding)
        status = sweep_rounded(s, &stage, error);
    if (!status && s->options.n_quantiles)
        status = emr_quantiles_find(s, bytes_of_results(s), &stage, error);
    return status;
}

emr_status emr_statistics_run(emr_statistics *s, emr_error *error)
{
    if (!s)
        return emr_fail(error, EMR_EINVAL, "emr_statistics_run: NULL");
    if (s->state == STATISTICS_DONE)
        return emr_fail(error, EMR_ESTATE, "statistics run once");
    emr_status status = plan_statistics(s, error);
    emr_layout layout; /* too little memory is said before any is taken for results */
    if (!status)
        status = plan_memory(s, &layout, error);
    if (!status && !create_results(s))
        status = emr_no_memory(error, NULL);
    if (!status)
        status = gather_in_stages(s, error);
    if (status) {
        free_results(s);
        return status;
    }
    complete_results(s);
    s->state = STATISTICS_DONE;
    return EMR_OK;
}

/* ---- what was found ---- */

uint32_t emr_statistics_n_groups(const emr_statistics *s, emr_statistics_scope scope)
{
    if (s->state != STATISTICS_DONE)
        return 0;
    return scope == EMR_STATISTICS_SCOPE_MODEL    ? 1
           : scope == EMR_STATISTICS_SCOPE_TENSOR ? (s->options.without_tensors ? 0 : s->groups.n_tensors)
           : scope == EMR_STATISTICS_SCOPE_LAYER  ? s->groups.n_layers
           : scope == EMR_STATISTICS_SCOPE_KIND   ? s->groups.n_kinds
                                                  : 0;
}

/* What a group has beside its sums. */
static void describe_group(const emr_statistics *s, emr_statistics_scope scope, uint32_t i,
                           emr_statistics_group *to)
{
    const emr_groups *g = &s->groups;
    size_t n_numbers = (size_t)s->n_tasks * s->options.n_quantiles;
    if (scope == EMR_STATISTICS_SCOPE_MODEL) {
        to->count = g->count;
        to->n_tensors = g->n_tensors;
        to->quantiles = n_numbers && to->count ? s->model_quantiles : NULL;
    } else if (scope == EMR_STATISTICS_SCOPE_TENSOR) {
        to->tensor = s->alignment.entries[g->entries[i]].base;
        to->name = to->tensor->name;
        to->count = g->tensors[g->entries[i]].count;
        to->n_tensors = 1;
        to->quantiles = n_numbers && to->count ? s->tensor_quantiles + i * n_numbers : NULL;
    } else {
        const emr_place_group *place = scope == EMR_STATISTICS_SCOPE_LAYER ? &g->layers[i] : &g->kinds[i];
        to->name = place->name;
        to->count = place->count;
        to->layer = place->layer;
        to->n_tensors = place->n_tensors;
    }
    to->n_quantiles = to->quantiles ? s->options.n_quantiles : 0;
}

emr_status emr_statistics_get_group(const emr_statistics *s, emr_statistics_scope scope, uint32_t i,
                                    emr_statistics_group *group)
{
    if (!s || !group)
        return EMR_EINVAL;
    if (s->state != STATISTICS_DONE)
        return EMR_ESTATE;
    if (i >= emr_statistics_n_groups(s, scope))
        return EMR_ENOTFOUND;
    const emr_task_sums_table *tables[] = {&s->model, &s->tensors, &s->layers, &s->kinds};
    const emr_task_sums sums = emr_task_sums_at(tables[scope], i);
    emr_statistics_group known = {.name = "",
                                  .products = sums.products,
                                  .distances = sums.distances,
                                  .sums = sums.sums,
                                  .magnitudes = sums.magnitudes,
                                  .fourths = sums.fourths,
                                  .largest = sums.largest,
                                  .zeros = sums.zeros,
                                  .nonfinite = sums.nonfinite,
                                  .same_signs = sums.same,
                                  .both = sums.both,
                                  .conflicts = *sums.conflicts,
                                  .unchanged = *sums.unchanged,
                                  .layer = -1,
                                  .n_tasks = s->n_tasks,
                                  .is_rounded = s->options.rounding != EMR_STATISTICS_ROUNDING_NONE};
    describe_group(s, scope, i, &known);
    return EMR_GIVE(group, &known, emr_statistics_group);
}
