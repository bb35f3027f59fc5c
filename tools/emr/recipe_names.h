/* recipe_names.h - what names of tensors tell of layers, of what lies before and behind them, and of modules. */
#ifndef EMR_TOOLS_RECIPE_NAMES_H
#define EMR_TOOLS_RECIPE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a name has its layer's number: the first ".N.". "model.layers.12.mlp.up_proj.weight": the stack is the
 * `stack_length` first bytes, "model.layers". */
typedef struct layer_place {
    size_t stack_length, digits, end; /* digits begin, and end */
    uint64_t layer;
} layer_place;
bool find_layer(const char *name, layer_place *place);

/* The name with another number; free it. NULL: no memory. */
char *renumber_layer(const char *name, const layer_place *place, uint64_t layer);

/* Whether what is in no layer comes before them (embeddings), or behind them (norms, heads). */
bool is_before_layers(const char *name);

/* Whether a module has a tensor. A name that is none: is_module_name(). */
bool is_module_name(const char *module);
bool module_has(const char *module, const char *tensor);

/* The embeddings that a head shares its weights with where its model does not have it; NULL past the i-th. */
const char *tied_name(const char *head, size_t i);

#endif
