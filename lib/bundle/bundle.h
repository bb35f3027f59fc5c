/* bundle.h - an opened bundle as the reader's files share it. */
#ifndef EMR_BUNDLE_BUNDLE_H
#define EMR_BUNDLE_BUNDLE_H

#include "emr/bundle.h"
#include "bundle/codec.h"
#include "bundle/format.h"
#include "core/io.h"
#include "core/memory.h"
#include "core/names.h"
#include "core/structs.h"
#include "core/work.h"
#include "modulator/kind.h"
#include "numeric/kernels.h"

typedef struct emr_section {
    const uint8_t *data;
    uint64_t size;
} emr_section;

#define EMR_NO_STREAM SIZE_MAX

/* The index stays in memory as it is in the file, and records are decoded each time that they are looked at:
 * a bundle of many tasks takes little more than its index. The tables below are what would have to be
 * searched for. */
struct emr_bundle {
    emr_allocator allocator;
    emr_io io;
    const emr_kernels *kernels; /* of its modulators */
    char *name;
    uint64_t bytes, index_offset;
    uint16_t version_major, version_minor;
    uint64_t features; /* EMR_FEATURE_... */
    uint8_t *index;    /* as in the file; sections point into it. Shapes are in the machine's byte order. */
    emr_section sections[EMR_N_SECTIONS];
    emr_summary summary;
    size_t n_private, n_streams, n_blocks, n_metadata, n_arrangements;
    size_t base_streams[EMR_N_STREAM_KINDS];  /* the base's of each kind, or EMR_NO_STREAM */
    size_t *task_streams[EMR_N_STREAM_KINDS]; /* the tasks', one each; NULL where the kind is not theirs */
    size_t *first_private;                    /* n_tasks + 1 positions in the private section */
    uint32_t *metadata;                       /* positions in the metadata section, sorted by owner */
    size_t *first_metadata; /* n_tasks + 2 positions in the former; the base is the last owner */
    emr_names tensor_names, task_names;
    emr_extent extent;   /* of streams of modulators */
    size_t *first_scale; /* where MODULATORS is: see emr_bundle_first_scale */
    /* Called when the bundle is destroyed, by whoever opened its I/O. */
    void (*on_destroy)(void *owner);
    void *owner;
};

static inline const char *emr_bundle_string(const emr_bundle *b, uint32_t offset)
{
    return (const char *)b->sections[EMR_SECTION_STRINGS].data + offset;
}

static inline const uint64_t *emr_bundle_shape(const emr_bundle *b, uint32_t first)
{
    return (const uint64_t *)(const void *)b->sections[EMR_SECTION_SHAPES].data + first;
}

static inline emr_tensor_record emr_bundle_tensor_record(const emr_bundle *b, size_t i)
{
    return emr_decode_tensor(b->sections[EMR_SECTION_TENSORS].data + i * EMR_TENSOR_SIZE);
}

static inline emr_task_record emr_bundle_task_record(const emr_bundle *b, size_t i)
{
    return emr_decode_task(b->sections[EMR_SECTION_TASKS].data + i * EMR_TASK_SIZE);
}

static inline emr_private_record emr_bundle_private_record(const emr_bundle *b, size_t i)
{
    return emr_decode_private(b->sections[EMR_SECTION_PRIVATE].data + i * EMR_PRIVATE_SIZE);
}

static inline emr_stream_record emr_bundle_stream_record(const emr_bundle *b, size_t i)
{
    return emr_decode_stream(b->sections[EMR_SECTION_STREAMS].data + i * EMR_STREAM_SIZE);
}

static inline emr_block_record emr_bundle_block_record(const emr_bundle *b, size_t i)
{
    return emr_decode_block(b->sections[EMR_SECTION_BLOCKS].data + i * EMR_BLOCK_SIZE);
}

static inline emr_metadata_record emr_bundle_metadata_record(const emr_bundle *b, size_t i)
{
    return emr_decode_metadata(b->sections[EMR_SECTION_METADATA].data + i * EMR_METADATA_SIZE);
}

static inline emr_arrangement_record emr_bundle_arrangement_record(const emr_bundle *b, size_t i)
{
    return emr_decode_arrangement(b->sections[EMR_SECTION_ARRANGEMENT].data + i * EMR_ARRANGEMENT_SIZE);
}

