/* weights.h - weights as f64, whatever float they are stored as. */
#ifndef EMR_FIT_WEIGHTS_H
#define EMR_FIT_WEIGHTS_H

#include "emr/dtype.h"
#include "emr/model.h"

/* Elements [first, first + n) of a float tensor. */
emr_status fit_read(const emr_tensor *tensor, uint64_t first, size_t n, double *values, emr_error *error);

/* sum of coefficients[m] * values of tensors[m], in order of m. `room` has n numbers. */
emr_status fit_read_mean(const emr_tensor *const *tensors, const double *coefficients, uint32_t n_tensors,
                         uint64_t first, size_t n, double *values, double *room, emr_error *error);

#endif
