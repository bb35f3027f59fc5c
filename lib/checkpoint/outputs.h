/* outputs.h - the files of one checkpoint on their way out: all are written first, then they are put in place one
 * after the other; or none is. */
#ifndef EMR_CHECKPOINT_OUTPUTS_H
#define EMR_CHECKPOINT_OUTPUTS_H

#include "core/memory.h"
#include "io/file.h"

typedef struct emr_output_file {
    emr_file *file;
    char *path;
    bool is_new; /* in place, where nothing was */
} emr_output_file;

typedef struct emr_outputs {
    const emr_allocator *allocator;
    emr_file_options options; /* of every file */
    emr_output_file *all;     /* in the order in which they appear */
    size_t n, capacity;
    char **directories; /* that were made for them, outer ones first */
    size_t n_directories, directories_capacity;
} emr_outputs;

/* One more file, to be written through *io. Takes the path over, also when this fails; NULL: it had no memory. */
emr_status emr_outputs_add(emr_outputs *outputs, char *path, const emr_io **io, emr_error *error);

/* Makes a directory, where there is none. */
emr_status emr_outputs_make_directory(emr_outputs *outputs, const char *path, emr_error *error);

/* Whether a file of that path is among them. */
bool emr_outputs_have(const emr_outputs *outputs, const char *path);

/* Puts all in place. Where one cannot be, those before it go, but for what they have replaced: some of a
 * checkpoint's files would be none. */
emr_status emr_outputs_commit(emr_outputs *outputs, emr_error *error);

/* Closes, and frees. Files that are not in place vanish, and so do directories if it `failed`. */
void emr_outputs_free(emr_outputs *outputs, bool failed);

#endif
