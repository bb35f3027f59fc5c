/* directory.h - which of a directory's files are the checkpoint. */
#ifndef EMR_CHECKPOINT_DIRECTORY_H
#define EMR_CHECKPOINT_DIRECTORY_H

#include "checkpoint/safetensors.h"

/* Loads what a directory holds: with `load_file` one file that is a model or an index, with `add_shard`
 * each of several shards without an index. The sentence otherwise names what is there and what to give
 * instead. */
emr_status emr_directory_load(emr_model *model, const emr_source *source, const char *path,
                              emr_add_file load_file, emr_add_file add_shard, emr_error *error);

#endif
