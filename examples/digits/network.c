/* network.c - reading the example's network and samples with emr_tensor_read, and running the network. */
#include "network.h"

#include <stdio.h>
#include <string.h>

enum { N_LAYERS = 3, BATCH = 32 };

static const struct layer {
    const char *weight, *bias;
    size_t n_in, n_out;
} layers[N_LAYERS] = {
    {"fc1.weight", "fc1.bias", N_PIXELS, N_HIDDEN},
    {"fc2.weight", "fc2.bias", N_HIDDEN, N_HIDDEN},
    {"fc3.weight", "fc3.bias", N_HIDDEN, N_LOGITS},
};

/* Reads a whole tensor, which must be [rows, columns], or [rows] where columns is 0. */
static emr_status read_tensor(const emr_model *model, const char *name, emr_dtype dtype, size_t rows,
                              size_t columns, void *destination, emr_error *error)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    const uint64_t *shape = tensor ? emr_tensor_shape(tensor) : NULL;
    if (!tensor || emr_tensor_dtype(tensor) != dtype || emr_tensor_rank(tensor) != (columns ? 2 : 1) ||
        shape[0] != rows || (columns && shape[1] != columns)) {
        char reason[128];
        snprintf(reason, sizeof reason, "tensor '%s' is absent, or not as README.md says", name);
        return emr_error_set(error, EMR_EMISMATCH, 0, emr_model_name(model), reason);
    }
    return emr_tensor_read(tensor, 0, destination, (size_t)emr_tensor_bytes(tensor), error);
}

emr_status network_read(network *net, const emr_model *model, emr_error *error)
{
    emr_status status = EMR_OK;
    float *next = net->parameters;
    for (const struct layer *l = layers; !status && l < layers + N_LAYERS; l++) {
        status = read_tensor(model, l->weight, EMR_DTYPE_F32, l->n_out, l->n_in, next, error);
        next += l->n_out * l->n_in;
        if (!status)
            status = read_tensor(model, l->bias, EMR_DTYPE_F32, l->n_out, 0, next, error);
        next += l->n_out;
    }
    return status;
}

emr_status samples_read(samples *set, const emr_model *model, const char *task, emr_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "%s.pixels", task);
    emr_status status = read_tensor(model, name, EMR_DTYPE_U8, N_SAMPLES, N_PIXELS, set->pixels, error);
    if (status)
        return status;
    snprintf(name, sizeof name, "%s.labels", task);
    return read_tensor(model, name, EMR_DTYPE_U8, N_SAMPLES, 0, set->labels, error);
}

/* out = W in + b for a batch of samples, one a column. The innermost loop runs over the samples, which a
 * compiler can vectorise without changing the order in which any one sum is taken. */
static void apply_layer(const struct layer *l, const float *weight, float in[][BATCH], float out[][BATCH])
{
    const float *bias = weight + l->n_out * l->n_in;
    for (size_t o = 0; o < l->n_out; o++) {
        float sum[BATCH] = {0};
        for (size_t i = 0; i < l->n_in; i++, weight++)
            for (size_t s = 0; s < BATCH; s++)
                sum[s] += *weight * in[i][s];
        for (size_t s = 0; s < BATCH; s++)
            out[o][s] = sum[s] + bias[o];
    }
}

static void apply_relu(float values[][BATCH], size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < BATCH; s++)
            values[i][s] = values[i][s] > 0 ? values[i][s] : 0;
}

/* The samples in `x` become their logits. */
static void run_network(const network *net, float x[N_HIDDEN][BATCH])
{
    const float *next = net->parameters;
    float y[N_HIDDEN][BATCH];
    for (size_t i = 0; i < N_LAYERS; i++) {
        const struct layer *l = &layers[i];
        apply_layer(l, next, x, y);
        next += (l->n_in + 1) * l->n_out;
        if (i + 1 < N_LAYERS)
            apply_relu(y, l->n_out);
        memcpy(x, y, l->n_out * sizeof y[0]);
    }
}

static size_t largest_logit(float logits[][BATCH], size_t sample)
{
    size_t best = 0;
    for (size_t i = 1; i < N_LOGITS; i++)
        if (logits[i][sample] > logits[best][sample])
            best = i;
    return best;
}

double network_accuracy(const network *net, const samples *set)
{
    size_t n_right = 0;
    for (size_t first = 0; first < N_SAMPLES; first += BATCH) {
        size_t n = N_SAMPLES - first < BATCH ? N_SAMPLES - first : BATCH;
        float x[N_HIDDEN][BATCH] = {{0}};
        for (size_t i = 0; i < N_PIXELS; i++)
            for (size_t s = 0; s < n; s++)
                x[i][s] = (float)set->pixels[first + s][i] / 16;
        run_network(net, x);
        for (size_t s = 0; s < n; s++)
            n_right += largest_logit(x, s) == set->labels[first + s];
    }
    return 100.0 * (double)n_right / N_SAMPLES;
}
