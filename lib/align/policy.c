/* policy.c - see policy.h. */
#include "align/policy.h"

#include "align/glob.h"
#include "core/structs.h"

static emr_status copy_globs(emr_policy *p, const char *const *given, const emr_allocator *allocator,
                             emr_error *error)
{
    char **globs = emr_allocate_array(allocator, p->n_private_globs, sizeof *globs);
    p->private_globs = (const char *const *)globs;
    for (uint32_t i = 0; globs && i < p->n_private_globs; i++) {
        if (!given[i])
            return emr_fail(error, EMR_EINVAL, "emr_policy: private_globs holds NULL");
        if (!(globs[i] = emr_copy_string(allocator, given[i])))
            return emr_no_memory(error, NULL);
    }
    return globs ? EMR_OK : emr_no_memory(error, NULL);
}

emr_status emr_policy_take(emr_policy *taken, const emr_policy *given, const emr_allocator *allocator,
                           emr_error *error)
{
    emr_status status = EMR_TAKE(taken, given, emr_policy, error);
    const char *const *globs = taken->private_globs;
    taken->private_globs = NULL;
    if (!status && (taken->on_mismatch > EMR_ON_MISMATCH_PRIVATE || taken->on_missing > EMR_ON_MISSING_BASE))
        status = emr_fail(error, EMR_EINVAL, "emr_policy: unknown on_mismatch or on_missing");
    if (!status && taken->n_private_globs && !globs)
        status = emr_fail(error, EMR_EINVAL, "emr_policy: private_globs is NULL");
    if (!status)
        status = copy_globs(taken, globs, allocator, error);
    if (status)
        emr_policy_free(taken, allocator);
    return status;
}

void emr_policy_free(emr_policy *p, const emr_allocator *allocator)
{
    for (uint32_t i = 0; p->private_globs && i < p->n_private_globs; i++)
        emr_release(allocator, (char *)(uintptr_t)p->private_globs[i]);
    emr_release(allocator, (void *)(uintptr_t)p->private_globs);
    *p = (emr_policy){.size = sizeof *p};
}

bool emr_policy_is_private(const emr_policy *policy, const char *name)
{
    for (uint32_t i = 0; i < policy->n_private_globs; i++)
        if (emr_glob_match(policy->private_globs[i], name))
            return true;
    return false;
}
