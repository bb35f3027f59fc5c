/* rescalers.c - the rescalers of a bundle's tasks that use the unified vector: as JSON, and in a table. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>

/* What shares one, or two of a mask of two sides: for the bits that are 1, and for those that are 0. */
static json_t *group_json(const float *numbers, uint32_t n)
{
    return n == 1 ? json_real((double)numbers[0])
                  : json_pack("[f, f]", (double)numbers[0], (double)numbers[1]);
}

/* A task's rescalers of one tensor: one group, or an array of them per row. */
static emr_status tensor_rescalers(json_t **value, emr_modulator *m, uint32_t tensor,
                                   const emr_modulation_spec *spec, emr_error *error)
{
    const uint32_t sides = spec->kind == EMR_MODULATOR_KIND_TWO_SIDED ? 2 : 1;
    size_t n = (size_t)emr_modulator_n_rescalers(m, tensor);
    float *numbers = calloc(n + sides, sizeof *numbers);
    if (!numbers)
        return EMR_ENOMEM;
    emr_status status = emr_modulator_read_rescalers(m, tensor, 0, n, numbers, error);
    if (!status && spec->rescale_per == EMR_RESCALE_PER_ROW) {
        *value = json_array();
        for (size_t i = 0; i < n; i += sides)
            json_array_append_new(*value, group_json(numbers + i, sides));
    } else if (!status) {
        *value = group_json(numbers, sides);
    }
    free(numbers);
    return status;
}

static emr_status modulator_rescalers(json_t **value, emr_modulator *m, const emr_modulation_spec *spec,
                                      emr_error *error)
{
    emr_status status = EMR_OK;
    if (spec->rescale_per == EMR_RESCALE_PER_MODEL)
        return tensor_rescalers(value, m, 0, spec, error);
    *value = json_object();
    for (uint32_t i = 0; !status && i < emr_modulator_n_tensors(m); i++) {
        json_t *numbers = NULL;
        status = tensor_rescalers(&numbers, m, i, spec, error);
        if (!status)
            json_object_set_new(*value, emr_modulator_tensor_name(m, i), numbers);
    }
    return status;
}

emr_status rescalers_json(json_t **value, const emr_bundle *b, uint32_t task, emr_error *error)
{
    emr_modulator *m = NULL;
    emr_task_info t = EMR_INIT(emr_task_info);
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    emr_status status = emr_bundle_get_task(b, task, &t);
    if (!status)
        status = emr_bundle_get_modulation(b, task, &spec, NULL);
    if (status)
        return status;
    if (!has_masks(&spec)) {
        *value = json_null();
        return EMR_OK;
    }
    status = emr_bundle_open_modulator(&m, b, task, NULL, error);
    if (!status && emr_modulator_n_tensors(m))
        status = modulator_rescalers(value, m, &spec, error);
    else if (!status)
        *value = json_real((double)t.rescaler);
    emr_modulator_destroy(&m);
    return status;
}

/* One number of the whole model is worth a column, more are not. */
const char *rescaler_text(const emr_bundle *b, uint32_t task, char text[32])
{
    json_t *value = NULL;
    emr_error error;
    emr_modulation_spec spec = EMR_INIT(emr_modulation_spec);
    if (emr_bundle_get_modulation(b, task, &spec, NULL) || spec.rescale_per != EMR_RESCALE_PER_MODEL ||
        rescalers_json(&value, b, task, &error))
        value = NULL;
    if (json_is_real(value))
        snprintf(text, 32, "%.6f", json_real_value(value));
    else if (json_is_array(value))
        snprintf(text, 32, "%.4f/%.4f", json_real_value(json_array_get(value, 0)),
                 json_real_value(json_array_get(value, 1)));
    else
        snprintf(text, 32, "-");
    json_decref(value);
    return text;
}
