/* classify.c - see classify.h. */
#include "combine/classify.h"

#include "align/explain.h"
#include "align/heads.h"
#include "align/policy.h"
#include "combine/views.h"
#include "numeric/convert.h"
#include "role/role.h"

#include <string.h>

const emr_model *emr_combination_reference(const emr_combination *c)
{
    return c->base && !c->base->zeros ? c->base : c->tasks[0].model;
}

/* For the sentences that a merge has too. */
static emr_alignment describe_models(const emr_combination *c)
{
    return (emr_alignment){.base = emr_combination_reference(c), .tasks = c->tasks, .n_tasks = c->n_tasks};
}

static emr_status copy_tensor(emr_combined *t, const char *reason)
{
    t->action = EMR_COMBINED_ACTION_COPY;
    t->reason = reason;
    t->dtype = t->sample->dtype;
    return EMR_OK;
}

/* A head whose rows are each its own task's. */
static emr_status take_joined(emr_combined *t, const emr_tensor *joined)
{
    t->action = EMR_COMBINED_ACTION_HEAD;
    t->reason = "heads side by side";
    t->sample = joined;
    t->dtype = joined->dtype;
    return EMR_OK;
}

/* Copied, unless a task turns out to have other bytes. */
static emr_status copy_if_equal(emr_combined *t, const char *reason)
{
    t->is_compared = true;
    return copy_tensor(t, reason);
}

static bool is_wide_integer(emr_dtype dtype)
{
    return dtype == EMR_DTYPE_I64 || dtype == EMR_DTYPE_U64;
}

static emr_status copy_no_float(emr_combined *t)
{
    return is_wide_integer(t->sample->dtype)
               ? copy_tensor(t, "integers of 64 bits: the base's")
               : copy_if_equal(t, "not a float: the base's, where all have the same");
}

/* The reason why it is no weight in the base or a task, or NULL. */
static const char *find_no_weight(const emr_combination *c, const emr_tensor *sample)
{
    bool is_possible = emr_role_is_possible(sample->name);
    emr_found_role role = emr_role_find_quickly(sample, is_possible);
    for (uint32_t t = 0; role.role == EMR_ROLE_WEIGHT && t < c->n_tasks; t++) {
        const emr_tensor *own = emr_model_find_tensor(c->tasks[t].model, sample->name);
        if (own)
            role = emr_role_find_quickly(own, is_possible);
    }
    return role.role == EMR_ROLE_WEIGHT ? NULL : role.reason;
}

static emr_status explain_lack(const emr_combination *c, const emr_tensor *sample, const emr_task *task,
                               emr_error *error)
{
    const emr_alignment models = describe_models(c);
    if (!emr_has_common_name(models.base, task->model))
        return emr_explain_missing(&models, sample, task, error);
    return emr_fail(
        error, EMR_EMISMATCH,
        "task '%K' (%F): tensor '%T' of %s is absent (--on-missing absent: the task takes no part in "
        "it; --on-missing base: it counts as the base's; --keep: the base's stays as it is)",
        task->name, task->model->name, sample->name, c->base ? "the base" : "the first task");
}

/* What a task that lacks the tensor has instead. */
static emr_status take_missing(const emr_combination *c, emr_combined *t, const emr_task *task,
                               emr_combined_input *input, bool *takes_part, emr_error *error)
{
    emr_on_missing on_missing = emr_policy_missing(&c->policy, t->sample->name);
    *takes_part = on_missing == EMR_ON_MISSING_BASE;
    if (on_missing == EMR_ON_MISSING_ERROR)
        return explain_lack(c, t->sample, task, error);
    if (*takes_part && !t->base)
        return emr_fail(error, EMR_EINVAL,
                        "task '%K' (%F): tensor '%T' is absent, and there is no base whose it could have "
                        "(--on-missing absent)",
                        task->name, task->model->name, t->sample->name);
    if (!*takes_part && c->method.whole_model)
        return emr_fail(
            error, EMR_EINVAL,
            "task '%K' (%F): tensor '%T' is absent, but the method '%s' joins all tensors of a task "
            "(--on-missing base)",
            task->name, task->model->name, t->sample->name, c->method.name);
    input->tensor = emr_adds_to_base(c) ? NULL : t->base;
    return EMR_OK;
}