/* The dtype in which a task's model has tensor i of the base, or NONE where it does not take it from there.
 */
static inline emr_dtype emr_bundle_task_dtype(const emr_bundle *b, size_t task, size_t i)
{
    return b->sections[EMR_SECTION_TASK_DTYPES].data[task * b->summary.n_tensors + i];
}

static inline bool emr_bundle_is_extendable(const emr_bundle *b)
{
    return b->sections[EMR_SECTION_GROWTH].data != NULL;
}

/* kinds.c: whether kinds without a unified vector keep a merged tensor as differences; how many columns it has
 * that may have scales. */
bool emr_is_vector(uint32_t rank, const uint64_t *shape);
uint64_t emr_matrix_columns(uint32_t rank, const uint64_t *shape);

/* What a task's modulator is; how one of its merged tensors is coded. */
emr_modulator_record emr_bundle_modulator_record(const emr_bundle *b, uint32_t task);
const emr_kind *emr_bundle_kind(const emr_bundle *b, uint32_t task);
/* Whether a record says nothing that a bundle without it would not say. */
bool emr_modulator_is_plain(const emr_modulator_record *m);
emr_tensor_code emr_bundle_code(const emr_bundle *b, uint32_t task, uint32_t tensor);

/* How many tasks use the unified vector. */
static inline uint32_t emr_bundle_n_elected(const emr_bundle *b)
{
    return b->extent.n_elected;
}

/* How many scales a tensor has in all tasks before one, where each has its own. */
static inline size_t emr_bundle_first_scale(const emr_bundle *b, size_t task)
{
    return b->first_scale ? b->first_scale[task] : task;
}

/* Bytes of a stream, 0 where it is absent. */
static inline uint64_t emr_bundle_stream_bytes(const emr_bundle *b, size_t stream)
{
    return stream == EMR_NO_STREAM ? 0 : emr_bundle_stream_record(b, stream).bytes;
}

/* Where first_metadata has an owner. */
static inline size_t emr_bundle_metadata_slot(const emr_bundle *b, uint32_t owner)
{
    return owner == EMR_BASE ? b->summary.n_tasks : owner;
}

/* The i-th entry of an owner, which has it. */
emr_metadata_record emr_bundle_owned_metadata(const emr_bundle *b, uint32_t owner, uint32_t i);

/* bundle_modulator.c: a task's scales, as many as its kind has, for a merged tensor; in a bundle whose scales
 * are not per row. */
void emr_bundle_scales(const emr_bundle *b, uint32_t task, uint32_t tensor, float *scales);

/* The names by number, as emr_names wants to be told; `owner` is the bundle. */
const char *emr_bundle_task_name(const void *owner, size_t i);
const char *emr_bundle_tensor_name(const void *owner, size_t i);

/* Reads from the file, outside of what a cursor looks after. */
emr_status emr_bundle_read(const emr_bundle *b, uint64_t offset, void *to, size_t n, emr_error *error);

/* Fails with EMR_EFORMAT: "FILE: not a valid bundle: WHAT". */
emr_status emr_bundle_malformed(const emr_bundle *b, const char *what, emr_error *error);

/* check_index.c: whether the index can be what it says: the summary, strings and shapes first, then all else,
 * once there is room for the tables above, which are filled on the way. */
emr_status emr_bundle_check_summary(emr_bundle *b, emr_error *error);
emr_status emr_bundle_check_index(emr_bundle *b, emr_error *error);

/* Of it: what tasks' modulators are (check_modulators.c), which all that follows needs, with room for the tasks' first
 * scales; streams and their blocks; the place of a merged tensor among those like it, which is counted; and, once
 * tensors are, lengths of streams, of all or of those for growth (check_streams.c). */
emr_status emr_bundle_check_modulators(emr_bundle *b, emr_error *error);
emr_status emr_bundle_check_streams(emr_bundle *b, emr_error *error);
bool emr_bundle_count_place(emr_bundle *b, const emr_tensor_record *t, uint64_t count);
emr_status emr_bundle_check_lengths(const emr_bundle *b, emr_error *error);
bool emr_bundle_are_lengths_right(const emr_bundle *b, bool growth);

