/* alignment.h - which tensors of a base and its tasks belong together, decided from names, dtypes and shapes
 * alone, and where the merged ones lie in flat space: one after another, each from a multiple of 64
 * parameters on (docs/bundle-format.md). No method is known here. */
#ifndef EMR_ALIGN_ALIGNMENT_H
#define EMR_ALIGN_ALIGNMENT_H

#include "emr/merge.h"
#include "align/arrange.h"
#include "align/policy.h"
#include "model/model.h"

/* Where a task's model has a tensor from. */
typedef enum emr_part { EMR_PART_BASE, EMR_PART_OWN, EMR_PART_ABSENT } emr_part;

/* One tensor name, over all models. */
typedef struct emr_entry {
    const emr_tensor *base;   /* NULL: absent from the base */
    const emr_tensor *sample; /* the base's tensor, else the first task's */
    const char *reason;
    uint64_t first_param; /* merged: its place in flat space */
    uint64_t first_row;   /* merged: rows of the merged tensors before it */
    uint8_t
        *parts; /* an emr_part for each task; NULL: all have it from the base, merged. For what is kept from
                       the base where it is equal they are known once a pass has compared. */
    uint32_t misfit; /* the first task whose tensor does not fit, or EMR_BASE */
    emr_action action;
    bool any_shape; /* no weight, so tasks may have it in other shapes and dtypes than the base: roles.h */
} emr_entry;

/* The largest elements, in bytes, of one source's merged tensors: of those pushed, and of those read. */
typedef struct emr_element_sizes {
    uint8_t pushed, read;
} emr_element_sizes;

/* What is done with the base's tensors, where that is settled before: a function, and what it is called
 * with. */
typedef struct emr_alignment_choice {
    emr_action (*choose)(const void *chooser, const emr_tensor *base); /* NULL: the policy decides */
    const void *chooser;
} emr_alignment_choice;

typedef struct emr_alignment {
    emr_alignment_choice choice;
    emr_allocator allocator;
    const emr_model *base;
    const emr_task *tasks;
    emr_arranged_sources arranged; /* where models are looked at otherwise than they are */
    uint32_t n_tasks, n_sources;
    emr_entry *entries; /* merged ones first, then the base's others, then those absent from the base */
    uint32_t n_entries, n_merged, n_base;
    size_t capacity;
    emr_names names;
    emr_element_sizes *sizes; /* one a source */
    uint64_t merged_params, flat_params;
    uint64_t n_rows;       /* of all merged tensors */
    uint64_t shortest_row; /* of them, in parameters; UINT64_MAX without any */
    uint64_t merged_bytes; /* what reading the merged tensors of all sources reads, */
    uint64_t loose_bytes;  /* and comparing, keeping and carrying the others */
} emr_alignment;

/* EMR_EMISMATCH names task and tensor where the policy says so. Everything given is borrowed. The alignment
 * is 0, but for its choice. */
emr_status emr_align(emr_alignment *alignment, const emr_allocator *allocator, const emr_policy *policy,
                     const emr_model *base, const emr_task *tasks, uint32_t n_tasks, emr_error *error);
void emr_alignment_free(emr_alignment *alignment);

/* The entry of that name, or NULL. */
emr_entry *emr_alignment_find(const emr_alignment *alignment, const char *name);

/* An entry's tensor in one source; NULL where it has none, or, a merged one, none that is asked for. */
const emr_tensor *emr_alignment_tensor(const emr_alignment *alignment, const emr_entry *entry,
                                       uint32_t source);

static inline emr_part emr_entry_part(const emr_entry *entry, uint32_t task)
{
    return entry->parts ? (emr_part)entry->parts[task] : EMR_PART_BASE;
}

/* Whether a task's model has this tensor from the base (merged or kept), not as its own copy. */
bool emr_entry_from_base(const emr_entry *entry, uint32_t task);

/* Whether some task does. */
bool emr_entry_is_used(const emr_alignment *alignment, const emr_entry *entry);

/* Says whose tensor a failed read was: who reads knows file and tensor. Returns `status`. */
emr_status emr_name_source(const emr_alignment *alignment, uint32_t source, emr_status status,
                           emr_error *error);

#endif
