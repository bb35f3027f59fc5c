/* gather.c - rows of one tensor, each of a task of its own. All rows are checked before any is written; then
 * they are written task by task, so that those of one task need its codes once. Freestanding. */
#include "session/target.h"

#include "model/model.h"

typedef struct gather_call {
    emr_session_target t; /* one row, whatever row; its dtype and columns are those of all */
    emr_gather g;         /* its stride is never 0 */
    uint64_t n_rows;      /* of the tensor */
} gather_call;

/* The tensor, as the base has it, and its rows. */
static emr_status find_rows(gather_call *c, emr_error *error)
{
    const emr_bundle *b = c->t.session->shared->bundle;
    uint32_t i;
    emr_status status = emr_session_find_tensor(c->t.session, c->g.name, c->g.tensor, &i, error);
    if (!status)
        status = emr_target_find(&c->t, i, error);
    if (!status)
        status = emr_target_set_dtype(&c->t, c->g.dtype, error);
    if (status)
        return status;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    c->n_rows = emr_shape_rows(r.rank, emr_bundle_shape(b, r.shape));
    c->t.count = c->n_rows ? c->t.total / c->n_rows : 0;
    if (!c->g.n_columns)
        return EMR_OK;
    if (c->t.count % c->g.n_columns)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has rows of %u elements, which are no rows of %u",
                        b->name, c->t.name, c->t.count, c->g.n_columns);
    c->n_rows = c->t.total / c->g.n_columns;
    c->t.count = c->g.n_columns;
    return EMR_OK;
}

/* Where rows go, all of them: elements that one row does not take lie between them. */
static emr_status check_gather_output(gather_call *c, emr_error *error)
{
    const emr_bundle *b = c->t.session->shared->bundle;
    const emr_gather *g = &c->g;
    uint64_t stride = g->out_stride ? g->out_stride : c->t.count, n;
    if (g->n > 1 && stride < c->t.count)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': rows overlap: out_stride is %u, columns are %u",
                        b->name, c->t.name, stride, c->t.count);
    if (!emr_mul(g->n - 1, stride, &n) || !emr_add(n, c->t.count, &n))
        n = UINT64_MAX;
    emr_status status = emr_target_check_output(&c->t, n, error);
    if (status)
        return status;
    uint64_t bytes = emr_target_bytes(&c->t, n);
    if (emr_memory_overlaps(g->out, bytes, g->tasks, g->n * sizeof *g->tasks) ||
        (g->rows && emr_memory_overlaps(g->out, bytes, g->rows, g->n * sizeof *g->rows)))
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T': its rows would overwrite which they are",
                        b->name, c->t.name);
    c->g.out_stride = (size_t)stride;
    return EMR_OK;
}

static uint64_t row_number(const emr_gather *g, size_t i)
{
    return g->rows ? g->rows[i] : 0;
}

/* Whether the task of row i has it. */
static emr_status check_gather_row(const gather_call *c, size_t i, emr_error *error)
{
    emr_session_target t = c->t;
    uint64_t row = row_number(&c->g, i);
    t.task = emr_session_find_task(t.session->shared, c->g.tasks[i], error);
    if (!t.task)
        return EMR_ENOTFOUND;
    if (row >= c->n_rows)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' has %u rows, asked for number %u",
                        t.session->shared->bundle->name, t.name, c->n_rows, row);
    return emr_target_find(&t, (uint32_t)t.i, error);
}

/* Row i, and all later ones of the same task. */
static emr_status gather_task(const gather_call *c, size_t i, emr_error *error)
{
    const emr_gather *g = &c->g;
    emr_session_target t = c->t;
    uint32_t task = g->tasks[i];
    emr_status status = EMR_OK;
    t.task = emr_session_find_task(t.session->shared, task, error);
    for (; !status && i < g->n; i++) {
        if (g->tasks[i] != task)
            continue;
        t.first = row_number(g, i) * t.count;
        t.out = c->t.out + emr_target_bytes(&t, (uint64_t)i * g->out_stride);
        status = emr_target_write(&t, error);
    }
    return status;
}

static emr_status gather_rows(const gather_call *c, emr_error *error)
{
    emr_session *s = c->t.session;
    emr_status status = EMR_OK;
    s->n_calls++;
    for (size_t i = 0; !status && i < c->g.n; i++) {
        const emr_session_task *task = emr_session_find_task(s->shared, c->g.tasks[i], error);
        uint64_t *last = &s->last_call[task - s->shared->tasks];
        if (*last != s->n_calls)
            status = gather_task(c, i, error);
        *last = s->n_calls;
    }
    return emr_session_end_writing(s, status, error);
}

emr_status emr_session_gather(emr_session *s, const emr_gather *given, emr_error *error)
{
    gather_call c;
    if (!s || !given)
        return emr_fail(error, EMR_EINVAL, "emr_session_gather: NULL");
    emr_status status = EMR_TAKE(&c.g, given, emr_gather, error);
    if (status)
        return status;
    if (c.g.n && !c.g.tasks)
        return emr_fail(error, EMR_EINVAL, "emr_session_gather: NULL");
    c.t = (emr_session_target){.session = s,
                               .task = emr_session_find_task(s->shared, EMR_BASE, error),
                               .out = c.g.out,
                               .without_base = c.g.without_base};
    status = find_rows(&c, error);
    if (status || !c.g.n)
        return status;
    status = check_gather_output(&c, error);
    for (size_t i = 0; !status && i < c.g.n; i++)
        status = check_gather_row(&c, i, error);
    return status ? status : gather_rows(&c, error);
}
