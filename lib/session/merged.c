/* merged.c - weights of merged tensors into the host's memory: cut into pieces, which all workers compute a
 * round at a time; whatever else is wanted is copied on the way. Freestanding. */
#include "session/target.h"

#include "numeric/convert.h"

static emr_status write_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *s = context;
    const emr_session_piece *p = &s->pieces[job];
    const emr_session_tensor *m = &s->shared->tensors[p->tensor];
    (void)worker;
    const emr_weighting weighting = {.kernels = s->shared->bundle->kernels,
                                     .code = *emr_session_code(p->task, p->tensor),
                                     .window = emr_session_window,
                                     .user = p->task,
                                     .tensor = p->tensor,
                                     .base_dtype = m->dtype,
                                     .out_dtype = p->out_dtype,
                                     .stream = p->stream};
    return emr_apply_windows(&weighting, p->first, p->n, m->base + p->first * emr_float_size(m->dtype),
                             p->out, error);
}

emr_status emr_session_finish_writing(emr_session *s, emr_error *error)
{
    return emr_session_finish_round(s, write_piece, s, error);
}

/* Begins a round with a piece's codes: shortens it to what there is room for. */
static emr_status begin_with_piece(emr_session *s, emr_session_piece *p, emr_error *error)
{
    emr_status status = emr_session_finish_writing(s, error);
    while (!status && !emr_session_request(s, p->task, p->tensor, p->first, p->n)) {
        if (p->n == 1)
            return emr_fail(error, EMR_ELIMIT, "%F: no room for a block of codes", s->shared->bundle->name);
        p->n = (p->n + 1) / 2;
    }
    return status;
}

/* Cuts elements of a merged tensor into pieces, at multiples of a piece in flat space, so that none lies in two
 * blocks of codes unless blocks are smaller. */
static emr_status add_merged(const emr_session_target *t, emr_error *error)
{
    emr_session *s = t->session;
    uint64_t end = t->first + t->count, first_param = s->shared->tensors[t->i].first_param;
    emr_session_piece p = {
        .task = t->task, .tensor = (uint32_t)t->i, .out_dtype = t->out_dtype, .stream = t->stream};
    emr_status status = EMR_OK;
    for (p.first = t->first; !status && p.first < end; p.first += p.n) {
        p.n = emr_min(end - p.first, EMR_PIECE_PARAMS - (first_param + p.first) % EMR_PIECE_PARAMS);
        p.out = t->out + emr_target_bytes(t, p.first - t->first);
        if (s->n_pieces == EMR_SESSION_PIECES || !emr_session_request(s, p.task, p.tensor, p.first, p.n))
            status = begin_with_piece(s, &p, error);
        if (!status)
            s->pieces[s->n_pieces++] = p;
    }
    return status;
}

emr_status emr_target_write(const emr_session_target *t, emr_error *error)
{
    return t->from == EMR_FROM_MERGED ? add_merged(t, error) : emr_target_copy(t, error);
}
