/* multiply.c - multiplies by tasks' weights row by row, or block of rows by block, so many columns at a time
 * that everything stays in level 1 of the caches while each vector takes its turn.
 *
 * A tile is up to EMR_DOT_VECTORS vectors of the batch that one kernel can multiply together: consecutive
 * ones whose tasks are of one kind with unified values, or all of kinds without. Each has a window of its
 * task, kept from row to row for as long as it reaches. For each stripe of columns, codes are copied out of
 * the windows to where the kernel wants them, once for all vectors of a task; the kernel reads base, unified
 * values and vectors in place. Only where they do not lie in one piece there, or a row ends within EMR_LANES
 * columns, are they copied too, with zeros behind them. Freestanding. */
#include "modulator/tile.h"

#include "numeric/convert.h"

/* Whether so many vectors of n floats can be in memory. */
static bool vectors_fit(const float *first, size_t batch, size_t stride, uint64_t n)
{
    uint64_t floats;
    return emr_mul(batch - 1, stride, &floats) && emr_add(floats, n, &floats) &&
           floats <= (UINTPTR_MAX - (uintptr_t)first) / sizeof *first;
}

emr_status emr_product_check(emr_product *p, const char *name, uint64_t n_rows, uint64_t n_columns,
                             emr_error *error)
{
    if (p->n_columns && n_columns % p->n_columns)
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': n_columns is %u, which does not divide its rows of %u", name,
                        p->n_columns, n_columns);
    n_rows *= p->n_columns ? n_columns / p->n_columns : 1;
    n_columns = p->n_columns = p->n_columns ? p->n_columns : n_columns;
    if (p->first_row > n_rows || p->n_rows > n_rows - p->first_row)
        return emr_fail(error, EMR_EINVAL, "tensor '%T' has %u rows of %u columns, asked for %u from %u",
                        name, n_rows, n_columns, p->n_rows, p->first_row);
    p->x_stride = p->x_stride ? p->x_stride : (size_t)n_columns;
    p->y_stride = p->y_stride ? p->y_stride : (size_t)p->n_rows;
    if (p->batch > 1 && (p->x_stride < n_columns || p->y_stride < p->n_rows))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': vectors overlap: strides are %u and %u, rows %u, columns %u", name,
                        (uint64_t)p->x_stride, (uint64_t)p->y_stride, p->n_rows, n_columns);
    if (p->batch && p->n_rows && (!p->y || (n_columns && !p->x)))
        return emr_fail(error, EMR_EINVAL, "tensor '%T': emr_product needs x and y", name);
    if (p->batch && p->n_rows &&
        !(vectors_fit(p->x, p->batch, p->x_stride, n_columns) &&
          vectors_fit(p->y, p->batch, p->y_stride, p->n_rows)))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': %u vectors with strides of %u and %u do not fit in memory", name,
                        (uint64_t)p->batch, (uint64_t)p->x_stride, (uint64_t)p->y_stride);
    return EMR_OK;
}

/* The last step of the order of sums. */
static float fold_row_sums(float lanes[EMR_LANES])
{
    for (size_t half = EMR_LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

/* A vector's result. The base's alone, without a base, is +0 whatever the vector. */
static float fold_vector(emr_tile *t, size_t r, size_t v)
{
    return t->m->base || t->of[v].code.kind ? fold_row_sums(t->lanes[r][v]) : 0;
}

/* Some rows, one at most of kinds with unified values. */
static emr_status multiply_tile_rows(emr_tile *t, uint64_t row, size_t n_rows, emr_error *error)
{
    const emr_product *p = &t->m->product;
    memset(t->lanes, 0, n_rows * sizeof *t->lanes);
    emr_status status =
        t->kind ? emr_multiply_elected(t, row, error) : emr_multiply_coded(t, row, n_rows, error);
    for (size_t r = 0; !status && r < n_rows; r++)
        for (size_t v = 0; v < t->n; v++) {
            float *y = p->y + (t->first + v) * p->y_stride + row + r, product = fold_vector(t, r, v);
            *y = p->add ? *y + product : product;
        }
    return status;
}

/* Some rows by one tile. */
static emr_status multiply_tile(emr_tile *t, uint64_t row, size_t n_rows, emr_error *error)
{
    size_t step = t->kind ? 1 : n_rows;
    emr_status status = EMR_OK;
    for (size_t r = 0; !status && r < n_rows; r += step)
        status = multiply_tile_rows(t, row + r, step, error);
    return status;
}

/* How many vectors, from the tile's first on, are of one family; the base goes with any. */
static size_t find_tile_family(emr_tile *t, size_t most)
{
    bool found = false;
    size_t n = 0;
    t->kind = NULL;
    for (; n < most; n++) {
        const emr_kind *kind = t->of[n].code.kind;
        if (!kind)
            continue;
        kind = kind->has_unified ? kind : NULL;
        if (found && kind != t->kind)
            break;
        found = true;
        t->kind = kind;
    }
    return n;
}

/* Begins a tile: nothing is in reach yet. */
static void begin_tile(emr_tile *t, const emr_multiplication *m, size_t first)
{
    t->m = m;
    t->of = m->of + first;
    t->first = first;
    t->n = find_tile_family(t, (size_t)emr_min(m->product.batch - first, EMR_DOT_VECTORS));
    for (size_t v = 0; v < t->n; v++) {
        const emr_kind *kind = t->of[v].code.kind ? t->of[v].code.kind : t->kind;
        t->kernels[v] = kind ? emr_kind_kernels(kind, m->kernels) : (emr_code_kernels){0};
        t->reached[v].first = t->reached[v].end = 0;
        t->same[v] = 0;
        while (t->of[t->same[v]].user != t->of[v].user)
            t->same[v]++;
        t->last[t->same[v]] = v;
    }
}

/* Rows that go together: more than one where there are tasks without unified values; their windows may be
 * asked for one row after the other, and again and again. They share what scales of columns there are. */
static size_t block_rows(const emr_multiplication *m)
{
    bool coded = false, apart = false;
    for (size_t b = 0; b < m->product.batch; b++) {
        const emr_kind *kind = m->of[b].code.kind;
        coded = coded || !kind || !kind->has_unified;
        apart = apart || (m->in_parts && kind && kind->has_columns);
    }
    return coded && !apart && (m->in_place || m->product.n_columns <= EMR_PANEL_COLUMNS) ? EMR_DOT_ROWS : 1;
}

/* All tiles of a block of rows before the next one: what they share is in the caches then. */
emr_status emr_multiply_rows(const emr_multiplication *m, uint64_t from, uint64_t to, emr_error *error)
{
    emr_tile t;
    emr_status status = EMR_OK;
    size_t most = block_rows(m), n;
    bool ready = false; /* there is one tile, and it has begun */
    for (uint64_t row = from; !status && row < to; row += n) {
        n = (size_t)emr_min(to - row, most);
        for (size_t first = 0; !status && first < m->product.batch; first += t.n) {
            if (!ready)
                begin_tile(&t, m, first);
            ready = t.n == m->product.batch;
            status = multiply_tile(&t, row, n, error);
        }
    }
    return status;
}
