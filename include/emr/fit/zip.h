/* zip.h - zipping (ZipIt, Stoica and others, arXiv 2305.03053; as MuDSC has it, arXiv 2403.01753): instead of pairing each unit of
 * one model with one of another, the most similar of all units of all models are put together, also two of one model, until as many
 * are left as a model has.
 *
 *     emr_zip_options options = EMR_INIT(emr_zip_options);
 *     options.models = models;
 *     options.n_models = 2;
 *     options.gram = gram;                      // of all models on the same samples; NULL: weights alone
 *     emr_zip_open_model(spec, &options, &merged, &report, &error);
 *
 * A unit of the merged model is the mean of those that were put together, and reads of each model the sum of what its own
 * units read. Groups of heads and of units in blocks stay as they are: align the models by emr_match first. The same bits for any
 * threads and processor. */
#ifndef EMR_FIT_ZIP_H
#define EMR_FIT_ZIP_H

#include "emr/export.h"
#include "emr/fit/gram.h"
#include "emr/fit/match.h"
#include "emr/fit/permutation.h"
#include "emr/model.h"
#include "emr/resources.h"
#include "emr/status.h"

/* Zero means the default. Models are borrowed by the merged model, the rest during the call. */
typedef struct emr_zip_options {
    size_t size;
    const emr_resources
        *resources; /* allocator and executor; progress counts groups, of those of max_rounds rounds */
    const emr_model *const *models; /* at least two */
    const emr_gram *gram;           /* of n_models models; NULL: none */
    double
        balance; /* the weights' share of similarity, from 0 to 1, with use_balance; else 0.5. Without a gram it is 1 */
    double
        shrink; /* what is put together is as similar to others as the less similar of the two, times this, from 0 to 1, with
                       use_shrink; else 0.5 */
    double
        within; /* how many of the merges that a model has to contribute may be of two of its own, as a share, from 0 to 1,
                       with use_within; else 1 */
    uint64_t seed; /* as emr_match_options' */
    uint32_t n_models;
    uint32_t max_rounds; /* 0: 100 */
    uint32_t patience;   /* 0: 5 */
    uint32_t use_balance;
    uint32_t use_shrink;
    uint32_t use_within;
    emr_dtype dtype; /* of float tensors that come out; 0: the first model's */
    uint32_t reserved;
} emr_zip_options;

EMR_BEGIN_DECLS

/* Finds out which units go together, and gives the merged model, whose tensors are computed as they are read, each as a whole. All models
 * have the first one's tensors and shapes. `report` may be NULL; its value is the mean over groups of the mean similarity of what was
 * put together.
 * - EMR_EMISMATCH: a model or the gram does not fit the spec, or the models each other. EMR_EINVAL: a value out of its range.
 * - EMR_ENONFINITE: weights that are not finite. */
EMR_API emr_status emr_zip_open_model(const emr_permutation_spec *spec, const emr_zip_options *options,
                                      emr_model **model, emr_match_report *report, emr_error *error);

EMR_END_DECLS

#endif
