/* rescale.h - how methods that keep values at random make up for those that they drop: the parameter rescale of DARE and
 * DELLA.
 *
 *     0  not at all
 *     1  as mergekit: what is kept of a task vector's tensor is multiplied so that its L1 norm is the whole tensor's again;
 *        not where either norm is below 1e-7
 *     2  as published: each value is divided by the probability with which it was kept */
#ifndef EMR_METHOD_RESCALE_H
#define EMR_METHOD_RESCALE_H

#include "method/methods.h"

enum { EMR_RESCALE_NOTHING, EMR_RESCALE_NORM, EMR_RESCALE_PROBABILITY };

#define EMR_RESCALE_PARAMETER                                                                                \
    {                                                                                                        \
        .name = "rescale", .initial = EMR_RESCALE_NORM, .least = EMR_RESCALE_NOTHING,                        \
        .most = EMR_RESCALE_PROBABILITY, .is_whole = 1                                                       \
    }

/* How many norms a stage adds up for a tensor: of each input, whole and of what is kept. */
uint32_t emr_rescale_norms(const emr_method_tensor *tensor);

/* What an input's kept values are multiplied by, from those norms. */
float emr_rescale_factor(const emr_method_tensor *tensor, uint32_t input);

#endif
