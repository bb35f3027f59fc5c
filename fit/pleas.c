/* pleas.c - the model that is merged in part: which tensors are mixed, and which layers are solved when they are first read. */
#include "pleas.h"

#include "exclude.h"
#include "options.h"
#include "view.h"

#include <string.h>

enum { COUNT_MAX = 2048 };

#define CACHE_BYTES (UINT64_C(256) << 20)

/* What a computed tensor is. */
typedef struct pleas_tensor {
    fit_pleas *pleas;
    fit_mix mix; /* where `layer` is NULL */
    const pleas_layer *layer;
    emr_dtype dtype;
    bool is_bias;
} pleas_tensor;

/* The model's user. */
typedef struct merged {
    fit_pleas pleas;
    pleas_tensor *tensors;
    size_t n_tensors;
} merged;

static void destroy_layer(const fit_host *host, pleas_layer *l)
{
    if (l->weight.a)
        fit_mix_destroy(&l->weight);
    if (l->bias.a)
        fit_mix_destroy(&l->bias);
    fit_release(host, l->inputs);
    fit_release(host, l->outputs);
    fit_release(host, l->b_inputs);
}

static void destroy_pleas(void *user)
{
    merged *g = user;
    fit_pleas *p = &g->pleas;
    const fit_host host = p->host;
    for (size_t i = 0; g->tensors && i < g->n_tensors; i++)
        if (!g->tensors[i].layer)
            fit_mix_destroy(&g->tensors[i].mix);
    for (size_t i = 0; p->layers && i < p->n_layers; i++)
        destroy_layer(&host, &p->layers[i]);
    for (size_t i = 0; p->partials && i < p->spec->n_groups; i++)
        fit_partial_destroy(&p->partials[i], &host);
    fit_cache_clear(&p->cache);
    fit_release(&host, g->tensors);
    fit_release(&host, p->layers);
    fit_release(&host, p->partials);
    emr_model_destroy(&p->aligned);
    spec_release(p->spec);
    fit_release(&host, g);
}

static emr_status check_pleas(const emr_pleas_options *o, emr_error *error)
{
    if ((o->n_widths && !o->widths) || (o->n_exclude && !o->exclude))
        return emr_error_format(error, EMR_EINVAL,
                                "emr_pleas_options: arrays are required where their numbers are not 0");
    if (!(o->ridge >= 0 && o->ridge <= 1e100) || o->target > EMR_PLEAS_TARGET_SEPARATE)
        return emr_error_format(error, EMR_EINVAL,
                                "emr_pleas_options: ridge is at least 0, target one that there is");
    emr_status status = fit_check_float(o->dtype, "emr_pleas_options", error);
    return status ? status : fit_check_gram(o->gram, 2, "emr_pleas_options", error);
}

static const gram_site *find_filled_site(const emr_gram *gram, const char *name)
{
    uint32_t site;
    if (!gram || emr_gram_find_site(gram, name, &site, NULL) || !gram->sites[site]->n_rows)
        return NULL;
    return gram->sites[site];
}

static emr_status check_width(const emr_pleas_width *w, const emr_permutation_spec *spec, emr_error *error)
{
    if (!w->group)
        return emr_error_format(error, EMR_EINVAL, "emr_pleas_width: group is NULL");
    const spec_group *g = spec_find_group(spec, w->group, false);
    if (!g && !spec_find_group(spec, w->group, true))
        return emr_error_format(error, EMR_ENOTFOUND, "the permutation spec has no group '%s'", w->group);
    if (!g || g->n_blocks > 1)
        return emr_error_format(error, EMR_EUNSUPPORTED,
                                "group '%s': heads and units in blocks are merged whole", w->group);
    if (w->n_merged > g->n_units)
        return emr_error_format(error, EMR_EINVAL, "group '%s': %u pairs are more than its %u units", g->name,
                                w->n_merged, g->n_units);
    return EMR_OK;
}

