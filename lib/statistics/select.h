/* select.h - the k-th largest of very many keys, exactly: where lists are cut (emr/method.h).
 *
 * Memory is bounded and work is parallel; the result depends on neither. A sample guesses an interval for each cut; a
 * reading counts what is above it and collects what is inside. Where the guess was wrong, or more is inside than memory
 * holds, another reading narrows the interval by a histogram, and so on until it is found: one reading mostly, four at the
 * very most but where memory is tiny. */
#ifndef EMR_STATISTICS_SELECT_H
#define EMR_STATISTICS_SELECT_H

#include "core/work.h"

/* Where keys come from: n_lists lists of `count` keys, at least 0 and finite. Every reading must give the same. Callbacks
 * of different workers run at the same time. */
typedef struct emr_key_source {
    void *context;
    /* Reads what keys [first, first + n) are made from into the worker's memory: n is at most `chunk`, and `first` and, but
     * at the end, n are multiples of the granule. */
    emr_status (*load)(void *context, size_t worker, uint64_t first, size_t n, emr_error *error);
    /* The n keys of what that worker has loaded last. */
    void (*keys)(void *context, size_t worker, uint32_t list, float *keys);
    /* Where they lie already, signs and all: those do not count. NULL, and where it returns NULL, `keys` is asked. */
    const float *(*find_keys)(void *context, size_t worker, uint32_t list);
    /* Hears, on the thread that asked, that so many more keys were read; may be NULL. What it fails with ends the
     * search. */
    emr_status (*advance)(void *context, uint64_t n, emr_error *error);
    uint64_t count;
    size_t chunk;     /* at least the granule */
    uint64_t granule; /* 1 at least */
    uint32_t n_lists;
    const struct emr_kernels *kernels; /* NULL: the best for this processor, which takes a while to ask for */
} emr_key_source;

/* A list's k largest. Of equal keys those in front are larger. */
typedef struct emr_cut {
    uint64_t k;
    uint32_t list;
    /* Found: two numbers for emr_method_is_above. The key of the k-th, and the position behind it, or `count` where all keys
     * that equal it are among the k. k = 0: infinity and 0. k > count: 0 and `count`; neither needs a reading. */
    double found[2];
} emr_cut;

/* Cuts of the same list are side by side, lists in ascending order. Work memory is from the workers' allocator: memory_bytes
 * of it, or emr_select_memory() if that is more. Fails as `load` does, with EMR_ENOMEM, or, EMR_EIO, where keys were not
 * the same in every reading. */
emr_status emr_select_cuts(const emr_key_source *source, const emr_workers *workers, uint64_t memory_bytes,
                           emr_cut *cuts, size_t n, emr_error *error);

/* The least memory that n cuts take. */
uint64_t emr_select_memory(const emr_key_source *source, size_t n_workers, size_t n);

#endif
