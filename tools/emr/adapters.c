/* adapters.c - adapters as tasks: applied to the base where that is asked for, and refused where the base is
 * no base for them. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static bool is_named_like(const emr_tensor *t, const char *const *marks)
{
    for (; *marks; marks++)
        if (strstr(emr_tensor_name(t), *marks))
            return true;
    return false;
}

static bool has_tensor_of(const emr_model *base, const emr_model *task)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(task); i++)
        if (emr_model_find_tensor(base, emr_tensor_name(emr_model_tensor(task, i))))
            return true;
    return false;
}

/* Whether a task is an adapter: it says so, or one of its tensors is called like an adapter's and none like
 * the base's.
 *  */
static bool is_adapter(const emr_model *m, const emr_model *base)
{
    static const char *const marks[] = {".lora_", ".lora.", "_lora.", ".ia3_l", ".hada_", ".lokr_", NULL};
    if (emr_model_find_metadata(m, EMR_ADAPTER_CONFIG))
        return true;
    for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
        if (is_named_like(emr_model_tensor(m, i), marks))
            return !has_tensor_of(base, m);
    return false;
}

static bool is_ia3(const emr_model *m)
{
    static const char *const marks[] = {".ia3_l", NULL};
    for (uint32_t i = 0; i < emr_model_n_tensors(m); i++)
        if (is_named_like(emr_model_tensor(m, i), marks))
            return true;
    return false;
}

/* Whether two tensors have different ranks in the sense of LoRA, and are otherwise alike. */
static bool differs_in_rank(const emr_tensor *a, const emr_tensor *b)
{
    int32_t at = emr_adapter_rank_dimension(emr_tensor_name(a));
    if (at < 0 || emr_tensor_rank(a) != emr_tensor_rank(b))
        return false;
    for (uint32_t i = 0; i < emr_tensor_rank(a); i++)
        if (i != (uint32_t)at && emr_tensor_shape(a)[i] != emr_tensor_shape(b)[i])
            return false;
    return true;
}

bool only_ranks_differ(const emr_model *model, emr_model *const *models, size_t n)
{
    bool differ = false;
    for (size_t m = 0; m < n; m++)
        for (uint32_t i = 0; i < emr_model_n_tensors(models[m]); i++) {
            const emr_tensor *t = emr_model_tensor(models[m], i),
                             *first = emr_model_find_tensor(model, emr_tensor_name(t));
            if (!first || emr_tensor_same_shape(t, first))
                continue;
            if (!differs_in_rank(t, first))
                return false;
            differ = true;
        }
    return differ;
}

emr_status check_adapter_base(const arguments *a, size_t task, const emr_model *model, const emr_model *base,
                              bool is_first_merge, emr_error *error)
{
    const char *name = a->tasks[task].name;
    if (is_first_merge && strcmp(a->base, "zeros") == 0 && is_ia3(model))
        return fail_with(
            error, EMR_EMISMATCH, a->tasks[task].path,
            "task '%s' is an (IA)^3 adapter, whose vectors begin as ones: its base is --base ones", name);
    if (base_is_made(a) || !is_adapter(model, base) || has_tensor_of(base, model))
        return EMR_OK;
    if (!emr_model_find_metadata(model, EMR_ADAPTER_CONFIG))
        return fail_with(
            error, EMR_EMISMATCH, a->tasks[task].path,
            "task '%s' is an adapter, of which the base (%s) has no tensor: its base is --base zeros", name,
            a->base);
    return fail_with(error, EMR_EMISMATCH, a->tasks[task].path,
                     "task '%s' is an adapter, of which the base (%s) has no tensor: merge adapters with "
                     "--base %s, or what the "
                     "base becomes with each of them with --apply-adapters",
                     name, a->base, is_ia3(model) ? "ones" : "zeros");
}

static emr_status apply_one(merge_job *j, const arguments *a, size_t i, emr_error *error)
{
    j->adapters[i] = j->models[i];
    j->models[i] = NULL;
    emr_status status =
        emr_adapter_apply(&j->models[i], j->whole_base, j->adapters[i], &j->session.resources, error);
    return status ? status : rename_tensors(&j->models[i], &j->applied[i], a, RENAME_BASE, error);
}

/* They are applied to the base with the files beside its weights: so a task has the base's configuration and
 * tokenizer, unless the adapter brings its own. */
emr_status apply_adapters(merge_job *j, const arguments *a, emr_error *error)
{
    j->adapters = calloc(a->n_tasks, sizeof(emr_model *));
    j->applied = calloc(a->n_tasks, sizeof(emr_model *));
    if (!j->adapters || !j->applied)
        return EMR_ENOMEM;
    emr_status status = open_task(&j->whole_base, a->base, a, error);
    for (size_t i = 0; !status && i < a->n_tasks; i++)
        if (is_adapter(j->models[i], j->base))
            status = apply_one(j, a, i, error);
    return status;
}
