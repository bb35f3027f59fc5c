/* part_step.h - what a merge writes of itself into the file of a part, besides the blocks of its streams; and how
 * who joins parts takes it up. */
#ifndef EMR_MERGE_PART_STEP_H
#define EMR_MERGE_PART_STEP_H

#include "merge/step_state.h"

/* Writing (part_step.c). The streams go on where the range begins. */
emr_status emr_part_step_begin(emr_merge_step *step, emr_error *error);
/* Before an item is folded, and afterwards; then once all are. */
void emr_part_step_before(emr_merge_step *step, const emr_item *item, size_t index);
emr_status emr_part_step_fold(emr_merge_step *step, const emr_item *item, size_t index, emr_error *error);
emr_status emr_part_step_merged(emr_merge_step *step, emr_error *error);
emr_status emr_part_step_kept(emr_merge_step *step, uint32_t entry, emr_error *error);
emr_status emr_part_step_private(emr_merge_step *step, uint32_t task, const emr_tensor *tensor,
                                 emr_error *error);
emr_status emr_part_step_raw(emr_merge_step *step, const void *bytes, size_t n, emr_error *error);
emr_status emr_part_step_finish(emr_merge_step *step, emr_error *error);
uint64_t emr_part_step_memory(const emr_merge_plan *plan);

/* Joining (join_step.c): one record after another, parts in their order. */
typedef struct emr_join_step {
    emr_merge_step *step;
    emr_writer *writer;
    size_t n_told;     /* bytes in step->told */
    uint64_t position; /* flat end of the parts so far */
    bool merged;       /* all merged tensors are done */
    bool raw_is_kept;  /* whose bytes come */
} emr_join_step;

emr_status emr_join_step_create(emr_join_step *join, emr_merge_step *step, emr_writer *writer,
                                emr_error *error);
/* What the record holds is in `bytes`. EMR_EFORMAT: it cannot be. */
emr_status emr_join_step_take(emr_join_step *join, const emr_part_record *record, const uint8_t *bytes,
                              emr_error *error);
/* After the last one: the bundle's end. */
emr_status emr_join_step_finish(emr_join_step *join, emr_error *error);
/* Bytes that a record holds at most, but for the one with the description. */
uint64_t emr_join_step_most(const emr_merge_plan *plan);

/* Of an item or tensor: its entry and flags, then numbers; so many bytes. */
enum { EMR_TOLD_HEAD = 8, EMR_TOLD_BEGINS = 1, EMR_TOLD_ENDS = 2 };
size_t emr_told_bytes(const emr_merge_plan *plan);

/* Numbers of a record that speaks of each task, and of a coder besides. */
enum { EMR_N_TALLIES = 3, EMR_N_CODER_TALLIES = 3, EMR_HASH_BYTES = 24 };

#endif
