/* tile.c - what a tile has in reach, and copies of what does not lie as kernels want it: see tile.h.
 * Freestanding. */
#include "modulator/tile.h"

#include "core/bytes.h"
#include "numeric/convert.h"

static void size_stripe(const emr_tile *t, emr_stripe *s)
{
    size_t n = (size_t)emr_min(t->m->product.n_columns - s->column, EMR_DOT_COLUMNS);
    s->n = n >= EMR_LANES ? n / EMR_LANES * EMR_LANES : n;
}

emr_stripe emr_first_stripe(const emr_tile *t, uint64_t row)
{
    const emr_multiplication *m = t->m;
    emr_stripe s = {.at = (m->product.first_row + row) * m->product.n_columns, .base = m->base};
    if (s.base && !m->base_blocks)
        s.base += row * m->product.n_columns * emr_float_size(m->base_dtype);
    size_stripe(t, &s);
    return s;
}

void emr_next_stripe(const emr_tile *t, emr_stripe *s)
{
    s->column += s->n;
    s->at += s->n;
    if (s->base && !t->m->base_blocks)
        s->base += s->n * emr_float_size(t->m->base_dtype);
    size_stripe(t, s);
}

const void *emr_stripe_values(emr_tile *t, const emr_stripe *s)
{
    const emr_multiplication *m = t->m;
    return s->base && m->base_blocks
               ? emr_block_values(m->kernels, m->base_blocks, s->base, s->at, s->n, t->values)
               : (const void *)s->base;
}

emr_status emr_tile_reach(const emr_tile *t, size_t v, emr_reach *r, uint64_t at, emr_window_parts parts,
                          bool *moved, emr_error *error)
{
    const emr_multiplication *m = t->m;
    bool outside = at < r->first || at >= r->end;
    if (moved)
        *moved = outside;
    if (!outside)
        return EMR_OK;
    uint64_t all = (m->product.first_row + m->product.n_rows) * m->product.n_columns;
    emr_status status = t->of[v].window(t->of[v].user, m->product.tensor, at, all - at, parts, &r->w, error);
    r->first = at;
    r->end = status ? at : at + r->w.n;
    return status;
}

void emr_tile_pad(emr_tile *t, size_t v, size_t n_vectors, uint64_t column, size_t lane, size_t n)
{
    const emr_product *p = &t->m->product;
    const float *x = p->x + (t->first + v) * p->x_stride + column;
    memset(t->x[v], 0, n_vectors * sizeof *t->x);
    for (size_t i = 0; i < n_vectors; i++)
        memcpy(t->x[v + i] + lane, x + i * p->x_stride, n * sizeof(float));
}

emr_dot emr_tile_dot(emr_tile *t, const emr_stripe *s)
{
    const emr_product *p = &t->m->product;
    size_t size = emr_float_size(t->m->base_dtype);
    emr_dot d = {.n = s->n,
                 .n_vectors = t->n,
                 .base = emr_stripe_values(t, s),
                 .x = p->x + t->first * p->x_stride + s->column,
                 .stride = p->x_stride,
                 .lanes = t->lanes[0],
                 .base_dtype = t->m->base_dtype};
    if (s->n % EMR_LANES == 0)
        return d;
    emr_tile_pad(t, 0, t->n, s->column, 0, s->n);
    if (d.base) {
        memset(t->base, 0, sizeof t->base);
        memcpy(t->base, d.base, s->n * size);
        d.base = t->base;
    }
    d.x = t->x[0];
    d.stride = EMR_LANES;
    d.n = EMR_LANES;
    return d;
}

void emr_copy_words(uint32_t *to, const uint8_t *from, size_t bit, size_t n_words)
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

void emr_copy_bits(uint32_t *to, size_t at, const uint8_t *from, size_t bit, size_t n)
{
    size_t step = at % 8 || bit % 8 || n % 8 ? 1 : 8;
    for (size_t i = 0; i < n; i += step) {
        uint32_t bits = from[(bit + i) / 8] >> (bit + i) % 8 & (step == 1 ? 1 : 0xff);
        to[(at + i) / 32] |= bits << (at + i) % 32;
    }
}
