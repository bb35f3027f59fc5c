/* part_file.h - the file that holds a part of a merge: records in the order in which one machine would write
 * what they hold, each under a checksum that goes on from the one before. docs/scale.md, "The file of a
 * part". */
#ifndef EMR_BUNDLE_PART_FILE_H
#define EMR_BUNDLE_PART_FILE_H

#include "emr/io.h"
#include "bundle/format.h"
#include "core/hash.h"
#include "core/memory.h"

/* What a record's `number` and `n` are is said behind it; what it holds are its bytes. */
enum emr_part_kind {
    EMR_PART_PLAN = 1, /* what the merge is (merge/description.h) */
    EMR_PART_BLOCK,    /* stream, bytes decoded: a block as the bundle stores it */
    EMR_PART_BYTES,    /* stream: bytes of a block that others have bytes of, too */
    EMR_PART_SUMS,     /* bytes of sums, one after another (merge/part_sums.h) */
    EMR_PART_MERGED,   /* flat end of the part: merged tensors are done; tallies */
    EMR_PART_KEPT,     /* entry: a tensor that is kept from the base begins */
    EMR_PART_PRIVATE,  /* task, tensor of its model: a private tensor begins */
    EMR_PART_RAW,      /* bytes of the one that began */
    EMR_PART_ORIGINS,  /* entry: where each task has it from, an emr_part each */
    EMR_PART_HASHES,   /* of the tensors of the base that end here */
    EMR_PART_END
};

enum { EMR_PART_RECORD = 48 /* bytes of a record before what it holds */ };

typedef struct emr_part_record {
    uint32_t kind, number;
    uint64_t n;
    uint64_t size, hash;      /* of what it holds */
    uint8_t codec, parameter; /* of a block */
} emr_part_record;

/* What the file says of itself first. */
typedef struct emr_part_head {
    emr_hash128 fingerprint;
    uint32_t part, n_parts;
} emr_part_head;

/* Writing. */
typedef struct emr_part_writer {
    emr_io io;
    uint64_t offset, chain;
} emr_part_writer;

emr_status emr_part_create(emr_part_writer *writer, const emr_io *io, const emr_part_head *head,
                           emr_error *error);
/* `hash` need be set where `is_hashed` alone. */
emr_status emr_part_put(emr_part_writer *writer, emr_part_record record, const void *bytes, bool is_hashed,
                        emr_error *error);
/* The last record; then it is durable. */
emr_status emr_part_finish(emr_part_writer *writer, emr_error *error);

/* Reading. */
typedef struct emr_part_reader {
    emr_io io;
    char *name; /* for sentences: the caller's */
    emr_part_head head;
    uint64_t offset, length, chain;
    uint8_t next[EMR_PART_RECORD]; /* the next record, where what came before brought it along */
    bool has_next;
} emr_part_reader;

/* The head, so far. */
emr_status emr_part_open(emr_part_reader *reader, const emr_io *io, emr_error *error);
/* The next record; what it holds is there. Then that, where `bytes` has room for EMR_PART_RECORD more. */
emr_status emr_part_next(emr_part_reader *reader, emr_part_record *record, emr_error *error);
emr_status emr_part_get(emr_part_reader *reader, const emr_part_record *record, void *bytes,
                        emr_error *error);
emr_status emr_part_fail_damaged(const emr_part_reader *reader, emr_error *error);

#endif
