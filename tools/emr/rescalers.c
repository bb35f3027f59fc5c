/* rescalers.c - a bundle's rescalers as JSON. */
#include "cli.h"

#include <stdlib.h>

/* A task's rescalers of one tensor: a number, or an array of them per row. */
static emr_status tensor_rescalers(json_t **value, emr_modulator *m, uint32_t tensor, uint32_t per,
                                   emr_error *error)
{
    size_t n = (size_t)emr_modulator_n_rescalers(m, tensor);
    float *numbers = malloc((n ? n : 1) * sizeof *numbers);
    if (!numbers)
        return EMR_ENOMEM;
    emr_status status = emr_modulator_read_rescalers(m, tensor, 0, n, numbers, error);
    if (!status && per == EMR_RESCALE_PER_ROW) {
        *value = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(*value, json_real((double)numbers[i]));
    } else if (!status) {
        *value = json_real((double)numbers[0]);
    }
    free(numbers);
    return status;
}

emr_status rescalers_json(json_t **value, const emr_bundle *b, uint32_t task, emr_error *error)
{
    emr_modulator *m = NULL;
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_task_info t = EMR_INIT(emr_task_info);
    emr_status status = emr_bundle_get_info(b, &info);
    if (!status)
        status = emr_bundle_get_task(b, task, &t);
    if (!status && info.rescale_per == EMR_RESCALE_PER_MODEL)
        *value = json_real((double)t.rescaler);
    if (status || info.rescale_per == EMR_RESCALE_PER_MODEL)
        return status;
    *value = json_object();
    status = emr_bundle_open_modulator(&m, b, task, NULL, error);
    for (uint32_t i = 0; !status && i < info.n_merged; i++) {
        json_t *numbers = NULL;
        status = tensor_rescalers(&numbers, m, i, info.rescale_per, error);
        if (!status)
            json_object_set_new(*value, emr_modulator_tensor_name(m, i), numbers);
    }
    emr_modulator_destroy(&m);
    return status;
}
