/* merged.c - weights of merged tensors into the host's memory: cut into pieces, which all workers compute a
 * round at a time; whatever else is wanted is copied on the way. Freestanding. */
#include "session/target.h"

#include "modulator/block_values.h"
#include "numeric/convert.h"

/* Weights at a time that take the way over a worker's values. */
enum { BY_VALUES = EMR_SESSION_VALUES - 2 * EMR_BLOCK_VALUES };

/* Some weights. Where the base is in blocks, and where they go to blocks, they are values in between, computed in
 * place. */
static emr_status write_part(const emr_session *s, const emr_session_piece *p, float *values,
                             emr_error *error)
{
    const emr_session_tensor *m = &s->shared->tensors[p->tensor];
    const emr_kernels *kernels = s->shared->bundle->kernels;
    const void *base = NULL;
    if (!p->without_base && m->blocks)
        base = emr_block_values(kernels, m->blocks, m->base, p->first, (size_t)p->n, values);
    else if (!p->without_base)
        base = m->base + p->first * emr_float_size(m->dtype);
    const emr_weighting weighting = {.kernels = kernels,
                                     .code = *emr_session_code(p->task, p->tensor),
                                     .window = emr_session_window,
                                     .user = p->task,
                                     .tensor = p->tensor,
                                     .base_dtype = base ? m->dtype : EMR_DTYPE_F32,
                                     .out_dtype = p->out_dtype,
                                     .stream = p->stream && !p->out_blocks};
    emr_status status =
        emr_apply_windows(&weighting, p->first, p->n, base, p->out_blocks ? values : p->out, error);
    if (!status && p->out_blocks)
        kernels->quantise(p->out_blocks, p->out, values, (size_t)p->n);
    return status;
}

/* Parameters that a piece counts by: none is cut within a block that is written. */
static uint64_t piece_unit(emr_block_type out_blocks)
{
    return out_blocks ? EMR_BLOCK_VALUES : 1;
}

static emr_status write_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *s = context;
    emr_session_piece p = s->pieces[job];
    const uint64_t unit = piece_unit(p.out_blocks), end = (p.first + p.n) * unit;
    const uint64_t most = s->shared->tensors[p.tensor].blocks || p.out_blocks ? BY_VALUES : p.n;
    emr_status status = EMR_OK;
    for (p.first *= unit; !status && p.first < end; p.first += p.n) {
        p.n = emr_min(end - p.first, most);
        status = write_part(s, &p, (float *)(void *)s->work[worker].packed, error);
        p.out = (uint8_t *)p.out + emr_session_bytes(p.out_dtype, p.out_blocks, p.n);
    }
    return status;
}

static emr_session_rounds written_rounds(emr_session *s, emr_block_type out_blocks)
{
    return (emr_session_rounds){.fn = write_piece, .context = s, .unit = piece_unit(out_blocks)};
}

emr_status emr_session_finish_writing(emr_session *s, emr_error *error)
{
    const emr_session_rounds rounds = written_rounds(s, EMR_BLOCK_TYPE_NONE);
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
    const emr_session_rounds rounds = written_rounds(s, t->out_blocks);
    uint64_t end = t->first + t->count, first_param = s->shared->tensors[t->i].first_param;
    emr_session_piece p = {.task = t->task,
                           .tensor = (uint32_t)t->i,
                           .out_dtype = t->out_dtype,
                           .out_blocks = t->out_blocks,
                           .stream = t->stream,
                           .without_base = t->without_base};
    emr_status status = EMR_OK;
    for (uint64_t at = t->first; !status && at < end; at += p.n * rounds.unit) {
        uint64_t n = emr_min(end - at, EMR_PIECE_PARAMS - (first_param + at) % EMR_PIECE_PARAMS);
        p.first = at / rounds.unit;
        p.n = n / rounds.unit;
        p.out = t->out + emr_target_bytes(t, at - t->first);
        status = emr_session_add_piece(s, &rounds, &p.task->task, 1, &p, error);
    }
    return status;
}

emr_status emr_target_write(const emr_session_target *t, emr_error *error)
{
    return t->from == EMR_FROM_MERGED ? add_merged(t, error) : emr_target_copy(t, error);
}
