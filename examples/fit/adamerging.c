/* adamerging.c - AdaMerging on the digit networks: coefficients of task vectors are learned from unlabelled images, by entropy as in
 * the paper, and by what the tasks' own networks answer; then the rescalers of a bundle's tasks in the same way.
 *
 *     adamerging DIGITS LEARNING
 *
 * DIGITS is examples/digits, LEARNING is learning.safetensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner.h"

enum { N_STOPS = 3 };
static const size_t stops[N_STOPS] = {0, 10, LEARN_STEPS}; /* steps at which one looks */

#define INITIAL 0.3

static const char *const loss_names[] = {"entropy", "answers"};

/* --- One network for all tasks ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    learner_loss loss;
    emr_coefficient_scope scope;
    double keep;
} ways[] = {
    {"task-wise", LOSS_ENTROPY, EMR_COEFFICIENT_SCOPE_MODEL, 0},
    {"layer-wise", LOSS_ENTROPY, EMR_COEFFICIENT_SCOPE_TENSOR, 0},
    {"layer-wise ++", LOSS_ENTROPY, EMR_COEFFICIENT_SCOPE_TENSOR, 0.2},
    {"task-wise", LOSS_ANSWERS, EMR_COEFFICIENT_SCOPE_MODEL, 0},
    {"layer-wise", LOSS_ANSWERS, EMR_COEFFICIENT_SCOPE_TENSOR, 0},
    {"layer-wise ++", LOSS_ANSWERS, EMR_COEFFICIENT_SCOPE_TENSOR, 0.2},
};

/* The loss with all coefficients moved along the gradient. */
static emr_status loss_along(learner *l, double gradient[N_TASKS][N_TENSORS], double distance, double *loss,
                             emr_error *error)
{
    uint32_t n_groups = emr_coefficients_n_groups(l->coefficients);
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < N_TASKS; t++)
        for (uint32_t g = 0; !status && g < n_groups; g++)
            status = emr_coefficients_set(l->coefficients, t, g, INITIAL + distance * gradient[t][g], error);
    if (!status)
        status = learner_apply(l, error);
    if (!status)
        status = learner_pass(l, loss, error);
    emr_coefficients_clear(l->coefficients);
    return status;
}

/* How fast the loss grows along its gradient must be the gradient's length. Gives their quotient, and leaves all as it was. */
static emr_status compare_gradient(learner *l, double *quotient, emr_error *error)
{
    double gradient[N_TASKS][N_TENSORS], squares = 0, loss, above = 0, below = 0;
    emr_coefficient c = EMR_INIT(emr_coefficient);
    emr_status status = learner_pass(l, &loss, error);
    for (uint32_t t = 0; t < N_TASKS; t++)
        for (uint32_t g = 0; emr_coefficients_get(l->coefficients, t, g, &c) == EMR_OK; g++) {
            gradient[t][g] = c.gradient;
            squares += c.gradient * c.gradient;
        }
    double step = 1e-3 / sqrt(squares);
    if (!status)
        status = loss_along(l, gradient, step, &above, error);
    if (!status)
        status = loss_along(l, gradient, -step, &below, error);
    if (!status)
        status = loss_along(l, gradient, 0, &loss, error);
    *quotient = (above - below) / (2 * step) / squares;
    return status;
}

/* What one would write or merge further, against what the engine has. */
static emr_status compare_model(learner *l, int *same, emr_error *error)
{
    emr_model *model = NULL;
    network *net = malloc(sizeof *net);
    emr_status status = net ? emr_coefficients_open_model(l->coefficients, &model, error) : EMR_ENOMEM;
    if (!status)
        status = network_read(net, model, error);
    if (!status)
        status = learner_apply(l, error);
    *same = !status && memcmp(net, &l->merged, sizeof *net) == 0;
    emr_model_destroy(&model);
    free(net);
    return status;
}