/* How many pairs of each group are merged: all, or what was said last. */
static emr_status take_widths(const emr_pleas_options *o, const emr_permutation_spec *spec, size_t *n_merged,
                              emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; i < spec->n_groups; i++)
        n_merged[i] = (size_t)spec->groups[i].n_units;
    for (uint32_t i = 0; !status && i < o->n_widths; i++) {
        emr_pleas_width w;
        status = FIT_TAKE_ELEMENT(&w, o->widths, i, emr_pleas_width, n_merged, error);
        if (!status)
            status = check_width(&w, spec, error);
        if (!status)
            n_merged[spec_find_group(spec, w.group, false) - spec->groups] = (size_t)w.n_merged;
    }
    return status;
}

/* Minus the squared distance of each pair's activations, over the group's sites; NULL: the gram has none of them. */
static emr_status find_nearness(const fit_host *host, const emr_pleas_options *o, const spec_group *g,
                                double **nearness, emr_error *error)
{
    const uint32_t *units = o->permutation ? emr_permutation_units(o->permutation, g->name) : NULL;
    size_t n = (size_t)g->n_units;
    *nearness = NULL;
    for (size_t i = 0; i < g->n_sites; i++) {
        const gram_site *s = find_filled_site(o->gram, g->sites[i]);
        if (!s || s->widths[0] != n || s->widths[1] != n)
            continue;
        if (!*nearness && !(*nearness = fit_allocate(host, n, sizeof **nearness)))
            return fit_no_memory(error);
        for (size_t unit = 0; unit < n; unit++) {
            size_t other = n + (units ? units[unit] : unit);
            (*nearness)[unit] += 2 * *gram_element(s, unit, other) - *gram_element(s, unit, unit) -
                                 *gram_element(s, other, other);
        }
    }
    return EMR_OK;
}

static emr_status make_partials(fit_pleas *p, const emr_pleas_options *o, emr_error *error)
{
    size_t *n_merged = fit_allocate(&p->host, p->spec->n_groups, sizeof *n_merged);
    p->partials = fit_allocate(&p->host, p->spec->n_groups, sizeof *p->partials);
    emr_status status =
        p->partials && n_merged ? take_widths(o, p->spec, n_merged, error) : fit_no_memory(error);
    for (size_t i = 0; !status && i < p->spec->n_groups; i++) {
        const spec_group *g = &p->spec->groups[i];
        double *nearness = NULL;
        if (g->is_heads)
            continue;
        status = find_nearness(&p->host, o, g, &nearness, error);
        if (!status)
            status = fit_partial_create(&p->partials[i], &p->host, g, n_merged[i], nearness, error);
        fit_release(&p->host, nearness);
    }
    fit_release(&p->host, n_merged);
    return status;
}

/* B's tensor with its units in A's order, of A's tensor. */
static emr_status find_other(const fit_pleas *p, const emr_tensor *a, const emr_tensor **b, emr_error *error)
{
    *b = emr_model_find_tensor(p->aligned, emr_tensor_name(a));
    if (!*b)
        return emr_error_format(error, EMR_EMISMATCH, "%F: tensor '%T' is absent", emr_model_name(p->aligned),
                                emr_tensor_name(a));
    if (!emr_tensor_same_shape(a, *b) || !emr_dtype_is_float(emr_tensor_dtype(*b)))
        return emr_error_format(error, EMR_EMISMATCH,
                                "%F: tensor '%T' has another shape or dtype than in the first model",
                                emr_model_name(p->aligned), emr_tensor_name(a));
    return EMR_OK;
}

