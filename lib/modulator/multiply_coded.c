/* multiply_coded.c - multiplies by the weights of tasks without unified values, a block of rows at a time:
 * first the base's products for all vectors of the tile; then, task by task, those of what its codes stand
 * for. These are added up for a scale of 1 as long as the stretch of the row lasts that shares the scale; see
 * tile.h and emr/product.h.
 *
 * A panel is some columns of all rows of the block, of which the codes have been copied to where a kernel
 * wants them: that of its first column in lane 0. Freestanding. */
#include "modulator/tile.h"

#include "core/bytes.h"
#include "numeric/convert.h"

/* One task, in a block of rows from `row` on, and what of it is at hand. */
typedef struct coded_panel {
    emr_tile *t;
    size_t v, n_rows; /* the first vector of the task */
    uint64_t row;
    uint64_t column; /* the panel's first, a multiple of EMR_LANES */
    size_t n;        /* columns */
    bool thin;
    const uint8_t *columns; /* as those: a copy in work.columns; or NULL */
    size_t bits;            /* of a code in work.codes */
    const uint32_t *codes;  /* of all rows: a copy in work.codes, or where they lie */
    size_t code_stride;
    const uint8_t *ahead; /* of the base, asked for beside the panel */
} coded_panel;

/* Where a row's bits begin that say what is kept. */
static uint32_t *kept_words(uint32_t *codes)
{
    return codes + EMR_PANEL_WORDS / 2;
}

/* n codes, from number `first` on, to number `at` and on. What is there beside them is 0. */
static void put_codes(uint32_t *to, size_t at, const uint8_t *from, size_t first, size_t n, size_t bits)
{
    size_t head = (size_t)emr_min(n, (EMR_LANES - at % EMR_LANES) % EMR_LANES);
    size_t words = (n - head) / EMR_LANES, tail = head + words * EMR_LANES;
    emr_copy_bits(to, at * bits, from, first * bits, head * bits);
    emr_copy_words(to + (at + head) / EMR_LANES * bits, from, (first + head) * bits, words * bits);
    emr_copy_bits(to, (at + tail) * bits, from, (first + tail) * bits, (n - tail) * bits);
}

/* Which parameters are kept, and their signs, as a bit each. */
static void put_thin(uint32_t *to, size_t at, const coded_panel *c, const emr_code_window *w, size_t first,
                     size_t n)
{
    const emr_kernels *kernels = c->t->m->kernels->draw ? c->t->m->kernels : &emr_kernels_c;
    const emr_run run = {.codes = w->codes, .group = w->group, .coding = c->t->of[c->v].code.coding};
    uint32_t kept[EMR_DOT_WORDS], signs[EMR_DOT_WORDS];
    if (at % EMR_GROUP == 0 && first % EMR_GROUP == 0 && n % EMR_GROUP == 0) {
        kernels->draw(&run, first / EMR_GROUP, n / EMR_GROUP, kept_words(to) + at / 32, to + at / 32);
        return;
    }
    for (size_t done = 0, part; done < n; done += part) {
        size_t within = (first + done) % EMR_GROUP, group = (first + done) / EMR_GROUP;
        part = (size_t)emr_min(n - done, EMR_DOT_COLUMNS - within);
        size_t n_groups = (within + part + EMR_GROUP - 1) / EMR_GROUP;
        kernels->draw(&run, group, n_groups, kept, signs);
        for (size_t i = 0; i < 2 * n_groups; i++) {
            emr_store32((uint8_t *)(kept + i), kept[i]);
            emr_store32((uint8_t *)(signs + i), signs[i]);
        }
        put_codes(kept_words(to), at + done, (const uint8_t *)kept, within, part, 1);
        put_codes(to, at + done, (const uint8_t *)signs, within, part, 1);
    }
}

/* A row's stretch is over; the next has that scale. */
static void end_stretch(const coded_panel *c, size_t r, float next)
{
    emr_coded_work *k = &c->t->work.coded;
    float scale = k->scale[r];
    for (size_t v = c->v; v <= c->t->last[c->v]; v++) {
        if (c->t->same[v] != c->v)
            continue;
        for (size_t j = 0; j < EMR_LANES && scale != 0; j++)
            k->steps[v][r][j] = k->steps[v][r][j] + scale * k->stretch[v][r][j];
        memset(k->stretch[v][r], 0, sizeof k->stretch[v][r]);
    }
    k->scale[r] = next;
}

