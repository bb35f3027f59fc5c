/* multiply_coded.c - multiplies by the weights of tasks without unified values: the base's products for all
 * vectors of the tile, and beside them, task by task, those of what its codes stand for. These are added up
 * for a scale of 1 as long as the stretch of the row lasts that shares the scale; see tile.h and
 * emr/product.h. Freestanding. */
#include "modulator/tile.h"

#include "core/bytes.h"
#include "numeric/thin.h"

/* Some columns of a stripe, within the reach of one task: the first is in lane `lane`, and either that is 0
 * and they fill all lanes, or they lie within one time round the lanes. */
typedef struct coded_piece {
    size_t v; /* the first vector of the task */
    size_t lane, n;
    uint64_t column;
    size_t first; /* parameter of its window */
} coded_piece;

static bool fills_lanes(const coded_piece *c)
{
    return c->lane == 0 && c->n % EMR_LANES == 0;
}

/* Codes of `bits` bits each, from code number `first` on; what is beside them is 0. */
static void copy_piece(uint32_t *to, const coded_piece *c, const uint8_t *from, size_t first, size_t bits)
{
    if (fills_lanes(c)) {
        emr_copy_words(to, from, first * bits, c->n * bits / 32);
        return;
    }
    memset(to, 0, EMR_LANES * bits / 8);
    emr_copy_bits(to, c->lane * bits, from, first * bits, c->n * bits);
}

/* Which parameters are kept, and their signs, as a bit each. */
static void expand_thin(emr_tile *t, const coded_piece *c)
{
    const emr_code_window *w = &t->reached[c->v].w;
    const emr_coding *coding = &t->of[c->v].code.coding;
    uint8_t kept[EMR_DOT_COLUMNS / 8 + 8], signs[sizeof kept];
    size_t first = w->first_code + c->first, group = first / EMR_GROUP;
    for (size_t at = 0; group * EMR_GROUP < first + c->n; group++, at += 8) {
        uint64_t word = emr_thin_kept(coding, w->group + group);
        emr_store64(kept + at, word);
        emr_store64(signs + at, emr_thin_signs(coding, word, emr_thin_codes(w->codes, coding, group)));
    }
    copy_piece(t->work.coded.kept, c, kept, first % EMR_GROUP, 1);
    copy_piece(t->work.coded.codes, c, signs, first % EMR_GROUP, 1);
}

/* Scales of the piece's columns, NULL where there are none. */
static const uint8_t *piece_columns(emr_tile *t, const coded_piece *c)
{
    const uint8_t *columns = t->reached[c->v].w.columns, *from = columns ? columns + c->first * 2 : NULL;
    if (!columns || fills_lanes(c))
        return from;
    memset(t->work.coded.columns, 0, sizeof t->work.coded.columns);
    memcpy(t->work.coded.columns + c->lane * 2, from, c->n * 2);
    return t->work.coded.columns;
}

/* Multiplies the vectors of one task, each run of them that lie side by side at once. */
static void multiply_coded_part(emr_tile *t, const coded_piece *c)
{
    const emr_product *p = &t->m->product;
    const emr_code_window *w = &t->reached[c->v].w;
    const emr_coding *coding = &t->of[c->v].code.coding;
    bool thin = coding->rate < EMR_GROUP, whole = fills_lanes(c);
    if (thin)
        expand_thin(t, c);
    else
        copy_piece(t->work.coded.codes, c, w->codes, w->first_code + c->first, coding->rate / EMR_GROUP);
    emr_step_dot d = {.n = whole ? c->n : EMR_LANES,
                      .codes = t->work.coded.codes,
                      .kept = thin ? t->work.coded.kept : NULL,
                      .columns = piece_columns(t, c),
                      .coding = *coding,
                      .stride = whole ? p->x_stride : EMR_LANES};
    for (size_t v = c->v, end = t->last[c->v] + 1; v < end; v += d.n_vectors + 1) {
        for (d.n_vectors = 0; v + d.n_vectors < end && t->same[v + d.n_vectors] == c->v;)
            d.n_vectors++;
        if (!d.n_vectors)
            continue;
        d.x = whole ? p->x + (t->first + v) * p->x_stride + c->column : t->x[v];
        d.lanes = t->work.coded.stretch + v;
        if (!whole)
            emr_tile_pad(t, v, d.n_vectors, c->column, c->lane, c->n);
        t->kernels[v].dot_steps(&d);
    }
}

