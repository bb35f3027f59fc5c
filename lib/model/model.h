/* model.h - what the layers above see of tensors and models. */
#ifndef EMR_MODEL_MODEL_H
#define EMR_MODEL_MODEL_H

#include "emr/model.h"
#include "core/error.h"
#include "core/io.h"
#include "core/memory.h"
#include "core/names.h"
#include "core/structs.h"

enum {
    EMR_GRANULE_BYTES = 4096, /* of a computed tensor at most: it is cut on the stack */
    EMR_SCRATCH_PLACES = 64,  /* for scratch that nobody uses, see computed.c: a pointer each */
};

typedef enum emr_tensor_kind {
    EMR_TENSOR_PUSHED, /* no bytes of its own */
    EMR_TENSOR_MEMORY,
    EMR_TENSOR_IO,
    EMR_TENSOR_COMPUTED
} emr_tensor_kind;

/* A computed tensor whose elements come one by one from those of another, whose bytes are to be hashed while
 * it is written (checkpoint/stream.c) because nobody has checked them yet. */
typedef struct emr_derivation {
    const emr_tensor *source; /* of as many elements */
    /* What computation->out is to be, from the source's bytes of the same elements. NULL: just those. */
    emr_status (*derive)(const emr_computation *computation, const void *source, emr_error *error);
    uint64_t hash_low, hash_high; /* XXH3-128 that all of the source's bytes must have */
    const char *wrong; /* the sentence's end where they have another: "is not the base of all.emr" */
} emr_derivation;

struct emr_tensor {
    const emr_model *model;
    const char *model_name; /* for messages: the model's, or that of the file in which it lies */
    char *name;
    uint64_t *shape;
    uint64_t count, bytes;
    const void *data; /* its bytes; of one whose bytes are those of blocks in a GGUF file, their type */
    emr_io io;
    uint64_t offset;
    emr_compute_fn compute;
    void *user;
    const struct emr_own *own; /* arranged.h: what it is in its own model; NULL: just this */
    const emr_tensor
        *origin; /* of a computed one: what it is read from, as it is prepared; NULL: nothing else */
    const emr_derivation *unchecked; /* NULL: its bytes can be read by anybody */
    emr_dtype dtype;
    uint32_t rank;
    uint32_t granule, max_count; /* of a computed one; at least 1 */
    /* Not EMR_BLOCK_TYPE_NONE: it is computed, from blocks that lie in memory at `data`, or where that is NULL in
     * `io` from `offset` on, without gaps. They may be read there instead, by whoever knows blocks. */
    emr_block_type blocks;
    /* Its elements are computed from blocks of so many, and the first one is number `place` of all: where
     * threads share them out, no block is decoded twice if they are cut between blocks. 0: there are no
     * blocks. */
    uint64_t block, place;
    emr_tensor_kind kind;
};

typedef struct emr_metadata {
    char *key, *value;
} emr_metadata;

struct emr_model {
    emr_allocator allocator;
    emr_model_options options; /* its name is the model's own copy */
    char *name;
    emr_tensor **tensors;
    uint32_t n_tensors;
    size_t tensors_capacity;
    emr_tensor **hidden; /* its own too, but nobody sees them: others are computed from them */
    size_t n_hidden, hidden_capacity;
    emr_names names;
    emr_metadata *metadata;
    uint32_t n_metadata;
    size_t metadata_capacity;
    struct emr_scratch_pool *scratch; /* computed.c */
    bool renamed;                     /* some of it, by emr_model_create_renamed */
    bool zeros;                       /* all of it, by emr_model_create_zeros */
    uint64_t stamp;                   /* of the files it lies in, if it does: changes when they do */
    void *memory;                     /* that tensors of its own lie in, or NULL; released with it */
};

/* Number of elements and of bytes of a shape: false if either does not fit in 63 bits or the bits are no
 * whole number of bytes. */
bool emr_shape_bytes(emr_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *count, uint64_t *bytes);

