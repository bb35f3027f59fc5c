/* exclude.h - which of its tensors a merged model lacks: those that a glob matches, but no file beside the weights. */
#ifndef EMR_FIT_EXCLUDE_H
#define EMR_FIT_EXCLUDE_H

#include "emr/model.h"

#include <stdbool.h>

bool fit_is_excluded(const char *const *globs, uint32_t n_globs, const char *name);

/* EMR_EINVAL where a glob matches no tensor of the model. */
emr_status fit_check_exclude(const char *const *globs, uint32_t n_globs, const emr_model *model,
                             emr_error *error);

#endif
