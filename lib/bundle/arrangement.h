/* arrangement.h - tensors that tasks or the base have otherwise than the bundle: under other names, in other
 * shapes, in one piece where the bundle has two. */
#ifndef EMR_BUNDLE_ARRANGEMENT_H
#define EMR_BUNDLE_ARRANGEMENT_H

#include "bundle/bundle.h"
#include "model/model.h"

/* The records of an owner: [*first, *end) of the section. */
void emr_bundle_arrangements(const emr_bundle *bundle, uint32_t owner, size_t *first, size_t *end);

/* Whether a record changes more than the name. */
bool emr_bundle_is_reshaped(const emr_bundle *bundle, const emr_arrangement_record *record);

/* A base as its owner has it, as the bundle has it: NULL where that is the same. `whole`: rows that are not in the
 * bundle are there too. The given base must outlive it. */
emr_status emr_bundle_arrange_base(emr_model **arranged, const emr_bundle *bundle, const emr_model *base,
                                   bool whole, const emr_allocator *allocator, emr_error *error);

/* For each tensor of a task, by its number (EMR_SECTION_ARRANGEMENT's): where its record is, and whether it is the
 * rest of another one. */
typedef struct emr_arranged_task {
    uint32_t *records; /* position in the section; NULL: nothing is arranged */
    size_t n;
} emr_arranged_task;

#define EMR_NOT_ARRANGED  UINT32_MAX
#define EMR_ARRANGED_REST (UINT32_MAX - 1)

emr_status emr_arranged_task_read(emr_arranged_task *arranged, const emr_bundle *bundle, uint32_t task,
                                  const emr_allocator *allocator, emr_error *error);
void emr_arranged_task_free(emr_arranged_task *arranged, const emr_allocator *allocator);

static inline uint32_t emr_arranged_task_record(const emr_arranged_task *arranged, size_t number)
{
    return arranged->records ? arranged->records[number] : EMR_NOT_ARRANGED;
}

#endif
