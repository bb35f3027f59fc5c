/* coding.h - the tasks of a merge that share nothing with the others: codes, scales and differences of the
 * items of a window, in parallel, then into the bundle's streams, item by item. docs/algorithm.md has the
 * formulas. */
#ifndef EMR_MERGE_CODING_H
#define EMR_MERGE_CODING_H

#include "bundle/writer.h"
#include "core/save.h"
#include "pass/nonfinite.h"
#include "merge/plan.h"
#include "numeric/encode.h"
#include "pass/step.h"

/* What a tensor, or some of it, came to (emr_encoding). */
typedef struct emr_coded_sums {
    double tt, tq, qq;
} emr_coded_sums;

/* One task. */
typedef struct emr_coder {
    uint32_t task; /* its number in the merge */
    const emr_modulation_spec *spec;
    emr_coding matrix, vector;
    size_t codes, scales, columns, vectors; /* streams */
    double *sums;                           /* of the columns of the tensor that is passing */
    emr_coded_sums told;                    /* of the tensor that has passed */
    /* What is saved. */
    struct emr_coder_state {
        uint64_t n_scales;             /* that were written */
        uint64_t carried, carry;       /* bits of codes that do not fill a byte yet: how many, and they */
        double tt, tq, qq, rr;         /* of the tensor that is passing (emr_encoding) */
        double all_tt, all_tq, all_qq; /* of those before it */
        uint64_t zeroed;
    } state;
} emr_coder;

typedef struct emr_coders {
    emr_merge_plan *plan;
    const emr_kernels *kernels;
    emr_writer *writer; /* borrowed */
    emr_coder *tasks;
    uint32_t n_tasks;
    /* n_tasks for each item of the window: what it came to; of size n 0 where the task lacks the tensor */
    emr_encoding *items;
    emr_nonfinite *found; /* at `bad` */
    uint8_t *bytes;       /* codes, differences and scales of all items, */
    float *sums;          /* and sums of columns */
    float *tau;           /* of each worker */
    uint8_t *columns;     /* scales of a tensor's columns */
} emr_coders;

emr_status emr_coders_create(emr_coders *coders, emr_merge_plan *plan, const emr_kernels *kernels,
                             emr_writer *writer, emr_error *error);
void emr_coders_destroy(emr_coders *coders);
uint64_t emr_coders_memory(const emr_merge_plan *plan, const emr_layout *layout);

/* Of a part that begins at a flat position, as emr_store_begin_at; and for whoever joins parts, where the scales
 * before a flat position end. */
void emr_coders_begin_at(emr_coders *coders, uint64_t flat);
void emr_coders_skip_to(emr_coders *coders, uint64_t flat);

/* As emr_rescaling_tell and _hear: of an item, or of a tensor that has passed. Where a task has scales of its
 * columns, the part in which a tensor ends tells of all of it, and others of nothing. */
void emr_coders_tell(const emr_coders *coders, const emr_item *item, size_t index, uint32_t i,
                     emr_coded_sums *told);
void emr_coders_hear(emr_coders *coders, uint32_t i, const emr_coded_sums *told, bool ends);

/* Makes room for a window's items; codes one (concurrent for different items). */
void emr_coders_begin(emr_coders *coders, const emr_item *items, size_t n_items);
void emr_coders_encode(emr_coders *coders, const emr_item *item, size_t index, size_t worker);

/* The first parameter of an item that cannot be merged, or item->n; and, of the tasks, the number of the
 * first one that it is so of. Then the sentence. */
size_t emr_coders_find_bad(const emr_coders *coders, const emr_item *item, size_t index, uint32_t *task);
emr_status emr_coders_fail_bad(const emr_coders *coders, const emr_item *item, size_t index,
                               emr_error *error);

/* Writes what an item came to, items in order; and at the end of all what is left. */
emr_status emr_coders_fold(emr_coders *coders, const emr_item *item, size_t index, emr_error *error);
emr_status emr_coders_end(emr_coders *coders, emr_error *error);

/* How near one of the tasks was coded, and how many of its values counted as 0; once all has passed. */
emr_fidelity emr_coders_fidelity(const emr_coders *coders, uint32_t i);
uint64_t emr_coders_zeroed(const emr_coders *coders, uint32_t i);

/* Continuing later, as emr_step's. */
void emr_coders_save(const emr_coders *coders, uint32_t entry, emr_put_fn put, void *context);
emr_status emr_coders_restore(emr_coders *coders, uint32_t entry, emr_get_fn get, void *context,
                              emr_error *error);

#endif
