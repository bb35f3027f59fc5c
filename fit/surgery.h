/* surgery.h - an adapter and the state of its fitting (emr/fit/surgery.h). The inside is in f64, with U transposed, so that all loops run
 * along features. */
#ifndef EMR_FIT_SURGERY_STATE_H
#define EMR_FIT_SURGERY_STATE_H

#include "emr/fit/surgery.h"

#include "adam.h"

enum {
    SURGERY_WIDTH_MAX = 1 << 20,
    SURGERY_RANK_MAX = 1 << 16,
    SURGERY_BLOCK = 32 /* rows that are worked on at a time */
};

/* Arrays of 2 * rank * width numbers: first D [rank, width], then U transposed, [rank, width]. */
struct emr_surgery {
    fit_host host;
    emr_adam adam;
    fit_adam_time time;
    size_t width;
    size_t rank;
    emr_surgery_loss loss;
    double *parameters;
    double *m;
    double *v;
    double *gradient; /* of a batch */
    double *added;    /* that of emr_surgery_backward */
    bool has_added;
    double *inputs;   /* [SURGERY_BLOCK, width]: x */
    double *outward;  /* [SURGERY_BLOCK, width]: dL/dy, and before that y - z */
    double *hidden;   /* [SURGERY_BLOCK, rank]: relu(D x) */
    double *inward;   /* [SURGERY_BLOCK, rank]: dL/d(D x) */
    double *row_loss; /* [SURGERY_BLOCK] */
    float *down;      /* D as it is applied */
    float *up;        /* U [width, rank] likewise */
};

/* With parameters of 0. EMR_EINVAL: a value out of its range. */
emr_status fit_surgery_create(emr_surgery **surgery, const emr_surgery_options *options, emr_error *error);

/* The options of a caller, `size` and `adam` too. NULL: all zero. */
emr_status fit_surgery_take_options(emr_surgery_options *taken, const emr_surgery_options *given,
                                    emr_error *error);

/* Rounds the parameters to what is applied; and the other way. */
void fit_surgery_store(emr_surgery *surgery);
void fit_surgery_load(emr_surgery *surgery);

#endif
