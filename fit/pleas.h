/* pleas.h - solving one layer of a model that is merged in part. */
#ifndef EMR_FIT_PLEAS_INSIDE_H
#define EMR_FIT_PLEAS_INSIDE_H

#include "emr/fit/pleas.h"

#include "gram.h"
#include "partial.h"
#include "permutation.h"
#include "solved.h"

/* A new input or output: its number in each model, or FIT_NOWHERE. B's inputs are in the order that the gram has. */
typedef fit_origin pleas_unit;

typedef struct pleas_layer {
    fit_mix weight, bias;  /* bias.a NULL: there is none */
    const gram_site *site; /* NULL: it is merged and not solved */
    pleas_unit *inputs, *outputs;
    uint32_t *
        b_inputs; /* of each input that is of B, its number in the weight of B whose units are in A's order */
    size_t n_inputs, n_outputs; /* new ones */
    size_t width;               /* inputs of each model */
    bool is_transposed;         /* [in, out] */
} pleas_layer;

typedef struct fit_pleas {
    fit_host host;
    fit_cache cache;
    emr_permutation_spec *spec;
    emr_model *aligned; /* B with its units in A's order */
    fit_partial *partials;
    pleas_layer *layers;
    size_t n_layers;
    emr_pleas_target target;
    double ridge;
} fit_pleas;

/* A fit_solve_fn, of a fit_pleas: a layer's weights, as [inputs, outputs]; its bias, if it has one, is the last input's. */
emr_status fit_pleas_solve(void *pleas, const fit_host *host, size_t layer, fit_solved **solved,
                           emr_error *error);

#endif
