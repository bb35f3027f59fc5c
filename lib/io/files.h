/* files.h - the files that one model lies in, however many: few of them are open at a time. */
#ifndef EMR_IO_FILES_H
#define EMR_IO_FILES_H

#include "emr/io.h"

/* How many stay open, at most, while none is read. Each thread that reads one more opens one more. */
enum { EMR_FILES_OPEN = 8 };

typedef struct emr_files emr_files;

/* No files yet. With options->map all of them stay open, because windows of a mapping are not taken back. `source` is
 * borrowed, and NULL for the file system. */
emr_status emr_files_create(emr_files **files, const emr_source *source, const emr_file_options *options,
                            emr_error *error);

/* A file among them; all of it is there until they are destroyed. */
typedef struct emr_opened {
    const emr_io *io; /* its reads may run at the same time */
    const char *path; /* a copy */
    uint64_t stamp;
} emr_opened;

/* Opens one more, to read. One that was closed in between is opened again where it is read, and must have the
 * same stamp then. */
emr_status emr_files_open(emr_files *files, const char *path, emr_opened *opened, emr_error *error);

void emr_files_destroy(emr_files **files);

#endif
