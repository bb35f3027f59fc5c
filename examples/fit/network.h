/* network.h - the example's networks, of any widths, read from models and run in plain C; and its samples. */
#ifndef FIT_NETWORK_H
#define FIT_NETWORK_H

#include <emr/emr.h>

enum { N_LAYERS = 3, N_PIXELS = 64, N_LOGITS = 10, MAX_WIDTH = 256, MAX_SAMPLES = 512 };

/* Linear layers with ReLU between them. */
typedef struct network {
    size_t widths[N_LAYERS + 1]; /* inputs of each layer, and logits */
    float *weights[N_LAYERS], *biases[N_LAYERS];
} network;

typedef struct samples {
    size_t n;
    uint8_t pixels[MAX_SAMPLES][N_PIXELS]; /* 0 to 16 */
    uint8_t labels[MAX_SAMPLES];
} samples;

/* Inputs of every layer of one sample, and the logits. */
typedef struct activations {
    float of[N_LAYERS + 1][MAX_WIDTH];
} activations;

/* Reads fc0, fc1, fc2 out of any model; free it. */
emr_status network_read(network *net, const emr_model *model, emr_error *error);
void network_free(network *net);

/* Reads TASK.pixels and, if there are some, TASK.labels. */
emr_status samples_read(samples *set, const emr_model *model, const char *task, emr_error *error);

void network_run(const network *net, const uint8_t *pixels, activations *out);

/* The label of the largest logit. */
size_t largest_logit(const float *logits);

/* Per cent of the samples for which that is the sample's. */
double network_accuracy(const network *net, const samples *set);

#endif
