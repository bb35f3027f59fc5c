/* network.h - the example's network and held-out samples, read from models and run in plain C. README.md
 * describes both. */
#ifndef DIGITS_NETWORK_H
#define DIGITS_NETWORK_H

#include <emr/emr.h>

enum { N_PIXELS = 64, N_HIDDEN = 320, N_LOGITS = 10, N_SAMPLES = 450 };
enum { N_PARAMETERS = N_HIDDEN * (N_PIXELS + 1) + N_HIDDEN * (N_HIDDEN + 1) + N_LOGITS * (N_HIDDEN + 1) };

/* All parameters in a row: fc1.weight, fc1.bias, fc2.weight, fc2.bias, fc3.weight, fc3.bias. */
typedef struct network {
    float parameters[N_PARAMETERS];
} network;

/* One task's held-out samples. */
typedef struct samples {
    uint8_t pixels[N_SAMPLES][N_PIXELS]; /* 0 to 16 */
    uint8_t labels[N_SAMPLES];
} samples;

/* Reads a network out of any model that holds its six tensors: a checkpoint, or a task of a bundle. */
emr_status network_read(network *net, const emr_model *model, emr_error *error);

/* Reads <task>.pixels and <task>.labels. */
emr_status samples_read(samples *set, const emr_model *model, const char *task, emr_error *error);

/* Per cent of the samples for which the largest logit is the label's. */
double network_accuracy(const network *net, const samples *set);

#endif
