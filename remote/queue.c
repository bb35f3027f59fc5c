/* queue.c - jobs that wait, and the threads that do them, each with a connection of its own. */
#include "remote.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <time.h>

void remote_push(emr_remote *r, remote_job *chain, bool is_urgent)
{
    remote_job **first = is_urgent ? &r->urgent : &r->ahead,
               **last = is_urgent ? &r->urgent_last : &r->ahead_last;
    chain->next = NULL;
    *(*first ? &(*last)->next : first) = chain;
    *last = chain;
    pthread_cond_broadcast(&r->work); /* pauses wait for it too */
}

static remote_job *pop(emr_remote *r)
{
    remote_job **first = r->urgent ? &r->urgent : &r->ahead, *job = *first;
    if (job)
        *first = job->next;
    return job;
}

void remote_finish(remote_job *j, emr_status status, const char *reason)
{
    emr_remote *r = j->file->remote;
    if (status)
        emr_error_set(&j->error, status, 0, j->file->shown, reason);
    pthread_mutex_lock(&r->mutex);
    j->status = status;
    j->finished = true;
    if (j == &j->file->first)
        j->file->look = j->file->seen;
    pthread_cond_broadcast(&r->done);
    pthread_mutex_unlock(&r->mutex);
}

void remote_wait(emr_remote *r, const remote_job *j)
{
    while (!j->finished)
        pthread_cond_wait(&r->done, &r->mutex);
}

bool remote_pause(emr_remote *r, unsigned milliseconds)
{
    enum { STEP = 100 };
    bool goes_on = true;
    for (unsigned waited = 0; waited < milliseconds && goes_on; waited += STEP) {
        const struct timespec step = {.tv_nsec = STEP * 1000000L};
        nanosleep(&step, NULL);
        goes_on = !remote_is_canceled(r);
    }
    return goes_on;
}

static void fail_chain(remote_job *chain)
{
    while (chain) {
        remote_job *more = chain->more;
        if (chain == &chain->file->first)
            chain->file->seen = REMOTE_FAILED;
        remote_finish(chain, EMR_ENOMEM, "libcurl cannot be started");
        chain = more;
    }
}

static void *work(void *user)
{
    emr_remote *r = user;
    CURL *curl = curl_easy_init();
    pthread_mutex_lock(&r->mutex);
    while (!r->closing) {
        remote_job *chain = pop(r);
        if (!chain) {
            pthread_cond_wait(&r->work, &r->mutex);
            continue;
        }
        pthread_mutex_unlock(&r->mutex);
        if (curl)
            remote_request(r, curl, chain);
        else
            fail_chain(chain);
        pthread_mutex_lock(&r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
    curl_easy_cleanup(curl);
    return NULL;
}

emr_status remote_start(emr_remote *r, emr_error *error)
{
    int failed = 0;
    r->threads = calloc(r->options.connections, sizeof *r->threads);
    if (!r->threads)
        return emr_error_set(error, EMR_ENOMEM, 0, NULL, "out of memory");
    while (!failed && r->n_threads < r->options.connections) {
        failed = pthread_create(&r->threads[r->n_threads], NULL, work, r);
        r->n_threads += !failed;
    }
    return r->n_threads ? EMR_OK : emr_error_set(error, EMR_EIO, failed, NULL, "no thread can be started");
}

void remote_stop(emr_remote *r)
{
    pthread_mutex_lock(&r->mutex);
    r->closing = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->mutex);
    for (uint32_t i = 0; i < r->n_threads; i++)
        pthread_join(r->threads[i], NULL);
    free(r->threads);
}
