/* exclude.c - see exclude.h. */
#include "exclude.h"

#include "emr/checkpoint.h"
#include "emr/policy.h"

#include <string.h>

bool fit_is_excluded(const char *const *globs, uint32_t n_globs, const char *name)
{
    bool is_file = strncmp(name, EMR_FILE_PREFIX, sizeof EMR_FILE_PREFIX - 1) == 0;
    for (uint32_t i = 0; !is_file && i < n_globs; i++)
        if (emr_glob_matches(globs[i], name))
            return true;
    return false;
}

emr_status fit_check_exclude(const char *const *globs, uint32_t n_globs, const emr_model *model,
                             emr_error *error)
{
    const uint32_t n = emr_model_n_tensors(model);
    for (uint32_t g = 0; g < n_globs; g++) {
        uint32_t i = 0;
        while (i < n && !fit_is_excluded(&globs[g], 1, emr_tensor_name(emr_model_tensor(model, i))))
            i++;
        if (i == n)
            return emr_error_format(error, EMR_EINVAL, "%F: exclude: '%s' matches no tensor",
                                    emr_model_name(model), globs[g] ? globs[g] : "NULL");
    }
    return EMR_OK;
}
