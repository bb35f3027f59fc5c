/* safetensors_write.h - what writing one file and writing shards share. */
#ifndef EMR_CHECKPOINT_SAFETENSORS_WRITE_H
#define EMR_CHECKPOINT_SAFETENSORS_WRITE_H

#include "emr/checkpoint.h"
#include "model/model.h"

/* Tensors [first, first + n) of a model as one file. *done goes up by the bytes written, for progress out of
 * `total`. */
emr_status emr_safetensors_write_range(const emr_model *model, size_t first, size_t n, const emr_io *io,
                                       const emr_checkpoint_options *options, const emr_allocator *allocator,
                                       uint64_t *done, uint64_t total, emr_error *error);

#endif
