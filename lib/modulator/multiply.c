/* multiply.c - multiplies by tasks' weights row by row, so many columns at a time that everything stays in
 * level 1 of the caches while each vector takes its turn.
 *
 * A tile is up to EMR_DOT_VECTORS vectors of the batch. Each has a window of its task, kept from row to row
 * for as long as it reaches. For each stretch of columns, codes are copied out of the windows to where the
 * kernel wants them, once for all vectors of a task; the kernel reads base, unified values and vectors in
 * place. Only where they do not lie in one piece there, or a row ends within EMR_LANES columns, are they
 * copied too, with zeros behind them. Freestanding. */
#include "modulator/multiply.h"

#include "core/bytes.h"
#include "numeric/convert.h"

/* A vector's window: parameters [first, end) of the tensor. */
typedef struct vector_reach {
    uint64_t first, end;
    emr_code_window w;
} vector_reach;

/* Some vectors, as they go along one row. */
typedef struct vector_tile {
    const emr_multiplication *m;
    emr_code_kernels kernels;
    size_t n_scales;              /* the kind's */
    size_t first, n;              /* vectors */
    bool shared;                  /* all have the same task */
    size_t same[EMR_DOT_VECTORS]; /* the first vector of the tile with that one's task */
    vector_reach reached[EMR_DOT_VECTORS];
    /* as emr_dot wants them, close together: a kind's number of words and scales each */
    float scales[EMR_DOT_VECTORS * EMR_SCALES_MAX];
    _Alignas(64) uint32_t codes[EMR_DOT_VECTORS * EMR_DOT_WORDS];
    _Alignas(64) float lanes[EMR_DOT_VECTORS][EMR_LANES];
    /* copies, where what a kernel wants does not lie in one piece, or ends within EMR_LANES columns */
    _Alignas(64) float x[EMR_DOT_VECTORS][EMR_LANES];
    _Alignas(64) uint8_t base[EMR_LANES * 8];
    _Alignas(64) uint8_t unified[EMR_DOT_COLUMNS * 4];
} vector_tile;

emr_status emr_product_check(emr_product *p, const char *name, uint64_t n_rows, uint64_t n_columns,
                             emr_error *error)
{
    if (p->first_row > n_rows || p->n_rows > n_rows - p->first_row)
        return emr_fail(error, EMR_EINVAL, "tensor '%T' has %u rows, asked for %u from %u", name, n_rows,
                        p->n_rows, p->first_row);
    p->x_stride = p->x_stride ? p->x_stride : (size_t)n_columns;
    p->y_stride = p->y_stride ? p->y_stride : (size_t)p->n_rows;
    if (p->batch > 1 && (p->x_stride < n_columns || p->y_stride < p->n_rows))
        return emr_fail(error, EMR_EINVAL,
                        "tensor '%T': vectors overlap: strides are %u and %u, rows %u, columns %u", name,
                        (uint64_t)p->x_stride, (uint64_t)p->y_stride, p->n_rows, n_columns);
    if (p->batch && p->n_rows && (!p->y || (n_columns && !p->x)))
        return emr_fail(error, EMR_EINVAL, "tensor '%T': emr_product needs x and y", name);
    return EMR_OK;
}

static size_t unified_size(const vector_tile *t)
{
    return t->m->kind->has_unified ? emr_float_size(t->reached[0].w.unified_dtype) : 0;
}

/* Unified values of a vector's window from its parameter number `i` on, where the kind has any. */
static const void *unified_at(const vector_tile *t, size_t i)
{
    return t->m->kind->has_unified ? (const uint8_t *)t->reached[0].w.unified + i * unified_size(t) : NULL;
}

static uint32_t *vector_codes(vector_tile *t, size_t v)
{
    return t->codes + v * EMR_DOT_WORDS;
}

/* Words of a vector's codes of n columns. */
static size_t words_of(size_t n)
{
    return (n + EMR_LANES - 1) / EMR_LANES;
}

/* Sees to it that parameter `at` is within a vector's reach. */
static emr_status extend_reach(vector_tile *t, size_t v, uint64_t at, emr_error *error)
{
    const emr_multiplication *m = t->m;
    vector_reach *r = &t->reached[v];
    if (at >= r->first && at < r->end)
        return EMR_OK;
    uint64_t all = (m->product.first_row + m->product.n_rows) * m->n_columns;
    emr_status status = m->window(m->users[t->first + v], m->product.tensor, at, all - at,
                                  v == 0 ? EMR_WINDOW_ALL : EMR_WINDOW_SCALED, &r->w, error);
    r->first = at;
    r->end = status ? at : at + r->w.n;
    return status;
}

