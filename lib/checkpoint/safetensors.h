/* safetensors.h - what the readers of single and sharded checkpoints share. */
#ifndef EMR_CHECKPOINT_SAFETENSORS_H
#define EMR_CHECKPOINT_SAFETENSORS_H

#include "emr/checkpoint.h"
#include "model/model.h"

/* Appends the tensors and the metadata of one safetensors file to a model, in the order of their data. `path`
 * names the file in messages and must outlive the model. */
emr_status emr_safetensors_load(emr_model *model, const emr_io *io, const char *path,
                                const emr_checkpoint_read_options *options, emr_error *error);

/* Opens the shards that an index names, which lie beside it. `add_file` opens one for the model. */
typedef emr_status (*emr_add_file)(emr_model *model, const char *path, emr_error *error);
emr_status emr_shard_index_load(emr_model *model, const emr_source *source, const char *index_path,
                                emr_add_file add_file, emr_error *error);

/* The options' struct by the size rule, with its allocator. */
emr_status emr_checkpoint_take(emr_checkpoint_read_options *taken, emr_allocator *allocator,
                               const emr_checkpoint_read_options *given, emr_error *error);

/* A model out of one file behind the host's I/O, by the function that loads its format. `what` names the
 * caller.
 */
typedef emr_status (*emr_load_file)(emr_model *model, const emr_io *io, const char *path,
                                    const emr_checkpoint_read_options *options, emr_error *error);
emr_status emr_checkpoint_open_io(emr_model **model, const emr_io *io, const char *name,
                                  const emr_checkpoint_read_options *options, emr_load_file load,
                                  const char *what, emr_error *error);

#endif
