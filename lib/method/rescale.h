/* rescale.h - how methods make up for the values that they drop: the parameter rescale of DARE and DELLA, and of TIES and
 * Breadcrumbs, which have 0 and 1 alone.
 *
 *     0  not at all
 *     1  as mergekit: what is kept of a task vector's tensor is multiplied so that its L1 norm is the whole tensor's again;
 *        not where either norm is below 1e-7
 *     2  as published: each value is divided by the probability with which it was kept, or multiplied by its inverse */
#ifndef EMR_METHOD_RESCALE_H
#define EMR_METHOD_RESCALE_H

#include "method/methods.h"

enum { EMR_RESCALE_NOTHING, EMR_RESCALE_NORM, EMR_RESCALE_PROBABILITY };

/* Of methods that keep values at random. */
#define EMR_RESCALE_PARAMETER                                                                                \
    {                                                                                                        \
        .name = "rescale", .initial = EMR_RESCALE_NORM, .least = EMR_RESCALE_NOTHING,                        \
        .most = EMR_RESCALE_PROBABILITY, .is_whole = 1                                                       \
    }

/* Of methods that keep the largest. */
#define EMR_RESCALE_FLAG                                                                                     \
    {                                                                                                        \
        .name = "rescale", .initial = EMR_RESCALE_NOTHING, .most = EMR_RESCALE_NORM, .is_whole = 1           \
    }

/* How many norms a stage adds up for a tensor: of each input, whole and of what is kept. */
uint32_t emr_rescale_norms(const emr_method_tensor *tensor);

/* What an input's kept values are multiplied by; `norms` are those that the stage has found. */
float emr_rescale_factor(const double *norms, uint32_t input);

#endif
