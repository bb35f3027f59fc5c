/* layout.h - how a pass uses the memory it was allowed: windows, workers, and what is left for the step. */
#ifndef EMR_PASS_LAYOUT_H
#define EMR_PASS_LAYOUT_H

#include "align/alignment.h"

struct emr_step;

typedef struct emr_layout {
    size_t window_params; /* flat parameters of a window, a multiple of EMR_CHUNK */
    size_t job_params;    /* of them that a worker reads and computes at a time; as much of a multiple */
    size_t span_params;   /* no window crosses a multiple of this: a whole number of blocks, and of windows or
                             of a   window's part */
    size_t window_size, worker_size; /* bytes a parameter that windows hold, and that a worker reads */
    size_t max_items;                /* of a window */
    size_t n_workers;
    bool single;     /* one window holds everything */
    uint64_t memory; /* bytes of working memory in all */
} emr_layout;

/* What a layout is chosen for. */
typedef struct emr_layout_needs {
    const emr_alignment *alignment;
    const struct emr_step *step;
    void *plan;            /* the step's */
    uint64_t cap, besides; /* bytes of memory: allowed; and taken in any layout */
    size_t block_params;   /* a power of two: the span is a multiple of it; 1 where that does not matter */
    uint32_t concurrency;  /* 0: the calling thread alone */
} emr_layout_needs;

/* The fastest layout within the cap; EMR_ELIMIT says how much would do. */
emr_status emr_layout_choose(emr_layout *layout, const emr_layout_needs *needs, emr_error *error);

#endif
