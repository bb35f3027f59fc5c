/* heads.c - five networks whose heads have different labels become one that answers all five questions.
 *
 *     heads FOLDER HELDOUT [OUT]
 *
 * FOLDER holds models/, HELDOUT is heldout.safetensors of examples/digits. The network that the first method makes is
 * written to OUT, if that is given. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

enum { PATH_SIZE = 4096, N_DENSITIES = 5 };

/* A way of making one network of all. */
typedef struct recipe {
    const char *title, *method;
    double weight, density; /* 0: not set, or unknown to the method */
    uint32_t needs_base, combine_heads;
    uint32_t normalizes; /* the mean of those that agree, as TIES, where the method by itself adds them up */
} recipe;

enum { AVERAGE, ARITHMETIC, TIES, DARE_TIES, PADDED_AVERAGE, FEW, PADDED_FEW, N_RECIPES };
static const recipe recipes[N_RECIPES] = {
    [AVERAGE] = {"average", "linear", 1, 0, 0, 0, 0},
    [ARITHMETIC] = {"arithmetic", "task_arithmetic", 0.3, 0, 1, 0, 0},
    [TIES] = {"ties", "ties", 1, 0.5, 1, 0, 0},
    [DARE_TIES] = {"dare_ties", "dare_ties", 1, 0.8, 1, 0, 1},
    [PADDED_AVERAGE] = {"average", "linear", 1, 0, 0, 1, 0},
    [FEW] = {"ties", "ties", 1, 0.2, 1, 0, 0},
    [PADDED_FEW] = {"ties", "ties", 1, 0.2, 1, 1, 0},
};
enum { N_OWN_ROWS = DARE_TIES + 1 }; /* heads as they are; the others go through the method */

static const double densities[N_DENSITIES] = {1, 0.7, 0.5, 0.3, 0.1};

/* Everything that the demo holds, released in one place. */
typedef struct demo {
    emr_model *base, *tasks[N_TASKS], *heldout;
    emr_heads *heads;
    emr_head_group groups[N_TASKS];
    samples samples;
    answers individual[N_TASKS], joined[N_RECIPES][N_TASKS], rebuilt[N_TASKS];
    answers self_merged[N_DENSITIES][N_TASKS];
} demo;

static const char *const head_globs[] = {"head.*"};
static const size_t all_tasks[N_TASKS] = {0, 1, 2, 3, 4};

/* --- One network of all --------------------------------------------------------------------------------- */

static emr_status set_parameters(emr_combination *c, double weight, double density, emr_error *error)
{
    emr_status status = EMR_OK;
    if (weight > 0)
        status = emr_combination_set_parameter(c, "weight", EMR_EVERY_TASK, NULL, weight, error);
    if (!status && density > 0)
        status = emr_combination_set_parameter(c, "density", EMR_EVERY_TASK, NULL, density, error);
    return status;
}

/* The joined model: heads are found and put side by side on the way. */
static emr_status join_tasks(const demo *d, const recipe *r, emr_model **joined, emr_error *error)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c = NULL;
    options.method = emr_method_find(r->method);
    options.head_globs = head_globs;
    options.n_head_globs = 1;
    options.combine_heads = r->combine_heads;
    emr_status status = emr_combination_create(&c, &options, error);
    if (!status && r->needs_base)
        status = emr_combination_set_base(c, d->base, error);
    for (size_t t = 0; !status && t < N_TASKS; t++)
        status = emr_combination_add_task(c, task_names[t], d->tasks[t], error);
    if (!status)
        status = set_parameters(c, r->weight, r->density, error);
    if (!status && r->normalizes)
        status = emr_combination_set_parameter(c, "normalize", EMR_EVERY_TASK, NULL, 1, error);
    if (!status)
        status = emr_combination_open_model(c, joined, error);
    emr_combination_destroy(&c);
    return status;
}

