/* regmean.h - RegMean (Jin and others, "Dataless Knowledge Fusion by Merging Weights of Language Models", arXiv 2212.09849): one
 * model whose linear layers are nearest, in least squares, to all models' outputs on their own inputs.
 *
 *     W = (sum_m c_m G~_m)^-1  sum_m c_m G~_m W_m          G~ = a G + (1 - a) diag(G)
 *
 * with G_m the inputs' second moments of model m (gram.h), a the off-diagonal scale, and W as [in, out]. All else is the
 * average. What no sample tells, about inputs that never fire, is the average too.
 *
 *     emr_regmean_options options = EMR_INIT(emr_regmean_options);
 *     options.models = models;      // two
 *     options.grams = grams;        // each of one model, on its own data
 *     options.n_models = 2;
 *     options.layers = layers;
 *     options.n_layers = n_layers;
 *     emr_regmean_open_model(&options, &merged, &error);
 *     emr_checkpoint_write(merged, "merged.safetensors", NULL, &error);
 *
 * Layers are solved as they are read: in f64, the same bits for any threads and processor. */
#ifndef EMR_FIT_REGMEAN_H
#define EMR_FIT_REGMEAN_H

#include "emr/export.h"
#include "emr/fit/gram.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* A linear layer, by its tensors' names. */
typedef struct emr_fit_layer {
    size_t size; /* the same for all in an array */
    const char *
        weight; /* [out, in]; of more dimensions: all behind the first are inputs, as of a convolution's patches */
    const char *bias;    /* [out]; NULL: there is none */
    const char *site;    /* of a gram: its input. Layers of one site are solved together */
    uint32_t input_axis; /* 1; or 0: the weight is [in, out], as GPT-2's Conv1D */
    uint32_t reserved;
} emr_fit_layer;

/* What becomes of the biases of layers.
 * - MEAN: the average, as in the paper. FIT: solved together with the weight, as that of an input that is always 1. */
typedef uint32_t emr_fit_bias;
enum { EMR_FIT_BIAS_MEAN = 0, EMR_FIT_BIAS_FIT = 1 };

/* How much a model's rows weigh. - MEANS: each gram is divided by its number of rows: all models count the same. -
 * SUMS: as many rows as there are, as in the paper's formula. */
typedef uint32_t emr_fit_scale;
enum { EMR_FIT_SCALE_MEANS = 0, EMR_FIT_SCALE_SUMS = 1 };

/* Zero means the default. Arrays and strings are copied, models and grams borrowed. */
typedef struct emr_regmean_options {
    size_t size;
    const emr_resources *resources; /* of solving; memory_bytes: see emr_regmean_open_model */
    const emr_model *const
        *models; /* at least one; the first one's tensors, in its order, are what comes out */
    const emr_gram *const *grams; /* one for each, of one model each */
    const double *coefficients;   /* c_m, at least 0; NULL: 1 / n_models */
    const emr_fit_layer *layers;
    /* Globs (emr_glob_matches) of tensors that the merged model lacks, such as heads of different labels. Each matches at
     * least one of the first model's. Layers of such weights are passed over; side files (checkpoint.h) stay. */
    const char *const *exclude;
    double
        off_diagonal; /* a, from 0 to 1, with use_off_diagonal; else 0.9. Published settings go from 0.1 to 1 */
    double ridge;     /* times the diagonal, added to it; at least 0 */
    uint32_t n_models;
    uint32_t n_layers;
    uint32_t n_exclude;
    uint32_t use_off_diagonal;
    emr_fit_bias bias;
    emr_fit_scale scale;
    emr_dtype dtype; /* of float tensors that come out; 0: as in the first model */
    uint32_t reserved;
} emr_regmean_options;

EMR_BEGIN_DECLS

/* The merged model. Tensors that are not floats are the first model's. Metadata are its too.
 * - EMR_EMISMATCH, naming model and tensor: one that a model lacks or has in another shape; a layer whose inputs are not
 *   its site's width; a site that a gram lacks or has no rows of.
 * - EMR_ENOTFOUND: a layer's tensor is absent. EMR_EINVAL: a gram of several models, a value out of its range, a tensor
 *   in two layers, a glob that matches no tensor.
 * - Solving the layers of a site takes, with d inputs and `out` outputs of all its layers, (d^2 + 4 d * 24 + 3 d * out) * 8
 *   bytes; the results of two sites stay. EMR_ELIMIT when a tensor is read: memory_bytes has no room for it.
 * - Reading is concurrent. emr_checkpoint_write solves with all of its threads; threads that read one site at the same time
 *   otherwise may each solve it. */
EMR_API emr_status emr_regmean_open_model(const emr_regmean_options *options, emr_model **model,
                                          emr_error *error);

EMR_END_DECLS

#endif
