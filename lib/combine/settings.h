/* settings.h - a method's parameters: what was set, and what that makes of each tensor's inputs. */
#ifndef EMR_COMBINE_SETTINGS_H
#define EMR_COMBINE_SETTINGS_H

#include "combine/combination.h"

/* Finds the parameter, and checks that the setting's task and value are possible. */
emr_status emr_setting_check(const emr_combination *combination, const char *parameter, emr_setting *setting,
                             emr_error *error);
/* Adds it behind the others, with a copy of the glob. */
emr_status emr_setting_keep(emr_combination *combination, const emr_setting *setting, const char *glob,
                            emr_error *error);

/* The values for one tensor: n_parameters for each of its inputs. NaN where one must be set and is not. */
void emr_settings_resolve(const emr_combination *combination, const char *name,
                          const emr_combined_input *inputs, uint32_t n_inputs, double *values);

/* EMR_EINVAL where one of them must be set and is not: names parameter, task and tensor. */
emr_status emr_settings_check(const emr_combination *combination, const emr_combined *tensor,
                              emr_error *error);

#endif
