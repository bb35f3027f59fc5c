/* adam.h - the one optimiser of everything that learns here (emr/fit/adam.h). */
#ifndef EMR_FIT_ADAM_STEP_H
#define EMR_FIT_ADAM_STEP_H

#include "emr/fit/adam.h"
#include "host.h"

/* What Adam knows of a parameter, beside m and v: beta1^t and beta2^t as running products, which are 1 at first. */
typedef struct fit_adam_time {
    double power1;
    double power2;
} fit_adam_time;

#define FIT_ADAM_START ((fit_adam_time){1, 1})

/* Defaults filled in; NULL: all. EMR_EINVAL: a value out of its range. */
emr_status fit_adam_take(emr_adam *taken, const emr_adam *given, emr_error *error);

/* One step of n parameters that have been moved as often as each other. */
void fit_adam_step(const emr_adam *adam, fit_adam_time *time, double *x, double *m, double *v,
                   const double *gradient, size_t n);

/* The running products after n steps. */
fit_adam_time fit_adam_time_after(const emr_adam *adam, uint64_t n);

#endif
