/* gguf.h - what the reader and the writer of GGUF share: tensor types, and the header, checked. */
#ifndef EMR_CHECKPOINT_GGUF_H
#define EMR_CHECKPOINT_GGUF_H

#include "emr/checkpoint.h"
#include "model/model.h"

enum {
    EMR_GGUF_DIMS = 4,         /* of a tensor, at most */
    EMR_GGUF_NAME_BYTES = 127, /* of a tensor, at most: ggml can be built for so many */
    EMR_GGUF_START = 24,       /* bytes before the metadata: magic, version, two counts */
    EMR_GGUF_INFO_MIN = 25,    /* bytes that describe a tensor, at least */
    EMR_GGUF_HEADER_MAX = 100000000,
    EMR_GGUF_ALIGNMENT = 32, /* where general.alignment says nothing */
    EMR_GGUF_UINT16 = 2,     /* types of values */
    EMR_GGUF_UINT32 = 4,
    EMR_GGUF_INT32 = 5,
};
#define EMR_GGUF_DATA_MAX ((uint64_t)INT64_MAX / 4) /* bytes of them: sums of two are no danger */

/* A tensor type of ggml: rows are cut into blocks of so many elements, each stored in so many bytes. */
typedef struct emr_gguf_type {
    const char *name;
    uint32_t number;
    uint16_t block, block_bytes;
    emr_dtype dtype; /* of blocks of one element; else EMR_DTYPE_U8: carried as bytes */
    /* Makes floats of a block. NULL: that is not done, or any model may have tensors in such (emr/blocks.h). */
    void (*unpack)(const uint8_t *block, float *values);
} emr_gguf_type;

/* The type of that number or dtype, or NULL. */
const emr_gguf_type *emr_gguf_type_find(uint32_t number);
const emr_gguf_type *emr_gguf_type_of(emr_dtype dtype);

/* For a tensor of F32 computed from blocks, which are its granules: `user` is the tensor itself, its `io` and
 * `offset` are where the blocks lie, its `data` is their type. At most EMR_GGUF_UNPACKED elements, which it
 * takes from the stack: no type has more than 37 bytes for 32 of them. */
enum {
    EMR_GGUF_BLOCK_MAX = 256,
    EMR_GGUF_UNPACKED = 30 * EMR_GGUF_BLOCK_MAX,
    EMR_GGUF_UNPACKED_BYTES = EMR_GGUF_UNPACKED / 32 * 37
};
emr_status emr_gguf_unpack(const emr_computation *computation, emr_error *error);

/* Which of the files of a model one is: split.no, split.count and split.tensors.count of the metadata. A
 * count of 0 or 1: the only one. */
typedef struct emr_gguf_split {
    uint16_t no, count;
    int64_t n_tensors; /* of all files; -1: it does not say */
} emr_gguf_split;

/* A header: from the magic to the end of the tensors' descriptions. Everything in it is checked. */
typedef struct emr_gguf_header {
    emr_allocator allocator;
    const char *path, *what; /* whose it is and what it should be, for messages */
    const emr_io *io;        /* where more of it comes from; NULL: all of it is there */
    uint64_t limit;          /* bytes that there are at most */
    uint8_t *bytes;
    size_t n, at; /* bytes that are there; bytes that were read over */
    uint64_t n_kv, n_tensors;
    size_t infos; /* where the tensors' descriptions begin, which is where the metadata ends */
    uint32_t alignment;
    emr_gguf_split split;
    size_t file_type; /* where the value of general.file_type is, if it is there and a UINT32 */
    const uint8_t **in_order, **by_name; /* the descriptions */
} emr_gguf_header;

/* A tensor's description. */
typedef struct emr_gguf_info {
    char name[EMR_GGUF_NAME_BYTES + 1];
    uint64_t dims[EMR_GGUF_DIMS]; /* the first one varies fastest */
    uint32_t n_dims;
    const emr_gguf_type *type;
    uint64_t offset, bytes; /* from where the data begin */
} emr_gguf_info;

/* The header of a file, whose length is checked too; or that which a tensor holds. Freed by the caller, also
 * after a failure. `path` is borrowed. */
emr_status emr_gguf_header_read(emr_gguf_header *header, const emr_allocator *allocator, const emr_io *io,
                                const char *path, emr_error *error);
emr_status emr_gguf_header_take(emr_gguf_header *header, const emr_allocator *allocator,
                                const emr_tensor *tensor, const char *path, emr_error *error);
void emr_gguf_header_free(emr_gguf_header *header);

/* What a description says; and the other way round, which gives its bytes: so many as are counted first. */
emr_gguf_info emr_gguf_info_read(const uint8_t *description);
size_t emr_gguf_info_bytes(const emr_gguf_info *info);
size_t emr_gguf_info_put(uint8_t *to, const emr_gguf_info *info);
/* The description of the tensor of that name, or NULL. */
const uint8_t *emr_gguf_info_find(const emr_gguf_header *header, const char *name);

/* A tensor's shape as a model has it: the last dimension varies fastest; of blocks, it is bytes. */
void emr_gguf_shape(const emr_gguf_info *info, bool as_bytes, uint64_t shape[EMR_GGUF_DIMS]);

/* Whether the bytes begin as a GGUF file does; false where they cannot be read. */
bool emr_gguf_is_it(const emr_io *io);

/* Appends the tensors of a GGUF file to a model, in the order of their data, and the header. `path` names the
 * file in messages and must outlive the model. Of a header that was read, the same; and without it. */
emr_status emr_gguf_load(emr_model *model, const emr_io *io, const char *path,
                         const emr_checkpoint_read_options *options, emr_error *error);
emr_status emr_gguf_add_file(emr_model *model, const emr_gguf_header *header, const emr_io *io,
                             bool dequantise, emr_error *error);
emr_status emr_gguf_add_tensors(emr_model *model, const emr_gguf_header *header, const emr_io *io,
                                bool dequantise, emr_error *error);

/* The same of a file that may be one of several of a model (gguf_split.c). The others lie beside it: `open`
 * opens one more for the model; its I/O, and the name of it for messages, live as long as the model. */
typedef emr_status (*emr_open_part)(emr_model *model, const char *path, const emr_io **io, const char **name,
                                    emr_error *error);
emr_status emr_gguf_load_path(emr_model *model, const emr_io *io, const char *path,
                              const emr_checkpoint_read_options *options, emr_open_part open,
                              emr_error *error);

#endif
