/* method_driver.h - a merging method driven by its description (emr/method.h) alone, as simply as can be: stages over whole
 * tensors, cuts by sorting. */
#ifndef EMR_TESTS_METHOD_DRIVER_H
#define EMR_TESTS_METHOD_DRIVER_H

#include "support.h"

#include "emr/method.h"

enum { DRIVEN_INPUTS_MAX = 12, DRIVEN_PARAMETERS_MAX = 8 };

typedef struct driven_tensor {
    const char *name;
    uint64_t shape[4];
    uint32_t rank;
    const float *base;                      /* NULL: there is none */
    const float *inputs[DRIVEN_INPUTS_MAX]; /* weights, or with a base that is required task vectors */
    float *out;                             /* what combine gives */
} driven_tensor;

typedef struct driven_method {
    const emr_method *method;
    uint32_t n_inputs;
    size_t chunk; /* elements that combine is given at a time, or whole rows of about so many; 0: 1000 */
    double parameters[DRIVEN_INPUTS_MAX * DRIVEN_PARAMETERS_MAX];
} driven_method;

/* With the defaults of its parameters. */
driven_method driven_method_of(const char *name, uint32_t n_inputs);
void driven_set(driven_method *d, const char *parameter, uint32_t input, double value);
void driven_set_all(driven_method *d, const char *parameter, double value);

/* Tensors are in the order of their names. */
void drive_method(const driven_method *d, const driven_tensor *tensors, size_t n);

#endif