static emr_status learn(learner *l, measured found[N_STOPS], emr_error *error)
{
    emr_status status = EMR_OK;
    for (int i = 0; !status && i < N_STOPS; i++) {
        while (!status && l->n_steps < stops[i])
            status = learner_step(l, error);
        if (!status)
            status = learner_measure(l, &found[i], error);
    }
    return status;
}

static void print_stops(const char *name, learner_loss loss, const measured found[N_STOPS])
{
    printf("%-9s%-18s", loss_names[loss], name);
    for (int i = 0; i < N_STOPS; i++)
        printf("%8.4f", found[i].entropy);
    printf("  ");
    for (int i = 0; i < N_STOPS; i++)
        printf("%8.2f", found[i].accuracy);
}

static void print_heading(const char *last)
{
    printf("%51s%26s\n%-9s%-18s", "entropy at step", "accuracy at step, %", "loss", "");
    for (int i = 0; i < 2 * N_STOPS; i++)
        printf("%s%8zu", i == N_STOPS ? "  " : "", stops[i % N_STOPS]);
    printf("%s\n", last);
}

/* What must hold however the networks were trained. */
static int check(int holds, const char *complaint)
{
    if (!holds)
        printf("%s\n", complaint);
    return !holds;
}

static emr_status run_way(const tasks *all, size_t i, int *failed, emr_error *error)
{
    learner *l = calloc(1, sizeof *l);
    measured found[N_STOPS];
    double quotient = 0;
    int same = 0;
    learner_options options = {.n_tasks = N_TASKS,
                               .loss = ways[i].loss,
                               .scope = ways[i].scope,
                               .initial = INITIAL,
                               .keep = ways[i].keep};
    if (!l)
        return EMR_ENOMEM;
    emr_status status = learner_open(l, all, &options, error);
    if (!status)
        status = compare_gradient(l, &quotient, error);
    if (!status)
        status = learn(l, found, error);
    if (!status)
        status = compare_model(l, &same, error);
    if (!status) {
        print_stops(ways[i].name, ways[i].loss, found);
        printf("%7u\n", l->report.n_stuck);
        *failed |= check(found[N_STOPS - 1].loss < found[0].loss, "the loss has not fallen") |
                   check(fabs(quotient - 1) < 0.02, "the gradient is not that of finite differences") |
                   check(same, "the opened model is not what was applied");
    }
    learner_close(l);
    free(l);
    return status;
}

/* What one compares with, each with the tasks' own heads. */
static emr_status print_unlearned(const tasks *all, const char *name, double coefficient, emr_error *error)
{
    learner *l = calloc(1, sizeof *l);
    measured m = {0, 0, 0};
    learner_options options = {.n_tasks = N_TASKS, .initial = coefficient};
    if (!l)
        return EMR_ENOMEM;
    emr_status status = learner_open(l, all, &options, error);
    if (!status)
        status = learner_measure(l, &m, error);
    if (!status)
        printf("%-27s%8.4f%26.2f\n", name, m.entropy, m.accuracy);
    learner_close(l);
    free(l);
    return status;
}

static emr_status merge_networks(const tasks *all, int *failed, emr_error *error)
{
    double accuracy[N_TASKS];
    printf("AdaMerging from task arithmetic at 0.3; heads are the tasks' own\n\n");
    print_heading("  stuck");
    for (int t = 0; t < N_TASKS; t++)
        accuracy[t] = images_accuracy(&all->individual[t], &all->heldout[t]);
    printf("%-35s%26.2f\n", "each task's own network", mean_of(accuracy));
    emr_status status = print_unlearned(all, "pretrained, coefficients 0", 0, error);
    if (!status)
        status = print_unlearned(all, "average, 1 / 8", 1.0 / N_TASKS, error);
    for (size_t i = 0; !status && i < sizeof ways / sizeof *ways; i++)
        status = run_way(all, i, failed, error);
    return status;
}

/* --- A bundle's tasks, each for itself --------------------------------------------------------------------- */

