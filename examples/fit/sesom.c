/* sesom.c - SESoM on the digit networks: for a ninth task, of which there are 32 labelled images, the eight networks answer together,
 * and a small network says for each image how much each of them counts.
 *
 *     sesom DIGITS LEARNING
 *
 * DIGITS is examples/digits, LEARNING is learning.safetensors. */
#include <emr/fit/ensemble.h>
#include <emr/fit/losses.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks.h"

enum { N_DRAWS = 5, N_SHOTS = 32, N_STEPS = 100, TUNE_STEPS = 100 };
#define TUNE_RATE 0.02f

typedef float source_logits[IMAGES_MAX][N_TASKS][N_LOGITS];

/* A ninth task, and what the sources say about its images. */
typedef struct ninth {
    images shots, heldout; /* the shots of all draws, one after another */
    source_logits on_shots, on_heldout;
} ninth;

/* --- Sources ------------------------------------------------------------------------------------------------ */

static void run_source(const network *net, const images *set, int source, source_logits out)
{
    activations a;
    for (size_t first = 0; first < set->n; first += BATCH) {
        size_t n = set->n - first < BATCH ? set->n - first : BATCH;
        images_take(set, first, n, a.of[0], NULL);
        network_forward(net, &a, n);
        for (size_t s = 0; s < n; s++)
            memcpy(out[first + s][source], a.of[N_LAYERS][s], sizeof out[0][0]);
    }
}

static void run_checkpoints(const tasks *all, ninth *task)
{
    for (int t = 0; t < N_TASKS; t++) {
        run_source(&all->individual[t], &task->shots, t, task->on_shots);
        run_source(&all->individual[t], &task->heldout, t, task->on_heldout);
    }
}

/* The tasks of a bundle: one session acts as one after another. */
static emr_status run_session(emr_session *session, ninth *task, emr_error *error)
{
    network *net = malloc(sizeof *net);
    emr_weights weights[N_TENSORS];
    emr_status status = net ? EMR_OK : EMR_ENOMEM;
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        network_weights(net, weights);
        status = emr_session_apply(session, t, weights, N_TENSORS, error);
        if (status)
            break;
        run_source(net, &task->shots, (int)t, task->on_shots);
        run_source(net, &task->heldout, (int)t, task->on_heldout);
    }
    free(net);
    return status;
}

static emr_status run_bundle(const tasks *all, ninth *task, emr_error *error)
{
    emr_modulation_spec kind = EMR_INIT(emr_modulation_spec);
    emr_buffer *memory = NULL;
    emr_bundle *bundle = NULL;
    emr_session *session = NULL;
    kind.kind = EMR_MODULATOR_KIND_SIGN;
    emr_status status = tasks_merge(all, &kind, &memory, &bundle, error);
    if (!status)
        status = emr_session_create(&session, bundle, all->base, NULL, error);
    if (!status)
        status = run_session(session, task, error);
    emr_session_destroy(&session);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&memory);
    return status;
}

/* Each network's last layer goes down the cross-entropy of a draw's images first. */
static emr_status tune_head(network *net, const images *set, size_t first, network *room, emr_error *error)
{
    activations a;
    rows d;
    uint32_t labels[N_SHOTS];
    size_t head = layer_offset(N_LAYERS - 1);
    emr_logits logits = EMR_INIT(emr_logits);
    emr_status status = EMR_OK;
    images_take(set, first, N_SHOTS, a.of[0], labels);
    network_forward(net, &a, N_SHOTS);
    logits.data = a.of[N_LAYERS][0];
    logits.n_rows = N_SHOTS;
    logits.n_columns = N_LOGITS;
    logits.row_stride = N_HIDDEN;
    for (int step = 0; !status && step < TUNE_STEPS; step++) {
        status = emr_cross_entropy(&logits, labels, NULL, d[0], error);
        memset(room, 0, sizeof *room);
        layer_backward(net, N_LAYERS - 1, a.of[N_LAYERS - 1], a.of[N_LAYERS], d, NULL, N_SHOTS, room);
        for (size_t i = head; i < N_PARAMETERS; i++)
            net->parameters[i] -= TUNE_RATE * room->parameters[i];
        layer_forward(net, N_LAYERS - 1, a.of[N_LAYERS - 1], a.of[N_LAYERS], N_SHOTS);
    }
    return status;
}

