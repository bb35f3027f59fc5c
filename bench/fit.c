/* fit.c - libemr-fit: sums of activations, assignments, matching by weights, and solving of a layer. */
#include "grams.h"
#include "measure.h"
#include "merging.h"
#include "rows.h"
#include "synthetic.h"

#include <emr/fit/match.h>
#include <emr/fit/regmean.h>

#include <stdio.h>
#include <string.h>

/* A matrix of similarities, and what emr_assign is asked. */
typedef struct assigning {
    size_t n;
    double *similarity;
    uint32_t *columns;
} assigning;

static double at_random(size_t i, size_t j)
{
    return (double)(mix64(i << 32 | j) >> 11) * 0x1p-53;
}

/* Known to be hard: every row wants the same columns. */
static double product(size_t i, size_t j)
{
    return -((double)i + 1) * ((double)j + 1);
}

static double four_levels(size_t i, size_t j)
{
    return (double)(mix64(i << 32 | j) % 4);
}

/* Blocks of equal rows, each of which has equal columns: nothing but ties. */
static double tied_blocks(size_t i, size_t j)
{
    return (double)((i / 64 * 7 + j / 64 * 13) % 31);
}

static void assign(void *arg)
{
    const assigning *a = arg;
    emr_error error;
    check(emr_assign(a->similarity, a->n, a->columns, NULL, &error), &error);
}

/* By processor time: one thread does all of it. */
static void measure_assignments(const settings *s)
{
    static const struct {
        const char *name;
        double (*value)(size_t i, size_t j);
    } kinds[] = {{"at random", at_random},
                 {"products of row and column", product},
                 {"four levels", four_levels},
                 {"ties in blocks", tied_blocks}};
    assigning a = {.n = (size_t)size_of_run(s, 4096, 128)};
    a.similarity = allocate_large(a.n * a.n * sizeof *a.similarity);
    a.columns = allocate_large(a.n * sizeof *a.columns);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        double seconds[RUNS_MAX];
        for (size_t i = 0; i < a.n * a.n; i++)
            a.similarity[i] = kinds[k].value(i / a.n, i % a.n);
        for (unsigned i = 0; i < s->runs; i++) {
            double start = processor_time();
            assign(&a);
            seconds[i] = processor_time() - start;
        }
        row(median(seconds, s->runs), "s", at_most(2), "fit: assignment of %zu units, %s", a.n,
            kinds[k].name);
    }
    release_large(a.similarity, a.n * a.n * sizeof *a.similarity);
    release_large(a.columns, a.n * sizeof *a.columns);
}

/* The perceptron of one layer of a Llama, in two models. */
typedef struct perceptrons {
    uint64_t width, units;
    void *weights[2]; /* gate, up, down */
    emr_model *models[2];
} perceptrons;

enum { MATRICES = 3 };

static void make_perceptron(perceptrons *p, int i)
{
    static const char *const names[MATRICES] = {"gate", "up", "down"};
    size_t n = (size_t)(p->width * p->units);
    uint16_t *weights = allocate_large(MATRICES * n * sizeof *weights);
    random_values(EMR_DTYPE_BF16, weights, MATRICES * n, (uint64_t)i + 1);
    p->weights[i] = weights;
    p->models[i] = create_model();
    for (size_t k = 0; k < MATRICES; k++)
        add_matrix(p->models[i], names[k], EMR_DTYPE_BF16, k < 2 ? p->units : p->width,
                   k < 2 ? p->width : p->units, weights + k * n);
}

static emr_permutation_spec *perceptron_spec(const perceptrons *p)
{
    char json[512];
    emr_permutation_spec *spec;
    emr_error error;
    int n = snprintf(
        json, sizeof json,
        "{\"format\": \"emr-permutation-spec\", \"version\": 1, \"layers\": [], \"groups\": [{\"name\": "
        "\"mlp\", \"size\": %u, \"sites\": [], \"axes\": [{\"tensor\": \"gate\", \"axis\": 0}, "
        "{\"tensor\": \"up\", \"axis\": 0}, {\"tensor\": \"down\", \"axis\": 1, \"input\": true}]}]}",
        (unsigned)p->units);
    check(emr_permutation_spec_parse(&spec, json, (size_t)n, NULL, &error), &error);
    return spec;
}

