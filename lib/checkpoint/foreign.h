/* foreign.h - files that are given as checkpoints and are none: each kind its own sentence, which says
 * what to do. */
#ifndef EMR_CHECKPOINT_FOREIGN_H
#define EMR_CHECKPOINT_FOREIGN_H

#include "core/io.h"

#include <stdbool.h>

/* After a reader has failed with `status` and a sentence in `error`: where the file begins as one of another
 * kind, says that instead. */
emr_status emr_foreign_explain(const emr_io *io, const char *path, emr_status status, emr_error *error);

/* How a pickle is converted; it is NAME in `directory`, or, if that is NULL, the path NAME. */
emr_status emr_pickle_refuse(const char *directory, const char *name, emr_error *error);

/* The same for a model in several of them, by the path of its directory or of its index. */
emr_status emr_pickles_refuse(const char *path, emr_error *error);
bool emr_is_pickle_index(const char *name);

/* Whether a text file is what git has in the place of a large file, which is somewhere else. */
bool emr_is_lfs_pointer(const char *text, size_t n);
emr_status emr_lfs_refuse(const char *path, emr_error *error);

#endif
