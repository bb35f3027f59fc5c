/* adam.h - Adam (Kingma and Ba, arXiv 1412.6980), as PyTorch computes it: the steps of everything here that learns. With the
 * gradient g, at the t-th step of a parameter x,
 *
 *     m = beta1 m + (1 - beta1) g     v = beta2 v + (1 - beta2) g^2
 *     x = x - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
 *
 * in f64; beta^t are running products. A parameter without a gradient is passed over; one whose gradient is 0 is moved on by its
 * momentum. The first step is lr long, whatever the gradient, where that is far above epsilon. */
#ifndef EMR_FIT_ADAM_H
#define EMR_FIT_ADAM_H

#include "emr/export.h"

/* Zero means the default. Copied. EMR_EINVAL where it is taken: a value that is negative or not finite, a beta of 1 or more. */
typedef struct emr_adam {
    size_t size;
    double lr;      /* learning rate, at least 0; 0: 1e-3 */
    double beta1;   /* 0: 0.9 */
    double beta2;   /* 0: 0.999 */
    double epsilon; /* 0: 1e-8 */
} emr_adam;

#endif
