/* surgery.c - Surgery and SurgeryV2 on the digit networks: what merging has done to a task's hidden layers is undone by small
 * adapters, fitted on unlabelled images to the task's own network.
 *
 *     surgery DIGITS LEARNING
 *
 * DIGITS is examples/digits, LEARNING is learning.safetensors. */
#include <emr/fit/losses.h>
#include <emr/fit/surgery.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner.h"

/* Behind each hidden layer is a place for an adapter; Surgery has one at the last, SurgeryV2 at both. */
enum { N_PLACES = 2, LAST = N_PLACES - 1, N_STEPS = 200, N_BATCH = 16 };

/* What comes out at each place, for all unlabelled images of a task. */
typedef struct features {
    float of[N_PLACES][IMAGES_MAX][N_HIDDEN];
} features;

/* A merged network with adapters for one task; NULL where there is none. */
typedef struct adapted {
    const network *net;
    emr_surgery *adapters[N_PLACES];
    activations raw;         /* of a batch: what the layers give, */
    rows features[N_PLACES]; /* and what the adapters make of it */
} adapted;

static emr_status create_adapter(emr_surgery **adapter, uint64_t seed, emr_error *error)
{
    emr_surgery_options options = EMR_INIT(emr_surgery_options);
    options.width = N_HIDDEN;
    options.seed = seed;
    return emr_surgery_create(adapter, &options, error);
}

static void close_adapters(adapted *a)
{
    for (int i = 0; i < N_PLACES; i++)
        emr_surgery_destroy(&a->adapters[i]);
}

/* From n images in raw.of[0] to the logits in raw.of[N_LAYERS]. */
static emr_status forward(adapted *a, size_t n, emr_error *error)
{
    emr_status status = EMR_OK;
    for (int i = 0; !status && i < N_PLACES; i++) {
        layer_forward(a->net, i, i ? a->features[i - 1] : a->raw.of[0], a->raw.of[i + 1], n);
        if (a->adapters[i])
            status = emr_surgery_apply(a->adapters[i], a->raw.of[i + 1][0], a->features[i][0], n, error);
        else
            memcpy(a->features[i], a->raw.of[i + 1], n * sizeof a->features[i][0]);
    }
    layer_forward(a->net, N_LAYERS - 1, a->features[LAST], a->raw.of[N_LAYERS], n);
    return status;
}

static emr_status read_features(adapted *a, const images *set, features *out, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t first = 0; !status && first < set->n; first += BATCH) {
        size_t n = set->n - first < BATCH ? set->n - first : BATCH;
        images_take(set, first, n, a->raw.of[0], NULL);
        status = forward(a, n, error);
        for (int i = 0; i < N_PLACES; i++)
            memcpy(out->of[i][first], a->features[i], n * sizeof a->features[i][0]);
    }
    return status;
}

/* How far the last features are from those that they should be. */
static emr_status measure_gap(adapted *a, const images *set, const features *wanted, features *room,
                              double *gap, emr_error *error)
{
    emr_status status = read_features(a, set, room, error);
    return status ? status
                  : emr_l1(room->of[LAST][0], wanted->of[LAST][0], set->n, 1, N_HIDDEN, 0, gap, NULL, error);
}

static emr_status measure_accuracy(adapted *a, const images *set, double *accuracy, emr_error *error)
{
    emr_status status = EMR_OK;
    size_t n_right = 0;
    for (size_t first = 0; !status && first < set->n; first += BATCH) {
        size_t n = set->n - first < BATCH ? set->n - first : BATCH;
        images_take(set, first, n, a->raw.of[0], NULL);
        status = forward(a, n, error);
        for (size_t s = 0; s < n; s++)
            n_right += answer_of(a->raw.of[N_LAYERS][s]) == set->labels[first + s];
    }
    *accuracy = 100.0 * (double)n_right / (double)set->n;
    return status;
}

/* --- Surgery ------------------------------------------------------------------------------------------------ */

/* From the features alone; the network is not run again. */
static emr_status fit_last(adapted *a, const images *set, const features *wanted, features *room,
                           emr_error *error)
{
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    options.n_steps = N_STEPS;
    options.n_batch = N_BATCH;
    emr_status status = read_features(a, set, room, error);
    if (!status)
        status = create_adapter(&a->adapters[LAST], LAST, error);
    if (!status)
        status = emr_surgery_fit(a->adapters[LAST], room->of[LAST][0], wanted->of[LAST][0], set->n, &options,
                                 NULL, error);
    return status;
}

/* --- SurgeryV2 ---------------------------------------------------------------------------------------------- */

/* Jointly: from the last place to the first, each adds its own term to the gradient that comes from behind it. */
static emr_status backward(adapted *a, const features *wanted, size_t first, size_t n, emr_error *error)
{
    rows d, from_behind;
    emr_status status = EMR_OK;
    for (int i = LAST; !status && i >= 0; i--) {
        status = emr_l1(a->features[i][0], wanted->of[i][first], n, 1, N_HIDDEN, i < LAST, NULL, d[0], error);
        if (!status)
            status = emr_surgery_backward(a->adapters[i], a->raw.of[i + 1][0], d[0], n, d[0], error);
        if (!status && i > 0) {
            layer_backward(a->net, i, a->features[i - 1], a->raw.of[i + 1], d, from_behind, n, NULL);
            memcpy(d, from_behind, n * sizeof d[0]);
        }
        if (!status)
            status = emr_surgery_step(a->adapters[i], error);
    }
    return status;
}

