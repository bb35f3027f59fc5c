/* work.h - n jobs on the host's executor or on the calling thread, with one failure picked out of many. */
#ifndef EMR_CORE_WORK_H
#define EMR_CORE_WORK_H

#include "core/memory.h"
#include "core/resources.h"

typedef struct emr_workers {
    emr_allocator allocator;
    emr_executor executor;
    size_t n;                     /* workers, >= 1 */
    struct emr_failure *failures; /* one a worker */
} emr_workers;

/* As many workers as the executor can run, at most `limit`; without one the calling thread alone. */
emr_status emr_workers_create(emr_workers *workers, const emr_env *env, size_t limit, emr_error *error);
void emr_workers_destroy(emr_workers *workers);

/* Work memory of the calls below belongs to one of the workers [0, n). */
typedef emr_status (*emr_job_fn)(void *context, size_t job, size_t worker, emr_error *error);

/* Runs every job, or, if one fails, all that come before it and some after; the failure returned is that of
 * the first failing job, whatever the executor. */
emr_status emr_work(const emr_workers *workers, size_t n_jobs, emr_job_fn fn, void *context,
                    emr_error *error);

#endif
