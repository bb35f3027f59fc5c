/* work.c - see work.h. Jobs are handed out in order by one counter. Freestanding. */
#include "core/work.h"

#include <stdatomic.h>

typedef struct emr_failure {
    emr_status status;
    size_t job;
    emr_error error;
} emr_failure;

typedef struct run {
    const emr_workers *workers;
    emr_job_fn fn;
    void *context;
    size_t n_jobs;
    atomic_size_t next;
} run;

emr_status emr_workers_create(emr_workers *w, const emr_env *env, size_t limit, emr_error *error)
{
    *w = (emr_workers){.allocator = env->allocator, .executor = env->executor, .n = 1};
    if (env->executor.concurrency)
        w->n = (size_t)emr_min(env->executor.concurrency, limit ? limit : 1);
    w->failures = emr_allocate_array(&w->allocator, w->n, sizeof *w->failures);
    return w->failures ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_workers_destroy(emr_workers *w)
{
    if (w->failures)
        emr_release(&w->allocator, w->failures);
    w->failures = NULL;
}

static void take_jobs(void *arg, size_t worker)
{
    run *r = arg;
    emr_failure *failure = &r->workers->failures[worker];
    for (size_t job; (job = atomic_fetch_add(&r->next, 1)) < r->n_jobs;) {
        failure->status = r->fn(r->context, job, worker, &failure->error);
        failure->job = job;
        if (failure->status) {
            atomic_store(&r->next, r->n_jobs); /* nobody starts another */
            return;
        }
    }
}

emr_status emr_work(const emr_workers *w, size_t n_jobs, emr_job_fn fn, void *context, emr_error *error)
{
    run r = {.workers = w, .fn = fn, .context = context, .n_jobs = n_jobs};
    size_t n = (size_t)emr_min(w->n, n_jobs);
    for (size_t i = 0; i < w->n; i++)
        w->failures[i].status = EMR_OK;
    if (n > 1)
        w->executor.parallel_for(w->executor.user, n, take_jobs, &r);
    else
        take_jobs(&r, 0);
    const emr_failure *first = NULL;
    for (size_t i = 0; i < n; i++)
        if (w->failures[i].status && (!first || w->failures[i].job < first->job))
            first = &w->failures[i];
    if (!first)
        return EMR_OK;
    if (error)
        *error = first->error;
    return first->status;
}
