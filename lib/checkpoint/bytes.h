/* bytes.h - reading and writing a file's bytes, with the sentences that say what could not be done. `path` names
 * the file in them. */
#ifndef EMR_CHECKPOINT_BYTES_H
#define EMR_CHECKPOINT_BYTES_H

#include "core/io.h"
#include "core/memory.h"

emr_status emr_bytes_length(const emr_io *io, const char *path, uint64_t *bytes, emr_error *error);
emr_status emr_bytes_read(const emr_io *io, const char *path, uint64_t offset, void *destination, size_t n,
                          emr_error *error);

/* All of a file that is being created. */
emr_status emr_bytes_write(const emr_io *io, const char *path, const void *source, size_t n,
                           emr_error *error);

/* A small file, whole: at most `most` bytes (EMR_ELIMIT without a sentence), in memory of the allocator; and its
 * stamp. `source` is NULL for the file system. */
typedef struct emr_text {
    char *bytes; /* NULL after a failure */
    size_t n;
    uint64_t stamp;
} emr_text;
emr_status emr_read_text(emr_text *text, const emr_source *source, const emr_allocator *allocator,
                         const char *path, uint64_t most, emr_error *error);

#endif
