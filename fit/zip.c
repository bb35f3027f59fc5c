/* zip.c - emr_zip_open_model: rounds over groups, of which the best is kept, as in match.c; then tensors that are merged as a whole. */
#include "zip.h"

#include "draw.h"
#include "gram.h"
#include "match.h"
#include "options.h"
#include "whole.h"

#include <string.h>

enum { ROWS = 128 };

#define CACHE_BYTES (UINT64_C(64) << 20)

/* What is zipped; the merged model's user. */
typedef struct zip_model {
    fit_host host;
    emr_permutation_spec *spec;
    const emr_model **models;
    zip_group *groups;
    uint32_t n_models;
} zip_model;

/* A search over groups. */
typedef struct searching {
    zip_model *z;
    emr_zip_options o;
    zip_group *now, *room; /* of all groups */
    double *values;
    size_t *order;
    double **activations; /* of each group, total x total; NULL: there are none */
    double balance, shrink, within;
    uint64_t state, n_solved;
    uint32_t rounds_max, patience;
    emr_match_report report;
    bool has_best;
} searching;

/* Sums over the numbers of all units of all models, of one group. */
typedef struct comparing {
    const zip_model *z;
    const fit_kernels *kernels;
    size_t n, total, n_panels, n_rows;
    fit_panel *panels; /* ROWS of each */
    fit_panel *tiles;  /* row by row of the lower triangle, each whole */
    double *sums;
    uint64_t count;
} comparing;

static fit_panel *tile_of(const comparing *c, size_t p, size_t q)
{
    return c->tiles + (p * (p + 1) / 2 + q) * FIT_TILE;
}

static void add_zip_tile_row(void *arg, size_t p)
{
    const comparing *c = arg;
    for (size_t q = 0; q <= p; q++)
        c->kernels->add(tile_of(c, p, q), (const fit_panel *)c->panels + p * ROWS,
                        (const fit_panel *)c->panels + q * ROWS, c->n_rows);
}

/* Where number k of a unit is in the tensor: [before][axis][after], numbers by `before`, outer index, inner and after. */
static uint64_t number_place(const spec_group *g, const spec_axis *a, const emr_tensor *tensor,
                             uint64_t after, uint64_t unit, uint64_t k)
{
    uint64_t run = a->inner * after, slab = k / run, t = k % run;
    return (slab / a->outer * emr_tensor_shape(tensor)[a->axis] +
            spec_place(g, a, slab % a->outer, unit, 0)) *
               after +
           t;
}

/* One entry of the group: all models' numbers, `values` one tensor a model. */
static void add_entry(comparing *c, const spec_group *g, const spec_axis *a, const emr_tensor *tensor,
                      double *const *values)
{
    uint64_t after = 1,
             numbers = emr_tensor_count(tensor) / emr_tensor_shape(tensor)[a->axis] * a->outer * a->inner;
    for (uint32_t i = a->axis + 1; i < emr_tensor_rank(tensor); i++)
        after *= emr_tensor_shape(tensor)[i];
    for (uint64_t first = 0; first < numbers; first += ROWS) {
        c->n_rows = numbers - first < ROWS ? (size_t)(numbers - first) : ROWS;
        for (size_t unit = 0; unit < c->total; unit++)
            for (size_t k = 0; k < c->n_rows; k++) {
                double x = values[unit / c->n][number_place(g, a, tensor, after, unit % c->n, first + k)];
                c->panels[unit / FIT_TILE * ROWS + k][unit % FIT_TILE] = x;
                c->sums[unit] += x;
            }
        fit_for(&c->z->host, c->n_panels, add_zip_tile_row, c);
    }
    c->count += numbers;
}

