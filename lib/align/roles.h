/* roles.h - what the roles of a tensor (emr/role.h), in the base and in each task, make of it. */
#ifndef EMR_ALIGN_ROLES_H
#define EMR_ALIGN_ROLES_H

#include "align/alignment.h"

/* For an entry of the base that is not private: where its tensor is no weight in some model, its action, its
 * reason and its any_shape. EMR_EMISMATCH where it is a code in one model and
 * not, or by another family, in another; EMR_EINVAL where it is to be merged and cannot be. */
emr_status emr_apply_roles(const emr_alignment *alignment, const emr_policy *policy, emr_entry *entry,
                           emr_error *error);

#endif