/* Whether it is a file beside the weights, and none of them (EMR_FILE_PREFIX). */
bool emr_is_side_file(const emr_tensor *tensor);

/* Whether it is a GGUF file's metadata, as bytes (EMR_GGUF_HEADER). */
bool emr_is_gguf_header(const emr_tensor *tensor);

/* Rows of a shape: its first dimension; 1 where the rank is below 2, 0 where there are no elements; and the
 * parameters of a row of a tensor that has any. */
uint64_t emr_shape_rows(uint32_t rank, const uint64_t *shape);

uint64_t emr_row_length(const emr_tensor *tensor);

/* Reads as emr_tensor_read does. Where the tensor is computed that is with this scratch, which has been borrowed of
 * its model; NULL: with some that is borrowed for the time. */
emr_status emr_tensor_read_with(const emr_tensor *tensor, void *scratch, uint64_t offset, void *destination,
                                size_t n, emr_error *error);

/* Reads bytes of the I/O that a tensor lies in: from `at` on, counted from where that begins. */
emr_status emr_tensor_read_io(const emr_tensor *tensor, uint64_t at, void *destination, size_t n,
                              emr_error *error);

/* blocks.c: of a description in blocks, what is wrong with it; then how a tensor is computed from them. */
emr_status emr_blocks_check(const emr_model *model, const emr_tensor_desc *desc, emr_error *error);
void emr_blocks_compute_from(emr_tensor *tensor);
/* How many bytes the blocks are that n of its elements lie in, a whole number of blocks. */
uint64_t emr_blocks_bytes(const emr_tensor *tensor, uint64_t n);

/* Describes the source of another tensor, whose dtype and shape are in `desc`, as this one's bytes from byte
 * `first` on. False, and nothing is described, where they can only be had by reading this one. */
bool emr_tensor_share_source(const emr_tensor *tensor, uint64_t first, emr_tensor_desc *desc);

/* Takes the tensors whose flag is set out of a model, which still owns them. The others stay as they are, in
 * their order. After a failure the model may only be destroyed. */
emr_status emr_model_hide(emr_model *model, const uint8_t *flags, emr_error *error);

/* Makes a tensor one that is computed, of another dtype and the same shape, from what it was before, which is
 * hidden: that is `user` of its computations. After a failure the model may only be destroyed. */
emr_status emr_model_derive(emr_model *model, uint32_t i, emr_dtype dtype, emr_compute_fn compute,
                            uint32_t max_count, emr_error *error);

/* zeros.c: the float tensors of another model as zeros, and as ones where `is_one`, which may be NULL, says
 * so. */
emr_status emr_model_create_constant(emr_model **model, const char *name, const emr_model *like,
                                     bool (*is_one)(const emr_tensor *tensor), const emr_allocator *allocator,
                                     emr_error *error);

/* Adds an entry whose key is known to be new: setting would look through all of them. */
emr_status emr_model_append_metadata(emr_model *model, const char *key, const char *value, emr_error *error);

/* computed.c: the memory that readers of a model's computed tensors have to themselves. */
emr_status emr_scratch_pool_create(emr_model *model, emr_error *error);
void emr_scratch_pool_destroy(emr_model *model);
/* *scratch is NULL where the model's computations need none. Concurrent. */
emr_status emr_scratch_borrow(const emr_model *model, void **scratch, emr_error *error);
void emr_scratch_return(const emr_model *model, void *scratch);

/* Finds out what computing the tensor, or what it is read from, needs (emr_model_options.prepare). */
emr_status emr_tensor_prepare(const emr_tensor *tensor, const emr_resources *resources, emr_error *error);

/* Bytes of a computed tensor, any range; `scratch` as for emr_tensor_read_with. */
emr_status emr_tensor_compute(const emr_tensor *tensor, void *scratch, uint64_t offset, void *destination,
                              size_t n, emr_error *error);

/* Fails with a callback's words, which name model and tensor, or else with those put before them. */
emr_status emr_tensor_fail(const emr_tensor *tensor, emr_status status, const emr_error *why,
                           emr_error *error);

#endif
