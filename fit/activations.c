/* activations.c - how similar units are by what they do on the same samples: from the joint sums of a site, and of q and k, which
 * no site shows, from those of what they read, through their weights: M S M^T. */
#include "match.h"

#include "project.h"
#include "slices.h"

#include <string.h>

/* The moments of n units of two models: products of A's with B's, and of each model sums and squares. */
typedef struct moments {
    const fit_host *host;
    size_t n;
    double *products; /* n x n */
    double *sums[2], *squares[2];
    double rows;
} moments;

static bool make_moments(moments *m, const fit_host *host, size_t n)
{
    *m = (moments){.host = host, .n = n};
    m->products = fit_allocate(host, n, n * sizeof(double));
    for (int model = 0; model < 2; model++) {
        m->sums[model] = fit_allocate(host, n, sizeof(double));
        m->squares[model] = fit_allocate(host, n, sizeof(double));
    }
    return m->products && m->sums[0] && m->sums[1] && m->squares[0] && m->squares[1];
}

static void free_moments(moments *m)
{
    if (!m->host)
        return;
    fit_release(m->host, m->products);
    for (int model = 0; model < 2; model++) {
        fit_release(m->host, m->sums[model]);
        fit_release(m->host, m->squares[model]);
    }
}

static double deviation(const moments *m, int model, size_t unit)
{
    return fit_deviation(m->rows, m->sums[model][unit], m->squares[model][unit]);
}

/* Sets the part's matrix. */
static void take_moments(const moments *m, double *of, emr_similarity_kind kind)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < m->n; j++) {
            double product = m->products[i * m->n + j];
            if (kind == EMR_SIMILARITY_KIND_CORRELATION)
                product = fit_correlation(m->rows, product, m->sums[0][i], m->sums[1][j],
                                          deviation(m, 0, i) * deviation(m, 1, j));
            of[i * m->n + j] = product;
        }
}

/* A site whose inputs are the units. */
static void add_site(moments *m, const gram_site *s)
{
    for (size_t i = 0; i < m->n; i++) {
        for (size_t j = 0; j < m->n; j++)
            m->products[i * m->n + j] += *gram_element(s, i, m->n + j);
        for (size_t model = 0; model < 2; model++) {
            m->sums[model][i] += *gram_element(s, model * m->n + i, s->order - 1);
            m->squares[model][i] += *gram_element(s, model * m->n + i, model * m->n + i);
        }
    }
    m->rows += (double)s->n_rows;
}

/* A projection of a part: of each model the weights and, behind them, the biases, as panels. */
typedef struct projection {
    size_t width;
    fit_solved *weights[2];
} projection;

static void free_projection(projection *p)
{
    fit_solved_release(p->weights[0]);
    fit_solved_release(p->weights[1]);
}

/* An entry of the part: its numbers, n of each unit, from row `to` on. */
static emr_status read_entry(const fit_host *host, const spec_group *g, const spec_axis *axis,
                             const emr_model *model, size_t n, size_t to, fit_solved *weights,
                             emr_error *error)
{
    fit_slices slices;
    emr_status status =
        fit_slices_create(&slices, host, NULL, emr_model_find_tensor(model, axis->tensor), g, axis, error);
    if (status)
        return status;
    fit_panel *panels = fit_allocate(host, weights->n_sides * FIT_SLICE_ROWS, sizeof *panels);
    status = panels ? EMR_OK : fit_no_memory(error);
    if (!status && slices.n_rows != n)
        status = emr_error_format(error, EMR_EMISMATCH,
                                  "%F: group '%s': tensor '%T' has %u numbers for each unit, not %u",
                                  emr_model_name(model), g->name, axis->tensor, slices.n_rows, (uint64_t)n);
    for (size_t first = 0; !status && first < n; first += FIT_SLICE_ROWS) {
        size_t some = n - first < FIT_SLICE_ROWS ? n - first : FIT_SLICE_ROWS;
        status = fit_slices_read(&slices, first, some, panels, error);
        for (size_t side = 0; !status && side < weights->n_sides; side++)
            memcpy(weights->sides[side] + to + first, panels + side * FIT_SLICE_ROWS, some * sizeof *panels);
    }
    fit_release(host, panels);
    fit_slices_destroy(&slices);
    return status;
}