/* A group's entry with all models' tensors transformed along their other axes. */
static emr_status compare_zip_entry(comparing *c, const zip_group *groups, const spec_group *g,
                                    const spec_axis *a, emr_error *error)
{
    const zip_model *z = c->z;
    const emr_tensor *first = emr_model_find_tensor(z->models[0], a->tensor);
    size_t count = (size_t)emr_tensor_count(first);
    double *room = fit_allocate(&z->host, count, sizeof *room);
    double **values = fit_allocate(&z->host, z->n_models, sizeof *values);
    emr_status status = room && values ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < z->n_models; m++) {
        values[m] = fit_allocate(&z->host, count, sizeof **values);
        status = values[m] ? fit_zip_tensor(z->spec, groups, z->n_models, m,
                                            emr_model_find_tensor(z->models[m], a->tensor), a, true,
                                            values[m], room, error)
                           : fit_no_memory(error);
    }
    if (!status)
        add_entry(c, g, a, first, values);
    for (uint32_t m = 0; values && m < z->n_models; m++)
        fit_release(&z->host, values[m]);
    fit_release(&z->host, values);
    fit_release(&z->host, room);
    return status;
}

/* Products of `total` units with each other, over n numbers, become Pearson's correlations, but for the diagonal; false: one is not
 * finite. */
static bool correlate_units(double *products, const double *sums, size_t total, double n)
{
    bool is_finite = true;
    for (size_t x = 0; x < total; x++) /* what was a square is a deviation then */
        products[x * total + x] = fit_deviation(n, sums[x], products[x * total + x]);
    for (size_t x = 0; x < total; x++)
        for (size_t y = 0; y < total; y++) {
            double *at = &products[x * total + y];
            if (x != y)
                *at = fit_correlation(n, *at, sums[x], sums[y],
                                      products[x * total + x] * products[y * total + y]);
            is_finite = is_finite && *at - *at == 0;
        }
    return is_finite;
}

static bool take_correlations(const comparing *c, double *similarity)
{
    for (size_t i = 0; i < c->total; i++)
        for (size_t j = 0; j <= i; j++)
            similarity[i * c->total + j] = similarity[j * c->total + i] =
                tile_of(c, i / FIT_TILE, j / FIT_TILE)[i % FIT_TILE][j % FIT_TILE];
    return correlate_units(similarity, c->sums, c->total, (double)c->count);
}

static emr_status compare_weights(searching *s, size_t group, double *similarity, emr_error *error)
{
    const spec_group *g = &s->z->spec->groups[group];
    comparing c = {.z = s->z, .kernels = fit_kernels_select(), .n = (size_t)g->n_units};
    const fit_host *host = &s->z->host;
    c.total = c.n * s->z->n_models;
    c.n_panels = fit_n_panels(c.total);
    c.panels = fit_allocate(host, c.n_panels * ROWS, sizeof *c.panels);
    c.tiles = fit_allocate(host, c.n_panels * (c.n_panels + 1) / 2, FIT_TILE * sizeof *c.tiles);
    c.sums = fit_allocate(host, c.total, sizeof *c.sums);
    emr_status status = c.panels && c.tiles && c.sums ? EMR_OK : fit_no_memory(error);
    for (size_t k = 0; !status && k < g->n_axes; k++)
        if (g->axes[k].is_matched)
            status = compare_zip_entry(&c, s->now, g, &g->axes[k], error);
    if (!status && !take_correlations(&c, similarity))
        status = emr_error_format(error, EMR_ENONFINITE, "group '%s': weights are NaN or infinite", g->name);
    fit_release(host, c.panels);
    fit_release(host, c.tiles);
    fit_release(host, c.sums);
    return status;
}

