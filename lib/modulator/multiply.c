/* multiply.c - multiplies by tasks' weights row by row, so many columns at a time that everything stays in
 * level 1 of the caches while each vector takes its turn. Freestanding. */
#include "modulator/multiply.h"

#include "core/bytes.h"
#include "numeric/convert.h"

/* What of a vector's mask is in memory: parameters [first, end) of the tensor. */
typedef struct reach {
    uint64_t first, end;
    emr_mask_window w;
} reach;

/* Some vectors, as they go along one row. */
typedef struct tile {
    const emr_multiplication *m;
    size_t first, n;              /* vectors */
    bool shared;                  /* all have the same task */
    size_t same[EMR_DOT_VECTORS]; /* the first vector of the tile with that one's task */
    reach reached[EMR_DOT_VECTORS];
    float rescalers[EMR_DOT_VECTORS];
    uint32_t masks[EMR_DOT_VECTORS][EMR_DOT_WORDS];
    _Alignas(64) float lanes[EMR_DOT_VECTORS][EMR_LANES];
    /* copies, where what a kernel wants does not lie in one piece, or ends within a vector */
    _Alignas(64) float x[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) uint8_t base[EMR_LANES * 8];
    _Alignas(64) uint8_t unified[EMR_DOT_COLUMNS * 4];
} tile;

emr_status emr_product_take(emr_product *p, const emr_product *given, const char *name, uint64_t n_rows,
                            uint64_t n_columns, emr_error *error)
{
    emr_status status = emr_take_struct(p, sizeof *p, sizeof(emr_product), given, "emr_product", error);
    if (status)
        return status;
    if (p->first_row > n_rows || p->n_rows > n_rows - p->first_row)
        return emr_fail(error, EMR_EINVAL, "tensor '%s' has %u rows, asked for %u from %u", name, n_rows,
                        p->n_rows, p->first_row);
    p->x_stride = p->x_stride ? p->x_stride : (size_t)n_columns;
    p->y_stride = p->y_stride ? p->y_stride : (size_t)p->n_rows;
    if (p->batch > 1 && (p->x_stride < n_columns || p->y_stride < p->n_rows))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%s': vectors overlap: strides are %u and %u, rows %u, columns %u", name,
                        (uint64_t)p->x_stride, (uint64_t)p->y_stride, p->n_rows, n_columns);
    if (p->batch && p->n_rows && (!p->y || (n_columns && !p->x)))
        return emr_fail(error, EMR_EINVAL, "emr_product: x and y are required");
    return EMR_OK;
}

static size_t unified_size(const tile *t)
{
    return emr_float_size((emr_dtype)t->reached[0].w.unified_dtype);
}

/* Sees to it that parameter `at` is within a vector's reach. */
static emr_status reach_for(tile *t, size_t v, uint64_t at, emr_error *error)
{
    const emr_multiplication *m = t->m;
    reach *r = &t->reached[v];
    if (at >= r->first && at < r->end)
        return EMR_OK;
    uint64_t all = (m->product.first_row + m->product.n_rows) * m->n_columns;
    emr_status status = m->window(m->users[t->first + v], m->product.tensor, at, all - at,
                                  v == 0 ? EMR_WINDOW_ALL : EMR_WINDOW_RESCALED, &r->w, error);
    r->first = at;
    r->end = status ? at : at + r->w.n;
    return status;
}

/* Mask bits from bit `bit` of `from` on, a whole number of words. */
static void copy_words(uint32_t *to, const uint8_t *from, size_t bit, size_t n_words)
{
    from += bit / 8;
    bit %= 8;
    for (size_t i = 0; i < n_words; i++, from += 4)
        to[i] = bit ? emr_load32(from) >> bit | (uint32_t)from[4] << (32 - bit) : emr_load32(from);
}

/* A vector's mask bits of parameters [at, at + n), and for the first one the unified values, when they do not
 * lie in one piece or are no whole number of words. What is missing to whole words is 0. */
static emr_status gather(tile *t, size_t v, uint64_t at, size_t n, emr_error *error)
{
    uint32_t *words = t->masks[v];
    memset(words, 0, sizeof t->masks[v]);
    if (v == 0)
        memset(t->unified, 0, sizeof t->unified);
    for (size_t done = 0, part; done < n; done += part) {
        emr_status status = reach_for(t, v, at + done, error);
        if (status)
            return status;
        const reach *r = &t->reached[v];
        size_t from = (size_t)(at + done - r->first);
        part = (size_t)emr_min(n - done, r->end - (at + done));
        for (size_t i = 0; i < part; i++) {
            size_t bit = r->w.bit + from + i, to = done + i;
            words[to / 32] |= (uint32_t)(r->w.mask[bit / 8] >> bit % 8 & 1) << to % 32;
        }
        if (v == 0)
            memcpy(t->unified + done * unified_size(t),
                   (const uint8_t *)r->w.unified + from * unified_size(t), part * unified_size(t));
    }
    return EMR_OK;
}