/* Whether a window at which a task has arrived begins a stretch, rather than continue one. Differences have
 * none. */
static bool begins_stretch(const coded_panel *c, const emr_code_window *w)
{
    return c->t->of[c->v].code.kind != &emr_kind_differences &&
           (w->group * EMR_GROUP + w->first_code) % EMR_CHUNK == 0;
}

/* Asks for the codes of the same columns in the next block of rows. */
static void ask_for_codes(const coded_panel *c, const emr_code_window *w, size_t first, size_t n)
{
    const size_t rate = c->t->of[c->v].code.coding.rate;
    const uint8_t *at =
        w->codes + (first + c->n_rows * (size_t)c->t->m->product.n_columns) / EMR_GROUP * rate / 8;
    for (size_t line = 0; line < n * rate / EMR_GROUP / 8; line += 64)
        emr_ask_ahead(at + line);
}

/* Scales of n columns, from number `done` of the panel on: they stay where they lie if that is in one piece. */
static void take_columns(coded_panel *c, const emr_code_window *w, size_t from, size_t done, size_t n)
{
    uint8_t *copy = c->t->work.coded.columns;
    if (!w->columns || (c->t->m->in_place && n == c->n)) {
        c->columns = w->columns ? w->columns + 2 * from : NULL;
        return;
    }
    memcpy(copy + 2 * done, w->columns + 2 * from, 2 * n);
    c->columns = copy;
}

/* Finds what the panel has of row number r, whose codes are 0 so far; they stay where they lie if that is in one
 * piece. */
static emr_status prepare_row(coded_panel *c, size_t r, emr_error *error)
{
    const emr_multiplication *m = c->t->m;
    emr_coded_work *k = &c->t->work.coded;
    emr_reach *reach = &k->reached[r];
    uint64_t first = (m->product.first_row + c->row + r) * m->product.n_columns + c->column;
    if (!m->in_place)
        reach->end = 0;
    k->in_place[r] = NULL;
    k->next[r].column = c->n;
    for (size_t done = 0, n; done < c->n; done += n) {
        const emr_code_window *w = &reach->w;
        bool moved;
        emr_status status = emr_tile_reach(c->t, c->v, reach, first + done, EMR_WINDOW_SCALED, &moved, error);
        if (status)
            return status;
        size_t from = (size_t)(first + done - reach->first);
        n = (size_t)emr_min(c->n - done, reach->end - (first + done));
        if (moved && begins_stretch(c, w)) {
            k->next[r].column = done;
            k->next[r].scale = w->scales[0];
        } else if (k->next[r].column == c->n)
            k->scale[r] = w->scales[0];
        if (r == 0)
            take_columns(c, w, from, done, n);
        if (!w->codes || w->scales[0] == 0)
            continue;
        size_t first_code = w->first_code + from;
        if (m->in_place && n == c->n && !c->thin && first_code * c->bits % 8 == 0)
            k->in_place[r] = w->codes + first_code * c->bits / 8;
        else if (c->thin)
            put_thin(k->codes[r], done, c, w, first_code, n);
        else
            put_codes(k->codes[r], done, w->codes, first_code, n, c->bits);
        if (c->n_rows > 1)
            ask_for_codes(c, w, first_code, n);
    }
    return EMR_OK;
}

/* Whether the rows' codes lie as a kernel wants them. */
static bool lie_as_wanted(const coded_panel *c)
{
    const emr_coded_work *k = &c->t->work.coded;
    const uintptr_t first = (uintptr_t)k->in_place[0], last = (uintptr_t)k->in_place[c->n_rows - 1];
    const size_t between = c->n_rows > 1 ? (last - first) / (c->n_rows - 1) : 0;
    if (!first || last < first || first % 4 || between % 4 || c->n % EMR_LANES || !emr_is_little_endian())
        return false;
    for (size_t r = 0; r < c->n_rows; r++)
        if (!k->in_place[r] || (uintptr_t)k->in_place[r] != first + r * between)
            return false;
    return true;
}

