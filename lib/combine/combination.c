/* combination.c - what a combined model is made of (emr/combine.h): the handle. */
#include "emr/combine.h"

#include "core/error.h"

emr_status emr_combination_create(emr_combination **c, const emr_combination_options *options,
                                  emr_error *error)
{
    (void)options;
    if (c)
        *c = NULL;
    return emr_fail(error, EMR_EUNSUPPORTED, "emr_combination_create: not yet");
}

void emr_combination_destroy(emr_combination **c)
{
    (void)c;
}

emr_status emr_combination_set_base(emr_combination *c, const emr_model *base, emr_error *error)
{
    (void)c, (void)base;
    return emr_fail(error, EMR_EUNSUPPORTED, "not yet");
}

emr_status emr_combination_add_task(emr_combination *c, const char *name, const emr_model *model,
                                    emr_error *error)
{
    (void)c, (void)name, (void)model;
    return emr_fail(error, EMR_EUNSUPPORTED, "not yet");
}

emr_status emr_combination_set_parameter(emr_combination *c, const char *parameter, uint32_t task,
                                         const char *glob, double value, emr_error *error)
{
    (void)c, (void)parameter, (void)task, (void)glob, (void)value;
    return emr_fail(error, EMR_EUNSUPPORTED, "not yet");
}

emr_status emr_combination_get_plan(emr_combination *c, emr_combination_plan *plan, emr_error *error)
{
    (void)c, (void)plan;
    return emr_fail(error, EMR_EUNSUPPORTED, "not yet");
}

emr_status emr_combination_get_tensor(const emr_combination *c, uint32_t i, emr_combined_tensor *tensor)
{
    (void)c, (void)i, (void)tensor;
    return EMR_EUNSUPPORTED;
}

emr_status emr_combination_open_model(emr_combination *c, emr_model **model, emr_error *error)
{
    (void)c;
    if (model)
        *model = NULL;
    return emr_fail(error, EMR_EUNSUPPORTED, "not yet");
}