/* The group's own activations, over all its sites that the gram has; NULL: none. */
static emr_status compare_activations(searching *s, size_t group, double **similarity, emr_error *error)
{
    const spec_group *g = &s->z->spec->groups[group];
    size_t total = (size_t)g->n_units * s->z->n_models;
    double rows = 0, *sums = fit_allocate(&s->z->host, total, sizeof *sums), *products = NULL;
    emr_status status = sums ? EMR_OK : fit_no_memory(error);
    for (size_t i = 0; !status && s->o.gram && i < g->n_sites; i++) {
        uint32_t number;
        if (emr_gram_find_site(s->o.gram, g->sites[i], &number, NULL))
            continue;
        const gram_site *site = s->o.gram->sites[number];
        if (site->order != total + 1 || !site->n_rows) {
            status = emr_error_format(error, EMR_EMISMATCH,
                                      "group '%s': site '%s' of the gram has no rows, or not %u inputs of "
                                      "each model",
                                      g->name, g->sites[i], g->n_units);
            break;
        }
        if (!products && !(products = fit_allocate(&s->z->host, total, total * sizeof *products)))
            status = fit_no_memory(error);
        for (size_t x = 0; !status && x < total; x++) {
            for (size_t y = 0; y < total; y++)
                products[x * total + y] += *gram_element(site, x, y);
            sums[x] += *gram_element(site, x, site->order - 1);
        }
        rows += (double)site->n_rows;
    }
    if (!status && products && !correlate_units(products, sums, total, rows))
        status = emr_error_format(error, EMR_ENONFINITE,
                                  "group '%s': the gram's sums are beyond what a number holds", g->name);
    fit_release(&s->z->host, sums);
    *similarity = products;
    return status;
}

static void order_groups(searching *s)
{
    size_t n = s->z->spec->n_groups;
    for (size_t i = 0; i < n; i++)
        s->order[i] = i;
    fit_shuffle(s->order, s->o.seed ? n : 0, &s->state);
}

static emr_status zip_group_now(searching *s, size_t i, emr_error *error)
{
    const spec_group *g = &s->z->spec->groups[i];
    size_t total = (size_t)g->n_units * s->z->n_models;
    double *similarity = fit_allocate(&s->z->host, total, total * sizeof *similarity);
    emr_status status = similarity ? compare_weights(s, i, similarity, error) : fit_no_memory(error);
    for (size_t k = 0; !status && s->activations[i] && k < total * total; k++)
        similarity[k] = s->balance * similarity[k] + (1 - s->balance) * s->activations[i][k];
    if (!status)
        status = fit_zip_units(&s->z->host, similarity, total, s->z->n_models, s->shrink, s->within,
                               &s->room[i], &s->values[i], error);
    fit_release(&s->z->host, similarity);
    if (status)
        return status;
    memcpy(s->now[i].member, s->room[i].member, total * sizeof *s->now[i].member);
    memcpy(s->now[i].sizes, s->room[i].sizes, (size_t)g->n_units * sizeof *s->now[i].sizes);
    return fit_progress(&s->z->host, ++s->n_solved, (uint64_t)s->z->spec->n_groups * s->rounds_max, "zipping",
                        error);
}

static void copy_groups(const searching *s, const zip_group *from, zip_group *to)
{
    for (size_t i = 0; i < s->z->spec->n_groups; i++) {
        const spec_group *g = &s->z->spec->groups[i];
        if (!from[i].member)
            continue;
        memcpy(to[i].member, from[i].member, (size_t)g->n_units * s->z->n_models * sizeof *to[i].member);
        memcpy(to[i].sizes, from[i].sizes, (size_t)g->n_units * sizeof *to[i].sizes);
    }
}

static double mean_zip_value(const searching *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->z->spec->n_groups; i++)
        sum += can_zip(&s->z->spec->groups[i]) ? s->values[i] : 0;
    return s->report.n_groups ? sum / s->report.n_groups : 0;
}

/* Rounds, of which the best is in the model's groups in the end. */
static emr_status search_rounds(searching *s, emr_error *error)
{
    emr_status status = EMR_OK;
    uint32_t stale = 0;
    while (!status && s->report.n_rounds < s->rounds_max && stale < s->patience) {
        s->report.n_rounds++;
        order_groups(s);
        for (size_t k = 0; !status && k < s->z->spec->n_groups; k++)
            if (can_zip(&s->z->spec->groups[s->order[k]]))
                status = zip_group_now(s, s->order[k], error);
        if (status)
            return status;
        double value = mean_zip_value(s);
        if (s->has_best && value <= s->report.value) {
            stale++;
            copy_groups(s, s->z->groups, s->now);
        } else {
            stale = 0;
            s->has_best = true;
            s->report.value = value;
            copy_groups(s, s->now, s->z->groups);
        }
    }
    return status;
}

