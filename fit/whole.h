/* whole.h - models whose tensors are merged as a whole when one of their elements is first read. */
#ifndef EMR_FIT_WHOLE_H
#define EMR_FIT_WHOLE_H

#include "host.h"

#include "emr/model.h"

/* All elements of a merged tensor, out of that of each model. */
typedef emr_status (*fit_merge_fn)(void *user, const emr_tensor *const *tensors, double *values,
                                   emr_error *error);

typedef struct fit_whole_options {
    const char *name; /* of the merged model */
    const emr_model *const *models;
    uint32_t n_models;
    emr_dtype dtype; /* of float tensors; 0: the first model's */
    fit_merge_fn merge;
    void *user;
    void (*destroy)(void *user); /* called with the merged model's end, and where it cannot be made */
} fit_whole_options;

/* A model with the first one's tensors in its order: floats merged, others the first one's, as are metadata. All models have all
 * float tensors in the same shapes, or EMR_EMISMATCH. */
emr_status fit_whole_open(const fit_host *host, const fit_whole_options *options, emr_model **model,
                          emr_error *error);

/* A tensor of another model that is to have this one's name and shape, and to be a float. */
emr_status fit_same_tensor(const emr_model *model, const emr_tensor *like, const emr_tensor **found,
                           emr_error *error);

#endif
