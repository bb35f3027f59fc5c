/* adam.c - see adam.h. */
#include "adam.h"

#include <math.h>

static bool is_allowed(double value, double end)
{
    return value >= 0 && value < end; /* false of NaN */
}

emr_status fit_adam_take(emr_adam *taken, const emr_adam *given, emr_error *error)
{
    emr_status status = FIT_TAKE(taken, given, emr_adam, epsilon, error);
    if (status)
        return status;
    if (!is_allowed(taken->lr, INFINITY) || !is_allowed(taken->beta1, 1) || !is_allowed(taken->beta2, 1) ||
        !is_allowed(taken->epsilon, INFINITY))
        return emr_error_format(
            error, EMR_EINVAL, "emr_adam: lr and epsilon are finite and at least 0, beta1 and beta2 below 1");
    taken->lr = taken->lr > 0 ? taken->lr : 1e-3;
    taken->beta1 = taken->beta1 > 0 ? taken->beta1 : 0.9;
    taken->beta2 = taken->beta2 > 0 ? taken->beta2 : 0.999;
    taken->epsilon = taken->epsilon > 0 ? taken->epsilon : 1e-8;
    return EMR_OK;
}

void fit_adam_step(const emr_adam *adam, fit_adam_time *time, double *x, double *m, double *v,
                   const double *gradient, size_t n)
{
    time->power1 *= adam->beta1;
    time->power2 *= adam->beta2;
    double rate = adam->lr / (1 - time->power1), root = sqrt(1 - time->power2);
    for (size_t i = 0; i < n; i++) {
        double g = gradient[i];
        m[i] = adam->beta1 * m[i] + (1 - adam->beta1) * g;
        v[i] = adam->beta2 * v[i] + (1 - adam->beta2) * g * g;
        x[i] -= rate * (m[i] / (sqrt(v[i]) / root + adam->epsilon));
    }
}

fit_adam_time fit_adam_time_after(const emr_adam *adam, uint64_t n)
{
    fit_adam_time time = FIT_ADAM_START, before;
    bool is_moving = true;
    for (; n && is_moving; n--) { /* they end at 0, or at the smallest numbers, where rounding holds them */
        before = time;
        time.power1 *= adam->beta1;
        time.power2 *= adam->beta2;
        is_moving = time.power1 < before.power1 || time.power2 < before.power2;
    }
    return time;
}
