/* kind.c - the table of kind.h. Freestanding. */
#include "modulator/kind.h"

#define KERNELS_OF(member)                                                                                   \
    static const emr_code_kernels *member##_kernels(const emr_kernels *variant)                              \
    {                                                                                                        \
        return &variant->member;                                                                             \
    }

KERNELS_OF(mask)
KERNELS_OF(two_sided)
KERNELS_OF(sign)
KERNELS_OF(thin)
KERNELS_OF(levels)
KERNELS_OF(differences)

static const emr_kind kinds[] = {
    {EMR_MODULATOR_KIND_MASK, "mask", 1, true, mask_kernels},
    {EMR_MODULATOR_KIND_TWO_SIDED, "two-sided", 2, true, two_sided_kernels},
    {EMR_MODULATOR_KIND_SIGN, "sign", 1, false, sign_kernels},
    {EMR_MODULATOR_KIND_THIN, "thin", 1, false, thin_kernels},
    {EMR_MODULATOR_KIND_LEVELS, "levels", 1, false, levels_kernels},
};

const emr_kind emr_kind_differences = {0, "differences", 1, false, differences_kernels};

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
                              .dot = own->dot ? own->dot : plain->dot,
                              .dot_steps = own->dot_steps ? own->dot_steps : plain->dot_steps};
}

/* The levels of the quantiser of least error for values with a standard normal distribution (Max 1960). */
static const float levels_3[] = {-1.2240f, 0, 1.2240f};
static const float levels_4[] = {-1.510418f, -0.4527800f, 0.4527800f, 1.510418f};
static const float levels_8[] = {-2.151946f, -1.343909f, -0.7560053f, -0.2450942f,
                                 0.2450942f, 0.7560053f, 1.343909f,   2.151946f};
static const float levels_16[] = {-2.732590f,  -2.069017f,  -1.618046f, -1.256231f, -0.9423404f, -0.6567591f,
                                  -0.3880483f, -0.1283950f, 0.1283950f, 0.3880483f, 0.6567591f,  0.9423404f,
                                  1.256231f,   1.618046f,   2.069017f,  2.732590f};

const float *emr_kind_levels(uint32_t n)
{
    return n == 3 ? levels_3 : n == 4 ? levels_4 : n == 8 ? levels_8 : n == 16 ? levels_16 : NULL;
}
