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
    {EMR_MODULATOR_KIND_MASK, "mask", 1, true, false, mask_kernels},
    {EMR_MODULATOR_KIND_TWO_SIDED, "two-sided", 2, true, false, two_sided_kernels},
    {EMR_MODULATOR_KIND_SIGN, "sign", 1, false, true, sign_kernels},
    {EMR_MODULATOR_KIND_THIN, "thin", 1, false, false, thin_kernels},
    {EMR_MODULATOR_KIND_LEVELS, "levels", 1, false, false, levels_kernels},
};

const emr_kind emr_kind_differences = {0, "differences", 1, false, false, differences_kernels};

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
static const float levels_3[] = {-1.22400636f, 0, 1.22400636f, 0}; /* any code has one */
static const float levels_4[] = {-1.51041761f, -0.452780035f, 0.452780035f, 1.51041761f};
static const float levels_8[] = {-2.1519457f,  -1.34390928f, -0.756005281f, -0.245094179f,
                                 0.245094179f, 0.756005281f, 1.34390928f,   2.1519457f};
static const float levels_16[] = {-2.73258957f,  -2.06901723f,  -1.61804639f,  -1.2562312f,
                                  -0.942340456f, -0.656759119f, -0.388048299f, -0.12839503f,
                                  0.12839503f,   0.388048299f,  0.656759119f,  0.942340456f,
                                  1.2562312f,    1.61804639f,   2.06901723f,   2.73258957f};

const float *emr_kind_levels(uint32_t n)
{
    return n == 3 ? levels_3 : n == 4 ? levels_4 : n == 8 ? levels_8 : n == 16 ? levels_16 : NULL;
}

emr_coding emr_kind_coding(const emr_kind *kind, uint32_t thinning, uint32_t n_levels, uint32_t seed)
{
    bool power = thinning >= 2 && thinning <= 32 && !(thinning & (thinning - 1));
    if (kind->number == EMR_MODULATOR_KIND_THIN)
        return (emr_coding){.rate = power ? EMR_GROUP / thinning : 0, .seed = seed};
    if (kind->number == EMR_MODULATOR_KIND_LEVELS) {
        uint32_t bits = n_levels <= 4 ? 2 : n_levels == 8 ? 3 : 4;
        const float *levels = emr_kind_levels(n_levels);
        return (emr_coding){.rate = levels ? EMR_GROUP * bits : 0, .levels = levels};
    }
    return (emr_coding){.rate = EMR_GROUP};
}
