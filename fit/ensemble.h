/* ensemble.h - the network that weighs sources (emr/fit/ensemble.h), from the inside: its parts, and passes through samples. */
#ifndef EMR_FIT_ENSEMBLE_INSIDE_H
#define EMR_FIT_ENSEMBLE_INSIDE_H

#include "emr/fit/ensemble.h"

#include "adam.h"

/* Both sides are h = N(U f(D v)), where v is the sample's x or a source's key. */
enum { SIDE_X, SIDE_KEY, SIDES };
enum { DOWN, UP, MATRICES };
enum { ENSEMBLE_WIDTH_MAX = 1 << 24, ENSEMBLE_HIDDEN_MAX = 1 << 16 };

typedef struct ensemble_matrix {
    size_t begin; /* among the parameters */
    size_t rows, columns;
} ensemble_matrix;

typedef struct ensemble_side {
    ensemble_matrix matrices[MATRICES];
    size_t scale, shift; /* of N: where they begin; the keys have no shift */
} ensemble_side;

struct emr_ensemble {
    fit_host host;
    emr_adam adam;
    fit_adam_time time;
    ensemble_side sides[SIDES];
    size_t shared; /* width of h */
    double temperature;
    emr_ensemble_activation activation;
    emr_ensemble_mix mix;
    bool has_norm;
    size_t n_parameters;
    double *parameters; /* of both sides; behind them Adam's m and v, as many each */
};

/* Some of a batch's samples. */
typedef struct ensemble_samples {
    emr_ensemble_batch batch; /* keys: the values, where the host gave none */
    const size_t *rows;       /* which; NULL: the first n */
    size_t n;
} ensemble_samples;

static inline size_t ensemble_row(const ensemble_samples *s, size_t i)
{
    return s->rows ? s->rows[i] : i;
}

static inline const float *ensemble_values(const ensemble_samples *s, size_t i)
{
    return s->batch.values + ensemble_row(s, i) * s->batch.n_sources * s->batch.n_columns;
}

/* All samples of a batch, once it is found to be what the ensemble takes. NULL: any widths do, and values alone are looked at. */
emr_status fit_ensemble_take(ensemble_samples *samples, const emr_ensemble *ensemble,
                             const emr_ensemble_batch *given, bool has_labels, emr_error *error);

/* The samples' numbers, first those to be fitted, then those held out; both parts in order. Draws go on from *seed. */
emr_status fit_ensemble_split(const ensemble_samples *all, const fit_host *host, double share, uint64_t *seed,
                              size_t *rows, size_t *n_held_out, emr_error *error);

/* A pass through samples: what it needs, and what it finds. */
typedef struct ensemble_pass {
    const emr_ensemble *ensemble;
    const ensemble_samples *samples;
    size_t first;   /* the first sample in work; */
    size_t n_slots; /* so many are at a time, of each of which there are */
    size_t slot_length;
    double *traces; /* what the network makes of x and of every key, */
    double *room;   /* and what the mix needs */
    size_t room_length;
    double *scores;   /* [n, n_sources]; after a way back, the gradient of the sample's loss by them */
    double *losses;   /* n */
    double *gradient; /* by all parameters; NULL: there is no way back */
} ensemble_pass;

/* For up to n samples. Destroy it also after a failure. */
emr_status fit_ensemble_pass_create(ensemble_pass *pass, const emr_ensemble *ensemble,
                                    const ensemble_samples *samples, bool goes_back, emr_error *error);
void fit_ensemble_pass_destroy(ensemble_pass *pass);

/* All of them: EMR_ENONFINITE where the network's numbers overflow. */
emr_status fit_ensemble_find_scores(ensemble_pass *pass, const ensemble_samples *samples, emr_error *error);
/* The mean over samples of the loss. */
emr_status fit_ensemble_find_loss(ensemble_pass *pass, const ensemble_samples *samples, double *loss,
                                  emr_error *error);
/* And its gradient. */
emr_status fit_ensemble_find_gradient(ensemble_pass *pass, const ensemble_samples *samples, double *loss,
                                      emr_error *error);

/* The network at a sample in work: the way there, the way back, and the job-th part of the gradient from all of them. */
size_t fit_ensemble_slot_length(const emr_ensemble *ensemble, size_t n_sources);
void fit_ensemble_forward(const ensemble_pass *pass, size_t slot);
void fit_ensemble_backward(const ensemble_pass *pass, size_t slot);
size_t fit_ensemble_n_jobs(const emr_ensemble *ensemble);
void fit_ensemble_add_gradient(const ensemble_pass *pass, size_t n_slots, size_t job);

/* What sources make together. `room` has fit_ensemble_room_length numbers. */
size_t fit_ensemble_room_length(size_t n_sources, size_t n_columns);
/* Scores become weights. */
void fit_ensemble_weigh(double *scores, size_t n);
/* The first n_columns numbers of `room` become the mix of a sample's values. */
void fit_ensemble_mix_values(emr_ensemble_mix mix, const double *weights, const emr_ensemble_batch *batch,
                             const float *values, double *room);
/* The loss of a sample. With `goes_back` the scores become its gradient by them. */
double fit_ensemble_loss(emr_ensemble_mix mix, double *scores, const emr_ensemble_batch *batch,
                         const float *values, uint32_t label, bool goes_back, double *room);

#endif