/* A rescaler that can be one is finite and not negative: sums of magnitudes give nothing else. */
static inline bool emr_is_rescaler(float rescaler)
{
    return emr_f32_bits(rescaler) < 0x7f800000;
}

/* And: whether a reference leads to the beginning of a string, and to a shape, whose elements and bytes it gives;
 * and, once all else is checked, the arrangement (check_arrangement.c). */
bool emr_bundle_string_fits(const emr_bundle *b, uint32_t offset);
bool emr_bundle_shape_fits(const emr_bundle *b, uint32_t first, uint16_t rank, uint16_t dtype,
                           uint64_t *count, uint64_t *bytes);
emr_status emr_bundle_check_arrangement(const emr_bundle *b, emr_error *error);

/* Workers within env->memory_bytes: `fixed` bytes in all, and `each` for every one of them. EMR_ELIMIT if that
 * is too little for one. */
emr_status emr_bundle_create_workers(emr_workers *workers, const emr_bundle *b, const emr_env *env,
                                     uint64_t fixed, uint64_t each, emr_error *error);

/* Gives a model the metadata of an owner. Entries may share strings, and copies of what a few bytes refer to
 * could take any amount of memory: EMR_EFORMAT where they are longer than all strings. */
emr_status emr_bundle_add_metadata(emr_model *model, const emr_bundle *b, uint32_t owner, emr_error *error);

/* Elements of a record's shape; its product was checked on opening. */
uint64_t emr_bundle_count(const emr_bundle *b, const emr_tensor_record *t);

/* Reads one block of a stream, checks and decodes it: *data is `into`, or where raw bytes lie in a window of
 * the I/O, of the block's length, which the caller unmaps. `packed` and `into` have room for a block each.
 * Concurrent, with a decoder each. */
emr_status emr_block_read(const emr_bundle *bundle, const emr_stream_record *stream, uint64_t block,
                          emr_decoder *decoder, uint8_t *packed, uint8_t *into, const uint8_t **data,
                          emr_error *error);

/* The most memory that emr_bundle_open_base holds at any moment; readers take more. */
uint64_t emr_bundle_base_memory(const emr_bundle *bundle);

/* Tensor i of the bundle in a model that is to be its base: EMR_EMISMATCH if it is absent or of another dtype
 * (`any_float`: a merged one of a dtype that is no float) or shape. */
emr_status emr_bundle_base_tensor(const emr_bundle *bundle, const emr_model *base, size_t i, bool any_float,
                                  const emr_tensor **tensor, emr_error *error);

/* The same, also where its bytes differ. */
emr_status emr_bundle_check_tensor(const emr_bundle *bundle, const emr_model *base, size_t i,
                                   const emr_allocator *allocator, emr_error *error);

/* A rescaler as it is stored: EMR_EFORMAT, naming task and tensor, if it is negative or not finite. */
emr_status emr_bundle_check_rescaler(const emr_bundle *bundle, uint32_t task, uint32_t tensor, float rescaler,
                                     emr_error *error);

/* Reads one stream, block by block, verifying each as it is reached. One user at a time. */
typedef struct emr_cursor {
    const emr_bundle *bundle;
    emr_allocator allocator;
    emr_stream_record stream;
    uint64_t block; /* the decoded one, or UINT64_MAX */
    const uint8_t *data;
    uint8_t *buffer, *packed; /* one block each */
    emr_decoder *decoder;
    const void *window; /* mapped, to be unmapped */
    size_t window_size;
} emr_cursor;

emr_status emr_cursor_open(emr_cursor *cursor, const emr_bundle *bundle, size_t stream,
                           const emr_allocator *allocator, emr_error *error);
void emr_cursor_close(emr_cursor *cursor);
/* What one allocates over that stream. */
uint64_t emr_cursor_memory(const emr_stream_record *stream);

/* The decoded bytes at `offset` of the stream: *available of them, up to the end of their block. */
emr_status emr_cursor_at(emr_cursor *cursor, uint64_t offset, const uint8_t **bytes, size_t *available,
                         emr_error *error);

/* Copies `n` bytes from `offset` of the stream. */
emr_status emr_cursor_read(emr_cursor *cursor, uint64_t offset, void *destination, size_t n,
                           emr_error *error);

#endif
