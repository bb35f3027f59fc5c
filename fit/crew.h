/* crew.h - workers that share out jobs over the executor, each with memory of its own. Jobs may fail. */
#ifndef EMR_FIT_CREW_H
#define EMR_FIT_CREW_H

#include "host.h"

typedef emr_status (*fit_job_fn)(void *arg, size_t job, void *room, emr_error *error);

typedef struct fit_worker {
    void *room;
    size_t job; /* that failed; SIZE_MAX: none */
    emr_status status;
    emr_error error;
} fit_worker;

typedef struct fit_crew {
    const fit_host *host;
    fit_worker *workers;
    size_t n;
} fit_crew;

/* `n` workers with `room_bytes` each, at a cache line. */
emr_status fit_crew_create(fit_crew *crew, const fit_host *host, size_t n, size_t room_bytes,
                           emr_error *error);
void fit_crew_destroy(fit_crew *crew);

/* fn for every job below n, in any order. Where some fail, what is told is the failure of the first of them. */
emr_status fit_crew_run(fit_crew *crew, size_t n, fit_job_fn fn, void *arg, emr_error *error);

#endif