/* Masks and rescalers of all vectors for parameters [at, at + n); *unified is where their unified values lie.
 */
static emr_status prepare(tile *t, uint64_t at, size_t n, const void **unified, emr_error *error)
{
    for (size_t v = 0; v < (t->shared ? 1 : t->n); v++) {
        if (t->same[v] < v) {
            memcpy(t->masks[v], t->masks[t->same[v]], sizeof t->masks[v]);
            t->rescalers[v] = t->rescalers[t->same[v]];
            continue;
        }
        emr_status status = reach_for(t, v, at, error);
        if (status)
            return status;
        const reach *r = &t->reached[v];
        t->rescalers[v] = r->w.rescaler; /* a row has one, whatever comes after this reach */
        bool whole = n % EMR_LANES == 0 && r->end - at >= n;
        if (v == 0)
            *unified = whole ? (const uint8_t *)r->w.unified + (at - r->first) * unified_size(t) : t->unified;
        if (whole)
            copy_words(t->masks[v], r->w.mask, r->w.bit + (size_t)(at - r->first), n / 32);
        else if ((status = gather(t, v, at, n, error)))
            return status;
    }
    return EMR_OK;
}

/* Columns [column, column + n) of a row; fewer than EMR_LANES only at its end. */
static emr_status multiply_columns(tile *t, uint64_t row, uint64_t column, size_t n, emr_error *error)
{
    const emr_multiplication *m = t->m;
    const emr_product *p = &m->product;
    size_t size = emr_float_size(m->base_dtype);
    uint64_t at = row * m->n_columns + column; /* counted from the product's first row */
    emr_dot d = {.n = n,
                 .n_vectors = t->n,
                 .base = (const uint8_t *)m->base + at * size,
                 .masks = t->masks[0],
                 .rescalers = t->rescalers,
                 .x = p->x + t->first * p->x_stride + column,
                 .stride = p->x_stride,
                 .lanes = t->lanes,
                 .base_dtype = (uint8_t)m->base_dtype,
                 .shared = t->shared};
    emr_status status = prepare(t, p->first_row * m->n_columns + at, n, &d.unified, error);
    if (status)
        return status;
    d.unified_dtype = t->reached[0].w.unified_dtype;
    if (n % EMR_LANES) {
        memset(t->base, 0, sizeof t->base);
        memcpy(t->base, d.base, n * size);
        memset(t->x, 0, sizeof t->x);
        for (size_t v = 0; v < t->n; v++)
            memcpy(t->x[v], d.x + v * d.stride, n * sizeof(float));
        d.base = t->base;
        d.x = t->x[0];
        d.stride = EMR_LANES;
        d.n = EMR_LANES;
    }
    m->kernels->dot(&d);
    return EMR_OK;
}

/* The last step of the order of sums. */
static float fold(float lanes[EMR_LANES])
{
    for (size_t half = EMR_LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

static emr_status multiply_row(tile *t, uint64_t row, emr_error *error)
{
    const emr_product *p = &t->m->product;
    uint64_t n_columns = t->m->n_columns;
    emr_status status = EMR_OK;
    memset(t->lanes, 0, sizeof t->lanes);
    for (uint64_t column = 0, n; !status && column < n_columns; column += n) {
        n = emr_min(n_columns - column, EMR_DOT_COLUMNS);
        n = n >= EMR_LANES ? n / EMR_LANES * EMR_LANES : n;
        status = multiply_columns(t, row, column, (size_t)n, error);
    }
    for (size_t v = 0; !status && v < t->n; v++)
        p->y[(t->first + v) * p->y_stride + row] = fold(t->lanes[v]);
    return status;
}

/* Begins a tile: nothing is in reach yet. */
static void set_vectors(tile *t, size_t first)
{
    const emr_multiplication *m = t->m;
    t->first = first;
    t->n = (size_t)emr_min(m->product.batch - first, EMR_DOT_VECTORS);
    t->shared = true;
    for (size_t v = 0; v < t->n; v++) {
        t->reached[v] = (reach){0};
        t->same[v] = 0;
        while (m->users[first + t->same[v]] != m->users[first + v])
            t->same[v]++;
        t->shared = t->shared && t->same[v] == 0;
    }
}

/* All tiles of a row before the next row: what they share is in the caches then. */
emr_status emr_multiply_rows(const emr_multiplication *m, uint64_t from, uint64_t to, emr_error *error)
{
    tile t;
    emr_status status = EMR_OK;
    bool one = m->product.batch <= EMR_DOT_VECTORS;
    t.m = m;
    for (uint64_t row = from; !status && row < to; row++)
        for (size_t first = 0; !status && first < m->product.batch; first += EMR_DOT_VECTORS) {
            if (!one || row == from)
                set_vectors(&t, first);
            status = multiply_row(&t, row, error);
        }
    return status;
}
