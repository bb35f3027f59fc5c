/* model.h - a model: an ordered set of named tensors. Opened from a checkpoint (checkpoint.h), viewed out of
 * a bundle (bundle.h), or built by the host tensor by tensor. */
#ifndef EMR_MODEL_H
#define EMR_MODEL_H

#include "emr/allocator.h"
#include "emr/export.h"
#include "emr/status.h"
#include "emr/tensor.h"

typedef struct emr_model emr_model;

EMR_BEGIN_DECLS

/* An empty model. `name` is what messages call it (a path, say); NULL means "model". */
EMR_API emr_status emr_model_create(emr_model **model, const char *name, const emr_allocator *allocator,
                                    emr_error *error);
EMR_API void emr_model_destroy(emr_model **model);

/* A model named "zeros" with the float tensors of another one: names, shapes, dtypes and order, and all
 * values +0. It is the base of models that were not fine-tuned from one, such as adapters. It takes memory
 * for names and shapes alone, has no metadata, and does not need `like` afterwards. */
EMR_API emr_status emr_model_create_zeros(emr_model **model, const emr_model *like, const emr_allocator *allocator,
                                   emr_error *error);

/* Appends a tensor. EMR_EEXIST if the name is taken; EMR_EINVAL for an unknown dtype, a size that does not
 * fit in 63 bits or is no whole number of bytes, or more than one source of bytes. After a failure the model
 * is as before. Tensors got from the model earlier stay valid. */
EMR_API emr_status emr_model_add(emr_model *model, const emr_tensor_desc *desc, emr_error *error);

/* Sets one entry of the model's metadata (safetensors' __metadata__), replacing what was there. */
EMR_API emr_status emr_model_set_metadata(emr_model *model, const char *key, const char *value,
                                          emr_error *error);

EMR_API const char *emr_model_name(const emr_model *model);
EMR_API size_t emr_model_n_tensors(const emr_model *model);

/* The i-th tensor in the model's order, or NULL past the end. */
EMR_API const emr_tensor *emr_model_tensor(const emr_model *model, size_t i);

/* The tensor of that name, or NULL. */
EMR_API const emr_tensor *emr_model_find(const emr_model *model, const char *name);

EMR_API size_t emr_model_n_metadata(const emr_model *model);

/* The i-th entry, in order of keys added. EMR_ENOTFOUND past the end. */
EMR_API emr_status emr_model_get_metadata(const emr_model *model, size_t i, const char **key, const char **value);

EMR_END_DECLS

#endif
