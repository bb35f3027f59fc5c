/* product.c - products with the weights of tasks in a session, rows shared out over the executor.
 * Freestanding. */
#include "session/target.h"

#include "modulator/multiply.h"
#include "numeric/convert.h"

enum { VECTORS = 64 }; /* of a batch, at a time */

typedef struct session_product {
    emr_session *session;
    emr_multiplication m;
    size_t n_distinct; /* tasks, in session->distinct */
} session_product;

/* Some rows. */
static emr_status multiply_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const session_product *p = context;
    const emr_session_piece *piece = &p->session->pieces[job];
    (void)worker;
    return emr_multiply_rows(&p->m, piece->first, piece->first + piece->n, error);
}

static emr_status multiply_rows(session_product *p, emr_error *error)
{
    emr_session *s = p->session;
    uint64_t n_rows = p->m.product.n_rows;
    uint64_t columns = p->m.product.n_columns ? p->m.product.n_columns : 1;
    /* enough pieces that workers finish together, none of them tiny */
    uint64_t shared = n_rows / (8 * s->workers.n) + 1, large = EMR_PIECE_PARAMS / columns + 1;
    uint64_t rows = emr_round_up(emr_min(shared, large), EMR_DOT_ROWS); /* whole blocks */
    const emr_session_rounds rounds = {.fn = multiply_piece,
                                       .context = p,
                                       .first = p->m.product.first_row * p->m.product.n_columns,
                                       .unit = p->m.product.n_columns};
    emr_session_piece piece = {.tensor = p->m.product.tensor};
    emr_status status = EMR_OK;
    for (; !status && piece.first < n_rows; piece.first += piece.n) {
        piece.n = emr_min(n_rows - piece.first, rows);
        status = emr_session_add_piece(s, &rounds, s->distinct, p->n_distinct, &piece, error);
    }
    if (!status)
        status = emr_session_finish_round(s, &rounds, error);
    emr_session_drop_round(s);
    return status;
}

/* The vectors' tasks as windows want them, and each task that has codes once. */
static void take_tasks(session_product *p, const uint32_t *tasks, emr_multiplier *of)
{
    emr_session *s = p->session;
    s->n_calls++;
    p->n_distinct = 0;
    for (size_t b = 0; b < p->m.product.batch; b++) {
        emr_session_task *t = emr_session_find_task(s->shared, tasks[b], NULL);
        of[b] = (emr_multiplier){*emr_session_code(t, p->m.product.tensor), emr_session_window, t};
        uint64_t *last = &s->last_call[t - s->shared->tasks];
        if (t->task != EMR_BASE && *last != s->n_calls)
            s->distinct[p->n_distinct++] = t->task;
        *last = s->n_calls;
    }
}

static emr_status take_product(const emr_session *s, const uint32_t *tasks, const emr_product *given,
                               emr_product *taken, emr_error *error)
{
    if (!s || !given)
        return emr_fail(error, EMR_EINVAL, "emr_session_multiply: NULL");
    emr_status status = EMR_TAKE(taken, given, emr_product, error);
    if (!status)
        status = emr_session_find_tensor(s, taken->name, taken->tensor, &taken->tensor, error);
    if (status)
        return status;
    const emr_bundle *b = s->shared->bundle;
    const char *name = emr_bundle_tensor_name(b, taken->tensor);
    if (taken->tensor >= b->summary.n_merged)
        return emr_fail(error, EMR_EINVAL, "%F: tensor '%T' is not merged: it is not multiplied by", b->name,
                        name);
    if (taken->batch && !tasks)
        return emr_fail(error, EMR_EINVAL, "emr_session_multiply: NULL");
    for (size_t i = 0; i < taken->batch; i++) /* before any product is added to what y has */
        if (!emr_session_find_task(s->shared, tasks[i], error))
            return EMR_ENOTFOUND;
    const emr_session_tensor *t = &s->shared->tensors[taken->tensor];
    if (!taken->without_base && !s->shared->base)
        return emr_fail(error, EMR_ESTATE,
                        "%F: tensor '%T': this session has no base: set without_base, for the product "
                        "with the change alone",
                        b->name, name);
    return emr_product_check(taken, name, t->n_rows, t->n_columns, error);
}

emr_status emr_session_multiply(emr_session *s, const uint32_t *tasks, const emr_product *given,
                                emr_error *error)
{
    emr_multiplier of[VECTORS];
    emr_product whole;
    emr_status status = take_product(s, tasks, given, &whole, error);
    if (status)
        return status;
    const emr_session_tensor *t = &s->shared->tensors[whole.tensor];
    session_product p = {.session = s,
                         .m = {.kernels = s->shared->bundle->kernels,
                               .in_parts = t->has_columns && whole.n_columns != t->n_columns,
                               .base_dtype = EMR_DTYPE_F32,
                               .of = of,
                               .in_place = true}};
    if (t->base && !whole.without_base) {
        p.m.base =
            t->blocks ? t->base : t->base + whole.first_row * whole.n_columns * emr_float_size(t->dtype);
        p.m.base_dtype = t->dtype;
        p.m.base_blocks = t->blocks;
    }
    for (size_t b = 0; !status && b < whole.batch; b += VECTORS) {
        p.m.product = whole;
        p.m.product.batch = (size_t)emr_min(whole.batch - b, VECTORS);
        if (whole.n_rows) { /* else there may be no memory to count in */
            p.m.product.x += b * whole.x_stride;
            p.m.product.y += b * whole.y_stride;
        }
        take_tasks(&p, tasks + b, of);
        status = multiply_rows(&p, error);
    }
    return status;
}
