/* folder_kinds.h - a directory in which nothing can be read: what it is, and what to do; or what lies there. */
#ifndef EMR_CHECKPOINT_FOLDER_KINDS_H
#define EMR_CHECKPOINT_FOLDER_KINDS_H

#include "emr/io.h"

/* Fails with a sentence. */
emr_status emr_folder_kinds_refuse(const emr_source *source, const char *path, emr_error *error);

#endif
