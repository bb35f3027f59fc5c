/* multiply.h - products with the weights of several tasks, wherever their codes and unified values lie. */
#ifndef EMR_MODULATOR_MULTIPLY_H
#define EMR_MODULATOR_MULTIPLY_H

#include "emr/product.h"
#include "modulator/modulator.h"

/* One product, as all its rows share it. */
typedef struct emr_multiplication {
    const emr_kernels *kernels;
    const emr_kind *kind; /* of all vectors' tasks */
    emr_product product;  /* as emr_product_check leaves it */
    uint64_t n_columns;
    const void *base; /* the base's values, of the product's first row and on */
    emr_dtype base_dtype;
    emr_code_window_fn window;
    /* One for each vector, for `window`. Vectors with the same one have the same task; any one of them tells
     * the unified values. */
    void *const *users;
} emr_multiplication;

/* Checks a product against a tensor of n_rows and n_columns, which messages call `name`, and sets strides. */
emr_status emr_product_check(emr_product *product, const char *name, uint64_t n_rows, uint64_t n_columns,
                             emr_error *error);

/* Rows [from, to) of a product, counted from its first. Concurrent, if `window` is. */
emr_status emr_multiply_rows(const emr_multiplication *m, uint64_t from, uint64_t to, emr_error *error);

#endif