/* The first entry of a part is its weight, a second one its bias. */
static emr_status read_projection(const fit_host *host, const spec_group *g, spec_part part,
                                  const emr_model *const models[2], size_t width, projection *p,
                                  emr_error *error)
{
    size_t n_sides = fit_n_panels((size_t)spec_part_units(g, part));
    *p = (projection){.width = width};
    emr_status status = EMR_OK;
    for (int model = 0; !status && model < 2; model++) {
        size_t found = 0;
        p->weights[model] = fit_solved_create(host, 0, n_sides, project_rows(width));
        if (!p->weights[model])
            return fit_no_memory(error);
        for (size_t i = 0; !status && i < g->n_axes && found < 2; i++) {
            if (g->axes[i].part != part)
                continue;
            status = read_entry(host, g, &g->axes[i], models[model], found ? 1 : width, found ? width : 0,
                                p->weights[model], error);
            found++;
        }
    }
    return status;
}

/* What is done with S W of two models, or of one with itself. */
typedef struct meeting {
    moments *m;
    const projection *p;
    const fit_solved *product;
    const fit_kernels *kernels;
    int of;
} meeting;

/* A row of tiles of W_a^T (S W_b). */
static void meet_panel(void *arg, size_t panel)
{
    const meeting *t = arg;
    const fit_panel *ours = (const fit_panel *)t->p->weights[t->of]->sides[panel];
    for (size_t side = 0; side < t->product->n_sides; side++) {
        fit_panel tile[FIT_TILE];
        memset(tile, 0, sizeof tile);
        t->kernels->add(tile, ours, (const fit_panel *)t->product->sides[side], t->p->width + 1);
        for (size_t i = panel * FIT_TILE; i < (panel + 1) * FIT_TILE && i < t->m->n; i++)
            for (size_t j = side * FIT_TILE; j < (side + 1) * FIT_TILE && j < t->m->n; j++)
                t->m->products[i * t->m->n + j] += tile[i % FIT_TILE][j % FIT_TILE];
    }
}

/* Squares and sums of one model's units. */
static void meet_itself(void *arg, size_t panel)
{
    const meeting *t = arg;
    const fit_panel *ours = (const fit_panel *)t->p->weights[t->of]->sides[panel],
                    *product = (const fit_panel *)t->product->sides[panel];
    for (size_t unit = panel * FIT_TILE; unit < (panel + 1) * FIT_TILE && unit < t->m->n; unit++) {
        for (size_t k = 0; k <= t->p->width; k++)
            t->m->squares[t->of][unit] += ours[k][unit % FIT_TILE] * product[k][unit % FIT_TILE];
        t->m->sums[t->of][unit] += product[t->p->width][unit % FIT_TILE];
    }
}

/* The outputs of a projection, from the sums of its inputs. */
static emr_status add_outputs(moments *m, const gram_site *s, const projection *p, emr_error *error)
{
    static const int blocks[3][2] = {{0, 1}, {0, 0}, {1, 1}};
    size_t n_sides = p->weights[0]->n_sides;
    fit_solved *product = fit_solved_create(m->host, 0, n_sides, project_rows(p->width));
    meeting t = {.m = m, .p = p, .product = product, .kernels = fit_kernels_select()};
    emr_status status = product ? EMR_OK : fit_no_memory(error);
    for (int i = 0; !status && i < 3; i++) {
        t.of = blocks[i][0];
        status = fit_project(m->host, s, (size_t)blocks[i][0], (size_t)blocks[i][1], p->width,
                             p->weights[blocks[i][1]], product, error);
        if (!status)
            fit_for(m->host, n_sides, i ? meet_itself : meet_panel, &t);
    }
    m->rows += (double)s->n_rows;
    fit_solved_release(product);
    return status;
}