/* The groups' activations alone; without any, unit i of each model goes with unit i of the others. */
static emr_status begin_groups(searching *s, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < s->z->spec->n_groups; i++) {
        const spec_group *g = &s->z->spec->groups[i];
        size_t n = (size_t)g->n_units, total = n * s->z->n_models;
        if (!can_zip(g))
            continue;
        s->report.n_groups++;
        for (size_t k = 0; k < total; k++)
            s->now[i].member[k] = (uint32_t)(k % n);
        for (size_t k = 0; k < n; k++)
            s->now[i].sizes[k] = s->z->n_models;
        status = compare_activations(s, i, &s->activations[i], error);
        if (status || !s->activations[i])
            continue;
        double *copy = fit_allocate(&s->z->host, total, total * sizeof *copy);
        if (!copy)
            return fit_no_memory(error);
        memcpy(copy, s->activations[i], total * total * sizeof *copy);
        status = fit_zip_units(&s->z->host, copy, total, s->z->n_models, s->shrink, s->within, &s->now[i],
                               &s->values[i], error);
        fit_release(&s->z->host, copy);
    }
    return status;
}

static zip_group *make_groups(const zip_model *z)
{
    zip_group *groups = fit_allocate(&z->host, z->spec->n_groups, sizeof *groups);
    for (size_t i = 0; groups && i < z->spec->n_groups; i++) {
        const spec_group *g = &z->spec->groups[i];
        if (!can_zip(g))
            continue;
        groups[i].member = fit_allocate(&z->host, (size_t)g->n_units * z->n_models, sizeof *groups[i].member);
        groups[i].sizes = fit_allocate(&z->host, (size_t)g->n_units, sizeof *groups[i].sizes);
    }
    return groups;
}

static bool groups_are_whole(const zip_model *z, const zip_group *groups)
{
    for (size_t i = 0; groups && i < z->spec->n_groups; i++)
        if (can_zip(&z->spec->groups[i]) && (!groups[i].member || !groups[i].sizes))
            return false;
    return groups != NULL;
}

static void free_groups(const zip_model *z, zip_group *groups)
{
    for (size_t i = 0; groups && i < z->spec->n_groups; i++) {
        fit_release(&z->host, groups[i].member);
        fit_release(&z->host, groups[i].sizes);
    }
    fit_release(&z->host, groups);
}

static emr_status search_groups(zip_model *z, const emr_zip_options *o, emr_match_report *report,
                                emr_error *error)
{
    searching s = {.z = z, .o = *o, .state = o->seed};
    s.balance = o->use_balance ? o->balance : 0.5;
    s.shrink = o->use_shrink ? o->shrink : 0.5;
    s.within = o->use_within ? o->within : 1;
    s.rounds_max = o->max_rounds ? o->max_rounds : 100;
    s.patience = o->patience ? o->patience : 5;
    s.report.size = sizeof s.report;
    s.now = make_groups(z);
    s.room = make_groups(z);
    s.values = fit_allocate(&z->host, z->spec->n_groups, sizeof *s.values);
    s.order = fit_allocate(&z->host, z->spec->n_groups, sizeof *s.order);
    s.activations = fit_allocate(&z->host, z->spec->n_groups, sizeof *s.activations);
    emr_status status =
        groups_are_whole(z, s.now) && groups_are_whole(z, s.room) && s.values && s.order && s.activations
            ? begin_groups(&s, error)
            : fit_no_memory(error);
    if (!status)
        status = search_rounds(&s, error);
    for (size_t i = 0; s.activations && i < z->spec->n_groups; i++)
        fit_release(&z->host, s.activations[i]);
    free_groups(z, s.now);
    free_groups(z, s.room);
    fit_release(&z->host, s.values);
    fit_release(&z->host, s.order);
    fit_release(&z->host, s.activations);
    *report = s.report;
    return status;
}

static void destroy_zip(void *user)
{
    zip_model *z = user;
    const fit_host host = z->host;
    free_groups(z, z->groups);
    fit_release(&host, z->models);
    spec_release(z->spec);
    fit_release(&host, z);
}

