/* roles.c - see roles.h. Codes and their side-cars must stay together, as each task has them, so neither is
 * merged; nor is what nobody trained. */
#include "align/roles.h"

#include "model/arranged.h"
#include "role/role.h"

static bool is_code(const emr_found_role *role)
{
    return role->role == EMR_ROLE_CODE;
}

/* "FP8 with a scale a tensor", or "BF16 and no code". */
static const char *coding_of(const emr_tensor *t, const emr_found_role *role)
{
    return is_code(role) ? role->name : emr_dtype_name(t->dtype);
}

static emr_status fail_codings(const emr_alignment *a, const emr_task *task, const emr_tensor *own,
                               const emr_found_role *role, const emr_tensor *other,
                               const emr_found_role *of_other, emr_error *error)
{
    bool can = (!is_code(role) || role->can_dequantise) && (!is_code(of_other) || of_other->can_dequantise);
    const char *whose = other->model == a->base ? "the base" : "another task";
    return emr_fail(error, EMR_EMISMATCH, "task '%K' (%F): tensor '%T' is %s, in %s (%s) it is %s (%s)",
                    task->name, task->model->name, own->name, coding_of(own, role), whose, other->model->name,
                    coding_of(other, of_other),
                    can ? "to merge the weights that it stands for: --dequantise"
                        : "to keep it out of the merge: --on-mismatch private");
}

/* What must stay packed cannot be merged, whoever asks for it. */
static emr_status check_merged(const emr_tensor *t, const emr_found_role *role, emr_error *error)
{
    if (emr_dtype_is_float(t->dtype) || (role->role != EMR_ROLE_CODE && role->role != EMR_ROLE_SIDECAR))
        return EMR_OK;
    return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is %s (%s): only floats can be merged (--merge)",
                    t->model_name, t->name, emr_dtype_name(t->dtype), role->name);
}

/* A tensor that is pushed cannot be compared: then each task keeps its own. */
static bool is_pushed(const emr_tensor *t)
{
    return t->kind == EMR_TENSOR_PUSHED;
}

emr_status emr_apply_roles(const emr_alignment *a, const emr_policy *policy, emr_entry *entry,
                           emr_error *error)
{
    if (entry->action == EMR_ACTION_PRIVATE || (entry->base->own && entry->base->own->is_rest))
        return EMR_OK;
    bool merged = emr_policy_is_merged(policy, entry->base->name), pushed = is_pushed(entry->base);
    /* With which codes must agree. Zeros are floats alone: a code's packed numbers or scales may lack there.
     */
    const emr_tensor *first = entry->base->model->zeros ? NULL : entry->base;
    bool is_possible = emr_role_is_possible(entry->base->name);
    emr_found_role role = emr_role_find_quickly(entry->base, is_possible), of_first = role;
    emr_status status = merged ? check_merged(entry->base, &role, error) : EMR_OK;
    for (uint32_t t = 0; !status && t < a->n_tasks; t++) {
        const emr_tensor *own = emr_model_find_tensor(a->tasks[t].model, entry->base->name);
        if (!own)
            continue;
        emr_found_role found = emr_role_find_quickly(own, is_possible);
        bool agree = !first || (is_code(&found) ? found.family == of_first.family : !is_code(&of_first));
        if (merged)
            status = check_merged(own, &found, error);
        else if (!agree &&
                 (policy->on_mismatch == EMR_ON_MISMATCH_ERROR || policy->on_mismatch == EMR_ON_MISMATCH_PAD))
            status = fail_codings(a, &a->tasks[t], own, &found, first, &of_first, error);
        else if (!agree && entry->misfit == EMR_BASE)
            entry->misfit = t;
        if (!first) {
            first = own;
            of_first = found;
        }
        role = role.role == EMR_ROLE_WEIGHT ? found : role;
        pushed = pushed || (is_pushed(own) && !a->tasks[t].settled);
    }
    if (status || merged || role.role == EMR_ROLE_WEIGHT)
        return status;
    entry->action = pushed && emr_dtype_is_float(entry->base->dtype) ? EMR_ACTION_PRIVATE : EMR_ACTION_KEEP;
    entry->reason = role.reason;
    entry->any_shape = !is_code(&role);
    return EMR_OK;
}
