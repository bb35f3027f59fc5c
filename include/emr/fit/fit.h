/* fit.h - the whole public interface of libemr-fit: merging with a few samples (docs/fitting.md). The rules of emr.h hold. */
#ifndef EMR_FIT_FIT_H
#define EMR_FIT_FIT_H

#include "emr/fit/adam.h"
#include "emr/fit/coefficients.h"
#include "emr/fit/ensemble.h"
#include "emr/fit/gram.h"
#include "emr/fit/losses.h"
#include "emr/fit/match.h"
#include "emr/fit/permutation.h"
#include "emr/fit/pleas.h"
#include "emr/fit/regmean.h"
#include "emr/fit/spectral.h"
#include "emr/fit/surgery.h"
#include "emr/fit/zip.h"

#endif