/* The mean over models of their tensors, each with its units where they went. */
static emr_status merge_zipped(void *user, const emr_tensor *const *tensors, double *values, emr_error *error)
{
    const zip_model *z = user;
    size_t count = (size_t)emr_tensor_count(tensors[0]);
    double *own = fit_allocate(&z->host, count, sizeof *own),
           *room = fit_allocate(&z->host, count, sizeof *room);
    emr_status status = own && room ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < z->n_models; m++) {
        status =
            fit_zip_tensor(z->spec, z->groups, z->n_models, m, tensors[m], NULL, false, own, room, error);
        for (size_t i = 0; !status && i < count; i++)
            values[i] += own[i];
    }
    for (size_t i = 0; i < count; i++)
        values[i] /= z->n_models;
    fit_release(&z->host, own);
    fit_release(&z->host, room);
    return status;
}

static bool is_share(double value)
{
    return value >= 0 && value <= 1;
}

static emr_status check_zip(const emr_zip_options *o, emr_error *error)
{
    if (!o->models || o->n_models < 2)
        return emr_error_format(error, EMR_EINVAL, "emr_zip_options: at least two models are required");
    if ((o->use_balance && !is_share(o->balance)) || (o->use_shrink && !is_share(o->shrink)) ||
        (o->use_within && !is_share(o->within)))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_zip_options: balance, shrink and within are from 0 to 1");
    emr_status status = fit_check_float(o->dtype, "emr_zip_options", error);
    return status ? status : fit_check_gram(o->gram, o->n_models, "emr_zip_options", error);
}

/* Whether all models have the groups' tensors, floats of one shape. */
static emr_status check_zip_models(const zip_model *z, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; i < z->spec->n_groups; i++) {
        const spec_group *g = &z->spec->groups[i];
        for (size_t k = 0; k < g->n_axes; k++) {
            const emr_tensor *first = emr_model_find_tensor(z->models[0], g->axes[k].tensor), *found;
            for (uint32_t m = 0; !status && m < z->n_models; m++)
                status = fit_same_tensor(z->models[m], first, &found, error);
        }
    }
    return status;
}

static emr_status make_zip(const fit_host *host, const emr_permutation_spec *spec, const emr_zip_options *o,
                           zip_model **made, emr_match_report *report, emr_error *error)
{
    zip_model *z = fit_allocate(host, 1, sizeof *z);
    if (!z)
        return fit_no_memory(error);
    *made = z;
    z->host = *host;
    z->spec = spec_share(spec);
    z->n_models = o->n_models;
    z->models = fit_allocate(host, o->n_models, sizeof *z->models);
    z->groups = make_groups(z);
    emr_status status = z->models && groups_are_whole(z, z->groups) ? EMR_OK : fit_no_memory(error);
    for (uint32_t m = 0; !status && m < o->n_models; m++) {
        z->models[m] = o->models[m];
        status = o->models[m] ? emr_permutation_spec_check(spec, o->models[m], error)
                              : emr_error_format(error, EMR_EINVAL, "emr_zip_options: a model is NULL");
    }
    if (!status)
        status = check_zip_models(z, error);
    return status ? status : search_groups(z, o, report, error);
}

emr_status emr_zip_open_model(const emr_permutation_spec *spec, const emr_zip_options *options,
                              emr_model **model, emr_match_report *report, emr_error *error)
{
    emr_zip_options o;
    fit_host host;
    zip_model *z = NULL;
    emr_match_report found = {.size = sizeof found};
    if (model)
        *model = NULL;
    if (!spec || !options || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_zip_open_model: NULL");
    emr_status status = FIT_TAKE(&o, options, emr_zip_options, reserved, error);
    if (!status)
        status = check_zip(&o, error);
    if (!status)
        status = fit_check_report(report, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (!status)
        status = make_zip(&host, spec, &o, &z, &found, error);
    if (status) {
        if (z)
            destroy_zip(z);
        return status;
    }
    const fit_whole_options whole = {"zipped", z->models, z->n_models, o.dtype, merge_zipped, z, destroy_zip};
    status = fit_whole_open(&host, &whole, model, error);
    if (!status && report)
        (void)FIT_GIVE(report, &found, emr_match_report, n_groups);
    return status;
}