static const gram_site *find_site(const emr_gram *gram, const char *name)
{
    uint32_t site;
    return name && emr_gram_find_site(gram, name, &site, NULL) == EMR_OK ? gram->sites[site] : NULL;
}

static emr_status check_widths(const spec_group *g, const gram_site *s, uint64_t width, emr_error *error)
{
    if (s->widths[0] == width && s->widths[1] == width)
        return s->n_rows
                   ? EMR_OK
                   : emr_error_format(error, EMR_EMISMATCH, "group '%s': the gram has no rows of site '%s'",
                                      g->name, s->name);
    return emr_error_format(error, EMR_EMISMATCH,
                            "group '%s': site '%s' of the gram has the widths %u and %u, not %u", g->name,
                            s->name, s->widths[0], s->widths[1], width);
}

/* All sites of a group together; of heads the first, which shows what o reads. */
static emr_status compare_sites(fit_similarity *s, const spec_group *g, const emr_gram *gram,
                                emr_similarity_kind kind, bool *found, emr_error *error)
{
    spec_part part = g->is_heads ? fit_similarity_part(g, PART_O, kind) : PART_UNITS;
    moments m = {0};
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < g->n_sites; i++) {
        const gram_site *site = find_site(gram, g->sites[i]);
        if (!site || (g->is_heads && m.host))
            continue;
        status = check_widths(g, site, spec_part_units(g, part == PART_UNITS ? part : PART_O), error);
        if (!status && !m.host && !make_moments(&m, s->host, (size_t)site->widths[0]))
            status = fit_no_memory(error);
        if (!status)
            add_site(&m, site);
    }
    if (!status && m.host) {
        status = fit_similarity_need(s, g, part, error);
        if (!status)
            take_moments(&m, s->of[part], kind);
        *found = true;
    }
    free_moments(&m);
    return status;
}

/* q and k; the same matrix where correlations put them together. */
static emr_status compare_projections(fit_similarity *s, const spec_group *g, const emr_gram *gram,
                                      const emr_model *const models[2], emr_similarity_kind kind, bool *found,
                                      emr_error *error)
{
    static const spec_part parts[2] = {PART_Q, PART_K};
    const gram_site *site = find_site(gram, g->qk_site);
    emr_status status = EMR_OK;
    moments m = {0};
    for (int i = 0; site && !status && i < 2; i++) {
        spec_part part = fit_similarity_part(g, parts[i], kind);
        projection p = {0};
        if (!m.host && !make_moments(&m, s->host, (size_t)spec_part_units(g, part)))
            status = fit_no_memory(error);
        if (!status)
            status = check_widths(g, site, site->widths[0], error);
        if (!status)
            status = read_projection(s->host, g, parts[i], models, (size_t)site->widths[0], &p, error);
        if (!status)
            status = add_outputs(&m, site, &p, error);
        free_projection(&p);
        if (!status && (i || part == PART_Q)) { /* q waits for k where they are one */
            status = fit_similarity_need(s, g, part, error);
            if (!status)
                take_moments(&m, s->of[part], kind);
            free_moments(&m);
            m = (moments){0};
            *found = true;
        }
    }
    free_moments(&m);
    return status;
}

emr_status fit_activation_similarity(fit_similarity *s, const fit_host *host, const spec_group *g,
                                     const emr_gram *gram, const emr_model *a, const emr_model *b,
                                     emr_similarity_kind kind, bool *found, emr_error *error)
{
    const emr_model *const models[2] = {a, b};
    *s = (fit_similarity){.host = host};
    *found = false;
    emr_status status = compare_sites(s, g, gram, kind, found, error);
    if (!status && g->is_heads)
        status = compare_projections(s, g, gram, models, kind, found, error);
    if (status)
        fit_similarity_clear(s);
    return status;
}
