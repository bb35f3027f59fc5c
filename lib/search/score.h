/* score.h - numbers that may be missing. */
#ifndef EMR_SEARCH_SCORE_H
#define EMR_SEARCH_SCORE_H

#include "core/bytes.h"
#include "numeric/kernels.h"

/* What stands where there is no number. */
static inline double emr_no_score(void)
{
    return emr_f32_from_bits(EMR_NAN_F32);
}

/* Whether it is one: neither NaN nor an infinity. */
static inline bool emr_is_score(double score)
{
    return score - score == 0;
}

#endif
