/* demo.c - two networks that were trained from different initialisations, on different images, become one: by averaging, which ruins
 * them, and by what a few unlabelled samples allow.
 *
 *     fit FOLDER HELDOUT
 *
 * FOLDER holds models/ and samples.safetensors, HELDOUT is heldout.safetensors of examples/digits. */
#include <emr/fit/match.h>
#include <emr/fit/pleas.h>
#include <emr/fit/regmean.h>
#include <emr/fit/zip.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

enum { N_TASKS = 2, PATH_SIZE = 4096 };

/* Two networks, and the task of each. */
typedef struct networks {
    const char *title;
    const char *names[N_TASKS], *tasks[N_TASKS];
} networks;
static const networks pairs[] = {
    {"The same task, another initialisation", {"digit", "again"}, {"digit", "digit"}},
    {"Another task, another initialisation", {"digit", "inverted"}, {"digit", "inverted"}},
};

/* Everything that the demo holds, released in one place. */
typedef struct demo {
    const networks *of;
    emr_model *models[N_TASKS], *unlabelled, *heldout;
    network networks[N_TASKS];
    samples seen[N_TASKS], held[N_TASKS];
    emr_permutation_spec *spec;
    emr_gram *own[N_TASKS]; /* each network on its own samples, for RegMean */
    emr_gram *joint;        /* both on the samples of both, for matching and PLeaS */
} demo;

/* What a way of merging reached. */
typedef struct row {
    double accuracy[N_TASKS];
    uint64_t parameters;
} row;

/* --- Second moments of the layers' inputs ----------------------------------------------------------------- */

static emr_status create_gram(emr_gram **gram, uint32_t n_models, const network *net, emr_error *error)
{
    emr_gram_options options = EMR_INIT(emr_gram_options);
    options.n_models = n_models;
    emr_status status = emr_gram_create(gram, &options, error);
    for (int layer = 0; !status && layer < N_LAYERS; layer++) {
        const uint64_t widths[2] = {net->widths[layer], net->widths[layer]};
        char site[16];
        uint32_t number;
        snprintf(site, sizeof site, "fc%d", layer);
        status = emr_gram_add_site(*gram, site, widths, &number, error);
    }
    return status;
}

/* Sites are numbered as layers are. */
static emr_status feed_samples(emr_gram *gram, const network *const *nets, uint32_t n, const samples *set,
                               emr_error *error)
{
    activations out[N_TASKS];
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < set->n; i++) {
        for (uint32_t m = 0; m < n; m++)
            network_run(nets[m], set->pixels[i], &out[m]);
        for (uint32_t layer = 0; !status && layer < N_LAYERS; layer++) {
            emr_activations inputs[N_TASKS];
            for (uint32_t m = 0; m < n; m++)
                inputs[m] = (emr_activations){sizeof *inputs, out[m].of[layer], 0, EMR_DTYPE_F32, 0};
            status = emr_gram_feed(gram, layer, inputs, 1, NULL, error);
        }
    }
    return status;
}

static emr_status measure(demo *d, emr_error *error)
{
    const network *both[N_TASKS] = {&d->networks[0], &d->networks[1]};
    emr_status status = create_gram(&d->joint, 2, both[0], error);
    for (int t = 0; !status && t < N_TASKS; t++) {
        const network *one[1] = {both[t]};
        status = create_gram(&d->own[t], 1, both[t], error);
        if (!status)
            status = feed_samples(d->own[t], one, 1, &d->seen[t], error);
        if (!status)
            status = feed_samples(d->joint, both, 2, &d->seen[t], error);
    }
    return status;
}

/* --- Ways of merging --------------------------------------------------------------------------------------- */

/* Takes the model. */
static emr_status judge(const demo *d, emr_model *model, row *r, emr_error *error)
{
    network net;
    emr_status status = network_read(&net, model, error);
    r->parameters = 0;
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++)
        r->parameters += emr_tensor_count(emr_model_tensor(model, i));
    for (int t = 0; !status && t < N_TASKS; t++)
        r->accuracy[t] = network_accuracy(&net, &d->held[t]);
    if (!status)
        network_free(&net);
    emr_model_destroy(&model);
    return status;
}

/* The mean of the first network and another model. */
static emr_status average(const demo *d, const emr_model *other, row *r, emr_error *error)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    emr_model *merged;
    options.method = emr_method_find("linear");
    emr_status status = emr_combination_create(&c, &options, error);
    if (!status)
        status = emr_combination_add_task(c, d->of->names[0], d->models[0], error);
    if (!status)
        status = emr_combination_add_task(c, d->of->names[1], other, error);
    if (!status)
        status = emr_combination_set_parameter(c, "weight", EMR_EVERY_TASK, NULL, 1, error);
    if (!status)
        status = emr_combination_open_model(c, &merged, error);
    emr_combination_destroy(&c);
    return status ? status : judge(d, merged, r, error);
}

