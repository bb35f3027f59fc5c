/* options.h - what the options of several methods have in common. */
#ifndef EMR_FIT_OPTIONS_H
#define EMR_FIT_OPTIONS_H

#include "emr/fit/match.h"

#include "host.h"

/* 0, or a float that results can be converted to. `type`: the options' name, for the sentence. */
emr_status fit_check_float(emr_dtype dtype, const char *type, emr_error *error);
/* NULL, or a gram of so many models. */
emr_status fit_check_gram(const emr_gram *gram, uint32_t n_models, const char *type, emr_error *error);
/* NULL, or a report that FIT_GIVE can fill: looked at before the work. */
emr_status fit_check_report(const emr_match_report *report, emr_error *error);

#endif
