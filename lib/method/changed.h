/* changed.h - what RAM and RAM+ share: which parameters a task has changed, and in which of them it is alone.
 *
 *     a task has changed a parameter where |tau| > epsilon
 *     out = boost_t * tau_t where task t alone has, the mean of theirs where several have, else 0 */
#ifndef EMR_METHOD_CHANGED_H
#define EMR_METHOD_CHANGED_H

#include "emr/method.h"

#include <float.h>

/* The first parameter of each. */
enum { EMR_CHANGED_EPSILON };
#define EMR_CHANGED_EPSILON_PARAMETER                                                                        \
    {                                                                                                        \
        .name = "epsilon", .initial = 1e-5, .most = FLT_MAX                                                  \
    }

/* Whether a task has changed a parameter, as 1 or 0. */
static inline float emr_is_changed(float tau, float epsilon)
{
    return tau > epsilon || tau < -epsilon ? 1.0F : 0.0F;
}

/* How many tasks have changed each of the chunk's elements [at, at + n). */
void emr_count_changed(const emr_method_chunk *chunk, size_t at, size_t n, float *counts);

/* The callback's work. boosts: a number a task; NULL: 1. scratch_floats is 2. */
void emr_combine_changed(const emr_method_chunk *chunk, const double *boosts);

#endif