/* Of the same bytes as in its own checkpoint. */
static emr_status check_rows(const demo *d, const network *net, emr_error *error)
{
    static network own;
    for (size_t t = 0; t < N_TASKS; t++) {
        const emr_head_group *g = &d->groups[t];
        emr_status status = network_read(&own, d->tasks[t], error);
        if (status)
            return status;
        if (memcmp(net->head[g->first], own.head, g->count * sizeof own.head[0]) != 0 ||
            memcmp(net->head_bias + g->first, own.head_bias, g->count * sizeof(float)) != 0)
            return emr_error_set(error, EMR_EMISMATCH, 0, task_names[t], "has other rows in the joined head");
    }
    return EMR_OK;
}

static emr_status measure_recipe(demo *d, size_t i, const char *out, emr_error *error)
{
    static network net;
    emr_model *joined = NULL;
    emr_status status = join_tasks(d, &recipes[i], &joined, error);
    if (!status)
        status = network_read(&net, joined, error);
    if (!status && !recipes[i].combine_heads)
        status = check_rows(d, &net, error);
    if (!status)
        status = network_answer(&net, &d->samples, d->groups, all_tasks, N_TASKS, d->joined[i]);
    if (!status && out)
        status = emr_checkpoint_write(joined, out, NULL, error);
    emr_model_destroy(&joined);
    return status;
}

/* --- A bundle, whose tasks come back in one common shape ------------------------------------------------- */

static emr_status add_views(emr_merge *merge, const demo *d, emr_model *views[N_TASKS], emr_error *error)
{
    emr_status status = emr_merge_set_base(merge, d->base, error);
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        status = emr_heads_open_task(d->heads, t, &views[t], error);
        if (!status)
            status = emr_merge_add_task(merge, task_names[t], views[t], error);
    }
    return status;
}

/* The heads stay private, which is exact. */
static emr_status write_bundle(const demo *d, emr_buffer *buffer, emr_error *error)
{
    emr_model *views[N_TASKS] = {NULL};
    emr_policy policy = EMR_INIT(emr_policy);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_merge *merge = NULL;
    policy.private_globs = head_globs;
    policy.n_private_globs = 1;
    options.policy = &policy;
    emr_status status = emr_merge_create(&merge, &options, error);
    if (!status)
        status = add_views(merge, d, views, error);
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(buffer), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    for (size_t t = 0; t < N_TASKS; t++)
        emr_model_destroy(&views[t]);
    return status;
}

/* Whichever task it is: the same shapes, and rows of other tasks that are zero. */
static emr_status rebuild_task(demo *d, const emr_bundle *bundle, uint32_t task, emr_error *error)
{
    static network net;
    emr_model *model = NULL;
    emr_status status = emr_bundle_open_task(&model, bundle, task, d->base, NULL, error);
    if (!status)
        status = network_read(&net, model, error);
    emr_model_destroy(&model);
    if (!status && net.n_labels != emr_heads_n_rows(d->heads))
        status = emr_error_set(error, EMR_EMISMATCH, 0, task_names[task], "came back in another shape");
    const size_t only[] = {task};
    if (!status)
        status = network_answer(&net, &d->samples, &d->groups[task], only, 1, &d->rebuilt[task]);
    return status;
}

static emr_status measure_bundle(demo *d, emr_error *error)
{
    emr_buffer *buffer = NULL;
    emr_bundle *bundle = NULL;
    emr_status status = emr_buffer_create(&buffer, NULL, error);
    if (!status)
        status = write_bundle(d, buffer, error);
    if (!status)
        status = emr_bundle_open(&bundle, emr_buffer_io(buffer), "bundle", NULL, error);
    for (uint32_t t = 0; !status && t < N_TASKS; t++)
        status = rebuild_task(d, bundle, t, error);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    return status;
}

/* --- Each task merged with its base alone ---------------------------------------------------------------- */

