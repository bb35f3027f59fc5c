/* similarity.c - how similar units are by their weights:
 *
 *     inner product    sum over the group's entries of <A's slice, B's slice>     (Git Re-Basin, equation 2, with one group free)
 *     correlation      Pearson's, of all of a unit's weights as one vector        (MuDSC) */
#include "match.h"

#include "slices.h"

void fit_similarity_clear(fit_similarity *s)
{
    for (int part = 0; part < N_PARTS; part++) {
        fit_release(s->host, s->of[part]);
        s->of[part] = NULL;
    }
}

spec_part fit_similarity_part(const spec_group *g, spec_part part, emr_similarity_kind kind)
{
    if (kind != EMR_SIMILARITY_KIND_CORRELATION || !g->is_heads || g->n_heads != g->n_kv_heads)
        return part;
    return part == PART_Q ? PART_K : part == PART_O ? PART_V : part;
}

emr_status fit_similarity_need(fit_similarity *s, const spec_group *g, spec_part part, emr_error *error)
{
    size_t n = (size_t)spec_part_units(g, part);
    if (!s->of[part])
        s->of[part] = fit_allocate(s->host, n, n * sizeof(double));
    return s->of[part] ? EMR_OK : fit_no_memory(error);
}

/* Sums of one part: products in tiles, and what correlations need beside. */
typedef struct comparison {
    const fit_host *host;
    const fit_kernels *kernels;
    size_t n, n_panels, n_rows;   /* rows that are in the panels */
    fit_panel *panels[2];         /* A's and B's, FIT_SLICE_ROWS of each panel */
    fit_panel *tiles;             /* n_panels x n_panels of them */
    double *sums[2], *squares[2]; /* squares: deviations, in the end */
    double *of;                   /* what comes out */
    uint64_t count;               /* numbers of a unit */
    emr_similarity_kind kind;
    bool is_exact;
    atomic_bool is_not_finite;
} comparison;

static void add_tiles(void *arg, size_t p)
{
    const comparison *c = arg;
    for (size_t q = 0; q < c->n_panels; q++) {
        fit_panel *tile = c->tiles + (p * c->n_panels + q) * FIT_TILE;
        const fit_panel *a = (const fit_panel *)c->panels[0] + p * FIT_SLICE_ROWS,
                        *b = (const fit_panel *)c->panels[1] + q * FIT_SLICE_ROWS;
        if (c->is_exact)
            c->kernels->add_exact(tile, a, b, c->n_rows);
        else
            c->kernels->add(tile, a, b, c->n_rows);
    }
}

/* What correlations need of the units of a panel. */
static void add_moments(void *arg, size_t p)
{
    const comparison *c = arg;
    for (int model = 0; model < 2; model++) {
        double *sums = c->sums[model] + p * FIT_TILE, *squares = c->squares[model] + p * FIT_TILE;
        for (size_t k = 0; k < c->n_rows; k++)
            for (size_t i = 0; i < FIT_TILE; i++) {
                double x = c->panels[model][p * FIT_SLICE_ROWS + k][i];
                sums[i] += x;
                squares[i] += x * x;
            }
    }
}

static emr_status add_slices(comparison *c, const fit_slices *a, const fit_slices *b, emr_error *error)
{
    for (uint64_t first = 0; first < a->n_rows; first += FIT_SLICE_ROWS) {
        c->n_rows = a->n_rows - first < FIT_SLICE_ROWS ? (size_t)(a->n_rows - first) : FIT_SLICE_ROWS;
        emr_status status = fit_slices_read(a, first, c->n_rows, c->panels[0], error);
        if (!status)
            status = fit_slices_read(b, first, c->n_rows, c->panels[1], error);
        if (status)
            return status;
        fit_for(c->host, c->n_panels, add_tiles, c);
        if (c->kind == EMR_SIMILARITY_KIND_CORRELATION)
            fit_for(c->host, c->n_panels, add_moments, c);
    }
    c->count += a->n_rows;
    return EMR_OK;
}

/* One entry of the group, in both models. */
static emr_status compare_entry(comparison *c, const emr_permutation *p, const spec_group *g,
                                const spec_axis *axis, const emr_model *a, const emr_model *b,
                                emr_error *error)
{
    const emr_tensor *ours = emr_model_find_tensor(a, axis->tensor),
                     *theirs = emr_model_find_tensor(b, axis->tensor);
    fit_slices slices[2];
    if (!emr_tensor_same_shape(ours, theirs))
        return emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' has another shape than in %F",
                                emr_model_name(b), axis->tensor, emr_model_name(a));
    c->is_exact = emr_tensor_dtype(ours) != EMR_DTYPE_F64 && emr_tensor_dtype(theirs) != EMR_DTYPE_F64;
    emr_status status = fit_slices_create(&slices[0], c->host, NULL, ours, g, axis, error);
    if (status)
        return status;
    status = fit_slices_create(&slices[1], c->host, p, theirs, g, axis, error);
    if (!status) {
        status = add_slices(c, &slices[0], &slices[1], error);
        fit_slices_destroy(&slices[1]);
    }
    fit_slices_destroy(&slices[0]);
    return status;
}