/* The stretch that the vectors of a task are in is over. */
static void end_stretch(emr_tile *t, size_t first)
{
    emr_coded_work *k = &t->work.coded;
    float scale = k->scale[first];
    for (size_t v = first; v <= t->last[first] && scale != 0; v++) {
        if (t->same[v] != first)
            continue;
        for (size_t j = 0; j < EMR_LANES; j++) {
            k->steps[v][j] = k->steps[v][j] + scale * k->stretch[v][j];
            k->stretch[v][j] = 0;
        }
    }
    k->scale[first] = 0;
}

/* Whether the window at which a task has arrived begins a stretch, rather than continue one. Differences have
 * none. */
static bool begins_stretch(const emr_tile *t, size_t v)
{
    const emr_code_window *w = &t->reached[v].w;
    return t->of[v].code.kind != &emr_kind_differences &&
           (w->group * EMR_GROUP + w->first_code) % EMR_CHUNK == 0;
}

/* One task's part of a stripe, whose vectors' first is v. */
static emr_status multiply_task(emr_tile *t, size_t v, const emr_stripe *s, emr_error *error)
{
    coded_piece c = {.v = v, .column = s->column};
    for (uint64_t at = s->at, end = at + s->n; at < end; at += c.n, c.column += c.n) {
        const emr_reach *r = &t->reached[v];
        bool moved;
        emr_status status = emr_tile_reach(t, v, at, EMR_WINDOW_SCALED, &moved, error);
        if (status)
            return status;
        if (moved && begins_stretch(t, v))
            end_stretch(t, v);
        t->work.coded.scale[v] = r->w.scales[0];
        c.n = (size_t)emr_min(end, r->end) - (size_t)at;
        c.lane = c.column % EMR_LANES;
        c.first = (size_t)(at - r->first);
        if (c.lane == 0 && c.n >= EMR_LANES)
            c.n = c.n / EMR_LANES * EMR_LANES;
        else
            c.n = (size_t)emr_min(c.n, EMR_LANES - c.lane);
        if (r->w.codes && r->w.scales[0] != 0)
            multiply_coded_part(t, &c);
    }
    return EMR_OK;
}

emr_status emr_multiply_coded(emr_tile *t, const emr_stripe *s, emr_error *error)
{
    void (*dot_base)(const emr_dot *) = t->m->kernels->dot_base;
    emr_dot d = emr_tile_dot(t, s);
    emr_status status = EMR_OK;
    (dot_base ? dot_base : emr_kernels_c.dot_base)(&d);
    for (size_t v = 0; !status && v < t->n; v++)
        if (t->same[v] == v && t->of[v].code.kind)
            status = multiply_task(t, v, s, error);
    return status;
}

void emr_begin_coded_row(emr_tile *t)
{
    emr_coded_work *k = &t->work.coded;
    memset(k->scale, 0, sizeof k->scale);
    memset(k->stretch, 0, t->n * sizeof *k->stretch);
    memset(k->steps, 0, t->n * sizeof *k->steps);
}

void emr_end_coded_row(emr_tile *t)
{
    for (size_t v = 0; v < t->n; v++) {
        if (t->same[v] == v)
            end_stretch(t, v);
    }
    for (size_t v = 0; v < t->n; v++)
        for (size_t j = 0; j < EMR_LANES; j++)
            t->lanes[v][j] = t->lanes[v][j] + t->work.coded.steps[v][j];
}
