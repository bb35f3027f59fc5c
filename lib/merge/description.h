/* description.h - a merge as bytes that travel: its options, policy and modulators, and of its models all but
 * the values of tensors. Whoever joins parts makes the plan of it anew, by the code that made it first. */
#ifndef EMR_MERGE_DESCRIPTION_H
#define EMR_MERGE_DESCRIPTION_H

#include "merge/plan.h"

/* A planned merge; release the bytes. EMR_EUNSUPPORTED for models that it cannot say. */
emr_status emr_description_write(const emr_merge_plan *plan, const emr_model *base, const emr_task *tasks,
                                 uint32_t n_tasks, uint8_t **bytes, size_t *n, emr_error *error);

/* What parts of one merge have in common, and those of no other: description and number of parts, and what else
 * the bytes of the bundle depend on. */
emr_hash128 emr_description_fingerprint(const uint8_t *bytes, size_t n, uint32_t n_parts);

/* A merge as it was described. The bytes must outlive it. */
typedef struct emr_described {
    emr_allocator allocator;
    emr_merge_options options;
    emr_policy policy;
    const char **globs; /* of the policy */
    emr_model *base;
    emr_model **models; /* of the tasks */
    emr_task *tasks;
    emr_modulation_spec *specs; /* of the tasks */
    uint32_t n_tasks;
} emr_described;

/* EMR_EFORMAT: it is none. */
emr_status emr_description_read(emr_described *described, const uint8_t *bytes, size_t n,
                                const emr_allocator *allocator, emr_error *error);
void emr_described_free(emr_described *described);

#endif
