/* rank_parts.h - files that hold a part of each tensor, one file a rank: tensor parallelism. Merged one by one they
 * would make half a model that looks like a whole one. */
#ifndef EMR_CHECKPOINT_RANK_PARTS_H
#define EMR_CHECKPOINT_RANK_PARTS_H

#include "core/memory.h"
#include "emr/io.h"

#include <stdbool.h>

/* Names that were looked at; all zero at first. */
typedef struct emr_rank_parts {
    bool found[2]; /* rank 0, rank 1 */
    bool certain;  /* one that is of many ranks by its own name */
} emr_rank_parts;

/* The last part of a path. Whether it is called like one. */
bool emr_rank_parts_note(emr_rank_parts *parts, const char *name);

/* Whether what was noted are parts: "rank16" alone may be a LoRA's. */
bool emr_rank_parts_are(const emr_rank_parts *parts);

emr_status emr_rank_parts_refuse(const char *path, emr_error *error);

/* Refuses a file that is called like one, where others lie beside it. */
emr_status emr_rank_parts_check_file(const emr_source *source, const char *path,
                                     const emr_allocator *allocator, emr_error *error);

#endif
