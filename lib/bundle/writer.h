/* writer.h - writing a bundle front to back: blocks as they are computed, then the index that says what they
 * are. Bytes depend on what is put and in which order, never on the executor.
 *
 * Blocks go through three stations: they are put, in the next round they are compressed, in the round after
 * that they are written. emr_writer_begin() begins a round and says how many jobs it has; the caller runs
 * them all with emr_writer_job(), in parallel and beside its own work, and only then puts more. So computing,
 * compressing and writing overlap. emr_writer_flush() runs rounds until nothing is left to do. */
#ifndef EMR_BUNDLE_WRITER_H
#define EMR_BUNDLE_WRITER_H

#include "emr/io.h"
#include "bundle/codec.h"
#include "bundle/format.h"
#include "bundle/part_file.h"
#include "core/save.h"
#include "core/work.h"

typedef struct emr_writer emr_writer;

/* How much may be under way; what is more, flushes. */
typedef struct emr_writer_limits {
    size_t put_bytes, put_blocks; /* put between two rounds */
    size_t loose_bytes;           /* of a block that is appended, at most */
    size_t loose_blocks;          /* appended and not yet written; at least 1, */
    size_t loose_total;    /* and of so many bytes; 0: all blocks that are appended are of loose_bytes */
    int compression;       /* as in emr_merge_options */
    bool overlap;          /* false: the caller flushes before it begins the next round */
    bool hashes;           /* everything, for save and check */
    uint32_t features;     /* EMR_FEATURE_...: what a reader must know */
    emr_part_writer *part; /* not a bundle is written but a part of one (writer_part.c), to here; or NULL */
} emr_writer_limits;

/* Writes the header. `io` must have write; the workers are borrowed. */
emr_status emr_writer_create(emr_writer **writer, const emr_io *io, const emr_allocator *allocator,
                             const emr_workers *workers, const emr_writer_limits *limits, emr_error *error);
void emr_writer_destroy(emr_writer **writer);

/* Declares a stream; streams are numbered in the order of declaration, which is their order in the index.
 * EMR_NO_MEMORY_STREAM when there is no memory. */
#define EMR_NO_MEMORY_STREAM SIZE_MAX
size_t emr_writer_stream(emr_writer *writer, enum emr_stream_kind kind, uint32_t owner, uint32_t block_bytes,
                         emr_texture texture);

/* Puts one whole block, or a stream's last one. The bytes must stay as they are until the third round from
 * here begins, or the next flush ends. */
emr_status emr_writer_put(emr_writer *writer, size_t stream, const void *bytes, size_t n, emr_error *error);

/* Begins a round: the number of its jobs. Job 0 is the longest. */
size_t emr_writer_begin(emr_writer *writer);
emr_status emr_writer_job(emr_writer *writer, size_t job, size_t worker, emr_error *error);
/* Runs rounds until everything that was put is written. Not between begin and the end of its jobs. */
emr_status emr_writer_flush(emr_writer *writer, emr_error *error);

/* Appends any number of bytes, which are copied; blocks are made of them here. A stream is fed by put or by
 * append. */
emr_status emr_writer_append(emr_writer *writer, size_t stream, const void *bytes, size_t n,
                             emr_error *error);
/* Writes a block that is stored elsewhere as its record says, and decodes to `n` bytes; at once, so that
 * nothing may be under way. */
emr_status emr_writer_copy(emr_writer *writer, size_t stream, const emr_block_record *record,
                           const void *stored, size_t n, emr_error *error);
bool emr_writer_has_stream(const emr_writer *writer, size_t stream);
/* Whether a stream can have a block of `n` bytes next, and such a record says what there is to be copied. */
bool emr_writer_can_copy(const emr_writer *writer, size_t stream, const emr_block_record *record, uint64_t n);
/* Zero bytes up to the next multiple of EMR_TENSOR_ALIGNMENT. */
emr_status emr_writer_align(emr_writer *writer, size_t stream, emr_error *error);
/* Writes what append has left over. The stream's buffer is given back. */
emr_status emr_writer_end(emr_writer *writer, size_t stream, emr_error *error);
/* Bytes of the stream so far. */
uint64_t emr_writer_bytes(const emr_writer *writer, size_t stream);

/* Room for one more record at the end of a section, zeroed; NULL when there is no memory. Valid until the
 * next one of that section. */
uint8_t *emr_writer_record(emr_writer *writer, enum emr_section_kind kind, size_t size);
/* Adds a string to the strings section: its offset, or UINT32_MAX when there is no room. */
uint32_t emr_writer_string(emr_writer *writer, const char *text);
/* The same with a letter before it. */
uint32_t emr_writer_marked_string(emr_writer *writer, char letter, const char *text);
/* Adds a shape to the shapes section: the index of its first dimension, or UINT32_MAX. */
uint32_t emr_writer_shape(emr_writer *writer, uint32_t rank, const uint64_t *shape);

/* A part of a bundle (writer_part.c): its streams go on at given offsets, at which others end. Whole blocks are
 * records of the part; of a block that it has only some bytes of, it has them. */
void emr_writer_start(emr_writer *writer, size_t stream, uint64_t offset);
/* A stream of the part alone, the last that is declared: its bytes are appended, and written as they are. */
size_t emr_writer_sums(emr_writer *writer, uint32_t block_bytes);
/* Writes what append has left over, of all streams. */
emr_status emr_writer_end_part(emr_writer *writer, emr_error *error);

/* Continuing later (writer_resume.c), with nothing under way (emr_writer_flush): save puts what is new since
 * the last saved(), which says that it has been kept. Each time's bytes are given back through `get` to a new
 * writer with the same streams, in the same order. */
void emr_writer_save(const emr_writer *writer, emr_put_fn put, void *context);
void emr_writer_saved(emr_writer *writer);
emr_status emr_writer_restore(emr_writer *writer, emr_get_fn get, void *context, emr_error *error);
/* Whether everything up to where the writer stands can be read back from the I/O and has the hash it should.
 */
emr_status emr_writer_check(emr_writer *writer, bool *right, emr_error *error);

/* Writes the index and the trailer, and makes the bundle durable if the I/O has sync: it is whole. */
emr_status emr_writer_finish(emr_writer *writer, emr_error *error);

/* Work memory of a writer with that number of workers, for the plan. */
uint64_t emr_writer_memory(const emr_writer_limits *limits, size_t workers);

#endif
