/* multiply.h - products with the weights of several tasks, wherever their codes and unified values lie. */
#ifndef EMR_MODULATOR_MULTIPLY_H
#define EMR_MODULATOR_MULTIPLY_H

#include "emr/product.h"
#include "modulator/modulator.h"

/* What one vector is multiplied by: a task's weights. Vectors with the same `user` have the same task. */
typedef struct emr_multiplier {
    emr_tensor_code code; /* of the tensor; a kind NULL: the weights are the base's */
    emr_code_window_fn window;
    void *user; /* of `window` */
} emr_multiplier;

/* One product, as all its rows share it. */
typedef struct emr_multiplication {
    const emr_kernels *kernels;
    emr_product product;  /* as emr_product_check leaves it */
    bool in_parts;        /* rows are parts of the tensor's: each may have scales of columns of its own */
    const void *base;     /* the base's values, of the product's first row and on; NULL: none is read, */
    emr_dtype base_dtype; /* and this is F32 */
    emr_block_type base_blocks; /* not EMR_BLOCK_TYPE_NONE: `base` is blocks, those of the whole tensor */
    /* One for each vector. Of those whose kind has unified values any one tells them; one without a kind
     * tells them too, if there are any. */
    const emr_multiplier *of;
    bool in_place; /* windows stay as they are, whatever is asked for next */
} emr_multiplication;

/* Checks a product against a tensor of n_rows and n_columns, which messages call `name`; sets its columns and
 * strides. */
emr_status emr_product_check(emr_product *product, const char *name, uint64_t n_rows, uint64_t n_columns,
                             emr_error *error);

/* Rows [from, to) of a product, counted from its first. Concurrent, if the windows are. */
emr_status emr_multiply_rows(const emr_multiplication *m, uint64_t from, uint64_t to, emr_error *error);

#endif
