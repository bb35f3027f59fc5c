/* adapter.h - an adapter's configuration beside its weights, for opening and writing. */
#ifndef EMR_CHECKPOINT_ADAPTER_H
#define EMR_CHECKPOINT_ADAPTER_H

#include "emr/checkpoint.h"
#include "checkpoint/outputs.h"
#include "model/model.h"

/* The name without ".safetensors" of the file that PEFT looks for. */
#define EMR_ADAPTER_STEM "adapter_model"
/* The same of the file that diffusers looks for. */
#define EMR_LORA_STEM "pytorch_lora_weights"

/* After a safetensors file was opened: if it is called adapter_model.safetensors and a configuration lies
 * beside it, this becomes the model's, instead of one in the file's own metadata. */
emr_status emr_adapter_load(emr_model *model, const emr_source *source, const char *path, emr_error *error);

/* Where weights are written to STEM.safetensors: if that is an adapter's name and the model has a configuration,
 * writes this to one more output beside them. `n_files` is the number of shards, of which PEFT reads one. */
emr_status emr_adapter_write(emr_outputs *outputs, const emr_model *model, const char *stem, size_t n_files,
                             emr_error *error);

#endif