static emr_status run_tuned(const tasks *all, ninth *task, size_t first, emr_error *error)
{
    network *nets = malloc(2 * sizeof *nets);
    emr_status status = nets ? EMR_OK : EMR_ENOMEM;
    for (int t = 0; !status && t < N_TASKS; t++) {
        nets[0] = all->individual[t];
        status = tune_head(&nets[0], &task->shots, first, &nets[1], error);
        run_source(&nets[0], &task->shots, t, task->on_shots);
        run_source(&nets[0], &task->heldout, t, task->on_heldout);
    }
    free(nets);
    return status;
}

/* --- Answering together ------------------------------------------------------------------------------------- */

enum { UNIFORM, MAJORITY, BEST_SOURCE, SESOM, SESOM_PROBABILITIES, N_WAYS };
static const char *const way_names[N_WAYS] = {"uniform", "majority", "best source", "SESoM", "probabilities"};

static emr_ensemble_batch batch_of(const images *set, source_logits logits, size_t first, size_t n)
{
    emr_ensemble_batch batch = EMR_INIT(emr_ensemble_batch);
    batch.x = set->inputs[first];
    batch.values = logits[first][0];
    batch.labels = set->labels + first;
    batch.n = n;
    batch.n_sources = N_TASKS;
    batch.n_columns = N_LOGITS;
    return batch;
}

static double per_cent_right(const uint32_t *answers, const images *set)
{
    size_t n_right = 0;
    for (size_t s = 0; s < set->n; s++)
        n_right += answers[s] == set->labels[s];
    return 100.0 * (double)n_right / (double)set->n;
}

/* ensemble NULL: uniform. */
static emr_status judge_ensemble(const emr_ensemble *ensemble, ninth *task, double *accuracy,
                                 emr_error *error)
{
    static float out[IMAGES_MAX][N_LOGITS];
    uint32_t answers[IMAGES_MAX];
    emr_ensemble_batch batch = batch_of(&task->heldout, task->on_heldout, 0, task->heldout.n);
    emr_status status = emr_ensemble_combine(ensemble, &batch, NULL, out[0], error);
    for (size_t s = 0; !status && s < task->heldout.n; s++)
        answers[s] = answer_of(out[s]);
    if (!status)
        *accuracy = per_cent_right(answers, &task->heldout);
    return status;
}

static emr_status judge_majority(ninth *task, double *accuracy, emr_error *error)
{
    uint32_t answers[IMAGES_MAX];
    emr_ensemble_batch batch = batch_of(&task->heldout, task->on_heldout, 0, task->heldout.n);
    emr_status status = emr_ensemble_vote(&batch, answers, error);
    if (!status)
        *accuracy = per_cent_right(answers, &task->heldout);
    return status;
}

/* The source that is right most often on the draw's images. */
static emr_status judge_best(ninth *task, size_t first, double *accuracy, emr_error *error)
{
    uint32_t answers[IMAGES_MAX];
    size_t source = 0, n_right;
    emr_ensemble_batch batch = batch_of(&task->shots, task->on_shots, first, N_SHOTS);
    emr_status status = emr_ensemble_best_source(&batch, &source, &n_right, error);
    for (size_t s = 0; s < task->heldout.n; s++)
        answers[s] = answer_of(task->on_heldout[s][source]);
    *accuracy = per_cent_right(answers, &task->heldout);
    return status;
}

static emr_status judge_sesom(ninth *task, size_t first, emr_ensemble_mix mix, double *accuracy, int *failed,
                              emr_error *error)
{
    emr_ensemble *ensemble = NULL;
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    emr_ensemble_fit_options fit = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_ensemble_batch batch = batch_of(&task->shots, task->on_shots, first, N_SHOTS);
    options.x_width = N_PIXELS;
    options.key_width = N_LOGITS;
    options.mix = mix;
    fit.n_steps = N_STEPS;
    fit.use_held_out = 1; /* none: so few are all needed */
    emr_status status = emr_ensemble_create(&ensemble, &options, error);
    if (!status)
        status = emr_ensemble_fit(ensemble, &batch, &fit, &report, error);
    if (!status)
        status = judge_ensemble(ensemble, task, accuracy, error);
    if (!status && !(report.loss_after < report.loss_before)) {
        printf("the loss has not fallen\n");
        *failed = 1;
    }
    emr_ensemble_destroy(&ensemble);
    return status;
}