/* Finds what the panel has of all rows. */
static emr_status prepare_panel(coded_panel *c, emr_error *error)
{
    emr_coded_work *k = &c->t->work.coded;
    const size_t words = (c->n + EMR_LANES - 1) / EMR_LANES * c->bits;
    for (size_t r = 0; r < c->n_rows; r++) {
        memset(k->codes[r], 0, words * sizeof(uint32_t));
        if (c->thin)
            memset(kept_words(k->codes[r]), 0, words * sizeof(uint32_t));
        emr_status status = prepare_row(c, r, error);
        if (status)
            return status;
    }
    c->codes = k->codes[0];
    c->code_stride = EMR_PANEL_WORDS;
    if (lie_as_wanted(c)) {
        c->codes = (const uint32_t *)(const void *)k->in_place[0];
        c->code_stride = c->n_rows > 1 ? (size_t)(k->in_place[1] - k->in_place[0]) / 4 : 0;
        return EMR_OK;
    }
    for (size_t r = 0; r < c->n_rows; r++)
        if (k->in_place[r])
            put_codes(k->codes[r], 0, k->in_place[r], 0, c->n, c->bits);
    return EMR_OK;
}

/* Columns [from, from + n) of the panel: they begin in lane 0 and fill all lanes, or they lie within one time
 * round the lanes. Each run of vectors of the task that lie side by side is multiplied at once. */
static void multiply_piece_of_panel(const coded_panel *c, size_t from, size_t n)
{
    emr_tile *t = c->t;
    emr_coded_work *k = &t->work.coded;
    const emr_product *p = &t->m->product;
    const size_t lane = from % EMR_LANES, word = from / EMR_LANES * c->bits;
    const bool whole = lane == 0 && n % EMR_LANES == 0;
    emr_step_dot d = {.n = whole ? n : EMR_LANES,
                      .n_rows = c->n_rows,
                      .codes = c->codes + word,
                      .kept = c->thin ? kept_words(k->codes[0]) + word : NULL,
                      .code_stride = c->code_stride,
                      .columns = c->columns ? c->columns + 2 * from : NULL,
                      .coding = t->of[c->v].code.coding,
                      .stride = whole ? p->x_stride : EMR_LANES,
                      .lane_stride = EMR_DOT_ROWS};
    if (whole && c->ahead)
        d.ahead = c->ahead + from * EMR_STEP_AHEAD;
    if (c->columns && !whole) {
        memset(k->few_columns, 0, sizeof k->few_columns);
        memcpy(k->few_columns + 2 * lane, c->columns + 2 * from, 2 * n);
        d.columns = k->few_columns;
    }
    for (size_t v = c->v, end = t->last[c->v] + 1; v < end; v += d.n_vectors + 1) {
        for (d.n_vectors = 0; v + d.n_vectors < end && t->same[v + d.n_vectors] == c->v;)
            d.n_vectors++;
        if (!d.n_vectors)
            continue;
        d.x = whole ? p->x + (t->first + v) * p->x_stride + c->column + from : t->x[v];
        d.lanes = k->stretch[v];
        if (!whole)
            emr_tile_pad(t, v, d.n_vectors, c->column + from, lane, n);
        t->kernels[v].dot_steps(&d);
    }
}

/* The panel's columns, up to where a row's stretch ends; and on. */
static void multiply_panel(const coded_panel *c)
{
    emr_coded_work *k = &c->t->work.coded;
    for (size_t at = 0, n; at < c->n; at += n) {
        size_t end = c->n;
        for (size_t r = 0; r < c->n_rows; r++) {
            if (k->next[r].column == at)
                end_stretch(c, r, k->next[r].scale);
            else if (k->next[r].column > at)
                end = (size_t)emr_min(end, k->next[r].column);
        }
        n = end - at;
        if (at % EMR_LANES == 0 && n >= EMR_LANES)
            n = n / EMR_LANES * EMR_LANES;
        else
            n = (size_t)emr_min(n, EMR_LANES - at % EMR_LANES);
        multiply_piece_of_panel(c, at, n);
    }
}

/* Of the next block of rows as much as a panel's time is worth, the first task's part first. NULL if it has
 * all been asked for. */
static const uint8_t *base_ahead(const coded_panel *c)
{
    const emr_multiplication *m = c->t->m;
    size_t row_bytes = (size_t)m->product.n_columns * emr_float_size(m->base_dtype);
    size_t at = (c->v * (size_t)m->product.n_columns + (size_t)c->column) * EMR_STEP_AHEAD;
    if (!m->base || m->base_blocks || c->n_rows == 1 || at + c->n * EMR_STEP_AHEAD > c->n_rows * row_bytes)
        return NULL;
    return (const uint8_t *)m->base + (c->row + c->n_rows) * row_bytes + at;
}

