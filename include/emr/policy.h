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
 * - ERROR: EMR_EMISMATCH, naming task and tensor.
 * - PRIVATE: every task keeps its own copy. But a vocabulary that grew is treated as by ROWS: 512 rows or
 *   more that all have, and of the longest tensor's at most an eighth that not all have.
 * - ROWS: where the first dimension alone differs, the rows that base and tasks all have are merged, and each
 *   task keeps the rows behind them; else as PRIVATE.
 * - PAD: where the ranks of the tensors are equal, all are filled up with zeros to the largest of their
 *   dimensions, merged, and cut again when they come back; else EMR_EMISMATCH. It is for adapters of
 *   different ranks, whose product this leaves as it is. */
typedef uint32_t emr_on_mismatch;
enum {
    EMR_ON_MISMATCH_ERROR = 0,
    EMR_ON_MISMATCH_PRIVATE = 1,
    EMR_ON_MISMATCH_ROWS = 2,
    EMR_ON_MISMATCH_PAD = 3
};

/* What to do where a task lacks a tensor of the base that is a weight or a code (role.h) and not private.
 * - ERROR: EMR_EMISMATCH, naming task and tensor.
 * - BASE: the task has the base's, unchanged.
 * - ABSENT: the task goes without: what comes back lacks the tensor, as its checkpoint did. */
typedef uint32_t emr_on_missing;
enum { EMR_ON_MISSING_ERROR = 0, EMR_ON_MISSING_BASE = 1, EMR_ON_MISSING_ABSENT = 2 };

/* Zero means the default. Copied. A glob matches whole names: '*', '?', '[a-z]', '[!a-z]', '\\'; see
 * emr_glob_matches. */
typedef struct emr_policy {
    size_t size;
    const char *const *private_globs; /* not merged: each task keeps its own, if it has one */
    const char *const *merge_globs;   /* merged whatever their role (role.h), if they are floats */
    const char *const *absent_globs;  /* where a task lacks these, EMR_ON_MISSING_ABSENT */
    const char *const *base_globs;    /* where a task lacks these and not those, EMR_ON_MISSING_BASE */
    uint32_t n_private_globs;
    uint32_t n_merge_globs;
    uint32_t n_absent_globs;
    uint32_t n_base_globs;
    emr_on_mismatch on_mismatch;
    emr_on_missing on_missing; /* of tensors that match none of these two */
} emr_policy;

EMR_BEGIN_DECLS

/* 1 if the glob matches the whole name, else 0; 0 where one is NULL. For every glob of this library, the rules are:
 * - '*' any bytes, none too; '?' one byte; '[abc]', '[a-z]' one byte of a set; '[!a-z]', '[^a-z]' one that is not in it.
 *   A ']' that comes first belongs to the set; a '[' that no ']' follows is a '['.
 * - '\\' takes the next byte as it is, but not in a set.
 * - Bytes are no characters: '?' is not a letter of several bytes. '.' and '/' are like all others.
 * Time is at most proportional to the product of the lengths; no memory is allocated. */
EMR_API int emr_glob_matches(const char *glob, const char *name);

EMR_END_DECLS

#endif