static emr_status regmean(const demo *d, row *r, emr_error *error)
{
    emr_fit_layer layers[N_LAYERS];
    emr_regmean_options options = EMR_INIT(emr_regmean_options);
    emr_model *merged;
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        layers[i] = EMR_INIT(emr_fit_layer);
        (void)emr_permutation_spec_get_layer(d->spec, i, &layers[i]);
    }
    options.models = (const emr_model *const *)d->models;
    options.grams = (const emr_gram *const *)d->own;
    options.n_models = N_TASKS;
    options.layers = layers;
    options.n_layers = N_LAYERS;
    emr_status status = emr_regmean_open_model(&options, &merged, error);
    return status ? status : judge(d, merged, r, error);
}

static emr_status match(const demo *d, emr_match_space space, emr_permutation **permutation, emr_error *error)
{
    emr_match_options options = EMR_INIT(emr_match_options);
    options.space = space;
    options.gram = d->joint;
    return emr_match(d->spec, d->models[0], d->models[1], &options, permutation, NULL, error);
}

static emr_status match_and_average(const demo *d, emr_match_space space, row *r, emr_error *error)
{
    emr_permutation *permutation;
    emr_model *aligned = NULL;
    emr_status status = match(d, space, &permutation, error);
    if (!status)
        status = emr_permutation_open_model(permutation, d->models[1], &aligned, error);
    if (!status)
        status = average(d, aligned, r, error);
    emr_model_destroy(&aligned);
    emr_permutation_destroy(&permutation);
    return status;
}

static emr_status zip(const demo *d, row *r, emr_error *error)
{
    emr_zip_options options = EMR_INIT(emr_zip_options);
    emr_model *merged;
    options.models = (const emr_model *const *)d->models;
    options.n_models = N_TASKS;
    options.gram = d->joint;
    emr_status status = emr_zip_open_model(d->spec, &options, &merged, NULL, error);
    return status ? status : judge(d, merged, r, error);
}

/* The hidden groups with `share` of their pairs merged. */
static emr_status open_pleas(const demo *d, double share, emr_model **merged, emr_error *error)
{
    emr_pleas_width widths[N_LAYERS];
    emr_pleas_options options = EMR_INIT(emr_pleas_options);
    emr_permutation *permutation;
    emr_status status = match(d, EMR_MATCH_SPACE_ACTIVATIONS, &permutation, error);
    for (uint32_t i = 0; !status && i < emr_permutation_spec_n_groups(d->spec); i++) {
        emr_unit_group group = EMR_INIT(emr_unit_group);
        status = emr_permutation_spec_get_group(d->spec, i, &group);
        widths[options.n_widths++] =
            (emr_pleas_width){sizeof *widths, group.name, (uint64_t)((double)group.n_units * share)};
    }
    options.permutation = permutation;
    options.gram = d->joint;
    options.widths = widths;
    if (!status)
        status = emr_pleas_open_model(d->spec, d->models[0], d->models[1], &options, merged, error);
    emr_permutation_destroy(&permutation);
    return status;
}

static emr_status pleas(const demo *d, double share, row *r, emr_error *error)
{
    emr_model *merged;
    emr_status status = open_pleas(d, share, &merged, error);
    return status ? status : judge(d, merged, r, error);
}

/* --- What is compared with --------------------------------------------------------------------------------- */

static void judge_individuals(const demo *d, row *r)
{
    for (int t = 0; t < N_TASKS; t++)
        r->accuracy[t] = network_accuracy(&d->networks[t], &d->held[t]);
}

/* The mean of both networks' logits. */
static void judge_ensemble(const demo *d, row *r)
{
    for (int t = 0; t < N_TASKS; t++) {
        size_t right = 0;
        for (size_t i = 0; i < d->held[t].n; i++) {
            activations out[N_TASKS];
            for (int m = 0; m < N_TASKS; m++)
                network_run(&d->networks[m], d->held[t].pixels[i], &out[m]);
            for (size_t k = 0; k < N_LOGITS; k++)
                out[0].of[N_LAYERS][k] += out[1].of[N_LAYERS][k];
            right += largest_logit(out[0].of[N_LAYERS]) == d->held[t].labels[i];
        }
        r->accuracy[t] = 100.0 * (double)right / (double)d->held[t].n;
    }
}

/* --- The whole ---------------------------------------------------------------------------------------------- */

static emr_status open_all(demo *d, const char *folder, const char *heldout, emr_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/samples.safetensors", folder);
    emr_status status = emr_checkpoint_open(&d->unlabelled, path, NULL, error);
    if (!status)
        status = emr_checkpoint_open(&d->heldout, heldout, NULL, error);
    for (int t = 0; !status && t < N_TASKS; t++) {
        snprintf(path, sizeof path, "%s/models/%s.safetensors", folder, d->of->names[t]);
        status = emr_checkpoint_open(&d->models[t], path, NULL, error);
        if (!status)
            status = network_read(&d->networks[t], d->models[t], error);
        if (!status)
            status = samples_read(&d->seen[t], d->unlabelled, d->of->tasks[t], error);
        if (!status)
            status = samples_read(&d->held[t], d->heldout, d->of->tasks[t], error);
    }
    if (!status)
        status = emr_permutation_spec_derive(&d->spec, d->models[0], NULL, NULL, error);
    return status;
}

