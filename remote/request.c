/* request.c - a chain of jobs, until it is done or there is no hope: what fails for a while is tried again
 * from where it ended. */
#include "remote.h"

#include <stdio.h>

enum { WAIT_FIRST = 100, WAIT_MOST = 8000 /* milliseconds */, PROGRESS = 1 << 16 };

bool remote_is_canceled(const emr_remote *r)
{
    return r->closing || (r->options.is_canceled && r->options.is_canceled(r->options.user));
}

static void finish_all(remote_job *chain, const remote_outcome *o)
{
    while (chain) {
        remote_job *more = chain->more; /* once it is finished, it is its owner's */
        remote_finish(chain, o->status, o->reason);
        chain = more;
    }
}

static void finish_look(remote_file *f, const remote_outcome *o)
{
    static const remote_look looks[] = {[REMOTE_DONE] = REMOTE_PRESENT,
                                        [REMOTE_LATER] = REMOTE_FAILED,
                                        [REMOTE_GONE] = REMOTE_ABSENT,
                                        [REMOTE_DENIED] = REMOTE_REFUSED,
                                        [REMOTE_NEVER] = REMOTE_FAILED};
    f->head_bytes = f->first.done;
    f->seen = looks[o->verdict];
    remote_finish(&f->first, o->status, o->reason);
}

/* Before the next try. False: it is over. */
static bool wait_for_try(emr_remote *r, remote_outcome *o, unsigned failures)
{
    if (failures >= r->options.tries) {
        size_t n = 0;
        while (o->reason[n])
            n++;
        snprintf(o->reason + n, sizeof o->reason - n, " (%u tries)", failures);
        return false;
    }
    unsigned wait = failures > 6 ? WAIT_MOST : (unsigned)WAIT_FIRST << (failures - 1);
    if (wait < (unsigned)o->retry_after * 1000)
        wait = (unsigned)o->retry_after * 1000;
    return remote_pause(r, wait < WAIT_MOST || o->retry_after ? wait : WAIT_MOST);
}

static void cancel(remote_outcome *o)
{
    *o = (remote_outcome){.verdict = REMOTE_NEVER, .status = EMR_ECANCELED, .reason = "canceled"};
}

void remote_request(emr_remote *r, void *curl, remote_job *chain)
{
    remote_outcome o = {.verdict = REMOTE_DONE};
    remote_file *f = chain->file;
    bool is_look = chain == &f->first;
    unsigned failures = 0;
    for (bool again = true; again;) {
        if (is_look) {
            chain = &f->first;
            chain->done = 0;
        }
        if (remote_is_canceled(r)) {
            cancel(&o);
            break;
        }
        remote_transfer(curl, &chain, &o);
        if (o.got >= PROGRESS)
            failures = 0;
        if (o.verdict == REMOTE_LATER) {
            again = wait_for_try(r, &o, ++failures);
            if (!again && failures < r->options.tries)
                cancel(&o);
        } else { /* a server may send less than it was asked for, and then the rest */
            again = o.verdict == REMOTE_DONE && !is_look && chain && o.got;
        }
    }
    if (is_look) {
        finish_look(f, &o);
        return;
    }
    if (chain && o.verdict == REMOTE_DONE)
        o = (remote_outcome){.status = EMR_EIO, .reason = "the server sends nothing"};
    finish_all(chain, &o);
}
