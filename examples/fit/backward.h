/* backward.h - the network of examples/digits layer by layer, forwards and backwards, for programs that learn. */
#ifndef FIT_BACKWARD_H
#define FIT_BACKWARD_H

#include "../digits/network.h"

enum { N_LAYERS = 3, N_TENSORS = 2 * N_LAYERS, BATCH = 64 };

/* What goes into a layer, or comes out of it: one row a sample, of which a layer uses as many values as it has. */
typedef float rows[BATCH][N_HIDDEN];

/* Inputs of every layer, and the logits. */
typedef struct activations {
    rows of[N_LAYERS + 1];
} activations;

/* Weights and biases in the order of a network's parameters: as what the library writes into, by name. */
void network_weights(network *net, emr_weights weights[N_TENSORS]);

/* The first of a layer's parameters: its weight [out, in], then its bias. */
size_t layer_offset(int layer);
size_t layer_inputs(int layer);
size_t layer_outputs(int layer);

/* y = W x + b, and behind it ReLU, but for the last layer. */
void layer_forward(const network *net, int layer, rows x, rows y, size_t n);

/* From dL/dy in `dy`, which is changed, dL/dx (NULL: not wanted; not dy) and, added to what `gradient` has, dL/dW and dL/db (NULL:
 * not wanted). x and y are those of layer_forward. */
void layer_backward(const network *net, int layer, rows x, rows y, rows dy, rows dx, size_t n,
                    network *gradient);

/* All layers, from the inputs in a->of[0]. */
void network_forward(const network *net, activations *a, size_t n);

/* From dL/dlogits, which is changed, the gradient of all parameters, added to what `gradient` has. */
void network_backward(const network *net, activations *a, rows dlogits, size_t n, network *gradient);

#endif