/* Bits from bit `bit` of `from` on, a whole number of words. */
static void copy_words(uint32_t *to, const uint8_t *from, size_t bit, size_t n_words)
{
    from += bit / 8;
    bit %= 8;
    if (bit == 0 && emr_is_little_endian()) /* the common case, in copies of a size that compilers know */
        for (; n_words >= EMR_DOT_WORDS;
             n_words -= EMR_DOT_WORDS, to += EMR_DOT_WORDS, from += 4 * EMR_DOT_WORDS)
            memcpy(to, from, 4 * EMR_DOT_WORDS);
    for (size_t i = 0; i < n_words; i++, from += 4)
        to[i] = bit ? emr_load32(from) >> bit | (uint32_t)from[4] << (32 - bit) : emr_load32(from);
}

/* Sets n bits of `to`, all of them 0, from bit `at` on. */
static void copy_bits(uint32_t *to, size_t at, const uint8_t *from, size_t bit, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[(at + i) / 32] |= (uint32_t)(from[(bit + i) / 8] >> (bit + i) % 8 & 1) << (at + i) % 32;
}

/* A vector's codes of parameters [at, at + n), and for the first one the unified values, when they do not lie
 * in one piece or are no whole number of words. What is missing to whole words is 0. */
static emr_status gather_parts(vector_tile *t, size_t v, uint64_t at, size_t n, emr_error *error)
{
    size_t size;
    memset(vector_codes(t, v), 0, words_of(n) * sizeof(uint32_t));
    if (v == 0)
        memset(t->unified, 0, sizeof t->unified);
    for (size_t done = 0, part; done < n; done += part) {
        emr_status status = extend_reach(t, v, at + done, error);
        if (status)
            return status;
        const vector_reach *r = &t->reached[v];
        size_t from = (size_t)(at + done - r->first);
        part = (size_t)emr_min(n - done, r->end - (at + done));
        if (r->w.codes)
            copy_bits(vector_codes(t, v), done, r->w.codes, r->w.first_code + from, part);
        size = unified_size(t);
        if (v == 0 && size)
            memcpy(t->unified + done * size, unified_at(t, from), part * size);
    }
    return EMR_OK;
}

/* The same where they lie in one piece of whole words: unified values are left there. */
static void copy_codes(vector_tile *t, size_t v, uint64_t at, size_t n)
{
    const vector_reach *r = &t->reached[v];
    size_t first = r->w.first_code + (size_t)(at - r->first);
    if (r->w.codes)
        copy_words(vector_codes(t, v), r->w.codes, first, words_of(n));
    else
        memset(vector_codes(t, v), 0, words_of(n) * sizeof(uint32_t));
}

/* Codes and scales of one vector for parameters [at, at + n); for the first, *unified is where the unified
 * values of all lie. */
static emr_status prepare_vector(vector_tile *t, size_t v, uint64_t at, size_t n, const void **unified,
                                 emr_error *error)
{
    emr_status status = extend_reach(t, v, at, error);
    if (status)
        return status;
    const vector_reach *r = &t->reached[v];
    for (size_t k = 0; k < t->n_scales; k++)
        t->scales[v * t->n_scales + k] = r->w.scales[k]; /* a row's, whatever comes after this reach */
    bool whole = n % EMR_LANES == 0 && r->end - at >= n;
    if (v == 0)
        *unified = whole ? unified_at(t, (size_t)(at - r->first)) : t->unified;
    if (!whole)
        return gather_parts(t, v, at, n, error);
    copy_codes(t, v, at, n);
    return EMR_OK;
}

/* What an earlier vector of the same task has. */
static void repeat_vector(vector_tile *t, size_t v, size_t same)
{
    const uint32_t *from = vector_codes(t, same);
    uint32_t *to = vector_codes(t, v);
    memcpy(to, from, EMR_DOT_WORDS * sizeof *to);
    for (size_t k = 0; k < t->n_scales; k++)
        t->scales[v * t->n_scales + k] = t->scales[same * t->n_scales + k];
}

