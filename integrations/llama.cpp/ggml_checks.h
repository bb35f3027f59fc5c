/* ggml_checks.h - what emr-ggml checks. */
#ifndef EMR_GGML_CHECKS_H
#define EMR_GGML_CHECKS_H

#include "ggml_engine.h"

/* Counts, and says so where something does not hold. */
void expect_that(bool holds, const char *format, ...);

/* Every matrix of the model, by itself: what the graph computes, by any number of threads, is
 * - beside ggml's product: to the bit that and the change, added;
 * - whole: to the bit the product over the same base in F32, and within product.h's bound of the exact one.
 */
void check_products(const world *w, engine *e, const char *label);

#endif