/* The new inputs of a layer, each with its numbers in A's and B's inputs as the gram has them. */
static emr_status fill_inputs(fit_pleas *p, pleas_layer *l, const emr_permutation *permutation,
                              const emr_model *b, emr_error *error)
{
    const uint32_t axis = l->is_transposed ? 0 : 1;
    const fit_mixed_axis *mixed = &l->weight.axes[axis];
    uint64_t rest = l->width / emr_tensor_shape(l->weight.a)[axis];
    fit_view view;
    l->inputs = fit_allocate(&p->host, l->n_inputs, sizeof *l->inputs);
    l->b_inputs = fit_allocate(&p->host, l->width, sizeof *l->b_inputs);
    if (!l->inputs || !l->b_inputs)
        return fit_no_memory(error);
    emr_status status = fit_view_create(&view, &p->host, permutation,
                                        emr_model_find_tensor(b, emr_tensor_name(l->weight.a)), NULL, error);
    if (status)
        return status;
    const uint32_t *index = view.index[axis];
    for (uint32_t k = 0; k < l->width; k++) /* where B's input k, in A's order, is in the gram */
        l->b_inputs[k] = index ? (uint32_t)(index[k / rest] * rest + k % rest) : k;
    for (size_t u = 0; u < l->n_inputs; u++) {
        fit_origin from = mix_origin(mixed, u / rest);
        l->inputs[u].a = from.a == FIT_NOWHERE ? FIT_NOWHERE : (uint32_t)(from.a * rest + u % rest);
        l->inputs[u].b = from.b == FIT_NOWHERE ? FIT_NOWHERE : l->b_inputs[from.b * rest + u % rest];
    }
    fit_view_destroy(&view);
    return EMR_OK;
}

static emr_status fill_outputs(fit_pleas *p, pleas_layer *l, emr_error *error)
{
    const fit_mixed_axis *mixed = &l->weight.axes[l->is_transposed ? 1 : 0];
    l->outputs = fit_allocate(&p->host, l->n_outputs, sizeof *l->outputs);
    for (size_t o = 0; l->outputs && o < l->n_outputs; o++)
        l->outputs[o] = mix_origin(mixed, o);
    return l->outputs ? EMR_OK : fit_no_memory(error);
}

/* Whether the site's inputs are the layer's; a gram of channels, say, cannot solve a convolution. */
static emr_status measure_pleas_layer(pleas_layer *l, emr_error *error)
{
    const emr_tensor *a = l->weight.a;
    uint32_t rank = emr_tensor_rank(a);
    if (rank < 2 || (l->is_transposed && rank != 2) || l->weight.n_axes > 2 || !emr_tensor_count(a))
        return emr_error_format(error, EMR_EUNSUPPORTED,
                                "tensor '%T' is no linear layer's weight that can be solved",
                                emr_tensor_name(a));
    l->width = (size_t)(emr_tensor_count(a) / emr_tensor_shape(a)[l->is_transposed ? 1 : 0]);
    l->n_outputs = (size_t)l->weight.axes[l->is_transposed ? 1 : 0].length;
    l->n_inputs = (size_t)(l->weight.count / l->n_outputs);
    if (l->site && (l->site->widths[0] != l->width || l->site->widths[1] != l->width))
        return emr_error_format(
            error, EMR_EMISMATCH, "tensor '%T' takes %u inputs, and site '%s' of the gram has %u and %u",
            emr_tensor_name(a), (uint64_t)l->width, l->site->name, l->site->widths[0], l->site->widths[1]);
    return EMR_OK;
}

static emr_status make_layer(fit_pleas *p, const spec_layer *from, const emr_pleas_options *o,
                             const emr_model *a, const emr_model *b, emr_error *error)
{
    pleas_layer *l = &p->layers[p->n_layers];
    const emr_tensor *weight = emr_model_find_tensor(a, from->weight), *other;
    const emr_tensor *bias = from->bias ? emr_model_find_tensor(a, from->bias) : NULL;
    l->site = find_filled_site(o->gram, from->site);
    l->is_transposed = from->input_axis == 0;
    if (!weight || !l->site)
        return EMR_OK; /* merged, and not solved */
    p->n_layers++;
    emr_status status = find_other(p, weight, &other, error);
    if (!status)
        status = fit_mix_create(&l->weight, &p->host, p->spec, p->partials, weight, other, error);
    if (!status && bias)
        status = find_other(p, bias, &other, error);
    if (!status && bias)
        status = fit_mix_create(&l->bias, &p->host, p->spec, p->partials, bias, other, error);
    if (!status)
        status = measure_pleas_layer(l, error);
    if (!status)
        status = fill_inputs(p, l, o->permutation, b, error);
    return status ? status : fill_outputs(p, l, error);
}

