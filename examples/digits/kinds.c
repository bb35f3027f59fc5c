/* kinds.c - see kinds.h. Bundles are made in memory, and read there. */
#include "kinds.h"

#include <stdlib.h>

#define SPEC(...)                                                                                            \
    {                                                                                                        \
        .size = sizeof(emr_modulation_spec), __VA_ARGS__                                                     \
    }

static const struct {
    const char *name;
    emr_modulation_spec spec;
} kinds[N_KINDS] = {
    {"mask (the paper)", SPEC(.kind = EMR_MODULATOR_KIND_MASK)},
    {"mask, nearest", SPEC(.kind = EMR_MODULATOR_KIND_MASK, .mask_rule = EMR_MASK_RULE_NEAREST)},
    {"two-sided", SPEC(.kind = EMR_MODULATOR_KIND_TWO_SIDED)},
    {"sign", SPEC(.kind = EMR_MODULATOR_KIND_SIGN)},
    {"thin sign, 1 of 4", SPEC(.kind = EMR_MODULATOR_KIND_THIN, .thinning = 4)},
    {"3 levels", SPEC(.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 3)},
    {"4 levels", SPEC(.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 4)},
};

static emr_status merge_into(emr_buffer *buffer, const emr_modulation_spec *spec, const emr_model *base,
                             emr_model *const tasks[N_TASKS], emr_error *error)
{
    emr_merge *merge = NULL;
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.modulation = spec;
    emr_status status = emr_merge_create(&merge, &options, error);
    if (!status)
        status = emr_merge_set_base(merge, base, error);
    for (size_t t = 0; !status && t < N_TASKS; t++)
        status = emr_merge_add_task(merge, task_names[t], tasks[t], error);
    if (!status)
        status = emr_merge_set_output(merge, emr_buffer_io(buffer), error);
    if (!status)
        status = emr_merge_run(merge, error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status task_accuracy(double *accuracy, const emr_bundle *bundle, uint32_t task,
                                const emr_model *base, const samples *of_task, emr_error *error)
{
    emr_model *model = NULL;
    network *net = malloc(sizeof *net);
    emr_status status = net ? emr_bundle_open_task(&model, bundle, task, base, NULL, error)
                            : emr_error_set(error, EMR_ENOMEM, 0, task_names[task], "out of memory");
    if (!status)
        status = network_read(net, model, error);
    if (!status)
        *accuracy = network_accuracy(net, of_task);
    emr_model_destroy(&model);
    free(net);
    return status;
}

static emr_status measure_kind(kind_result *result, const emr_modulation_spec *spec, const emr_model *base,
                               emr_model *const tasks[N_TASKS], const samples of_tasks[N_TASKS],
                               emr_error *error)
{
    emr_buffer *buffer = NULL;
    emr_bundle *bundle = NULL;
    double sum = 0, accuracy = 0;
    emr_status status = emr_buffer_create(&buffer, NULL, error);
    if (!status)
        status = merge_into(buffer, spec, base, tasks, error);
    if (!status)
        status = emr_bundle_open(&bundle, emr_buffer_io(buffer), NULL, NULL, error);
    for (uint32_t t = 0; !status && t < N_TASKS; t++) {
        status = task_accuracy(&accuracy, bundle, t, base, &of_tasks[t], error);
        sum += accuracy;
    }
    if (!status) {
        result->accuracy = sum / N_TASKS;
        result->bits = 8.0 * (double)emr_buffer_bytes(buffer) / N_TASKS / N_PARAMETERS;
    }
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    return status;
}

emr_status kinds_measure(kind_result found[N_KINDS], const emr_model *base, emr_model *const tasks[N_TASKS],
                         const samples of_tasks[N_TASKS], emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t k = 0; !status && k < N_KINDS; k++) {
        found[k].name = kinds[k].name;
        status = measure_kind(&found[k], &kinds[k].spec, base, tasks, of_tasks, error);
    }
    return status;
}
