/* fuzz_base.h - a base that is made up for a bundle that does not embed its own. */
#ifndef EMR_TESTS_FUZZ_BASE_H
#define EMR_TESTS_FUZZ_BASE_H

#include "fuzz.h"

/* Its bytes follow from their places alone. It gives as many as are left, then fails. */
typedef struct fuzz_pattern {
    uint64_t left;
} fuzz_pattern;

/* A base with the tensors that the bundle wants, but for number `wrong`, which lacks or is of another form
 * (UINT32_MAX: none). The pattern is borrowed. */
emr_model *fuzz_made_up_base(const emr_bundle *bundle, fuzz_pattern *pattern, uint32_t wrong,
                             fuzz_random *random);

/* The same without faults, as the bundle says that its base has them: under own names, in own shapes. */
emr_model *fuzz_own_base(const emr_bundle *bundle, fuzz_pattern *pattern);

/* Whether a task (the base: EMR_BASE) has tensors otherwise than the bundle. */
bool fuzz_is_arranged(const emr_bundle *bundle, uint32_t owner);

#endif
