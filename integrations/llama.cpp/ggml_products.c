/* ggml_products.c - see ggml_checks.h. */
#include "ggml_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS = 7 };

/* One tensor, some vectors of as many tasks as there are, and room for results. */
typedef struct trial {
    struct ggml_tensor *weight;
    int64_t columns, rows;
    float *x;    /* VECTORS vectors of `columns` */
    float *y[3]; /* VECTORS vectors of `rows` */
    float *base; /* the tensor's, and what a task changes */
    float *change;
    batch vectors;
} trial;

static trial begin_trial(const world *w, struct ggml_tensor *t)
{
    trial r = {.weight = t, .columns = t->ne[0], .rows = t->ne[1], .vectors = {.n = VECTORS}};
    r.x = allocate_zeroed((size_t)(VECTORS * r.columns), sizeof *r.x);
    for (int i = 0; i < 3; i++)
        r.y[i] = allocate_zeroed((size_t)(VECTORS * r.rows), sizeof *r.y[i]);
    r.base = allocate_zeroed((size_t)(r.rows * r.columns), sizeof *r.base);
    r.change = allocate_zeroed((size_t)(r.rows * r.columns), sizeof *r.change);
    for (uint32_t i = 0; i < VECTORS * r.columns; i++)
        r.x[i] = draw_value(7, i);
    for (uint32_t b = 0; b < VECTORS; b++)
        r.vectors.tasks[b] = b * 5 % (w->n_tasks + 1) < w->n_tasks ? b * 5 % (w->n_tasks + 1) : EMR_BASE;
    return r;
}

static void end_trial(trial *r)
{
    free(r->x);
    for (int i = 0; i < 3; i++)
        free(r->y[i]);
    free(r->base);
    free(r->change);
}

/* As one call of libemr's computes it, all rows at once. */
static void multiply_in_session(emr_session *session, const trial *r, bool without_base, float *y)
{
    emr_error error;
    const emr_product product = {.size = sizeof product,
                                 .name = r->weight->name,
                                 .x = r->x,
                                 .y = y,
                                 .batch = VECTORS,
                                 .n_rows = (uint64_t)r->rows,
                                 .without_base = without_base};
    must_work(emr_session_multiply(session, r->vectors.tasks, &product, &error), &error);
}

static void apply_floats(emr_session *session, const trial *r, uint32_t task, bool without_base,
                         float *values)
{
    emr_error error;
    const emr_weights target = {.size = sizeof target,
                                .name = r->weight->name,
                                .data = values,
                                .dtype = EMR_DTYPE_F32,
                                .without_base = without_base};
    must_work(emr_session_apply(session, task, &target, 1, &error), &error);
}

/* Whether products are as near to those in double as product.h says, of either family of kinds; the weights
 * that are compared with are rounded too, which takes two more units. */
static bool is_within_bound(emr_session *session, trial *r, const float *y)
{
    double unit = (ceil((double)r->columns / 32) + (double)(r->columns / 16384 + 2) + 8 + 2) * ldexp(1, -24);
    bool within = true;
    apply_floats(session, r, EMR_BASE, false, r->base);
    for (size_t b = 0; b < VECTORS; b++) {
        memset(r->change, 0, (size_t)(r->rows * r->columns) * sizeof *r->change);
        if (r->vectors.tasks[b] != EMR_BASE)
            apply_floats(session, r, r->vectors.tasks[b], true, r->change);
        for (int64_t row = 0; row < r->rows; row++) {
            double exact = 0, size = 0;
            for (int64_t c = 0; c < r->columns; c++) {
                double base = r->base[row * r->columns + c], change = r->change[row * r->columns + c];
                double x = r->x[(int64_t)b * r->columns + c];
                exact += (base + change) * x;
                size += (fabs(base) + fabs(change)) * fabs(x);
            }
            within = within && fabs((double)y[(int64_t)b * r->rows + row] - exact) <= unit * size;
        }
    }
    return within;
}

/* The change beside ggml's own product: to the bit the sum of the two. */
static void check_change(engine *e, engine *plain, const trial *r, const char *label, int threads)
{
    size_t n = (size_t)(VECTORS * r->rows);
    run_product(e, &r->vectors, r->weight, r->x, threads, r->y[0]);
    run_product(plain, &r->vectors, r->weight, r->x, 1, r->y[1]);
    multiply_in_session(e->callers[0], r, true, r->y[2]);
    for (size_t i = 0; i < n; i++)
        r->y[1][i] += r->y[2][i];
    expect_that(!memcmp(r->y[0], r->y[1], n * sizeof(float)),
                "%s: %s, %d threads: not ggml's product and the change, added", label, r->weight->name,
                threads);
}

/* The whole product over ggml's memory: to the bit that over the same values in F32, which is near to the
 * exact one. */
static void check_whole(engine *e, emr_session *wide, trial *r, const char *label, int threads)
{
    run_product(e, &r->vectors, r->weight, r->x, threads, r->y[0]);
    multiply_in_session(wide, r, false, r->y[1]);
    expect_that(!memcmp(r->y[0], r->y[1], (size_t)(VECTORS * r->rows) * sizeof(float)),
                "%s: %s, %d threads: not the product over the same values in F32", label, r->weight->name,
                threads);
    expect_that(is_within_bound(wide, r, r->y[0]), "%s: %s: beyond the bound of product.h", label,
                r->weight->name);
}

void check_products(const world *w, engine *e, const char *label)
{
    emr_error error;
    emr_session *wide_session;
    struct ggml_context *wide = convert_weights(e->weights, GGML_TYPE_F32);
    emr_model *wide_model = describe_weights(wide);
    engine plain;
    open_engine(&plain, &w->net, e->weights, WAY_PLAIN, NULL, 0);
    const emr_session_options unchecked = {.size = sizeof unchecked, .check = EMR_BASE_CHECK_NONE};
    must_work(emr_session_create(&wide_session, w->bundle, wide_model, &unchecked, &error), &error);
    for (struct ggml_tensor *t = ggml_get_first_tensor(e->weights); t;
         t = ggml_get_next_tensor(e->weights, t)) {
        if (ggml_n_dims(t) != 2)
            continue;
        trial r = begin_trial(w, t);
        for (int threads = 1; threads <= THREADS; threads += THREADS - 1)
            if (e->way == WAY_CHANGE)
                check_change(e, &plain, &r, label, threads);
            else
                check_whole(e, wide_session, &r, label, threads);
        end_trial(&r);
    }
    emr_session_destroy(&wide_session);
    emr_model_destroy(&wide_model);
    ggml_free(wide);
}
