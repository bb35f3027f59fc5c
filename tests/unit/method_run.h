/* method_run.h - a merging method on one F32 tensor that a test writes down. The base, where the method has
 * one, is 0, so that what comes out is what the method adds. */
#ifndef EMR_TESTS_METHOD_RUN_H
#define EMR_TESTS_METHOD_RUN_H

#include "support.h"

enum { RUN_INPUTS = 8, RUN_SETTINGS = 64 };

typedef struct run_setting {
    const char *parameter;
    uint32_t input;
    double value;
} run_setting;

typedef struct method_run {
    const emr_method *method;
    test_tensor tensor;
    uint64_t count;
    uint32_t n_inputs;
    bool first_is_base; /* the first input is given as the base, which has to be one of the method's inputs */
    test_model base, tasks[RUN_INPUTS];
    run_setting settings[RUN_SETTINGS];
    size_t n_settings;
    float *inputs[RUN_INPUTS]; /* count each: the tasks' values */
    float *out;
} method_run;

/* Inputs, which are tasks named t0, t1, ..., are normal numbers. Shapes are written "3x70"; "" has rank 0. */
void method_run_begin(method_run *run, const char *method, uint32_t n_inputs, const char *shape,
                      uint64_t seed);
void method_run_end(method_run *run);

/* For all inputs, or for one; the last that was set holds. */
void method_run_set(method_run *run, const char *parameter, double value);
void method_run_set_one(method_run *run, const char *parameter, uint32_t input, double value);

/* Computes `out`. */
void method_run_do(method_run *run);
/* That fails, so, with this in the sentence. */
void method_run_refused(method_run *run, emr_status status, const char *part);

/* Each element of `out` is at most that far from what is wanted. */
void assert_near(const method_run *run, const double *want, double distance);

#endif
