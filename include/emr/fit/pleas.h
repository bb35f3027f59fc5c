/* pleas.h - PLeaS (Nasery and others, "PLeaS: Merging Models with Permutations and Least Squares", arXiv 2407.02447): units that are
 * alike in two models are merged, the others stay side by side, and each layer is then solved so that its outputs are nearest to
 * those of both models.
 *
 * Of a group of n units, k pairs are merged: those whose activations are nearest. It has 2 n - k units then: the merged ones, A's own,
 * B's own. Merged units are the mean; A's own units read merged ones and A's own, never B's. k = n for all groups is a model of
 * the same shapes, k = 0 both models side by side, whose outputs are their mean.
 *
 *     emr_match(spec, a, b, &matching, &permutation, NULL, &error);
 *     emr_pleas_options options = EMR_INIT(emr_pleas_options);
 *     options.permutation = permutation;
 *     options.gram = gram;                           // of both models, A first, on the data of both
 *     options.widths = &(emr_pleas_width){sizeof(emr_pleas_width), "layers.0.mlp", 2048};
 *     options.n_widths = 1;                          // all others are merged whole
 *     emr_pleas_open_model(spec, a, b, &options, &merged, &error);
 *
 * A layer with inputs u, weights W_0 after merging, and the models' own outputs t (of merged units their mean) is solved by
 *
 *     min over W of  sum |t - W u|^2,  what may not be read staying 0, near W_0 where samples say nothing
 *
 * in f64, in closed form from the gram, when it is read; the same bits for any threads and processor. */
#ifndef EMR_FIT_PLEAS_H
#define EMR_FIT_PLEAS_H

#include "emr/export.h"
#include "emr/fit/gram.h"
#include "emr/fit/permutation.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* How much of a group of units is merged. */
typedef struct emr_pleas_width {
    size_t size; /* the same for all in an array */
    const char *group;
    uint64_t n_merged; /* pairs, at most the group's units */
} emr_pleas_width;

/* What a layer's outputs are to be near.
 * - ENSEMBLE: on every sample, inputs and outputs of both models together.
 * - SEPARATE: on every sample each model's own inputs and outputs alone. With everything merged this is RegMean of the aligned
 *   models. */
typedef uint32_t emr_pleas_target;
enum { EMR_PLEAS_TARGET_ENSEMBLE = 0, EMR_PLEAS_TARGET_SEPARATE = 1 };

/* Zero means the default. Arrays are copied; models, gram and what they need are borrowed by the merged model. */
typedef struct emr_pleas_options {
    size_t size;
    const emr_resources *resources;     /* of solving, as with emr_regmean_options */
    const emr_permutation *permutation; /* of B's units; NULL: they stay. Copied */
    const emr_gram *
        gram; /* of two models; NULL: layers are merged, and not solved. Layers whose site it lacks are not either */
    const emr_pleas_width *widths; /* groups that are named are merged that far, others whole */
    const char *const *exclude; /* globs of tensors that the merged model lacks, as in emr_regmean_options */
    double ridge;               /* at least 0 */
    uint32_t n_widths;
    uint32_t n_exclude;
    emr_pleas_target target;
    emr_dtype dtype; /* of float tensors that come out; 0: A's */
} emr_pleas_options;

EMR_BEGIN_DECLS

/* The merged model: A's tensors in A's order, those of partly merged groups with other shapes. Running statistics of
 * BatchNorm are averaged like weights: measure them anew, or take emr_gram_output_moments.
 * - EMR_EMISMATCH: a model or the gram does not fit the spec, or A and B differ in shapes.
 * - EMR_ENOTFOUND: there is no such group. EMR_EINVAL: a value out of its range, a glob that matches no tensor.
 * - EMR_EUNSUPPORTED: part of a group of heads, or of one with blocks.
 * - EMR_ELIMIT when a tensor is read: memory_bytes has no room for its layer. */
EMR_API emr_status emr_pleas_open_model(const emr_permutation_spec *spec, const emr_model *a,
                                        const emr_model *b, const emr_pleas_options *options,
                                        emr_model **model, emr_error *error);

EMR_END_DECLS

#endif
