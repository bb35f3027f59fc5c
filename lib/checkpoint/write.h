/* write.h - the writers of one file, which shards and paths share. */
#ifndef EMR_CHECKPOINT_WRITE_H
#define EMR_CHECKPOINT_WRITE_H

#include "checkpoint/gguf.h"
#include "checkpoint/stream.h"

/* Tensors [first, first + n) of a model as one safetensors file. */
emr_status emr_safetensors_write_range(const emr_model *model, uint32_t first, uint32_t n, const emr_io *io,
                                       emr_output *output, emr_error *error);

/* The same as a GGUF file; `split` says which of how many, NULL: the only one. The first file's writer sets
 * output->total for all. */
emr_status emr_gguf_write_range(const emr_model *model, uint32_t first, uint32_t n,
                                const emr_gguf_split *split, const emr_io *io, emr_output *output,
                                emr_error *error);

/* Whether a tensor is one of the file: neither its header, nor a file beside it. */
bool emr_gguf_is_written(const emr_tensor *tensor);

#endif
