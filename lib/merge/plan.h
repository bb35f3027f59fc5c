/* plan.h - the policy table applied: what happens with each tensor, decided from names, dtypes and shapes
 * alone. */
#ifndef EMR_MERGE_PLAN_H
#define EMR_MERGE_PLAN_H

#include "emr/bundle.h"
#include "emr/merge.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/names.h"
#include "model/model.h"

typedef struct emr_task {
    char *name;
    const emr_model *model; /* of a task that a bundle brings along, what history.h makes of it */
} emr_task;

/* One tensor name, over all models. */
typedef struct emr_row {
    const emr_tensor *base;   /* NULL: absent from the base */
    const emr_tensor *sample; /* the base's tensor, else the first task's */
    const char *reason;
    uint64_t first_param; /* merged: position in flat space */
    uint64_t first_row;   /* merged: rows of the merged tensors before it */
    uint64_t base_offset; /* in the bundle's base stream, where there is one */
    uint64_t zeroed;
    emr_hash128 hash;     /* of the base's bytes, once they have been read */
    uint64_t expected[2]; /* what it must be, low and high, */
    bool is_expected;     /* where this is set */
    uint8_t *is_private;  /* not merged: one flag a task, set where the task keeps its own copy */
    emr_action action;
} emr_row;

/* The largest elements, in bytes, of one source's merged tensors: of those pushed, and of those read. */
typedef struct emr_element_sizes {
    uint8_t pushed, read;
} emr_element_sizes;

typedef struct emr_plan {
    emr_allocator allocator;
    const emr_model *base;
    const emr_task *tasks;
    size_t n_tasks;
    const emr_bundle *before; /* the bundle that is added to, or NULL; */
    size_t n_old;             /* its tasks, which are the first: of their merged tensors there are no bytes */
    const emr_merge_options *options; /* borrowed from the merge, private_globs included */
    emr_row *rows; /* merged ones first, then the base's others, then those absent from the base */
    size_t n_rows, capacity, n_merged, n_base;
    emr_names names;
    emr_element_sizes *sizes;                       /* of the base, then of each task */
    uint64_t merged_params, flat_params, row_count; /* row_count: rows of all merged tensors */
    uint64_t shortest_row;                          /* of them, in parameters; UINT64_MAX without any */
    uint64_t bytes_in, bytes_out;
    uint64_t loose_bytes; /* of bytes_out: base, private tensors and row rescalers */
    uint64_t index_bytes; /* of bytes_out: the index but for the block table */
} emr_plan;

/* Decides everything; EMR_EMISMATCH names task and tensor where a policy says "error". */
emr_status emr_plan_make(emr_plan *plan, const emr_allocator *allocator, const emr_merge_options *options,
                         const emr_model *base, const emr_task *tasks, size_t n_tasks,
                         const emr_bundle *before, emr_error *error);
void emr_plan_free(emr_plan *plan);

/* Bytes of all values that the bundle has for a parameter, and bits of all tasks' planes. */
size_t emr_value_size(const emr_plan *plan);
size_t emr_plane_count(const emr_plan *plan);

/* The row of that name, or NULL. */
emr_row *emr_plan_find(const emr_plan *plan, const char *name);

/* Parameters of one row of a tensor that has any. */
uint64_t emr_row_length(const emr_tensor *tensor);

/* The tensor of a row in one source, 0 being the base and t + 1 task t; NULL where it has none, or, a merged
 * one, has it in the bundle that is added to. */
const emr_tensor *emr_source_tensor(const emr_plan *plan, size_t row, size_t source);

/* Says whose tensor a failed read was: who reads knows file and tensor. Source 0 is the base, t + 1 task t.
 */
emr_status emr_plan_name_source(const emr_plan *plan, size_t source, emr_status status, emr_error *error);

/* Whether a task's model has this tensor from the base (merged or kept), not as its own copy. */
bool emr_row_from_base(const emr_row *row, size_t task);

#endif
