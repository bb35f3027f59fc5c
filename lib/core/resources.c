/* resources.c - see resources.h. Freestanding. */
#include "core/resources.h"

#include "core/memory.h"
#include "core/structs.h"

#include <string.h>

static emr_status take_executor(emr_executor *taken, const emr_executor *given, emr_error *error)
{
    *taken = (emr_executor){.size = sizeof *taken};
    if (!given)
        return EMR_OK;
    emr_status status = EMR_TAKE(taken, given, emr_executor, error);
    if (!status && (!taken->parallel_for || !taken->concurrency))
        status = emr_fail(error, EMR_EINVAL, "emr_executor: parallel_for and concurrency are required");
    return status;
}

emr_status emr_env_take(emr_env *taken, const emr_resources *given, const emr_allocator *allocator,
                        emr_error *error)
{
    emr_resources r;
    memset(taken, 0, sizeof *taken);
    emr_status status = EMR_TAKE(&r, given, emr_resources, error);
    if (!status)
        status = emr_allocator_take(&taken->allocator, r.allocator ? r.allocator : allocator, error);
    if (!status)
        status = take_executor(&taken->executor, r.executor, error);
    taken->progress = r.progress;
    taken->progress_user = r.progress_user;
    taken->memory_bytes = r.memory_bytes;
    return status;
}

emr_status emr_env_progress(const emr_env *env, uint64_t done, uint64_t total, const char *what,
                            emr_error *error)
{
    const emr_progress progress = {sizeof progress, done, total};
    emr_error why;
    memset(&why, 0, sizeof why);
    if (!env->progress || env->progress(env->progress_user, &progress, &why) == EMR_OK)
        return EMR_OK;
    why.text[sizeof why.text - 1] = '\0';
    return emr_fail_because(error, EMR_ECANCELED, &why, "%s was canceled", what);
}
