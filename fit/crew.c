/* crew.c - see crew.h. Jobs are taken in order: what a failed one leaves undone comes behind it. */
#include "crew.h"

#include <stdatomic.h>
#include <string.h>

emr_status fit_crew_create(fit_crew *crew, const fit_host *host, size_t n, size_t room_bytes,
                           emr_error *error)
{
    *crew = (fit_crew){.host = host, .workers = fit_allocate(host, n, sizeof *crew->workers)};
    if (!crew->workers)
        return fit_no_memory(error);
    for (; crew->n < n; crew->n++) {
        fit_worker *w = &crew->workers[crew->n];
        w->room = fit_allocate(host, room_bytes, 1);
        if (!w->room) {
            fit_crew_destroy(crew);
            return fit_no_memory(error);
        }
    }
    return EMR_OK;
}

void fit_crew_destroy(fit_crew *crew)
{
    for (size_t i = 0; i < crew->n; i++)
        fit_release(crew->host, crew->workers[i].room);
    if (crew->workers)
        fit_release(crew->host, crew->workers);
    *crew = (fit_crew){0};
}

typedef struct shift {
    fit_crew *crew;
    atomic_size_t next;
    atomic_bool has_failed;
    size_t n;
    fit_job_fn fn;
    void *arg;
} shift;

static void work(void *arg, size_t i)
{
    shift *s = arg;
    fit_worker *w = &s->crew->workers[i];
    w->job = SIZE_MAX;
    for (size_t job; !atomic_load(&s->has_failed) && (job = atomic_fetch_add(&s->next, 1)) < s->n;) {
        w->status = s->fn(s->arg, job, w->room, &w->error);
        if (w->status) {
            w->job = job;
            atomic_store(&s->has_failed, true);
            return;
        }
    }
}

emr_status fit_crew_run(fit_crew *crew, size_t n, fit_job_fn fn, void *arg, emr_error *error)
{
    shift s = {.crew = crew, .n = n, .fn = fn, .arg = arg};
    size_t workers = crew->n < n ? crew->n : n;
    const fit_worker *first = NULL;
    fit_for(crew->host, workers, work, &s);
    for (size_t i = 0; i < workers; i++) {
        const fit_worker *w = &crew->workers[i];
        if (w->job != SIZE_MAX && (!first || w->job < first->job))
            first = w;
    }
    if (!first)
        return EMR_OK;
    if (error)
        *error = first->error;
    return first->status;
}
