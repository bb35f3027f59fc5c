/* pipelines.h - models that lie in folders of their own: the components of a pipeline, the snapshots of a
 * cache. */
#ifndef EMR_CHECKPOINT_PIPELINES_H
#define EMR_CHECKPOINT_PIPELINES_H

#include "checkpoint/word_list.h"
#include "core/memory.h"
#include "emr/io.h"

/* Adds the folders in a directory that hold weights themselves, in order; with `pipeline`, a file in the
 * directory, those alone whose names stand there in quotation marks. */
emr_status emr_folders_find(emr_word_list *list, const emr_source *source, const char *path,
                            const char *pipeline, const emr_allocator *allocator, emr_error *error);

/* A directory without weights may be a part of the hub's cache, "models--ORG--NAME" with "snapshots" in
 * it, or hold one. *next is then the directory to look into instead, the caller's; else NULL. Fails with a
 * sentence where there are several, or none. */
emr_status emr_cache_follow(char **next, const char *path, const emr_allocator *allocator, emr_error *error);

#endif
