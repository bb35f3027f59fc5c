/* merged.c - weights of merged tensors into the host's memory: cut into pieces, which all workers compute a
 * round at a time; whatever else is wanted is copied on the way. Freestanding. */
#include "session/target.h"

#include "numeric/convert.h"

static emr_status write_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *s = context;
    const emr_session_piece *p = &s->pieces[job];
    const emr_session_tensor *m = &s->shared->tensors[p->tensor];
    const uint8_t *base = p->without_base ? NULL : m->base + p->first * emr_float_size(m->dtype);
    (void)worker;
    const emr_weighting weighting = {.kernels = s->shared->bundle->kernels,
                                     .code = *emr_session_code(p->task, p->tensor),
                                     .window = emr_session_window,
                                     .user = p->task,
                                     .tensor = p->tensor,
                                     .base_dtype = base ? m->dtype : EMR_DTYPE_F32,
                                     .out_dtype = p->out_dtype,
                                     .stream = p->stream};
    return emr_apply_windows(&weighting, p->first, p->n, base, p->out, error);
}

static emr_session_rounds written_rounds(emr_session *s)
{
    return (emr_session_rounds){.fn = write_piece, .context = s, .unit = 1};
}

emr_status emr_session_finish_writing(emr_session *s, emr_error *error)
{
    const emr_session_rounds rounds = written_rounds(s);
    return emr_session_finish_round(s, &rounds, error);
}

emr_status emr_session_end_writing(emr_session *s, emr_status status, emr_error *error)
{
    if (!status)
        status = emr_session_finish_writing(s, error);
    emr_session_drop_round(s);
    return status;
}

/* Cuts elements of a merged tensor into pieces, at multiples of a piece in flat space, so that none lies in two
 * blocks of codes unless blocks are smaller. */
static emr_status add_merged(const emr_session_target *t, emr_error *error)
{
    emr_session *s = t->session;
    const emr_session_rounds rounds = written_rounds(s);
    uint64_t end = t->first + t->count, first_param = s->shared->tensors[t->i].first_param;
    emr_session_piece p = {.task = t->task,
                           .tensor = (uint32_t)t->i,
                           .out_dtype = t->out_dtype,
                           .stream = t->stream,
                           .without_base = t->without_base};
    emr_status status = EMR_OK;
    for (p.first = t->first; !status && p.first < end; p.first += p.n) {
        p.n = emr_min(end - p.first, EMR_PIECE_PARAMS - (first_param + p.first) % EMR_PIECE_PARAMS);
        p.out = t->out + emr_target_bytes(t, p.first - t->first);
        status = emr_session_add_piece(s, &rounds, &p.task->task, 1, &p, error);
    }
    return status;
}

emr_status emr_target_write(const emr_session_target *t, emr_error *error)
{
    return t->from == EMR_FROM_MERGED ? add_merged(t, error) : emr_target_copy(t, error);
}
