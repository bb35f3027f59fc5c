/* tensor.h - one named tensor of a model: type, shape, and a way to its bytes. */
#ifndef EMR_TENSOR_H
#define EMR_TENSOR_H

#include "emr/dtype.h"
#include "emr/export.h"
#include "emr/io.h"
#include "emr/status.h"

#define EMR_RANK_MAX 64

/* A tensor of a model; owned by its model and valid as long as that is. Elements are stored row-major (the
 * last dimension varies fastest), little-endian, without gaps. */
typedef struct emr_tensor emr_tensor;

/* Reads exactly `n` bytes from byte `offset` of the tensor. For tensors that compute their bytes. */
typedef emr_status (*emr_tensor_read_fn)(void *user, uint64_t offset, void *destination, size_t n,
                                         emr_error *error);

/* How a host describes a tensor to emr_model_add. Its bytes come from exactly one of
 *   data  host memory, borrowed, any alignment;
 *   io    an extent of an I/O object, from `offset` on; `user` of the I/O is borrowed;
 *   read  a callback (must be safe to call from several threads);
 * or from none of them: then they are pushed chunk by chunk during a merge (emr_merge_push). */
typedef struct emr_tensor_desc {
    size_t size; /* sizeof(emr_tensor_desc) */
    const char *name;
    const uint64_t *shape; /* `rank` numbers; NULL if rank is 0 */
    const void *data;
    const emr_io *io;
    uint64_t offset; /* bytes, with io */
    emr_tensor_read_fn read;
    void *user;     /* with read; borrowed */
    uint32_t dtype; /* an emr_dtype */
    uint32_t rank;
} emr_tensor_desc;

EMR_BEGIN_DECLS

EMR_API const char *emr_tensor_name(const emr_tensor *tensor);
EMR_API emr_dtype emr_tensor_dtype(const emr_tensor *tensor);
EMR_API uint32_t emr_tensor_rank(const emr_tensor *tensor);
EMR_API const uint64_t *emr_tensor_shape(const emr_tensor *tensor);

/* Number of elements: the product of the shape; 1 for rank 0. */
EMR_API uint64_t emr_tensor_count(const emr_tensor *tensor);
EMR_API uint64_t emr_tensor_bytes(const emr_tensor *tensor);

/* `n` bytes from byte `offset` of the tensor. EMR_EINVAL outside of it; EMR_ESTATE if its bytes are to be
 * pushed. Concurrent. */
EMR_API emr_status emr_tensor_read(const emr_tensor *tensor, uint64_t offset, void *destination, size_t n,
                                   emr_error *error);

EMR_END_DECLS

#endif
