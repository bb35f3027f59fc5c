/* prepare.c - what computed tensors need is found out before they are read (emr_model_options.prepare). Freestanding. */
#include "model/model.h"

#include "core/resources.h"

#include <string.h>

emr_status emr_tensor_prepare(const emr_tensor *t, const emr_resources *resources, emr_error *error)
{
    emr_error why;
    while (t->origin)
        t = t->origin;
    if (t->kind != EMR_TENSOR_COMPUTED || !t->model->options.prepare)
        return EMR_OK;
    memset(&why, 0, sizeof why);
    emr_status status = t->model->options.prepare(t->model->options.user, t, resources, &why);
    why.text[sizeof why.text - 1] = '\0';
    status = status > 0 ? EMR_EIO : status;
    if (status == EMR_ECANCELED)
        return emr_fail_as(error, status, &why);
    return status ? emr_tensor_fail(t, status, &why, error) : EMR_OK;
}

/* A model's progress: bytes of the tensors that are done, and a part of the one that is in work. */
typedef struct whole_progress {
    const emr_env *env;
    uint64_t done, total, current;
    uint64_t shown; /* what the host was told last: never more than now */
} whole_progress;

/* The part of `bytes` that is done; what a host's hook says may be anything. */
static uint64_t part_done(const emr_progress *progress, uint64_t bytes)
{
    if (progress->done >= progress->total)
        return progress->total ? bytes : 0;
    return emr_min((uint64_t)((double)progress->done / (double)progress->total * (double)bytes), bytes);
}

static emr_status pass_progress(void *user, const emr_progress *progress, emr_error *error)
{
    whole_progress *w = user;
    uint64_t done = w->done + part_done(progress, w->current);
    w->shown = done > w->shown ? done : w->shown;
    const emr_progress whole = {.size = sizeof whole, .done = w->shown, .total = w->total};
    return w->env->progress(w->env->progress_user, &whole, error);
}

static emr_status prepare_all(const emr_model *m, const emr_resources *resources, whole_progress *w,
                              emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint32_t i = 0; !status && i < m->n_tensors; i++) {
        w->current = m->tensors[i]->bytes;
        status = emr_tensor_prepare(m->tensors[i], resources, error);
        w->done += w->current;
        if (!status)
            status = emr_env_progress(w->env, w->done, w->total, "preparing", error);
    }
    return status;
}

emr_status emr_model_prepare(const emr_model *m, const emr_resources *given, emr_error *error)
{
    emr_env env;
    if (!m)
        return emr_fail(error, EMR_EINVAL, "emr_model_prepare: NULL");
    emr_status status = emr_env_take(&env, given, &m->allocator, error);
    whole_progress whole = {.env = &env};
    if (status)
        return status;
    for (uint32_t i = 0; i < m->n_tensors; i++)
        whole.total += m->tensors[i]->bytes;
    const emr_resources resources = {.size = sizeof resources,
                                     .allocator = &env.allocator,
                                     .executor = env.executor.concurrency ? &env.executor : NULL,
                                     .progress = env.progress ? pass_progress : NULL,
                                     .progress_user = &whole,
                                     .memory_bytes = env.memory_bytes};
    return prepare_all(m, &resources, &whole, error);
}
