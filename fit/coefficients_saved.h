/* coefficients_saved.h - what the metadata of a saved state say: of which tasks and groups its numbers are, and how they are used. */
#ifndef EMR_FIT_COEFFICIENTS_SAVED_H
#define EMR_FIT_COEFFICIENTS_SAVED_H

#include "coefficients.h"

#include "json.h"

struct fit_saved {
    const emr_model *model;
    emr_coefficient_map map;
    double keep;
    uint64_t n_steps;
    json_t *tasks, *groups; /* names, all different */
    json_t *tensors;        /* of each that is merged, the number of its group, of which there is one */
    json_t *fixed;          /* groups' numbers */
};

/* EMR_EFORMAT: they are not those of a state. Close it in any case. */
emr_status fit_saved_open(fit_saved *saved, const emr_model *model, emr_error *error);
void fit_saved_close(fit_saved *saved);

/* The number of a tensor's group; NO_NUMBER: it is not merged. */
uint32_t fit_saved_group(const fit_saved *saved, const char *tensor);

/* A state that says what is wrong. */
emr_status fit_bad_state(const emr_model *model, const char *why, emr_error *error);

/* Sets a state's metadata to the handle's. */
emr_status fit_saved_write(const emr_coefficients *coefficients, emr_model *model, emr_error *error);

#endif