/* The layer whose weight or bias a tensor of A is. */
static const pleas_layer *find_layer(const fit_pleas *p, const char *name, bool *is_bias)
{
    for (size_t i = 0; i < p->n_layers; i++) {
        const pleas_layer *l = &p->layers[i];
        *is_bias = l->bias.a && strcmp(emr_tensor_name(l->bias.a), name) == 0;
        if (*is_bias || strcmp(emr_tensor_name(l->weight.a), name) == 0)
            return l;
    }
    return NULL;
}

static emr_status read_solved(const pleas_tensor *t, uint64_t first, size_t n, double *values,
                              emr_error *error)
{
    const pleas_layer *l = t->layer;
    const fit_solved_layer place = {(size_t)(l - t->pleas->layers), l->n_inputs, l->n_outputs, 0,
                                    l->is_transposed};
    return fit_cache_read(&t->pleas->cache, &place, t->is_bias, first, n, values, error);
}

static emr_status compute_pleas(const emr_computation *c, emr_error *error)
{
    const pleas_tensor *t = c->user;
    double values[COUNT_MAX];
    emr_status status = t->layer ? read_solved(t, c->first, c->count, values, error)
                                 : fit_mix_read(&t->mix, c->first, c->count, values, error);
    return status ? status : emr_convert(t->dtype, c->out, EMR_DTYPE_F64, values, c->count);
}

/* Solves with the threads of who is about to read. */
static emr_status prepare_pleas(void *user, const emr_tensor *tensor, const emr_resources *resources,
                                emr_error *error)
{
    fit_pleas *p = &((merged *)user)->pleas;
    bool is_bias;
    const pleas_layer *layer = find_layer(p, emr_tensor_name(tensor), &is_bias);
    return layer ? fit_cache_prepare(&p->cache, (size_t)(layer - p->layers), resources, error) : EMR_OK;
}

static emr_status add_pleas_tensor(merged *g, emr_model *model, const emr_tensor *a, emr_dtype dtype,
                                   emr_error *error)
{
    pleas_tensor *t = &g->tensors[g->n_tensors];
    const emr_tensor *b;
    uint64_t shape[EMR_RANK_MAX];
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    emr_status status = find_other(&g->pleas, a, &b, error);
    t->pleas = &g->pleas;
    t->dtype = dtype ? dtype : emr_tensor_dtype(a);
    t->layer = find_layer(&g->pleas, emr_tensor_name(a), &t->is_bias);
    if (!status && !t->layer)
        status = fit_mix_create(&t->mix, &g->pleas.host, g->pleas.spec, g->pleas.partials, a, b, error);
    if (status)
        return status;
    g->n_tensors++;
    const fit_mix *mix = !t->layer ? &t->mix : t->is_bias ? &t->layer->bias : &t->layer->weight;
    for (uint32_t axis = 0; axis < emr_tensor_rank(a); axis++)
        shape[axis] = axis < SPEC_RANK_MAX ? mix->axes[axis].length : emr_tensor_shape(a)[axis];
    desc.name = emr_tensor_name(a);
    desc.dtype = t->dtype;
    desc.rank = emr_tensor_rank(a);
    desc.shape = shape;
    desc.compute = compute_pleas;
    desc.user = t;
    desc.max_count = COUNT_MAX;
    return emr_model_add(model, &desc, error);
}

