/* fit_configuration.c - config.json of a model whose hidden layers PLeaS made wider. */
#include "fitting.h"

#include "configuration.h"

#include <string.h>

/* The width of hidden layers as config.json has it: under *key. */
static json_int_t configured_width(const json_t *config, const char **key)
{
    static const char *const keys[] = {"intermediate_size", "n_inner"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        *key = keys[i];
        if (json_is_integer(json_object_get(config, *key)))
            return json_integer_value(json_object_get(config, *key));
    }
    return 4 * json_integer_value(json_object_get(config, "n_embd")); /* what GPT-2 means by null */
}

/* The width that all groups of `before` units have now; 0: they differ, or groups of other widths changed. */
static uint64_t common_width(const fit_job *j, const emr_pleas_width *widths, uint32_t n, uint64_t before)
{
    emr_unit_group group = EMR_INIT(emr_unit_group);
    uint64_t after = 0;
    for (uint32_t i = 0, at = 0; at < n && emr_permutation_spec_get_group(j->spec, i, &group) == EMR_OK;
         i++) {
        if (strcmp(group.name, widths[at].group) != 0)
            continue;
        uint64_t width = 2 * group.n_units - widths[at++].n_merged;
        bool is_hidden = group.n_units == before;
        if (is_hidden ? after && after != width : width != group.n_units)
            return 0;
        after = is_hidden ? width : after;
    }
    return after;
}

static bool is_widened(const fit_job *j)
{
    for (uint32_t i = 0; i < emr_model_n_tensors(j->merged); i++) {
        const emr_tensor *t = emr_model_tensor(j->merged, i);
        if (!emr_tensor_same_shape(t, emr_model_find_tensor(j->models[0], emr_tensor_name(t))))
            return true;
    }
    return false;
}

emr_status configure_widths(fit_job *j, const arguments *a, const emr_pleas_width *widths, uint32_t n_widths,
                            emr_error *error)
{
    json_t *config = NULL;
    const char *key;
    emr_status status = is_widened(j) ? configuration_load(&config, j->merged, error) : EMR_OK;
    if (status || !config)
        return status;
    uint64_t width = common_width(j, widths, n_widths, (uint64_t)configured_width(config, &key));
    if (width) {
        json_object_set_new(config, key, json_integer((json_int_t)width));
        char *text = configuration_text(config);
        status = text ? configuration_replace(&j->configured, j->merged, text, error) : EMR_ENOMEM;
    } else if (!a->quiet) {
        complain(
            0, "note: config.json cannot say how wide layers are now: give all hidden layers as many pairs");
    }
    json_decref(config);
    return status;
}
