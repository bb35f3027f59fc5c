/* shard_name.h - how the files that a model is split into are called: STEM-00001-of-00003ENDING. */
#ifndef EMR_CHECKPOINT_SHARD_NAME_H
#define EMR_CHECKPOINT_SHARD_NAME_H

#include "core/memory.h"

#include <stddef.h>

/* The path of shard `number`, counted from 1, of n; STEM and the ending alone where there is one shard. The
 * stem is the first `length` bytes of a string. NULL when there is no memory. */
char *emr_shard_path(const emr_allocator *allocator, const char *stem, size_t length, size_t number, size_t n,
                     const char *ending);

/* The length of such a path's stem; 0 where it is none. */
size_t emr_shard_stem(const char *path, const char *ending, size_t *number, size_t *n);

#endif
