/* fidelity.h - how near a task's rebuilt vector v is to its task vector tau, from three sums. */
#ifndef EMR_MERGE_FIDELITY_H
#define EMR_MERGE_FIDELITY_H

#include "emr/modulator.h"

/* Of <tau, tau>, <tau, v> and <v, v>; NaN where there is nothing to be near to. */
emr_fidelity emr_fidelity_of(double tt, double tv, double vv);

#endif
