/* policy.h - the host's policy, checked and copied. */
#ifndef EMR_ALIGN_POLICY_H
#define EMR_ALIGN_POLICY_H

#include "emr/policy.h"
#include "core/memory.h"

/* Checks a policy by the size rule and copies it, strings too. NULL gives the defaults. */
emr_status emr_policy_take(emr_policy *taken, const emr_policy *given, const emr_allocator *allocator,
                           emr_error *error);
void emr_policy_free(emr_policy *taken, const emr_allocator *allocator);

/* Whether a name matches one of the private patterns. */
bool emr_policy_is_private(const emr_policy *policy, const char *name);
/* Whether it matches one of those that are merged whatever their role. */
bool emr_policy_is_merged(const emr_policy *policy, const char *name);
/* What to do where a task lacks the tensor of that name. */
emr_on_missing emr_policy_missing(const emr_policy *policy, const char *name);

#endif