/* Codes and scales of all vectors of the tile. */
static emr_status prepare_tile(vector_tile *t, uint64_t at, size_t n, const void **unified, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t v = 0; !status && v < (t->shared ? 1 : t->n); v++) {
        if (t->same[v] < v)
            repeat_vector(t, v, t->same[v]);
        else
            status = prepare_vector(t, v, at, n, unified, error);
    }
    return status;
}

/* A row's last columns, with zeros behind them. */
static void pad_columns(vector_tile *t, emr_dot *d)
{
    size_t size = emr_float_size(t->m->base_dtype);
    memset(t->base, 0, sizeof t->base);
    memcpy(t->base, d->base, d->n * size);
    memset(t->x, 0, sizeof t->x);
    for (size_t v = 0; v < t->n; v++)
        memcpy(t->x[v], d->x + v * d->stride, d->n * sizeof(float));
    d->base = t->base;
    d->x = t->x[0];
    d->stride = EMR_LANES;
    d->n = EMR_LANES;
}

/* Columns [column, column + n) of a row; fewer than EMR_LANES only at its end. */
static emr_status multiply_columns(vector_tile *t, uint64_t row, uint64_t column, size_t n, emr_error *error)
{
    const emr_multiplication *m = t->m;
    const emr_product *p = &m->product;
    uint64_t at = row * m->n_columns + column; /* counted from the product's first row */
    emr_dot d = {.n = n,
                 .n_vectors = t->n,
                 .base = (const uint8_t *)m->base + at * emr_float_size(m->base_dtype),
                 .codes = t->codes,
                 .scales = t->scales,
                 .x = p->x + t->first * p->x_stride + column,
                 .stride = p->x_stride,
                 .lanes = t->lanes,
                 .base_dtype = m->base_dtype,
                 .shared = t->shared};
    emr_status status = prepare_tile(t, p->first_row * m->n_columns + at, n, &d.unified, error);
    if (status)
        return status;
    d.unified_dtype = t->reached[0].w.unified_dtype;
    if (n % EMR_LANES)
        pad_columns(t, &d);
    t->kernels.dot(&d);
    return EMR_OK;
}

/* The last step of the order of sums. */
static float fold_lanes(float lanes[EMR_LANES])
{
    for (size_t half = EMR_LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] = lanes[j] + lanes[j + half];
    return lanes[0];
}

static emr_status multiply_row(vector_tile *t, uint64_t row, emr_error *error)
{
    const emr_product *p = &t->m->product;
    uint64_t n_columns = t->m->n_columns;
    emr_status status = EMR_OK;
    memset(t->lanes, 0, t->n * sizeof *t->lanes);
    for (uint64_t column = 0, n; !status && column < n_columns; column += n) {
        n = emr_min(n_columns - column, EMR_DOT_COLUMNS);
        n = n >= EMR_LANES ? n / EMR_LANES * EMR_LANES : n;
        status = multiply_columns(t, row, column, (size_t)n, error);
    }
    for (size_t v = 0; !status && v < t->n; v++)
        p->y[(t->first + v) * p->y_stride + row] = fold_lanes(t->lanes[v]);
    return status;
}

/* Begins a tile: nothing is in reach yet. */
static void begin_tile(vector_tile *t, size_t first)
{
    const emr_multiplication *m = t->m;
    t->first = first;
    t->n = (size_t)emr_min(m->product.batch - first, EMR_DOT_VECTORS);
    t->shared = true;
    for (size_t v = 0; v < t->n; v++) {
        t->reached[v].first = t->reached[v].end = 0;
        t->same[v] = 0;
        while (m->users[first + t->same[v]] != m->users[first + v])
            t->same[v]++;
        t->shared = t->shared && t->same[v] == 0;
    }
}

/* All tiles of a row before the next row: what they share is in the caches then. */
emr_status emr_multiply_rows(const emr_multiplication *m, uint64_t from, uint64_t to, emr_error *error)
{
    vector_tile t;
    emr_status status = EMR_OK;
    bool one_tile = m->product.batch <= EMR_DOT_VECTORS;
    t.m = m;
    t.kernels = emr_kind_kernels(m->kind, m->kernels);
    t.n_scales = m->kind->n_scales;
    for (uint64_t row = from; !status && row < to; row++)
        for (size_t first = 0; !status && first < m->product.batch; first += EMR_DOT_VECTORS) {
            if (!one_tile || row == from)
                begin_tile(&t, first);
            status = multiply_row(&t, row, error);
        }
    return status;
}
