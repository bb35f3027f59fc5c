/* weights_name.h - what the name of a file says: which model's weights it holds, and which part of them. */
#ifndef EMR_CHECKPOINT_WEIGHTS_NAME_H
#define EMR_CHECKPOINT_WEIGHTS_NAME_H

#include "core/memory.h"

/* In the order in which loaders look for them. */
typedef enum emr_weights_form {
    EMR_WEIGHTS_NONE,
    EMR_WEIGHTS_WHOLE, /* model.safetensors, model.fp16.safetensors, x.gguf */
    EMR_WEIGHTS_INDEX, /* model.safetensors.index.json, model.safetensors.index.fp16.json */
    EMR_WEIGHTS_SHARD, /* model-00001-of-00002.safetensors, model.fp16-00001-of-00002.safetensors,
                          model-00001-of-00002.fp16.safetensors */
    EMR_WEIGHTS_PICKLE /* pytorch_model.bin */
} emr_weights_form;

typedef struct emr_weights_name {
    const char *name;
    size_t stem;         /* its first so many bytes are the model's name, "model", */
    const char *variant; /* but for what may follow later: these bytes, ".fp16" */
    size_t variant_bytes;
    uint32_t number, total; /* of a shard: 1 to total */
    emr_weights_form form;
    bool gguf; /* else safetensors, or a pickle */
} emr_weights_name;

/* `name` is the last part of a path, and borrowed. */
emr_weights_name emr_weights_name_read(const char *name);

/* The model's name with its variant: "model.fp16". NULL: out of memory. */
char *emr_weights_model(const emr_weights_name *name, const emr_allocator *allocator);

#endif
