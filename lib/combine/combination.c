/* combination.c - the handle of a combination (emr/combine.h): what it is made of is checked and kept. */
#include "combine/combination.h"

#include "align/policy.h"
#include "combine/combined.h"
#include "combine/plan.h"
#include "combine/settings.h"
#include "core/text.h"

#include <string.h>

#define MEMORY_DEFAULT ((uint64_t)256 << 20)

uint64_t emr_combination_memory(const emr_combination *c)
{
    return (c->env.memory_bytes ? c->env.memory_bytes : MEMORY_DEFAULT) / 2;
}

uint32_t emr_combination_readers(const emr_combination *c)
{
    return c->env.executor.concurrency ? c->env.executor.concurrency : 1;
}

static emr_status refuse_method(const emr_method *m, const char *why, emr_error *error)
{
    return emr_fail(error, EMR_EINVAL, "the method '%s' %s", m->name ? m->name : "?", why);
}

static emr_status take_stage(emr_combination *c, const emr_method_stage *given, emr_error *error)
{
    emr_method_stage *s = &c->stages[c->n_stages];
    emr_status status = EMR_TAKE(s, given, emr_method_stage, error);
    if (!status && (!s->n_found || (!s->add_sums && (!s->list_keys || !s->place_cut))))
        status = refuse_method(&c->method, "has a stage that neither sums nor cuts", error);
    c->n_stages++;
    return status;
}

static emr_status check_method(const emr_method *m, emr_error *error)
{
    if (!m->name || !m->combine)
        return refuse_method(m, "needs a name and a function that combines", error);
    if (m->base > EMR_METHOD_BASE_BESIDE)
        return refuse_method(m, "wants a base in a way that is not known", error);
    if (m->n_parameters && !m->parameters)
        return refuse_method(m, "has no parameters, though it says how many they are", error);
    for (uint32_t i = 0; i < m->n_parameters; i++)
        if (!m->parameters[i].name)
            return refuse_method(m, "has a parameter without a name", error);
    return EMR_OK;
}

/* The method and its stages, as far as they are known here. */
static emr_status take_method(emr_combination *c, emr_error *error)
{
    if (!c->options.method)
        return emr_fail(error, EMR_EINVAL, "emr_combination_options: a method is required");
    emr_status status = EMR_TAKE(&c->method, c->options.method, emr_method, error);
    if (!status)
        status = check_method(&c->method, error);
    for (uint32_t i = 0; !status && i < EMR_METHOD_STAGES_MAX; i++)
        if (c->method.stages[i])
            status = take_stage(c, c->method.stages[i], error);
    return status;
}

static emr_status check_choices(const emr_combination_options *o, emr_error *error)
{
    if (o->dtype && o->dtype != EMR_DTYPE_F32 && o->dtype != EMR_DTYPE_F16 && o->dtype != EMR_DTYPE_BF16 &&
        o->dtype != EMR_DTYPE_F64)
        return emr_fail(error, EMR_EINVAL,
                        "emr_combination_options: the dtype must be F32, F16, BF16 or F64");
    if (o->on_nonfinite > EMR_COMBINATION_NONFINITE_ZERO)
        return emr_fail(error, EMR_EINVAL, "emr_combination_options: unknown on_nonfinite");
    if (o->n_head_globs && !o->head_globs)
        return emr_fail(error, EMR_EINVAL, "emr_combination_options: head_globs is NULL");
    return EMR_OK;
}

/* The host's strings become copies. */
static emr_status copy_head_globs(emr_combination *c, emr_error *error)
{
    const char *const *given = c->options.head_globs;
    char **globs = emr_allocate_array(&c->allocator, c->options.n_head_globs, sizeof *globs);
    c->options.head_globs = (const char *const *)globs;
    for (uint32_t i = 0; globs && i < c->options.n_head_globs; i++) {
        if (!given[i])
            return emr_fail(error, EMR_EINVAL, "emr_combination_options: head_globs holds NULL");
        if (!(globs[i] = emr_copy_string(&c->allocator, given[i])))
            return emr_no_memory(error, NULL);
    }
    return globs ? EMR_OK : emr_no_memory(error, NULL);
}

static emr_status take_combination_policy(emr_combination *c, emr_error *error)
{
    emr_status status = emr_policy_take(&c->policy, c->options.policy, &c->allocator, error);
    if (!status && c->policy.on_mismatch == EMR_ON_MISMATCH_PAD)
        status = emr_fail(error, EMR_EINVAL, "a combined model cannot have EMR_ON_MISMATCH_PAD");
    return status;
}

emr_status emr_combination_create(emr_combination **combination, const emr_combination_options *given,
                                  emr_error *error)
{
    emr_combination_options options;
    emr_env env;
    if (!combination)
        return emr_fail(error, EMR_EINVAL, "emr_combination_create: NULL");
    *combination = NULL;
    emr_status status = EMR_TAKE(&options, given, emr_combination_options, error);
    if (!status)
        status = check_choices(&options, error);
    if (!status)
        status = emr_env_take(&env, options.resources, NULL, error);
    if (status)
        return status;
    emr_combination *c = emr_allocate_array(&env.allocator, 1, sizeof *c);
    if (!c)
        return emr_no_memory(error, NULL);
    atomic_init(&c->holders, 1);
    c->allocator = env.allocator;
    c->env = env;
    c->options = options;
    c->kernels = emr_kernels_select();
    status = copy_head_globs(c, error);
    if (!status)
        status = take_method(c, error);
    if (!status)
        status = take_combination_policy(c, error);
    c->options.resources = NULL;
    c->options.policy = NULL;
    if (status)
        emr_combination_destroy(&c);
    *combination = c;
    return status;
}

