/* window.h - the stretch of flat space that is in work: which parts of which tensors lie in it, cut into
 * items for the kernels, and the bytes of each from every source. */
#ifndef EMR_MERGE_WINDOW_H
#define EMR_MERGE_WINDOW_H

#include "merge/layout.h"
#include "merge/step.h"

/* The part of a tensor that lies in the window; contiguous in every source. */
typedef struct emr_piece {
    size_t row;
    uint64_t first; /* parameter within the tensor */
    uint64_t flat;
    uint64_t n;
} emr_piece;

/* Where one source's bytes of a window are. Sources are numbered from 0, the base; task t is t + 1. */
typedef struct emr_staging {
    /* The base's, and what is pushed: of the whole window, flat position by flat position. The base has two,
     * which take turns, because it is hashed while the next window is in work. */
    uint8_t *window[2];
    size_t window_size;   /* bytes a parameter */
    size_t worker_size;   /* what is read of a task, job by job: bytes a parameter, */
    size_t worker_offset; /* and the source's place in a worker's staging */
} emr_staging;

typedef struct emr_window {
    emr_allocator allocator;
    const emr_plan *plan;
    const emr_layout *layout;
    size_t n_sources;
    emr_staging *sources;
    uint8_t *workers; /* worker_bytes for each */
    size_t worker_bytes;
    unsigned turn; /* of the base's staging */
    emr_piece *pieces;
    const emr_tensor **piece_tensors; /* n_sources for each piece; NULL where a task lacks the tensor */
    emr_item *items;
    size_t *item_pieces;
    const void **item_tasks; /* n_tasks for each item */
    uint8_t *item_dtypes;
    size_t *jobs; /* the first item of each, and after the last one n_items */
    size_t n_pieces, n_items, n_jobs;
    size_t next_row; /* where the next window begins */
    uint64_t next_first;
} emr_window;

emr_status emr_window_create(emr_window **window, const emr_plan *plan, const emr_layout *layout,
                             emr_error *error);
void emr_window_destroy(emr_window **window);

/* Lays out the next stretch; without pieces when no merged tensor is left. */
void emr_window_next(emr_window *window);

/* The tensor of a piece in a source, NULL if a task lacks it. */
const emr_tensor *emr_window_tensor(const emr_window *window, size_t piece, size_t source);

/* Where the bytes of a piece go that are pushed. */
uint8_t *emr_window_pushed(const emr_window *window, size_t piece, size_t source);

/* Reads what has to be read for the items of a job. Concurrent for different jobs and workers. The items'
 * task bytes stay until the worker's next job, the base's until the window after the next is laid out. */
emr_status emr_window_read(emr_window *window, size_t job, size_t worker, emr_error *error);

/* Bytes of all sources. */
uint64_t emr_window_bytes(const emr_window *window);

/* Bytes an element that the staging of a source must hold: of tensors that are pushed or, where it is the
 * base, read; and of a task's tensors that are read. */
size_t emr_window_size(const emr_plan *plan, size_t source);
size_t emr_worker_size(const emr_plan *plan, size_t source);

/* Working memory, for the plan. */
uint64_t emr_window_memory(const emr_plan *plan, const emr_layout *layout);

#endif
