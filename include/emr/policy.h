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
    EMR_ON_MISMATCH_ERROR = 0, /* EMR_EMISMATCH, naming task and tensor */
    EMR_ON_MISMATCH_PRIVATE =
        1, /* every task keeps its own copy; but a vocabulary that grew is treated as by ROWS:
                                    512 rows or more, of which at most an eighth is not in all of them */
    EMR_ON_MISMATCH_ROWS =
        2,                  /* where the first dimension alone differs (a vocabulary that grew), the rows that
                                    base and tasks all have are merged, and each task keeps its own rows after
                                    them; else as PRIVATE */
    EMR_ON_MISMATCH_PAD = 3 /* where the rank is equal, all are filled up with zeros to the largest of their
                                    dimensions, merged, and cut again when they come back: for adapters of
                                    different ranks, whose product this leaves as it is; else EMR_EMISMATCH */
};

/* What to do where a task lacks a tensor of the base that is not private. */
typedef uint32_t emr_on_missing;
enum {
    EMR_ON_MISSING_ERROR = 0, /* EMR_EMISMATCH, naming task and tensor */
    EMR_ON_MISSING_BASE = 1,  /* the task has the base's, unchanged */
    EMR_ON_MISSING_ABSENT =
        2 /* the task goes without: its model does not have the tensor, as its checkpoint */
};

/* Zero means the default. Copied. A glob matches whole names: '*', '?', '[a-z]', '[!a-z]', '\\'. */
typedef struct emr_policy {
    size_t size;
    const char *const
        *private_globs; /* tensors that are not merged: each task keeps its own, if it has one */
    const char *const
        *merge_globs; /* tensors that are merged whatever their role (role.h), if they are floats */
    const char *const *absent_globs; /* where a task lacks these, EMR_ON_MISSING_ABSENT */
    const char *const *base_globs;   /* where a task lacks these and not those, EMR_ON_MISSING_BASE */
    uint32_t n_private_globs;
    uint32_t n_merge_globs;
    uint32_t n_absent_globs;
    uint32_t n_base_globs;
    emr_on_mismatch on_mismatch;
    emr_on_missing on_missing; /* where none of these says otherwise */
} emr_policy;

#endif
