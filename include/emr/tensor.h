/* tensor.h - one named tensor of a model: its type, its shape, and where its bytes come from.
 *
 *     emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
 *     desc.name = "layer.0.weight";
 *     desc.dtype = EMR_DTYPE_BF16;
 *     desc.rank = 2;
 *     desc.shape = shape;
 *     desc.data = weights;                       // or .io and .offset, or .compute and .user
 *     emr_model_add(model, &desc, &error);
 */
#ifndef EMR_TENSOR_H
#define EMR_TENSOR_H

#include "emr/blocks.h"
#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/status.h"

#define EMR_RANK_MAX 64

/* A tensor of a model, owned by it. Elements are stored row-major (the last dimension varies fastest),
 * little-endian, without gaps. */
typedef struct emr_tensor emr_tensor;

/* What is asked of a computed tensor: elements [first, first + count), written to `out`. */
typedef struct emr_computation {
    size_t size;
    void *user;    /* the tensor's */
    void *scratch; /* the reader's: emr_model_options.scratch_bytes of it, 64-byte aligned */
    void *out;     /* any alignment */
    size_t count;
    uint64_t first;
} emr_computation;

/* Computes elements. Whoever reads the tensor fails with the status that it returns (EMR_EIO for a positive
 * one). May be called from several threads at a time, each with a scratch of its own. `error` is never NULL.
 * The caller's sentence names model and tensor; the callback need not. */
typedef emr_status (*emr_compute_fn)(const emr_computation *computation, emr_error *error);

/* How a host describes a tensor to emr_model_add. Its bytes come from exactly one of
 *   data     host memory, borrowed, any alignment;
 *   io       an extent of an I/O object, from `offset` on;
 *   compute  a function that computes its elements as they are read;
 * or from none of them: then they are pushed, chunk by chunk, during a merge (emr_merge_push). */
typedef struct emr_tensor_desc {
    size_t size;
    const char *name;
    const uint64_t *shape; /* `rank` numbers; NULL if rank is 0 */
    const void *data;
    const emr_io *io; /* copied; its `user` is borrowed */
    emr_compute_fn compute;
    void *user;      /* handed to `compute`; borrowed */
    uint64_t offset; /* with io: bytes */
    emr_dtype dtype;
    uint32_t rank;
    uint32_t granule;   /* with compute: `first` is a multiple of this, and so is `count` but at the tensor's
                           end. 0: 1 element, or as many as make a byte. */
    uint32_t max_count; /* with compute: the largest `count`; 0: 8192. At least the granule. */
    emr_block_type blocks; /* with data or io: they are blocks of that type, of which the last dimension is a
                              whole number. `dtype` is F32: the tensor reads as what they stand for */
    uint32_t reserved;
} emr_tensor_desc;

EMR_BEGIN_DECLS

EMR_API const char *emr_tensor_name(const emr_tensor *tensor);
EMR_API emr_dtype emr_tensor_dtype(const emr_tensor *tensor);
EMR_API uint32_t emr_tensor_rank(const emr_tensor *tensor);
EMR_API const uint64_t *emr_tensor_shape(const emr_tensor *tensor);

/* The number of elements: the product of the shape; 1 for rank 0. */
EMR_API uint64_t emr_tensor_count(const emr_tensor *tensor);
EMR_API uint64_t emr_tensor_bytes(const emr_tensor *tensor);

/* 1 if two tensors have the same rank and dimensions. */
EMR_API int emr_tensor_same_shape(const emr_tensor *a, const emr_tensor *b);

/* Reads `n` bytes from byte `offset` of the tensor; any range, whatever the granule. EMR_EINVAL outside of
 * the tensor; EMR_ESTATE if its bytes are to be pushed, or can only be written (emr_view_options.check).
 */
EMR_API emr_status emr_tensor_read(const emr_tensor *tensor, uint64_t offset, void *destination, size_t n,
                                   emr_error *error);

/* Reads elements [first, first + n) of a float tensor as f32: widened exactly, or, from F64, rounded. */
EMR_API emr_status emr_tensor_read_floats(const emr_tensor *tensor, uint64_t first, size_t n, float *values,
                                          emr_error *error);

EMR_END_DECLS

#endif
