/* round.c - work in rounds: pieces are collected on the calling thread until there is no room for another or
 * for its codes, and then done by all workers. Freestanding. */
#include "session/session.h"

void emr_session_begin_round(emr_session *s)
{
    s->n_pieces = 0;
    emr_code_cache_begin(&s->shared->codes);
}

emr_status emr_session_finish_round(emr_session *s, emr_job_fn fn, void *context, emr_error *error)
{
    emr_status status = emr_session_read_codes(s, error);
    if (!status && s->n_pieces)
        status = emr_work(&s->workers, s->n_pieces, fn, context, error);
    emr_session_begin_round(s);
    return status;
}
