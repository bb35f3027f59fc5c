/* ram.c - RAM: a parameter that one task has changed gets that change, one that several have the mean of
 * theirs (changed.h). */
#include "method/changed.h"
#include "method/methods.h"

static const emr_method_parameter ram_parameters[] = {EMR_CHANGED_EPSILON_PARAMETER};

static emr_status combine_ram(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    emr_combine_changed(c, NULL);
    return EMR_OK;
}

const emr_method emr_method_ram = {
    .size = sizeof emr_method_ram,
    .name = "ram",
    .parameters = ram_parameters,
    .n_parameters = sizeof ram_parameters / sizeof *ram_parameters,
    .combine = combine_ram,
    .scratch_floats = 2,
    .base = EMR_METHOD_BASE_REQUIRED,
};
