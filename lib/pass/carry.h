/* carry.h - the tensors that are not merged, brought to a step once the merged ones have passed: those kept
 * from the base, compared with each task's and hashed; then each task's private ones, read or pushed. A part
 * of a pass that a step may do without. */
#ifndef EMR_PASS_CARRY_H
#define EMR_PASS_CARRY_H

#include "pass/pass.h"

typedef struct emr_carry emr_carry;

/* Counts input bytes that have passed. */
typedef emr_status (*emr_count_fn)(void *context, uint64_t bytes, emr_error *error);

/* `hash` may be NULL. EMR_EUNSUPPORTED where a tensor that is compared or kept is to be pushed. */
emr_status emr_carry_create(emr_carry **carry, const emr_pass_setup *setup, emr_base_hash *hash,
                            emr_count_fn count, void *context, emr_error *error);
void emr_carry_destroy(emr_carry **carry);
uint64_t emr_carry_memory(void);

/* All that is kept. */
emr_status emr_carry_kept(emr_carry *carry, emr_error *error);

/* The private tensors, up to the first whose bytes must be pushed; *done: there is none left. */
emr_status emr_carry_private(emr_carry *carry, bool *done, emr_error *error);

/* The entry of a task's tensor that is private, or may turn out to be: in the order of tasks and of their
 * tensors these are what a range counts. NULL for others. */
emr_entry *emr_carry_candidate(const emr_alignment *alignment, uint32_t task, const emr_tensor *tensor);

/* Bytes of the private tensor that waits for them: as many as it takes of `n`. */
emr_status emr_carry_push(emr_carry *carry, uint32_t source, const void *data, size_t n, size_t *taken,
                          emr_error *error);

/* The private tensor whose bytes a source must push next, NULL if none, and how many of them it may push now.
 */
const emr_tensor *emr_carry_expected(const emr_carry *carry, uint32_t source, uint64_t *bytes);

#endif
