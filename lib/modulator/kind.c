/* kind.c - the table of kind.h. Freestanding. */
#include "modulator/kind.h"

static const emr_code_kernels *mask_kernels(const emr_kernels *variant)
{
    return &variant->mask;
}

static const emr_kind kinds[] = {
    {
        .number = EMR_MODULATOR_KIND_MASK,
        .name = "mask",
        .bits = 1,
        .n_scales = 1,
        .has_unified = true,
        .kernels = mask_kernels,
    },
};

const emr_kind *emr_kind_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].number == number)
            return &kinds[i];
    return NULL;
}

emr_code_kernels emr_kind_kernels(const emr_kind *kind, const emr_kernels *variant)
{
    const emr_code_kernels *own = kind->kernels(variant), *plain = kind->kernels(&emr_kernels_c);
    return (emr_code_kernels){.apply = own->apply ? own->apply : plain->apply,
                              .dot = own->dot ? own->dot : plain->dot};
}
