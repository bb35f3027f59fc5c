/* layers.h - the linear layers of several models, grouped by the site of their inputs: each group is one system to solve. */
#ifndef EMR_FIT_LAYERS_H
#define EMR_FIT_LAYERS_H

#include "emr/fit/regmean.h"

#include "solved.h"
#include "whole.h"

typedef struct fit_layer {
    const emr_tensor **weights; /* of each model */
    const emr_tensor **biases;  /* likewise; NULL: there is none, or it is averaged */
    fit_solved_layer place;     /* in its group's result */
} fit_layer;

typedef struct fit_group {
    uint32_t *sites; /* its number in each model's gram */
    size_t width;    /* inputs */
    size_t outputs;  /* of all its layers */
    bool fits_bias;  /* there is one more input, which is always 1 */
} fit_group;

typedef struct fit_layers {
    const fit_host *host;
    const emr_model **models;
    const emr_gram **grams;
    uint32_t n_models;
    fit_layer *layers;
    fit_group *groups;
    size_t n_layers, n_groups;
} fit_layers;

/* Looks everything up in all models and grams, and checks that it fits together. */
emr_status fit_layers_create(fit_layers *layers, const fit_host *host, const emr_regmean_options *options,
                             emr_error *error);
void fit_layers_destroy(fit_layers *layers);

/* A layer's array of its weights' or biases' tensors, or NULL where the first model's tensor is none's. */
const fit_layer *fit_layers_of_weight(const fit_layers *layers, const emr_tensor *tensor);
const fit_layer *fit_layers_of_bias(const fit_layers *layers, const emr_tensor *tensor);

#endif
