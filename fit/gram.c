/* gram.c - sites, and adding up what comes in: rows are brought into panels, a block of them at a time, and each tile
 * goes through the block in order. */
#include "gram.h"

#include <string.h>

enum {
    BLOCK_ROWS = 128, /* as many as make a tile's sums worth their way to memory and back */
    FEWEST_ROWS = 8,  /* where memory is short */
    SEGMENT = 384,    /* values that are converted at a time: whole tiles */
    ROWS_A_JOB = 4,
    NAME_MAX_BYTES = 255
};

#define WIDTH_MAX (UINT64_C(1) << 24)

emr_status emr_gram_create(emr_gram **gram, const emr_gram_options *options, emr_error *error)
{
    fit_host host;
    emr_gram_options o;
    if (!gram)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_create: NULL");
    *gram = NULL;
    emr_status status = FIT_TAKE(&o, options, emr_gram_options, on_nonfinite, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (!status && o.on_nonfinite > EMR_ON_NONFINITE_ZERO)
        status = emr_error_format(error, EMR_EINVAL, "emr_gram_options: on_nonfinite is none that there is");
    if (status)
        return status;
    emr_gram *made = fit_allocate(&host, 1, sizeof *made);
    if (!made)
        return fit_no_memory(error);
    made->host = host;
    made->n_models = o.n_models ? o.n_models : 1;
    made->on_nonfinite = o.on_nonfinite;
    made->block_rows = BLOCK_ROWS;
    *gram = made;
    return EMR_OK;
}

static void destroy_site(const fit_host *host, gram_site *s)
{
    for (size_t p = 0; s->tiles && p < s->n_panels; p++)
        fit_release(host, s->tiles[p]);
    fit_release(host, s->tiles);
    fit_release(host, s->widths);
    fit_release(host, s->name);
    fit_release(host, s);
}

void emr_gram_destroy(emr_gram **gram)
{
    if (!gram || !*gram)
        return;
    fit_host host = (*gram)->host;
    for (size_t i = 0; i < (*gram)->n_sites; i++)
        destroy_site(&host, (*gram)->sites[i]);
    fit_release(&host, (*gram)->sites);
    fit_release(&host, (*gram)->batch);
    fit_release(&host, *gram);
    *gram = NULL;
}

/* D, or 0 where it is too large. */
static uint64_t order_of(const uint64_t *widths, uint32_t n_models)
{
    uint64_t order = 1;
    for (uint32_t m = 0; m < n_models; m++) {
        if (widths[m] == 0 || widths[m] > WIDTH_MAX || order > WIDTH_MAX)
            return 0;
        order += widths[m];
    }
    return order;
}

static uint64_t tile_bytes(uint64_t n_panels)
{
    return n_panels * (n_panels + 1) / 2 * FIT_TILE * sizeof(fit_panel);
}

uint64_t emr_gram_bytes(const uint64_t *widths, uint32_t n_models)
{
    uint64_t order = widths ? order_of(widths, n_models) : 0;
    return order ? tile_bytes(fit_n_panels((size_t)order)) : UINT64_MAX;
}

static emr_status check_site(const emr_gram *gram, const char *name, const uint64_t *widths, emr_error *error)
{
    if (!name[0] || strlen(name) > NAME_MAX_BYTES)
        return emr_error_format(error, EMR_EINVAL, "site '%s': its name must have 1 to %u bytes", name,
                                (uint64_t)NAME_MAX_BYTES);
    for (size_t i = 0; i < gram->n_sites; i++)
        if (strcmp(gram->sites[i]->name, name) == 0)
            return emr_error_format(error, EMR_EEXIST, "site '%s' is there already", name);
    if (!order_of(widths, gram->n_models))
        return emr_error_format(error, EMR_EINVAL, "site '%s': widths must be 1 to %u, and so their sum",
                                name, WIDTH_MAX);
    return EMR_OK;
}

/* As many rows in a block as memory allows beside the sums. */
static emr_status plan_block(const emr_gram *gram, const char *name, uint64_t sums, size_t panels,
                             size_t *rows, emr_error *error)
{
    uint64_t row = (uint64_t)panels * sizeof(fit_panel), cap = gram->host.memory_bytes;
    *rows = BLOCK_ROWS;
    if (cap && (cap < sums || (cap - sums) / row < FEWEST_ROWS))
        return emr_error_format(
            error, EMR_ELIMIT,
            "site '%s': the sums of all sites so far and a few rows take %u bytes, and memory_bytes is "
            "%u: raise it, or take some of the sites at a time",
            name, sums + FEWEST_ROWS * row, cap);
    while (cap && (cap - sums) / row < *rows)
        *rows /= 2;
    return EMR_OK;
}

static emr_status make_room(emr_gram *gram, emr_error *error)
{
    if (gram->n_sites < gram->room)
        return EMR_OK;
    size_t room = gram->room ? 2 * gram->room : 16;
    gram_site **sites = fit_allocate(&gram->host, room, sizeof *sites);
    if (!sites)
        return fit_no_memory(error);
    if (gram->n_sites)
        memcpy(sites, gram->sites, gram->n_sites * sizeof *sites);
    fit_release(&gram->host, gram->sites);
    gram->sites = sites;
    gram->room = room;
    return EMR_OK;
}

static emr_status fill_site(const emr_gram *gram, gram_site *s, const char *name, const uint64_t *widths,
                            emr_error *error)
{
    s->order = (size_t)order_of(widths, gram->n_models);
    s->n_panels = fit_n_panels(s->order);
    s->name = fit_copy_string(&gram->host, name);
    s->widths = fit_allocate(&gram->host, gram->n_models, sizeof *s->widths);
    s->tiles = fit_allocate(&gram->host, s->n_panels, sizeof *s->tiles);
    if (!s->name || !s->widths || !s->tiles)
        return fit_no_memory(error);
    memcpy(s->widths, widths, gram->n_models * sizeof *widths);
    for (size_t p = 0; p < s->n_panels; p++) {
        s->tiles[p] = fit_allocate(&gram->host, (p + 1) * FIT_TILE, sizeof(fit_panel));
        if (!s->tiles[p])
            return fit_no_memory(error);
    }
    return EMR_OK;
}

/* Panels for a block of rows, of the widest site. */
static emr_status fit_batch(emr_gram *gram, size_t panels, size_t rows, emr_error *error)
{
    if (gram->batch && panels <= gram->batch_panels && rows == gram->block_rows)
        return EMR_OK;
    fit_panel *batch = fit_allocate(&gram->host, panels * rows, sizeof *batch);
    if (!batch)
        return fit_no_memory(error);
    fit_release(&gram->host, gram->batch);
    gram->batch = batch;
    gram->batch_panels = panels;
    gram->block_rows = rows;
    return EMR_OK;
}

emr_status emr_gram_add_site(emr_gram *gram, const char *name, const uint64_t *widths, uint32_t *site,
                             emr_error *error)
{
    size_t rows;
    if (!gram || !name || !widths)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_add_site: NULL");
    emr_status status = check_site(gram, name, widths, error);
    if (status)
        return status;
    size_t panels = fit_n_panels((size_t)order_of(widths, gram->n_models));
    uint64_t bytes = gram->bytes + tile_bytes(panels);
    panels = panels > gram->batch_panels ? panels : gram->batch_panels;
    status = plan_block(gram, name, bytes, panels, &rows, error);
    if (!status)
        status = make_room(gram, error);
    gram_site *s = status ? NULL : fit_allocate(&gram->host, 1, sizeof *s);
    if (!status)
        status = s ? fill_site(gram, s, name, widths, error) : fit_no_memory(error);
    if (!status)
        status = fit_batch(gram, panels, rows, error);
    if (status) {
        if (s)
            destroy_site(&gram->host, s);
        return status;
    }
    gram->bytes = bytes;
    gram->sites[gram->n_sites] = s;
    if (site)
        *site = (uint32_t)gram->n_sites;
    gram->n_sites++;
    return EMR_OK;
}

uint32_t emr_gram_n_sites(const emr_gram *gram)
{
    return gram ? (uint32_t)gram->n_sites : 0;
}

emr_status emr_gram_get_site(const emr_gram *gram, uint32_t site, emr_gram_site *info)
{
    if (!gram || !info)
        return EMR_EINVAL;
    if (site >= gram->n_sites)
        return EMR_ENOTFOUND;
    const gram_site *s = gram->sites[site];
    const emr_gram_site found = {.size = sizeof found,
                                 .name = s->name,
                                 .widths = s->widths,
                                 .n_rows = s->n_rows,
                                 .n_dropped = s->n_dropped,
                                 .bytes = tile_bytes(s->n_panels),
                                 .n_models = gram->n_models};
    return FIT_GIVE(info, &found, emr_gram_site, reserved);
}

emr_status emr_gram_find_site(const emr_gram *gram, const char *name, uint32_t *site, emr_error *error)
{
    if (!gram || !name || !site)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_find_site: NULL");
    for (size_t i = 0; i < gram->n_sites; i++) {
        if (strcmp(gram->sites[i]->name, name) == 0) {
            *site = (uint32_t)i;
            return EMR_OK;
        }
    }
    return emr_error_format(error, EMR_ENOTFOUND, "there is no site '%s'", name);
}

double emr_gram_value(const emr_gram *gram, uint32_t site, uint64_t i, uint64_t j)
{
    static const uint64_t nan_bits = UINT64_C(0x7ff8000000000000);
    double value;
    memcpy(&value, &nan_bits, sizeof value);
    if (gram && site < gram->n_sites && i < gram->sites[site]->order && j < gram->sites[site]->order)
        value = *gram_element(gram->sites[site], (size_t)i, (size_t)j);
    return value;
}

/* What is fed, and a block of it: rows[k] is the number of the k-th row that counts. */
typedef struct feeding {
    const emr_gram *gram;
    gram_site *site;
    const emr_activations *models;
    const uint8_t *keep;
    const fit_kernels *kernels;
    size_t rows[BLOCK_ROWS];
    size_t n_rows;
    size_t first, n_looked_at; /* rows that were looked at last, */
    bool is_bad[BLOCK_ROWS];   /* and which of them count, but are not finite */
    int is_exact;
} feeding;

static const emr_activations *activations_at(const emr_activations *models, size_t m)
{
    return (const emr_activations *)(const void *)((const char *)models + m * models->size);
}

/* Values [at, at + n) of a model's row, as f64. */
static void read_segment(const feeding *f, size_t m, size_t row, size_t at, size_t n, double *values)
{
    const emr_activations *a = activations_at(f->models, m);
    size_t bytes = emr_dtype_bits(a->dtype) / 8, stride = a->row_stride;
    if (!stride)
        stride = (size_t)f->site->widths[m] * bytes;
    (void)emr_convert(EMR_DTYPE_F64, values, a->dtype, (const char *)a->data + row * stride + at * bytes, n);
}

static void pack_values(const feeding *f, size_t k, size_t column, const double *values, size_t n)
{
    while (n) {
        size_t at = column % FIT_TILE, some = FIT_TILE - at < n ? FIT_TILE - at : n;
        memcpy(&f->gram->batch[column / FIT_TILE * f->gram->block_rows + k][at], values,
               some * sizeof *values);
        column += some;
        values += some;
        n -= some;
    }
}

/* The k-th row of the batch's panels: the models' values, 1, and zeros up to the end of the panel. */
static void pack_row(const feeding *f, size_t k)
{
    static const double end[FIT_TILE] = {1};
    double values[SEGMENT];
    size_t column = 0;
    for (size_t m = 0; m < f->gram->n_models; m++) {
        size_t width = (size_t)f->site->widths[m];
        for (size_t at = 0; at < width; at += SEGMENT) {
            size_t n = width - at < SEGMENT ? width - at : SEGMENT;
            read_segment(f, m, f->rows[k], at, n, values);
            pack_values(f, k, column + at, values, n);
        }
        column += width;
    }
    pack_values(f, k, column, end, FIT_TILE - column % FIT_TILE);
}

static void pack_rows(void *arg, size_t job)
{
    const feeding *f = arg;
    for (size_t k = job * ROWS_A_JOB; k < f->n_rows && k < (job + 1) * ROWS_A_JOB; k++)
        pack_row(f, k);
}

/* A row of tiles; the longest first, so that threads end together. */
static void add_tile_row(void *arg, size_t job)
{
    const feeding *f = arg;
    size_t p = f->site->n_panels - 1 - job, rows = f->gram->block_rows;
    const fit_panel *batch = f->gram->batch;
    for (size_t q = 0; q <= p; q++) {
        fit_panel *tile = f->site->tiles[p] + q * FIT_TILE;
        if (f->is_exact)
            f->kernels->add_exact(tile, batch + p * rows, batch + q * rows, f->n_rows);
        else
            f->kernels->add(tile, batch + p * rows, batch + q * rows, f->n_rows);
    }
}

static void add_batch(feeding *f)
{
    if (!f->n_rows)
        return;
    fit_for(&f->gram->host, (f->n_rows + ROWS_A_JOB - 1) / ROWS_A_JOB, pack_rows, f);
    fit_for(&f->gram->host, f->site->n_panels, add_tile_row, f);
    f->site->n_rows += f->n_rows;
    f->n_rows = 0;
}

/* The first of n values that is not finite, or n. */
static size_t first_nonfinite(const double *values, size_t n)
{
    size_t n_bad = 0, i = 0;
    for (size_t k = 0; k < n; k++)
        n_bad += values[k] - values[k] != 0;
    while (n_bad && values[i] - values[i] == 0)
        i++;
    return n_bad ? i : n;
}

/* Whether all of a row is finite; else *m and *column say where it is not. */
static bool is_finite_row(const feeding *f, size_t row, size_t *m, size_t *column)
{
    double values[SEGMENT];
    for (*m = 0; *m < f->gram->n_models; ++*m) {
        size_t width = (size_t)f->site->widths[*m];
        for (size_t at = 0; at < width; at += SEGMENT) {
            size_t n = width - at < SEGMENT ? width - at : SEGMENT;
            read_segment(f, *m, row, at, n, values);
            *column = at + first_nonfinite(values, n);
            if (*column < at + n)
                return false;
        }
    }
    return true;
}

static void look_at_rows(void *arg, size_t job)
{
    feeding *f = arg;
    size_t m, column;
    for (size_t k = job * ROWS_A_JOB; k < f->n_looked_at && k < (job + 1) * ROWS_A_JOB; k++)
        f->is_bad[k] = (!f->keep || f->keep[f->first + k]) && !is_finite_row(f, f->first + k, &m, &column);
}

/* Whether a row counts, but is not finite. Rows are asked for in order; a block of them is looked at together. */
static bool is_bad(feeding *f, size_t row, size_t n_rows)
{
    if (row % BLOCK_ROWS == 0) {
        f->first = row;
        f->n_looked_at = n_rows - row < BLOCK_ROWS ? n_rows - row : BLOCK_ROWS;
        fit_for(&f->gram->host, (f->n_looked_at + ROWS_A_JOB - 1) / ROWS_A_JOB, look_at_rows, f);
    }
    return f->is_bad[row % BLOCK_ROWS];
}

static emr_status check_rows(feeding *f, size_t n_rows, emr_error *error)
{
    size_t m, column;
    for (size_t row = 0; row < n_rows; row++)
        if (is_bad(f, row, n_rows) && !is_finite_row(f, row, &m, &column))
            return emr_error_format(error, EMR_ENONFINITE,
                                    "site '%s': value %u of row %u of model %u is NaN or infinite",
                                    f->site->name, (uint64_t)column, (uint64_t)row, (uint64_t)m);
    return EMR_OK;
}

static emr_status check_activations(feeding *f, size_t n_rows, emr_error *error)
{
    f->is_exact = 1;
    for (size_t m = 0; m < f->gram->n_models; m++) {
        const emr_activations *a = activations_at(f->models, m);
        if (f->models->size < sizeof *a || a->size != f->models->size)
            return emr_error_format(error, EMR_EINVAL,
                                    "emr_activations: size is not set, or not the same for all models");
        if (a->dtype != EMR_DTYPE_F32 && a->dtype != EMR_DTYPE_F16 && a->dtype != EMR_DTYPE_BF16 &&
            a->dtype != EMR_DTYPE_F64)
            return emr_error_format(error, EMR_EINVAL, "site '%s': activations are F32, F16, BF16 or F64",
                                    f->site->name);
        if (!a->data && n_rows)
            return emr_error_format(error, EMR_EINVAL, "site '%s': model %u has no data", f->site->name,
                                    (uint64_t)m);
        if (a->row_stride && a->row_stride < f->site->widths[m] * (emr_dtype_bits(a->dtype) / 8))
            return emr_error_format(error, EMR_EINVAL,
                                    "site '%s': model %u: row_stride is less than a row of %u values",
                                    f->site->name, (uint64_t)m, f->site->widths[m]);
        f->is_exact = f->is_exact && a->dtype != EMR_DTYPE_F64;
    }
    return EMR_OK;
}

emr_status emr_gram_feed(emr_gram *gram, uint32_t site, const emr_activations *activations, size_t n_rows,
                         const uint8_t *keep, emr_error *error)
{
    if (!gram || !activations)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_feed: NULL");
    if (site >= gram->n_sites)
        return emr_error_format(error, EMR_ENOTFOUND, "emr_gram_feed: there is no site %u", (uint64_t)site);
    feeding f = {.gram = gram,
                 .site = gram->sites[site],
                 .models = activations,
                 .keep = keep,
                 .kernels = fit_kernels_select()};
    emr_status status = check_activations(&f, n_rows, error);
    if (!status && gram->on_nonfinite == EMR_ON_NONFINITE_ERROR)
        status = check_rows(&f, n_rows, error);
    for (size_t row = 0; !status && row < n_rows; row++) {
        if (gram->on_nonfinite == EMR_ON_NONFINITE_ZERO && is_bad(&f, row, n_rows))
            f.site->n_dropped++;
        else if (!keep || keep[row])
            f.rows[f.n_rows++] = row;
        if (f.n_rows == gram->block_rows)
            add_batch(&f);
    }
    if (!status)
        add_batch(&f);
    return status;
}

/* The site of `gram` that one of another gram's belongs to, or NULL. */
static gram_site *same_site(const emr_gram *gram, const gram_site *other)
{
    for (size_t i = 0; i < gram->n_sites; i++) {
        gram_site *s = gram->sites[i];
        if (strcmp(s->name, other->name) == 0)
            return memcmp(s->widths, other->widths, gram->n_models * sizeof *s->widths) == 0 ? s : NULL;
    }
    return NULL;
}

static emr_status check_fit(const emr_gram *gram, const emr_gram *other, emr_error *error)
{
    if (gram->n_models != other->n_models)
        return emr_error_format(error, EMR_EMISMATCH, "a gram of %u models cannot be added to one of %u",
                                (uint64_t)other->n_models, (uint64_t)gram->n_models);
    for (size_t i = 0; i < other->n_sites; i++)
        if (!same_site(gram, other->sites[i]))
            return emr_error_format(error, EMR_EMISMATCH,
                                    "site '%s' is absent, or of other widths, in the gram that it is "
                                    "to be added to",
                                    other->sites[i]->name);
    return EMR_OK;
}

emr_status emr_gram_add(emr_gram *gram, const emr_gram *other, emr_error *error)
{
    if (!gram || !other || gram == other)
        return emr_error_format(error, EMR_EINVAL, "emr_gram_add: NULL, or a gram to itself");
    emr_status status = check_fit(gram, other, error);
    for (size_t i = 0; !status && i < other->n_sites; i++) {
        const gram_site *from = other->sites[i];
        gram_site *to = same_site(gram, from);
        for (size_t p = 0; p < to->n_panels; p++)
            for (size_t k = 0; k < (p + 1) * FIT_TILE; k++)
                for (size_t j = 0; j < FIT_TILE; j++)
                    to->tiles[p][k][j] += from->tiles[p][k][j];
        to->n_rows += from->n_rows;
        to->n_dropped += from->n_dropped;
    }
    return status;
}