/* Whether two float tensors differ in their first dimension alone, or not at all. */
static bool differ_in_rows_at_most(const emr_tensor *a, const emr_tensor *b)
{
    return a->rank == b->rank && a->rank && emr_dtype_is_float(a->dtype) && emr_dtype_is_float(b->dtype) &&
           memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

/* Whether a task's tensor goes with the sample; *fits false: it does not, and the base's is copied. */
static emr_status check_fit(const emr_combination *c, const emr_combined *t, const emr_tensor *own,
                            const emr_task *task, bool *fits, emr_error *error)
{
    const emr_alignment models = describe_models(c);
    *fits = emr_tensor_same_shape(t->sample, own) && emr_dtype_is_float(own->dtype);
    if (*fits)
        return EMR_OK;
    if (c->policy.on_mismatch == EMR_ON_MISMATCH_ERROR)
        return emr_explain_mismatch(&models, t->sample, own, task, error);
    *fits = c->policy.on_mismatch == EMR_ON_MISMATCH_ROWS && differ_in_rows_at_most(t->sample, own);
    if (*fits && !t->base)
        return emr_fail(
            error, EMR_EINVAL,
            "task '%K' (%F): tensor '%T' has another number of rows than that of the first task, and "
            "there is no base (--on-mismatch private keeps it out)",
            task->name, task->model->name, own->name);
    return EMR_OK;
}

/* One task's input; *fits as above. */
static emr_status add_input(const emr_combination *c, emr_combined *t, uint32_t task, bool *fits,
                            emr_error *error)
{
    const emr_tensor *own = emr_model_find_tensor(c->tasks[task].model, t->sample->name);
    emr_combined_input input = {.tensor = own, .task = task};
    bool takes_part = true;
    emr_status status = own ? check_fit(c, t, own, &c->tasks[task], fits, error)
                            : take_missing(c, t, &c->tasks[task], &input, &takes_part, error);
    if (!status && takes_part)
        t->inputs[t->seen.n_inputs++] = input;
    return status;
}

/* False: out of memory. */
static bool allocate_inputs(const emr_combination *c, emr_combined *t)
{
    const size_t most = (size_t)c->n_tasks + 1;
    t->inputs = emr_allocate_array(&c->allocator, most, sizeof *t->inputs);
    return t->inputs != NULL;
}

static emr_status find_inputs(const emr_combination *c, emr_combined *t, bool *fits, emr_error *error)
{
    emr_status status = EMR_OK;
    if (!allocate_inputs(c, t))
        return emr_no_memory(error, NULL);
    if (t->base && emr_base_is_input(c))
        t->inputs[t->seen.n_inputs++] = (emr_combined_input){t->base, EMR_BASE};
    for (uint32_t i = 0; !status && *fits && i < c->n_tasks; i++)
        status = add_input(c, t, i, fits, error);
    return status;
}

static uint32_t count_tasks(const emr_combined *t)
{
    return t->seen.n_inputs - (t->seen.n_inputs && t->inputs[0].task == EMR_BASE);
}

static emr_status check_task_count(const emr_combination *c, const emr_combined *t, emr_error *error)
{
    uint32_t n = count_tasks(t);
    return n < c->method.min_tasks
               ? emr_fail(error, EMR_EMISMATCH,
                          "tensor '%T' is in %u of the tasks, and the method '%s' needs %u (--on-missing "
                          "base: the "
                          "others "
                          "count as the base's; --keep: the base's stays as it is)",
                          t->sample->name, (uint64_t)n, c->method.name, (uint64_t)c->method.min_tasks)
               : EMR_OK;
}

static emr_status combine_weight(const emr_combination *c, emr_combined *t, emr_error *error)
{
    bool fits = true;
    emr_status status = find_inputs(c, t, &fits, error);
    if (status)
        return status;
    bool in_none = count_tasks(t) == 0;
    if (!fits || in_none)
        t->seen.n_inputs = 0;
    if (!fits)
        return copy_tensor(t, "shape or dtype differs between base and tasks");
    if (in_none)
        return copy_tensor(t, "in no task");
    t->action = EMR_COMBINED_ACTION_COMBINE;
    t->dtype = c->options.dtype ? c->options.dtype : t->sample->dtype;
    t->reason = t->seen.n_inputs == c->n_tasks + (c->base && emr_base_is_input(c))
                    ? "float in the base and every task"
                    : "float in the base; some tasks lack it";
    if (!c->base)
        t->reason = count_tasks(t) == c->n_tasks ? "float in every task" : "float; some tasks lack it";
    return check_task_count(c, t, error);
}

/* A float that the base lacks: the base is one of zeros, or else its own tensors are gone through. */
static emr_status explain_no_base(const emr_combination *c, const emr_tensor *sample, emr_error *error)
{
    return emr_fail(error, EMR_EMISMATCH,
                    "task '%K' (%F): the base (%s) has no tensor '%T' (--keep leaves it out)",
                    c->tasks[0].name, c->tasks[0].model->name, c->base->name, sample->name);
}

emr_status emr_combined_classify(emr_combination *c, const emr_tensor *sample, emr_combined *t,
                                 emr_error *error)
{
    bool is_merged = emr_policy_is_merged(&c->policy, sample->name);
    t->owner = c;
    t->sample = sample;
    t->seen = (emr_method_tensor){.size = sizeof t->seen,
                                  .user = c->method.user,
                                  .name = sample->name,
                                  .shape = sample->shape,
                                  .library = c->kernels,
                                  .count = sample->count,
                                  .seed = c->options.seed,
                                  .rank = sample->rank};
    const emr_tensor *joined = emr_combination_find_joined(c, sample->name);
    if (joined)
        return take_joined(t, joined);
    if (emr_is_side_file(sample))
        return copy_tensor(t, "a file of the base's folder");
    if (emr_is_gguf_header(sample))
        return copy_tensor(t, "metadata of the base's GGUF file");
    if (emr_policy_is_private(&c->policy, sample->name))
        return copy_tensor(t, "matches a private pattern: the base's");
    if (is_merged && !emr_dtype_is_float(sample->dtype))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s: only floats can be combined (--merge)",
                        sample->model_name, sample->name, emr_dtype_name(sample->dtype));
    if (!emr_dtype_is_float(sample->dtype))
        return copy_no_float(t);
    bool is_head = c->heads && emr_heads_has(c->heads, sample->name);
    const char *no_weight = is_merged || is_head ? NULL : find_no_weight(c, sample);
    if (no_weight)
        return copy_if_equal(t, no_weight);
    t->base = c->base ? emr_model_find_tensor(c->base, sample->name) : NULL;
    t->seen.has_base = t->base && !emr_base_is_input(c);
    if (c->base && !t->base)
        return explain_no_base(c, sample, error);
    return combine_weight(c, t, error);
}

/* Of what the reference lacks, that may be lost. */
static bool may_be_left_out(const emr_combination *c, const emr_tensor *own)
{
    return emr_is_side_file(own) || emr_is_gguf_header(own) || is_wide_integer(own->dtype) ||
           emr_policy_is_private(&c->policy, own->name);
}

emr_status emr_combination_check_others(const emr_combination *c, emr_error *error)
{
    const emr_model *reference = emr_combination_reference(c);
    const emr_alignment models = describe_models(c);
    for (uint32_t t = 0; t < c->n_tasks; t++) {
        const emr_model *m = c->tasks[t].model;
        for (uint32_t i = 0; m != reference && i < m->n_tensors; i++) {
            const emr_tensor *own = m->tensors[i];
            if (emr_model_find_tensor(reference, own->name) || may_be_left_out(c, own))
                continue;
            if (!emr_has_common_name(reference, m))
                return emr_explain_strangers(&models, &c->tasks[t], error);
            return emr_fail(error, EMR_EMISMATCH,
                            "task '%K' (%F): %s (%s) has no tensor '%T' (--keep leaves it out)",
                            c->tasks[t].name, m->name, c->base ? "the base" : "the first task",
                            reference->name, own->name);
        }
    }
    return EMR_OK;
}