/* One task's part of a block of rows, whose vectors' first is v. */
static emr_status multiply_task(emr_tile *t, size_t v, uint64_t row, size_t n_rows, emr_error *error)
{
    emr_coded_work *k = &t->work.coded;
    const uint32_t rate = t->of[v].code.coding.rate;
    coded_panel c = {.t = t, .v = v, .n_rows = n_rows, .row = row, .thin = rate < EMR_GROUP};
    c.bits = c.thin ? 1 : rate / EMR_GROUP;
    const size_t most = c.bits <= 4 ? EMR_PANEL_COLUMNS : EMR_PANEL_WORDS * 32 / c.bits;
    emr_status status = EMR_OK;
    memset(k->scale, 0, sizeof k->scale);
    memset(k->reached, 0, sizeof k->reached);
    for (; !status && c.column < t->m->product.n_columns; c.column += c.n) {
        c.n = (size_t)emr_min(t->m->product.n_columns - c.column, most);
        status = prepare_panel(&c, error);
        c.ahead = base_ahead(&c);
        if (!status)
            multiply_panel(&c);
    }
    for (size_t r = 0; r < n_rows; r++)
        end_stretch(&c, r, 0);
    return status;
}

/* A stripe of the vectors, side by side: where they lie, they may all lie in the same places of a cache. */
static void take_vectors(emr_tile *t, emr_dot *d)
{
    for (size_t v = 0; v < d->n_vectors; v++)
        memcpy(t->work.coded.x[v], d->x + v * d->stride, d->n * sizeof(float));
    d->x = t->work.coded.x[0];
    d->stride = EMR_DOT_COLUMNS;
}

/* Stripe by stripe, the rows one after the other: the vectors' stays in level 1 of the caches. What is asked
 * for ahead are the next stripes, or the first ones of the next block. */
static void multiply_base(emr_tile *t, uint64_t row, size_t n_rows)
{
    const emr_multiplication *m = t->m;
    const size_t row_bytes =
        m->base_blocks ? 0 : (size_t)m->product.n_columns * emr_float_size(m->base_dtype);
    for (emr_stripe s = emr_first_stripe(t, row); s.n; emr_next_stripe(t, &s)) {
        emr_stripe next = s;
        emr_next_stripe(t, &next);
        if (!next.n)
            next = emr_first_stripe(t, row + n_rows);
        emr_dot d = emr_tile_dot(t, &s);
        const bool whole = s.n % EMR_LANES == 0;
        if (whole && n_rows > 1 && t->n > 1)
            take_vectors(t, &d);
        for (size_t r = 0; r < n_rows;
             r++, s.at += m->product.n_columns, s.base += row_bytes, next.base += row_bytes) {
            if (r && whole)
                d.base = emr_stripe_values(t, &s);
            else if (r)
                d = emr_tile_dot(t, &s);
            d.ahead = n_rows > 1 && !m->base_blocks ? next.base : NULL;
            d.lanes = t->lanes[r];
            (m->kernels->dot_base ? m->kernels->dot_base : emr_kernels_c.dot_base)(&d);
        }
        s.at -= n_rows * m->product.n_columns;
        s.base -= n_rows * row_bytes;
    }
}

emr_status emr_multiply_coded(emr_tile *t, uint64_t row, size_t n_rows, emr_error *error)
{
    emr_coded_work *k = &t->work.coded;
    emr_status status = EMR_OK;
    if (t->m->base)
        multiply_base(t, row, n_rows);
    memset(k->stretch, 0, t->n * sizeof *k->stretch);
    memset(k->steps, 0, t->n * sizeof *k->steps);
    for (size_t v = 0; !status && v < t->n; v++)
        if (t->same[v] == v && t->of[v].code.kind)
            status = multiply_task(t, v, row, n_rows, error);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t v = 0; v < t->n; v++)
            for (size_t j = 0; j < EMR_LANES; j++)
                t->lanes[r][v][j] = t->lanes[r][v][j] + k->steps[v][r][j];
    return status;
}
