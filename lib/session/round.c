/* round.c - work in rounds: pieces are collected on the calling thread until there is no room for another or
 * for its codes, and then done by all workers. Freestanding. */
#include "session/session.h"

void emr_session_drop_round(emr_session *s)
{
    s->n_pieces = 0;
    emr_code_cache_release(&s->shared->codes, &s->codes);
}

emr_status emr_session_finish_round(emr_session *s, const emr_session_rounds *r, emr_error *error)
{
    emr_status status = emr_session_read_codes(s, error);
    if (!status && s->n_pieces)
        status = emr_work(&s->workers, s->n_pieces, r->fn, r->context, error);
    emr_session_drop_round(s);
    return status;
}

static emr_room request_piece(emr_session *s, const emr_session_rounds *r, const uint32_t *tasks,
                              size_t n_tasks, const emr_session_piece *p)
{
    if (s->n_pieces == EMR_SESSION_PIECES)
        return EMR_ROOM_LATER;
    return emr_session_request(s, tasks, n_tasks, p->tensor, r->first + p->first * r->unit, p->n * r->unit);
}

emr_status emr_session_add_piece(emr_session *s, const emr_session_rounds *r, const uint32_t *tasks,
                                 size_t n_tasks, emr_session_piece *p, emr_error *error)
{
    unsigned n_waits = 0;
    emr_status status = EMR_OK;
    for (emr_room room; !status && (room = request_piece(s, r, tasks, n_tasks, p)) != EMR_ROOM;) {
        if (room == EMR_ROOM_NEVER && p->n == 1)
            return emr_fail(
                error, EMR_ELIMIT,
                "%F: mask_bytes has no room for the codes of a row of %u columns for %u tasks at a "
                "time",
                s->shared->bundle->name, r->unit, (uint64_t)n_tasks);
        if (room == EMR_ROOM_NEVER)
            p->n = (p->n + 1) / 2;
        else if (s->n_pieces)
            status = emr_session_finish_round(s, r, error);
        else
            emr_code_cache_await_room(&s->shared->codes, &s->codes, &n_waits);
    }
    if (!status)
        s->pieces[s->n_pieces++] = *p;
    return status;
}