static void close_all(demo *d)
{
    emr_gram_destroy(&d->joint);
    emr_permutation_spec_destroy(&d->spec);
    for (int t = 0; t < N_TASKS; t++) {
        emr_gram_destroy(&d->own[t]);
        network_free(&d->networks[t]);
        emr_model_destroy(&d->models[t]);
    }
    emr_model_destroy(&d->unlabelled);
    emr_model_destroy(&d->heldout);
}

enum {
    EACH,
    ENSEMBLE,
    AVERAGE,
    REGMEAN,
    BY_WEIGHTS,
    BY_ACTIVATIONS,
    ALIGNED,
    ZIPPED,
    NARROW,
    MIDDLE,
    WIDE,
    TWICE,
    N_ROWS
};
static const char *const titles[N_ROWS] = {"each on its own task",
                                           "ensemble: the mean of logits",
                                           "average",
                                           "RegMean",
                                           "matched by weights",
                                           "matched by activations",
                                           "MuDSC, aligned",
                                           "MuDSC, zipped",
                                           "PLeaS, all pairs merged",
                                           "PLeaS, 3 of 4",
                                           "PLeaS, 1 of 2",
                                           "PLeaS, none: both side by side"};

static double mean_of(const row *r)
{
    return (r->accuracy[0] + r->accuracy[1]) / 2;
}

static void print_rows(const networks *of, const row *rows)
{
    printf("%s: accuracy on held-out samples, %%\n\n%-32s %8s %8s %8s %12s\n", of->title, "", of->names[0],
           of->names[1], "mean", "parameters");
    for (int i = 0; i < N_ROWS; i++)
        printf("%-32s %8.2f %8.2f %8.2f %12llu\n", titles[i], rows[i].accuracy[0], rows[i].accuracy[1],
               mean_of(&rows[i]), (unsigned long long)rows[i].parameters);
}

/* What must hold however the networks were trained; of networks of one task, more. */
static int check_rows(const networks *of, const row *rows)
{
    int failed = 0, is_one_task = strcmp(of->tasks[0], of->tasks[1]) == 0;
    if (is_one_task && mean_of(&rows[BY_ACTIVATIONS]) <= mean_of(&rows[AVERAGE])) {
        printf("matching by activations is no better than averaging\n");
        failed = 1;
    }
    if (fabs(mean_of(&rows[TWICE]) - mean_of(&rows[ENSEMBLE])) > 0.25) {
        printf("two networks side by side are not their ensemble\n");
        failed = 1;
    }
    if (is_one_task && mean_of(&rows[NARROW]) <= mean_of(&rows[BY_ACTIVATIONS])) {
        printf("least squares make nothing better\n");
        failed = 1;
    }
    return failed;
}

static emr_status merge_all(demo *d, row *rows, emr_error *error)
{
    static const emr_match_space spaces[] = {EMR_MATCH_SPACE_WEIGHTS, EMR_MATCH_SPACE_ACTIVATIONS,
                                             EMR_MATCH_SPACE_BOTH};
    static const double shares[] = {1, 0.75, 0.5, 0};
    judge_individuals(d, &rows[EACH]);
    judge_ensemble(d, &rows[ENSEMBLE]);
    emr_status status = average(d, d->models[1], &rows[AVERAGE], error);
    rows[EACH].parameters = rows[ENSEMBLE].parameters = 2 * rows[AVERAGE].parameters;
    if (!status)
        status = regmean(d, &rows[REGMEAN], error);
    for (int i = 0; !status && i < 3; i++)
        status = match_and_average(d, spaces[i], &rows[BY_WEIGHTS + i], error);
    if (!status)
        status = zip(d, &rows[ZIPPED], error);
    for (int i = 0; !status && i < 4; i++)
        status = pleas(d, shares[i], &rows[NARROW + i], error);
    return status;
}

static int run_pair(const networks *of, const char *folder, const char *heldout)
{
    static demo d;
    row rows[N_ROWS] = {0};
    emr_error error = {.text = ""};
    d.of = of;
    emr_status status = open_all(&d, folder, heldout, &error);
    if (!status)
        status = measure(&d, &error);
    if (!status)
        status = merge_all(&d, rows, &error);
    close_all(&d);
    if (status) {
        fprintf(stderr, "fit: %s\n", error.text);
        return 1;
    }
    print_rows(of, rows);
    return check_rows(of, rows);
}

int main(int argc, char **argv)
{
    int failed = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: fit FOLDER HELDOUT\n");
        return 2;
    }
    for (size_t i = 0; !failed && i < sizeof pairs / sizeof *pairs; i++) {
        printf("%s", i ? "\n" : "");
        failed = run_pair(&pairs[i], argv[1], argv[2]);
    }
    return failed;
}