/* Once: it takes long enough. */
static void measure_matching(const settings *s)
{
    perceptrons p = {.width = size_of_run(s, 4096, 64), .units = size_of_run(s, 11008, 176)};
    team t = team_create(s->threads);
    emr_match_options options = EMR_INIT(emr_match_options);
    emr_permutation *permutation;
    emr_error error;
    options.resources = &t.resources;
    make_perceptron(&p, 0);
    make_perceptron(&p, 1);
    emr_permutation_spec *spec = perceptron_spec(&p);
    double start = now(), processor = processor_time();
    check(emr_match(spec, p.models[0], p.models[1], &options, &permutation, NULL, &error), &error);
    row(now() - start, "s", no_bar(), "fit: matching %u units of %u weights, 3 BF16 matrices, %s",
        (unsigned)p.units, (unsigned)p.width, threads_of(s->threads).text);
    row(processor_time() - processor, "s", no_bar(), "fit: matching %u units of %u weights, processor time",
        (unsigned)p.units, (unsigned)p.width);
    emr_permutation_destroy(&permutation);
    emr_permutation_spec_destroy(&spec);
    destroy_models(p.models, 2);
    for (int i = 0; i < 2; i++)
        release_large(p.weights[i], (size_t)(MATRICES * p.width * p.units) * sizeof(uint16_t));
    team_destroy(&t);
}

/* RegMean of one layer of two models: read, it is solved. */
typedef struct solving {
    emr_regmean_options options;
    float *out;
    size_t n;
} solving;

static void solve(void *arg)
{
    const solving *v = arg;
    emr_model *merged;
    emr_error error;
    check(emr_regmean_open_model(&v->options, &merged, &error), &error);
    check(emr_tensor_read(emr_model_find_tensor(merged, "w"), 0, v->out, v->n * sizeof(float), &error),
          &error);
    emr_model_destroy(&merged);
}

static void measure_solving(const settings *s)
{
    const uint64_t inputs = size_of_run(s, 3072, 96), outputs = size_of_run(s, 768, 48);
    const emr_fit_layer layer = {.size = sizeof layer, .weight = "w", .site = "site", .input_axis = 1};
    team t = team_create(s->threads);
    solving v = {.options = EMR_INIT(emr_regmean_options), .n = (size_t)(inputs * outputs)};
    emr_model *models[2];
    emr_gram *grams[2];
    float *weights = allocate_large(3 * v.n * sizeof *weights);
    double seconds[RUNS_MAX], processor[RUNS_MAX];
    random_values(EMR_DTYPE_F32, weights, 2 * v.n, 1);
    v.out = weights + 2 * v.n;
    for (size_t i = 0; i < 2; i++) {
        models[i] = create_model();
        add_matrix(models[i], "w", EMR_DTYPE_F32, outputs, inputs, weights + i * v.n);
        grams[i] = make_gram(&t.resources, inputs, (size_t)inputs + 64, i + 1);
    }
    v.options.resources = &t.resources;
    v.options.models = (const emr_model *const *)models;
    v.options.grams = (const emr_gram *const *)grams;
    v.options.layers = &layer;
    v.options.n_models = 2;
    v.options.n_layers = 1;
    for (unsigned i = 0; i < s->runs; i++) {
        double start = now(), processor_start = processor_time();
        solve(&v);
        seconds[i] = now() - start;
        processor[i] = processor_time() - processor_start;
    }
    row(median(seconds, s->runs), "s", no_bar(), "fit: RegMean of a layer of %u inputs and %u outputs, %s",
        (unsigned)inputs, (unsigned)outputs, threads_of(s->threads).text);
    row(median(processor, s->runs), "s", no_bar(),
        "fit: RegMean of a layer of %u inputs and %u outputs, processor time", (unsigned)inputs,
        (unsigned)outputs);
    destroy_models(models, 2);
    emr_gram_destroy(&grams[0]);
    emr_gram_destroy(&grams[1]);
    release_large(weights, 3 * v.n * sizeof *weights);
    team_destroy(&t);
}

void bench_fit(const settings *s)
{
    bench_grams(s);
    measure_assignments(s);
    measure_matching(s);
    measure_solving(s);
}
