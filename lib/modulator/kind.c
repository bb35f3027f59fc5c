/* kind.c - the table of kind.h. Freestanding. */
#include "modulator/kind.h"

static const emr_kind kinds[] = {
    {
        .number = EMR_KIND_MASK,
        .name = "mask",
        .bits = 1,
        .n_scales = 1,
        .has_unified = true,
    },
};

const emr_kind *emr_kind_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].number == number)
            return &kinds[i];
    return NULL;
}