/* Its head, which the base lacks, stays as it is. */
static emr_status self_merge(const demo *d, size_t task, double density, network *net, emr_error *error)
{
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c = NULL;
    emr_model *merged = NULL;
    options.method = emr_method_find("ties");
    options.head_globs = head_globs;
    options.n_head_globs = 1;
    emr_status status = emr_combination_create(&c, &options, error);
    if (!status)
        status = emr_combination_set_base(c, d->base, error);
    if (!status)
        status = emr_combination_add_task(c, task_names[task], d->tasks[task], error);
    if (!status)
        status = set_parameters(c, 1, density, error);
    if (!status)
        status = emr_combination_open_model(c, &merged, error);
    if (!status)
        status = network_read(net, merged, error);
    emr_model_destroy(&merged);
    emr_combination_destroy(&c);
    return status;
}

static emr_status measure_self_merging(demo *d, emr_error *error)
{
    static network net;
    emr_status status = EMR_OK;
    for (size_t k = 0; k < N_DENSITIES; k++)
        for (size_t t = 0; !status && t < N_TASKS; t++) {
            emr_head_group group = d->groups[t];
            group.first = 0;
            status = self_merge(d, t, densities[k], &net, error);
            if (!status)
                status = network_answer(&net, &d->samples, &group, &t, 1, &d->self_merged[k][t]);
        }
    return status;
}

/* --- The tables, and what must hold ---------------------------------------------------------------------- */

static double mean_right(const answers *a)
{
    double sum = 0;
    for (size_t t = 0; t < N_TASKS; t++)
        sum += a[t].right;
    return sum / N_TASKS;
}

static double mean_sure(const answers *a)
{
    double sum = 0;
    for (size_t t = 0; t < N_TASKS; t++)
        sum += a[t].sure;
    return sum / N_TASKS;
}

static void print_accuracy(const demo *d)
{
    printf("Accuracy on held-out samples, %%\n\n%-8s %7s %11s", "task", "labels", "individual");
    for (size_t i = 0; i < N_OWN_ROWS; i++)
        printf(" %11s", recipes[i].title);
    printf(" %11s\n", "EMR");
    for (size_t t = 0; t < N_TASKS; t++) {
        printf("%-8s %7u %11.2f", task_names[t], (unsigned)d->groups[t].count, d->individual[t].right);
        for (size_t i = 0; i < N_OWN_ROWS; i++)
            printf(" %11.2f", d->joined[i][t].right);
        printf(" %11.2f\n", d->rebuilt[t].right);
    }
    printf("%-8s %7s %11.2f", "mean", "", mean_right(d->individual));
    for (size_t i = 0; i < N_OWN_ROWS; i++)
        printf(" %11.2f", mean_right(d->joined[i]));
    printf(" %11.2f\n\n", mean_right(d->rebuilt));
}

static void print_effect(const char *what, const answers *a)
{
    printf("%-38s %9.2f %9.2f\n", what, mean_right(a), mean_sure(a));
}

static void print_padded(const demo *d)
{
    printf("What becomes of heads, means of all tasks, %%\n\n%-38s %9s %9s\n", "", "right", "sure");
    print_effect("individual", d->individual);
    print_effect("average, heads as they are", d->joined[AVERAGE]);
    print_effect("average, padded heads averaged", d->joined[PADDED_AVERAGE]);
    print_effect("ties at 0.2, heads as they are", d->joined[FEW]);
    print_effect("ties at 0.2, padded heads trimmed", d->joined[PADDED_FEW]);
    printf("\n");
}

static void print_self_merging(const demo *d)
{
    printf("Each network merged with its base alone: TIES at a density, accuracy, %%\n\n%-8s", "density");
    for (size_t t = 0; t < N_TASKS; t++)
        printf(" %8s", task_names[t]);
    printf(" %8s\n", "mean");
    for (size_t k = 0; k < N_DENSITIES; k++) {
        printf("%-8.1f", densities[k]);
        for (size_t t = 0; t < N_TASKS; t++)
            printf(" %8.2f", d->self_merged[k][t].right);
        printf(" %8.2f\n", mean_right(d->self_merged[k]));
    }
}