static const struct {
    const char *name;
    learner_loss loss;
    emr_modulation_spec kind;
} bundles[] = {
    {"mask (the paper)", LOSS_ENTROPY, {sizeof(emr_modulation_spec), .kind = EMR_MODULATOR_KIND_MASK}},
    {"mask (the paper)", LOSS_ANSWERS, {sizeof(emr_modulation_spec), .kind = EMR_MODULATOR_KIND_MASK}},
    {"mask, nearest",
     LOSS_ANSWERS,
     {sizeof(emr_modulation_spec), .kind = EMR_MODULATOR_KIND_MASK, .mask_rule = EMR_MASK_RULE_NEAREST}},
    {"sign", LOSS_ANSWERS, {sizeof(emr_modulation_spec), .kind = EMR_MODULATOR_KIND_SIGN}},
};

/* What was found of a task is added up. */
static emr_status tune_task(const tasks *all, const emr_bundle *bundle, int task, learner_loss loss,
                            measured found[N_STOPS], double range[2], emr_error *error)
{
    learner *l = calloc(1, sizeof *l);
    emr_model *model = NULL;
    measured own[N_STOPS];
    emr_coefficient c = EMR_INIT(emr_coefficient);
    learner_options options = {.models = (const emr_model *const *)&model,
                               .first = task,
                               .n_tasks = 1,
                               .loss = loss,
                               .scope = EMR_COEFFICIENT_SCOPE_TENSOR,
                               .map = EMR_COEFFICIENT_MAP_FREE,
                               .initial = 1,
                               .with_head = 1};
    if (!l)
        return EMR_ENOMEM;
    emr_status status = emr_bundle_open_task(&model, bundle, (uint32_t)task, all->base, NULL, error);
    if (!status)
        status = learner_open(l, all, &options, error);
    if (!status)
        status = learn(l, own, error);
    for (uint32_t g = 0; !status && emr_coefficients_get(l->coefficients, 0, g, &c) == EMR_OK; g++) {
        range[0] = fmin(range[0], c.lambda);
        range[1] = fmax(range[1], c.lambda);
    }
    for (int i = 0; !status && i < N_STOPS; i++) {
        found[i].entropy += own[i].entropy / N_TASKS;
        found[i].loss += own[i].loss / N_TASKS;
        found[i].accuracy += own[i].accuracy / N_TASKS;
    }
    learner_close(l);
    free(l);
    emr_model_destroy(&model);
    return status;
}

static emr_status tune_bundle(const tasks *all, size_t i, int *failed, emr_error *error)
{
    measured found[N_STOPS] = {{0, 0, 0}};
    double range[2] = {1, 1};
    emr_buffer *memory = NULL;
    emr_bundle *bundle = NULL;
    emr_status status = tasks_merge(all, &bundles[i].kind, &memory, &bundle, error);
    for (int t = 0; !status && t < N_TASKS; t++)
        status = tune_task(all, bundle, t, bundles[i].loss, found, range, error);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&memory);
    if (status)
        return status;
    print_stops(bundles[i].name, bundles[i].loss, found);
    printf("%8.2f%6.2f\n", range[0], range[1]);
    *failed |= check(found[N_STOPS - 1].loss < found[0].loss, "the loss has not fallen");
    return EMR_OK;
}

static emr_status tune_bundles(const tasks *all, int *failed, emr_error *error)
{
    printf("\nTasks of a bundle, their rescalers multiplied by one number a tensor, from 1\n\n");
    print_heading("    from    to");
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < sizeof bundles / sizeof *bundles; i++)
        status = tune_bundle(all, i, failed, error);
    return status;
}

int main(int argc, char **argv)
{
    emr_error error = {.text = ""};
    int failed = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: adamerging DIGITS LEARNING\n");
        return 2;
    }
    tasks *all = malloc(sizeof *all);
    if (!all)
        return 1;
    emr_status status = tasks_open(all, argv[1], argv[2], &error);
    if (!status)
        status = merge_networks(all, &failed, &error);
    if (!status)
        status = tune_bundles(all, &failed, &error);
    if (status)
        complain("adamerging", status, &error);
    tasks_close(all);
    free(all);
    return status || failed;
}