static emr_status add_pleas_tensors(merged *g, emr_model *model, const emr_model *a,
                                    const emr_pleas_options *o, emr_error *error)
{
    emr_status status = emr_model_copy_metadata(model, a, error);
    for (uint32_t i = 0; !status && i < emr_model_n_tensors(a); i++) {
        const emr_tensor *tensor = emr_model_tensor(a, i);
        if (fit_is_excluded(o->exclude, o->n_exclude, emr_tensor_name(tensor)))
            continue;
        status = emr_dtype_is_float(emr_tensor_dtype(tensor))
                     ? add_pleas_tensor(g, model, tensor, o->dtype, error)
                     : emr_model_add_tensor(model, tensor, error);
    }
    return status;
}

static emr_status align_other(fit_pleas *p, const emr_model *b, const emr_pleas_options *o, emr_error *error)
{
    emr_permutation *none = NULL;
    if (o->permutation && o->permutation->spec != p->spec)
        return emr_error_format(error, EMR_EINVAL, "emr_pleas_options: permutation is of another spec");
    emr_status status =
        o->permutation ? EMR_OK : emr_permutation_create(&none, p->spec, &p->host.allocator, error);
    if (!status)
        status = emr_permutation_open_model(o->permutation ? o->permutation : none, b, &p->aligned, error);
    emr_permutation_destroy(&none);
    return status;
}

static emr_status fill_pleas(merged *g, const emr_model *a, const emr_model *b, const emr_pleas_options *o,
                             emr_error *error)
{
    fit_pleas *p = &g->pleas;
    fit_cache_init(&p->cache, &p->host, CACHE_BYTES, fit_pleas_solve, p);
    p->target = o->target;
    p->ridge = o->ridge;
    g->tensors = fit_allocate(&p->host, emr_model_n_tensors(a), sizeof *g->tensors);
    p->layers = fit_allocate(&p->host, p->spec->n_layers, sizeof *p->layers);
    emr_status status =
        g->tensors && p->layers ? emr_permutation_spec_check(p->spec, a, error) : fit_no_memory(error);
    if (!status)
        status = align_other(p, b, o, error);
    if (!status)
        status = make_partials(p, o, error);
    for (size_t i = 0; !status && i < p->spec->n_layers; i++)
        status = make_layer(p, &p->spec->layers[i], o, a, b, error);
    return status;
}

emr_status emr_pleas_open_model(const emr_permutation_spec *spec, const emr_model *a, const emr_model *b,
                                const emr_pleas_options *options, emr_model **model, emr_error *error)
{
    emr_pleas_options o;
    fit_host host;
    if (model)
        *model = NULL;
    if (!spec || !a || !b || !model)
        return emr_error_format(error, EMR_EINVAL, "emr_pleas_open_model: NULL");
    emr_status status = FIT_TAKE(&o, options, emr_pleas_options, dtype, error);
    if (!status)
        status = check_pleas(&o, error);
    if (!status)
        status = fit_check_exclude(o.exclude, o.n_exclude, a, error);
    if (!status)
        status = fit_host_take(&host, o.resources, error);
    if (status)
        return status;
    merged *g = fit_allocate(&host, 1, sizeof *g);
    if (!g)
        return fit_no_memory(error);
    g->pleas.host = host;
    g->pleas.spec = spec_share(spec);
    emr_model_options made = EMR_INIT(emr_model_options);
    made.allocator = &host.allocator;
    made.name = "PLeaS";
    made.user = g;
    made.destroy = destroy_pleas;
    made.prepare = prepare_pleas;
    status = fill_pleas(g, a, b, &o, error);
    if (!status)
        status = emr_model_create(model, &made, error);
    if (status) {
        destroy_pleas(g);
        return status;
    }
    status = add_pleas_tensors(g, *model, a, &o, error);
    if (status)
        emr_model_destroy(model);
    return status;
}
