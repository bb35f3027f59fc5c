/* ensembles.c - see ensembles.h. */
#include "ensembles.h"

#include <stdio.h>

const char *const part_names[PARTS] = {"x.down.weight", "x.up.weight",   "l.down.weight", "l.up.weight",
                                       "x.norm.weight", "l.norm.weight", "x.norm.bias"};

size_t part_rows(const network *n, int part)
{
    const size_t rows[] = {n->x_hidden, n->shared, n->key_hidden, n->shared, 0, 0, 0, 0};
    return rows[part];
}

size_t part_columns(const network *n, int part)
{
    const size_t columns[] = {n->x_width, n->x_hidden, n->key_width, n->key_hidden,
                              n->shared,  n->shared,   n->shared,    n->shared};
    return columns[part];
}

size_t part_size(const network *n, int part)
{
    return (part_rows(n, part) ? part_rows(n, part) : 1) * part_columns(n, part);
}

network make_network(network n, uint64_t seed)
{
    rng r = {seed};
    for (int part = 0; part <= PARTS; part++) {
        n.parts[part] = calloc(part_size(&n, part), sizeof(double));
        for (size_t i = 0; i < part_size(&n, part); i++)
            n.parts[part][i] = (part == X_SCALE || part == L_SCALE) + 0.7 * (double)rng_normal(&r);
    }
    return n;
}

void free_network(network *n)
{
    for (int part = 0; part <= PARTS; part++)
        free(n->parts[part]);
}

network small_network(bool has_norm, bool is_relu, bool mixes_probabilities, uint64_t seed)
{
    return make_network((network){5, 4, 3, 6, 7, has_norm, is_relu, mixes_probabilities, 1.7, {NULL}}, seed);
}

/* As a file would have it. Destroy it. */
emr_model *save_network(const network *n)
{
    emr_model *model = test_model_new("network");
    emr_error error;
    char temperature[40];
    for (int part = 0; part < (n->has_norm ? PARTS : X_SCALE); part++) {
        const uint64_t shape[2] = {part_rows(n, part), part_columns(n, part)};
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        desc.name = part_names[part];
        desc.dtype = EMR_DTYPE_F64;
        desc.rank = shape[0] ? 2 : 1;
        desc.shape = shape[0] ? shape : shape + 1;
        desc.data = n->parts[part];
        assert_ok(emr_model_add(model, &desc, &error), &error);
    }
    snprintf(temperature, sizeof temperature, "%.17g", n->temperature);
    assert_ok(emr_model_set_metadata(model, "emr.kind", "ensemble", &error), &error);
    assert_ok(emr_model_set_metadata(model, "emr.temperature", temperature, &error), &error);
    assert_ok(emr_model_set_metadata(model, "emr.activation", n->is_relu ? "relu" : "silu", &error), &error);
    assert_ok(
        emr_model_set_metadata(model, "emr.mix", n->mixes_probabilities ? "probabilities" : "logits", &error),
        &error);
    return model;
}

emr_ensemble *open_network(const network *n, const emr_ensemble_options *options)
{
    emr_model *model = save_network(n);
    emr_ensemble *ensemble;
    emr_error error;
    assert_ok(emr_ensemble_open(&ensemble, model, options, &error), &error);
    emr_model_destroy(&model);
    return ensemble;
}

/* Where the library has a part among its parameters. */
size_t part_begin(const emr_ensemble *e, int part)
{
    const size_t begins[PARTS] = {e->sides[0].matrices[0].begin,
                                  e->sides[0].matrices[1].begin,
                                  e->sides[1].matrices[0].begin,
                                  e->sides[1].matrices[1].begin,
                                  e->sides[0].scale,
                                  e->sides[1].scale,
                                  e->sides[0].shift};
    return begins[part];
}

samples make_samples(size_t n, size_t n_sources, size_t n_columns, size_t x_width, size_t key_width,
                     uint64_t seed)
{
    rng r = {seed};
    samples s = {.batch = EMR_INIT(emr_ensemble_batch)};
    s.x = calloc(n * x_width, sizeof *s.x);
    s.values = calloc(n * n_sources * n_columns, sizeof *s.values);
    s.keys = key_width ? calloc(n * n_sources * key_width, sizeof *s.keys) : NULL;
    s.labels = calloc(n, sizeof *s.labels);
    for (size_t i = 0; i < n * x_width; i++)
        s.x[i] = rng_normal(&r);
    for (size_t i = 0; i < n * n_sources * n_columns; i++)
        s.values[i] = 2 * rng_normal(&r);
    for (size_t i = 0; i < n * n_sources * key_width; i++)
        s.keys[i] = 2 * rng_normal(&r);
    for (size_t i = 0; i < n; i++)
        s.labels[i] = (uint32_t)rng_below(&r, n_columns == 1 ? 2 : n_columns);
    s.batch.x = s.x;
    s.batch.keys = s.keys;
    s.batch.values = s.values;
    s.batch.labels = s.labels;
    s.batch.n = n;
    s.batch.n_sources = n_sources;
    s.batch.n_columns = n_columns;
    return s;
}

void free_samples(samples *s)
{
    free(s->x);
    free(s->keys);
    free(s->values);
    free(s->labels);
}

/* The library's gradient by all parameters, and its loss. Free it. */
double *find_gradient(const emr_ensemble *e, const emr_ensemble_batch *b, double *loss)
{
    ensemble_samples taken;
    ensemble_pass pass;
    emr_error error;
    double *gradient = calloc(e->n_parameters, sizeof *gradient);
    assert_ok(fit_ensemble_take(&taken, e, b, true, &error), &error);
    assert_ok(fit_ensemble_pass_create(&pass, e, &taken, true, &error), &error);
    assert_ok(fit_ensemble_find_gradient(&pass, &taken, loss, &error), &error);
    memcpy(gradient, pass.gradient, e->n_parameters * sizeof *gradient);
    fit_ensemble_pass_destroy(&pass);
    return gradient;
}

emr_ensemble *create_ensemble(uint32_t x_width, uint32_t key_width, const emr_resources *resources,
                              const emr_adam *adam)
{
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    emr_ensemble *e;
    emr_error error;
    options.resources = resources;
    options.adam = adam;
    options.x_width = x_width;
    options.key_width = key_width;
    options.x_hidden = options.key_hidden = 8;
    options.shared_width = 8;
    options.use_norm = 1;
    options.seed = 12;
    assert_ok(emr_ensemble_create(&e, &options, &error), &error);
    return e;
}

bool have_same_parameters(const emr_ensemble *a, const emr_ensemble *b)
{
    return memcmp(a->parameters, b->parameters, 3 * a->n_parameters * sizeof(double)) == 0 &&
           memcmp(&a->time, &b->time, sizeof a->time) == 0;
}
