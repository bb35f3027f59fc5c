/* write.h - the writers of one file, which shards and paths share. */
#ifndef EMR_CHECKPOINT_WRITE_H
#define EMR_CHECKPOINT_WRITE_H

#include "checkpoint/stream.h"

/* Tensors [first, first + n) of a model as one safetensors file. */
emr_status emr_safetensors_write_range(const emr_model *model, uint32_t first, uint32_t n, const emr_io *io,
                                       emr_output *output, emr_error *error);

/* A model as one GGUF file; sets output->total. */
emr_status emr_gguf_write_file(const emr_model *model, const emr_io *io, emr_output *output,
                               emr_error *error);

#endif