static void find_deviations(const comparison *c)
{
    for (int model = 0; model < 2; model++)
        for (size_t unit = 0; unit < c->n; unit++)
            c->squares[model][unit] =
                fit_deviation((double)c->count, c->sums[model][unit], c->squares[model][unit]);
}

/* Rows of the part's matrix, out of a panel of tiles. */
static void take_tiles(void *arg, size_t p)
{
    comparison *c = arg;
    bool is_not_finite = false;
    for (size_t i = p * FIT_TILE; i < (p + 1) * FIT_TILE && i < c->n; i++)
        for (size_t j = 0; j < c->n; j++) {
            double sum = c->tiles[(p * c->n_panels + j / FIT_TILE) * FIT_TILE + i % FIT_TILE][j % FIT_TILE];
            if (c->kind == EMR_SIMILARITY_KIND_CORRELATION)
                sum = fit_correlation((double)c->count, sum, c->sums[0][i], c->sums[1][j],
                                      c->squares[0][i] * c->squares[1][j]);
            c->of[i * c->n + j] += sum;
            is_not_finite = is_not_finite || sum - sum != 0;
        }
    if (is_not_finite)
        c->is_not_finite = true;
}

static bool make_comparison(comparison *c)
{
    size_t rows = c->n_panels * FIT_SLICE_ROWS;
    c->panels[0] = fit_allocate(c->host, rows, sizeof(fit_panel));
    c->panels[1] = fit_allocate(c->host, rows, sizeof(fit_panel));
    c->tiles = fit_allocate(c->host, c->n_panels * c->n_panels, FIT_TILE * sizeof(fit_panel));
    for (int model = 0; model < 2; model++) {
        c->sums[model] = fit_allocate(c->host, c->n_panels, sizeof(fit_panel));
        c->squares[model] = fit_allocate(c->host, c->n_panels, sizeof(fit_panel));
    }
    return c->panels[0] && c->panels[1] && c->tiles && c->sums[0] && c->sums[1] && c->squares[0] &&
           c->squares[1];
}

static void free_comparison(comparison *c)
{
    fit_release(c->host, c->tiles);
    for (int model = 0; model < 2; model++) {
        fit_release(c->host, c->panels[model]);
        fit_release(c->host, c->sums[model]);
        fit_release(c->host, c->squares[model]);
    }
}

/* All entries of a part together. */
static emr_status compare_part(fit_similarity *s, const emr_permutation *p, const spec_group *g,
                               spec_part part, const emr_model *a, const emr_model *b,
                               emr_similarity_kind kind, emr_error *error)
{
    comparison c = {.host = s->host,
                    .kernels = fit_kernels_select(),
                    .n = (size_t)spec_part_units(g, part),
                    .kind = kind};
    c.n_panels = fit_n_panels(c.n);
    emr_status status = fit_similarity_need(s, g, part, error);
    if (!status && !make_comparison(&c))
        status = fit_no_memory(error);
    for (size_t i = 0; !status && i < g->n_axes; i++)
        if (g->axes[i].is_matched && fit_similarity_part(g, g->axes[i].part, kind) == part)
            status = compare_entry(&c, p, g, &g->axes[i], a, b, error);
    if (!status) {
        c.of = s->of[part];
        if (kind == EMR_SIMILARITY_KIND_CORRELATION)
            find_deviations(&c);
        fit_for(c.host, c.n_panels, take_tiles, &c);
    }
    if (c.is_not_finite)
        status =
            emr_error_format(error, EMR_ENONFINITE, "group '%s': weights of %F or %F are NaN or infinite",
                             g->name, emr_model_name(a), emr_model_name(b));
    free_comparison(&c);
    return status;
}

static bool has_part(const spec_group *g, spec_part part, emr_similarity_kind kind)
{
    for (size_t i = 0; i < g->n_axes; i++)
        if (g->axes[i].is_matched && fit_similarity_part(g, g->axes[i].part, kind) == part)
            return true;
    return false;
}

emr_status fit_weight_similarity(fit_similarity *s, const fit_host *host, const emr_permutation *p,
                                 size_t group, const emr_model *a, const emr_model *b,
                                 emr_similarity_kind kind, emr_error *error)
{
    const spec_group *g = &p->spec->groups[group];
    emr_status status = EMR_OK;
    *s = (fit_similarity){.host = host};
    for (int part = 0; !status && part < N_PARTS; part++)
        if (has_part(g, (spec_part)part, kind))
            status = compare_part(s, p, g, (spec_part)part, a, b, kind, error);
    if (status)
        fit_similarity_clear(s);
    return status;
}
