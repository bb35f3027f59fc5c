/* method_run.h - a merging method on arrays, without models: its stages over the tensor and then combine, in pieces of any
 * length, as emr/method.h says that they are called. */
#ifndef METHOD_RUN_H
#define METHOD_RUN_H

#include "method/methods.h"

#include "support.h"

enum { RUN_INPUTS = 8, RUN_PARAMETERS = 8 };

typedef struct method_run {
    const emr_method *method;
    uint64_t shape[EMR_MAX_RANK], count;
    uint32_t rank, n_inputs;
    float *inputs[RUN_INPUTS]; /* count each, aligned */
    float *out;
    double parameters[RUN_INPUTS * RUN_PARAMETERS];
    size_t piece; /* that combine sees at a time, rounded up to whole rows; 0: all */
} method_run;

/* Inputs are drawn from the seed, between -1 and 1; parameters have their defaults, and those without one are 1. */
void method_run_begin(method_run *run, const char *method, uint32_t n_inputs, const char *shape, uint64_t seed);
void method_run_end(method_run *run);

void method_run_set(method_run *run, const char *parameter, double value);                      /* of all */
void method_run_set_one(method_run *run, const char *parameter, uint32_t input, double value);

/* Its check, stages and combine. */
emr_status method_run_try(method_run *run, emr_error *error);
void method_run_do(method_run *run); /* which must succeed */

/* It fails so, with this in its sentence. */
void method_run_refused(method_run *run, emr_status status, const char *part);

/* out[i] is within `part` of `scale` from what is wanted. */
void assert_near(const method_run *run, const double *want, double part, double scale);

/* A number between -1 and 1. */
double draw_number(uint64_t *state);

#endif
