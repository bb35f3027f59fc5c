/* source.h - files by name: those of a host's emr_source or, where that is NULL, of the file system. */
#ifndef EMR_IO_SOURCE_H
#define EMR_IO_SOURCE_H

#include "emr/io.h"
#include "system/system.h"

/* A host's table, copied and checked. */
emr_status emr_source_take(emr_source *taken, const emr_source *given, emr_error *error);

/* A file that is open for reading. */
typedef struct emr_source_file {
    const emr_source *source;
    emr_file *file; /* of the file system */
    emr_io io;      /* of a source */
} emr_source_file;

emr_status emr_source_open(emr_source_file *file, const emr_source *source, const char *path,
                           const emr_file_options *options, uint64_t *stamp, emr_error *error);
/* Where it lies must not change until it is closed. */
const emr_io *emr_source_io(const emr_source_file *file);
void emr_source_close(emr_source_file *file);

emr_path_kind emr_source_kind_of(const emr_source *source, const char *path);
emr_status emr_source_list(const emr_source *source, const char *directory, emr_found_fn found, void *user,
                           emr_error *why);

#endif
