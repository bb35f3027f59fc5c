/* model.h - what the layers above see of tensors and models. */
#ifndef EMR_MODEL_MODEL_H
#define EMR_MODEL_MODEL_H

#include "emr/model.h"
#include "core/memory.h"
#include "core/names.h"

typedef enum emr_tensor_kind {
    EMR_TENSOR_PUSHED, /* no bytes of its own */
    EMR_TENSOR_MEMORY,
    EMR_TENSOR_IO,
    EMR_TENSOR_COMPUTED
} emr_tensor_kind;

struct emr_tensor {
    const char *model_name; /* for messages */
    char *name;
    uint64_t *shape;
    uint64_t count, bytes;
    const void *data;
    emr_io io;
    uint64_t offset;
    emr_tensor_read_fn read;
    void *user;
    emr_dtype dtype;
    uint32_t rank;
    emr_tensor_kind kind;
};

typedef struct emr_metadata {
    char *key, *value;
} emr_metadata;

struct emr_model {
    emr_allocator allocator;
    char *name;
    emr_tensor **tensors;
    size_t n_tensors, tensors_capacity;
    emr_names names;
    emr_metadata *metadata;
    size_t n_metadata, metadata_capacity;
    uint64_t stamp; /* of the files it lies in, if it does: changes when they do */
    /* Called once, when the model is destroyed, by whoever built it: closes files, frees views. */
    void (*on_destroy)(void *owner, const emr_allocator *allocator);
    void *owner;
};

/* Checks an I/O table by the size rule and copies it. */
emr_status emr_io_take(emr_io *taken, const emr_io *given, emr_error *error);

/* Number of elements and of bytes of a shape: false if either does not fit in 63 bits or the bits are no
 * whole number of bytes. */
bool emr_shape_bytes(emr_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *count, uint64_t *bytes);

/* Adds an entry whose key is known to be new: setting would look through all of them. */
emr_status emr_model_append_metadata(emr_model *model, const char *key, const char *value, emr_error *error);

bool emr_same_shape(const emr_tensor *a, const emr_tensor *b);

#endif
