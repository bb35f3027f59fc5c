/* rescale.c - see rescale.h. */
#include "method/rescale.h"

uint32_t emr_rescale_norms(const emr_method_tensor *tensor)
{
    return 2 * tensor->n_inputs;
}

float emr_rescale_factor(const double *norms, uint32_t input)
{
    double whole = norms[2 * (size_t)input], kept = norms[2 * (size_t)input + 1];
    return whole < 1e-7 || kept < 1e-7 ? 1 : (float)(whole / kept);
}