static emr_status fit_both(adapted *a, const images *set, const features *wanted, emr_error *error)
{
    emr_status status = EMR_OK;
    for (int i = 0; !status && i < N_PLACES; i++)
        status = create_adapter(&a->adapters[i], (uint64_t)i, error);
    for (size_t step = 0; !status && step < N_STEPS; step++) {
        size_t first = step * N_BATCH % set->n, n = set->n - first < N_BATCH ? set->n - first : N_BATCH;
        images_take(set, first, n, a->raw.of[0], NULL);
        status = forward(a, n, error);
        if (!status)
            status = backward(a, wanted, first, n, error);
    }
    return status;
}

/* --- The whole ---------------------------------------------------------------------------------------------- */

enum { NOTHING, SURGERY, SURGERY_V2, N_WAYS };

typedef struct row {
    double gap[N_WAYS], accuracy[N_WAYS]; /* means over tasks */
    int n_risen;                          /* gaps of tasks that are no smaller than before */
} row;

/* All ways, for one task. */
static emr_status run_task(const tasks *all, const network *net, int task, row *r, emr_error *error)
{
    adapted *a = calloc(1, sizeof *a);
    features *wanted = malloc(2 * sizeof *wanted), *room = wanted ? wanted + 1 : NULL;
    const images *set = &all->unlabelled[task];
    double gap[N_WAYS] = {0}, accuracy = 0;
    emr_status status = a && wanted ? EMR_OK : EMR_ENOMEM;
    if (!status) {
        a->net = &all->individual[task];
        status = read_features(a, set, wanted, error);
        a->net = net;
    }
    for (int way = 0; !status && way < N_WAYS; way++) {
        if (way == SURGERY)
            status = fit_last(a, set, wanted, room, error);
        else if (way == SURGERY_V2)
            status = fit_both(a, set, wanted, error);
        if (!status)
            status = measure_gap(a, set, wanted, room, &gap[way], error);
        if (!status)
            status = measure_accuracy(a, &all->heldout[task], &accuracy, error);
        close_adapters(a);
        r->gap[way] += gap[way] / N_TASKS;
        r->accuracy[way] += accuracy / N_TASKS;
        r->n_risen += way && !(gap[way] < gap[NOTHING]);
    }
    free(wanted);
    free(a);
    return status;
}

static const struct {
    const char *name;
    double initial;
    int n_steps; /* of AdaMerging */
    learner_loss loss;
} merged[] = {
    {"pretrained", 0, 0, LOSS_ENTROPY},
    {"average", 1.0 / N_TASKS, 0, LOSS_ENTROPY},
    {"task arithmetic at 0.3", 0.3, 0, LOSS_ENTROPY},
    {"AdaMerging, entropy", 0.3, LEARN_STEPS, LOSS_ENTROPY},
    {"AdaMerging, answers", 0.3, LEARN_STEPS, LOSS_ANSWERS},
};

static emr_status run_merged(const tasks *all, size_t i, int *failed, emr_error *error)
{
    learner *l = calloc(1, sizeof *l);
    row r = {{0}, {0}, 0};
    const learner_options options = {
        .n_tasks = N_TASKS, .initial = merged[i].initial, .loss = merged[i].loss};
    if (!l)
        return EMR_ENOMEM;
    emr_status status = learner_open(l, all, &options, error);
    for (int step = 0; !status && step < merged[i].n_steps; step++)
        status = learner_step(l, error);
    for (int t = 0; !status && t < N_TASKS; t++) {
        network_set_head(&l->merged, &all->individual[t]);
        status = run_task(all, &l->merged, t, &r, error);
    }
    learner_close(l);
    free(l);
    if (status)
        return status;
    printf("%-24s%10.4f%10.4f%10.4f  %10.2f%10.2f%10.2f\n", merged[i].name, r.gap[NOTHING], r.gap[SURGERY],
           r.gap[SURGERY_V2], r.accuracy[NOTHING], r.accuracy[SURGERY], r.accuracy[SURGERY_V2]);
    if (r.n_risen) {
        printf("features of a task are no nearer to its own network's\n");
        *failed = 1;
    }
    return EMR_OK;
}

static emr_status run_all(const tasks *all, int *failed, emr_error *error)
{
    printf("%-24s%30s  %30s\n%-24s", "", "L1 of the last features", "accuracy on held-out, %",
           "merged network");
    for (int i = 0; i < 2; i++)
        printf("%10s%10s%10s%s", "plain", "Surgery", "V2", i ? "\n" : "  ");
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < sizeof merged / sizeof *merged; i++)
        status = run_merged(all, i, failed, error);
    return status;
}

int main(int argc, char **argv)
{
    emr_error error = {.text = ""};
    int failed = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: surgery DIGITS LEARNING\n");
        return 2;
    }
    tasks *all = malloc(sizeof *all);
    if (!all)
        return 1;
    emr_status status = tasks_open(all, argv[1], argv[2], &error);
    if (!status)
        status = run_all(all, &failed, &error);
    if (status)
        complain("surgery", status, &error);
    tasks_close(all);
    free(all);
    return status || failed;
}
