/* window.h - the stretch of flat space that is in work: which parts of which tensors lie in it, cut into
 * items for the kernels, and the bytes of each from every source. */
#ifndef EMR_PASS_WINDOW_H
#define EMR_PASS_WINDOW_H

#include "pass/layout.h"
#include "pass/step.h"

/* The part of a tensor that lies in the window; contiguous in every source. */
typedef struct emr_stretch {
    uint64_t first; /* parameter within the tensor */
    uint64_t flat;
    uint64_t n;
    uint32_t entry;
} emr_stretch;

/* Where one source's bytes of a window are. */
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
    const emr_alignment *alignment;
    const emr_layout *layout;
    uint32_t n_sources;
    emr_staging *sources;
    uint8_t *workers; /* worker_bytes for each */
    size_t worker_bytes;
    unsigned turn; /* of the base's staging */
    emr_stretch *stretches;
    const emr_tensor **stretch_tensors; /* n_sources for each stretch; NULL where a task lacks the tensor */
    emr_item *items;
    size_t *item_stretches;
    const void **item_tasks; /* n_tasks for each item */
    emr_dtype *item_dtypes;
    size_t *jobs; /* the first item of each, and after the last one n_items */
    size_t n_stretches, n_items, n_jobs;
    uint32_t next_entry; /* where the next window begins */
    uint64_t next_first;
    uint64_t end; /* of flat space, where there is no more */
} emr_window;

emr_status emr_window_create(emr_window **window, const emr_alignment *alignment, const emr_layout *layout,
                             emr_error *error);
void emr_window_destroy(emr_window **window);

/* Lays out the next stretch; without stretches when no merged tensor is left. */
void emr_window_next(emr_window *window);

/* The tensor of a stretch in a source, NULL if a task lacks it. */
const emr_tensor *emr_window_tensor(const emr_window *window, size_t stretch, uint32_t source);

/* Where the bytes of a stretch go that are pushed. */
uint8_t *emr_window_pushed(const emr_window *window, size_t stretch, uint32_t source);

/* Reads what has to be read for the items of a job. Concurrent for different jobs and workers. The items'
 * task bytes stay until the worker's next job, the base's until the window after the next is laid out. */
emr_status emr_window_read(emr_window *window, size_t job, size_t worker, emr_error *error);

/* Bytes of all sources. */
uint64_t emr_window_bytes(const emr_window *window);

/* Bytes an element that the staging of a source must hold: of tensors that are pushed or, where it is the
 * base, read; and of a task's tensors that are read. */
size_t emr_window_size(const emr_alignment *alignment, uint32_t source);
size_t emr_worker_size(const emr_alignment *alignment, uint32_t source);

/* Working memory, for the alignment. */
uint64_t emr_window_memory(const emr_alignment *alignment, const emr_layout *layout);

#endif
