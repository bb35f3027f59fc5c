/* network.h - the example's networks and held-out samples, read from models and run in plain C. README.md describes
 * both. */
#ifndef HEADS_NETWORK_H
#define HEADS_NETWORK_H

#include <emr/emr.h>

enum { N_PIXELS = 64, N_HIDDEN = 128, N_SAMPLES = 450, N_TASKS = 5, N_LABELS_MOST = 32 };

/* Two hidden layers and a head, of as many rows as its model has. */
typedef struct network {
    float fc1[N_HIDDEN][N_PIXELS], fc1_bias[N_HIDDEN];
    float fc2[N_HIDDEN][N_HIDDEN], fc2_bias[N_HIDDEN];
    float head[N_LABELS_MOST][N_HIDDEN], head_bias[N_LABELS_MOST];
    size_t n_labels;
} network;

/* The held-out images and, of each task, the answers. */
typedef struct samples {
    uint8_t pixels[N_SAMPLES][N_PIXELS]; /* 0 to 16 */
    uint8_t labels[N_TASKS][N_SAMPLES];
} samples;

/* How a task's questions are answered, in per cent: how often right, and how sure of it on average. */
typedef struct answers {
    double right, sure;
} answers;

extern const char *const task_names[N_TASKS];

emr_status network_read(network *net, const emr_model *model, emr_error *error);

/* Reads the images and the digits on them, of which all answers follow. */
emr_status samples_read(samples *set, const emr_model *heldout, emr_error *error);

/* Runs the network once over all samples; then each group's probabilities answer its task, `tasks[g]`. */
emr_status network_answer(const network *net, const samples *set, const emr_head_group *groups,
                          const size_t *tasks, size_t n_groups, answers *answers);

#endif
