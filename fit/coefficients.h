/* coefficients.h - what a handle of emr/fit/coefficients.h has. */
#ifndef EMR_FIT_COEFFICIENTS_INSIDE_H
#define EMR_FIT_COEFFICIENTS_INSIDE_H

#include "emr/fit/coefficients.h"

#include "adam.h"
#include "crew.h"
#include "vectors.h"

#define NO_NUMBER UINT32_MAX

typedef struct coefficient_group {
    char *name;
    uint32_t first; /* of its tensors; `next` has the others */
    bool is_fixed;
} coefficient_group;

/* lambda[task][group], or how it is learned. */
typedef struct coefficient {
    double raw, m, v;
    fit_adam_time time;
    uint64_t n_steps;
} coefficient;

/* The gradient of one tensor, on its way: what has come of it beyond the last whole block waits. */
typedef struct gradient_stream {
    uint32_t tensor; /* NO_NUMBER: none */
    emr_dtype dtype;
    uint64_t first;    /* the next element */
    float *waiting;    /* elements [first - first % FIT_DOT_BLOCK, first) */
    double *lanes;     /* of each task, of a chunk that has begun */
    double *totals;    /* of each task, of whole chunks */
    double *job_lanes; /* [job][task] */
    size_t n_jobs;     /* that there is room for */
} gradient_stream;

struct emr_coefficients {
    fit_host host;
    fit_vectors *vectors;
    fit_crew crew; /* whose rooms are fit_room */
    emr_adam adam;
    emr_coefficient_map map;
    double keep;
    coefficient_group *groups;
    uint32_t n_groups, n_tasks;
    uint32_t *by_name;           /* numbers of tensors, in order of names */
    uint32_t *group_of;          /* of a tensor */
    uint32_t *next;              /* of its group */
    coefficient *all;            /* [group][task] */
    double *sums;                /* [tensor][task]: <dL/dW, tau> since the last step */
    uint8_t *has_gradient;       /* of a tensor */
    double *lambdas, *gradients; /* of a group's tasks: room */
    gradient_stream stream;
    uint64_t n_steps;
    emr_status refused; /* what the next step fails with */
};

typedef struct fit_saved fit_saved; /* coefficients_saved.h */

/* coefficients_groups.c: which tensors are learned, and what group each belongs to, by the options, or as a saved state has it. Fills
 * vectors->tensors, groups, group_of, next and by_name. */
emr_status fit_coefficients_find_groups(emr_coefficients *coefficients,
                                        const emr_coefficients_options *options, const fit_saved *saved,
                                        emr_error *error);

/* The number of a tensor; NO_NUMBER: none that is merged. */
uint32_t fit_coefficients_find_tensor(const emr_coefficients *coefficients, const char *name);

/* coefficients_step.c: of each task. */
void fit_coefficients_lambdas(const emr_coefficients *coefficients, uint32_t group, double *lambdas);

/* coefficients_state.c: takes a state's numbers, if it is of these tasks and groups. */
emr_status fit_coefficients_set_saved(emr_coefficients *coefficients, const fit_saved *saved,
                                      emr_error *error);

static inline bool is_finite(double x)
{
    return x - x == 0;
}

static inline coefficient *coefficient_at(const emr_coefficients *c, uint32_t task, uint32_t group)
{
    return &c->all[(size_t)group * c->n_tasks + task];
}

#endif
