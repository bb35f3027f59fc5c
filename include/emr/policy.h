/* policy.h - which tensors of a base and its tasks belong together, and what becomes of the others.
 *
 *     const char *const heads[] = {"classifier.*", "lm_head.weight"};
 *     emr_policy policy = EMR_INIT(emr_policy);
 *     policy.private_globs = heads;
 *     policy.n_private_globs = 2;
 */
#ifndef EMR_POLICY_H
#define EMR_POLICY_H

#include "emr/export.h"

/* What to do where a tensor has another shape in a task than in the base, or is a float in only one of them.
 */
typedef uint32_t emr_on_mismatch;
enum {
    EMR_ON_MISMATCH_ERROR = 0,  /* EMR_EMISMATCH, naming task and tensor */
    EMR_ON_MISMATCH_PRIVATE = 1 /* every task keeps its own copy */
};

/* What to do where a task lacks a tensor of the base. */
typedef uint32_t emr_on_missing;
enum {
    EMR_ON_MISSING_ERROR = 0, /* EMR_EMISMATCH, naming task and tensor */
    EMR_ON_MISSING_BASE = 1   /* the task has the base's */
};

/* Zero means the default. Copied. */
typedef struct emr_policy {
    size_t size;
    const char *const *private_globs; /* tensors whose names match one stay private; '*', '?', '[a-z]' */
    uint32_t n_private_globs;
    emr_on_mismatch on_mismatch;
    emr_on_missing on_missing;
    uint32_t reserved;
} emr_policy;

#endif
