/* backward.c - see backward.h. */
#include "backward.h"

#include <string.h>

enum { LANES = 16 }; /* sums side by side, which a compiler can vectorise; divides all widths of inputs */

static const size_t widths[N_LAYERS + 1] = {N_PIXELS, N_HIDDEN, N_HIDDEN, N_LOGITS};

size_t layer_inputs(int layer)
{
    return widths[layer];
}

size_t layer_outputs(int layer)
{
    return widths[layer + 1];
}

size_t layer_offset(int layer)
{
    return layer ? layer_offset(layer - 1) + (widths[layer - 1] + 1) * widths[layer] : 0;
}

void network_weights(network *net, emr_weights weights[N_TENSORS])
{
    static const char *const names[N_TENSORS] = {"fc1.weight", "fc1.bias",   "fc2.weight",
                                                 "fc2.bias",   "fc3.weight", "fc3.bias"};
    float *next = net->parameters;
    for (int i = 0; i < N_TENSORS; i++) {
        weights[i] = EMR_INIT(emr_weights);
        weights[i].name = names[i];
        weights[i].data = next;
        weights[i].count = widths[i / 2 + 1] * (i % 2 ? 1 : widths[i / 2]);
        next += weights[i].count;
    }
}

static float dot(const float *a, const float *b, size_t n)
{
    float sums[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sums[k] += a[i + k] * b[i + k];
    for (size_t k = 0; k < LANES; k++)
        sum += sums[k];
    return sum;
}

static void add_scaled(float *to, float scale, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += scale * values[i];
}

void layer_forward(const network *net, int layer, rows x, rows y, size_t n)
{
    size_t n_in = layer_inputs(layer), n_out = layer_outputs(layer);
    const float *weight = net->parameters + layer_offset(layer), *bias = weight + n_out * n_in;
    for (size_t o = 0; o < n_out; o++, weight += n_in)
        for (size_t s = 0; s < n; s++) {
            float sum = dot(weight, x[s], n_in) + bias[o];
            y[s][o] = layer + 1 < N_LAYERS && sum < 0 ? 0 : sum;
        }
}

void layer_backward(const network *net, int layer, rows x, rows y, rows dy, rows dx, size_t n,
                    network *gradient)
{
    size_t n_in = layer_inputs(layer), n_out = layer_outputs(layer), offset = layer_offset(layer);
    for (size_t s = 0; s < n && dx; s++)
        memset(dx[s], 0, sizeof dx[s]);
    for (size_t s = 0; s < n; s++)
        for (size_t o = 0; o < n_out; o++) {
            if (layer + 1 < N_LAYERS && y[s][o] <= 0)
                dy[s][o] = 0;
            if (dy[s][o] == 0)
                continue;
            if (dx)
                add_scaled(dx[s], dy[s][o], net->parameters + offset + o * n_in, n_in);
            if (gradient) {
                add_scaled(gradient->parameters + offset + o * n_in, dy[s][o], x[s], n_in);
                gradient->parameters[offset + n_out * n_in + o] += dy[s][o];
            }
        }
}

void network_forward(const network *net, activations *a, size_t n)
{
    for (int layer = 0; layer < N_LAYERS; layer++)
        layer_forward(net, layer, a->of[layer], a->of[layer + 1], n);
}

void network_backward(const network *net, activations *a, rows dlogits, size_t n, network *gradient)
{
    rows d[2];
    layer_backward(net, 2, a->of[2], a->of[3], dlogits, d[0], n, gradient);
    layer_backward(net, 1, a->of[1], a->of[2], d[0], d[1], n, gradient);
    layer_backward(net, 0, a->of[0], a->of[1], d[1], NULL, n, gradient);
}
