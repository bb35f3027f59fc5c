/* network.c - see network.h. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All of a float tensor; free it. */
static emr_status read_floats(const emr_model *model, const char *name, float **values,
                              const emr_tensor **tensor, emr_error *error)
{
    *tensor = emr_model_find_tensor(model, name);
    if (!*tensor)
        return emr_error_set(error, EMR_ENOTFOUND, 0, emr_model_name(model), "a layer is absent");
    size_t n = (size_t)emr_tensor_count(*tensor);
    *values = calloc(n + 1, sizeof **values);
    return *values ? emr_tensor_read_floats(*tensor, 0, n, *values, error) : EMR_ENOMEM;
}

emr_status network_read(network *net, const emr_model *model, emr_error *error)
{
    memset(net, 0, sizeof *net);
    emr_status status = EMR_OK;
    for (int i = 0; !status && i < N_LAYERS; i++) {
        const emr_tensor *weight, *bias;
        char name[32];
        snprintf(name, sizeof name, "fc%d.weight", i);
        status = read_floats(model, name, &net->weights[i], &weight, error);
        snprintf(name, sizeof name, "fc%d.bias", i);
        if (!status)
            status = read_floats(model, name, &net->biases[i], &bias, error);
        if (status)
            break;
        net->widths[i] = (size_t)emr_tensor_shape(weight)[1];
        net->widths[i + 1] = (size_t)emr_tensor_shape(weight)[0];
        if (net->widths[i] > MAX_WIDTH || net->widths[i + 1] > MAX_WIDTH)
            status = emr_error_set(error, EMR_EUNSUPPORTED, 0, emr_model_name(model), "a layer is too wide");
    }
    if (status)
        network_free(net);
    return status;
}

void network_free(network *net)
{
    for (int i = 0; i < N_LAYERS; i++) {
        free(net->weights[i]);
        free(net->biases[i]);
    }
    memset(net, 0, sizeof *net);
}

emr_status samples_read(samples *set, const emr_model *model, const char *task, emr_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "%s.pixels", task);
    const emr_tensor *pixels = emr_model_find_tensor(model, name);
    snprintf(name, sizeof name, "%s.labels", task);
    const emr_tensor *labels = emr_model_find_tensor(model, name);
    if (!pixels || emr_tensor_bytes(pixels) > sizeof set->pixels)
        return emr_error_set(error, EMR_ENOTFOUND, 0, emr_model_name(model), "there are no such samples");
    memset(set, 0, sizeof *set);
    set->n = (size_t)emr_tensor_shape(pixels)[0];
    emr_status status = emr_tensor_read(pixels, 0, set->pixels, (size_t)emr_tensor_bytes(pixels), error);
    if (!status && labels)
        status = emr_tensor_read(labels, 0, set->labels, set->n, error);
    return status;
}

void network_run(const network *net, const uint8_t *pixels, activations *out)
{
    for (size_t i = 0; i < N_PIXELS; i++)
        out->of[0][i] = (float)pixels[i] / 16;
    for (int layer = 0; layer < N_LAYERS; layer++) {
        size_t inputs = net->widths[layer], outputs = net->widths[layer + 1];
        for (size_t o = 0; o < outputs; o++) {
            float sum = net->biases[layer][o];
            for (size_t i = 0; i < inputs; i++)
                sum += net->weights[layer][o * inputs + i] * out->of[layer][i];
            out->of[layer + 1][o] = layer + 1 < N_LAYERS && sum < 0 ? 0 : sum;
        }
    }
}

size_t largest_logit(const float *logits)
{
    size_t best = 0;
    for (size_t i = 1; i < N_LOGITS; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

double network_accuracy(const network *net, const samples *set)
{
    size_t right = 0;
    for (size_t i = 0; i < set->n; i++) {
        activations out;
        network_run(net, set->pixels[i], &out);
        right += largest_logit(out.of[N_LAYERS]) == set->labels[i];
    }
    return 100.0 * (double)right / (double)set->n;
}