static emr_status judge_all(ninth *task, size_t first, double accuracy[N_WAYS], int *failed, emr_error *error)
{
    emr_status status = judge_ensemble(NULL, task, &accuracy[UNIFORM], error);
    if (!status)
        status = judge_majority(task, &accuracy[MAJORITY], error);
    if (!status)
        status = judge_best(task, first, &accuracy[BEST_SOURCE], error);
    if (!status)
        status = judge_sesom(task, first, EMR_ENSEMBLE_MIX_LOGITS, &accuracy[SESOM], failed, error);
    if (!status)
        status = judge_sesom(task, first, EMR_ENSEMBLE_MIX_PROBABILITIES, &accuracy[SESOM_PROBABILITIES],
                             failed, error);
    return status;
}

/* --- The whole ---------------------------------------------------------------------------------------------- */

enum { CHECKPOINTS, BUNDLE, TUNED, N_SOURCES };
static const char *const source_names[N_SOURCES] = {"checkpoints", "a bundle, signs", "heads tuned first"};

/* Means over the draws, and SESoM's worst. */
static emr_status run_row(const tasks *all, ninth *task, int sources, int *failed, emr_error *error)
{
    double sum[N_WAYS] = {0}, accuracy[N_WAYS], worst[N_WAYS];
    emr_status status = EMR_OK;
    for (int i = 0; i < N_WAYS; i++)
        worst[i] = 100;
    if (sources == CHECKPOINTS)
        run_checkpoints(all, task);
    else if (sources == BUNDLE)
        status = run_bundle(all, task, error);
    for (size_t draw = 0; !status && draw < N_DRAWS; draw++) {
        if (sources == TUNED)
            status = run_tuned(all, task, draw * N_SHOTS, error);
        if (!status)
            status = judge_all(task, draw * N_SHOTS, accuracy, failed, error);
        for (int i = 0; !status && i < N_WAYS; i++) {
            sum[i] += accuracy[i] / N_DRAWS;
            worst[i] = accuracy[i] < worst[i] ? accuracy[i] : worst[i];
        }
    }
    if (status)
        return status;
    printf("%-20s", source_names[sources]);
    for (int i = 0; i < N_WAYS; i++)
        printf("%8.2f %6.2f", sum[i], worst[i]);
    printf("\n");
    return EMR_OK;
}

static emr_status run_task(const tasks *all, ninth *task, const char *name, int *failed, emr_error *error)
{
    char shots[64];
    snprintf(shots, sizeof shots, "%s.shots", name);
    emr_status status = images_read(&task->shots, all->learning, shots, error);
    if (!status)
        status = images_read(&task->heldout, all->learning, name, error);
    printf("\n%-20s", name);
    for (int i = 0; i < N_WAYS; i++)
        printf("%15s", way_names[i]);
    printf("\n");
    for (int i = 0; !status && i < N_SOURCES; i++)
        status = run_row(all, task, i, failed, error);
    return status;
}

int main(int argc, char **argv)
{
    emr_error error = {.text = ""};
    int failed = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: sesom DIGITS LEARNING\n");
        return 2;
    }
    tasks *all = malloc(sizeof *all);
    ninth *task = malloc(sizeof *task);
    emr_status status = all && task ? tasks_open(all, argv[1], argv[2], &error) : EMR_ENOMEM;
    if (!status)
        printf("Accuracy on held-out images after %d labelled ones, %%: mean and worst of %d draws\n",
               N_SHOTS, N_DRAWS);
    if (!status)
        status = run_task(all, task, "mixed", &failed, &error);
    if (!status)
        status = run_task(all, task, "mirrored", &failed, &error);
    if (status)
        complain("sesom", status, &error);
    if (all)
        tasks_close(all);
    free(task);
    free(all);
    return status || failed;
}
