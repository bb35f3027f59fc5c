/* writer_state.h - a writer from the inside, for writer.c (blocks), writer_index.c (the index),
 * writer_resume.c (going on later) and writer_part.c (a part). */
#ifndef EMR_BUNDLE_WRITER_STATE_H
#define EMR_BUNDLE_WRITER_STATE_H

#include "bundle/writer.h"
#include "core/hash.h"
#include "core/io.h"

/* An array that grows: of bytes, or of block records. */
typedef struct emr_writer_array {
    void *data;
    size_t n, capacity;
} emr_writer_array;

/* A block under way. */
typedef struct emr_writer_slot {
    const uint8_t *bytes;
    size_t n;
    size_t stream;
    emr_texture texture;
    uint8_t *packed;  /* room for n bytes; NULL without compression */
    uint8_t *loose;   /* of an appended block: the memory of `bytes`; `packed` is its own as well */
    bool is_fragment; /* of a block that this part does not have all of: written as it is */
    emr_block_record record;
} emr_writer_slot;

typedef struct emr_writer_batch {
    emr_writer_slot *slots;
    size_t n;
} emr_writer_batch;

enum { EMR_FILLING, EMR_ENCODING, EMR_WRITING, EMR_N_STATIONS }; /* writer.c says what they are */

typedef struct emr_writer_stream_state {
    emr_stream_record record;
    emr_texture texture;
    emr_writer_array blocks; /* the records of those that are written */
    size_t n_saved;          /* of them: in the journal already */
    uint8_t *pending;        /* appended bytes that do not fill a block yet; loose memory */
    size_t n_pending;
    size_t before; /* of a part: bytes of the pending block that others have */
    bool are_sums; /* of a part: all is fragments */
} emr_writer_stream_state;

struct emr_writer {
    emr_allocator allocator;
    emr_io io;
    const emr_workers *workers;
    uint64_t offset; /* in the file: everything before it is written */
    emr_writer_limits limits;
    emr_hasher written;   /* of everything up to `offset`, where limits.hashes */
    emr_hash128 restored; /* what it must be */
    emr_writer_batch batches[EMR_N_STATIONS];
    uint8_t *arenas[2]; /* what put blocks are compressed into: one batch's, and the one's before it */
    unsigned turn;      /* of the arenas */
    size_t put_bytes, n_loose, loose_bytes; /* of the blocks under way */
    uint8_t *spare;         /* loose memory that nobody uses: a list through its first bytes */
    emr_encoder **encoders; /* one a worker; NULL entries without compression */
    emr_writer_stream_state *streams;
    size_t n_streams, streams_capacity;
    emr_writer_array sections[EMR_N_SECTIONS];
};

emr_status emr_writer_write(emr_writer *w, const void *bytes, size_t n, emr_error *error);
/* Zeros up to a multiple. */
emr_status emr_writer_pad(emr_writer *w, size_t multiple, emr_error *error);

/* Writes a block whose record, but for the place, is known; of a part. */
emr_status emr_writer_put_record(emr_writer *w, const emr_writer_slot *slot, emr_error *error);

/* Memory for an appended block of so many bytes, or for its compressed form. */
uint8_t *emr_writer_take_loose(emr_writer *w, size_t bytes);

#endif