/* What must hold however the networks were trained. NULL, or what does not. */
static const char *find_complaint(const demo *d)
{
    for (size_t t = 0; t < N_TASKS; t++)
        if (fabs(d->self_merged[0][t].right - d->individual[t].right) > 0.5)
            return "a network merged with its base at density 1 is another than before";
    if (fabs(mean_right(d->joined[PADDED_AVERAGE]) - mean_right(d->joined[AVERAGE])) > 0.5)
        return "dividing heads by the number of tasks changes which label is the likeliest";
    if (mean_sure(d->joined[PADDED_AVERAGE]) > mean_sure(d->joined[AVERAGE]) - 10)
        return "dividing heads by the number of tasks does not make their probabilities flatter";
    for (size_t i = 0; i < N_OWN_ROWS; i++)
        if (mean_right(d->joined[i]) < 65)
            return "the joined network answers worse than it should";
    if (mean_right(d->rebuilt) < mean_right(d->joined[AVERAGE]))
        return "the networks out of the bundle are worse than their average";
    return NULL;
}

/* --- The whole ------------------------------------------------------------------------------------------- */

static emr_status open_checkpoint(emr_model **model, const char *folder, const char *name, emr_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/models/%s.safetensors", folder, name);
    return emr_checkpoint_open(model, path, NULL, error);
}

static emr_status open_all(demo *d, const char *folder, const char *heldout, emr_error *error)
{
    emr_status status = emr_checkpoint_open(&d->heldout, heldout, NULL, error);
    if (!status)
        status = samples_read(&d->samples, d->heldout, error);
    if (!status)
        status = open_checkpoint(&d->base, folder, "pretrained", error);
    for (size_t t = 0; !status && t < N_TASKS; t++)
        status = open_checkpoint(&d->tasks[t], folder, task_names[t], error);
    return status;
}

/* Whose rows are whose: what the joined networks' metadata tell too. */
static emr_status find_groups(demo *d, emr_error *error)
{
    emr_heads_options options = EMR_INIT(emr_heads_options);
    options.globs = head_globs;
    options.n_globs = 1;
    options.names = task_names;
    options.tasks = (const emr_model *const *)d->tasks;
    options.n_tasks = N_TASKS;
    emr_status status = emr_heads_create(&d->heads, &options, error);
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        d->groups[t].size = sizeof d->groups[t];
        status = emr_heads_get_group(d->heads, t, &d->groups[t]);
    }
    return status;
}

static emr_status measure_individual(demo *d, emr_error *error)
{
    static network net;
    emr_status status = EMR_OK;
    for (size_t t = 0; !status && t < N_TASKS; t++) {
        emr_head_group group = d->groups[t];
        group.first = 0;
        status = network_read(&net, d->tasks[t], error);
        if (!status)
            status = network_answer(&net, &d->samples, &group, &t, 1, &d->individual[t]);
    }
    return status;
}

static emr_status run_demo(demo *d, char **argv, emr_error *error)
{
    emr_status status = open_all(d, argv[1], argv[2], error);
    if (!status)
        status = find_groups(d, error);
    if (!status)
        status = measure_individual(d, error);
    for (size_t i = 0; !status && i < N_RECIPES; i++)
        status = measure_recipe(d, i, i == AVERAGE ? argv[3] : NULL, error);
    if (!status)
        status = measure_bundle(d, error);
    return status ? status : measure_self_merging(d, error);
}

static void close_all(demo *d)
{
    emr_heads_destroy(&d->heads);
    for (size_t t = 0; t < N_TASKS; t++)
        emr_model_destroy(&d->tasks[t]);
    emr_model_destroy(&d->base);
    emr_model_destroy(&d->heldout);
}

int main(int argc, char **argv)
{
    static demo d;
    emr_error error = {.text = ""};
    const char *complaint = NULL;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: heads FOLDER HELDOUT [OUT]\n");
        return 2;
    }
    emr_status status = run_demo(&d, argv, &error);
    if (status) {
        complaint = error.text[0] ? error.text : emr_status_text(status);
    } else {
        print_accuracy(&d);
        print_padded(&d);
        print_self_merging(&d);
        complaint = find_complaint(&d);
    }
    if (complaint)
        fprintf(stderr, "heads: %s\n", complaint);
    close_all(&d);
    return complaint ? EXIT_FAILURE : EXIT_SUCCESS;
}