void emr_combination_hold(emr_combination *c)
{
    atomic_fetch_add(&c->holders, 1);
}

void emr_combination_release(emr_combination *c)
{
    emr_allocator a = c->allocator;
    if (atomic_fetch_sub(&c->holders, 1) > 1)
        return;
    emr_combination_unplan(c);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        emr_release(&a, c->tasks[t].name);
    for (size_t i = 0; i < c->n_settings; i++)
        emr_release(&a, c->settings[i].glob);
    for (uint32_t i = 0; c->options.head_globs && i < c->options.n_head_globs; i++)
        emr_release(&a, (char *)(uintptr_t)c->options.head_globs[i]);
    emr_release(&a, (void *)(uintptr_t)c->options.head_globs);
    emr_policy_free(&c->policy, &a);
    emr_release(&a, c->tasks);
    emr_release(&a, c->settings);
    emr_release(&a, c);
}

void emr_combination_destroy(emr_combination **c)
{
    if (!c || !*c)
        return;
    emr_combination_release(*c);
    *c = NULL;
}

/* Before anything is changed. */
static emr_status check_changeable(emr_combination *c, emr_error *error)
{
    if (c->is_open)
        return emr_fail(error, EMR_ESTATE,
                        "base, tasks and parameters are set before the first model is opened");
    emr_combination_unplan(c);
    return EMR_OK;
}

emr_status emr_combination_set_base(emr_combination *c, const emr_model *base, emr_error *error)
{
    if (!c || !base)
        return emr_fail(error, EMR_EINVAL, "emr_combination_set_base: NULL");
    emr_status status = check_changeable(c, error);
    if (!status)
        c->base = base;
    return status;
}

static emr_status check_new_task(const emr_combination *c, const char *name, emr_error *error)
{
    size_t length = strlen(name);
    if (length < 1 || length > 255)
        return emr_fail(error, EMR_EINVAL, "a task's name has 1 to 255 bytes, not %u", (uint64_t)length);
    if (!emr_is_utf8(name, length))
        return emr_fail(error, EMR_EINVAL, "the task name '%K' is not valid UTF-8", name);
    for (uint32_t t = 0; t < c->n_tasks; t++)
        if (strcmp(c->tasks[t].name, name) == 0)
            return emr_fail(error, EMR_EEXIST, "two tasks are named '%K'", name);
    return c->n_tasks < UINT16_MAX ? EMR_OK : emr_fail(error, EMR_ELIMIT, "too many tasks");
}

emr_status emr_combination_add_task(emr_combination *c, const char *name, const emr_model *model,
                                    emr_error *error)
{
    if (!c || !name || !model)
        return emr_fail(error, EMR_EINVAL, "emr_combination_add_task: NULL");
    emr_status status = check_changeable(c, error);
    if (!status)
        status = check_new_task(c, name, error);
    if (status)
        return status;
    char *copy = emr_copy_string(&c->allocator, name);
    if (!copy || !emr_grow(&c->allocator, (void **)&c->tasks, &c->tasks_capacity, (size_t)c->n_tasks + 1,
                           sizeof *c->tasks)) {
        emr_release(&c->allocator, copy);
        return emr_no_memory(error, NULL);
    }
    c->tasks[c->n_tasks++] = (emr_task){.name = copy, .model = model};
    return EMR_OK;
}

emr_status emr_combination_set_parameter(emr_combination *c, const char *parameter, uint32_t task,
                                         const char *glob, double value, emr_error *error)
{
    if (!c || !parameter)
        return emr_fail(error, EMR_EINVAL, "emr_combination_set_parameter: NULL");
    emr_setting setting = {.task = task, .value = value};
    emr_status status = check_changeable(c, error);
    if (!status)
        status = emr_setting_check(c, parameter, &setting, error);
    return status ? status : emr_setting_keep(c, &setting, glob, error);
}

emr_status emr_combination_get_plan(emr_combination *c, emr_combination_plan *plan, emr_error *error)
{
    if (!c || !plan)
        return emr_fail(error, EMR_EINVAL, "emr_combination_get_plan: NULL");
    emr_status status = emr_combination_make_plan(c, error);
    if (!status && EMR_GIVE(plan, &c->totals, emr_combination_plan))
        status =
            emr_fail(error, EMR_EINVAL, "emr_combination_get_plan: emr_combination_plan.size is too small");
    return status;
}

emr_status emr_combination_get_tensor(const emr_combination *c, uint32_t i, emr_combined_tensor *tensor)
{
    if (!c || !tensor)
        return EMR_EINVAL;
    if (!c->is_planned)
        return EMR_ESTATE;
    if (i >= c->n_tensors)
        return EMR_ENOTFOUND;
    const emr_combined *t = &c->tensors[i];
    const emr_combined_tensor known = {.size = sizeof known,
                                       .name = t->sample->name,
                                       .reason = t->reason,
                                       .shape = t->seen.shape,
                                       .count = t->seen.count,
                                       .dtype = t->dtype,
                                       .rank = t->seen.rank,
                                       .action = t->action,
                                       .n_reads = t->n_reads,
                                       .n_inputs = t->seen.n_inputs};
    return EMR_GIVE(tensor, &known, emr_combined_tensor);
}

emr_status emr_combination_open_model(emr_combination *c, emr_model **model, emr_error *error)
{
    if (model)
        *model = NULL;
    if (!c || !model)
        return emr_fail(error, EMR_EINVAL, "emr_combination_open_model: NULL");
    emr_status status = emr_combination_make_plan(c, error);
    if (!status)
        status = emr_combined_compare(c, error);
    if (!status)
        status = emr_combined_open(c, model, error);
    c->is_open = c->is_open || !status;
    return status;
}
