/* methods.c - the library's merging methods by name. */
#include "method/methods.h"

#include <string.h>

static const emr_method *const all_methods[] = {
    &emr_method_arcee_fusion, &emr_method_breadcrumbs,  &emr_method_breadcrumbs_ties,
    &emr_method_consensus,    &emr_method_dare_linear,  &emr_method_dare_ties,
    &emr_method_della,        &emr_method_della_linear, &emr_method_karcher,
    &emr_method_linear,       &emr_method_magmax,       &emr_method_model_stock,
    &emr_method_multislerp,   &emr_method_nearswap,     &emr_method_nuslerp,
    &emr_method_passthrough,  &emr_method_ram,          &emr_method_ramplus_tl,
    &emr_method_sce,          &emr_method_slerp,        &emr_method_task_arithmetic,
    &emr_method_ties,         &emr_method_ties_model,   NULL,
};

const emr_method *emr_method_at(uint32_t i)
{
    return i < sizeof all_methods / sizeof all_methods[0] ? all_methods[i] : NULL;
}

const emr_method *emr_method_find(const char *name)
{
    for (uint32_t i = 0; name && all_methods[i]; i++)
        if (strcmp(all_methods[i]->name, name) == 0)
            return all_methods[i];
    return NULL;
}
