/* fidelity.c - see fidelity.h. */
#include "merge/fidelity.h"

#include "numeric/convert.h"
#include "numeric/kernels.h"
#include "numeric/root.h"

#include <float.h>

static float as_finite(double x)
{
    return x > (double)FLT_MAX ? FLT_MAX : (float)x;
}

emr_fidelity emr_fidelity_of(double tt, double tv, double vv)
{
    const float unknown = emr_f32_from_bits(EMR_NAN_F32);
    emr_fidelity f = {.size = sizeof f, .error = unknown, .cosine = unknown, .coefficient = unknown};
    if (!(tt > 0))
        return f;
    double error = (vv - 2 * tv + tt) / tt, length = emr_square_root(vv) * emr_square_root(tt);
    f.error = as_finite(error > 0 ? error : 0);
    f.cosine = length > 0 ? as_finite(tv < length ? tv / length : 1) : 0;
    f.coefficient = as_finite(tv / tt);
    return f;
}
