/* policy.c - see policy.h. */
#include "align/policy.h"

#include "core/structs.h"

/* A list of patterns: where it is in a policy, and its length. */
typedef struct glob_list {
    const char *const **globs;
    const uint32_t *n;
    const char *name;
} glob_list;

enum { N_LISTS = 4 };

static void find_lists(emr_policy *p, glob_list lists[N_LISTS])
{
    lists[0] = (glob_list){&p->private_globs, &p->n_private_globs, "private_globs"};
    lists[1] = (glob_list){&p->merge_globs, &p->n_merge_globs, "merge_globs"};
    lists[2] = (glob_list){&p->absent_globs, &p->n_absent_globs, "absent_globs"};
    lists[3] = (glob_list){&p->base_globs, &p->n_base_globs, "base_globs"};
}

/* Takes the host's strings out of a list, and puts copies there. */
static emr_status copy_list(const glob_list *list, const emr_allocator *allocator, emr_error *error)
{
    const char *const *given = *list->globs;
    *list->globs = NULL;
    if (*list->n && !given)
        return emr_fail(error, EMR_EINVAL, "emr_policy: %s is NULL", list->name);
    char **globs = emr_allocate_array(allocator, *list->n, sizeof *globs);
    *list->globs = (const char *const *)globs;
    for (uint32_t i = 0; globs && i < *list->n; i++) {
        if (!given[i])
            return emr_fail(error, EMR_EINVAL, "emr_policy: %s holds NULL", list->name);
        if (!(globs[i] = emr_copy_string(allocator, given[i])))
            return emr_no_memory(error, NULL);
    }
    return globs ? EMR_OK : emr_no_memory(error, NULL);
}

emr_status emr_policy_take(emr_policy *taken, const emr_policy *given, const emr_allocator *allocator,
                           emr_error *error)
{
    glob_list lists[N_LISTS];
    emr_status status = EMR_TAKE(taken, given, emr_policy, error);
    if (!status && (taken->on_mismatch > EMR_ON_MISMATCH_PAD || taken->on_missing > EMR_ON_MISSING_ABSENT))
        status = emr_fail(error, EMR_EINVAL, "emr_policy: unknown on_mismatch or on_missing");
    if (status) {
        *taken = (emr_policy){.size = sizeof *taken};
        return status;
    }
    find_lists(taken, lists);
    emr_status first = EMR_OK;
    for (int i = 0; i < N_LISTS; i++) /* all of them: none may keep the host's strings */
        if (first)
            *lists[i].globs = NULL;
        else
            first = copy_list(&lists[i], allocator, error);
    if (first)
        emr_policy_free(taken, allocator);
    return first;
}

void emr_policy_free(emr_policy *p, const emr_allocator *allocator)
{
    glob_list lists[N_LISTS];
    find_lists(p, lists);
    for (int k = 0; k < N_LISTS; k++) {
        const char *const *globs = *lists[k].globs;
        for (uint32_t i = 0; globs && i < *lists[k].n; i++)
            emr_release(allocator, (char *)(uintptr_t)globs[i]);
        emr_release(allocator, (void *)(uintptr_t)globs);
    }
    *p = (emr_policy){.size = sizeof *p};
}

static bool matches_any(const char *const *globs, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (emr_glob_matches(globs[i], name))
            return true;
    return false;
}

bool emr_policy_is_private(const emr_policy *p, const char *name)
{
    return matches_any(p->private_globs, p->n_private_globs, name);
}

bool emr_policy_is_merged(const emr_policy *p, const char *name)
{
    return matches_any(p->merge_globs, p->n_merge_globs, name);
}

emr_on_missing emr_policy_missing(const emr_policy *p, const char *name)
{
    return matches_any(p->absent_globs, p->n_absent_globs, name) ? EMR_ON_MISSING_ABSENT
           : matches_any(p->base_globs, p->n_base_globs, name)   ? EMR_ON_MISSING_BASE
                                                                 : p->on_missing;
}
